//! The report over a known history: every figure, and each way to print it.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use assert_cmd::Command;
use held::{envelope, open};
use jiff::Timestamp;
use straymail::octets::Octets;
use straymail::score::{Assessment, Candidate, Edit, Finding};
use straymail::service::decide::{Choice, Decision, Remember};
use straymail::service::figures::Sources;
use straymail::service::quarantine::Quarantine;
use straymail::service::report::{DayFigures, Verdicts, Would};
use straymail::store::{AuditEvent, Day, Endings, EntryId, EventKind};

const HOUR: i64 = 3600;
const DAY: i64 = 24 * HOUR;

/// A time in April 2024, a second later for each.
fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_713_600_000 + second).unwrap()
}

fn assessment(score: u8) -> Assessment {
    let candidate = Candidate {
        trusted: "army.mil".to_owned(),
        hosts: String::new(),
        score,
        evidence: Vec::new(),
        edit: Edit::default(),
    };
    Assessment {
        score,
        finding: Finding::Resembles {
            candidates: vec![candidate],
        },
    }
}

/// Holds a message to carl@army.ml at second `second`, the `n`th of them.
fn hold(quarantine: &Quarantine, n: usize, second: i64) -> EntryId {
    let mut envelope = envelope(at(second));
    envelope.recipients[0].assessment = assessment(70);
    let mut draft = quarantine.draft();
    let message = format!("Message-ID: <{n}@example.org>\r\n\r\nHello\r\n");
    draft.write(message.as_bytes()).unwrap();
    quarantine
        .hold(draft, envelope, at(second))
        .unwrap()
        .remove(0)
}

fn record(quarantine: &Quarantine, kind: EventKind, rule: &str, detail: Option<&str>, second: i64) {
    let event = AuditEvent {
        recipient: Some(Octets::from("<x@boing.com>")),
        suggestion: Some("boeing.com".to_owned()),
        score: Some(76),
        rule: Some(rule.to_owned()),
        detail: detail.map(str::to_owned),
        ..AuditEvent::new(kind, "milter")
    };
    quarantine.record(&event, at(second)).unwrap();
}

fn history(dir: &Path) -> Quarantine {
    let quarantine = open(dir, 1);
    let decide = |id: &EntryId, choice: Choice, second| {
        let decision = Decision {
            choice,
            remember: Remember::Not,
        };
        let sender = "sender anna@example.org (login anna)";
        quarantine
            .decide(id, &decision, sender, at(second))
            .unwrap();
    };
    // The day before: held, and decided within the time of the report.
    let early = hold(&quarantine, 0, -DAY);
    let ids: Vec<EntryId> = (1..=6).map(|n| hold(&quarantine, n, HOUR)).collect();
    // A client's second try is the same recipient.
    hold(&quarantine, 1, 2 * HOUR);
    decide(&early, Choice::Send, HOUR);
    decide(
        &ids[0],
        Choice::Correct("carl@army.mil".to_owned()),
        3 * HOUR,
    );
    decide(&ids[1], Choice::Cancel, 4 * HOUR);
    decide(&ids[2], Choice::Cancel, DAY + HOUR);
    quarantine
        .drop_entry(&ids[3], "spam", "web ed", at(5 * HOUR))
        .unwrap();
    quarantine
        .expire_entry(&ids[4], "nobody decided", None, at(DAY + 2 * HOUR))
        .unwrap();
    record(&quarantine, EventKind::Rejected, "default", None, HOUR);
    record(&quarantine, EventKind::Noted, "default", None, HOUR);
    for intended in ["reject", "hold", "hold", "accept"] {
        let detail = format!("would {intended}");
        record(
            &quarantine,
            EventKind::Observed,
            "lab",
            Some(&detail),
            DAY + HOUR,
        );
    }
    record(&quarantine, EventKind::Observed, "lab", None, DAY + HOUR);
    // After the end.
    record(&quarantine, EventKind::Rejected, "default", None, 2 * DAY);
    quarantine
}

#[test]
fn every_verdict_and_every_decision_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let report = history(dir.path()).report(at(0), at(2 * DAY)).unwrap();
    let verdicts = Verdicts {
        held: 6,
        rejected: 1,
        noted: 1,
        observed: 5,
        ..Verdicts::default()
    };
    assert_eq!((report.verdicts, report.flagged), (verdicts, 13));
    let would = Would {
        rejected: 1,
        held: 2,
        noted: 1,
        unknown: 1,
        ..Would::default()
    };
    assert_eq!(report.would, would);
    let endings = Endings {
        confirmed: 1,
        corrected: 1,
        cancelled: 2,
        dropped: 1,
        expired: 1,
        ..Endings::default()
    };
    assert_eq!(report.endings, endings);
    assert_eq!(report.confirm_rate, Some(25));
    // What is decided to be sent still waits for the worker.
    assert_eq!(report.waiting, 3);
    let pairs: Vec<_> = (report.pairs.iter())
        .map(|pair| {
            (
                pair.domain.as_str(),
                pair.recipients,
                pair.kept_back,
                pair.prevented,
            )
        })
        .collect();
    assert_eq!(pairs, [("boing.com", 7, 1, 0), ("army.ml", 6, 6, 3)]);
    let slowest: Vec<_> = (report.slowest.iter())
        .map(|slow| (slow.seconds / HOUR, slow.ending))
        .collect();
    assert_eq!(
        slowest,
        [
            (25, "confirmed"),
            (24, "cancelled"),
            (4, "dropped"),
            (3, "cancelled"),
            (2, "corrected")
        ]
    );
    let rules: Vec<_> = (report.rules.iter())
        .map(|rule| {
            (
                rule.rule.as_str(),
                rule.verdicts.held,
                rule.would.held,
                rule.confirm_rate,
            )
        })
        .collect();
    assert_eq!(rules, [("default", 6, 0, Some(25)), ("lab", 0, 2, None)]);
    let first = Day::of(at(0));
    let day = |n: i64, flagged, kept_back, would_keep_back| DayFigures {
        day: Day::numbered(first.number() + n),
        flagged,
        kept_back,
        would_keep_back,
    };
    assert_eq!(
        report.days,
        [day(0, 8, 7, 0), day(1, 5, 0, 3), day(2, 0, 0, 0)]
    );
}

#[test]
fn decisions_on_mail_held_before_count_where_it_was_going() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, 1, -DAY);
    // Its client has not heard of the answer and tries again.
    hold(&quarantine, 1, HOUR);
    quarantine
        .decide(
            &id,
            &Decision::SEND,
            "sender anna@example.org",
            at(2 * HOUR),
        )
        .unwrap();
    let report = quarantine.report(at(0), at(DAY)).unwrap();
    assert_eq!(report.verdicts, Verdicts::default());
    let pairs: Vec<_> = (report.pairs.iter())
        .map(|pair| (pair.domain.as_str(), pair.recipients, pair.confirmed))
        .collect();
    assert_eq!(pairs, [("army.ml", 0, 1)]);
}

#[test]
fn a_message_held_again_after_its_end_is_held_twice() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), 1);
    let id = hold(&quarantine, 1, HOUR);
    hold(&quarantine, 1, 2 * HOUR);
    let drop_at = |hour: i64| {
        let dropped = quarantine.drop_entry(&id, "spam", "web ed", at(hour * HOUR));
        dropped.unwrap();
    };
    drop_at(3);
    hold(&quarantine, 1, 4 * HOUR);
    drop_at(5);
    let report = quarantine.report(at(0), at(DAY)).unwrap();
    assert_eq!((report.verdicts.held, report.endings.dropped), (2, 2));
    let waited: Vec<i64> = (report.slowest.iter())
        .map(|slow| slow.seconds / HOUR)
        .collect();
    assert_eq!(waited, [2, 1]);
}

#[test]
fn the_confirm_rate_of_the_metrics_is_the_one_of_the_report() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Arc::new(history(dir.path()));
    let sources = Sources::new(Arc::clone(&quarantine), Duration::from_secs(1));
    let shown = |second| {
        let page = sources.page(at(second));
        let value = |line: &str| line.strip_prefix("straymail_confirm_rate ")?.parse().ok();
        page.lines().find_map(value)
    };
    // One of four confirmed; a week later one is left, which did not; then none at all.
    let mut rates: Vec<Option<f64>> = Vec::new();
    for second in [2 * DAY, 2 * DAY + 1, 8 * DAY, 9 * DAY] {
        let report = quarantine.report(at(second - 7 * DAY), at(second)).unwrap();
        let rate = report.confirm_rate.map(|rate| f64::from(rate) / 100.0);
        assert_eq!(shown(second), rate, "{second}");
        rates.push(rate);
    }
    assert_eq!(rates, [Some(0.25), Some(0.25), Some(0.0), None]);
    // What is decided between two looks is counted, too.
    let id = hold(&quarantine, 9, 9 * DAY);
    quarantine
        .decide(&id, &Decision::SEND, "sender anna@example.org", at(9 * DAY))
        .unwrap();
    assert_eq!(shown(9 * DAY + 1), Some(1.0));
}

#[test]
fn nothing_is_a_report_too() {
    let dir = tempfile::tempdir().unwrap();
    let report = open(dir.path(), 1).report(at(0), at(DAY)).unwrap();
    assert_eq!(
        (report.flagged, report.confirm_rate, report.pairs.len()),
        (0, None, 0)
    );
}

#[test]
fn days_are_listed_from_the_first_with_mail() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = history(dir.path());
    let flagged = |from| {
        let report = quarantine.report(at(from), at(3 * DAY)).unwrap();
        report
            .days
            .iter()
            .map(|day| day.flagged)
            .collect::<Vec<_>>()
    };
    assert_eq!(flagged(-10_000 * DAY), flagged(-DAY));
    assert_eq!(flagged(-DAY).first(), Some(&1));
    // A day without anything among them is one.
    assert_eq!(flagged(-DAY).last(), Some(&0));
}

/// Runs `straymail report` on the store in `dir`; returns the exit status and both outputs.
fn run(dir: &Path, arguments: &[&str]) -> (Option<i32>, String, String) {
    let config = dir.join("milter.yaml");
    let store = dir.join("store");
    let yaml = format!(
        "public_suffix_list: built-in\nquarantine:\n  directory: {}\n",
        store.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let output = Command::cargo_bin("straymail")
        .unwrap()
        .args(["report", "--config"])
        .arg(&config)
        .args(arguments)
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (
        output.status.code(),
        text(output.stdout),
        text(output.stderr),
    )
}

/// What it prints, without blanks at the ends of lines.
fn printed(dir: &Path, arguments: &[&str]) -> String {
    let (code, out, error) = run(dir, arguments);
    assert_eq!((code, error.as_str()), (Some(0), ""));
    let blank = out.lines().find(|line| line.ends_with(' '));
    assert_eq!(blank, None);
    out
}

#[test]
fn a_report_tells_of_no_day_that_has_not_come() {
    let dir = tempfile::tempdir().unwrap();
    history(&dir.path().join("store"));
    let (from, never) = (at(0).to_string(), "2999-01-01");
    let spans = ["--from", &from, "--to", never, "--format", "json"];
    let far: serde_json::Value = serde_json::from_str(&printed(dir.path(), &spans)).unwrap();
    let until_now: serde_json::Value =
        serde_json::from_str(&printed(dir.path(), &["--from", &from, "--format", "json"])).unwrap();
    assert_eq!(
        far["days"].as_array().map(Vec::len),
        until_now["days"].as_array().map(Vec::len)
    );
    for (arguments, wrong) in [
        (&["--from", never][..], "--from is not before now"),
        (&["--from", "2d", "--to", "3d"], "--from is not before --to"),
    ] {
        let told = run(dir.path(), arguments);
        let error = format!("straymail: {wrong}\n");
        assert_eq!(told, (Some(64), String::new(), error), "{arguments:?}");
    }
}

#[test]
fn years_of_days_are_drawn_as_wide_as_a_week() {
    let dir = tempfile::tempdir().unwrap();
    history(&dir.path().join("store"));
    let from = at(0).to_string();
    let page = printed(dir.path(), &["--from", &from, "--format", "html"]);
    assert!(page.matches("class=\"bar\"").count() > 800, "{page}");
    assert!(page.contains("viewBox=\"0 -14 720 138\""), "{page}");
    assert!(!page.contains("width=\"0.00\""), "{page}");
}

#[test]
fn what_is_known_of_whole_days_says_so() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    drop(open(&store, 1));
    let (from, to) = (at(0).to_string(), at(DAY).to_string());
    let text = printed(dir.path(), &["--from", &from, "--to", &to]);
    let expected = "straymail, 2024-04-20 08:00 to 2024-04-21 08:00 (UTC)\n\n        \
        0  looked like a trusted domain\n\n\
        All mail on the whole days 2024-04-20 to 2024-04-21\n        \
        0  recipients of 0 messages; 0 messages were not ours to judge\n\n\
        Held mail that ended; 0 wait now\n";
    assert!(text.starts_with(expected), "{text}");
}

#[test]
fn the_command_prints_text_json_and_a_page_without_anything_outside() {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = history(&dir.path().join("store"));
    // A name that a page must not take for its own text.
    let hostile = AuditEvent {
        recipient: Some(Octets::from("<x@\"<script>alert(1)</script>\"\u{1b}>")),
        rule: Some("<b>".to_owned()),
        score: Some(50),
        ..AuditEvent::new(EventKind::Noted, "milter")
    };
    quarantine.record(&hostile, at(HOUR)).unwrap();
    drop(quarantine);
    let run = |arguments: &[&str]| {
        let (from, to) = (at(0).to_string(), at(2 * DAY).to_string());
        let span = ["--from", &from, "--to", &to];
        printed(dir.path(), &[&span[..], arguments].concat())
    };
    let text = run(&[]);
    for part in [
        "       14  looked like a trusted domain",
        "              6  held\n",
        "                    2  would be held\n",
        "        1  corrected   sent to the address that was meant: a leak prevented\n",
        "      25%  confirm rate: so many holds were false alarms",
        "army.ml",
    ] {
        assert!(text.contains(part), "{part:?} is not in\n{text}");
    }
    let json: serde_json::Value = serde_json::from_str(&run(&["--format", "json"])).unwrap();
    assert_eq!(json["endings"]["corrected"], 1);
    assert_eq!(json["days"][0]["flagged"], 9);
    let page = run(&["--format", "html"]);
    assert!(
        page.contains("<b>14</b>looked like a trusted domain"),
        "{page}"
    );
    for outside in [
        "<script",
        "http://",
        "https://",
        "url(",
        "@import",
        "<b>default",
        "\u{1b}",
    ] {
        assert!(!page.contains(outside), "{outside:?} is in the page");
    }
    assert!(page.contains("&lt;b&gt;"));
}
