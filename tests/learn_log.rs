//! `straymail learn` over a generated month with planted typos and real neighbours.

#![expect(
    clippy::unwrap_used,
    reason = "what the tests share fails them like the tests themselves"
)]

#[path = "support/traffic.rs"]
mod traffic;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::Value;
use tempfile::TempDir;
use traffic::{Model, Truth};

/// A site with the log of a month.
struct Site {
    dir: TempDir,
    truth: Truth,
}

fn site() -> Site {
    let dir = tempfile::tempdir().unwrap();
    let mut log = Vec::new();
    let model = Model {
        mails_a_day: 200,
        ..Model::default()
    };
    let truth = traffic::write(&model, &mut log).unwrap();
    fs::write(dir.path().join("mail.log"), log).unwrap();
    fs::create_dir(dir.path().join("store")).unwrap();
    let yaml = format!(
        "{}public_suffix_list: built-in\nquarantine:\n  directory: {}\n",
        traffic::configuration(&truth),
        dir.path().join("store").display()
    );
    fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
    Site { dir, truth }
}

impl Site {
    fn path(&self) -> &Path {
        self.dir.path()
    }

    /// Runs `straymail learn` and returns its status and both its streams.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = assert_cmd::Command::cargo_bin("straymail")
            .unwrap()
            .current_dir(self.path())
            .env("TZ", "UTC")
            .args(["learn", "--config", "milter.yaml"])
            .args(arguments)
            .output()
            .unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn learn(&self, arguments: &[&str]) -> String {
        let (status, printed, complaint) = self.run(arguments);
        assert_eq!((status, complaint.as_str()), (0, ""), "{printed}");
        printed
    }

    fn json(&self, arguments: &[&str]) -> Value {
        serde_json::from_str(&self.learn(arguments)).unwrap()
    }

    /// The doubtful names with the score that history leaves them.
    fn doubtful(&self) -> BTreeMap<String, u64> {
        let listed = self.learn(&["list", "--limit", "1000", "--json"]);
        (listed.lines())
            .map(|line| {
                let row: Value = serde_json::from_str(line).unwrap();
                let domain = row["domain"].as_str().unwrap().to_owned();
                (domain, row["with_history"].as_u64().unwrap())
            })
            .collect()
    }
}

#[test]
fn every_real_neighbour_is_excused_and_no_planted_typo() {
    let site = site();
    let outcome = site.json(&["--json", "mail.log"]);
    assert_eq!(outcome["counted"]["before"], 0);
    assert!(outcome["counted"]["mails"].as_u64().unwrap() > site.truth.outbound / 2);
    let doubtful = site.doubtful();
    for neighbour in site.truth.neighbours.keys() {
        let score = doubtful.get(neighbour);
        assert!(
            score.is_some_and(|score| *score < 40),
            "{neighbour}: {score:?}"
        );
    }
    for typo in site.truth.typos.keys() {
        let score = doubtful.get(typo);
        assert!(score.is_some_and(|score| *score >= 50), "{typo}: {score:?}");
    }
    let expected = site.truth.neighbours.len() + site.truth.typos.len();
    assert_eq!(doubtful.len(), expected, "nothing else is doubtful");
}

#[test]
fn a_log_counts_once_also_when_it_has_grown_and_was_rotated_and_packed() {
    let site = site();
    let whole = fs::read(site.path().join("mail.log")).unwrap();
    let half = (whole.len() / 2..)
        .find(|at| whole.get(*at) == Some(&b'\n'))
        .unwrap();
    fs::write(site.path().join("half.log"), whole.get(..=half).unwrap()).unwrap();
    let learned = |site: &Site| site.json(&["status", "--json"]);
    site.learn(&["half.log"]);
    let first = learned(&site);
    site.learn(&["mail.log"]);
    let extent = learned(&site);
    assert!(first["mails"].as_u64() < extent["mails"].as_u64());
    assert_eq!((&first["logs"], &extent["logs"]), (&1.into(), &1.into()));
    let again = site.json(&["--json", "mail.log"]);
    assert_eq!(again["counted"]["before"], again["counted"]["mails"]);
    assert_eq!(learned(&site), extent);
    let packed = Command::new("gzip")
        .arg("mail.log")
        .current_dir(site.path())
        .status();
    if packed.is_ok_and(|status| status.success()) {
        site.learn(&["mail.log.gz"]);
        assert_eq!(learned(&site), extent);
    } else {
        println!("skipped: gzip is not installed");
    }
    // Another site that reads all at once knows the same.
    let other = self::site();
    other.learn(&["mail.log"]);
    assert_eq!(learned(&other), extent);
    assert_eq!(other.doubtful(), site.doubtful());
}

#[test]
fn suggestions_are_names_that_answered_and_never_look_alikes_and_nothing_is_stored() {
    let site = site();
    let found = site.json(&["--suggest", "--limit", "500", "--json", "mail.log"]);
    let names: Vec<&str> = (found["trusted"].as_array().unwrap().iter())
        .map(|row| row["name"].as_str().unwrap())
        .collect();
    assert!(names.len() > 10, "{names:?}");
    for name in &names {
        let planted = site.truth.typos.contains_key(*name);
        let neighbour = site.truth.neighbours.contains_key(*name);
        assert!(
            !planted && !neighbour && !site.truth.partners.iter().any(|p| p == name),
            "{name}"
        );
    }
    assert_eq!(site.json(&["status", "--json"])["domains"], 0);
    let yaml = site.learn(&["--suggest", "--limit", "2", "mail.log"]);
    assert!(yaml.contains("trusted:\n  domains:\n    - "), "{yaml}");
    // The printed text is a configuration.
    fs::write(site.path().join("proposed.yaml"), &yaml).unwrap();
    let checked = assert_cmd::Command::cargo_bin("straymail")
        .unwrap()
        .args(["check-config", "proposed.yaml"])
        .current_dir(site.path())
        .output()
        .unwrap();
    assert!(checked.status.success(), "{checked:?}\n{yaml}");
    let (status, _, complaint) = site.run(&["--suggest"]);
    assert_eq!(status, 1);
    assert!(
        complaint.contains("names are stored as hashes (learning.names)"),
        "{complaint}"
    );
}

#[test]
fn plain_names_can_be_suggested_from_what_was_learned() {
    let site = site();
    let config = site.path().join("milter.yaml");
    let yaml = fs::read_to_string(&config).unwrap() + "learning:\n  names: plain\n";
    fs::write(config, yaml).unwrap();
    site.learn(&["mail.log"]);
    let stored = site.json(&["--suggest", "--limit", "500", "--json"]);
    let read = site.json(&["--suggest", "--limit", "500", "--json", "mail.log"]);
    let names = |found: &Value| -> Vec<String> {
        let rows = found["trusted"].as_array().unwrap().iter();
        let mut names: Vec<_> = rows
            .map(|row| row["name"].as_str().unwrap().to_owned())
            .collect();
        names.sort();
        names
    };
    assert_eq!(names(&stored), names(&read));
}

#[test]
fn standard_input_is_read_and_what_cannot_be_read_is_told() {
    let site = site();
    let log = fs::File::open(site.path().join("mail.log")).unwrap();
    let output = Command::new(assert_cmd::cargo::cargo_bin("straymail"))
        .args(["learn", "--config", "milter.yaml", "-"])
        .current_dir(site.path())
        .stdin(log)
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    assert!(output.status.success(), "{output:?}");
    assert!(
        site.json(&["status", "--json"])["domains"]
            .as_u64()
            .unwrap()
            > 100
    );
    let mut junk = fs::File::create(site.path().join("junk.log")).unwrap();
    junk.write_all(b"\x1f\x8b\x08\x00 not really packed")
        .unwrap();
    let (status, printed, complaint) = site.run(&["nowhere.log", "junk.log"]);
    assert_eq!(status, 1, "{printed}");
    assert!(
        complaint.contains("nowhere.log: cannot be read to its end: No such file"),
        "{complaint}"
    );
    assert!(
        complaint.contains("junk.log: cannot be read to its end"),
        "{complaint}"
    );
}

#[test]
fn a_pipe_is_read_from_its_beginning() {
    let site = site();
    let output = assert_cmd::Command::cargo_bin("straymail")
        .unwrap()
        .current_dir(site.path())
        .env("TZ", "UTC")
        .args(["learn", "--config", "milter.yaml", "--json", "/dev/stdin"])
        .write_stdin(fs::read(site.path().join("mail.log")).unwrap())
        .output()
        .unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        piped["counted"]["mails"],
        site.json(&["--json", "mail.log"])["counted"]["mails"]
    );
}

#[test]
fn what_is_no_name_is_refused_and_nothing_is_erased() {
    let site = site();
    site.learn(&["mail.log"]);
    let neighbour = site.truth.neighbours.keys().next().unwrap();
    let known = site.learn(&["show", neighbour]);
    let shown = site.run(&["show", ".."]);
    let why = "the domain has an empty label (two dots in a row, or a dot in front)";
    let complaint = format!("straymail: \"..\" is not a domain name: {why}\n");
    assert_eq!(shown, (64, String::new(), complaint));
    assert_eq!(site.run(&["forget", neighbour, ".."]), shown);
    let complaint = format!("straymail: \"anna@..\" is not an address: {why}\n");
    let refused = site.run(&["forget", neighbour, "anna@.."]);
    assert_eq!(refused, (64, String::new(), complaint));
    for nobody in [
        "@site.example",
        "a@b.example,c@site.example",
        "a b@site.example",
        "anna",
        "com",
    ] {
        assert_eq!(site.run(&["forget", neighbour, nobody]).0, 64, "{nobody}");
    }
    assert_eq!(site.learn(&["show", neighbour]), known);
    // A host without a name may have senders.
    site.learn(&["forget", "anna@[192.0.2.7]"]);
}

#[test]
fn a_domain_is_shown_and_a_person_forgotten() {
    let site = site();
    site.learn(&["mail.log"]);
    let neighbour = site.truth.neighbours.keys().next().unwrap();
    let shown = site.learn(&["show", neighbour]);
    assert!(shown.starts_with(&format!("{neighbour}: ")), "{shown}");
    assert!(shown.contains("with history"), "{shown}");
    let erased = site.json(&["forget", neighbour, "--json"]);
    assert_eq!(erased["domains"], 1);
    let shown = site.learn(&["show", neighbour]);
    assert_eq!(shown, format!("nothing is known of mail to {neighbour}\n"));
    assert!(!site.doubtful().contains_key(neighbour));
    site.learn(&["forget", "--everything"]);
    assert_eq!(site.json(&["status", "--json"])["pairs"], 0);
    let (status, _, complaint) = site.run(&["forget"]);
    assert_eq!(status, 64, "{complaint}");
}
