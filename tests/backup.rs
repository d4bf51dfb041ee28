//! Care for the state directory: backup and restore, loss of power, forgetting.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;
mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

use held::{at, envelope, files, hold, open, settings, state};
use straymail::logging;
use straymail::notice::{NoticeSettings, Templates};
use straymail::service::backup::{self, BackupError, Existing, Restored};
use straymail::service::decide::{Choice, Decision};
use straymail::service::quarantine::{Quarantine, QuarantineSettings};
use straymail::service::token::Tokens;
use straymail::service::worker::{AtEnd, Worker, WorkerSettings};
use straymail::store::{
    ApprovalId, EntryFilter, EntryId, EntryState, NewApproval, NewLetter, Origin, Verified,
};
use support::sink::Sink;

/// Holds a message of its own for carl@army.ml.
fn hold_number(quarantine: &Quarantine, number: usize) -> EntryId {
    let mut draft = quarantine.draft();
    let message = format!("Message-ID: <{number}@example.org>\r\n\r\n{number}\r\n");
    draft.write(message.as_bytes()).unwrap();
    (quarantine.hold(draft, envelope(at(0)), at(0)).unwrap()).remove(0)
}

#[test]
fn a_backup_that_fails_leaves_nothing_in_the_way_of_the_next() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(&dir.path().join("state"), 1);
    let id = hold(&quarantine, at(0));
    let key = quarantine.detail(&id, at(0)).unwrap().entry.message.key;
    let file = dir.path().join("state/spool").join(key);
    let aside = dir.path().join("aside");
    fs::rename(&file, &aside).unwrap();
    fs::create_dir(&file).unwrap();
    let target = dir.path().join("backup");
    let failed = backup::backup(&quarantine, &target).unwrap_err();
    assert!(matches!(failed, BackupError::Io { .. }), "{failed}");
    let left: Vec<_> = fs::read_dir(dir.path()).unwrap().collect();
    assert_eq!(left.len(), 2, "{left:?}");
    fs::remove_dir(&file).unwrap();
    fs::rename(&aside, &file).unwrap();
    assert_eq!(backup::backup(&quarantine, &target).unwrap().messages, 1);
}

fn waiting(quarantine: &Quarantine) -> Vec<EntryId> {
    let entries = quarantine
        .entries(&EntryFilter::default(), at(1000))
        .unwrap();
    let mut ids: Vec<EntryId> = (entries.into_iter())
        .filter(|entry| entry.state.is_open())
        .map(|entry| entry.id)
        .collect();
    ids.sort();
    ids
}

fn approve(quarantine: &Quarantine) -> ApprovalId {
    let new = NewApproval {
        sender: None,
        recipient: "navy.ml".to_owned(),
        expires_at: None,
        owner: "J. Doe".to_owned(),
        reason: "a real office".to_owned(),
        origin: Origin::Admin,
    };
    quarantine.approve(&new, "cli anna", at(0)).unwrap().id
}

fn restore(from: &Path, to: &Path, existing: Existing) -> Result<Restored, BackupError> {
    backup::restore(from, to, existing, at(100))
}

#[test]
fn what_was_held_when_a_backup_began_comes_back_whole_while_holding_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let state_dir = home.path().join("state");
    let quarantine = open(&state_dir, sink.port());
    let before: Vec<EntryId> = (0..30).map(|n| hold_number(&quarantine, n)).collect();
    approve(&quarantine);
    Tokens::open(&state_dir, at(0)).unwrap();
    let stop = AtomicBool::new(false);
    let held = AtomicUsize::new(30);
    let saved = home.path().join("saved");
    thread::scope(|scope| {
        scope.spawn(|| {
            while !stop.load(Ordering::Relaxed) {
                hold_number(&quarantine, held.fetch_add(1, Ordering::Relaxed));
            }
        });
        support::wait_for("mail being held", || {
            Ok((held.load(Ordering::Relaxed) > 40).then_some(()))
        })
        .unwrap();
        let contents = backup::backup(&quarantine, &saved).unwrap();
        stop.store(true, Ordering::Relaxed);
        assert!(contents.messages >= 40, "{contents:?}");
        assert_eq!(backup::check(&saved).unwrap(), contents);
    });
    for path in [saved.clone(), saved.join("quarantine.db")] {
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o077, 0, "{}", path.display());
    }
    // Any machine can check it.
    let checked = Command::new("sha256sum")
        .args(["--check", "--quiet", "MANIFEST"])
        .current_dir(&saved)
        .status();
    assert!(checked.unwrap().success());

    let elsewhere = home.path().join("elsewhere");
    let restored = restore(&saved, &elsewhere, Existing::Refuse).unwrap();
    assert_eq!(restored.kept_as, None);
    let copy = open(&elsewhere, sink.port());
    let after = waiting(&copy);
    for id in &before {
        assert!(after.contains(id), "{id} is lost");
    }
    assert_eq!(after.len(), files(&elsewhere), "an entry for every message");
    assert!(matches!(
        copy.verify_audit(None).unwrap(),
        Verified::Intact { .. }
    ));
    assert_eq!(copy.approvals(true, at(0)).unwrap().len(), 1);
    assert!(elsewhere.join("confirm.key").exists());
    copy.release(&before[0], "cli anna", at(200)).unwrap();
    assert_eq!(sink.deliveries().len(), 1);
}

#[test]
fn a_restore_replaces_nothing_unasked_and_nothing_in_use() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    let saved = home.path().join("saved");
    let quarantine = open(&dir, 1);
    let id = hold(&quarantine, at(0));
    backup::backup(&quarantine, &saved).unwrap();
    let error = |result: Result<Restored, BackupError>| result.unwrap_err().to_string();
    assert_eq!(
        error(restore(&saved, &dir, Existing::SetAside)),
        format!(
            "{} is used by another process; stop straymail first, or use --missing",
            dir.display()
        )
    );
    drop(quarantine);
    assert_eq!(
        error(restore(&saved, &dir, Existing::Refuse)),
        format!(
            "{} is not empty; --replace sets what is there aside, --missing adds to it what it does not know",
            dir.display()
        )
    );
    let restored = restore(&saved, &dir, Existing::SetAside).unwrap();
    let kept_as = restored.kept_as.unwrap();
    assert!(kept_as.join("quarantine.db").exists());
    assert_eq!(files(&kept_as), 1);
    assert_eq!(waiting(&open(&dir, 1)), [id]);
    assert!(matches!(
        backup::backup(&open(&dir, 1), &saved),
        Err(BackupError::Exists { .. })
    ));
}

/// A worker that goes on where the one before stopped.
fn worker(dir: &Path, sink: &Sink, at_end: AtEnd) -> (Arc<Quarantine>, Worker) {
    let quarantine = Arc::new(open(dir, sink.port()));
    let settings = WorkerSettings {
        own: vec!["example.org".to_owned()],
        at_end,
        ..WorkerSettings::default()
    };
    let notices = NoticeSettings {
        from: Some("straymail@example.org".to_owned()),
        ..NoticeSettings::default()
    };
    let worker = Worker::new(
        Arc::clone(&quarantine),
        settings,
        notices,
        Templates::built_in().unwrap(),
        Arc::new(Tokens::open(dir, at(0)).unwrap()),
        logging::discard(),
    );
    (quarantine, worker)
}

#[test]
fn what_was_decided_before_a_backup_is_not_done_once_more_after_it() {
    let home = tempfile::tempdir().unwrap();
    let (dir, saved) = (home.path().join("state"), home.path().join("saved"));
    let sink = Sink::start().unwrap();
    let (quarantine, worker_before) = worker(&dir, &sink, AtEnd::Drop);
    let send = hold_number(&quarantine, 1);
    let correct = hold_number(&quarantine, 2);
    let ended = hold_number(&quarantine, 3);
    worker_before.tick(at(60)).unwrap();
    let sender = "sender anna@example.org, by reply";
    (quarantine.decide(&send, &Decision::SEND, sender, at(61))).unwrap();
    let corrected = Decision {
        choice: Choice::Correct("carl@army.mil".to_owned()),
        ..Decision::SEND
    };
    (quarantine.decide(&correct, &corrected, sender, at(61))).unwrap();
    let letter = NewLetter {
        addressee: "anna@example.org".to_owned(),
        message: b"Subject: x\r\n\r\n".to_vec(),
    };
    (quarantine.expire_entry(&ended, "nobody decided in time", Some(&letter), at(61))).unwrap();
    backup::backup(&quarantine, &saved).unwrap();
    worker_before.tick(at(62)).unwrap();
    let sent = sink.deliveries().len();
    drop((worker_before, quarantine));
    let restored = restore(&saved, &dir, Existing::SetAside).unwrap();
    assert_eq!(restored.undecided, 2);
    let (quarantine, worker_after) = worker(&dir, &sink, AtEnd::Drop);
    worker_after.tick(at(200)).unwrap();
    worker_after.tick(at(5000)).unwrap();
    assert_eq!(sink.deliveries().len(), sent);
    let mut both = vec![send.clone(), correct.clone()];
    both.sort();
    assert_eq!(waiting(&quarantine), both);
    let note = |id: &EntryId| {
        let history = quarantine.detail(id, at(5001)).unwrap().history;
        history.last().unwrap().event.detail.clone().unwrap()
    };
    assert_eq!(
        note(&correct),
        format!(
            "restored from a backup, where it was decided as: send to carl@army.mil instead, by {sender}; about to be done; it waits for a new decision"
        )
    );
    assert!(note(&ended).contains("a letter to anna@example.org was yet to be sent"));
    assert!(matches!(
        quarantine.verify_audit(None).unwrap(),
        Verified::Intact { .. }
    ));
    // A new decision counts.
    quarantine.release(&send, "cli anna", at(5002)).unwrap();
    assert_eq!(sink.deliveries().len(), sent + 1);
}

#[test]
fn what_is_added_from_a_backup_brings_no_decision_with_it() {
    let home = tempfile::tempdir().unwrap();
    let (dir, saved) = (home.path().join("state"), home.path().join("saved"));
    let sink = Sink::start().unwrap();
    let quarantine = open(&dir, sink.port());
    let id = hold_number(&quarantine, 1);
    (quarantine.decide(&id, &Decision::SEND, "sender anna@example.org", at(61))).unwrap();
    backup::backup(&quarantine, &saved).unwrap();
    let (other, worker) = worker(&home.path().join("other"), &sink, AtEnd::Drop);
    let restored = other.add_missing(&saved, "cli anna", at(100)).unwrap();
    assert_eq!(restored.restored, 1);
    worker.tick(at(200)).unwrap();
    assert_eq!(waiting(&other), [id]);
    let mails = sink.deliveries();
    assert!(mails.iter().all(|mail| mail.sender.is_empty()), "{mails:?}");
}

#[test]
fn a_changed_backup_restores_nothing() {
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    let quarantine = open(&home.path().join("state"), 1);
    hold(&quarantine, at(0));
    backup::backup(&quarantine, &saved).unwrap();
    let target = home.path().join("new");
    let refused = |what: &str| {
        let error = restore(&saved, &target, Existing::Refuse).unwrap_err();
        assert!(error.to_string().contains(what), "{error}");
        assert!(!target.exists());
    };
    let manifest = fs::read_to_string(saved.join("MANIFEST")).unwrap();
    let name = (manifest.lines())
        .find_map(|line| line.split_once("  ").map(|(_, name)| name))
        .unwrap();
    for name in [
        name,
        manifest.lines().last().unwrap().split_once("  ").unwrap().1,
    ] {
        let path = saved.join(name);
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        refused("its checksum does not fit");
        fs::write(&path, whole).unwrap();
    }
    for line in [
        "0  ../../etc/passwd",
        "0  /etc/passwd",
        "0  spool/../x",
        "x",
    ] {
        fs::write(saved.join("MANIFEST"), format!("{manifest}{line}\n")).unwrap();
        refused("names no file of a backup");
    }
    fs::remove_file(saved.join("MANIFEST")).unwrap();
    refused("is not a whole backup");
}

#[test]
fn what_is_missing_is_added_while_in_use_and_what_was_decided_stays_decided() {
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    let dir = home.path().join("state");
    let quarantine = open(&dir, 1);
    let ids: Vec<EntryId> = (0..3).map(|n| hold_number(&quarantine, n)).collect();
    let approval = approve(&quarantine);
    backup::backup(&quarantine, &saved).unwrap();
    quarantine
        .drop_entry(&ids[0], "wrong", "cli anna", at(50))
        .unwrap();
    // The machine was lost but for one message that another one had.
    let fresh = home.path().join("fresh");
    let other = open(&fresh, 1);
    assert_eq!(hold_number(&other, 1), ids[1]);
    other
        .drop_entry(&ids[1], "wrong", "cli anna", at(50))
        .unwrap();
    let added = other.add_missing(&saved, "cli anna", at(100)).unwrap();
    assert_eq!(
        added,
        Restored {
            restored: 2,
            approvals: 1,
            ..Restored::default()
        }
    );
    assert_eq!(state(&other, &ids[1], at(100)), EntryState::Dropped);
    let mut expected = vec![ids[0].clone(), ids[2].clone()];
    expected.sort();
    assert_eq!(waiting(&other), expected);
    assert_eq!(other.approvals(true, at(0)).unwrap()[0].id, approval);
    assert!(matches!(
        other.verify_audit(None).unwrap(),
        Verified::Intact { .. }
    ));
    // Once more changes nothing, and leaves no file behind.
    let again = other.add_missing(&saved, "cli anna", at(101)).unwrap();
    assert_eq!(again, Restored::default());
    let left = fs::read_dir(&fresh).unwrap().flatten();
    let left = left.filter(|entry| entry.file_name().to_string_lossy().starts_with("restore-"));
    assert_eq!(left.count(), 0);
    // What was finished here and forgotten since, or taken back, does not come back either.
    let database = rusqlite::Connection::open(dir.join("quarantine.db")).unwrap();
    database
        .execute("DELETE FROM entry WHERE state = 'dropped'", [])
        .and_then(|_| {
            database.execute(
                "DELETE FROM message WHERE key NOT IN (SELECT message FROM entry)",
                [],
            )
        })
        .unwrap();
    quarantine
        .remove_approval(approval.as_str(), None, "cli anna", at(60))
        .unwrap();
    let known = quarantine.add_missing(&saved, "cli anna", at(100)).unwrap();
    assert_eq!(known, Restored::default());
    assert_eq!(waiting(&quarantine).len(), 2);
}

#[test]
fn a_file_that_the_copied_index_does_not_know_is_not_in_the_backup() {
    let home = tempfile::tempdir().unwrap();
    let (here, there) = (home.path().join("here"), home.path().join("there"));
    let quarantine = open(&here, 1);
    hold_number(&quarantine, 1);
    hold_number(&open(&there, 1), 2);
    // As one is that `restore --missing` places while the backup is made.
    for file in fs::read_dir(there.join("spool")).unwrap().flatten() {
        if file.file_type().unwrap().is_file() {
            fs::copy(file.path(), here.join("spool").join(file.file_name())).unwrap();
        }
    }
    let contents = backup::backup(&quarantine, &home.path().join("saved")).unwrap();
    assert_eq!(contents.messages, 1);
    let saved = fs::read_dir(home.path().join("saved")).unwrap().flatten();
    let leftover = saved.filter(|file| {
        let name = file.file_name().into_string().unwrap();
        name.ends_with("-wal") || name.ends_with("-shm")
    });
    assert_eq!(leftover.count(), 0);
}

#[test]
fn a_message_brought_back_outlives_the_loss_of_its_index() {
    let home = tempfile::tempdir().unwrap();
    let (saved, dir) = (home.path().join("saved"), home.path().join("state"));
    let old = open(&home.path().join("old"), 1);
    let id = hold_number(&old, 1);
    backup::backup(&old, &saved).unwrap();
    let quarantine = open(&dir, 1);
    let added = quarantine.add_missing(&saved, "cli anna", at(100)).unwrap();
    assert_eq!(added.restored, 1);
    drop(quarantine);
    // What is left when it dies behind its rows.
    let spool = dir.join("spool");
    let mut files = fs::read_dir(&spool).unwrap().flatten();
    let key = (files.find(|file| file.file_type().unwrap().is_file()))
        .map(|file| file.file_name().into_string().unwrap())
        .unwrap();
    let second = format!("{key}.00112233445566778899aabbccddeeff");
    fs::hard_link(spool.join(&key), spool.join("tmp").join(second)).unwrap();
    for name in ["quarantine.db", "quarantine.db-wal", "quarantine.db-shm"] {
        let _ = fs::remove_file(dir.join(name));
    }
    let again = open(&dir, 1);
    assert_eq!(again.recovery().entries_rebuilt, 1);
    assert_eq!(waiting(&again), [id]);
    assert_eq!(fs::read_dir(spool.join("tmp")).unwrap().count(), 0);
}

#[test]
fn what_would_take_the_room_of_the_mta_does_not_come_back() {
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    let old = open(&home.path().join("old"), 1);
    hold_number(&old, 1);
    backup::backup(&old, &saved).unwrap();
    let settings = QuarantineSettings {
        min_free_bytes: u64::MAX,
        ..settings(&home.path().join("full"), 1)
    };
    let full = Quarantine::open(settings, at(0)).unwrap();
    let refused = full.add_missing(&saved, "cli anna", at(100)).unwrap_err();
    let refused = logging::event::chain(&refused);
    assert!(refused.contains("below the minimum"), "{refused}");
    assert_eq!(waiting(&full), []);
}

#[test]
fn what_cannot_come_back_is_named() {
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    let old = open(&home.path().join("old"), 1);
    let ids: Vec<EntryId> = (0..3).map(|n| hold_number(&old, n)).collect();
    let entries = old.entries(&EntryFilter::default(), at(0)).unwrap();
    let keys: Vec<String> = (entries.iter())
        .filter(|entry| entry.id != ids[2])
        .map(|entry| entry.message.key.clone())
        .collect();
    let file = |key: &String| home.path().join("old/spool").join(key);
    let mut text = fs::read(file(&keys[0])).unwrap();
    text[40] ^= 1;
    fs::write(file(&keys[0]), text).unwrap();
    fs::remove_file(file(&keys[1])).unwrap();
    assert_eq!(backup::backup(&old, &saved).unwrap().damaged.len(), 1);
    let fresh = open(&home.path().join("fresh"), 1);
    let mut added = fresh.add_missing(&saved, "cli anna", at(100)).unwrap();
    let mut expected = keys;
    expected.sort();
    added.left_out.sort();
    assert_eq!((added.restored, &added.left_out), (1, &expected));
    assert_eq!(waiting(&fresh), [ids[2].clone()]);
    fs::create_dir(home.path().join("state")).unwrap();
    let (status, out, err) = command(home.path(), &["restore", "--missing", "saved"]);
    let mut lines = out.lines();
    assert_eq!((status, err.as_str()), (Some(1), ""), "{out}");
    assert_eq!(
        lines.next().unwrap(),
        "added 1 held recipients and 0 approvals that were unknown here"
    );
    let named = lines.map(|line| line.split([' ', ':']).nth(2).unwrap());
    assert_eq!(named.collect::<Vec<_>>(), expected);
}

#[test]
fn where_everything_is_known_nothing_comes_back() {
    let home = tempfile::tempdir().unwrap();
    let saved = home.path().join("saved");
    let quarantine = open(&home.path().join("state"), 1);
    let ids: Vec<EntryId> = (0..3).map(|n| hold_number(&quarantine, n)).collect();
    backup::backup(&quarantine, &saved).unwrap();
    quarantine
        .drop_entry(&ids[0], "wrong", "cli anna", at(50))
        .unwrap();
    let known = quarantine.add_missing(&saved, "cli anna", at(100)).unwrap();
    assert_eq!(known, Restored::default());
    assert_eq!(state(&quarantine, &ids[0], at(100)), EntryState::Dropped);
}

/// What a disk may hold after the power failed: everything that was synced, and any part of what
/// was not.
fn after_power_loss(from: &Path, to: &Path, wal: usize) {
    fs::create_dir_all(to.join("spool/tmp")).unwrap();
    for entry in fs::read_dir(from.join("spool")).unwrap().flatten() {
        if entry.file_type().unwrap().is_file() {
            fs::copy(entry.path(), to.join("spool").join(entry.file_name())).unwrap();
        }
    }
    fs::copy(from.join("quarantine.db"), to.join("quarantine.db")).unwrap();
    let log = fs::read(from.join("quarantine.db-wal")).unwrap();
    fs::write(to.join("quarantine.db-wal"), &log[..wal.min(log.len())]).unwrap();
    fs::write(to.join("spool/tmp/half"), b"From: half a mess").unwrap();
}

#[test]
fn a_start_after_power_loss_finds_every_message_that_was_answered_250() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    let quarantine = open(&dir, 1);
    let mut ids: Vec<EntryId> = (0..20).map(|n| hold_number(&quarantine, n)).collect();
    ids.sort();
    let length = fs::metadata(dir.join("quarantine.db-wal")).unwrap().len();
    let length = usize::try_from(length).unwrap();
    assert!(length > 0);
    for step in 0..=16 {
        let disk = home.path().join(format!("disk-{step}"));
        after_power_loss(&dir, &disk, length * step / 16);
        let found = open(&disk, 1);
        assert_eq!(waiting(&found), ids, "write-ahead log cut to {step}/16");
        assert!(matches!(
            found.verify_audit(None).unwrap(),
            Verified::Intact { .. }
        ));
    }
    // And with no index at all.
    let disk = home.path().join("no-index");
    after_power_loss(&dir, &disk, 0);
    fs::remove_file(disk.join("quarantine.db")).unwrap();
    fs::remove_file(disk.join("quarantine.db-wal")).unwrap();
    assert_eq!(waiting(&open(&disk, 1)), ids);
}

#[test]
fn the_worker_forgets_what_was_finished_a_year_ago_and_nothing_else() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = Arc::new(open(dir.path(), sink.port()));
    let old = hold_number(&quarantine, 1);
    let open_still = hold_number(&quarantine, 2);
    quarantine
        .drop_entry(&old, "wrong", "cli anna", at(10))
        .unwrap();
    let day = 86_400;
    let young = hold_number(&quarantine, 3);
    quarantine
        .release(&young, "cli anna", at(300 * day))
        .unwrap();
    let tokens = Arc::new(Tokens::open(dir.path(), at(0)).unwrap());
    let worker = Worker::new(
        Arc::clone(&quarantine),
        WorkerSettings {
            keep_for: std::time::Duration::from_secs(10_000 * 86_400),
            ..WorkerSettings::default()
        },
        NoticeSettings::default(),
        Templates::built_in().unwrap(),
        tokens,
        logging::discard(),
    );
    let now = at(366 * day);
    worker.tick(now).unwrap();
    worker.tick(now).unwrap();
    assert!(quarantine.detail(&old, now).is_err(), "forgotten");
    assert_eq!(state(&quarantine, &open_still, now), EntryState::Held);
    assert_eq!(state(&quarantine, &young, now), EntryState::Released);
    let Verified::Intact { .. } = quarantine.verify_audit(None).unwrap() else {
        panic!("the audit record is broken");
    };
    // Nothing of it comes back with the next start.
    drop(worker);
    drop(quarantine);
    let again = open(dir.path(), 1);
    assert!(again.detail(&old, now).is_err());
    assert_eq!(waiting(&again), [open_still]);
}

/// A configuration, and the command that uses it.
fn command(home: &Path, args: &[&str]) -> (Option<i32>, String, String) {
    let state: PathBuf = home.join("state");
    let config = home.join("milter.yaml");
    fs::write(
        &config,
        format!(
            "quarantine:\n  directory: {}\n  min_free: 1B\n",
            state.display()
        ),
    )
    .unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_straymail"))
        .arg("--config")
        .arg(&config)
        .args(args)
        .current_dir(home)
        .output()
        .unwrap();
    (
        output.status.code(),
        String::from_utf8(output.stdout).unwrap(),
        String::from_utf8(output.stderr).unwrap(),
    )
}

#[test]
fn an_admin_backs_up_checks_and_restores_by_command() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("state");
    let quarantine = Quarantine::open(settings(&dir, 1), at(0)).unwrap();
    let id = hold(&quarantine, at(0));
    let run = |args: &[&str]| command(home.path(), args);
    let (status, out, err) = run(&["backup", "saved"]);
    assert_eq!((status, err.as_str()), (Some(0), ""), "{out}");
    assert!(
        out.starts_with("backed up: 1 held messages, 2 files, "),
        "{out}"
    );
    let (status, out, _) = run(&["backup", "--check", "saved", "--json"]);
    let contents: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((status, &contents["messages"]), (Some(0), &1.into()));
    let (status, _, err) = run(&["restore", "saved"]);
    assert_eq!(status, Some(1));
    assert!(err.contains("is used by another process"), "{err}");
    drop(quarantine);
    fs::remove_dir_all(&dir).unwrap();
    let (status, out, err) = run(&["restore", "saved"]);
    assert_eq!((status, err.as_str()), (Some(0), ""));
    assert_eq!(out, format!("2 files restored to {}\n", dir.display()));
    let (status, out, _) = run(&["restore", "--missing", "saved"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "added 0 held recipients and 0 approvals that were unknown here\n"
    );
    let (_, out, _) = run(&["quarantine", "list"]);
    assert!(out.contains(id.as_str()), "{out}");
    let (status, out, _) = run(&["rotate-key", "--revoke"]);
    assert_eq!(status, Some(0));
    assert_eq!(
        out,
        "a new key signs from now on; notices sent before stopped working\n\
         senders are asked anew about 0 held recipients by the worker\n"
    );
}
