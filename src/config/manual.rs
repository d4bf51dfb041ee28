//! What the manual says about `milter.yaml`: every key, its default, the reason and the values it
//! takes.
//!
//! All of it is read from the shipped file and from the schema, so the manual cannot say
//! anything else than they do.

use std::path::Path;

use super::reader::Reader;
use super::yaml::{Entry, Node, Value};
use super::{SHIPPED, schema, yaml};

/// One key of `milter.yaml`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Where it stands: `policy.hold_at`, `listeners[].socket`.
    pub path: String,
    /// What it is.
    pub kind: KeyKind,
    /// What stands there in the shipped file, as YAML; empty for nothing and for most sections.
    pub value: String,
    /// The paragraph above the key; empty without one.
    pub about: String,
    /// Why it has that value; empty for a section that says it above.
    pub reason: String,
    /// What may stand there, where that is a list of words or a range.
    pub allowed: Option<String>,
}

/// What a key is in the shipped file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyKind {
    /// It has keys below it.
    Section,
    /// It has a default.
    Setting,
    /// It belongs to the example of a rule and has no default.
    Example,
}

/// Returns every key there is, in the order of the shipped file.
pub fn keys() -> Vec<Key> {
    let text = with_example();
    let Ok(root) = yaml::parse(&text) else {
        return Vec::new();
    };
    let mut reader = Reader::new(Path::new("milter.yaml"));
    schema::config(&mut reader, &root);
    // The example changes no line but those it puts into force.
    let lines = (SHIPPED.lines().zip(text.lines()))
        .map(|(shipped, example)| match shipped.strip_prefix("#    ") {
            Some(_) => example,
            None => shipped,
        })
        .collect::<Vec<&str>>();
    let mut keys = Vec::new();
    walk("", &root, &lines, &mut keys);
    for key in &mut keys {
        // Lists of the shipped file have one item, the first.
        key.allowed = reader.allowed.remove(&key.path.replace("[]", "[0]"));
    }
    keys
}

/// Returns the shipped file with the example of a rule in force.
pub(super) fn with_example() -> String {
    let lines = SHIPPED.lines().map(|line| {
        let example = (line.strip_prefix('#')).filter(|rest| rest.starts_with("    "));
        example.unwrap_or(line)
    });
    let text: Vec<&str> = lines.collect();
    text.join("\n").replace("rules: []  ", "rules:     ")
}

fn walk(path: &str, node: &Node, lines: &[&str], keys: &mut Vec<Key>) {
    match &node.value {
        Value::Map(entries) => {
            for entry in entries {
                let path = match path {
                    "" => entry.key.clone(),
                    path => format!("{path}.{}", entry.key),
                };
                keys.push(key(&path, entry, lines));
                walk(&path, &entry.value, lines, keys);
            }
        }
        Value::List(items) => {
            for item in items {
                walk(&format!("{path}[]"), item, lines, keys);
            }
        }
        Value::Null | Value::Scalar(_) => {}
    }
}

fn key(path: &str, entry: &Entry, lines: &[&str]) -> Key {
    let at = entry.at.line.saturating_sub(1);
    let line = lines.get(at).copied().unwrap_or_default();
    let (setting, reason) = line.split_once(" #").unwrap_or((line, ""));
    let value = setting.split_once(':').map_or("", |(_, value)| value);
    let mut above: Vec<&str> = (lines.iter().take(at).rev())
        .map_while(|line| line.trim_start().strip_prefix('#'))
        .map(str::trim)
        .collect();
    above.reverse();
    let below = |value: &Value| match value {
        Value::Map(_) => true,
        Value::List(items) => items.iter().any(|item| matches!(item.value, Value::Map(_))),
        Value::Null | Value::Scalar(_) => false,
    };
    let kind = if below(&entry.value.value) {
        KeyKind::Section
    } else if path.contains("rules[]") {
        KeyKind::Example
    } else {
        KeyKind::Setting
    };
    Key {
        path: path.to_owned(),
        kind,
        value: value.trim().to_owned(),
        about: above.join(" "),
        reason: reason.trim().to_owned(),
        allowed: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn find(path: &str) -> Key {
        keys().into_iter().find(|key| key.path == path).unwrap()
    }

    #[test]
    fn a_setting_has_its_default_its_reason_and_its_range() {
        let key = find("policy.hold_at");
        assert_eq!(key.kind, KeyKind::Setting);
        assert_eq!(key.value, "50");
        assert_eq!(key.allowed.as_deref(), Some("a score from 1 to 100"));
        assert!(key.reason.starts_with("measured: "), "{}", key.reason);
        let lease = find("quarantine.lease").allowed;
        assert_eq!(lease.as_deref(), Some("10s to 1h"));
        let role = find("listeners[].role");
        assert_eq!(role.value, "relay");
        assert_eq!(role.allowed.as_deref(), Some("submission, local or relay"));
    }

    #[test]
    fn the_keys_of_a_rule_are_an_example_and_no_default() {
        assert_eq!(find("policy.rules").kind, KeyKind::Section);
        assert_eq!(find("policy.rules[].when.login").kind, KeyKind::Example);
        assert_eq!(find("trusted.own").kind, KeyKind::Setting);
    }

    #[test]
    fn every_setting_says_why() {
        for key in keys() {
            let explained = !key.reason.is_empty() || !key.about.is_empty();
            assert!(explained || key.kind != KeyKind::Setting, "{}", key.path);
        }
    }
}
