//! What is particular about serving with libmilter (docs/libmilter.md).

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use support::daemon::{Daemon, Library, Settings};
use support::milter_client::MilterClient;
use support::{PATIENCE, wait_for};
use tempfile::TempDir;

fn bench() -> Result<(TempDir, Settings)> {
    let directory = tempfile::Builder::new()
        .prefix("straymail-libmilter-")
        .tempdir()?;
    let settings = Settings::in_directory(directory.path()).on(Library::Libmilter);
    Ok((directory, settings))
}

fn answer(settings: &Settings, recipient: &str) -> Result<String> {
    let socket = settings.directory.join("milter.sock");
    let (rcpt, _) = MilterClient::session(&socket, "alice@army.mil", &[recipient])?;
    Ok(rcpt.concat())
}

#[test]
fn sigusr1_reloads_and_sighup_ends_the_daemon() -> Result<()> {
    let (_directory, settings) = bench()?;
    let mut daemon = Daemon::start(&settings)?;
    ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
    let observing = settings
        .clone()
        .with(json!({"policy": {"mode": "observe"}}));
    observing.write()?;
    daemon.signal(Signal::USR1)?;
    wait_for("the new rules", || {
        Ok((answer(&settings, "c@army.ml")? == "c").then_some(()))
    })
    .with_context(|| daemon.log())?;
    daemon.signal(Signal::HUP)?;
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}\n{}", daemon.log());
    Ok(())
}

/// The figure of docs/libmilter.md: nobody knocks, and a session stays open.
#[test]
fn stop_takes_some_seconds_and_says_how_many_sessions_were_cut_off() -> Result<()> {
    let (_directory, settings) = bench()?;
    let mut daemon = Daemon::start(&settings)?;
    let mut open = MilterClient::open(&settings.directory.join("milter.sock"))?;
    open.connect_from("127.0.0.1", 40_000)?;
    open.mail("alice@army.mil")?;
    daemon.signal(Signal::TERM)?;
    let start = Instant::now();
    wait_for("straymail to end", || {
        Ok((!daemon.is_running()).then_some(()))
    })?;
    println!("stopped after {:?}", start.elapsed());
    ensure!(start.elapsed() < PATIENCE / 3, "{:?}", start.elapsed());
    let log = daemon.log();
    ensure!(log.contains("cut_off=1"), "{log}");
    ensure!(open.rcpt("bob@navy.mil").is_err(), "answered by nobody");
    Ok(())
}

#[test]
fn a_second_listener_is_an_error_that_says_what_to_do() -> Result<()> {
    let (directory, mut settings) = bench()?;
    settings.write()?;
    let second = directory.path().join("local.sock");
    let mut both = settings.config["listeners"].clone();
    let listeners = both.as_array_mut().context("no list")?;
    listeners.push(json!({"socket": format!("unix:{}", second.display()), "role": "local"}));
    settings.config["listeners"] = both;
    fs::write(settings.config_path(), settings.config.to_string())?;
    let output = support::daemon::command(&settings, &["milter", "--library", "libmilter"])?;
    ensure!(
        output.code == 1
            && output.text.contains(
                "straymail: libmilter serves one listener in a process, not 2; run one process for each"
            ),
        "{output:?}"
    );
    Ok(())
}

#[test]
fn start_with_an_unknown_group_takes_no_socket_from_the_instance_that_serves() -> Result<()> {
    let (directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    let mut second = settings.clone();
    second.directory = directory.path().join("second");
    second.config["listeners"][0]["group"] = json!("no-such-group");
    second.config["quarantine"]["directory"] = json!(second.directory.join("store"));
    fs::create_dir_all(second.directory.join("store"))?;
    fs::write(second.config_path(), second.config.to_string())?;
    let output = support::daemon::command(&second, &["milter", "--library", "libmilter"])?;
    ensure!(
        output.code == 1 && output.text.contains("no such group"),
        "{output:?}"
    );
    ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
    daemon.stop()
}

#[test]
fn the_socket_has_its_mode_from_the_first_moment() -> Result<()> {
    let (_directory, settings) = bench()?;
    let settings = settings.with(json!({}));
    let socket = settings.directory.join("milter.sock");
    let daemon = Daemon::spawn(&settings)?;
    let mode = wait_for("the socket", || Ok(fs::metadata(&socket).ok()))?.permissions();
    assert_eq!(mode.mode() & 0o777, 0o666);
    daemon.stop()
}

/// The crate cannot name such a recipient to have it removed: nothing is held, nothing leaks.
#[test]
fn recipient_that_is_not_utf8_is_deferred_where_it_would_be_held() -> Result<()> {
    let (_directory, settings) = bench()?;
    let settings = settings.with(json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    let mut client = MilterClient::open(&socket)?;
    client.connect_from("127.0.0.1", 40_000)?;
    client.mail("alice@army.mil")?;
    let frame = client.step(b'R', b"<j\xe4ger@army.ml>\0")?;
    assert_eq!(frame.context("no answer")?.text(), "c");
    client.content()?;
    let end = client.end()?;
    let last = end.last().context("no answer")?.text();
    ensure!(last.starts_with("y451 4.3.0 "), "{last}");
    assert_eq!(daemon.held()?, []);
    // The next message of the session is not affected.
    let (_, end) = client.message("alice@army.mil", &["bob@navy.mil", "c@army.ml"])?;
    assert_eq!(end, ["-<c@army.ml>|", "c"]);
    drop(client);
    daemon.stop()
}

/// Of a login that does not read as UTF-8 it is known at least that somebody logged in.
#[test]
fn login_that_is_not_utf8_is_a_login() -> Result<()> {
    let (_directory, mut settings) = bench()?;
    settings.config["listeners"][0]["role"] = json!("relay");
    let daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    for (login, expected) in [(&b"j\xe4ger"[..], b'y'), (b"", b'c')] {
        let mut client = MilterClient::open(&socket)?;
        client.connect_from("198.51.100.7", 40_000)?;
        if !login.is_empty() {
            client.send(b'D', &[b"M{auth_authen}\0", login, b"\0"].concat())?;
        }
        client.mail("alice@army.mil")?;
        let frame = client.rcpt("c@army.ml")?.context("no answer")?;
        ensure!(frame.command == expected, "{login:?}: {}", frame.text());
    }
    daemon.stop()
}
