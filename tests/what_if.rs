//! `straymail scan-log --compare`: what a change of the configuration would have changed.

#![expect(
    clippy::unwrap_used,
    reason = "what the tests share fails them like the tests themselves"
)]

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};

const TRUSTED: &str = "trusted:\n  own: [example.org]\n  domains: [army.mil]\n";
const HELD: &str = "note_at: 40, hold_at: 60, reject_at: 100";

/// Returns the lines of a mail that was delivered.
fn mail(number: usize, sender: &str, recipient: &str) -> String {
    let id = format!("{:05X}1", number + 0xA000);
    let at = format!(
        "Nov 24 10:{:02}:{:02} mx postfix",
        number / 60 % 60,
        number % 60
    );
    let mut lines = String::new();
    for line in [
        format!(
            "submission/smtpd[1]: {id}: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=u"
        ),
        format!("qmgr[3]: {id}: from=<{sender}>, size=9, nrcpt=1 (queue active)"),
        format!(
            "smtp[4]: {id}: to=<{recipient}>, relay=mx.test[192.0.2.5]:25, delay=1, status=sent (250 ok)"
        ),
        format!("qmgr[3]: {id}: removed"),
    ] {
        writeln!(lines, "{at}/{line}").unwrap();
    }
    lines
}

/// Scans `log` under `new`, compared with `old`.
fn scan(log: &str, old: &str, new: &str, arguments: &[&str]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).unwrap();
    write("mail.log", log);
    write("old.yaml", old);
    write("new.yaml", new);
    let output = run(dir.path(), arguments);
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    String::from_utf8(output.stdout).unwrap()
}

fn run(dir: &Path, arguments: &[&str]) -> std::process::Output {
    (assert_cmd::Command::cargo_bin("straymail").unwrap())
        .current_dir(dir)
        .env("TZ", "UTC")
        .args(["scan-log", "--config", "new.yaml", "--compare", "old.yaml"])
        .args(arguments)
        .arg("mail.log")
        .output()
        .unwrap()
}

fn compared(log: &str, old: &str, new: &str) -> Value {
    let said = scan(log, old, new, &["--json"]);
    let mut report: Value = serde_json::from_str(&said).unwrap();
    report["compared"].take()
}

/// Returns what became of how many recipients, before and after.
fn shifts(compared: &Value) -> Vec<(&str, &str, u64)> {
    (compared["shifts"].as_array().unwrap().iter())
        .map(|shift| {
            (
                shift["before"].as_str().unwrap(),
                shift["after"].as_str().unwrap(),
                shift["recipients"].as_u64().unwrap(),
            )
        })
        .collect()
}

#[test]
fn a_domain_that_is_trusted_now_or_no_longer_changes_its_pairs() {
    let log = mail(0, "anna@example.org", "carl@army.ml");
    let none = "trusted:\n  own: [example.org]\n";
    let more = compared(&log, none, TRUSTED);
    assert_eq!(
        (&more["before"]["held"], &more["after"]["held"]),
        (&0.into(), &1.into())
    );
    let change = json!([{
        "sender": "anna@example.org", "recipient": "carl@army.ml",
        "before": "passed", "after": "held", "recipients": 1,
    }]);
    assert_eq!(more["changes"], change);
    let fewer = compared(&log, TRUSTED, none);
    assert_eq!(shifts(&fewer), [("held", "passed", 1)]);
    assert_eq!(fewer["changes"][0]["recipient"], "carl@army.ml");
}

#[test]
fn every_change_of_the_rules_is_seen_and_nothing_else() {
    let log: String = ["carl@army.ml", "cora@arrmy.mil", "fred@elsewhere.example"]
        .iter()
        .enumerate()
        .map(|(number, recipient)| mail(number, "anna@example.org", recipient))
        .collect();
    let with = |policy: &str| format!("{TRUSTED}policy: {{ {policy} }}\n");
    let rule = |what: &str| {
        with(&format!(
            "{HELD}, rules: [{{ name: r, when: {{ recipient: army.ml }}, reason: a test, {what} }}]"
        ))
    };
    let old = with(HELD);
    assert_eq!(shifts(&compared(&log, &old, &old)), []);
    for (new, expected) in [
        (
            with(&format!("{HELD}, mode: observe")),
            ("held", "observed", 2),
        ),
        (
            with("note_at: 40, hold_at: 60, reject_at: 61"),
            ("held", "rejected", 2),
        ),
        (
            with("note_at: 40, hold_at: 99, reject_at: 100"),
            ("held", "noted", 2),
        ),
        (
            with("note_at: 98, hold_at: 99, reject_at: 100"),
            ("held", "passed", 2),
        ),
        (rule("mode: observe"), ("held", "observed", 1)),
        (rule("suspect: tag"), ("held", "tagged", 1)),
    ] {
        let there = compared(&log, &old, &new);
        assert_eq!(shifts(&there), [expected], "{new}");
        let back = compared(&log, &new, &old);
        let (before, after, recipients) = expected;
        assert_eq!(shifts(&back), [(after, before, recipients)], "{new}");
    }
}

#[test]
fn hundreds_of_pairs_of_one_domain_are_compared_like_one() {
    let log: String = (0..300)
        .map(|number| {
            let host = if number < 150 { "a." } else { "" };
            mail(
                number,
                &format!("s{number}@{host}example.org"),
                "carl@army.ml",
            )
        })
        .collect();
    let rule = "policy:\n  rules: [{ name: r, when: { sender: a.example.org }, reason: a test, suspect: accept }]\n";
    let compared = compared(&log, TRUSTED, &format!("{TRUSTED}{rule}"));
    assert_eq!(shifts(&compared), [("held", "noted", 150)]);
    let senders: Vec<&str> = (compared["changes"].as_array().unwrap().iter())
        .map(|change| change["sender"].as_str().unwrap())
        .collect();
    assert_eq!(senders.len(), 150);
    assert!(
        senders
            .iter()
            .all(|sender| sender.ends_with("@a.example.org"))
    );
}

#[test]
fn the_comparison_is_told_to_people() {
    let log = mail(0, "anna@example.org", "carl@army.ml");
    let new = format!("{TRUSTED}policy: {{ mode: observe }}\n");
    let said = scan(&log, TRUSTED, &new, &[]);
    let (_, said) = said.split_once("Against").unwrap();
    assert_eq!(
        said,
        " the older configuration
                        BEFORE  AFTER
rejected                     0      0
held                         1      1
of these observed only       0      1
tagged                       0      0
noted                        0      0
Newly kept back: 0 recipients
No longer kept back: 1 recipient
SENDER            RECIPIENT     BEFORE  AFTER     MAILS
anna@example.org  carl@army.ml  held    observed      1
Kept back in another way: 0 recipients
Delivered in another way: 0 recipients
"
    );
    let page = scan(&log, TRUSTED, &new, &["--html", "-"]);
    assert!(page.starts_with("<!doctype html>"), "{page}");
    assert!(page.contains("No longer kept back: 1 recipient"), "{page}");
    assert!(
        page.contains("is only observed (`mode: observe`)"),
        "{page}"
    );
}

#[test]
fn an_older_configuration_that_cannot_be_read_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("new.yaml"), TRUSTED).unwrap();
    fs::write(dir.path().join("mail.log"), "").unwrap();
    assert_eq!(run(dir.path(), &[]).status.code(), Some(78));
}
