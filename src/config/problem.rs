//! What is wrong with a configuration, said so that it can be put right at once.

use std::fmt;
use std::path::{Path, PathBuf};

/// One thing that is wrong: where, which key, what was read, what is allowed.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Problem {
    /// File the problem stands in: the configuration or a trusted list.
    pub file: PathBuf,
    /// Line counted from 1; 0 when the file as a whole is meant.
    pub line: usize,
    /// Column in characters, counted from 1; 0 when the whole line is meant.
    pub column: usize,
    /// Key path such as `policy.rules[0].name`; empty outside of the configuration.
    pub key: String,
    /// What was read and what is allowed.
    pub message: String,
}

impl Problem {
    /// Returns whether it leaves in doubt what is written in `section`: it is in there, or the
    /// file, `configuration`, does not read as a whole.
    pub(super) fn hides(&self, section: &str, configuration: &Path) -> bool {
        let first = self.key.split(['.', '[']).next().unwrap_or_default();
        // A problem of a list that the file names has no key and is elsewhere.
        first == section || first.is_empty() && self.file == configuration
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": {}", self.message)
    }
}

/// Everything that is wrong with a configuration; never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors {
    /// The configuration file.
    pub file: PathBuf,
    /// In the order of the file, trusted lists after it.
    pub problems: Vec<Problem>,
    /// Legal, but most likely not meant.
    pub warnings: Vec<Problem>,
}

impl ConfigErrors {
    /// Returns the error for `problems`, sorted by place.
    pub(super) fn new(
        file: &Path,
        mut problems: Vec<Problem>,
        mut warnings: Vec<Problem>,
    ) -> ConfigErrors {
        sort(file, &mut problems);
        sort(file, &mut warnings);
        ConfigErrors {
            file: file.to_owned(),
            problems,
            warnings,
        }
    }
}

/// Sorts by place: the configuration `main` first, then the lists it names.
pub(super) fn sort(main: &Path, problems: &mut [Problem]) {
    problems.sort_by(|a, b| {
        let place = |p: &Problem| (p.file != main, p.file.clone(), p.line, p.column);
        place(a).cmp(&place(b))
    });
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let plural = if self.problems.len() == 1 { "" } else { "s" };
        write!(
            f,
            "{}: {} problem{plural}",
            self.file.display(),
            self.problems.len()
        )?;
        for problem in &self.problems {
            write!(f, "\n  {problem}")?;
        }
        for warning in &self.warnings {
            write!(f, "\n  warning: {warning}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

/// Returns `text` in quotes for a message: escaped, shortened, without the password of a URL.
pub(super) fn quoted(text: &str) -> String {
    // Long enough for every sensible value; a message stays on one or two lines.
    const SHOWN: usize = 80;
    let text = match (text.find("://"), text.rfind('@')) {
        (Some(start), Some(end)) if start + 3 < end => {
            let scheme = text.get(..start + 3).unwrap_or_default();
            format!("{scheme}…{}", text.get(end..).unwrap_or_default())
        }
        _ => text.to_owned(),
    };
    if text.chars().count() <= SHOWN {
        return format!("{text:?}");
    }
    let start: String = text.chars().take(SHOWN).collect();
    format!("{start:?}… ({} characters)", text.chars().count())
}

/// Returns the word of `known` that `word` was most likely meant to be.
pub(super) fn meant<'k>(word: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    // A key has at most some 20 characters; a longer word is none of ours.
    if word.len() > 64 {
        return None;
    }
    let word = word.to_lowercase().replace('-', "_");
    let allowed = (word.chars().count() / 3).max(1);
    (known.into_iter())
        .map(|k| {
            let distance = strsim::osa_distance(&word, &k.to_lowercase().replace('-', "_"));
            (distance, k)
        })
        .filter(|(distance, _)| *distance <= allowed)
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, k)| k)
}

/// Returns `words` as a sentence part: `a`, `a or b`, `a, b or c`.
pub(super) fn either(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [most @ .., last] => format!("{} or {last}", most.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_password_in_a_url_is_never_shown() {
        assert_eq!(
            quoted("smtp://relay:hunter2@mx.example.org"),
            "\"smtp://…@mx.example.org\""
        );
    }

    #[test]
    fn quoted_text_cannot_move_the_cursor() {
        assert_eq!(quoted("a\u{1b}[2J\u{202e}b"), r#""a\u{1b}[2J\u{202e}b""#);
    }

    #[test]
    fn a_long_value_is_shortened() {
        let shown = quoted(&"x".repeat(5000));
        assert!(shown.ends_with("… (5000 characters)"), "{shown}");
        assert!(shown.len() < 130);
    }

    #[test]
    fn the_nearest_word_is_meant() {
        assert_eq!(meant("accpet", ["accept", "tempfail"]), Some("accept"));
        assert_eq!(meant("hold-at", ["hold_at", "note_at"]), Some("hold_at"));
        assert_eq!(meant("zebra", ["accept", "tempfail"]), None);
    }

    #[test]
    fn alternatives_read_as_a_sentence() {
        assert_eq!(either(&["a", "b", "c"]), "a, b or c");
        assert_eq!(either(&["a"]), "a");
    }
}
