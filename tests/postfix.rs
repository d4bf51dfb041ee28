//! straymail at a real Postfix: every dialog of `tests/dialogs`, with the feature `libmilter` on
//! both adapters.

mod support;

use std::path::Path;
use std::thread;

use anyhow::{Context, Result, ensure};
use support::daemon::{Daemon, Library, Settings};
use support::postfix::{Options, Postfix, Sendmail};
use support::smtp_client::SmtpClient;

/// The harness itself: what goes in without a milter comes out at the sink, byte for byte.
#[test]
fn private_postfix_delivers_to_the_sink() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let mut client = SmtpClient::open(postfix.plain_port)?;
    let transaction = client.message(
        "alice@army.mil",
        &["bob@navy.mil", "carl@army.ml"],
        "Subject: harness\n\n.a dot first\n",
    )?;
    ensure!(transaction.accepted(), "{transaction:?}");
    let id = transaction.end.as_ref().and_then(|end| end.queue_id());
    postfix.settle(&[id.unwrap_or_default().to_owned()])?;
    let deliveries = postfix.sink.deliveries();
    let mut recipients: Vec<&str> = deliveries
        .iter()
        .flat_map(|d| d.recipients.iter().map(|r| r.0.as_str()))
        .collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["bob@navy.mil", "carl@army.ml"]);
    assert!(deliveries[0].text().ends_with("\n\n.a dot first\n"));
    Ok(())
}

/// Plays the dialogs of one group, on each milter library of this build.
fn dialogs(group: &str, sendmail: Sendmail) -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options {
        sendmail,
        ..Options::default()
    })?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    for library in Library::ALL {
        support::dialog::run_all(&root.join(group), &postfix, *library)?;
    }
    Ok(())
}

/// Every way of writing a recipient: the held one gets no copy, the other exactly one.
#[test]
fn no_recipient_form_leaks() -> Result<()> {
    dialogs("forms", Sendmail::NonSmtpdMilters)
}

/// Every action at RCPT and at the end of the message.
#[test]
fn every_action_does_what_it_says() -> Result<()> {
    dialogs("actions", Sendmail::NonSmtpdMilters)
}

/// Which mail is judged at all.
#[test]
fn only_our_own_mail_is_judged() -> Result<()> {
    dialogs("gate", Sendmail::NonSmtpdMilters)
}

/// Mail of sendmail(1), where nobody can be refused.
#[test]
fn mail_of_sendmail_is_held_and_never_rejected() -> Result<()> {
    dialogs("local", Sendmail::NonSmtpdMilters)
}

/// The way for mail of sendmail(1) without a blind spot: through the submission port.
#[test]
fn mail_of_sendmail_through_the_submission_port_is_judged_as_rewritten() -> Result<()> {
    dialogs("local-by-smtp", Sendmail::SubmissionPort)
}

/// Release, drop, approve.
#[test]
fn released_mail_is_delivered_once_and_not_caught_again() -> Result<()> {
    dialogs("release", Sendmail::NonSmtpdMilters)
}

#[test]
fn two_releases_at_once_deliver_once() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let settings = Settings::for_postfix(&postfix)
        .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let daemon = Daemon::start(&settings)?;
    const ROUNDS: usize = 10;
    for round in 1..=ROUNDS {
        let data = format!("Subject: round {round}\nMessage-ID: <r{round}@client.test>\n\ntext\n");
        let mut client = SmtpClient::open(postfix.submission_port)?;
        // A recipient of its own: a release approves this sender and recipient for a while.
        let recipient = format!("carl{round}@army.ml");
        let transaction = client.message("alice@army.mil", &[&recipient], &data)?;
        ensure!(transaction.accepted(), "{}", transaction.last());
        let held = daemon.held()?;
        let id = &held.first().context("not held")?.id;
        let codes: Vec<i32> = thread::scope(|scope| {
            let release = || {
                daemon
                    .command(&["quarantine", "release", id])
                    .map(|o| o.code)
            };
            let both = [scope.spawn(release), scope.spawn(release)];
            both.into_iter()
                .map(|thread| thread.join().unwrap_or_else(|_| Ok(-1)))
                .collect::<Result<_>>()
        })?;
        ensure!(codes.contains(&0), "{codes:?}");
        postfix.sink.wait(0, round, support::PATIENCE);
        postfix.settle(&[])?;
        let delivered: usize = postfix
            .sink
            .deliveries()
            .iter()
            .map(|d| d.recipients.len())
            .sum();
        assert_eq!(delivered, round, "exit codes {codes:?}");
    }
    daemon.stop()
}
