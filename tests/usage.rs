//! A mistake in the command line ends every command alike: status 64, nothing printed, nothing done.

#![expect(
    clippy::unwrap_used,
    reason = "what the tests share fails them like the tests themselves"
)]

use std::fs;
use std::path::Path;

/// Runs a command and returns its status and both its streams.
fn run(dir: &Path, arguments: &[&str]) -> (i32, String, String) {
    let output = assert_cmd::Command::cargo_bin("straymail")
        .unwrap()
        .current_dir(dir)
        .args(arguments)
        .args(["--config", "milter.yaml"])
        .output()
        .unwrap();
    let text = |octets| String::from_utf8(octets).unwrap();
    (
        output.status.code().unwrap(),
        text(output.stdout),
        text(output.stderr),
    )
}

#[test]
fn a_wrong_command_line_ends_with_64_whatever_the_command() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    fs::create_dir(&store).unwrap();
    let yaml = format!("quarantine: {{directory: {}}}\n", store.display());
    fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
    let run = |arguments: &[&str]| run(dir.path(), arguments);
    for wrong in [
        &["learn"][..],
        &["learn", "mail.log", "status"],
        &["learn", "mail.log", "--time-zone", "Nope/X"],
        &["learn", "mail.log", "--suggest", "status"],
        &["scan-log", "mail.log", "--time-zone", "Nope/X"],
        &["report", "--from", "2026-11-02", "--to", "2026-11-01"],
        &["report", "--from", "2026-11-02", "--to", "2026-11-02"],
        &[
            "quarantine",
            "list",
            "--since",
            "2026-11-02",
            "--before",
            "2026-11-01",
        ],
        &["quarantine", "release"],
        &[
            "quarantine",
            "drop",
            "7Q2M",
            "--sender",
            "anna@site.example",
        ],
        &[
            "approve",
            "add",
            "carl@boing.com",
            "--reason",
            "x",
            "--for",
            "9999999d",
        ],
        &[
            "quarantine",
            "list",
            "--min-score",
            "80",
            "--max-score",
            "20",
        ],
    ] {
        let (status, printed, complaint) = run(wrong);
        assert_eq!(
            (status, printed.as_str()),
            (64, ""),
            "{wrong:?}: {complaint}"
        );
    }
    // Told before the configuration is looked at.
    fs::write(dir.path().join("milter.yaml"), "nonsense: 1\n").unwrap();
    for wrong in [
        &["learn"][..],
        &["scan-log", "x", "--time-zone", "Nope/X"],
        &["scan-log", "x", "--json", "--html", "-"],
    ] {
        assert_eq!(run(wrong).0, 64, "{wrong:?}");
    }
    assert_eq!(run(&["learn", "mail.log"]).0, 78);
}
