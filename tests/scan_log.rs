//! `straymail scan-log` over whole logs: a generated month with its ground truth, and bad input.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    reason = "what the tests share fails them like the tests themselves"
)]

#[path = "support/traffic.rs"]
mod traffic;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use traffic::{Format, Model, Truth};

fn straymail(dir: &Path) -> assert_cmd::Command {
    let mut command = assert_cmd::Command::cargo_bin("straymail").unwrap();
    command.current_dir(dir).env("TZ", "UTC");
    command.args(["scan-log", "--config", "milter.yaml"]);
    command
}

fn json(dir: &Path, arguments: &[&str]) -> Value {
    let output = straymail(dir)
        .arg("--json")
        .args(arguments)
        .output()
        .unwrap();
    let complaint = String::from_utf8_lossy(&output.stderr);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {complaint}"))
}

/// Writes the log of a model and a configuration.
fn generate(dir: &Path, model: &Model) -> (Vec<u8>, Truth) {
    let mut log = Vec::new();
    let truth = traffic::write(model, &mut log).unwrap();
    fs::write(dir.join("milter.yaml"), traffic::configuration(&truth)).unwrap();
    (log, truth)
}

/// Leaks by domain.
fn leaked(report: &Value) -> BTreeMap<String, u64> {
    let mut leaked = BTreeMap::new();
    for leak in report["leaks"].as_array().unwrap() {
        let recipient = leak["recipient"].as_str().unwrap();
        let domain = recipient.rsplit_once('@').unwrap().1;
        *leaked.entry(domain.to_owned()).or_default() += 1;
    }
    leaked
}

fn planted(truth: &Truth) -> BTreeMap<String, u64> {
    (truth.typos.iter())
        .map(|(typo, (_, mails))| (typo.clone(), *mails))
        .collect()
}

#[test]
fn every_planted_typo_of_a_month_is_found_and_none_is_invented() {
    for format in [Format::Postfix, Format::PostfixFiltered, Format::Sendmail] {
        for seed in 1..=3 {
            let dir = tempfile::tempdir().unwrap();
            let model = Model {
                format,
                seed,
                ..Model::default()
            };
            let (log, truth) = generate(dir.path(), &model);
            fs::write(dir.path().join("mail.log"), log).unwrap();
            let report = json(dir.path(), &["mail.log"]);
            assert_eq!(leaked(&report), planted(&truth), "{format:?} {seed}");
            let meant: BTreeMap<&str, &str> = (report["suspects"].as_array().unwrap().iter())
                .map(|suspect| {
                    let best = &suspect["assessment"]["finding"]["resembles"]["candidates"][0];
                    (
                        suspect["domain"].as_str().unwrap(),
                        best["trusted"].as_str().unwrap(),
                    )
                })
                .collect();
            for (typo, (partner, _)) in &truth.typos {
                assert_eq!(meant.get(typo.as_str()), Some(&partner.as_str()), "{typo}");
            }
            let neighbours: BTreeSet<&str> = (report["suspects"].as_array().unwrap().iter())
                .filter(|suspect| suspect["neighbour"] != "no")
                .map(|suspect| suspect["domain"].as_str().unwrap())
                .collect();
            let expected: BTreeSet<&str> = truth.neighbours.keys().map(String::as_str).collect();
            assert_eq!(neighbours, expected, "{format:?} {seed}");
            let counts = &report["counts"];
            assert_eq!(counts["mails"], truth.outbound, "{format:?} {seed}");
            assert_eq!(counts["inbound_mails"], truth.inbound, "{format:?} {seed}");
            assert_eq!(report["read"]["lines"], truth.lines);
            assert_eq!(report["read"]["without_sender"], 0);
            assert_eq!(report["read"]["truncated_lines"], 0);
        }
    }
}

#[test]
fn a_sender_who_is_not_in_the_log_is_one_and_not_two() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "trusted:\n  domains: [army.mil]\npublic_suffix_list: built-in\n";
    fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
    let line = "Nov  1 10:00:00 mx postfix/smtp[1]: ABCDEF1234: to=<q@army.ml>, \
                relay=mx.army.ml[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 ok)\n";
    fs::write(dir.path().join("mail.log"), line).unwrap();
    let report = json(dir.path(), &["mail.log"]);
    let suspect = &report["suspects"][0];
    assert_eq!(
        (&suspect["delivered"], &suspect["senders"]),
        (&1.into(), &1.into())
    );
    assert_eq!(suspect["pairs"][0]["sender"], "?");
    assert_eq!(report["leaks"][0]["sender"], "?");
}

#[test]
fn a_sender_told_late_is_the_sender() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "trusted:\n  domains: [army.mil]\npublic_suffix_list: built-in\n";
    fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
    let to = "postfix/smtp[1]: ABCDEF1234: to=<q@army.ml>, relay=mx.army.ml[192.0.2.1]:25";
    let lines = format!(
        "Nov  1 10:00:00 mx {to}, status=deferred (451 later)\n\
         Nov  1 10:30:00 mx postfix/qmgr[2]: ABCDEF1234: from=<anna@example.org>, size=5, nrcpt=1 (queue active)\n\
         Nov  1 10:30:01 mx {to}, status=sent (250 ok)\n"
    );
    fs::write(dir.path().join("mail.log"), lines).unwrap();
    let report = json(dir.path(), &["mail.log"]);
    assert_eq!(report["leaks"][0]["sender"], "anna@example.org");
}

#[test]
fn a_routed_address_is_about_the_place_that_is_doubtful() {
    let dir = tempfile::tempdir().unwrap();
    let yaml = "trusted:\n  domains: [army.mil, boeing.com]\npublic_suffix_list: built-in\n";
    fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
    let line = |to: &str| {
        format!(
            "Nov  1 10:00:00 mx postfix/smtp[1]: ABCDEF1234: to=<{to}>, \
             relay=mx.example[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 ok)\n"
        )
    };
    let routed = ["carl%army.ml", "boing.com!carl", "dora%army.ml", "erik"];
    let lines = routed.map(|local| line(&format!("{local}@relay.example")));
    for lines in [lines.concat(), lines.iter().rev().cloned().collect()] {
        fs::write(dir.path().join("mail.log"), lines).unwrap();
        let report = json(dir.path(), &["mail.log"]);
        let suspects: BTreeMap<_, _> = (report["suspects"].as_array().unwrap().iter())
            .map(|suspect| {
                let best = &suspect["assessment"]["finding"]["resembles"]["candidates"][0];
                let field = |value: &Value| value.as_str().unwrap().to_owned();
                (
                    field(&suspect["domain"]),
                    (field(&best["trusted"]), suspect["delivered"].as_u64()),
                )
            })
            .collect();
        let expected = [
            ("army.ml", ("army.mil", Some(2))),
            ("boing.com", ("boeing.com", Some(1))),
        ];
        let expected = expected
            .map(|(domain, (meant, delivered))| (domain.to_owned(), (meant.to_owned(), delivered)));
        assert_eq!(suspects, expected.into());
    }
}

#[test]
fn rotated_and_compressed_files_in_any_order_give_the_same_report() {
    let dir = tempfile::tempdir().unwrap();
    let (log, truth) = generate(dir.path(), &Model::default());
    fs::write(dir.path().join("whole"), &log).unwrap();
    let whole = json(dir.path(), &["whole"]);
    let lines: Vec<&[u8]> = log.split_inclusive(|byte| *byte == b'\n').collect();
    let mut names = Vec::new();
    for (n, (part, program)) in lines
        .chunks(lines.len() / 5 + 1)
        .zip(["xz", "bzip2", "zstd", "gzip", "cat"])
        .enumerate()
    {
        // The name says nothing about the content.
        let name = format!("mail.log.{}", 4 - n);
        fs::write(dir.path().join(&name), packed(program, &part.concat())).unwrap();
        names.push(name);
    }
    names.reverse();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let parts = json(dir.path(), &names);
    assert_eq!(parts["counts"], whole["counts"]);
    assert_eq!(leaked(&parts), planted(&truth));
    assert_eq!(parts["suspects"], whole["suspects"]);
    // By a pattern and by its name.
    let twice = json(dir.path(), &["whole", "./whole"]);
    assert_eq!(twice["counts"], whole["counts"]);
    let output = straymail(dir.path())
        .args(["--json", "-"])
        .write_stdin(log)
        .output()
        .unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(piped["counts"], whole["counts"]);
}

/// Packs with a program of the system, or leaves as it is when that is not installed.
fn packed(program: &str, bytes: &[u8]) -> Vec<u8> {
    let arguments: &[&str] = if program == "cat" { &[] } else { &["-c"] };
    let child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        eprintln!("skipped: {program} is not installed, its part of the log stays plain");
        return bytes.to_vec();
    };
    let mut input = child.stdin.take().unwrap();
    let bytes = bytes.to_vec();
    let writer = std::thread::spawn(move || input.write_all(&bytes));
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap().unwrap();
    output.stdout
}

const CONFIG: &str = "trusted:\n  own: [example.org]\n  domains: [army.mil]\n  suffixes: [.mil]\n";
const LEAK: &str = "\
Nov 24 10:00:00 mx postfix/submission/smtpd[1]: ABCDE1: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=anna
Nov 24 10:00:00 mx postfix/cleanup[2]: ABCDE1: message-id=<1@pc>
Nov 24 10:00:00 mx postfix/qmgr[3]: ABCDE1: from=<anna@example.org>, size=900, nrcpt=1 (queue active)
Nov 24 10:00:01 mx postfix/smtp[4]: ABCDE1: to=<carl@army.ml>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)
Nov 24 10:00:01 mx postfix/qmgr[3]: ABCDE1: removed
";

#[test]
fn bad_input_is_counted_and_never_hides_what_is_around_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    let mut log = b"\x00\xff\xfe binary junk \x1b[2J\n".to_vec();
    log.extend(b"Nov 24 09:59:59 mx sshd[9]: Failed password for root\n");
    log.extend(b"Nov 24 09:59:59 mx postfix/smtp[4]: ABCDE0: to=<x@army.ml>, rel\n");
    log.extend(LEAK.as_bytes());
    log.extend(b"2026-11-24T10:00:02Z mx postfix/smtp[4]: ABCDE2: to=<\"a>\\\"b\"@army.ml>, relay=mx.ml[192.0.2.7]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n");
    log.extend(b"Nov 24 10:00:03 mx postfix/qmgr[3]: ABC");
    fs::write(dir.path().join("mail.log"), &log).unwrap();
    // No gzip at all behind this name, and half of one behind the next.
    fs::write(
        dir.path().join("plain.gz"),
        LEAK.replace("ABCDE1", "ABCDE7"),
    )
    .unwrap();
    let half = packed("gzip", LEAK.repeat(20_000).as_bytes());
    fs::write(
        dir.path().join("half.log"),
        half.get(..half.len() / 2).unwrap(),
    )
    .unwrap();
    let report = json(dir.path(), &["mail.log", "plain.gz", "nowhere.log", "."]);
    let read = &report["read"];
    assert_eq!(
        [
            &read["unreadable_lines"],
            &read["other_lines"],
            &read["truncated_lines"],
            &read["without_sender"]
        ],
        [1, 1, 2, 1]
    );
    assert_eq!(leaked(&report), BTreeMap::from([("army.ml".to_owned(), 3)]));
    let errors: Vec<&str> = (report["logs"].as_array().unwrap().iter())
        .filter_map(|log| log["error"].as_str())
        .collect();
    assert_eq!(
        errors,
        [
            "No such file or directory (os error 2)",
            "it is a directory"
        ]
    );
    if half.starts_with(&[0x1f, 0x8b]) {
        let report = json(dir.path(), &["half.log"]);
        assert!(report["logs"][0]["error"].is_string(), "{}", report["logs"]);
        assert!(report["counts"]["leaks"].as_u64().unwrap() > 1000);
    }
}

#[test]
fn the_report_says_first_what_matters() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    fs::write(dir.path().join("mail.log"), LEAK).unwrap();
    let output = straymail(dir.path()).arg("mail.log").output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "\
2026-11-24 10:00 to 2026-11-24 10:00, 5 lines
            1  mails of your senders
            1  recipients of these
            1  distinct domains, with those that aliases and forwards led to
            0  mails of others and bounces, not judged
Of the recipients would be
            0  rejected
            1  held
            0  noted in the log, and delivered
That is 1.0 a day to confirm or to correct, 1 on the worst day.
Leaked already: 1 mail to domains that look like yours or your partners'.

Past leaks, newest first
TIME              SENDER            RECIPIENT     MEANT     BY      QUEUE ID
2026-11-24 10:00  anna@example.org  carl@army.ml  army.mil  sender  ABCDE1

Doubtful domains
DOMAIN   LOOKS LIKE  SCORE  REJECT  HOLD  NOTE  LEAKED  SENDERS  LAST        WHY
army.ml  army.mil       84       0     1     0       1        1  2026-11-24  the ending is .ml instead of .mil
"
    );
}

#[test]
fn leaks_beyond_the_list_are_counted_and_the_newest_are_listed() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    let mut log = String::new();
    for number in 0..500 {
        let alias = LEAK
            .replace("ABCDE1", &format!("ABC{number:03}"))
            .replace("Nov 24", &format!("Nov {}", 10 + number / 50))
            .replace(
                "to=<carl@army.ml>,",
                "to=<carl@army.ml>, orig_to=<all@example.org>,",
            );
        log += &alias;
    }
    fs::write(dir.path().join("mail.log"), log).unwrap();
    let report = json(dir.path(), &["mail.log"]);
    let counts = &report["counts"];
    assert_eq!(
        [
            &counts["leaks"],
            &counts["leaks_unseen"],
            &counts["unlisted_leaks"]
        ],
        [500, 500, 300]
    );
    let by_day: Vec<u64> = (report["days"].as_array().unwrap().iter())
        .map(|day| day["leaked"].as_u64().unwrap())
        .collect();
    assert_eq!(by_day, [50; 10]);
    let listed = report["leaks"].as_array().unwrap();
    assert_eq!(listed.len(), 200);
    assert_eq!(listed[0]["time"], "2026-11-16T10:00:01Z");
    let output = straymail(dir.path()).arg("mail.log").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    for told in [
        "Of these 500 by an alias",
        "2026-11-19 10:00",
        "… and 180 more (--top, --json)\n300 older ones are counted and not listed",
    ] {
        assert!(said.contains(told), "{told} in {said}");
    }
}

#[test]
fn anonymised_output_names_no_person() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    fs::write(dir.path().join("mail.log"), LEAK).unwrap();
    for arguments in [
        &["mail.log", "--anonymise"][..],
        &["mail.log", "--anonymise", "--json"],
    ] {
        let output = straymail(dir.path())
            .args(arguments)
            .args(["--html", "r.html"])
            .output()
            .unwrap();
        let said = String::from_utf8(output.stdout).unwrap();
        let page = fs::read_to_string(dir.path().join("r.html")).unwrap();
        for text in [said, page] {
            assert!(text.contains("person-2@army.ml"), "{text}");
            assert!(!text.contains("anna") && !text.contains("carl"), "{text}");
        }
    }
}

#[test]
fn the_page_runs_and_loads_nothing_and_escapes_what_strangers_wrote() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    let log = LEAK
        .replace("<carl@army.ml>", "<\"<img/src=x>\"@army.ml>")
        .replace("sasl_username=anna", "sasl_username=<b>");
    fs::write(dir.path().join("mail.log"), log).unwrap();
    let output = straymail(dir.path())
        .args(["mail.log", "--html", "r.html"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(1));
    let page = fs::read_to_string(dir.path().join("r.html")).unwrap();
    assert!(page.contains("&lt;img&#x2f;src=x&gt;@army.ml"), "{page}");
    for forbidden in ["<script", "<img", "src=\"", "href", "url(", "@import"] {
        assert!(!page.contains(forbidden), "{forbidden}");
    }
    assert!(page.contains("<svg") && page.ends_with("</html>\n") || page.ends_with("</html>"));
}

#[test]
fn an_alias_is_judged_before_it_and_leaks_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    let alias = LEAK.replace(
        "to=<carl@army.ml>,",
        "to=<carl@army.ml>, orig_to=<all@example.org>,",
    );
    // Somebody outside writes to a person here whose mail is sent on.
    let forward = alias
        .replace("ABCDE1", "ABCDE2")
        .replace("submission/smtpd", "smtpd")
        .replace(", sasl_method=PLAIN, sasl_username=anna", "")
        .replace("anna@example.org", "x@away.example");
    fs::write(dir.path().join("mail.log"), alias + &forward).unwrap();
    let report = json(dir.path(), &["mail.log"]);
    let counts = &report["counts"];
    assert_eq!(
        [&counts["held"], &counts["leaks"], &counts["leaks_unseen"]],
        [0, 2, 2]
    );
    let ways: Vec<&str> = (report["leaks"].as_array().unwrap().iter())
        .map(|leak| leak["way"].as_str().unwrap())
        .collect();
    assert_eq!(ways, ["alias", "forward"]);
}

#[test]
fn a_queue_id_given_again_and_a_recipient_tried_again_are_counted_right() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("milter.yaml"), CONFIG).unwrap();
    let refused = "Nov 24 10:00:00 mx postfix/submission/smtpd[1]: NOQUEUE: reject: RCPT from pc[192.0.2.9]: 450 4.1.2 <carl@army.ml>: Domain not found; from=<anna@example.org> to=<carl@army.ml> proto=ESMTP helo=<pc> sasl_username=<anna>\n";
    // The end of the first message is not in the log.
    let anna = LEAK.replace("Nov 24 10:00:01 mx postfix/qmgr[3]: ABCDE1: removed\n", "");
    let bob = LEAK.replace("anna", "bob").replace("carl", "cora");
    fs::write(
        dir.path().join("mail.log"),
        refused.repeat(3) + &anna + &bob,
    )
    .unwrap();
    let report = json(dir.path(), &["mail.log"]);
    let counts = &report["counts"];
    assert_eq!(
        [&counts["mails"], &counts["recipients"], &counts["held"]],
        [2, 2, 2]
    );
    let senders: Vec<&str> = (report["leaks"].as_array().unwrap().iter())
        .map(|leak| leak["sender"].as_str().unwrap())
        .collect();
    assert_eq!(senders, ["anna@example.org", "bob@example.org"]);
}
