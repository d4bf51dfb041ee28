//! The quarantine as its callers see it: nothing lost, nothing sent twice, whatever happens.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;
#[path = "quarantine/index.rs"]
mod index;
mod support;

use std::fs;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use held::{MESSAGE, at, envelope, files, hold, open, recipient, settings, state};
use straymail::octets::Octets;
use straymail::service::quarantine::{HoldError, Quarantine, QuarantineError, QuarantineSettings};
use straymail::spool::Envelope;
use straymail::store::{
    AuditEvent, AuditFilter, Entry, EntryFilter, EntryId, EntryState, EventKind, NewApproval,
    Origin, StoreError, Verified,
};
use support::sink::Sink;

#[test]
fn a_held_message_is_released_with_its_envelope_and_every_octet() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    assert_eq!(state(&quarantine, &id, at(59)), EntryState::Pending);
    assert_eq!(state(&quarantine, &id, at(60)), EntryState::Held);
    let entry = quarantine.detail(&id, at(60)).unwrap().entry;
    let mut kept = Vec::new();
    quarantine
        .message(&entry)
        .unwrap()
        .read_to_end(&mut kept)
        .unwrap();
    assert_eq!(kept, MESSAGE);

    let released = quarantine.release(&id, "tester", at(100)).unwrap();

    assert_eq!(released.entry.state, EntryState::Released);
    let delivered = sink.deliveries();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].sender, "Anna@example.org");
    assert_eq!(delivered[0].sender_args, "BODY=8BITMIME RET=HDRS");
    assert_eq!(
        delivered[0].recipients,
        [(
            "carl@army.ml".to_owned(),
            "NOTIFY=SUCCESS,FAILURE ORCPT=rfc822;carl@army.ml".to_owned()
        )]
    );
    assert_eq!(delivered[0].data, MESSAGE);
    assert_eq!(files(dir.path()), 0);
    assert!(
        quarantine
            .approval("anna@example.org", "carl@army.ml", at(101))
            .unwrap()
            .is_some()
    );
    assert!(
        quarantine
            .approval("anna@example.org", "carl@army.ml", at(100 + 15 * 60))
            .unwrap()
            .is_none()
    );
    assert!(
        quarantine
            .approval("other@example.org", "carl@army.ml", at(101))
            .unwrap()
            .is_none()
    );
    let kinds: Vec<_> = quarantine
        .audit(&AuditFilter::default())
        .unwrap()
        .iter()
        .map(|row| row.event.kind)
        .collect();
    assert_eq!(kinds, [EventKind::Held, EventKind::Released]);
    let again = quarantine.release(&id, "tester", at(102)).unwrap_err();
    assert!(
        matches!(
            again,
            QuarantineError::Finished {
                state: EntryState::Released,
                ..
            }
        ),
        "{again}"
    );
    assert_eq!(sink.deliveries().len(), 1);
}

#[test]
fn a_retry_of_the_same_message_updates_the_same_entry() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let first = hold(&quarantine, at(0));
    let second = hold(&quarantine, at(30));
    assert_eq!(first, second);
    let entries = quarantine.entries(&EntryFilter::default(), at(30)).unwrap();
    assert_eq!(entries.len(), 1);
    assert_eq!((entries[0].attempts, files(dir.path())), (2, 1));
}

/// An envelope with two held recipients.
fn for_two(second: i64) -> Envelope {
    let mut envelope = envelope(at(second));
    envelope
        .recipients
        .push(recipient(b"<Dora@army.ml>", "dora@army.ml"));
    envelope
}

fn hold_as(quarantine: &Quarantine, envelope: Envelope) -> Vec<EntryId> {
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let now = envelope.received_at;
    quarantine.hold(draft, envelope, now).unwrap()
}

fn all(quarantine: &Quarantine, second: i64) -> Vec<Entry> {
    quarantine
        .entries(&EntryFilter::default(), at(second))
        .unwrap()
}

fn ids(quarantine: &Quarantine, second: i64) -> Vec<EntryId> {
    all(quarantine, second)
        .into_iter()
        .map(|entry| entry.id)
        .collect()
}

fn spool_file(dir: &Path) -> std::path::PathBuf {
    let mut entries = fs::read_dir(dir.join("spool"))
        .unwrap()
        .map(|entry| entry.unwrap().path());
    entries.find(|path| path.is_file()).unwrap()
}

#[test]
fn recipients_of_one_message_are_decided_one_by_one() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let ids = hold_as(&quarantine, for_two(0));
    assert_eq!((ids.len(), files(dir.path())), (2, 1));
    quarantine
        .drop_entry(&ids[0], "typo", "tester", at(70))
        .unwrap();
    assert_eq!(files(dir.path()), 1, "the other entry needs the file");
    quarantine.release(&ids[1], "tester", at(80)).unwrap();
    assert_eq!(files(dir.path()), 0);
    let delivered = sink.deliveries();
    assert_eq!(delivered.len(), 1);
    assert_eq!(delivered[0].recipients[0].0, "Dora@army.ml");
    let error = quarantine
        .drop_entry(&ids[1], "late", "tester", at(90))
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("entry {} was released at 2027-01-15T08:01:20Z", ids[1])
    );
    let error = quarantine
        .message(&quarantine.detail(&ids[0], at(90)).unwrap().entry)
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        format!("entry {} was dropped at 2027-01-15T08:01:10Z", ids[0])
    );
}

#[test]
fn a_limit_counts_only_entries_in_the_state_asked_for() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    for n in 0..6 {
        let mut one = envelope(at(n * 20));
        one.recipients = vec![recipient(format!("<r{n}@army.ml>").as_bytes(), "r@army.ml")];
        hold_as(&quarantine, one);
    }
    let count = |state: EntryState, limit: u32| {
        let filter = EntryFilter {
            states: vec![state],
            limit: Some(limit),
            ..EntryFilter::default()
        };
        // At 100 s the first three are 60 s old or older.
        let entries = quarantine.entries(&filter, at(100)).unwrap();
        assert!(entries.iter().all(|entry| entry.state == state));
        entries.len()
    };
    assert_eq!(
        (count(EntryState::Held, 2), count(EntryState::Held, 9)),
        (2, 3)
    );
    assert_eq!(
        (count(EntryState::Pending, 2), count(EntryState::Pending, 9)),
        (2, 3)
    );
}

#[test]
fn a_recipient_given_twice_is_one_entry() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let mut twice = envelope(at(0));
    twice.recipients.push(twice.recipients[0].clone());
    let ids = hold_as(&quarantine, twice);
    assert_eq!(ids[0], ids[1]);
    assert_eq!(all(&quarantine, 0).len(), 1);
}

#[test]
fn another_message_to_the_same_recipient_is_another_entry() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    // Two short mails without Message-ID differ in their headers only.
    for message in [
        &b"Date: 1\r\n\r\nok\r\n"[..],
        b"Date: 2\r\n\r\nok\r\n",
        b"Message-ID: <1>\r\n\r\nok\r\n",
        b"\r\nok\r\n",
        // Of a device that gives all its mail the same one, or none.
        b"Message-ID: <1>\r\nSubject: one\r\n\r\nok\r\n",
        b"Message-ID: \r\nTo: one\r\n\r\nok\r\n",
        b"Message-ID:\r\nTo: other\r\n\r\nok\r\n",
    ] {
        let mut draft = quarantine.draft();
        message
            .chunks(3)
            .for_each(|piece| draft.write(piece).unwrap());
        quarantine.hold(draft, envelope(at(0)), at(0)).unwrap();
    }
    assert_eq!((all(&quarantine, 0).len(), files(dir.path())), (7, 7));
}

#[test]
fn a_date_that_the_mta_adds_at_each_try_makes_no_other_message() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    for second in 1..=2 {
        let mut draft = quarantine.draft();
        let message = format!("Message-ID: <1>\r\nSubject: one\r\nDate: {second}\r\n\r\nok\r\n");
        draft.write(message.as_bytes()).unwrap();
        quarantine.hold(draft, envelope(at(0)), at(second)).unwrap();
    }
    assert_eq!((all(&quarantine, 9).len(), files(dir.path())), (1, 1));
}

#[test]
fn a_finished_entry_is_opened_again_when_the_message_comes_again() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    quarantine
        .drop_entry(&id, "typo", "tester", at(70))
        .unwrap();
    assert_eq!(hold(&quarantine, at(100)), id);
    assert_eq!(
        (state(&quarantine, &id, at(101)), files(dir.path())),
        (EntryState::Pending, 1)
    );
    quarantine.release(&id, "tester", at(200)).unwrap();
    assert_eq!(hold(&quarantine, at(300)), id);
    let entry = all(&quarantine, 301).remove(0);
    assert_eq!((entry.state, entry.attempts), (EntryState::Pending, 3));
    quarantine.release(&id, "tester", at(400)).unwrap();
    assert_eq!(sink.deliveries().len(), 2);
}

#[test]
fn a_large_message_goes_through_a_temporary_file_and_stays_whole() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let message: Vec<u8> = (0..900_000_u32)
        .map(|n| n.wrapping_mul(2_654_435_761).to_be_bytes()[0])
        .collect();
    let mut draft = quarantine.draft();
    message
        .chunks(65_535)
        .for_each(|piece| draft.write(piece).unwrap());
    let temporary = || fs::read_dir(dir.path().join("spool/tmp")).unwrap().count();
    assert_eq!(temporary(), 1);
    let id = quarantine
        .hold(draft, envelope(at(0)), at(0))
        .unwrap()
        .remove(0);
    assert_eq!(temporary(), 0);
    let mut kept = Vec::new();
    let entry = quarantine.detail(&id, at(0)).unwrap().entry;
    quarantine
        .message(&entry)
        .unwrap()
        .read_to_end(&mut kept)
        .unwrap();
    assert!(kept == message);
    let mut draft = quarantine.draft();
    draft.write(&message).unwrap();
    drop(draft);
    assert_eq!(temporary(), 0, "a message that was not held leaves nothing");
}

#[test]
fn a_failed_release_leaves_the_entry_held_and_takes_the_approval_back() {
    let dir = tempfile::tempdir().unwrap();
    let nobody = std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let quarantine = open(dir.path(), nobody);
    let id = hold(&quarantine, at(0));
    let error = quarantine.release(&id, "tester", at(100)).unwrap_err();
    let why = format!(
        "cannot connect to the MTA at 127.0.0.1:{nobody}: Connection refused (os error 111)"
    );
    assert_eq!(
        error.to_string(),
        format!("entry {id} not released, it is still held: {why}")
    );
    let entry = quarantine.detail(&id, at(101)).unwrap().entry;
    assert_eq!(
        (entry.state, entry.last_error.as_deref()),
        (EntryState::Held, Some(&*why))
    );
    assert_eq!(quarantine.approvals(true, at(101)).unwrap(), []);
    assert_eq!(files(dir.path()), 1);
    let sink = Sink::start().unwrap();
    open(dir.path(), sink.port())
        .release(&id, "tester", at(110))
        .unwrap();
    assert_eq!(sink.deliveries().len(), 1);
}

#[test]
fn a_message_file_that_vanished_or_was_altered_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    let path = spool_file(dir.path());
    let original = fs::read(&path).unwrap();
    let release = || {
        quarantine
            .release(&id, "tester", at(100))
            .unwrap_err()
            .to_string()
    };
    let mut altered = original.clone();
    altered[40] ^= 1;
    for (content, what) in [
        (altered, "its checksum does not fit"),
        (
            original[..original.len() - 1].to_vec(),
            "its last line is not that of a spool file",
        ),
        (
            original[1..].to_vec(),
            "its length does not fit its last line",
        ),
        (Vec::new(), "it is too short"),
    ] {
        fs::write(&path, content).unwrap();
        assert_eq!(
            release(),
            format!(
                "entry {id} not released, it is still held: the message file {} was altered or cut: {what}; \
                 look at it by hand, then drop the entry",
                path.display()
            )
        );
    }
    fs::remove_file(&path).unwrap();
    assert!(
        release().contains("is gone; it cannot be released, drop the entry"),
        "{}",
        release()
    );
    assert_eq!(sink.deliveries().len(), 0);
    quarantine
        .drop_entry(&id, "lost", "tester", at(101))
        .unwrap();
}

#[test]
fn below_the_minimum_of_free_space_nothing_is_written() {
    let dir = tempfile::tempdir().unwrap();
    let settings = QuarantineSettings {
        min_free_bytes: u64::MAX,
        ..settings(dir.path(), 1)
    };
    let quarantine = Quarantine::open(settings, at(0)).unwrap();
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let error = quarantine.hold(draft, envelope(at(0)), at(0)).unwrap_err();
    assert!(matches!(error, HoldError::LowSpace(_)), "{error}");
    let mut draft = quarantine.draft();
    draft.write(&vec![b'x'; 300_000]).unwrap_err();
    draft.write(b"more").unwrap_err();
    quarantine.hold(draft, envelope(at(0)), at(0)).unwrap_err();
    assert_eq!(
        (
            files(dir.path()),
            fs::read_dir(dir.path().join("spool/tmp")).unwrap().count()
        ),
        (0, 0)
    );
}

#[test]
fn beyond_a_cap_nothing_is_held_and_the_cap_is_named() {
    let size = MESSAGE.len() as u64;
    for (max_total, max_sender, expected) in [
        (2 * size - 1, u64::MAX, "quarantine.max_total"),
        (u64::MAX, 2 * size - 1, "quarantine.max_per_sender"),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let settings = QuarantineSettings {
            max_total_bytes: max_total,
            max_sender_bytes: max_sender,
            ..settings(dir.path(), 1)
        };
        let quarantine = Quarantine::open(settings, at(0)).unwrap();
        let first = hold(&quarantine, at(0));
        // A retry of the same message takes no more room.
        assert_eq!(hold(&quarantine, at(1)), first);
        let other = |sender: &str, tail: &[u8]| {
            let mut envelope = envelope(at(2));
            envelope.sender_address = sender.to_owned();
            let mut draft = quarantine.draft();
            draft.write(MESSAGE).unwrap();
            draft.write(tail).unwrap();
            quarantine.hold(draft, envelope, at(2))
        };
        let error = other("anna@example.org", b"1").unwrap_err();
        let text = error.to_string();
        assert!(matches!(error, HoldError::OverCap { .. }), "{text}");
        assert!(text.contains(&format!("{expected} allows")), "{text}");
        assert_eq!(
            (
                files(dir.path()),
                fs::read_dir(dir.path().join("spool/tmp")).unwrap().count()
            ),
            (1, 0)
        );
        let of_another = other("bert@example.org", b"2");
        assert_eq!(of_another.is_ok(), max_total == u64::MAX);
        // What is decided makes room.
        quarantine.drop_entry(&first, "typo", "t", at(3)).unwrap();
        for id in of_another.unwrap_or_default() {
            quarantine.drop_entry(&id, "typo", "t", at(3)).unwrap();
        }
        hold(&quarantine, at(4));
    }
}

#[test]
fn a_full_disk_removes_the_temporary_file_and_takes_nothing() {
    struct Mounted<'a>(&'a Path);
    impl Drop for Mounted<'_> {
        fn drop(&mut self) {
            let _ = Command::new("umount")
                .args(["-l".as_ref(), self.0])
                .status();
        }
    }
    if !rustix::process::geteuid().is_root() {
        println!("skipped: needs root to mount a small tmpfs");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mount = Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=1m", "tmpfs"])
        .arg(dir.path())
        .status();
    if !mount.is_ok_and(|status| status.success()) {
        println!("skipped: a tmpfs cannot be mounted here");
        return;
    }
    let _mounted = Mounted(dir.path());
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, at(0));
    let temporary = || fs::read_dir(dir.path().join("spool/tmp")).unwrap().count();
    // Full while it arrives.
    let mut draft = quarantine.draft();
    let error = (0..40)
        .find_map(|_| draft.write(&[b'x'; 65_536]).err())
        .unwrap();
    assert!(format!("{error:?}").contains("StorageFull"), "{error:?}");
    assert_eq!(temporary(), 0);
    assert!(quarantine.hold(draft, envelope(at(0)), at(0)).is_err());
    // Full when it is put into the spool, from memory.
    fs::write(dir.path().join("ballast"), vec![0; 700_000]).unwrap();
    let mut draft = quarantine.draft();
    draft.write(&vec![b'x'; 250_000]).unwrap();
    let error = quarantine.hold(draft, envelope(at(0)), at(0)).unwrap_err();
    assert!(matches!(error, HoldError::Spool(_)), "{error}");
    assert_eq!((temporary(), files(dir.path())), (0, 1));
    fs::remove_file(dir.path().join("ballast")).unwrap();
    assert_eq!(ids(&quarantine, 0), [id]);
}

#[test]
fn files_and_directories_are_ours_alone() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    hold(&quarantine, at(0));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    for name in [
        "quarantine.db",
        "quarantine.db-wal",
        "quarantine.db-shm",
        "quarantine.lock",
    ] {
        assert_eq!(mode(&dir.path().join(name)), 0o600, "{name}");
    }
    assert_eq!(mode(&spool_file(dir.path())), 0o600);
    assert_eq!(
        (
            mode(&dir.path().join("spool")),
            mode(&dir.path().join("spool/tmp"))
        ),
        (0o700, 0o700)
    );
}

#[test]
fn eight_that_release_at_once_deliver_once() {
    let sink = Sink::start().unwrap();
    for round in 0..10 {
        let dir = tempfile::tempdir().unwrap();
        let id = hold(&open(dir.path(), sink.port()), at(0));
        let seen = sink.deliveries().len();
        let done: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| open(dir.path(), sink.port()).release(&id, "tester", at(100)))
                })
                .collect();
            let results = threads.into_iter().map(|thread| thread.join().unwrap());
            results
                .map(|result| match result {
                    Ok(_) => 1,
                    Err(
                        QuarantineError::BeingReleased { .. } | QuarantineError::Finished { .. },
                    ) => 0,
                    Err(error) => panic!("round {round}: {error}"),
                })
                .sum()
        });
        assert_eq!(
            (done, sink.deliveries().len() - seen),
            (1, 1),
            "round {round}"
        );
    }
}

#[test]
fn a_lease_ends_and_a_clock_that_went_back_does_not_keep_it() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    let claim = |from: i64| {
        let database = rusqlite::Connection::open(dir.path().join("quarantine.db")).unwrap();
        let sql = "UPDATE entry SET state = 'releasing', claim = 'dead', lease_until = ?1";
        database
            .execute(sql, [at(from + 300).as_millisecond()])
            .unwrap();
    };
    claim(100);
    let error = quarantine.release(&id, "tester", at(399)).unwrap_err();
    assert!(
        matches!(error, QuarantineError::BeingReleased { until, .. } if until == at(400)),
        "{error}"
    );
    let error = quarantine
        .drop_entry(&id, "typo", "tester", at(399))
        .unwrap_err();
    assert!(
        matches!(error, QuarantineError::BeingReleased { .. }),
        "{error}"
    );
    quarantine.release(&id, "tester", at(400)).unwrap();
    assert_eq!(sink.deliveries().len(), 1);
    // A year ahead when it was claimed.
    hold(&quarantine, at(500));
    claim(31_536_000);
    quarantine.release(&id, "tester", at(600)).unwrap();
}

#[test]
fn approvals_fit_addresses_domains_and_endings_until_they_expire() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let add = |sender: Option<&str>, recipient: &str, until: Option<i64>| {
        let new = NewApproval {
            sender: sender.map(str::to_owned),
            recipient: recipient.to_owned(),
            expires_at: until.map(at),
            owner: "J. Doe".to_owned(),
            reason: "a real office".to_owned(),
            origin: Origin::Admin,
        };
        quarantine.approve(&new, "tester", at(0)).unwrap()
    };
    let fits = |sender: &str, recipient: &str, second: i64| {
        quarantine
            .approval(sender, recipient, at(second))
            .unwrap()
            .map(|approval| approval.id)
    };
    let address = add(Some("Anna@example.org"), "Carl@army.ml", Some(100));
    let domain = add(Some("example.org"), "navy.ml", None);
    let ending = add(None, ".gov.ml", None);
    assert_eq!(
        fits("anna@example.org", "CARL@army.ml", 99),
        Some(address.id.clone())
    );
    assert_eq!(fits("anna@example.org", "carl@army.ml", 100), None);
    assert_eq!(fits("bert@example.org", "carl@army.ml", 99), None);
    assert_eq!(fits("anna@example.org", "dora@army.ml", 99), None);
    assert_eq!(
        fits("bert@hq.example.org", "x@mail.navy.ml", 500),
        Some(domain.id.clone())
    );
    assert_eq!(fits("bert@notexample.org", "x@navy.ml", 500), None);
    assert_eq!(fits("bert@example.org", "x@xnavy.ml", 500), None);
    assert_eq!(fits("", "x@tax.gov.ml", 500), Some(ending.id.clone()));
    assert_eq!(fits("", "x@gov.ml", 500), None);
    let removed = quarantine
        .remove_approval(
            &ending.id.as_str().get(..4).unwrap().to_lowercase(),
            Some("gone"),
            "tester",
            at(1),
        )
        .unwrap();
    assert_eq!(removed.id, ending.id);
    assert_eq!(fits("", "x@tax.gov.ml", 500), None);
    let error = quarantine
        .remove_approval(ending.id.as_str(), None, "tester", at(1))
        .unwrap_err();
    assert_eq!(error.to_string(), format!("no approval {}", ending.id));
    assert_eq!(quarantine.approvals(false, at(500)).unwrap().len(), 1);
    assert_eq!(quarantine.approvals(true, at(500)).unwrap().len(), 2);
}

#[test]
fn a_changed_removed_or_inserted_audit_row_is_found() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    for n in 0..5 {
        let event = AuditEvent {
            score: Some(n),
            ..AuditEvent::new(EventKind::Rejected, "milter")
        };
        quarantine.record(&event, at(i64::from(n))).unwrap();
    }
    let Verified::Intact {
        rows: 5,
        head,
        contains_expected: true,
    } = quarantine.verify_audit(None).unwrap()
    else {
        panic!("not intact");
    };
    let database = rusqlite::Connection::open(dir.path().join("quarantine.db")).unwrap();
    let refused = database.execute("UPDATE audit SET at = 0", []).unwrap_err();
    assert_eq!(refused.to_string(), "audit rows are never changed");
    database
        .execute_batch(
            "DROP TRIGGER audit_is_append_only_update; DROP TRIGGER audit_is_append_only_delete;
             CREATE TEMP TABLE saved AS SELECT * FROM audit",
        )
        .unwrap();
    for (change, seq, what) in [
        (
            "UPDATE audit SET event = replace(event, '2', '9') WHERE seq = 3",
            3,
            "its content does not have its hash",
        ),
        (
            "UPDATE audit SET at = at + 1 WHERE seq = 2",
            2,
            "its content does not have its hash",
        ),
        (
            "UPDATE audit SET kind = 'held' WHERE seq = 4",
            4,
            "its columns do not fit its event",
        ),
        (
            "DELETE FROM audit WHERE seq = 2",
            2,
            "rows 2 to 2 are missing",
        ),
        (
            "DELETE FROM audit WHERE seq = 2; UPDATE audit SET seq = seq - 1 WHERE seq > 2",
            2,
            "it does not carry the hash of the row before",
        ),
    ] {
        database.execute_batch(change).unwrap();
        assert_eq!(
            quarantine.verify_audit(None).unwrap(),
            Verified::Broken {
                seq,
                what: what.to_owned()
            },
            "{change}"
        );
        database
            .execute_batch("DELETE FROM audit; INSERT INTO audit SELECT * FROM saved")
            .unwrap();
    }
    database
        .execute("DELETE FROM audit WHERE seq = 5", [])
        .unwrap();
    let Verified::Intact {
        rows: 4,
        contains_expected,
        ..
    } = quarantine.verify_audit(Some(&head)).unwrap()
    else {
        panic!("not intact");
    };
    assert!(!contains_expected, "the end that was cut off is missed");
}

#[test]
fn ids_are_found_by_prefix_and_never_guessed() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, at(0));
    let database = rusqlite::Connection::open(dir.path().join("quarantine.db")).unwrap();
    let twin = format!(
        "{}{}",
        id.as_str().get(..9).unwrap(),
        if id.as_str().ends_with('Z') { 'Y' } else { 'Z' }
    );
    database
        .execute("CREATE TEMP TABLE twin AS SELECT * FROM entry", [])
        .and_then(|_| database.execute("UPDATE twin SET id = ?1", [&twin]))
        .and_then(|_| database.execute("INSERT INTO entry SELECT * FROM twin", []))
        .unwrap();
    assert_eq!(quarantine.find(&id.as_str().to_lowercase()).unwrap(), id);
    let mut both = [id.to_string(), twin];
    both.sort();
    let prefix = id.as_str().get(..6).unwrap();
    assert_eq!(
        quarantine.find(prefix).unwrap_err().to_string(),
        format!("{prefix} is ambiguous: {}", both.join(", "))
    );
    let none = if id.as_str().starts_with('7') {
        "8Q2M"
    } else {
        "7Q2M"
    };
    assert_eq!(
        quarantine.find(none).unwrap_err().to_string(),
        format!("no entry {none}")
    );
}
