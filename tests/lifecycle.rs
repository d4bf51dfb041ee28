//! Start, reload and stop of the daemon, with mail flowing through a real Postfix where it matters.

mod support;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use serde_json::json;
use support::daemon::{Daemon, Library, Settings, on_each};
use support::milter_client::MilterClient;
use support::postfix::{Options, Postfix};
use support::smtp_client::SmtpClient;
use support::wait_for;

fn bench() -> Result<(tempfile::TempDir, Settings)> {
    let directory = tempfile::Builder::new()
        .prefix("straymail-life-")
        .tempdir()?;
    let settings = Settings::in_directory(directory.path());
    Ok((directory, settings))
}

/// The answer to a recipient in a new session.
fn answer(settings: &Settings, recipient: &str) -> Result<String> {
    let socket = settings.directory.join("milter.sock");
    let (rcpt, _) = MilterClient::session(&socket, "alice@army.mil", &[recipient])?;
    Ok(rcpt.concat())
}

#[test]
fn reload_with_a_broken_file_keeps_the_old_configuration_and_says_why() -> Result<()> {
    let (_directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
    fs::write(
        settings.config_path(),
        "policy:\n  reject_at: 140\n  on_error: accpet\ntrustd: {}\n",
    )?;
    daemon.signal(Signal::HUP)?;
    wait_for("the reason in the log", || {
        let log = daemon.log();
        let all = [
            "configuration not reloaded",
            "reject_at",
            "accpet",
            "trustd",
        ];
        Ok(all.iter().all(|part| log.contains(part)).then_some(()))
    })
    .with_context(|| daemon.log())?;
    ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
    daemon.stop()
}

#[test]
fn reload_puts_new_rules_into_force_for_new_sessions_only() -> Result<()> {
    let (_directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    let mut old = MilterClient::open(&socket)?;
    old.connect_from("127.0.0.1", 40_000)?;
    old.mail("alice@army.mil")?;
    let observing = settings
        .clone()
        .with(serde_json::json!({"policy": {"mode": "observe"}}));
    observing.write()?;
    daemon.signal(Signal::HUP)?;
    wait_for("the new rules", || {
        Ok((answer(&settings, "c@army.ml")? == "c").then_some(()))
    })
    .with_context(|| daemon.log())?;
    let frame = old.rcpt("c@army.ml")?.context("no answer")?;
    ensure!(
        frame.command == b'y',
        "judged by the new rules: {}",
        frame.text()
    );
    drop(old);
    daemon.stop()
}

#[test]
fn stop_lets_an_open_session_finish() -> Result<()> {
    let (_directory, settings) = bench()?;
    let mut daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    let mut client = MilterClient::open(&socket)?;
    client.connect_from("127.0.0.1", 40_000)?;
    client.mail("alice@army.mil")?;
    client.rcpt("bob@navy.mil")?;
    daemon.signal(Signal::TERM)?;
    wait_for("the door to be closed", || {
        Ok(MilterClient::connect(&socket).is_err().then_some(()))
    })?;
    ensure!(daemon.is_running(), "stopped with a session open");
    client.content()?;
    let end = client.end()?;
    ensure!(
        end.last().is_some_and(|last| last.command == b'c'),
        "{end:?}"
    );
    client.send(b'Q', b"")?;
    drop(client);
    let status = daemon.wait()?;
    ensure!(status.success(), "{status}\n{}", daemon.log());
    Ok(())
}

#[test]
fn start_with_a_broken_file_names_every_problem_and_exits_78() -> Result<()> {
    let (_directory, settings) = bench()?;
    let mut broken = settings.clone().with(serde_json::json!({
        "policy": {"reject_at": 140, "on_error": "accpet"},
    }));
    broken.config["trustd"] = serde_json::json!({});
    let mut daemon = Daemon::spawn(&broken)?;
    let status = daemon.wait()?;
    let log = daemon.log();
    assert_eq!(status.code(), Some(78), "{log}");
    for part in ["reject_at", "accpet", "trustd"] {
        ensure!(log.contains(part), "no {part:?} in:\n{log}");
    }
    Ok(())
}

/// How clients fared while the daemon was replaced.
#[derive(Debug, Default)]
struct Load {
    accepted: AtomicUsize,
    tempfailed: AtomicUsize,
    other: AtomicUsize,
}

/// Sends mail over several connections while `during` runs.
fn under_load(postfix: &Postfix, during: impl FnOnce() -> Result<()>) -> Result<Load> {
    let load = Load::default();
    let stop = AtomicBool::new(false);
    let outcome = thread::scope(|scope| {
        for sender in 0..8 {
            let (load, stop) = (&load, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let data = format!("Subject: load of {sender}\n\ntext\n");
                    let counter = match SmtpClient::open(postfix.submission_port)
                        .and_then(|mut c| c.message("alice@army.mil", &["bob@navy.mil"], &data))
                    {
                        Ok(transaction) if transaction.accepted() => &load.accepted,
                        Ok(transaction) if transaction.last().starts_with("45") => &load.tempfailed,
                        _ => &load.other,
                    };
                    counter.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        let enough = |least: usize| {
            wait_for("mail to flow", || {
                Ok((load.accepted.load(Ordering::Relaxed) >= least).then_some(()))
            })
        };
        let outcome = enough(20).and_then(|()| during()).and_then(|()| {
            let so_far = load.accepted.load(Ordering::Relaxed);
            enough(so_far + 20)
        });
        stop.store(true, Ordering::Relaxed);
        outcome
    });
    outcome.map(|()| load)
}

#[test]
fn restart_under_load_by_takeover_costs_no_451_and_without_it_they_are_counted() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let settings = Settings::for_postfix(&postfix);
    let mut current = Some(Daemon::start(&settings)?);

    // A new instance takes the socket over before the old one is asked to stop.
    let load = under_load(&postfix, || {
        for _ in 0..3 {
            let old = current.take().context("no daemon")?;
            let inode = |path: &std::path::Path| {
                fs::metadata(path)
                    .map(|m| std::os::unix::fs::MetadataExt::ino(&m))
                    .ok()
            };
            let before = inode(&postfix.milter_socket);
            let new = Daemon::spawn(&settings)?;
            wait_for("the new instance to take the socket", || {
                Ok((inode(&postfix.milter_socket) != before).then_some(()))
            })
            .with_context(|| new.log())?;
            old.stop()?;
            current = Some(new);
        }
        Ok(())
    })?;
    println!("3 restarts by takeover, 8 senders: {load:?}");
    assert_eq!(load.tempfailed.load(Ordering::Relaxed), 0, "{load:?}");
    assert_eq!(load.other.load(Ordering::Relaxed), 0, "{load:?}");

    // Stop, then start: while nobody listens Postfix says 451 and nothing else goes wrong.
    let load = under_load(&postfix, || {
        current.take().context("no daemon")?.stop()?;
        current = Some(Daemon::start(&settings)?);
        Ok(())
    })?;
    println!("1 stop and start, 8 senders: {load:?}");
    assert_eq!(load.other.load(Ordering::Relaxed), 0, "{load:?}");

    postfix.settle(&[])?;
    current.context("no daemon")?.stop()
}

/// Whoever has connected is served, also if the old instance had not accepted them yet.
#[test]
fn takeover_resets_no_waiting_connection() -> Result<()> {
    const TAKEOVERS: usize = 15;
    let (_directory, settings) = bench()?;
    let socket = settings.directory.join("milter.sock");
    let mut current = Daemon::start(&settings)?;
    let stop = AtomicBool::new(false);
    let served = AtomicUsize::new(0);
    let failures = thread::scope(|scope| -> Result<Vec<String>> {
        let clients: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    let mut failures = Vec::new();
                    while !stop.load(Ordering::Relaxed) {
                        match MilterClient::session(&socket, "alice@army.mil", &["b@navy.mil"]) {
                            Ok(_) => drop(served.fetch_add(1, Ordering::Relaxed)),
                            Err(error) => failures.push(format!("{error:#}")),
                        }
                    }
                    failures
                })
            })
            .collect();
        let mut replace = || -> Result<()> {
            let inode = || fs::metadata(&socket).map(|m| std::os::unix::fs::MetadataExt::ino(&m));
            let before = inode()?;
            let new = Daemon::spawn(&settings)?;
            wait_for("the new instance to take the socket", || {
                Ok((inode()? != before).then_some(()))
            })?;
            std::mem::replace(&mut current, new).stop()
        };
        let replaced = (0..TAKEOVERS).try_for_each(|_| replace());
        stop.store(true, Ordering::Relaxed);
        let mut failures = Vec::new();
        for client in clients {
            let of_one = client
                .join()
                .map_err(|_| anyhow::anyhow!("a client panicked"))?;
            failures.extend(of_one);
        }
        replaced.map(|()| failures)
    })?;
    println!("{TAKEOVERS} takeovers, {served:?} sessions served");
    ensure!(
        failures.is_empty(),
        "{} failed: {failures:?}",
        failures.len()
    );
    current.stop()
}

/// A second daemon for the sockets of `settings`, with its own store, and `changes`.
fn second(
    settings: &Settings,
    changes: serde_json::Value,
) -> Result<(tempfile::TempDir, Settings)> {
    let directory = tempfile::Builder::new()
        .prefix("straymail-second-")
        .tempdir()?;
    let listeners = settings.config["listeners"].clone();
    let second = Settings::in_directory(directory.path())
        .with(json!({"listeners": listeners}))
        .with(changes);
    second.write()?;
    Ok((directory, second))
}

fn inode(path: &Path) -> Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::ino(&fs::metadata(path)?))
}

/// Whatever a second start fails at, the first serves on, at its UNIX socket and its port.
#[test]
fn start_that_fails_takes_nothing_from_the_instance_that_serves() -> Result<()> {
    let (directory, mut settings) = bench()?;
    let free = std::net::TcpListener::bind("127.0.0.1:0")?;
    let port = free.local_addr()?;
    drop(free);
    let unix = settings.config["listeners"][0].clone();
    let inet = json!({"socket": format!("inet:{port}"), "role": "submission"});
    settings.config["listeners"] = json!([unix, inet]);
    let daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    let before = inode(&socket)?;
    let taken = std::net::TcpListener::bind("127.0.0.1:0")?;
    let elsewhere = json!({"socket": "unix:/nowhere/at/all.sock", "role": "submission"});
    for (changes, why) in [
        (
            json!({"metrics": {"listen": format!("inet:{}", taken.local_addr()?)}}),
            "metrics.listen",
        ),
        (
            json!({"listeners": [unix, inet, elsewhere]}),
            "/nowhere/at/all.sock",
        ),
        (
            json!({"listeners": [unix, {"socket": format!("inet:{}", taken.local_addr()?)}]}),
            "Address already in use",
        ),
    ] {
        let (_second, second) = second(&settings, changes)?;
        let output = support::daemon::command(&second, &["run"])?;
        ensure!(output.code == 1 && output.text.contains(why), "{output:?}");
        for _ in 0..8 {
            ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
            let mut client = MilterClient::open_tcp(port)?;
            client.connect_from("127.0.0.1", 40_000)?;
            client.mail("alice@army.mil")?;
            let frame = client.rcpt("c@army.ml")?.context("no answer")?;
            ensure!(frame.command == b'y', "{}", frame.text());
        }
        assert_eq!(inode(&socket)?, before);
        let names = fs::read_dir(directory.path())?.flatten();
        let sockets = names.filter(|name| name.path().to_string_lossy().contains(".sock"));
        assert_eq!(sockets.count(), 1, "left behind");
    }
    daemon.stop()?;
    ensure!(!socket.exists(), "left behind");
    Ok(())
}

/// Started by mistake beside the one that serves, and stopped again.
#[test]
fn second_instance_that_stops_gives_the_socket_back() -> Result<()> {
    let (directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    let socket = settings.directory.join("milter.sock");
    let before = inode(&socket)?;
    let (_second, second) = second(&settings, json!({"policy": {"mode": "observe"}}))?;
    let other = Daemon::spawn(&second)?;
    wait_for("the second to take the socket", || {
        Ok((inode(&socket)? != before).then_some(()))
    })?;
    ensure!(answer(&settings, "c@army.ml")? == "c");
    other.stop()?;
    assert_eq!(inode(&socket)?, before);
    ensure!(answer(&settings, "c@army.ml")?.starts_with("y550"));
    daemon.stop()?;
    let names = fs::read_dir(directory.path())?.flatten();
    let sockets = names.filter(|name| name.path().to_string_lossy().contains(".sock"));
    assert_eq!(sockets.count(), 0, "left behind");
    Ok(())
}

/// The other program is this one.
#[test]
fn socket_of_another_program_is_not_taken() -> Result<()> {
    on_each(|library| {
        let (_directory, settings) = bench()?;
        settings.write()?;
        let socket = settings.directory.join("milter.sock");
        let listener = std::os::unix::net::UnixListener::bind(&socket)?;
        let before = inode(&socket)?;
        let mut arguments = vec!["milter"];
        if library != Library::Indymilter {
            arguments.extend(["--library", "libmilter"]);
        }
        let output = support::daemon::command(&settings, &arguments)?;
        let why = format!(
            "cannot listen at unix:{}: another program (\"",
            socket.display()
        );
        ensure!(
            output.code == 1
                && output.text.contains(&why)
                && output
                    .text
                    .contains("listens there; stop it, or use another path"),
            "{output:?}"
        );
        assert_eq!(inode(&socket)?, before);
        std::os::unix::net::UnixStream::connect(&socket)?;
        drop(listener);
        // Now nobody answers.
        Daemon::start(&settings.on(library))?.stop()
    })
}

/// Every message has its own wrong recipient, so that each can be accounted for.
#[test]
fn kill_9_under_load_leaks_nothing_and_loses_nothing() -> Result<()> {
    const KILLS: u32 = 20;
    const SENDERS: usize = 4;
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let settings = Settings::for_postfix(&postfix).with(serde_json::json!({
        "policy": {"suspect": "hold", "certain": "hold"},
    }));
    let mut daemon = Daemon::start(&settings)?;
    let stop = AtomicBool::new(false);
    let deferred = AtomicUsize::new(0);
    let sent = thread::scope(|scope| -> Result<Vec<String>> {
        let senders: Vec<_> = (0..SENDERS)
            .map(|sender| {
                let (postfix, stop, deferred) = (&postfix, &stop, &deferred);
                scope.spawn(move || -> Result<Vec<String>> {
                    let mut accepted = Vec::new();
                    for number in 0.. {
                        if stop.load(Ordering::Relaxed) {
                            break;
                        }
                        let name = format!("m{sender}x{number}");
                        let (good, bad) = (format!("{name}@navy.mil"), format!("{name}@army.ml"));
                        let data = format!("Message-ID: <{name}@client.test>\n\ntext\n");
                        // Like a mail server, the client tries until it is told 250.
                        wait_for("a 250", || {
                            let mut client = SmtpClient::open(postfix.submission_port)?;
                            let tried = client.message("alice@army.mil", &[&good, &bad], &data)?;
                            if !tried.accepted() {
                                deferred.fetch_add(1, Ordering::Relaxed);
                                ensure!(tried.last().starts_with('4'), "{}", tried.last());
                            }
                            Ok(tried.accepted().then_some(()))
                        })?;
                        accepted.push(name);
                    }
                    Ok(accepted)
                })
            })
            .collect();
        let killed = (0..KILLS).try_for_each(|kill| -> Result<()> {
            // Somewhere in the middle of whatever it is doing.
            thread::sleep(Duration::from_millis(u64::from(kill * 37 % 100)));
            daemon.signal(Signal::KILL)?;
            daemon.wait()?;
            daemon = Daemon::start(&settings)?;
            Ok(())
        });
        stop.store(true, Ordering::Relaxed);
        let mut sent = Vec::new();
        for sender in senders {
            let names = sender
                .join()
                .map_err(|_| anyhow::anyhow!("a sender panicked"))?;
            sent.extend(names?);
        }
        killed.map(|()| sent)
    })?;
    postfix.settle(&[])?;
    let delivered: Vec<String> = (postfix.sink.deliveries().into_iter())
        .flat_map(|delivery| delivery.recipients)
        .map(|(recipient, _)| recipient)
        .collect();
    let held: Vec<String> = (daemon.held()?.into_iter())
        .map(|entry| entry.recipient)
        .collect();
    let count = |list: &[String], name: &str| list.iter().filter(|x| *x == name).count();
    let (mut lost, mut twice) = (Vec::new(), 0);
    for name in &sent {
        let good = count(&delivered, &format!("{name}@navy.mil"));
        let kept = count(&held, &format!("{name}@army.ml"));
        if good == 0 || kept != 1 {
            lost.push(format!("{name}: delivered {good}, held {kept}"));
        }
        twice += usize::from(good > 1);
    }
    let leaked: Vec<&String> = delivered
        .iter()
        .filter(|r| r.ends_with("@army.ml"))
        .collect();
    println!(
        "{KILLS} kills, {} messages accepted, {} tries deferred: {} leaks, {} losses, {twice} duplicates",
        sent.len(),
        deferred.load(Ordering::Relaxed),
        leaked.len(),
        lost.len()
    );
    ensure!(leaked.is_empty(), "leaked: {leaked:?}");
    ensure!(lost.is_empty(), "lost: {lost:?}");
    daemon.stop()
}
