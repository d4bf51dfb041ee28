//! straymail at a real Sendmail: the dialogs of `tests/dialogs` that Postfix plays, too.

mod support;

use std::path::Path;

use anyhow::{Result, ensure};
use support::daemon::Library;
use support::mta::Mta;
use support::sendmail::{Options, Sendmail, why_not};
use support::smtp_client::SmtpClient;

/// The harness itself: what goes in without a milter comes out at the sink, byte for byte.
#[test]
fn private_sendmail_delivers_to_the_sink() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options::default())?;
    let port = sendmail.port("plain").unwrap_or_default();
    let mut client = SmtpClient::open(port)?;
    let transaction = client.message(
        "alice@army.mil",
        &["bob@navy.mil", "carl@army.ml", "mixed@mx.test"],
        "Subject: harness\n\n.a dot first\n",
    )?;
    ensure!(transaction.accepted(), "{transaction:?}");
    sendmail.settle(&[])?;
    let deliveries = sendmail.sink().deliveries();
    let mut recipients: Vec<&str> = deliveries
        .iter()
        .flat_map(|d| d.recipients.iter().map(|r| r.0.as_str()))
        .collect();
    recipients.sort_unstable();
    assert_eq!(recipients, ["bob@navy.mil", "carl@army.ml"]);
    assert!(deliveries[0].text().ends_with("\n\n.a dot first\n"));
    Ok(())
}

/// Plays the dialogs of one group.
fn dialogs(group: &str) -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options::default())?;
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/dialogs");
    for library in Library::ALL {
        support::dialog::run_all(&root.join(group), &sendmail, *library)?;
    }
    Ok(())
}

/// Every way of writing a recipient: the held one gets no copy, the other exactly one.
#[test]
fn no_recipient_form_leaks() -> Result<()> {
    dialogs("forms")
}

/// Every action at RCPT and at the end of the message.
#[test]
fn every_action_does_what_it_says() -> Result<()> {
    dialogs("actions")
}

/// Which mail is judged at all.
#[test]
fn only_our_own_mail_is_judged() -> Result<()> {
    dialogs("gate")
}

/// Mail of sendmail(1): Sendmail's own submission program speaks SMTP to the submission port.
#[test]
fn mail_of_the_submission_program_is_judged() -> Result<()> {
    dialogs("local-by-smtp")
}

/// Release, drop, approve.
#[test]
fn released_mail_is_delivered_once_and_not_caught_again() -> Result<()> {
    dialogs("release")
}
