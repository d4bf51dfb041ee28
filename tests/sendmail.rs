//! straymail at a real Sendmail: the dialogs of `tests/dialogs` that Postfix plays, too.

mod support;

use std::path::Path;

use anyhow::{Context, Result, ensure};
use support::daemon::{Daemon, Library, Settings};
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

/// What Sendmail does while straymail is away, by the `F=` of the filter.
#[test]
fn mail_waits_for_straymail_only_with_an_f_of_its_own() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    println!("\n| filter | the client is told | copies for carl@army.ml |\n|---|---|---|");
    for (on_failure, told, copies) in [
        ("F=T, ", "451 4.3.2", 0),
        ("F=R, ", "554 ", 0),
        ("F=4, ", "421 ", 0),
        ("", "250 2.0.0", 1),
    ] {
        let sendmail = Sendmail::start(&Options {
            on_failure,
            ..Options::default()
        })?;
        let port = sendmail.port("submission").context("no port")?;
        let last = match SmtpClient::connect(port)? {
            (mut client, greeting) if greeting.code == 220 => {
                let hello = client.command("EHLO client.test")?;
                match hello.code {
                    250 => client
                        .message(
                            "alice@army.mil",
                            &["carl@army.ml"],
                            "Subject: away\n\ntext\n",
                        )?
                        .last(),
                    _ => hello.flat(),
                }
            }
            (_, greeting) => greeting.flat(),
        };
        sendmail.settle(&[])?;
        let delivered = sendmail.sink().deliveries().len();
        println!("| `{on_failure}` | {last} | {delivered} |");
        assert!(last.starts_with(told), "{on_failure:?}: {last}");
        assert_eq!(delivered, copies, "{on_failure:?}");
    }
    Ok(())
}

/// Sendmail tells an IPv6 client's address with a tag: `IPv6:::1`.
#[test]
fn mail_over_ipv6_is_judged_refused_and_held() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    if std::net::TcpListener::bind("[::1]:0").is_err() {
        println!("skipped: this host has no ::1");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options {
        ipv6: true,
        ..Options::default()
    })?;
    let submission = sendmail.port("submission").context("no port")?;
    let relay = sendmail.port("relay").context("no port")?;
    for library in Library::ALL {
        // Not ::1: what the relay is told by it is inbound.
        for (networks, judged) in [(["::1/128"], true), (["2001:db8::/32"], false)] {
            let rules = |action: &str| {
                Settings::for_mta(&sendmail)
                    .on(*library)
                    .with(serde_json::json!({
                        "policy": {"suspect": action, "certain": action},
                        "gate": {"networks": networks},
                    }))
            };
            let daemon = Daemon::start(&rules("reject"))?;
            for (port, refused) in [(submission, true), (relay, judged)] {
                let mut client = SmtpClient::open_from("::1", port)?;
                client.command("MAIL FROM:<alice@army.mil>")?;
                let right = client.command("RCPT TO:<bob@navy.mil>")?;
                assert_eq!(right.code, 250, "{}\n{}", right.flat(), daemon.log());
                let astray = client.command("RCPT TO:<carl@army.ml>")?;
                let code = if refused { 550 } else { 250 };
                assert_eq!(astray.code, code, "{}\n{}", astray.flat(), daemon.log());
                client.command("QUIT")?;
            }
            daemon.stop()?;
            let daemon = Daemon::start(&rules("hold"))?;
            for port in [submission, relay] {
                let mut client = SmtpClient::open_from("::1", port)?;
                let sent = client.message(
                    "alice@army.mil",
                    &["bob@navy.mil", "carl@army.ml"],
                    &format!("Subject: {port}\n\n{library:?} {networks:?}\n"),
                )?;
                ensure!(sent.accepted(), "{}\n{}", sent.last(), daemon.log());
                client.command("QUIT")?;
            }
            sendmail.settle(&[])?;
            assert_eq!(daemon.held()?.len(), if judged { 2 } else { 1 });
            daemon.stop()?;
        }
    }
    let delivered: Vec<String> = (sendmail.sink().deliveries().iter())
        .flat_map(|d| d.recipients.iter().map(|r| r.0.clone()))
        .collect();
    let to = |name: &str| delivered.iter().filter(|to| *to == name).count();
    let runs = Library::ALL.len();
    // Every message to Bob; to Carl only those that came to the relay from no network of ours.
    assert_eq!((to("bob@navy.mil"), to("carl@army.ml")), (4 * runs, runs));
    Ok(())
}

/// Many recipients, every tenth astray: those and no others get no copy.
#[test]
fn of_a_thousand_recipients_exactly_the_held_ones_get_no_copy() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options::default())?;
    let settings = Settings::for_mta(&sendmail)
        .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let daemon = Daemon::start(&settings)?;
    let recipients: Vec<String> = (0..1000)
        .map(|number| match number % 10 {
            0 => format!("Carl{number}@ARMY.ml"),
            _ => format!("bob{number}@navy.mil"),
        })
        .collect();
    let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
    let mut client = SmtpClient::open(sendmail.port("submission").context("no port")?)?;
    let sent = client.message("alice@army.mil", &recipients, "Subject: all\n\ntext\n")?;
    ensure!(sent.accepted(), "{}", sent.last());
    client.command("QUIT")?;
    sendmail.settle(&[])?;
    let deliveries = sendmail.sink().deliveries();
    let mut delivered: Vec<&str> = (deliveries.iter())
        .flat_map(|d| d.recipients.iter().map(|r| r.0.as_str()))
        .collect();
    delivered.sort_unstable();
    let mut expected: Vec<&str> = (recipients.iter().copied())
        .filter(|recipient| recipient.ends_with("@navy.mil"))
        .collect();
    expected.sort_unstable();
    assert_eq!(delivered, expected);
    assert_eq!(daemon.held()?.len(), 100);
    daemon.stop()
}

/// What is hard to carry is held and released as it was: a long header, long lines, lone dots. And
/// the end of a message that only some servers take for one ends none.
#[test]
fn hard_messages_are_released_whole_and_smuggle_nothing() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options::default())?;
    let settings = Settings::for_mta(&sendmail)
        .with(serde_json::json!({"policy": {"suspect": "hold", "certain": "hold"}}));
    let daemon = Daemon::start(&settings)?;
    let port = sendmail.port("submission").context("no port")?;
    // Sendmail takes 32 KiB of header.
    let folds: String = (0..400)
        .map(|n| format!(" {n} {}\n", "h".repeat(60)))
        .collect();
    let line = "x".repeat(990);
    let data = format!("Subject: hard\nX-Long: begin\n{folds}X-End: end\n\n.\n..\n{line}\n");
    let mut client = SmtpClient::open(port)?;
    let sent = client.message("alice@army.mil", &["carl@army.ml"], &data)?;
    ensure!(sent.accepted(), "{}", sent.last());

    client.command("MAIL FROM:<alice@army.mil>")?;
    client.command("RCPT TO:<emil@army.ml>")?;
    client.command("DATA")?;
    client.send(
        b"Subject: outer\r\n\r\nfirst\n.\r\nMAIL FROM:<alice@army.mil>\r\n\
          RCPT TO:<eve@navy.mil>\r\nDATA\r\nSubject: inner\r\n\r\nx\r\n.\r\n",
    )?;
    println!("a lone LF before the dot: {}", client.reply()?.flat());
    drop(client);

    for entry in daemon.held()? {
        let output = daemon.command(&["quarantine", "release", &entry.id])?;
        ensure!(output.code == 0, "{}", output.text);
    }
    sendmail.settle(&[])?;
    let deliveries = sendmail.sink().deliveries();
    let to = |name: &str| {
        (deliveries.iter())
            .filter(|d| d.recipients.iter().any(|r| r.0 == name))
            .collect::<Vec<_>>()
    };
    assert_eq!(to("eve@navy.mil").len(), 0, "smuggled");
    let hard = to("carl@army.ml");
    assert_eq!(hard.len(), 1);
    let text = hard.first().context("not delivered")?.text();
    let (header, body) = text.split_once("\n\n").context("no body")?;
    assert_eq!(body, format!(".\n..\n{line}\n"));
    assert!(header.contains(&format!("X-Long: begin\n{folds}")));
    assert!(header.contains("X-End: end"));
    daemon.stop()
}

/// The line for sendmail.mc is pasted from wherever it was read.
#[test]
fn readme_and_howto_have_the_same_filter_line() {
    let line = |text: &str| {
        (text.lines().map(str::trim))
            .find(|line| line.starts_with("INPUT_MAIL_FILTER(`straymail'"))
            .map(str::to_owned)
    };
    let howto = line(include_str!("../docs/howto-sendmail.md"));
    assert!(howto.is_some());
    assert_eq!(line(include_str!("../README.md")), howto);
}
