//! The commands of docs/howto-postfix.md, executed on a private Postfix in the order a newcomer
//! pastes them, with what the text promises looked at after each step.

mod support;

use std::fs;
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::Signal;
use serde_json::json;
use support::daemon::{Daemon, Settings};
use support::postfix::{Options, Postfix, Sendmail, run};
use support::smtp_client::SmtpClient;
use support::wait_for;

/// The root commands of the section with this number.
fn commands(howto: &str, section: u32) -> Result<Vec<String>> {
    let (_, rest) = howto
        .split_once(&format!("\n## {section}. "))
        .with_context(|| format!("no section {section}"))?;
    let text = rest.split("\n## ").next().unwrap_or(rest);
    let commands: Vec<String> = (text.lines())
        .filter_map(|line| line.strip_prefix("    # "))
        .map(str::to_owned)
        .collect();
    ensure!(!commands.is_empty(), "no command in section {section}");
    Ok(commands)
}

/// Runs a section at `postfix`, whose relay port stands for the submission service.
fn follow(howto: &str, section: u32, postfix: &Postfix) -> Result<()> {
    let port = postfix.relay_port;
    for command in commands(howto, section)? {
        let (program, rest) = command.split_once(' ').context("no argument")?;
        if !matches!(program, "postconf" | "postfix") {
            bail!("what to do with {command:?}?");
        }
        let rest = rest
            .replace("submission/inet/", &format!("127.0.0.1:{port}/inet/"))
            .replace("[127.0.0.1]:587", &format!("[127.0.0.1]:{port}"));
        let etc = postfix.directory().join("etc");
        let line = format!("/usr/sbin/{program} -c '{}' {rest}", etc.display());
        run(Command::new("/bin/sh").args(["-c", &line])).with_context(|| command)?;
    }
    Ok(())
}

/// Waits until `recipient` at `port` is answered with `expected`: a reload takes a moment.
fn answered(port: u16, recipient: &str, expected: &str) -> Result<()> {
    let mut last = String::new();
    wait_for("the answer after the reload", || {
        let mut client = SmtpClient::open(port)?;
        let mail = client.command("MAIL FROM:<anna@example.org>")?;
        last = match mail.code {
            250 => client.command(&format!("RCPT TO:<{recipient}>"))?.flat(),
            _ => mail.flat(),
        };
        Ok(last.starts_with(expected).then_some(()))
    })
    .with_context(|| format!("{recipient}: {expected:?} expected, the last answer was {last:?}"))
}

#[test]
fn the_commands_for_postfix_do_what_the_text_says() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let howto = fs::read_to_string("docs/howto-postfix.md")?;
    let postfix = Postfix::start(&Options {
        sendmail: Sendmail::NonSmtpdMilters,
        ..Options::default()
    })?;
    // As a Postfix without a milter: one port for all, one for the site's senders.
    let etc = postfix.directory().join("etc");
    let postconf = |arguments: &[&str]| {
        run(Command::new("/usr/sbin/postconf")
            .arg("-c")
            .arg(&etc)
            .args(arguments))
    };
    postconf(&["-X", "smtpd_milters", "non_smtpd_milters"])?;
    let relay = format!("127.0.0.1:{}/inet/smtpd_milters", postfix.relay_port);
    postconf(&["-PX", &relay])?;
    let (port, submission) = (postfix.submission_port, postfix.relay_port);
    let sockets = postfix.directory().join("queue/straymail");
    fs::create_dir(&sockets)?;
    let listener = json!([{
        "socket": format!("unix:{}", sockets.join("milter.sock").display()),
        "role": "relay",
        "group": "postfix",
    }]);
    let observing = Settings::for_postfix(&postfix).with(json!({
        "listeners": listener,
        "trusted": {"own": ["example.org"], "domains": ["army.mil"], "suffixes": []},
        "policy": {"mode": "observe", "suspect": "hold", "certain": "reject"},
    }));
    let stray = "carl@arrny.mil";
    let refused = "550 5.7.1 <carl@arrny.mil> not sent: did you mean army.mil?";

    follow(&howto, 2, &postfix)?;
    answered(port, stray, "250 ")?;
    let daemon = Daemon::start(&observing)?;
    answered(port, stray, "250 ")?;
    wait_for("the verdict in the log", || {
        Ok(daemon.log().contains("arrny.mil").then_some(()))
    })?;

    follow(&howto, 3, &postfix)?;
    let enforcing = observing.with(json!({"policy": {"mode": "enforce"}}));
    enforcing.write()?;
    daemon.signal(Signal::HUP)?;
    answered(port, stray, refused)?;
    answered(port, "carl@army.mil", "250 ")?;
    daemon.stop()?;
    answered(port, "carl@army.mil", "451 ")?;
    let daemon = Daemon::start(&enforcing)?;
    answered(port, "carl@army.mil", "250 ")?;

    follow(&howto, 4, &postfix)?;
    answered(port, stray, "250 ")?;
    answered(submission, stray, refused)?;

    follow(&howto, 5, &postfix)?;
    wait_for("mail of sendmail(1) to come by the submission port", || {
        postfix.sendmail(
            &[
                "-f".to_owned(),
                "anna@example.org".to_owned(),
                stray.to_owned(),
            ],
            b"Subject: plan\n\nplan\n",
        )?;
        postfix.settle(&[])?;
        Ok(postfix
            .log()
            .contains("said: 550 5.7.1 <carl@arrny.mil> not sent")
            .then_some(()))
    })?;

    follow(&howto, 6, &postfix)?;
    answered(submission, stray, "250 ")?;
    daemon.stop()?;
    answered(port, stray, "250 ")
}
