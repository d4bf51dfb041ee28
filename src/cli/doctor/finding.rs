//! What the doctor found: how bad it is, why it matters, and what mends it.

use std::fmt;
use std::path::Path;

use serde::Serialize;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Severity {
    /// Mail is not judged, is lost, or nothing works.
    Error,
    /// It works now, and will not when something else happens.
    Warning,
    /// Nothing is wrong; an admin should know it.
    Note,
}

impl Severity {
    /// Returns the stable name.
    pub(super) fn name(self) -> &'static str {
        match self {
            Severity::Error => "error",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }
}

/// What mends a finding.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Mend {
    /// A line for the shell, to be run as root.
    Run(String),
    /// What only a person can do: a line of a file, a decision.
    Edit(String),
}

/// One thing that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Finding {
    /// Stable name of the check, for scripts.
    pub(super) check: &'static str,
    pub(super) severity: Severity,
    /// What was found. Foreign text in it is escaped.
    pub(super) found: String,
    /// Why that matters, in one sentence.
    pub(super) why: String,
    /// What mends it, in this order.
    pub(super) mend: Vec<Mend>,
}

impl Finding {
    /// Returns a finding without a remedy.
    pub(super) fn new(
        check: &'static str,
        severity: Severity,
        found: impl Into<String>,
        why: impl Into<String>,
    ) -> Finding {
        Finding {
            check,
            severity,
            found: found.into(),
            why: why.into(),
            mend: Vec::new(),
        }
    }

    /// Adds a line for the shell.
    pub(super) fn run(mut self, command: impl Into<String>) -> Finding {
        self.mend.push(Mend::Run(command.into()));
        self
    }

    /// Adds what a person has to do.
    pub(super) fn edit(mut self, what: impl Into<String>) -> Finding {
        self.mend.push(Mend::Edit(what.into()));
        self
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, check) = (self.severity.name(), self.check);
        writeln!(f, "{name:<8}{check}: {}", self.found)?;
        write!(f, "        {}", self.why)?;
        for mend in &self.mend {
            match mend {
                Mend::Run(command) => write!(f, "\n      # {command}")?,
                Mend::Edit(what) => write!(f, "\n     -> {what}")?,
            }
        }
        Ok(())
    }
}

/// What one area has to say.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Report {
    pub(super) findings: Vec<Finding>,
    /// What could not be looked at, and why.
    pub(super) skipped: Vec<String>,
}

impl Report {
    pub(super) fn find(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    pub(super) fn skip(&mut self, why: impl Into<String>) {
        self.skipped.push(why.into());
    }

    pub(super) fn extend(&mut self, other: Report) {
        self.findings.extend(other.findings);
        self.skipped.extend(other.skipped);
    }

    pub(super) fn count(&self, severity: Severity) -> usize {
        let of = |finding: &&Finding| finding.severity == severity;
        self.findings.iter().filter(of).count()
    }
}

/// Returns `text` as one word of a shell.
pub(super) fn quoted(text: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "/._-:=@,+".contains(c);
    if !text.is_empty() && text.chars().all(plain) {
        text.to_owned()
    } else {
        format!("'{}'", text.replace('\'', r"'\''"))
    }
}

/// Returns a path as one word of a shell.
pub(super) fn quoted_path(path: &Path) -> String {
    quoted(&path.to_string_lossy())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_finding_reads_as_what_why_and_the_command() {
        let finding = Finding::new("disk", Severity::Warning, "little is free", "Mail waits.")
            .run("df -h /")
            .edit("in milter.yaml: quarantine.min_free");
        assert_eq!(
            finding.to_string(),
            "warning disk: little is free\n        Mail waits.\n      # df -h /\n     -> in milter.yaml: quarantine.min_free"
        );
    }

    #[test]
    fn one_word_stays_one_word_in_a_shell() {
        assert_eq!(quoted("/etc/postfix"), "/etc/postfix");
        assert_eq!(quoted("a = b, {c}"), "'a = b, {c}'");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
