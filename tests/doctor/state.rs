//! What is found in the state directory, at the worker, the clock and the lists.

use super::*;

#[test]
fn state_worker_clock_and_lists_are_looked_at() -> Result<()> {
    let Some(mut site) = site()? else {
        return Ok(());
    };
    let store = site.store();
    let shown = store.display();

    fs::set_permissions(&store, Permissions::from_mode(0o755))?;
    site.mended(
        "warning",
        "state-directory",
        &format!("{shown} has mode 0755"),
        &[&format!("chmod 0700 {shown}")],
    )?;
    let foreign = store.join("note");
    fs::write(&foreign, "of somebody else")?;
    std::os::unix::fs::chown(&foreign, Some(1), Some(1))?;
    site.mended(
        "error",
        "state-directory",
        &format!(
            "1 of the files in {shown} belong to somebody else than the directory, such as {}",
            foreign.display()
        ),
        &[&format!("chown -R --reference={shown} {shown}")],
    )?;

    site.edit(json!({"quarantine": {"min_free": "1000000GiB"}}))?;
    let finding = site.finding()?;
    assert_eq!((&*finding.severity, &*finding.check), ("error", "disk"));
    assert!(
        finding
            .found
            .ends_with("quarantine.min_free is 1024000000 MiB"),
        "{finding:?}"
    );

    for (trusted, severity, check, found) in [
        (
            json!({"domains": ["army.mil"], "suffixes": [".mil", ".ml"]}),
            "warning",
            "trusted",
            "the whole ending .ml is trusted",
        ),
        (
            json!({"own": ["example.org", "gmail.com"]}),
            "error",
            "trusted",
            "gmail.com is given as your own domain",
        ),
    ] {
        site.edit(json!({ "trusted": trusted }))?;
        let finding = site.finding()?;
        assert_eq!((&*finding.severity, &*finding.check), (severity, check));
        assert!(finding.found.starts_with(found), "{finding:?}");
    }
    let mistaken = json!({"policy": {"mood": "observe"}});
    site.settings.clone().with(mistaken).write()?;
    let finding = site.finding()?;
    assert_eq!(
        (&*finding.severity, &*finding.check),
        ("error", "configuration")
    );
    assert!(finding.found.contains("policy.mood"), "{finding:?}");
    // Mended, and not yet in force.
    site.settings.write()?;
    let finding = site.finding()?;
    let file = site.settings.config_path();
    assert_eq!(
        (&*finding.severity, &*finding.check, finding.found),
        (
            "warning",
            "running",
            format!(
                "{} was changed after the milter had read it",
                file.display()
            )
        )
    );
    assert_eq!(finding.run, ["systemctl reload straymail"]);
    site.edit(json!({}))?;
    site.sound()?;

    // What the store says of worker, clock and version; the daemon is away meanwhile.
    site.stop()?;
    let database = rusqlite::Connection::open(store.join("quarantine.db"))?;
    let now = "(CAST(strftime('%s') AS INTEGER) * 1000)";
    let say = |sql: &str| -> Result<Vec<(String, String)>> {
        database.execute_batch(sql)?;
        let findings = site.findings()?.into_iter();
        Ok(findings
            .filter(|finding| ["worker", "clock", "store"].contains(&&*finding.check))
            .map(|finding| (finding.check, finding.found))
            .collect())
    };
    let found = say(&format!("UPDATE worker SET seen_at = {now} - 3600000"))?;
    assert_eq!(found.len(), 1);
    assert!(
        found[0].1.starts_with("the worker was last seen at "),
        "{found:?}"
    );
    let found = say("DELETE FROM worker")?;
    assert_eq!(
        found,
        [("worker".to_owned(), "the worker has never run".to_owned())]
    );
    let found = say(&format!(
        "INSERT INTO worker VALUES (1, {now} + 3600000, 0)"
    ))?;
    assert_eq!(found.len(), 1);
    assert!(found[0].1.starts_with("the clock says "), "{found:?}");
    let version: i64 = database.query_row("PRAGMA user_version", [], |row| row.get(0))?;
    let found = say("PRAGMA user_version = 99")?;
    assert_eq!(
        found,
        [(
            "store".to_owned(),
            format!("the store has schema version 99, this straymail knows up to {version}")
        )]
    );
    database.execute_batch(&format!(
        "PRAGMA user_version = {version}; DELETE FROM worker"
    ))?;
    drop(database);
    site.restart()?;
    site.sound()
}

/// A directory mounted on itself, read-only.
struct ReadOnly(PathBuf);

impl ReadOnly {
    fn mount(directory: PathBuf) -> Result<ReadOnly> {
        run(Command::new("mount")
            .arg("--bind")
            .args([&directory, &directory]))?;
        let mounted = ReadOnly(directory);
        run(Command::new("mount")
            .args(["-o", "remount,bind,ro"])
            .arg(&mounted.0))?;
        Ok(mounted)
    }
}

impl Drop for ReadOnly {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_state_directory_that_became_read_only_is_told() -> Result<()> {
    let Some(site) = site()? else { return Ok(()) };
    let store = site.store();
    let _mounted = match ReadOnly::mount(store.clone()) {
        Ok(mounted) => mounted,
        Err(why) => {
            println!("skipped: {why:#}");
            return Ok(());
        }
    };
    let finding = site.finding()?;
    assert_eq!(
        (&*finding.severity, &*finding.check, finding.found),
        (
            "error",
            "state-directory",
            format!(
                "the file system of {} is mounted read-only",
                store.display()
            )
        )
    );
    // Only the command is looked at: other file systems of the host may be below it.
    assert_eq!(
        finding.run,
        [format!(
            "mount -o remount,rw \"$(findmnt -n -o TARGET -T {})\"",
            store.display()
        )]
    );
    Ok(())
}
