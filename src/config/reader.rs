//! Walks the tree of a configuration and gathers every problem on the way.
//!
//! A value that is wrong is reported and its default used, so that the rest of the file is
//! checked too. Keys are declared by asking for them; what was never asked for is unknown.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;
use std::path::{Path, PathBuf};

use super::problem::{Problem, either, meant, quoted};
use super::yaml::{Entry, Node, Position, Value};

/// So many problems of a file are told one by one; nobody reads more.
const MAX_PROBLEMS: usize = 500;

/// The problems found so far.
pub(super) struct Reader {
    file: PathBuf,
    pub(super) problems: Vec<Problem>,
    /// Legal, but most likely not meant.
    pub(super) warnings: Vec<Problem>,
    /// Every key path of the schema that was asked for.
    pub(super) known: BTreeSet<String>,
    /// What may stand at a key that was set, where a list or a range says it; for the manual.
    pub(super) allowed: BTreeMap<String, String>,
    /// The lists that were read, wherever they are.
    pub(super) files: Vec<PathBuf>,
    unknown: Vec<(Position, String, String)>,
    /// Problems beyond the first [`MAX_PROBLEMS`].
    untold: usize,
}

/// A mapping being read.
pub(super) struct Section<'n> {
    path: String,
    pub(super) at: Position,
    entries: &'n [Entry],
    asked: Vec<&'static str>,
}

/// A key with a value.
#[derive(Clone)]
pub(super) struct Field<'n> {
    pub(super) path: String,
    node: &'n Node,
}

impl Section<'_> {
    /// Returns whether no key is set.
    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }
}

impl Field<'_> {
    /// Returns where the value stands.
    pub(super) fn at(&self) -> Position {
        self.node.at
    }
}

impl Reader {
    pub(super) fn new(file: &Path) -> Reader {
        Reader {
            file: file.to_owned(),
            problems: Vec::new(),
            warnings: Vec::new(),
            known: BTreeSet::new(),
            allowed: BTreeMap::new(),
            files: Vec::new(),
            unknown: Vec::new(),
            untold: 0,
        }
    }

    pub(super) fn file(&self) -> &Path {
        &self.file
    }

    fn describe(&self, at: Position, key: &str, message: impl Display) -> Problem {
        Problem {
            file: self.file.clone(),
            line: at.line,
            column: at.column,
            key: key.to_owned(),
            message: message.to_string(),
        }
    }

    /// Notes that `message` is wrong with the value of `key`.
    pub(super) fn problem(&mut self, at: Position, key: &str, message: impl Display) {
        if self.problems.len() < MAX_PROBLEMS {
            let problem = self.describe(at, key, message);
            self.problems.push(problem);
        } else {
            self.untold += 1;
        }
    }

    /// Notes that `message` is odd about the value of `key`.
    pub(super) fn warning(&mut self, at: Position, key: &str, message: impl Display) {
        let warning = self.describe(at, key, message);
        self.warnings.push(warning);
    }

    /// Returns the mapping of `node`; one without keys when it is none.
    pub(super) fn section<'n>(&mut self, path: &str, node: &'n Node) -> Section<'n> {
        let entries: &[Entry] = match &node.value {
            Value::Map(entries) => entries,
            Value::Null => &[],
            Value::Scalar(_) | Value::List(_) => {
                let name = if path.is_empty() { "the file" } else { path };
                let space = match &node.value {
                    Value::Scalar(text) if text.contains(':') => "; a space follows each colon",
                    _ => "",
                };
                self.problem(
                    node.at,
                    path,
                    format!("is {}; {name} holds `key: value` lines{space}", kind(node)),
                );
                &[]
            }
        };
        let mut first = std::collections::BTreeMap::new();
        for entry in entries {
            let path = join(path, &entry.key);
            if let Some(line) = first.insert(&entry.key, entry.at.line) {
                first.insert(&entry.key, line);
                self.problem(
                    entry.at,
                    &path,
                    format!("is set twice, first in line {line}; keep one"),
                );
            }
        }
        Section {
            path: path.to_owned(),
            at: node.at,
            entries,
            asked: Vec::new(),
        }
    }

    /// Returns the field `key`; `None` when it is absent or empty, which means the default.
    pub(super) fn field<'n>(
        &mut self,
        section: &mut Section<'n>,
        key: &'static str,
    ) -> Option<Field<'n>> {
        let path = join(&section.path, key);
        section.asked.push(key);
        self.known.insert(path.clone());
        let entry = section.entries.iter().find(|entry| entry.key == key)?;
        match entry.value.value {
            Value::Null => None,
            _ => Some(Field {
                path,
                node: &entry.value,
            }),
        }
    }

    /// Returns the mapping at `key`.
    pub(super) fn sub<'n>(&mut self, section: &mut Section<'n>, key: &'static str) -> Section<'n> {
        match self.field(section, key) {
            Some(field) => self.section(&field.path, field.node),
            None => Section {
                path: join(&section.path, key),
                at: section.at,
                entries: &[],
                asked: Vec::new(),
            },
        }
    }

    /// Returns the mapping a list item holds.
    pub(super) fn item<'n>(&mut self, field: &Field<'n>) -> Section<'n> {
        self.section(&field.path, field.node)
    }

    /// Ends a section: whatever was not asked for is unknown.
    pub(super) fn end(&mut self, section: Section<'_>) {
        for entry in section.entries {
            if !section.asked.contains(&entry.key.as_str()) && self.unknown.len() <= MAX_PROBLEMS {
                let sibling = meant(&entry.key, section.asked.iter().copied());
                let meant = sibling.map(str::to_owned).unwrap_or_default();
                self.unknown
                    .push((entry.at, join(&section.path, &entry.key), meant));
            }
        }
    }

    /// Ends the file: unknown keys are reported, now that every known key is known.
    pub(super) fn finish(&mut self) {
        for (at, path, sibling) in std::mem::take(&mut self.unknown) {
            let name = path.rsplit('.').next().unwrap_or(&path);
            let elsewhere = (self.known.iter())
                .find(|known| !known.contains('[') && known.rsplit('.').next() == Some(name))
                .cloned();
            if self.known.contains(&path)
                && let Some((above, key)) = path.rsplit_once('.')
            {
                let message =
                    format!("is no key of its own; write {above}: and, indented below it, {key}:");
                self.problem(at, &path, message);
                continue;
            }
            let hint = match (sibling.is_empty(), elsewhere) {
                (false, _) => format!(" (did you mean {sibling}?)"),
                (true, Some(path)) => format!(" (did you mean {path}?)"),
                (true, None) => String::new(),
            };
            self.problem(at, &escaped(&path), format!("unknown key{hint}"));
        }
        if self.untold > 0 {
            let nowhere = Position { line: 0, column: 0 };
            let more = self.describe(
                nowhere,
                "",
                format!("{} further problems are not listed", self.untold),
            );
            self.problems.push(more);
        }
    }

    /// Returns the items of a list; none when the field is absent.
    pub(super) fn list<'n>(&mut self, field: Option<Field<'n>>) -> Vec<Field<'n>> {
        let Some(field) = field else {
            return Vec::new();
        };
        let Value::List(items) = &field.node.value else {
            let message = match &field.node.value {
                Value::Scalar(text) => {
                    format!("{} is a single value; write a list: [{text}]", quoted(text))
                }
                _ => format!("is {}; write a list", kind(field.node)),
            };
            self.problem(field.at(), &field.path, message);
            return Vec::new();
        };
        (items.iter().enumerate())
            .map(|(i, node)| Field {
                path: format!("{}[{i}]", field.path),
                node,
            })
            .collect()
    }

    /// Returns the text of a field.
    pub(super) fn text<'n>(&mut self, field: &Field<'n>) -> Option<&'n str> {
        match &field.node.value {
            Value::Scalar(text) => Some(text),
            Value::Null => {
                self.problem(
                    field.at(),
                    &field.path,
                    "is empty; write a value or delete it",
                );
                None
            }
            _ => {
                let message = format!("is {}; write a single value", kind(field.node));
                self.problem(field.at(), &field.path, message);
                None
            }
        }
    }

    /// Returns what `parse` makes of the field. Its error completes the sentence that begins
    /// with the value read.
    pub(super) fn value<T>(
        &mut self,
        field: Option<Field<'_>>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let field = field?;
        let text = self.text(&field)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(wrong) => {
                let message = format!("{} {wrong}", quoted(text));
                self.problem(field.at(), &field.path, message);
                None
            }
        }
    }

    /// Returns the value whose word stands in the field.
    pub(super) fn choice<T: Copy>(
        &mut self,
        field: Option<Field<'_>>,
        choices: &[(&str, T)],
    ) -> Option<T> {
        let words: Vec<&str> = choices.iter().map(|(word, _)| *word).collect();
        self.allow(field.as_ref(), || either(&words));
        self.value(field, |text| {
            if let Some((_, value)) = choices.iter().find(|(word, _)| *word == text) {
                return Ok(*value);
            }
            let hint = meant(text, words.iter().copied())
                .map(|word| format!(" (did you mean {word}?)"))
                .unwrap_or_default();
            Err(format!("is unknown; use {}{hint}", either(&words)))
        })
    }

    /// Notes what may stand in a field.
    pub(super) fn allow(&mut self, field: Option<&Field<'_>>, what: impl FnOnce() -> String) {
        if let Some(field) = field {
            self.allowed.insert(field.path.clone(), what());
        }
    }

    /// Returns the whole number of a field, within `range`.
    pub(super) fn number(
        &mut self,
        field: Option<Field<'_>>,
        what: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Option<u64> {
        let field = field?;
        let (low, high) = (*range.start(), *range.end());
        self.allow(Some(&field), || format!("{what} from {low} to {high}"));
        let text = self.text(&field)?;
        let message = match text.parse::<u64>() {
            Ok(number) if range.contains(&number) => return Some(number),
            Ok(number) if number > high => format!("{number} is above {high}"),
            Ok(number) => format!("{number} is below {low}"),
            Err(_) => format!("{} is not a whole number", quoted(text)),
        };
        let message = format!("{message}; use {what} from {low} to {high}");
        self.problem(field.at(), &field.path, message);
        None
    }

    /// Returns the truth value of a field.
    pub(super) fn yes_no(&mut self, field: Option<Field<'_>>) -> Option<bool> {
        self.choice(field, &[("true", true), ("false", false)])
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// A key path is foreign text when its key is unknown.
fn escaped(path: &str) -> String {
    let shown: String = path.escape_debug().take(120).collect();
    shown
}

fn kind(node: &Node) -> &'static str {
    match node.value {
        Value::Null => "empty",
        Value::Scalar(_) => "a single value",
        Value::List(_) => "a list",
        Value::Map(_) => "a group of keys",
    }
}
