//! The quarantine as its callers see it: nothing lost, nothing sent twice, whatever happens.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::io::Read as _;
use std::path::Path;

use jiff::Timestamp;
use straymail::octets::Octets;
use straymail::policy::Role;
use straymail::score::Assessment;
use straymail::service::quarantine::{Quarantine, QuarantineError, QuarantineSettings};
use straymail::smtp::Target;
use straymail::spool::{Envelope, HeldRecipient};
use straymail::store::{AuditFilter, EntryFilter, EntryId, EntryState, EventKind};
use support::sink::Sink;

const MESSAGE: &[u8] =
    b"Message-ID: <1@example.org>\r\nSubject: plan\r\n\r\nGr\xfc\xdfe \x00 \xf0\x9f\r\n.\r\n..x\r\n";

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

fn settings(dir: &Path, port: u16) -> QuarantineSettings {
    QuarantineSettings {
        dir: dir.to_owned(),
        min_free_bytes: 0,
        release_target: Target::Tcp(format!("127.0.0.1:{port}")),
        ..QuarantineSettings::default()
    }
}

fn open(dir: &Path, port: u16) -> Quarantine {
    Quarantine::open(settings(dir, port), at(0)).unwrap()
}

fn recipient(path: &[u8], address: &str) -> HeldRecipient {
    HeldRecipient {
        path: Octets::from(path),
        rcpt_addr: None,
        args: vec![
            Octets::from("NOTIFY=SUCCESS,FAILURE"),
            Octets::from("ORCPT=rfc822;carl@army.ml"),
        ],
        address: address.to_owned(),
        assessment: Assessment::unrelated(),
        rule: "default".to_owned(),
        suggestion: Some("army.mil".to_owned()),
    }
}

fn envelope(now: Timestamp) -> Envelope {
    Envelope {
        sender: Octets::from("<Anna@example.org>"),
        sender_address: "anna@example.org".to_owned(),
        sender_args: vec![
            Octets::from("BODY=8BITMIME"),
            Octets::from("RET=HDRS"),
            Octets::from("SIZE=999"),
        ],
        session: "s1".to_owned(),
        queue_id: Some("4XyZ".to_owned()),
        client_ip: Some([192, 0, 2, 7].into()),
        client_name: None,
        login: Some(Octets::from("anna")),
        role: Role::Submission,
        received_at: now,
        recipients: vec![recipient(b"<carl@army.ml>", "carl@army.ml")],
    }
}

fn hold(quarantine: &Quarantine, now: Timestamp) -> EntryId {
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    quarantine
        .hold(draft, envelope(now), now)
        .unwrap()
        .remove(0)
}

fn state(quarantine: &Quarantine, id: &EntryId, now: Timestamp) -> EntryState {
    quarantine.detail(id, now).unwrap().entry.state
}

fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("spool")).unwrap().count() - 1
}

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
