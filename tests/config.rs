//! `straymail check-config`, one folder per broken configuration: `expected` holds what it prints.
//!
//! `BLESS=1 cargo test --test config` writes `expected` anew; read the difference before you
//! commit it.

use std::fs;
use std::path::Path;

use assert_cmd::Command;

fn check_config(folder: &Path) -> anyhow::Result<(Option<i32>, String)> {
    let output = Command::cargo_bin("straymail")?
        .args(["check-config", "milter.yaml"])
        .current_dir(folder)
        .output()?;
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
    Ok((output.status.code(), String::from_utf8(output.stdout)?))
}

#[test]
fn every_problem_of_a_broken_configuration_is_told() {
    let mut folders: Vec<_> = fs::read_dir("tests/config")
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    folders.sort();
    assert!(folders.len() >= 8, "{folders:?}");
    let mut wrong = Vec::new();
    for folder in folders {
        let (status, printed) = check_config(&folder).unwrap();
        let expected_file = folder.join("expected");
        if std::env::var_os("BLESS").is_some() {
            fs::write(&expected_file, &printed).unwrap();
        }
        let expected = fs::read_to_string(&expected_file).unwrap();
        if status != Some(78) || printed != expected {
            wrong.push(format!(
                "{}: exit {status:?}\n--- expected\n{expected}--- printed\n{printed}",
                folder.display()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (status, printed) = check_config(folder.path()).unwrap();
    assert_eq!(status, Some(78));
    assert_eq!(
        printed,
        "milter.yaml: 1 problem\n  milter.yaml: cannot read: No such file or directory (os error 2)\n"
    );
}

#[test]
fn a_fine_configuration_is_summed_up() {
    for (policy, deeds) in [
        (
            "  mode: observe\n",
            "Only observes: every recipient is delivered, and noted in the log from score 40; in mode \
             enforce it would be held from 50, rejected from 90; no rules",
        ),
        (
            "  mode: observe\n  suspect: accept\n  certain: accept\n  rules:\n    - name: a\n      \
             when:\n        recipient: army.ml\n      mode: enforce\n      certain: hold\n      owner: J. Doe\n      reason: x\n",
            "Only observes: every recipient is delivered, and noted in the log from score 40; 1 rule, 1 of \
             them enforcing",
        ),
        (
            "  suspect: tag\n",
            "By score, a recipient is delivered and noted in the log from 40, tagged from 50, rejected \
             from 90; no rules",
        ),
        (
            "  note_at: 50\n",
            "By score, a recipient is held from 50, rejected from 90; no rules",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let yaml = format!(
            "listeners:\n  - socket: inet:8891@127.0.0.1\n    role: submission\n\
             trusted:\n  own: [example.org]\n  domains: [army.example]\n  suffixes: [.mil]\n\
             public_suffix_list: built-in\npolicy:\n{policy}"
        );
        fs::write(folder.path().join("milter.yaml"), yaml).unwrap();
        let (status, printed) = check_config(folder.path()).unwrap();
        assert_eq!(
            printed,
            format!(
                "milter.yaml: fine\n\
                 Listens on inet:127.0.0.1:8891 (submission). Trusts 2 domains (1 own) and 1 suffix, \
                 with no known names from files; public suffix list: built-in. {deeds}. Held mail in \
                 /var/lib/straymail, released to 127.0.0.1:25.\n"
            )
        );
        assert_eq!(status, Some(0));
    }
}

#[test]
fn wrong_usage_is_told_apart_from_a_wrong_configuration() {
    let status = |args: &[&str]| {
        let output = Command::cargo_bin("straymail").unwrap().args(args).output();
        output.unwrap().status.code()
    };
    assert_eq!(status(&["chekc"]), Some(64));
    assert_eq!(status(&["check-config", "--no-such-option"]), Some(64));
    assert_eq!(status(&["--help"]), Some(0));
    assert_eq!(status(&["--version"]), Some(0));
}
