//! `straymail scan-log` over what a real Postfix has just logged.

mod support;

use std::fs;

use anyhow::{Context as _, Result, ensure};
use support::postfix::{Options, Postfix};
use support::smtp_client::SmtpClient;

#[test]
fn a_real_log_tells_what_really_happened() -> Result<()> {
    if let Some(why) = support::why_no_postfix() {
        println!("skipped: {why}");
        return Ok(());
    }
    let postfix = Postfix::start(&Options::default())?;
    let mut client = SmtpClient::open(postfix.plain_port)?;
    let mut ids = Vec::new();
    for (sender, recipients) in [
        ("alice@example.org", &["bob@navy.mil", "carl@army.ml"][..]),
        ("dora@example.org", &["emil@army.mil"]),
        ("alice@example.org", &["\"odd > name\"@army.ml"]),
        ("", &["bounce@army.ml"]),
    ] {
        let transaction = client.message(sender, recipients, "Subject: test\n\ntext\n")?;
        ensure!(transaction.accepted(), "{transaction:?}");
        let id = transaction.end.as_ref().and_then(|end| end.queue_id());
        ids.push(id.context("no queue id")?.to_owned());
    }
    postfix.settle(&ids)?;
    let dir = tempfile::tempdir()?;
    let log = postfix.log();
    fs::write(dir.path().join("mail.log"), &log)?;
    fs::write(
        dir.path().join("milter.yaml"),
        "trusted:\n  own: [example.org]\n  domains: [army.mil]\n  suffixes: [.mil]\n",
    )?;
    let output = assert_cmd::Command::cargo_bin("straymail")?
        .current_dir(dir.path())
        .args(["scan-log", "--json", "--config", "milter.yaml", "mail.log"])
        .output()?;
    let report: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let counts = &report["counts"];
    let read = &report["read"];
    assert_eq!(
        [
            &counts["mails"],
            &counts["null_sender_mails"],
            &counts["recipients"],
            &counts["held"]
        ],
        [3, 1, 4, 2],
        "{log}"
    );
    assert_eq!(
        [
            &read["unreadable_lines"],
            &read["truncated_lines"],
            &read["without_sender"]
        ],
        [0, 0, 0],
        "{log}"
    );
    let mut leaked: Vec<(&str, &str)> = (report["leaks"].as_array().context("no leaks")?.iter())
        .filter_map(|leak| Some((leak["sender"].as_str()?, leak["recipient"].as_str()?)))
        .collect();
    leaked.sort_unstable();
    let expected = [
        ("alice@example.org", "carl@army.ml"),
        ("alice@example.org", "odd > name@army.ml"),
    ];
    assert_eq!(leaked, expected, "{log}");
    Ok(())
}
