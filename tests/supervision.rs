//! What an init system is told and gives: readiness, a watchdog that is told the truth, sockets,
//! and walls around the process.

mod support;

use std::fs;
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
