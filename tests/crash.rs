//! `kill -9` at every step of holding, releasing and dropping: nothing lost, at most one
//! duplicate for each kill.
//!
//! Needs the feature `fault-injection`; the steps run in a process of their own, which is this
//! test binary again, told by `STRAYMAIL_FAULT` where to die.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;
mod support;

use std::fmt::Write as _;
use std::io::Read as _;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use held::{MESSAGE, at, envelope, files, hold, open, recipient, settings};
use straymail::notice::{NoticeSettings, Templates};
use straymail::service::backup::{self, Existing};
use straymail::service::decide::Decision;
use straymail::service::quarantine::{Quarantine, QuarantineError};
use straymail::service::token::Tokens;
use straymail::service::worker::{AtEnd, Worker, WorkerSettings};
use straymail::store::{AuditFilter, Entry, EntryFilter, EntryState, Verified};
use support::sink::Sink;
use support::wait_for;

const SIGKILL: i32 = 9;

/// The child process: does the one thing that the environment names.
#[test]
#[ignore = "run by the other tests in a process of its own"]
fn child() {
    let variable = |name: &str| std::env::var(name).unwrap();
    let port = variable("CRASH_PORT").parse().unwrap();
    let dir = PathBuf::from(variable("CRASH_DIR"));
    if variable("CRASH_STEP") == "restore" {
        backup::restore(&saved(&dir), &dir, Existing::SetAside, at(100)).unwrap();
        return;
    }
    let quarantine = open(Path::new(&variable("CRASH_DIR")), port);
    let only = || all(&quarantine).remove(0).id;
    match variable("CRASH_STEP").as_str() {
        "hold" => drop(hold(&quarantine, at(0))),
        "release" => drop(quarantine.release(&only(), "child", at(100)).unwrap()),
        "drop" => drop(
            quarantine
                .drop_entry(&only(), "typo", "child", at(100))
                .unwrap(),
        ),
        "add missing" => drop(
            quarantine
                .add_missing(&saved(&dir), "child", at(100))
                .unwrap(),
        ),
        "decide" => drop(
            quarantine
                .decide(&only(), &Decision::SEND, "sender", at(90))
                .unwrap(),
        ),
        "tick" => {
            let second = variable("CRASH_SECOND").parse().unwrap();
            let per_hour = variable("CRASH_BUDGET").parse().unwrap();
            let end = match variable("CRASH_END").as_str() {
                "drop" => AtEnd::Drop,
                "bounce" => AtEnd::Bounce,
                _ => AtEnd::Release,
            };
            let dir = variable("CRASH_DIR");
            worker(Arc::new(quarantine), Path::new(&dir), per_hour, end)
                .tick(at(second))
                .unwrap();
        }
        other => panic!("no step {other}"),
    }
}

fn worker(quarantine: Arc<Quarantine>, dir: &Path, per_hour: u32, at_end: AtEnd) -> Worker {
    let settings = WorkerSettings {
        keep_for: Duration::from_secs(1000),
        at_end,
        own: vec!["example.org".to_owned()],
        ..WorkerSettings::default()
    };
    let notices = NoticeSettings {
        from: Some("straymail@example.org".to_owned()),
        per_hour,
        ..NoticeSettings::default()
    };
    let templates = Templates::built_in().unwrap();
    let tokens = Arc::new(Tokens::open(dir, at(0)).unwrap());
    let log = straymail::logging::discard();
    Worker::new(quarantine, settings, notices, templates, tokens, log)
}

fn start(step: &str, fault: &str, dir: &Path, port: u16) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env("CRASH_DIR", dir)
        .env("CRASH_PORT", port.to_string())
        .env("CRASH_STEP", step)
        .env("STRAYMAIL_FAULT", fault)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

/// Runs the step in a child that dies at `fault`.
fn die(step: &str, fault: &str, dir: &Path, port: u16) {
    let status = start(step, fault, dir, port).wait().unwrap();
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "{step} did not reach {fault}: {status}"
    );
}

/// Lets a worker of its own process tick at `second` and die at `fault`.
fn tick_and_die(fault: &str, second: i64, per_hour: u32, end: &str, dir: &Path, port: u16) {
    let status = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child", "--ignored"])
        .env("CRASH_DIR", dir)
        .env("CRASH_PORT", port.to_string())
        .env("CRASH_STEP", "tick")
        .env("CRASH_SECOND", second.to_string())
        .env("CRASH_BUDGET", per_hour.to_string())
        .env("CRASH_END", end)
        .env("STRAYMAIL_FAULT", fault)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(
        status.signal(),
        Some(SIGKILL),
        "the worker did not reach {fault}: {status}"
    );
}

fn all(quarantine: &Quarantine) -> Vec<Entry> {
    quarantine.entries(&EntryFilter::default(), at(0)).unwrap()
}

fn temporary(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("spool/tmp")).unwrap().count()
}

fn whole(quarantine: &Quarantine) {
    let verified = quarantine.verify_audit(None).unwrap();
    assert!(matches!(verified, Verified::Intact { .. }), "{verified:?}");
}

/// Killed while holding: the client was not answered, so it comes again.
#[test]
fn killed_while_holding_the_retry_finds_or_makes_exactly_one_entry() {
    for (fault, kept, attempts) in [
        ("hold.synced", 0, 1),
        ("hold.renamed", 1, 2),
        ("hold.recorded", 1, 2),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        die("hold", fault, dir.path(), sink.port());

        let quarantine = open(dir.path(), sink.port());
        assert_eq!(
            all(&quarantine).len(),
            kept,
            "{fault}: entries after the crash"
        );
        assert_eq!(temporary(dir.path()), 0, "{fault}: stale files are removed");
        let id = hold(&quarantine, at(10));
        let entries = all(&quarantine);
        assert_eq!(entries.len(), 1, "{fault}");
        assert_eq!(
            (&entries[0].id, entries[0].attempts),
            (&id, attempts),
            "{fault}"
        );
        let mut message = Vec::new();
        quarantine
            .message(&entries[0])
            .unwrap()
            .read_to_end(&mut message)
            .unwrap();
        assert_eq!(message, MESSAGE, "{fault}");
        quarantine.release(&id, "tester", at(100)).unwrap();
        assert_eq!(
            (sink.deliveries().len(), files(dir.path())),
            (1, 0),
            "{fault}"
        );
        whole(&quarantine);
    }
}

/// Killed while a finished entry is held again: the first release must not cost the new copy.
#[test]
fn killed_while_holding_again_the_new_copy_is_not_lost() {
    for fault in ["hold.renamed", "hold.recorded"] {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        let quarantine = open(dir.path(), sink.port());
        let id = hold(&quarantine, at(-1000));
        quarantine
            .drop_entry(&id, "typo", "tester", at(-900))
            .unwrap();
        drop(quarantine);
        die("hold", fault, dir.path(), sink.port());

        let quarantine = open(dir.path(), sink.port());
        assert_eq!(
            quarantine.detail(&id, at(1)).unwrap().entry.state,
            EntryState::Pending,
            "{fault}"
        );
        quarantine.release(&id, "tester", at(100)).unwrap();
        assert_eq!(sink.deliveries().len(), 1, "{fault}");
    }
}

/// Killed while releasing: after the lease somebody releases again.
#[test]
fn killed_while_releasing_it_is_delivered_once_or_at_most_twice() {
    for (fault, deliveries, finished) in [
        ("release.claimed", 1, false),
        ("smtp.ehlo", 1, false),
        ("smtp.sent", 1, false),
        ("smtp.accepted", 2, false),
        ("release.injected", 2, false),
        ("release.marked", 1, true),
        ("release.removed", 1, true),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        let id = hold(&open(dir.path(), sink.port()), at(0));
        die("release", fault, dir.path(), sink.port());

        let quarantine = open(dir.path(), sink.port());
        let early = quarantine.release(&id, "tester", at(101)).unwrap_err();
        if finished {
            assert!(
                matches!(early, QuarantineError::Finished { .. }),
                "{fault}: {early}"
            );
        } else {
            assert!(
                matches!(early, QuarantineError::BeingReleased { .. }),
                "{fault}: {early}"
            );
            quarantine.release(&id, "tester", at(400)).unwrap();
        }
        let delivered = sink.wait(0, deliveries, std::time::Duration::from_secs(5));
        assert_eq!(delivered.len(), deliveries, "{fault}");
        assert!(
            delivered.iter().all(|delivery| delivery.data == MESSAGE),
            "{fault}"
        );
        assert_eq!(files(dir.path()), 0, "{fault}: the message file is gone");
        whole(&quarantine);
    }
}

#[test]
fn killed_while_dropping_it_stays_dropped_and_its_file_goes() {
    let dir = tempfile::tempdir().unwrap();
    let id = hold(&open(dir.path(), 1), at(0));
    die("drop", "drop.marked", dir.path(), 1);
    assert_eq!(files(dir.path()), 1);
    let quarantine = open(dir.path(), 1);
    assert_eq!(
        (quarantine.recovery().finished_removed, files(dir.path())),
        (1, 0)
    );
    assert_eq!(
        quarantine.detail(&id, at(200)).unwrap().entry.state,
        EntryState::Dropped
    );
}

/// What is under way when the worker dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Work {
    Notice,
    Digest,
    Send,
    Drop,
    Bounce,
    Release,
}

/// Killed at each state of the worker, once; then another worker goes on.
#[test]
fn killed_worker_loses_nothing_and_sends_at_most_one_twice() {
    use Work::{Bounce, Digest, Drop, Notice, Release, Send};
    let mut table =
        String::from("| under way | died | sent once more | lost |\n|---|---|---|---|\n");
    for (work, fault, what, twice) in [
        (Notice, "smtp.sent", "notice on its way to the MTA", 0),
        (Notice, "smtp.accepted", "the MTA has taken the notice", 1),
        (Notice, "notice.sent", "the same, before the mark", 1),
        (Notice, "notice.marked", "notice marked", 0),
        (Digest, "smtp.sent", "digest on its way to the MTA", 0),
        (Digest, "digest.sent", "the MTA has taken the digest", 1),
        (Digest, "notice.marked", "digest marked", 0),
        (Send, "release.claimed", "decision claimed", 0),
        (Send, "smtp.sent", "message on its way to the MTA", 0),
        (Send, "smtp.accepted", "the MTA has taken the message", 1),
        (Send, "release.injected", "the same, before the mark", 1),
        (Send, "release.marked", "release marked", 0),
        (Send, "release.removed", "message file removed", 0),
        (Send, "decision.carried-out", "decision carried out", 0),
        (Drop, "drop.marked", "end marked, file still there", 0),
        (Drop, "end.marked", "end marked, letter not sent", 0),
        (Drop, "smtp.sent", "letter on its way to the MTA", 0),
        (Drop, "letter.sent", "the MTA has taken the letter", 1),
        (Drop, "letter.removed", "letter removed", 0),
        (Bounce, "end.marked", "end marked, report not sent", 0),
        (Bounce, "letter.sent", "the MTA has taken the report", 1),
        (Bounce, "letter.removed", "report removed", 0),
        (Release, "end.decided", "end decided, message not sent", 0),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        let (port, path) = (sink.port(), dir.path());
        let per_hour = if work == Digest { 0 } else { 20 };
        let (end, at_end) = match work {
            Bounce => ("bounce", AtEnd::Bounce),
            Release => ("release", AtEnd::Release),
            _ => ("drop", AtEnd::Drop),
        };
        let id = hold(&open(path, port), at(0));
        let live = |second: i64| {
            let quarantine = Arc::new(open(path, port));
            worker(quarantine, path, per_hour, at_end)
                .tick(at(second))
                .unwrap();
        };
        let ends = matches!(work, Drop | Bounce | Release);
        let second = match work {
            Notice | Digest => 60,
            Send => {
                live(60);
                drop(
                    open(path, port)
                        .decide(&id, &Decision::SEND, "sender", at(90))
                        .unwrap(),
                );
                100
            }
            Drop | Bounce | Release => {
                live(60);
                1001
            }
        };
        let before = sink.deliveries().len();
        tick_and_die(fault, second, per_hour, end, path, port);
        // After the lease, and after the pause of a try that failed.
        for later in [1, 61, 200, 400, 800] {
            live(second + later);
        }
        let quarantine = open(path, port);
        let sent = sink.deliveries().split_off(before);
        let state = quarantine.detail(&id, at(2000)).unwrap().entry.state;
        // Each kind of work is one mail; a notice is followed by the end of the entry only
        // when its time is over.
        assert!(!sent.is_empty(), "{work:?} {fault}: lost");
        assert_eq!(sent.len() - 1, twice, "{work:?} {fault}: sent once more");
        let expected = match work {
            Notice | Digest => EntryState::Held,
            Send | Release => EntryState::Released,
            Drop | Bounce => EntryState::Expired,
        };
        assert_eq!(state, expected, "{work:?} {fault}");
        assert_eq!(
            files(path),
            usize::from(matches!(work, Notice | Digest)),
            "{fault}"
        );
        assert!(
            !ends || quarantine.counts().unwrap().decisions == 0,
            "{fault}"
        );
        whole(&quarantine);
        let _ = writeln!(table, "| {work:?} | {what} (`{fault}`) | {twice} | 0 |");
    }
    println!("{table}");
}

/// One process hangs in the middle of a release while others try.
#[test]
fn while_one_process_releases_no_other_does() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    let mut hanging = start("release", "smtp.sent:hang", dir.path(), sink.port());
    let claimed = wait_for("the claim", || {
        let state = quarantine.detail(&id, at(100))?.entry.state;
        Ok((state == EntryState::Releasing).then_some(()))
    });
    let second = start("release", "", dir.path(), sink.port())
        .wait()
        .unwrap();
    hanging.kill().unwrap();
    hanging.wait().unwrap();
    claimed.unwrap();
    assert!(!second.success(), "the second release was refused");
    assert_eq!(sink.deliveries().len(), 0);
    quarantine.release(&id, "tester", at(400)).unwrap();
    assert_eq!(sink.deliveries().len(), 1);
}

/// Where the backup is that goes with a state directory.
fn saved(dir: &Path) -> PathBuf {
    dir.with_file_name("saved")
}

/// Makes a backup in which a message waits for one recipient and was dropped for the other, and
/// returns whom it waits for.
fn back_up_half_decided(home: &Path, port: u16) -> String {
    let quarantine = open(&home.join("lost"), port);
    let mut envelope = envelope(at(0));
    envelope
        .recipients
        .push(recipient(b"<dora@army.ml>", "dora@army.ml"));
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let ids = quarantine.hold(draft, envelope, at(0)).unwrap();
    quarantine
        .drop_entry(&ids[0], "typo", "tester", at(50))
        .unwrap();
    backup::backup(&quarantine, &home.join("saved")).unwrap();
    "dora@army.ml".to_owned()
}

fn waiting_for(quarantine: &Quarantine) -> Vec<String> {
    let open = |entry: &Entry| entry.state.is_open();
    (all(quarantine).into_iter().filter(open))
        .map(|entry| entry.address)
        .collect()
}

/// Killed while adding from a backup: nobody waits again for whom it was decided before.
#[test]
fn killed_while_adding_from_a_backup_only_those_wait_who_waited_then() {
    for (fault, kept) in [
        ("restore.brought", 0),
        ("restore.placed", 0),
        ("restore.entered", 1),
        ("restore.approved", 1),
    ] {
        let home = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        let expected = back_up_half_decided(home.path(), sink.port());
        let dir = home.path().join("state");
        die("add missing", fault, &dir, sink.port());

        let quarantine = open(&dir, sink.port());
        let found = waiting_for(&quarantine);
        assert_eq!(found, vec![expected.clone(); kept], "{fault}");
        assert_eq!((files(&dir), temporary(&dir)), (kept, 0), "{fault}");
        quarantine
            .add_missing(&saved(&dir), "tester", at(200))
            .unwrap();
        assert_eq!(waiting_for(&quarantine), [expected], "{fault}");
        assert_eq!((files(&dir), temporary(&dir)), (1, 0), "{fault}");
        let begun = (quarantine.audit(&AuditFilter::default()).unwrap().iter())
            .filter_map(|record| record.event.detail.as_deref())
            .filter(|detail| detail.starts_with("begins to add"))
            .count();
        assert_eq!(
            begun, 2,
            "{fault}: in the audit record, also of the one that died"
        );
        let left = std::fs::read_dir(&dir).unwrap().flatten();
        let left = left.filter(|one| one.file_name().to_string_lossy().starts_with("restore-"));
        assert_eq!(left.count(), 0, "{fault}: a copy of the database");
        let id = (all(&quarantine).into_iter())
            .find(|entry| entry.state.is_open())
            .unwrap()
            .id;
        quarantine.release(&id, "tester", at(300)).unwrap();
        assert_eq!((sink.deliveries().len(), files(&dir)), (1, 0), "{fault}");
        whole(&quarantine);
    }
}

/// Killed while adding, and the client hands the same message in once more before anybody looks.
#[test]
fn killed_while_adding_from_a_backup_a_retry_is_held_for_all_its_recipients() {
    let home = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let dir = home.path().join("state");
    let running = open(&dir, sink.port());
    let lost = open(&home.path().join("lost"), sink.port());
    hold(&lost, at(0));
    backup::backup(&lost, &home.path().join("saved")).unwrap();
    die("add missing", "restore.placed", &dir, sink.port());
    let id = hold(&running, at(60));
    let quarantine = open(&dir, sink.port());
    assert_eq!(waiting_for(&quarantine), ["carl@army.ml"]);
    quarantine.release(&id, "tester", at(300)).unwrap();
    assert_eq!((sink.deliveries().len(), files(&dir)), (1, 0));
}

/// Killed while restoring: what is half there is not used, and restored again.
#[test]
fn killed_while_restoring_nothing_is_used_before_all_of_it_is_there() {
    for fault in [
        "restore.begun",
        "restore.aside",
        "restore.filled",
        "restore.whole",
    ] {
        let home = tempfile::tempdir().unwrap();
        let sink = Sink::start().unwrap();
        let expected = back_up_half_decided(home.path(), sink.port());
        let dir = home.path().join("state");
        hold(&open(&dir, sink.port()), at(0));
        die("restore", fault, &dir, sink.port());

        let refused = Quarantine::open(settings(&dir, sink.port()), at(0)).unwrap_err();
        assert_eq!(
            refused.to_string(),
            format!(
                "{} holds half of a backup: its restore was broken off; run `straymail restore --replace` with that backup again",
                dir.display()
            ),
            "{fault}"
        );
        backup::restore(&saved(&dir), &dir, Existing::SetAside, at(200)).unwrap();
        let quarantine = open(&dir, sink.port());
        assert_eq!(waiting_for(&quarantine), [expected], "{fault}");
        assert_eq!((files(&dir), temporary(&dir)), (1, 0), "{fault}");
        whole(&quarantine);
        // What was there before is set aside, in one piece or two.
        let aside = std::fs::read_dir(&dir).unwrap().flatten();
        let aside = aside.filter(|one| one.file_name().to_string_lossy().starts_with("replaced-"));
        assert!(aside.count() > 0, "{fault}");
    }
}

/// Killed at random moments, with a retry after each: holds and releases of the same message.
#[test]
fn killed_at_random_nothing_is_lost() {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let mut kills = 0;
    for round in 0..40_u64 {
        let step = if round % 2 == 0 { "hold" } else { "release" };
        let mut child = start(step, "", dir.path(), sink.port());
        // Spread over the few milliseconds that a child lives.
        std::thread::sleep(std::time::Duration::from_micros(round * 977 % 25_000));
        let _ = child.kill();
        kills += usize::from(child.wait().unwrap().signal() == Some(SIGKILL));
    }
    let quarantine = open(dir.path(), sink.port());
    let id = hold(&quarantine, at(0));
    let before = sink.deliveries().len();
    quarantine.release(&id, "tester", at(100_000)).unwrap();
    assert_eq!(sink.deliveries().len(), before + 1);
    assert_eq!(
        (
            all(&quarantine).len(),
            files(dir.path()),
            temporary(dir.path())
        ),
        (1, 0, 0)
    );
    whole(&quarantine);
    println!("{kills} of 40 children were killed, {before} messages delivered before the last");
}
