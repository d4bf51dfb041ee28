//! The page of metrics of a running daemon: what it counts, that promtool(1) and the rules and
//! the dashboard in docs/monitoring can read it, and that it names nobody.

mod support;

use std::collections::BTreeSet;
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};
use straymail::metrics::Figures;
use support::daemon::{Daemon, Settings, command};
use support::milter_client::MilterClient;
use support::wait_for;

/// A daemon that holds, with its metrics at a UNIX socket.
fn settings(directory: &Path) -> Settings {
    Settings::in_directory(directory).with(json!({
        "metrics": {"listen": format!("unix:{}/metrics.sock", directory.display())},
        "policy": {"suspect": "hold", "certain": "reject"},
        "quarantine": {"grace": "0s"},
    }))
}

fn start(directory: &Path) -> Result<Daemon> {
    Daemon::start(&settings(directory))
}

/// The page, without the head of the answer.
fn page(directory: &Path) -> Result<String> {
    // The milter takes mail before the page is there.
    let mut stream = wait_for("the page", || {
        Ok(UnixStream::connect(directory.join("metrics.sock")).ok())
    })?;
    stream.set_read_timeout(Some(support::PATIENCE))?;
    stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
    ensure!(head.contains("200 OK"), "{head}");
    ensure!(head.contains("text/plain; version=0.0.4"), "{head}");
    Ok(body.to_owned())
}

/// The value of one line.
fn value(page: &str, sample: &str) -> Option<f64> {
    let mut lines = page.lines();
    lines.find_map(|line| line.strip_prefix(sample)?.strip_prefix(' ')?.parse().ok())
}

/// Waits until a line has this value.
fn wait_value(directory: &Path, sample: &str, wanted: f64) -> Result<()> {
    let mut last = String::new();
    wait_for(sample, || {
        last = page(directory)?;
        Ok((value(&last, sample) == Some(wanted)).then_some(()))
    })
    .with_context(|| last.clone())
}

/// Two recipients held, one rejected, two let through, one message inbound by its null sender.
fn mail(directory: &Path) -> Result<()> {
    let socket = directory.join("milter.sock");
    let recipients = [
        "bob@navy.mil",
        "carl@army.ml",
        "dora@army.ml",
        "x@example.net",
    ];
    let (answers, _) = MilterClient::session(&socket, "alice@army.mil", &recipients)?;
    assert_eq!(answers, ["c", "c", "c", "c"]);
    let (answers, _) = MilterClient::session(&socket, "alice@army.mil", &["e@hosp1tal.org"])?;
    assert!(answers[0].starts_with("y550"), "{answers:?}");
    MilterClient::session(&socket, "", &["carl@army.ml"])?;
    Ok(())
}

#[test]
fn what_passed_is_counted_by_what_became_of_it() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let daemon = start(directory)?;
    mail(directory)?;
    let recipients = |verdict: &str, action: &str| {
        format!(
            "straymail_recipients_total{{verdict=\"{verdict}\",action=\"{action}\",mode=\"enforce\"}}"
        )
    };
    wait_value(directory, &recipients("suspect", "hold"), 2.0)?;
    let page = page(directory)?;
    for (sample, wanted) in [
        (recipients("clean", "accept"), 2.0),
        (recipients("certain", "reject"), 1.0),
        ("straymail_messages_total{passage=\"judged\"}".into(), 2.0),
        (
            "straymail_messages_total{passage=\"null_sender\"}".into(),
            1.0,
        ),
        ("straymail_rcpt_duration_seconds_count".into(), 6.0),
        (
            "straymail_rcpt_duration_seconds_bucket{le=\"+Inf\"}".into(),
            6.0,
        ),
        ("straymail_events_total{kind=\"held\"}".into(), 2.0),
        ("straymail_faults_total".into(), 0.0),
        ("straymail_milter_up".into(), 1.0),
        ("straymail_store_up".into(), 1.0),
        ("straymail_trusted_entries".into(), 4.0),
        ("straymail_disk_min_free_bytes".into(), 1_048_576.0),
    ] {
        assert_eq!(value(&page, &sample), Some(wanted), "{sample}\n{page}");
    }
    assert!(value(&page, "straymail_held_bytes").is_some_and(|octets| octets > 0.0));
    // Whom mail was for or from is nobody's business here.
    for name in ["army", "navy", "alice", "carl", "hosp"] {
        assert!(!page.contains(name), "{name}\n{page}");
    }

    let held = daemon.held()?;
    assert_eq!(held.len(), 2);
    let dropped = daemon.command(&["quarantine", "drop", &held[0].id, "--reason", "a typo"])?;
    assert_eq!(dropped.code, 0, "{}", dropped.text);
    wait_value(
        directory,
        "straymail_decisions_total{decision=\"dropped\"}",
        1.0,
    )?;
    daemon.stop()
}

#[test]
fn a_take_over_keeps_the_counters_one_series() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let settings = Settings::in_directory(directory);
    let old = Daemon::start(&settings)?;
    let socket = directory.join("milter.sock");
    let figures = || -> Result<(Timestamp, u64)> {
        let figures = Figures::read(&directory.join("store"))?.context("none")?;
        Ok((figures.started_at, figures.judged))
    };
    // A session that outlives its listener.
    let mut session = MilterClient::open(&socket)?;
    session.connect_from("127.0.0.1", 40_000)?;
    session.message("alice@army.mil", &["b@navy.mil"])?;
    let before = wait_for("the first figures", || {
        Ok(figures().ok().filter(|(_, judged)| *judged == 1))
    })?;
    let new = Daemon::spawn(&settings)?;
    let started = wait_for("figures of the new one", || {
        let (started, _) = figures()?;
        Ok((started != before.0).then_some(started))
    })?;
    old.signal(Signal::TERM)?;
    for _ in 0..3 {
        session.message("alice@army.mil", &["b@navy.mil"])?;
    }
    wait_for("the old one's counts in the new one's figures", || {
        let (now, judged) = figures()?;
        ensure!(
            now == started,
            "the old one wrote over the new one's figures"
        );
        Ok((judged == 3).then_some(()))
    })?;
    // The second signal cuts the session off.
    old.stop()?;
    assert_eq!(figures()?, (started, 3));
    new.stop()?;
    assert_eq!(figures()?, (started, 3));
    Ok(())
}

#[test]
fn held_mail_on_its_way_out_is_no_new_mail() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    // An MTA that takes the connection of a release and says nothing.
    let mta = TcpListener::bind("127.0.0.1:0")?;
    let settings = settings(directory).with(json!({
        "quarantine": {"release_to": mta.local_addr()?.to_string()},
    }));
    let daemon = Daemon::start(&settings)?;
    mail(directory)?;
    let held = daemon.held()?;
    let carl = (held.iter().find(|entry| entry.recipient == "carl@army.ml")).context("none")?;
    let releasing = std::thread::scope(|scope| -> Result<()> {
        let released = scope.spawn(|| daemon.command(&["quarantine", "release", &carl.id]));
        let (stream, _) = mta.accept()?;
        // What the MTA asks about it.
        let socket = directory.join("milter.sock");
        let (answers, _) = MilterClient::session(&socket, "alice@army.mil", &["carl@army.ml"])?;
        assert_eq!(answers, ["c"]);
        drop(stream);
        released.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        Ok(())
    });
    releasing?;
    wait_value(
        directory,
        "straymail_messages_total{passage=\"released\"}",
        1.0,
    )?;
    let page = page(directory)?;
    let doubtful: f64 = (page.lines())
        .filter(|line| line.starts_with("straymail_recipients_total{verdict=\"suspect\""))
        .filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok())
        .sum();
    assert_eq!(doubtful, 2.0, "{page}");
    let judged = "straymail_messages_total{passage=\"judged\"}";
    assert_eq!(value(&page, judged), Some(2.0));
    let report: Value = report(&daemon)?;
    assert_eq!(report["flagged"], 3, "{report}");
    assert_eq!(report["verdicts"]["approved"], 0);
    // It is in the record all the same, of the entry.
    let shown = daemon.command(&["quarantine", "log", "--kind", "approved"])?;
    assert!(shown.text.contains("carl@army.ml"), "{}", shown.text);
    daemon.stop()
}

/// The report of the last week.
fn report(daemon: &Daemon) -> Result<Value> {
    let output = daemon.command(&["report", "--format", "json"])?;
    Ok(serde_json::from_str(&output.text)?)
}

#[test]
fn mail_refused_because_it_cannot_be_held_is_recorded() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let settings = settings(directory).with(json!({"quarantine": {"min_free": "1000TiB"}}));
    let daemon = Daemon::start(&settings)?;
    let socket = directory.join("milter.sock");
    let recipients = ["bob@navy.mil", "carl@army.ml"];
    let (_, end) = MilterClient::session(&socket, "alice@army.mil", &recipients)?;
    assert!(end[0].starts_with("y451"), "{end:?}");
    wait_value(directory, "straymail_faults_total", 1.0)?;
    wait_value(
        directory,
        "straymail_events_total{kind=\"tempfailed\"}",
        1.0,
    )?;
    let report = report(&daemon)?;
    assert_eq!(report["verdicts"]["deferred"], 1, "{report}");
    assert_eq!(report["pairs"][0]["domain"], "army.ml");
    daemon.stop()
}

#[test]
fn clients_that_never_read_keep_nobody_from_the_page() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let daemon = start(directory)?;
    page(directory)?;
    // As many as are served at a time: each asks without pause, or not at all.
    let request = b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let mut clients = Vec::new();
    for number in 0..256 {
        let mut stream = UnixStream::connect(directory.join("metrics.sock"))?;
        stream.set_write_timeout(Some(support::PATIENCE))?;
        // The server may have hung up meanwhile.
        let _ = match number % 2 {
            0 => stream.write_all(&request.repeat(400)),
            _ => stream.write_all(b"GET /metr"),
        };
        clients.push(stream);
    }
    let asked = Instant::now();
    page(directory)?;
    assert!(
        asked.elapsed() < Duration::from_secs(9),
        "{:?}",
        asked.elapsed()
    );
    daemon.stop()
}

#[test]
fn a_refused_reload_shows_until_it_is_mended() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let daemon = start(directory)?;
    let fine = fs::read(daemon.settings().config_path())?;
    let wrong = settings(directory).with(json!({"policy": {"mood": "observe"}}));
    fs::write(daemon.settings().config_path(), wrong.config.to_string())?;
    daemon.signal(Signal::HUP)?;
    wait_value(directory, "straymail_config_last_reload_successful", 0.0)?;
    // What there is to tell, then what is wrong.
    let status = daemon.command(&["status"])?;
    assert_eq!(status.code, 78, "{}", status.text);
    for part in ["the last reload was refused", "policy.mood"] {
        assert!(status.text.contains(part), "{}", status.text);
    }
    fs::write(daemon.settings().config_path(), fine)?;
    daemon.signal(Signal::HUP)?;
    wait_value(directory, "straymail_config_last_reload_successful", 1.0)?;
    let page = page(directory)?;
    for result in ["taken", "refused"] {
        let sample = format!("straymail_config_reloads_total{{result=\"{result}\"}}");
        assert_eq!(value(&page, &sample), Some(1.0), "{sample}");
    }
    daemon.stop()
}

#[test]
fn figures_that_do_not_read_are_not_a_milter_that_never_ran() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let directory = directory.path();
    let settings = settings(directory);
    let daemon = Daemon::start(&settings)?;
    page(directory)?;
    daemon.stop()?;
    fs::write(directory.join("store/figures.json"), "{")?;
    let status = command(&settings, &["status"])?;
    let told = "what the milter counted cannot be read, it writes that anew while it runs: ";
    assert_eq!(status.code, 0);
    assert!(status.text.contains(told), "{}", status.text);
    Ok(())
}

/// Runs promtool with an input; `None` where it is not installed.
fn promtool(arguments: &[&str], input: &str) -> Result<Option<String>> {
    let child = Command::new("promtool")
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: promtool is not installed (.ci/setup installs it as root)");
            return Ok(None);
        }
        child => child?,
    };
    let mut stdin = child.stdin.take().context("no pipe")?;
    stdin.write_all(input.as_bytes())?;
    drop(stdin);
    let output = child.wait_with_output()?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(output.status.success(), "promtool {arguments:?}: {text}");
    Ok(Some(text))
}

#[test]
fn promtool_finds_nothing_wrong_with_page_rules_and_dashboard() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let daemon = start(directory.path())?;
    mail(directory.path())?;
    wait_value(
        directory.path(),
        "straymail_messages_total{passage=\"judged\"}",
        2.0,
    )?;
    let page = page(directory.path())?;
    daemon.stop()?;
    let Some(said) = promtool(&["check", "metrics"], &page)? else {
        return Ok(());
    };
    assert_eq!(said, "");
    promtool(&["check", "rules", "docs/monitoring/alerts.yaml"], "")?;
    promtool(&["test", "rules", "docs/monitoring/alerts_test.yaml"], "")?;
    // Each query of the dashboard as if it were a rule.
    let rules: Vec<Value> = (queries()?.into_iter().enumerate())
        .map(|(at, expr)| json!({"record": format!("q{at}"), "expr": expr}))
        .collect();
    assert!(rules.len() > 20, "{rules:?}");
    let file = directory.path().join("queries.yaml");
    fs::write(
        &file,
        json!({"groups": [{"name": "dashboard", "rules": rules}]}).to_string(),
    )?;
    promtool(&["check", "rules", &file.to_string_lossy()], "")?;
    Ok(())
}

/// The queries of the dashboard.
fn queries() -> Result<Vec<String>> {
    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string("docs/monitoring/grafana.json")?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels
        .iter()
        .flat_map(|panel| panel["targets"].as_array())
        .flatten();
    Ok(targets
        .filter_map(|target| target["expr"].as_str().map(str::to_owned))
        .collect())
}

/// The names of metrics in a text.
fn names(text: &str) -> BTreeSet<String> {
    let part = |c: char| c.is_ascii_alphanumeric() || c == '_';
    text.split(|c| !part(c))
        .filter(|word| word.starts_with("straymail_"))
        .map(str::to_owned)
        .collect()
}

#[test]
fn rules_dashboard_and_page_speak_of_the_same_metrics() -> Result<()> {
    let directory = tempfile::tempdir()?;
    let daemon = start(directory.path())?;
    mail(directory.path())?;
    wait_value(
        directory.path(),
        "straymail_messages_total{passage=\"judged\"}",
        2.0,
    )?;
    let page = page(directory.path())?;
    daemon.stop()?;
    let families: BTreeSet<String> = (page.lines())
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    let known = |name: &String| {
        let bare = ["_bucket", "_sum", "_count"]
            .iter()
            .find_map(|end| name.strip_suffix(end));
        families.contains(name) || bare.is_some_and(|bare| families.contains(bare))
    };
    let rules = fs::read_to_string("docs/monitoring/alerts.yaml")?;
    let manual = fs::read_to_string("docs/operations.md")?;
    for (of, text) in [
        ("alerts.yaml", rules.clone()),
        (
            "alerts_test.yaml",
            fs::read_to_string("docs/monitoring/alerts_test.yaml")?,
        ),
        ("grafana.json", queries()?.join("\n")),
        ("operations.md", manual.clone()),
    ] {
        let unknown: Vec<String> = names(&text)
            .into_iter()
            .filter(|name| !known(name))
            .collect();
        assert!(
            unknown.is_empty(),
            "{of} names {unknown:?}, the page does not"
        );
    }
    let explained = names(&manual);
    let silent: Vec<&String> = families
        .iter()
        .filter(|name| !explained.contains(*name))
        .collect();
    assert!(
        silent.is_empty(),
        "docs/operations.md does not explain {silent:?}"
    );
    for alert in rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
    {
        assert!(
            manual.contains(alert),
            "docs/operations.md does not say what to do about {alert}"
        );
    }
    Ok(())
}
