//! What the repository says about itself is true.

use std::fs;

use assert_cmd::Command;

/// The names of the direct dependencies, those of the tests included.
fn dependencies(manifest: &str) -> Vec<&str> {
    let mut names = Vec::new();
    let mut inside = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            inside = line.ends_with("dependencies]");
        } else if let Some((name, _)) = line.split_once(" = ").filter(|_| inside) {
            names.push(name.trim());
        }
    }
    names
}

#[test]
fn every_dependency_has_its_reason_and_no_reason_its_dependency_gone() {
    let manifest = fs::read_to_string("Cargo.toml").unwrap();
    let reasons = fs::read_to_string("docs/dependencies.md").unwrap();
    let names = dependencies(&manifest);
    assert!(names.len() > 20, "{names:?}");
    let part = |c: char| c.is_alphanumeric() || c == '-' || c == '_';
    let words: Vec<&str> = reasons.split(|c| !part(c)).collect();
    let missing: Vec<_> = names.iter().filter(|name| !words.contains(name)).collect();
    assert!(
        missing.is_empty(),
        "not in docs/dependencies.md: {missing:?}"
    );
    let table = reasons.lines().filter_map(|line| line.strip_prefix("| "));
    let gone: Vec<&str> = (table.filter_map(|row| row.split(" |").next()))
        .filter(|cell| *cell != "crate")
        .flat_map(|cell| cell.split(", "))
        .filter(|name| !names.contains(name))
        .collect();
    assert!(
        gone.is_empty(),
        "docs/dependencies.md names {gone:?}, Cargo.toml does not"
    );
}

#[test]
fn the_changelog_knows_this_version() {
    let changelog = fs::read_to_string("CHANGELOG.md").unwrap();
    let heading = format!("## {}", env!("CARGO_PKG_VERSION"));
    assert!(changelog.contains(&heading), "no heading {heading:?}");
}

#[test]
fn the_commands_of_the_readme_exist() {
    let readme = fs::read_to_string("README.md").unwrap();
    let mut commands = Vec::new();
    for line in readme.lines().map(str::trim) {
        let line = line.strip_prefix("$ ").unwrap_or(line);
        if let Some(rest) = line.strip_prefix("straymail ") {
            // Behind a wide gap stands what the command does.
            let rest = rest.split("  ").next().unwrap_or(rest);
            let words: Vec<&str> = (rest.split_whitespace())
                .take_while(|word| word.starts_with(|c: char| c.is_ascii_lowercase()))
                .take(2)
                .filter(|word| !word.contains(['@', '.']))
                .collect();
            commands.push(words);
        }
    }
    assert!(commands.len() >= 4, "{commands:?}");
    for words in commands {
        let output = Command::cargo_bin("straymail")
            .unwrap()
            .args(&words)
            .arg("--help")
            .output()
            .unwrap();
        assert!(output.status.success(), "straymail {}", words.join(" "));
    }
}

#[test]
fn the_files_of_the_readme_exist() {
    let readme = fs::read_to_string("README.md").unwrap();
    let links: Vec<&str> = (readme.split("](").skip(1))
        .filter_map(|rest| rest.split(')').next())
        .filter(|link| !link.contains("://"))
        .collect();
    assert!(links.len() >= 5, "{links:?}");
    for link in links {
        assert!(fs::exists(link).unwrap(), "README.md links to {link}");
    }
}

#[test]
fn the_verdicts_of_the_readme_are_what_check_says() {
    let readme = fs::read_to_string("README.md").unwrap();
    let (_, shown) = readme.split_once("    $ straymail check ").unwrap();
    let (names, shown) = shown.split_once('\n').unwrap();
    let shown = shown.split("\n\n").next().unwrap();
    let directory = tempfile::tempdir().unwrap();
    let trusted = directory.path().join("trusted");
    fs::write(&trusted, ".mil\narmy.mil\nexample.org\n").unwrap();
    let output = Command::cargo_bin("straymail")
        .unwrap()
        .args(["check", "--trusted"])
        .arg(trusted)
        .args(names.split(' '))
        .output()
        .unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    assert_eq!(said.lines().count(), shown.lines().count(), "{said}");
    for (said, shown) in said.lines().zip(shown.lines()) {
        let shown = shown.strip_prefix("    ").unwrap();
        match shown.strip_suffix('…') {
            Some(beginning) => assert!(said.starts_with(beginning), "{said}"),
            None => assert_eq!(said, shown),
        }
    }
}

/// docs/robustness.md: T-01 to T-27, each with tests that exist.
#[test]
fn every_fault_of_others_has_its_test() {
    let table = fs::read_to_string("docs/robustness.md").unwrap();
    let rows: Vec<&str> = table
        .lines()
        .filter(|line| line.starts_with("| T-"))
        .collect();
    let ids: Vec<&str> = rows.iter().filter_map(|row| row.get(2..6)).collect();
    let wanted: Vec<String> = (1..=27).map(|number| format!("T-{number:02}")).collect();
    assert_eq!(ids, wanted);
    for row in rows {
        let words = row.split([' ', ',', ';', '|']);
        let tests: Vec<(&str, &str)> = words.filter_map(|word| word.split_once("::")).collect();
        assert!(!tests.is_empty(), "no test: {row}");
        for (path, name) in tests {
            let text = fs::read_to_string(path).unwrap_or_default();
            // Properties are functions with arguments.
            let found = text.split("#[test]").skip(1).any(|rest| {
                let head = rest.split_once("fn ").map_or("", |(_, head)| head);
                head.starts_with(&format!("{name}("))
            });
            assert!(found, "{path} has no test {name}");
        }
    }
}
