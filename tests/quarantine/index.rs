//! The index: rebuilt when it is lost or damaged, and opened whatever version wrote it.

use super::*;

#[test]
fn an_index_rebuilt_from_the_files_equals_the_lost_one() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    hold_as(&quarantine, for_two(0));
    let mut odd = envelope(at(5));
    odd.sender = Octets::from("<>");
    odd.sender_address = String::new();
    odd.recipients = vec![recipient(b"<\x01\xff\"\\ @\xd0>", "\\u{1}\\xff@\\xd0")];
    hold_as(&quarantine, odd);
    let before = all(&quarantine, 100);
    let explained = quarantine
        .detail(&before[0].id, at(100))
        .unwrap()
        .assessment;
    drop(quarantine);
    for name in ["quarantine.db", "quarantine.db-wal", "quarantine.db-shm"] {
        let _ = fs::remove_file(dir.path().join(name));
    }

    let quarantine = open(dir.path(), 1);

    assert_eq!(quarantine.recovery().entries_rebuilt, 3);
    assert_eq!(all(&quarantine, 100), before);
    assert_eq!(
        quarantine
            .detail(&before[0].id, at(100))
            .unwrap()
            .assessment,
        explained
    );
    assert!(explained.is_some());
    drop(quarantine);
    assert_eq!(open(dir.path(), 1).recovery().entries_rebuilt, 0);
}

#[test]
fn an_index_that_was_removed_under_a_process_is_not_made_anew_beside_it() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, at(0));
    for file in ["quarantine.db", "quarantine.db-wal", "quarantine.db-shm"] {
        let _ = fs::remove_file(dir.path().join(file));
    }
    let missing = |error: &QuarantineError| {
        matches!(
            error,
            QuarantineError::Store(StoreError::MissingInUse { .. })
        )
    };
    let error = Quarantine::open(settings(dir.path(), 1), at(50)).unwrap_err();
    assert!(missing(&error), "{error}");
    assert!(!dir.path().join("quarantine.db").exists());
    // Nor does that one go on in what nobody will ever read.
    let error = quarantine.release(&id, "test", at(60)).unwrap_err();
    assert!(missing(&error), "{error}");
    drop(quarantine);
    let quarantine = open(dir.path(), 1);
    assert_eq!(quarantine.recovery().entries_rebuilt, 1);
    assert_eq!(state(&quarantine, &id, at(100)), EntryState::Held);
}

#[test]
fn a_damaged_index_is_moved_aside_and_rebuilt_unless_somebody_uses_it() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("quarantine.db");
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, at(0));
    drop(quarantine);
    fs::write(
        &database,
        b"this is not a database, but long enough to look at it".repeat(100),
    )
    .unwrap();
    let in_use = fs::File::open(dir.path().join("quarantine.lock")).unwrap();
    rustix::fs::flock(&in_use, rustix::fs::FlockOperation::LockShared).unwrap();
    let error = Quarantine::open(settings(dir.path(), 1), at(50)).unwrap_err();
    assert!(
        matches!(
            error,
            QuarantineError::Store(StoreError::DamagedInUse { .. })
        ),
        "{error}"
    );
    drop(in_use);

    let quarantine = open(dir.path(), 1);

    assert!(
        quarantine
            .recovery()
            .index_kept_as
            .as_ref()
            .unwrap()
            .exists()
    );
    assert_eq!(state(&quarantine, &id, at(100)), EntryState::Held);
    let kinds: Vec<_> = quarantine
        .audit(&AuditFilter::default())
        .unwrap()
        .iter()
        .map(|row| row.event.kind)
        .collect();
    assert_eq!(kinds, [EventKind::IndexReplaced, EventKind::Rebuilt]);
}

#[test]
fn damage_in_the_middle_of_the_index_is_found_at_the_start() {
    let dir = tempfile::tempdir().unwrap();
    let database = dir.path().join("quarantine.db");
    let quarantine = open(dir.path(), 1);
    for n in 0..50 {
        let mut one = envelope(at(n));
        one.recipients = vec![recipient(format!("<r{n}@army.ml>").as_bytes(), "r@army.ml")];
        hold_as(&quarantine, one);
    }
    drop(quarantine);
    let mut content = fs::read(&database).unwrap();
    let middle = content.len() / 2;
    content[middle..].fill(0x55);
    fs::write(&database, content).unwrap();

    let quarantine = open(dir.path(), 1);

    assert!(quarantine.recovery().index_kept_as.is_some());
    assert_eq!(all(&quarantine, 0).len(), 50);
    hold(&quarantine, at(0));
}

#[test]
fn a_file_that_does_not_read_is_reported_and_the_others_are_taken_up() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, at(0));
    drop(quarantine);
    fs::remove_file(dir.path().join("quarantine.db")).unwrap();
    fs::write(dir.path().join("spool").join("0".repeat(64)), b"rubbish").unwrap();
    fs::write(dir.path().join("spool/README"), b"not ours").unwrap();
    let quarantine = open(dir.path(), 1);
    assert_eq!(quarantine.recovery().damaged.len(), 1);
    assert_eq!(ids(&quarantine, 100), [id]);
}

#[test]
fn a_locked_database_is_an_error_in_time_not_a_hang() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let holder = rusqlite::Connection::open(dir.path().join("quarantine.db")).unwrap();
    holder.execute_batch("BEGIN IMMEDIATE").unwrap();
    let started = Instant::now();
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let error = quarantine.hold(draft, envelope(at(0)), at(0)).unwrap_err();
    let waited = started.elapsed();
    assert!(
        matches!(error, HoldError::Store(StoreError::Locked { .. })),
        "{error}"
    );
    assert!(
        (Duration::from_secs(4)..Duration::from_secs(9)).contains(&waited),
        "{waited:?}"
    );
    assert_eq!(files(dir.path()), 0, "nothing was put in place");
    // Reading goes on meanwhile.
    assert_eq!(all(&quarantine, 0), []);
    assert_eq!(
        quarantine
            .approval("a@b.example", "c@d.example", at(0))
            .unwrap(),
        None
    );
    holder.execute_batch("ROLLBACK").unwrap();
    hold(&quarantine, at(0));
}

#[test]
fn a_database_of_every_earlier_version_is_opened() {
    for (version, text) in [
        (1, include_str!("../held/version-1.sql")),
        (2, include_str!("../held/version-2.sql")),
        (3, include_str!("../held/version-3.sql")),
        (4, include_str!("../held/version-4.sql")),
    ] {
        let dir = tempfile::tempdir().unwrap();
        let database = rusqlite::Connection::open(dir.path().join("quarantine.db")).unwrap();
        database.execute_batch(text).unwrap();
        drop(database);
        let quarantine = open(dir.path(), 1);
        let entries = all(&quarantine, 1000);
        assert_eq!(entries.len(), 1, "version {version}");
        let id = &entries[0].id;
        assert_eq!(
            (id.as_str(), entries[0].state),
            ("YYGV7R7MX5", EntryState::Held)
        );
        // A log was read twice in version 4.
        let expected = if version > 3 { 3 } else { 1 };
        assert!(matches!(
            quarantine.verify_audit(None).unwrap(),
            Verified::Intact { rows, .. } if rows == expected
        ));
        assert!(
            quarantine
                .approval("anna@example.org", "x@navy.ml", at(0))
                .unwrap()
                .is_some()
        );
        let decision = quarantine.pending_decision(id).unwrap();
        assert_eq!(
            decision.and_then(|decision| decision.corrected).as_deref(),
            (version > 1).then_some("carl@army.mil")
        );
        let counts = quarantine.counts().unwrap();
        assert_eq!(counts.letters, u64::from(version > 2));
        assert_eq!(counts.worker_seen_at, (version > 2).then_some(at(300)));
        // What was held before the key knew of the subject has another; from now on a later
        // version must give the same.
        let again = hold(&quarantine, at(1000));
        assert_ne!(again, *id);
        assert_eq!(again.as_str(), "E960CJPVDD");
    }
}
