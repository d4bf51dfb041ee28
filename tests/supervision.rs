//! What an init system is told and gives: readiness, a watchdog that is told the truth, sockets,
//! and walls around the process.

mod support;

use std::fs;
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use rustix::process::Signal;
use support::daemon::{Daemon, Library, Settings};
use support::guard::Guard;
use support::milter_client::MilterClient;
use support::wait_for;

fn bench() -> Result<(tempfile::TempDir, Settings)> {
    let directory = tempfile::Builder::new()
        .prefix("straymail-init-")
        .tempdir()?;
    let settings = Settings::in_directory(directory.path());
    Ok((directory, settings))
}

/// The place where systemd listens for what a service says.
struct Notices(UnixDatagram);

impl Notices {
    /// Binds it below the directory of `settings` and lets the daemon know of it, with a watchdog
    /// of `watchdog`.
    fn open(settings: &mut Settings, watchdog: Duration) -> Result<Notices> {
        let path = settings.directory.join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let usec = watchdog.as_micros().to_string();
        settings.environment = vec![
            ("NOTIFY_SOCKET", path.display().to_string()),
            ("WATCHDOG_USEC", usec),
        ];
        Ok(Notices(socket))
    }

    /// The next message within `patience`.
    fn next(&self, patience: Duration) -> Result<Option<String>> {
        self.0.set_read_timeout(Some(patience))?;
        let mut bytes = [0; 512];
        match self.0.recv(&mut bytes) {
            Ok(length) => Ok(Some(String::from_utf8_lossy(&bytes[..length]).into_owned())),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Waits for a message with this line.
    fn wait_for(&self, line: &str) -> Result<()> {
        let deadline = Instant::now() + support::PATIENCE;
        while Instant::now() < deadline {
            if (self.next(Duration::from_secs(1))?)
                .is_some_and(|text| text.lines().any(|l| l == line))
            {
                return Ok(());
            }
        }
        anyhow::bail!("systemd was not told {line}")
    }
}

#[test]
fn the_watchdog_hears_of_sessions_that_were_judged_and_nobody_else_does() -> Result<()> {
    for library in Library::ALL {
        let (_directory, settings) = bench()?;
        hears_of_judged_sessions(Settings {
            library: *library,
            ..settings
        })
        .with_context(|| format!("{library:?}"))?;
    }
    Ok(())
}

fn hears_of_judged_sessions(mut settings: Settings) -> Result<()> {
    let notices = Notices::open(&mut settings, Duration::from_millis(600))?;
    let daemon = Daemon::start(&settings)?;
    notices.wait_for("READY=1")?;
    for _ in 0..5 {
        notices.wait_for("WATCHDOG=1")?;
    }
    let log = daemon.log();
    ensure!(!log.contains("probe") && log.lines().count() <= 3, "{log}");
    let record = daemon.command(&["quarantine", "log"])?;
    ensure!(!record.text.contains("probe"), "{}", record.text);
    daemon.signal(Signal::TERM)?;
    notices.wait_for("STOPPING=1")?;
    let log = settings.directory.join("log");
    let stopped = wait_for("the last line", || {
        let text = fs::read_to_string(&log)?;
        Ok(text
            .lines()
            .find(|l| l.contains("stopped"))
            .map(str::to_owned))
    })?;
    for count in ["judged=0", "null_sender=0", "suspicious=0", "clean=0"] {
        ensure!(stopped.contains(count), "{stopped}");
    }
    Ok(())
}

/// `TimeoutStopSec=` of the unit is shorter than `limits.drain` may be.
#[test]
fn systemd_waits_for_as_long_as_open_sessions_may_take() -> Result<()> {
    let (_directory, settings) = bench()?;
    let mut settings = settings.with(serde_json::json!({"limits": {"drain": "600s"}}));
    let notices = Notices::open(&mut settings, Duration::from_secs(60))?;
    let daemon = Daemon::start(&settings)?;
    notices.wait_for("READY=1")?;
    daemon.signal(Signal::TERM)?;
    notices.wait_for("EXTEND_TIMEOUT_USEC=615000000")
}

#[test]
fn a_milter_that_cannot_be_reached_leaves_the_watchdog_without_word() -> Result<()> {
    let (_directory, mut settings) = bench()?;
    let notices = Notices::open(&mut settings, Duration::from_millis(600))?;
    let daemon = Daemon::start(&settings)?;
    notices.wait_for("WATCHDOG=1")?;
    let socket = settings.directory.join("milter.sock");
    let aside = settings.directory.join("aside");
    fs::rename(&socket, &aside)?;
    wait_for("the reason in the log", || {
        Ok(daemon
            .log()
            .contains("own session not judged")
            .then_some(()))
    })
    .with_context(|| daemon.log())?;
    // What was on its way then has arrived; from now on it is silent.
    while notices.next(Duration::from_millis(1))?.is_some() {}
    let heard = notices.next(Duration::from_secs(2))?;
    ensure!(heard.is_none(), "{heard:?}");
    fs::rename(&aside, &socket)?;
    notices.wait_for("WATCHDOG=1")?;
    daemon.stop()
}

#[test]
fn a_session_that_only_claims_to_be_a_probe_is_judged_like_any_other() -> Result<()> {
    let (_directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    let mut client = MilterClient::open(&settings.directory.join("milter.sock"))?;
    client.send(b'C', b"probe-00000000000000000000000000000000\0U")?;
    client.mail("alice@army.mil")?;
    let answer = client.rcpt("carl@army.ml")?.context("no answer")?;
    ensure!(answer.text().starts_with("y550"), "{}", answer.text());
    ensure!(!answer.text().contains("probe judged"), "{}", answer.text());
    drop(client);
    wait_for("the verdict in the log", || {
        Ok(daemon.log().contains("recipient rejected").then_some(()))
    })?;
    daemon.stop()
}

/// Returns why walls cannot be built here, if so.
fn no_walls(daemon: &Daemon) -> Option<String> {
    let log = daemon.log();
    let line = log.lines().find(|line| line.contains("walls="))?;
    (line.contains("walls=\"none")).then(|| line.to_owned())
}

/// What a hold does when the spool is moved out of the daemon's own directory behind its back.
fn hold_outside(settings: &Settings) -> Result<Option<String>> {
    let daemon = Daemon::start(settings)?;
    if let Some(why) = no_walls(&daemon)
        && settings.environment.is_empty()
    {
        println!("skipped: {why}");
        return Ok(None);
    }
    let outside = tempfile::Builder::new()
        .prefix("straymail-out-")
        .tempdir()?;
    let spool = settings.directory.join("store/spool");
    let moved = outside.path().join("spool");
    let status = Command::new("mv").arg(&spool).arg(&moved).status()?;
    ensure!(status.success(), "{status}");
    std::os::unix::fs::symlink(&moved, &spool)?;
    let mut client = MilterClient::open(&settings.directory.join("milter.sock"))?;
    client.connect_from("127.0.0.1", 40_000)?;
    client.mail("alice@army.mil")?;
    client.rcpt("carl@army.ml")?;
    client.content()?;
    let end = client.end()?;
    let last = end.last().context("no answer")?.text();
    drop(client);
    daemon.stop()?;
    Ok(Some(last))
}

#[test]
fn nothing_is_written_outside_the_daemons_own_directory() -> Result<()> {
    let hold = serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}});
    let (_directory, settings) = bench()?;
    let Some(behind_walls) = hold_outside(&settings.with(hold.clone()))? else {
        return Ok(());
    };
    // Held nowhere, so the client is asked to come again.
    ensure!(behind_walls.starts_with("y451"), "{behind_walls}");
    let (_directory, mut settings) = bench()?;
    settings.environment = vec![("STRAYMAIL_SANDBOX", "off".to_owned())];
    let open = hold_outside(&settings.with(hold))?.context("skipped")?;
    ensure!(!open.starts_with('y'), "without walls it is held: {open}");
    Ok(())
}

#[test]
fn a_reload_reads_beside_the_configuration_and_says_what_the_walls_hide() -> Result<()> {
    let (_directory, settings) = bench()?;
    let daemon = Daemon::start(&settings)?;
    if let Some(why) = no_walls(&daemon) {
        println!("skipped: {why}");
        return Ok(());
    }
    let list = |directory: &std::path::Path| -> Result<Settings> {
        let file = directory.join("partners.list");
        fs::write(&file, "hospital.example\n")?;
        let changed = settings
            .clone()
            .with(serde_json::json!({"trusted": {"files": [file]}}));
        changed.write()?;
        Ok(changed)
    };
    list(&settings.directory)?;
    daemon.signal(Signal::HUP)?;
    wait_for("the list to be read", || {
        Ok(daemon
            .log()
            .contains("configuration reloaded")
            .then_some(()))
    })
    .with_context(|| daemon.log())?;
    let elsewhere = tempfile::tempdir()?;
    let moved = list(elsewhere.path())?;
    daemon.signal(Signal::HUP)?;
    wait_for("the reason", || {
        let line = "the sandbox may be in the way, and a restart needed: it was made at the start";
        Ok(daemon.log().contains(line).then_some(()))
    })
    .with_context(|| daemon.log())?;
    daemon.stop()?;
    // A restart takes it.
    Daemon::start(&moved)?.stop()
}

#[test]
fn a_socket_that_systemd_keeps_is_served_and_stays_when_the_daemon_goes() -> Result<()> {
    let activate = "/usr/bin/systemd-socket-activate";
    if !fs::exists(activate)? {
        println!("skipped: {activate} is not installed");
        return Ok(());
    }
    let (_directory, settings) = bench()?;
    let settings = settings.with(serde_json::json!({
        "listeners": [{"socket": "systemd:1", "role": "submission"}],
    }));
    settings.write()?;
    let socket = settings.directory.join("passed.sock");
    let log = fs::File::create(settings.directory.join("log"))?;
    // It starts the program at the first connection.
    let mut child = Command::new(activate)
        .arg("--listen")
        .arg(&socket)
        .arg(&settings.program)
        .args(["milter", "--config"])
        .arg(settings.config_path())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log)
        .spawn()?;
    let _guard = Guard::new(&format!("kill -KILL {}", child.id()))?;
    wait_for("the socket", || Ok(socket.exists().then_some(())))?;
    let (answer, _) = MilterClient::session(&socket, "alice@army.mil", &["carl@army.ml"])?;
    ensure!(answer.concat().starts_with("y550"), "{answer:?}");
    let pid = i32::try_from(child.id())
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    rustix::process::kill_process(pid.context("no process id")?, Signal::TERM)?;
    let status = wait_for("straymail to end", || Ok(child.try_wait()?))?;
    ensure!(status.success(), "{status}");
    ensure!(socket.exists(), "the socket is systemd's, and was removed");
    Ok(())
}

/// As the unit shuts it in: the passed socket is the host's, and the process has no network.
#[test]
fn the_watchdog_hears_of_a_tcp_socket_of_systemd_where_there_is_no_network() -> Result<()> {
    let activate = "/usr/bin/systemd-socket-activate";
    let alone = ["unshare", "--net", "--map-root-user"];
    let unshared = Command::new(alone[0])
        .args(&alone[1..])
        .arg("true")
        .status();
    if !fs::exists(activate)? || !unshared.is_ok_and(|status| status.success()) {
        println!("skipped: {activate} is not installed, or no network can be taken away");
        return Ok(());
    }
    let (_directory, settings) = bench()?;
    let mut settings = settings.with(serde_json::json!({
        "listeners": [{"socket": "systemd:1", "role": "submission"}],
    }));
    settings.write()?;
    let notices = Notices::open(&mut settings, Duration::from_millis(600))?;
    let log = settings.directory.join("log");
    let output = fs::File::create(&log)?;
    let address = TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let mut child = Command::new(activate)
        .arg(format!("--listen={address}"))
        .args((settings.environment.iter()).map(|(name, value)| format!("--setenv={name}={value}")))
        .args(alone)
        .arg(&settings.program)
        .args(["milter", "--config"])
        .arg(settings.config_path())
        .stdin(Stdio::null())
        .stdout(output.try_clone()?)
        .stderr(output)
        .spawn()?;
    let _guard = Guard::new(&format!("kill -KILL {}", child.id()))?;
    // The first connection starts it.
    let mta = wait_for("the socket", || Ok(TcpStream::connect(address).ok()));
    let heard = (0..3).try_for_each(|_| notices.wait_for("WATCHDOG=1"));
    child.kill()?;
    child.wait()?;
    let log = fs::read_to_string(&log)?;
    mta?;
    heard.with_context(|| log.clone())?;
    ensure!(!log.contains("own session not judged"), "{log}");
    ensure!(log.contains(&format!("inet:{address}")), "{log}");
    Ok(())
}
