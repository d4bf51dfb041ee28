//! `straymail scan-log` over what a real Sendmail has just logged through syslog(3).

mod support;

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};
use serde_json::{Value, json};
use support::daemon::{Daemon, Settings};
use support::mta::Mta as _;
use support::sendmail::{Log, Options, Sendmail, why_not};
use support::smtp_client::SmtpClient;

const MESSAGE: &str = "Subject: test\n\ntext\n";

/// What `scan-log` says about a log on a host that believes clients by their login alone.
fn scan(log: &str, directory: &Path) -> Result<Value> {
    fs::write(directory.join("mail.log"), log)?;
    let config = json!({
        "trusted": {
            "own": ["example.org"],
            "domains": ["army.mil", "hospital.org"],
            "suffixes": [".mil"],
        },
        "gate": {"networks": ["127.0.0.1/32"], "authenticated": true},
    });
    fs::write(directory.join("milter.yaml"), config.to_string())?;
    let output = assert_cmd::Command::cargo_bin("straymail")?
        .current_dir(directory)
        .args(["scan-log", "--json", "--config", "milter.yaml", "mail.log"])
        .output()?;
    ensure!(output.stderr.is_empty(), "{output:?}");
    Ok(serde_json::from_slice(&output.stdout)?)
}

#[test]
fn a_real_log_tells_what_really_happened() -> Result<()> {
    if let Some(why) = why_not() {
        println!("skipped: {why}");
        return Ok(());
    }
    let sendmail = Sendmail::start(&Options {
        log: Log::Syslog,
        ..Options::default()
    })?;
    let mut client = SmtpClient::open(sendmail.port("plain").context("no port")?)?;
    for (sender, recipients) in [
        ("alice@example.org", &["bob@navy.mil", "carl@army.ml"][..]),
        ("dora@example.org", &["emil@army.mil"]),
        ("alice@example.org", &["\"odd > name\"@army.ml"]),
        ("", &["bounce@army.ml"]),
        // An alias of bob@navy.mil and carl@army.ml.
        ("fay@example.org", &["mixed@mx.test"]),
        ("alice@example.org", &["no-such-user@army.ml"]),
        // To gary@army.ml by virtusertable.
        ("alice@example.org", &["gary@old.test"]),
    ] {
        let transaction = client.message(sender, recipients, MESSAGE)?;
        ensure!(transaction.accepted(), "{transaction:?}");
    }
    drop(client);

    // A client from elsewhere that logs in, and a milter that refuses one recipient and then all.
    let daemon = Daemon::start(
        &Settings::for_mta(&sendmail)
            .with(json!({"policy": {"suspect": "hold", "certain": "reject"}})),
    )?;
    let submission = sendmail.port("submission").context("no port")?;
    let mut client = sendmail.connect_as(submission, "127.0.0.7", Some("anna"))?;
    let recipients = ["hugo@hosp1tal.org", "ida@navy.mil"];
    let transaction = client.message("anna@example.org", &recipients, MESSAGE)?;
    ensure!(transaction.recipients[0].code == 550, "{transaction:?}");
    ensure!(transaction.accepted(), "{transaction:?}");
    client.message("anna@example.org", &recipients[..1], MESSAGE)?;
    client.command("QUIT")?;
    drop(client);
    // From sendmail(1): one log line in two programs.
    let arguments = ["-f", "fred@example.org", "gina@navy.mil"].map(str::to_owned);
    sendmail.sendmail(&arguments, MESSAGE.as_bytes())?;
    sendmail.settle(&[])?;
    daemon.stop()?;

    let log = sendmail.log();
    let dir = tempfile::tempdir()?;
    let report = scan(&log, dir.path())?;
    let of = |part: &str, names: &[&str]| -> Vec<Value> {
        (names.iter())
            .map(|name| report[part][name].clone())
            .collect()
    };
    let unread = [
        "unreadable_lines",
        "truncated_lines",
        "other_lines",
        "without_sender",
        "abridged",
    ];
    assert_eq!(of("read", &unread), [0, 0, 0, 0, 0], "{log}");
    // Messages with an accepted recipient: six of alice, dora and fay, one of anna, one of fred.
    // Null sender: one, and the notice to alice that there is no such user.
    let mails = ["mails", "null_sender_mails", "inbound_mails", "recipients"];
    assert_eq!(of("counts", &mails), [8, 2, 0, 12], "{log}");
    let flagged = ["held", "rejected", "refused", "leaks"];
    assert_eq!(of("counts", &flagged), [4, 2, 2, 3], "{log}");

    let text = |value: &Value, name: &str| value[name].as_str().unwrap_or("?").to_owned();
    let mut leaked: Vec<(String, String)> = (report["leaks"].as_array().context("no leaks")?)
        .iter()
        .map(|leak| (text(leak, "sender"), text(leak, "recipient")))
        .collect();
    leaked.sort_unstable();
    // Sendmail logs what an alias stands for, but not what virtusertable makes of an address.
    let expected = [
        ("alice@example.org", "carl@army.ml"),
        ("alice@example.org", "odd > name@army.ml"),
        ("fay@example.org", "carl@army.ml"),
    ];
    let expected = expected.map(|(sender, recipient)| (sender.to_owned(), recipient.to_owned()));
    assert_eq!(leaked, expected, "{log}");
    let mut suspects: Vec<[Value; 4]> = (report["suspects"].as_array().context("no suspects")?)
        .iter()
        .map(|suspect| ["domain", "delivered", "bounced", "rejected"].map(|k| suspect[k].clone()))
        .collect();
    suspects.sort_unstable_by_key(|suspect| suspect[0].to_string());
    assert_eq!(
        suspects,
        [
            [json!("army.ml"), json!(3), json!(1), json!(0)],
            [json!("hosp1tal.org"), json!(0), json!(0), json!(2)],
        ],
        "{log}"
    );
    let sent = sendmail.sink().deliveries();
    let to_gary = |r: &(String, String)| r.0 == "gary@army.ml";
    assert!(
        sent.iter().any(|d| d.recipients.iter().any(to_gary)),
        "{log}"
    );
    Ok(())
}
