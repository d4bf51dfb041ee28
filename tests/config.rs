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
             public_suffix_list: built-in\nnotice:\n  from: straymail@example.org\npolicy:\n{policy}"
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
fn what_stops_nothing_or_ends_untold_is_warned_of() {
    let untold = |end: &str| {
        format!(
            "notice.from: is not set: no sender is told that mail is held, and 14d later (worker.keep_for) {end}; write straymail@ one of your own domains"
        )
    };
    let thrown_away = untold("it is thrown away, and nobody hears of it");
    let told = "notice: {from: straymail@example.org}\n";
    let gate = "gate: {networks: [], authenticated: false}\n";
    for (yaml, warnings) in [
        (told.to_owned(), vec![]),
        (String::new(), vec![thrown_away.as_str()]),
        ("policy: {mode: observe}\n".to_owned(), vec![]),
        ("policy: {suspect: tag}\n".to_owned(), vec![]),
        (
            "policy: {suspect: tag}\nlisteners: [{socket: inet:127.0.0.1:8891, role: local}]\n".to_owned(),
            vec![&thrown_away],
        ),
        (
            "worker: {at_end: release}\n".to_owned(),
            vec![&untold("it is delivered to the doubtful address all the same")],
        ),
        (
            "worker: {at_end: bounce}\n".to_owned(),
            vec![&untold("it is returned, and nobody hears of it before")],
        ),
        (
            format!("{told}{gate}"),
            vec![
                "gate: lets all mail pass unjudged: every listener has the role relay, no network is listed and authenticated is false; list the networks your senders are in",
            ],
        ),
        (
            format!("{told}{gate}listeners: [{{socket: inet:127.0.0.1:8891, role: submission}}]\n"),
            vec![],
        ),
        (
            "policy: {suspect: accept, certain: accept}\n".to_owned(),
            vec![
                "policy: accepts every recipient, whatever its score: suspect and certain are accept, and no rule does anything else; to watch first, write mode: observe",
            ],
        ),
        (
            "policy: {suspect: accept, certain: accept, rules: [{name: a, when: {role: relay}, certain: reject}]}\n".to_owned(),
            vec![],
        ),
        (
            format!("{told}quarantine: {{directory: /no/such/parent}}\n"),
            vec![
                "quarantine.directory: /no/such/parent cannot be made, because /no/such is not there; make that first (mkdir -p /no/such)",
            ],
        ),
        (
            format!("{told}review: {{listen: inet:127.0.0.1:8890, public_url: https://a.example, trusted_proxies: [127.0.0.0/8], user_header: X-User}}\n"),
            vec![
                "review.user_header: any local process can claim to be any account by way of loopback; a UNIX socket keeps them out",
            ],
        ),
        (
            format!("{told}review: {{listen: inet:127.0.0.1:8890, public_url: https://a.example, trusted_proxies: [\"::/104\"], user_header: X-User}}\n"),
            vec![
                "review.user_header: any local process can claim to be any account by way of loopback; a UNIX socket keeps them out",
            ],
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let text = format!("trusted: {{own: [example.org]}}\npublic_suffix_list: built-in\n{yaml}");
        fs::write(folder.path().join("milter.yaml"), text).unwrap();
        let (status, printed) = check_config(folder.path()).unwrap();
        let told: Vec<&str> = (printed.lines())
            .filter_map(|line| line.strip_prefix("warning: milter.yaml:"))
            .map(|line| line.trim_start_matches(|c: char| c.is_ascii_digit() || c == ':' || c == ' '))
            .collect();
        assert_eq!((status, told), (Some(0), warnings.clone()), "{yaml}");
        let but = match warnings.len() {
            0 => "milter.yaml: fine\n",
            _ => "milter.yaml: fine, but 1 warning\n",
        };
        assert!(printed.starts_with(but), "{printed}");
    }
}

#[test]
fn nobody_reading_the_output_is_no_panic() {
    let check = || {
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_straymail"));
        command.args(["check-config", "milter.yaml"]);
        command
    };
    let full = fs::File::options().write(true).open("/dev/full").unwrap();
    let output = check().stdout(full).output().unwrap();
    let complaint = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{complaint}");
    assert_eq!(
        complaint,
        "straymail: No space left on device (os error 28)\n"
    );
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = check().stdout(writer).output().unwrap();
    assert_eq!((output.status.code(), output.stderr), (Some(0), vec![]));
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
