//! From the first look to enforcing, with a real Postfix: observe, enforce, learn from a log, and
//! what passing mail teaches.

mod support;

use std::fs;

use anyhow::{Context, Result, ensure};
use jiff::{SignedDuration, Timestamp};
use rustix::process::Signal;
use serde_json::{Value, json};
use support::daemon::{Daemon, Settings};
use support::postfix::{Options, Postfix};
use support::smtp_client::SmtpClient;
use support::{wait_for, why_no_postfix};

/// A real neighbour of `boeing.com`: it is written to and answers.
const NEIGHBOUR: &str = "carl@boing.com";
/// A typo of the same name that several people make.
const TYPO: &str = "carl@boieng.com";

struct Site {
    postfix: Postfix,
    daemon: Daemon,
}

impl Site {
    fn start() -> Result<Site> {
        let postfix = Postfix::start(&Options::default())?;
        let settings = Settings::for_postfix(&postfix).with(json!({
            "trusted": {"own": ["site.example"], "domains": ["boeing.com"]},
            "policy": {"mode": "observe", "suspect": "hold", "certain": "hold"},
            "quarantine": {"grace": "0s"},
        }));
        let daemon = Daemon::start(&settings)?;
        Ok(Site { postfix, daemon })
    }

    /// Anna writes to `to`, and Postfix takes it.
    fn anna_writes(&self, to: &str, subject: &str) -> Result<()> {
        let mut client = SmtpClient::open(self.postfix.submission_port)?;
        client.become_client("192.0.2.7", Some("anna"))?;
        let data = format!("Message-ID: <{subject}@site.example>\nSubject: {subject}\n\nHello\n");
        let sent = client.message("anna@site.example", &[to], &data)?;
        ensure!(sent.accepted(), "{}", sent.last());
        Ok(())
    }

    /// Somebody writes to anna without a login, by the port where that is inbound mail.
    fn outside_writes(&self, from: &str) -> Result<()> {
        let mut client = SmtpClient::open(self.postfix.relay_port)?;
        client.become_client("192.0.2.7", None)?;
        let sent = client.message(from, &["anna@site.example"], "Subject: re\n\nHello\n")?;
        ensure!(sent.accepted(), "{}", sent.last());
        Ok(())
    }

    /// Waits until the message of this subject was delivered.
    fn delivered(&self, subject: &str) -> Result<()> {
        let wanted = format!("Subject: {subject}");
        wait_for(&wanted, || {
            let deliveries = self.postfix.sink.deliveries();
            let found = deliveries.iter().any(|it| it.text().contains(&wanted));
            Ok(found.then_some(()))
        })
        .with_context(|| self.daemon.log())
    }

    /// Checks that mail to `to` is held now.
    fn is_held(&self, to: &str, subject: &str) -> Result<()> {
        let before = self.daemon.held()?.len();
        self.anna_writes(to, subject)?;
        let held = self.daemon.held()?;
        ensure!(
            held.len() == before + 1,
            "{subject}: {held:?}\n{}",
            self.daemon.log()
        );
        Ok(())
    }

    fn json(&self, arguments: &[&str]) -> Result<Value> {
        let output = self.daemon.command(arguments)?;
        ensure!(output.code == 0, "{arguments:?}: {}", output.text);
        serde_json::from_str(&output.text).with_context(|| output.text.clone())
    }

    /// Changes the configuration of the running daemon.
    fn reload(&self, changes: Value) -> Result<()> {
        let seen = self.daemon.log().matches("configuration reloaded").count();
        self.daemon.settings().clone().with(changes).write()?;
        self.daemon.signal(Signal::HUP)?;
        wait_for("the reload", || {
            let now = self.daemon.log().matches("configuration reloaded").count();
            Ok((now > seen).then_some(()))
        })
        .with_context(|| self.daemon.log())
    }
}

/// Lines of Postfix about mails of the last days: `(days ago, from, to)`.
fn log_of(mails: &[(i64, &str, &str)], now: Timestamp) -> Result<String> {
    let mut log = String::new();
    for (n, (ago, from, to)) in mails.iter().enumerate() {
        let time = now.checked_sub(SignedDuration::from_hours(24 * ago))?;
        let time = time.strftime("%Y-%m-%dT%H:%M:%S+00:00");
        let id = format!("4AB{n:07X}");
        let own = from.ends_with("@site.example");
        let client = match own {
            true => "pc[192.0.2.7], sasl_method=PLAIN, sasl_username=anna",
            false => "mx.boing.com[203.0.113.9]",
        };
        let service = match own {
            true => "submission/smtpd",
            false => "smtpd",
        };
        let by = match own {
            true => "smtp[4]",
            false => "lmtp[4]",
        };
        let relay = match own {
            true => "mx.boing.com[203.0.113.9]:25",
            false => "/run/dovecot/lmtp",
        };
        for line in [
            format!("postfix/{service}[1]: {id}: client={client}"),
            format!("postfix/cleanup[2]: {id}: message-id=<{n}@x>"),
            format!("postfix/qmgr[3]: {id}: from=<{from}>, size=900, nrcpt=1 (queue active)"),
            format!(
                "postfix/{by}: {id}: to=<{to}>, relay={relay}, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)"
            ),
            format!("postfix/qmgr[3]: {id}: removed"),
        ] {
            log.push_str(&format!("{time} mx {line}\n"));
        }
    }
    Ok(log)
}

#[expect(clippy::disallowed_methods, reason = "the log is of the last days")]
fn now() -> Timestamp {
    Timestamp::now()
}

#[test]
fn observe_enforce_learn_and_the_neighbour_passes_while_the_typo_is_held() -> Result<()> {
    if let Some(why) = why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let site = Site::start()?;

    // Observing, everything goes, and the report says what enforcing would have done.
    for (to, subject) in [(NEIGHBOUR, "o1"), (TYPO, "o2"), ("carl@army.ml", "o3")] {
        site.anna_writes(to, subject)?;
        site.delivered(subject)?;
    }
    let report = site.json(&["report", "--day", "--format", "json"])?;
    ensure!(report["verdicts"]["observed"] == 3, "{report}");
    ensure!(report["would"]["held"] == 3, "{report}");

    site.reload(json!({"policy": {"mode": "enforce"}}))?;
    site.is_held(NEIGHBOUR, "e1")?;
    site.is_held(TYPO, "e2")?;

    // The log of the last days: the neighbour answers, the typo does not, whoever makes it.
    let mut mails = Vec::new();
    for ago in [6, 5, 4] {
        mails.push((ago, "anna@site.example", NEIGHBOUR));
        mails.push((ago, "anna@site.example", TYPO));
        mails.push((ago, "bob@site.example", TYPO));
        mails.push((ago, "bob@site.example", "carl@army.ml"));
        mails.push((ago - 1, "x@army.ml", "bob@site.example"));
    }
    mails.push((5, NEIGHBOUR, "anna@site.example"));
    mails.push((3, "dora@mail.boing.com", "anna@site.example"));
    let log = site.postfix.directory().join("mail.log");
    fs::write(&log, log_of(&mails, now())?)?;
    let log = log.to_str().context("a path that is no text")?;
    let learned = site.json(&["learn", "--json", log])?;
    ensure!(learned["counted"]["mails"] == 12, "{learned}");
    ensure!(learned["counted"]["answers"] == 5, "{learned}");

    // No restart, no reload: the next mail knows.
    site.anna_writes(NEIGHBOUR, "l1")?;
    site.delivered("l1")?;
    site.is_held(TYPO, "l2")?;
    site.is_held("carl@army.ml", "l3")?;

    // What an admin is told is what happens.
    let check = |recipient| {
        let arguments = ["check", "--sender", "anna@site.example", recipient];
        site.daemon.command(&arguments)
    };
    ensure!(
        check(NEIGHBOUR)?
            .text
            .contains("clean, by rule default: accept")
    );
    ensure!(check(TYPO)?.text.contains("suspect, by rule default: hold"));

    // Mail that passes teaches: one more day for the neighbour, and an answer of today.
    let before = site.json(&["learn", "show", "boing.com", "--json"])?;
    site.outside_writes(NEIGHBOUR)?;
    let answers = before["answers"].as_u64().context("no answers")?;
    wait_for("an answer to be counted", || {
        let history = site.json(&["learn", "show", "boing.com", "--json"])?;
        let counted = history["answers"].as_u64() == Some(answers + 1) && history["days"] == 4;
        Ok(counted.then_some(()))
    })
    .with_context(|| site.daemon.log())?;

    let report = site.json(&["report", "--day", "--format", "json"])?;
    ensure!(report["verdicts"]["held"] == 4, "{report}");
    ensure!(report["mail"]["judged"].as_u64() >= Some(8), "{report}");
    let text = site.daemon.command(&["learn", "list"])?.text;
    ensure!(text.contains("by history"), "{text}");
    ensure!(
        text.contains("never: only approval lets this likeness pass"),
        "{text}"
    );
    ensure!(
        text.contains("too few answers: perhaps a typo that many make"),
        "{text}"
    );
    println!("{text}");
    site.daemon.stop()
}
