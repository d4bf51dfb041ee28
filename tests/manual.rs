//! The manual pages, the completions and the other documents say what the program does.

use std::fs;
use std::path::Path;
use std::process::Command;

use assert_cmd::cargo::CommandCargoExt as _;
use straymail::config::{Key, KeyKind, keys};

/// The pages, in a directory of their own.
fn pages() -> anyhow::Result<tempfile::TempDir> {
    let directory = tempfile::tempdir()?;
    let status = Command::cargo_bin("straymail")?
        .arg("manual")
        .arg(directory.path())
        .status()?;
    anyhow::ensure!(status.success(), "{status}");
    Ok(directory)
}

/// The page as a terminal shows it, all on one line; the source where nothing can show it.
fn shown(page: &Path) -> anyhow::Result<String> {
    let output = Command::new("man")
        .args(["--local-file", "--encoding=ascii"])
        .arg(page)
        .envs([("MANWIDTH", "500"), ("MAN_KEEP_FORMATTING", "")])
        .output();
    Ok(match output {
        Ok(output) if output.status.success() => String::from_utf8_lossy(&output.stdout)
            .split_whitespace()
            .collect::<Vec<_>>()
            .join(" "),
        _ => {
            println!("the source is read, because man is not installed");
            let source = fs::read_to_string(page)?;
            source.replace('\\', "").replace("fB", "").replace("fR", "")
        }
    })
}

/// Every command of the program with the ones below it, from `--help`.
fn commands(above: &[String]) -> anyhow::Result<Vec<Vec<String>>> {
    let output = Command::cargo_bin("straymail")?
        .args(above)
        .arg("--help")
        .output()?;
    let help = String::from_utf8(output.stdout)?;
    let mut found = vec![above.to_vec()];
    let listed = (help.lines())
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty());
    for line in listed {
        // Its explanation may go on in the next line, further to the right.
        let name = line
            .strip_prefix("  ")
            .filter(|rest| !rest.starts_with(' '));
        if let Some(name) = name.and_then(|rest| rest.split(' ').next()) {
            let below = [above, &[name.to_owned()]].concat();
            found.extend(commands(&below)?);
        }
    }
    Ok(found)
}

#[test]
fn every_command_has_a_page_that_is_named_in_the_page_above() {
    let directory = pages().unwrap();
    let commands = commands(&[]).unwrap();
    assert!(commands.len() > 20, "{commands:?}");
    for command in commands {
        let name = [&["straymail".to_owned()], &command[..]].concat().join("-");
        let page = directory.path().join(format!("{name}.8"));
        assert!(page.exists(), "no page {name}(8)");
        if let Some((_, above)) = command.split_last() {
            let above = [&["straymail".to_owned()], above].concat().join("-");
            let above = fs::read_to_string(directory.path().join(format!("{above}.8"))).unwrap();
            let name = name.replace('-', "\\-");
            assert!(above.contains(&name), "{name} is not in the page above");
        }
    }
}

#[test]
fn the_page_of_the_configuration_has_every_key_with_its_default_and_reason() {
    let directory = pages().unwrap();
    let page = shown(&directory.path().join("straymail.yaml.5")).unwrap();
    let keys = keys();
    assert!(keys.len() > 60, "{}", keys.len());
    for key in keys.iter().filter(|key| key.kind == KeyKind::Setting) {
        let value = match key.value.as_str() {
            "" => "nothing",
            value => value,
        };
        let Key { path, reason, .. } = key;
        let head = format!("{path} (default: {value})");
        assert!(page.contains(&head), "no {head:?} in\n{page}");
        // The sentence begins with a capital.
        let reason: String = reason.chars().skip(1).filter(|c| *c != '`').collect();
        assert!(page.contains(&reason), "no {reason:?} in\n{page}");
    }
}

#[test]
fn the_pages_are_without_mistakes_of_form() {
    let directory = pages().unwrap();
    let Ok(output) = Command::new("groff")
        .args(["-man", "-Tutf8", "-ww", "-z"])
        .args(
            fs::read_dir(&directory)
                .unwrap()
                .flatten()
                .filter_map(|page| {
                    // This one only refers to the page of the configuration.
                    (page.file_name() != "milter.yaml.5").then(|| page.path())
                }),
        )
        .output()
    else {
        println!("skipped: groff is not installed");
        return;
    };
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn the_documents_name_only_keys_that_exist_and_their_defaults_as_they_are() {
    /// Begin like a key and are files of the quarantine.
    const NO_KEYS: &[&str] = &["quarantine.db", "quarantine.lock"];
    let keys = keys();
    let sections: Vec<&str> = (keys.iter().map(|key| key.path.as_str()))
        .filter(|path| !path.contains('.'))
        .collect();
    let mut files: Vec<_> = (fs::read_dir("docs").unwrap().flatten())
        .map(|entry| entry.path())
        .filter(|path| path.extension().is_some_and(|e| e == "md"))
        .collect();
    files.extend(["README.md", "SECURITY.md", "CHANGELOG.md"].map(Into::into));
    let (mut wrong, mut seen, mut defaults) = (Vec::new(), 0, 0);
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        // In tables stand points of a crash, which are written alike.
        for line in text.lines().filter(|line| !line.starts_with('|')) {
            let parts: Vec<&str> = line.split('`').collect();
            for (i, code) in parts.iter().enumerate().skip(1).step_by(2) {
                let name = code.split([':', ' ', '-']).next().unwrap_or_default();
                let section = name.split('.').next().unwrap_or_default();
                let plain = name
                    .chars()
                    .all(|c| c.is_ascii_lowercase() || "._".contains(c));
                if !plain || !name.contains('.') || !sections.contains(&section) {
                    continue;
                }
                if NO_KEYS.iter().any(|no| name.starts_with(no)) {
                    continue;
                }
                seen += 1;
                let Some(key) = keys.iter().find(|key| key.path == name) else {
                    wrong.push(format!("{}: no key {name}", file.display()));
                    continue;
                };
                let said = (parts.get(i + 1))
                    .filter(|after| after.trim() == "(default")
                    .and_then(|_| parts.get(i + 2));
                if let Some(said) = said {
                    defaults += 1;
                    if *said != key.value {
                        wrong.push(format!(
                            "{}: {name} is {}, not {said}",
                            file.display(),
                            key.value
                        ));
                    }
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    println!("{seen} keys named in the documents, {defaults} with their defaults");
    assert!(
        seen > 10 && defaults > 0,
        "the documents are not read: {seen}, {defaults}"
    );
}

#[test]
fn the_completions_are_scripts_of_their_shells() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let output = Command::cargo_bin("straymail")
            .unwrap()
            .args(["completions", shell])
            .output()
            .unwrap();
        assert!(output.status.success(), "{shell}");
        let script = String::from_utf8(output.stdout).unwrap();
        assert!(script.contains("check-config"), "{shell}");
        // `manual` and `completions` are for packagers, and hidden.
        for hidden in ["Writes the manual pages", "straymail__subcmd__manual"] {
            assert!(!script.contains(hidden), "{shell}: {hidden}");
        }
    }
    let script = tempfile::NamedTempFile::new().unwrap();
    let output = Command::cargo_bin("straymail")
        .unwrap()
        .args(["completions", "bash"])
        .output();
    fs::write(script.path(), output.unwrap().stdout).unwrap();
    // As bash does it when somebody types `straymail quar` and presses the tabulator key.
    let completed = Command::new("bash")
        .arg("-c")
        .arg(
            ". \"$0\"; COMP_WORDS=(straymail quar); COMP_CWORD=1; \
             _straymail straymail quar straymail; echo \"${COMPREPLY[*]}\"",
        )
        .arg(script.path())
        .output();
    match completed {
        Ok(output) => assert_eq!(String::from_utf8_lossy(&output.stdout), "quarantine\n"),
        Err(_) => println!("skipped: bash is not installed"),
    }
}
