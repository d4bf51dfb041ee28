//! `straymail check` as a program: what it prints, what it returns.

use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use assert_cmd::Command;

struct Run {
    status: Option<i32>,
    printed: String,
    complained: String,
}

/// Runs `straymail check --trusted LIST args…`, with LIST holding `trusted`.
fn check(trusted: &str, args: &[&str], stdin: impl Into<Vec<u8>>) -> anyhow::Result<Run> {
    let mut list = tempfile::NamedTempFile::new()?;
    list.write_all(trusted.as_bytes())?;
    let output = Command::cargo_bin("straymail")?
        .arg("check")
        .arg("--trusted")
        .arg(list.path())
        .args(args)
        .write_stdin(stdin)
        .output()?;
    Ok(Run {
        status: output.status.code(),
        printed: String::from_utf8_lossy(&output.stdout).into_owned(),
        complained: String::from_utf8(output.stderr)?,
    })
}

#[test]
fn tsv_echoes_every_line_as_given_and_in_order() {
    let lines = "army.mil\nBob@Example.ORG\n\nfoo..bar\nbücher.example\r\nlast";
    let run = check("army.mil\n", &["--format", "tsv", "-"], lines).unwrap();
    let first: Vec<&str> = (run.printed.lines())
        .filter_map(|row| row.split('\t').next())
        .collect();
    assert_eq!(
        first,
        [
            "army.mil",
            "Bob@Example.ORG",
            "",
            "foo..bar",
            "bücher.example",
            "last"
        ]
    );
    assert!(run.printed.lines().all(|row| row.split('\t').count() == 3));
    assert_eq!(run.complained, "");
}

#[test]
fn the_status_says_whether_anything_is_suspicious() {
    let status = |name: &str| check("army.mil\n", &[name], "").unwrap().status;
    assert_eq!(status("carl@army.mil"), Some(0));
    assert_eq!(status("carl@us.army.mil"), Some(0));
    assert_eq!(status("anna@wikipedia.org"), Some(0));
    assert_eq!(status("carl@foo..bar"), Some(1));
    assert_eq!(status("carl@amry.mil"), Some(1));
}

#[test]
fn a_verdict_names_the_domain_meant_the_edit_and_points_that_sum_up() {
    let trusted = "army.mil\nexample.org\n";
    let json = ["--format", "json", "carl@exmaple.org"];
    let run = check(trusted, &json, "").unwrap();
    let report: serde_json::Value = serde_json::from_str(&run.printed).unwrap();
    let best = &report["assessment"]["finding"]["resembles"]["candidates"][0];
    assert_eq!(best["trusted"], "example.org");
    let points: i64 = (best["evidence"].as_array().unwrap().iter())
        .filter_map(|evidence| evidence["points"].as_i64())
        .sum();
    assert_eq!(Some(points), best["score"].as_i64());
    assert_eq!(best["score"], report["assessment"]["score"]);
    assert_eq!(report["verdict"]["rule"], "default");

    let text = check(trusted, &["carl@exmaple.org"], "").unwrap().printed;
    let marked = best["edit"]["marked"].as_str().unwrap();
    assert!(
        text.contains(&format!("looks like example.org   {marked}\n")),
        "{text}"
    );
    assert!(
        text.contains(&format!("{:>4}  of 100\n", best["score"])),
        "{text}"
    );
    assert!(text.contains(", by rule default: "), "{text}");

    let tsv = check(trusted, &["--format", "tsv", "carl@exmaple.org"], "").unwrap();
    assert_eq!(
        tsv.printed,
        format!("carl@exmaple.org\t{}\texample.org\n", best["score"])
    );
}

#[test]
fn names_below_a_private_suffix_have_owners_of_their_own_where_one_is_trusted() {
    let verdicts = |trusted: &str, names: &[&str]| {
        let run = check(trusted, &["--format", "tsv", "-"], names.join("\n")).unwrap();
        (run.printed.lines())
            .filter_map(|row| row.split_once('\t').map(|(_, verdict)| verdict.to_owned()))
            .collect::<Vec<_>>()
    };
    let names = [
        "acme.uk.com",
        "mail.acme.uk.com",
        "amce.uk.com",
        "acmee.uk.com",
        "other.uk.com",
        "contosso.onmicrosoft.com",
        "fabrikam.onmicrosoft.com",
    ];
    assert_eq!(
        verdicts("acme.uk.com\ncontoso.onmicrosoft.com\n", &names),
        [
            "0\tacme.uk.com",
            "0\tacme.uk.com",
            "64\tacme.uk.com",
            "64\tacme.uk.com",
            "0\t-",
            "82\tcontoso.onmicrosoft.com",
            "0\t-",
        ]
    );
    // Whoever trusts the whole trusts what is below.
    let all = verdicts("uk.com\nacme.uk.com\n", &names[..5]);
    assert!(
        all.iter().all(|verdict| verdict.starts_with("0\t")),
        "{all:?}"
    );
}

#[test]
fn the_subject_selects_the_rule() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("milter.yaml");
    let yaml = "trusted:\n  domains: [example.org]\n\
                policy:\n  rules:\n    - name: africa\n      when: {sender: africa.example}\n      \
                certain: accept\n      suspect: accept\n      reason: a test\n    \
                - name: desk\n      when: {login: desk-7, client: 192.0.2.0/24}\n      mode: observe\n      \
                reason: a test\n";
    std::fs::write(&config, yaml).unwrap();
    let rule = |args: &[&str]| {
        let output = Command::cargo_bin("straymail")
            .unwrap()
            .args(["check", "--format", "json", "x@exmaple.org", "--config"])
            .arg(&config)
            .args(args)
            .output()
            .unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        let verdict = &report["verdict"];
        let word = |key: &str| verdict[key].as_str().unwrap_or_default().to_owned();
        format!("{}: {}", word("rule"), word("action"))
    };
    assert_eq!(rule(&["--sender", "a@africa.example"]), "africa: accept");
    assert_eq!(
        rule(&["--login", "desk-7", "--client", "192.0.2.9"]),
        "desk: accept"
    );
    assert_eq!(rule(&["--login", "desk-7"]), "default: hold");
    assert_eq!(rule(&["--role", "local"]), "default: hold");
}

/// Runs `straymail check ARGS --config CONFIG`.
fn check_with(config: &Path, args: &[&str]) -> anyhow::Result<Run> {
    let output = Command::cargo_bin("straymail")?
        .arg("check")
        .args(args)
        .arg("--config")
        .arg(config)
        .output()?;
    Ok(Run {
        status: output.status.code(),
        printed: String::from_utf8(output.stdout)?,
        complained: String::from_utf8(output.stderr)?,
    })
}

#[test]
fn approvals_count_as_for_the_milter() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("milter.yaml");
    let state = folder.path().join("state");
    let yaml = format!(
        "trusted: {{domains: [example.org]}}\nquarantine: {{directory: {}}}\n",
        state.display()
    );
    std::fs::write(&config, yaml).unwrap();
    let json = |args: &[&str]| {
        let args = [&["x@exmaple.org", "--format", "json"], args].concat();
        let run = check_with(&config, &args).unwrap();
        let report: serde_json::Value = serde_json::from_str(&run.printed).unwrap();
        let is_approved = report["verdict"]["approval"].is_string();
        let asked = report["approvals_asked"].as_bool();
        (is_approved, asked, run.complained)
    };
    assert_eq!(json(&[]), (false, Some(false), String::new()));
    assert!(!state.exists(), "looking creates nothing");
    std::fs::create_dir(&state).unwrap();
    let output = Command::cargo_bin("straymail")
        .unwrap()
        .args([
            "approve",
            "add",
            "exmaple.org",
            "--sender",
            "anna@site.example",
        ])
        .args(["--reason", "real", "--config"])
        .arg(&config)
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let added = String::from_utf8(output.stdout).unwrap();
    let (id, _) = added.split_once(' ').unwrap();
    assert_eq!(json(&[]), (false, Some(true), String::new()));
    let anna = ["--sender", "<Anna@Site.example>"];
    assert_eq!(json(&anna), (true, Some(true), String::new()));
    let printed = check_with(&config, &["x@exmaple.org", anna[0], anna[1]])
        .unwrap()
        .printed;
    let text = format!(": accept, because of the approval {id}\n");
    assert!(printed.contains(&text), "{printed}");
    // A store that cannot be read is said, and the rest is told all the same.
    std::fs::remove_file(state.join("quarantine.lock")).unwrap();
    std::fs::create_dir(state.join("quarantine.lock")).unwrap();
    let (approved, asked, complained) = json(&anna);
    assert_eq!((approved, asked), (false, Some(false)), "{complained}");
    assert!(
        complained.starts_with("straymail: approvals and what was learned are not asked: "),
        "{complained}"
    );
}

#[test]
fn what_the_gate_lets_pass_is_not_called_held() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("milter.yaml");
    let yaml = "trusted: {domains: [example.org]}\ngate: {networks: [192.0.2.0/24]}\n";
    std::fs::write(&config, yaml).unwrap();
    let inbound = "  passes unjudged: neither a login nor a client within gate.networks makes it mail of ours\n";
    let null = "  passes unjudged: <> is the sender of bounces and notices\n";
    let held = "  suspect, by rule default: hold\n";
    let outside = ["--role", "relay", "--client", "8.8.8.8"];
    for (args, status, passage, line) in [
        (&outside[..], 0, "inbound", inbound),
        (&["--sender", "<>"], 0, "null-sender", null),
        (&[], 1, "judged", held),
        (&["--role", "relay"], 1, "judged", held),
        (&["--client", "8.8.8.8"], 1, "judged", held),
        (
            &["--role", "relay", "--client", "192.0.2.9"],
            1,
            "judged",
            held,
        ),
        (
            &["--role", "relay", "--client", "8.8.8.8", "--login", "anna"],
            1,
            "judged",
            held,
        ),
    ] {
        let run = check_with(&config, &[&["x@exmaple.org"], args].concat()).unwrap();
        assert_eq!(run.status, Some(status), "{args:?}");
        assert!(run.printed.contains(line), "{args:?}: {}", run.printed);
        let json = [&["x@exmaple.org", "--format", "json"], args].concat();
        let run = check_with(&config, &json).unwrap();
        assert_eq!(run.status, Some(status), "{args:?}");
        let report: serde_json::Value = serde_json::from_str(&run.printed).unwrap();
        assert_eq!(report["passage"], passage, "{args:?}");
        assert_eq!(report["verdict"].is_null(), status == 0, "{args:?}");
    }
    let empty = check_with(&config, &["a.example", "--sender", ""]).unwrap();
    assert_eq!(empty.status, Some(64));
}

#[test]
fn every_way_to_write_an_address_is_judged_as_the_milter_would() {
    let trusted = "example.org\n";
    let score = |given: &str| {
        let run = check(trusted, &["--format", "tsv", given], "").unwrap();
        run.printed
            .split('\t')
            .nth(1)
            .unwrap_or_default()
            .to_owned()
    };
    let plain = score("exmaple.org");
    assert_ne!(plain, "0");
    for given in [
        "x@exmaple.org",
        "<x@exmaple.org>",
        "X@EXMAPLE.ORG.",
        "\"x y\"@exmaple.org",
        "@relay.example:x@exmaple.org",
        "x%exmaple.org@example.org",
        "exmaple.org!x@example.org",
    ] {
        assert_eq!(score(given), plain, "{given}");
    }
}

#[test]
fn a_list_that_is_missing_or_wrong_is_a_wrong_configuration() {
    let output = Command::cargo_bin("straymail")
        .unwrap()
        .args(["check", "--trusted", "/nonexistent", "army.mil"])
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(78));
    assert_eq!(
        String::from_utf8_lossy(&output.stderr),
        "straymail: --trusted: 1 problem\n  --trusted: /nonexistent: cannot read: No such file or \
         directory (os error 2)\n"
    );
    let run = check("army mil\n", &["army.mil"], "").unwrap();
    assert_eq!(run.status, Some(78));
    assert!(
        run.complained.contains("more than one word"),
        "{}",
        run.complained
    );
}

#[test]
fn nothing_to_check_and_two_sources_of_trust_are_wrong_usage() {
    assert_eq!(check("army.mil\n", &[], "").unwrap().status, Some(64));
    let both = check("army.mil\n", &["--config", "milter.yaml", "a.example"], "").unwrap();
    assert_eq!(both.status, Some(64));
}

#[test]
fn foreign_bytes_are_escaped_for_a_person_and_in_json() {
    let hostile = "x@army.mil\u{202e}\u{1b}[2J";
    let text = check("army.mil\n", &[hostile], "").unwrap().printed;
    assert!(
        text.starts_with("x@army.mil\\u{202e}\\u{1b}[2J\n"),
        "{text:?}"
    );
    let json = check("army.mil\n", &["--format", "json", hostile], "")
        .unwrap()
        .printed;
    for printed in [&text, &json] {
        let deceiving = |c: char| c == '\u{202e}' || (c.is_control() && c != '\n');
        assert!(!printed.chars().any(deceiving), "{printed:?}");
    }
    let value: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(value["recipient"], hostile);
    assert_eq!(value["verdict"]["band"], "suspect");
}

#[test]
fn bytes_that_are_not_utf_8_are_judged_not_refused() {
    let run = check("army.mil\n", &["-"], b"x@arm\xff.mil\n".to_vec()).unwrap();
    assert_eq!(run.status, Some(1));
    assert!(
        run.printed.starts_with("x@arm\\xff.mil\n"),
        "{}",
        run.printed
    );
}

#[test]
fn a_hundred_thousand_lines_stream_through() {
    let lines: String = (0..100_000).map(|i| format!("name{i}.example\n")).collect();
    let began = Instant::now();
    let run = check("army.mil\n.gov\n", &["--format", "tsv", "-"], lines).unwrap();
    assert_eq!(run.printed.lines().count(), 100_000);
    // A debug build on a busy machine takes some seconds; a quadratic one takes hours.
    assert!(
        began.elapsed() < Duration::from_secs(120),
        "{:?}",
        began.elapsed()
    );
}
