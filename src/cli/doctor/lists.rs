//! The trusted list and the public suffix list: whether they say what was meant, and how old
//! they are.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;

use crate::trusted::{Cover, Preset, TrustedList};

use super::finding::{Finding, Report, Severity};

/// New endings and suffixes come every month; after a year some are missing.
const SUFFIXES_MAY_BE_OLD: Duration = Duration::from_secs(365 * 86_400);
/// Partners change; a list that nobody touched for a year has been forgotten.
const LISTS_MAY_BE_OLD: Duration = Duration::from_secs(365 * 86_400);

/// Endings below which anybody gets a name the same day, by registrations the largest ones and
/// those that were given away.
const OPEN_ENDINGS: &[&str] = &[
    "com", "net", "org", "info", "biz", "co", "io", "me", "tv", "cc", "xyz", "online", "site",
    "shop", "store", "top", "app", "dev", "club", "live", "ml", "tk", "ga", "cf", "gq", "ru", "cn",
    "de", "uk", "nl", "fr", "eu", "it", "pl", "us", "ca", "in", "br", "co.uk", "com.au", "com.br",
];

/// A file that was read, and when it was last written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Read {
    pub(super) path: PathBuf,
    pub(super) written: Option<Timestamp>,
}

impl Read {
    /// Asks when a file was last written.
    pub(super) fn gather(path: PathBuf) -> Read {
        let written = std::fs::metadata(&path).and_then(|meta| meta.modified());
        Read {
            written: written.ok().and_then(|at| Timestamp::try_from(at).ok()),
            path,
        }
    }

    fn age(&self, now: Timestamp) -> Option<Duration> {
        let written = self.written.filter(|at| *at <= now)?;
        Some(now.duration_since(written).unsigned_abs())
    }
}

/// Returns the files that entries of the list were read from, other than the configuration.
pub(super) fn files(list: &TrustedList) -> BTreeSet<PathBuf> {
    let paths = list.entries().iter().map(|entry| entry.source.path.clone());
    paths
        .filter(|path| path.is_absolute() && !path.ends_with("milter.yaml"))
        .collect()
}

/// Checks the lists. `suffixes` is the file of the public suffix list, `None` for the built-in.
pub(super) fn check(
    list: &TrustedList,
    suffixes: Option<&Read>,
    files: &[Read],
    now: Timestamp,
) -> Report {
    let mut report = Report::default();
    if list.entries().is_empty() {
        report.find(
            Finding::new(
                "trusted",
                Severity::Error,
                "the trusted list is empty",
                "Nothing can look like a name on an empty list: nothing is ever stopped.",
            )
            .edit("in milter.yaml: trusted: own: your domains, domains: your partners'"),
        );
    }
    let webmail = webmail();
    for entry in list.entries() {
        let (name, source) = (entry.domain.ascii(), &entry.source);
        if entry.cover == Cover::Suffix && OPEN_ENDINGS.contains(&name) {
            report.find(
                Finding::new(
                    "trusted",
                    Severity::Warning,
                    format!("the whole ending .{name} is trusted ({source})"),
                    "Anybody can get a name below it, look-alikes of yours included, and all of them pass.",
                )
                .edit(format!("delete it there and list the domains below .{name} that you mean")),
            );
        }
        if entry.own && webmail.contains(name) {
            report.find(
                Finding::new(
                    "trusted",
                    Severity::Error,
                    format!("{name} is given as your own domain ({source})"),
                    "Everybody with a mailbox there would count as one of your senders and be told what they sent.",
                )
                .edit("move it to trusted.domains, or use the preset webmail"),
            );
        }
    }
    if let Some(read) = suffixes
        && read.age(now).is_some_and(|age| age > SUFFIXES_MAY_BE_OLD)
    {
        report.find(
            Finding::new(
                "public-suffixes",
                Severity::Warning,
                format!("{} is older than a year", read.path.display()),
                "Where newer endings begin and end is not known, so names below them are compared as a whole.",
            )
            .edit("in milter.yaml: public_suffix_list: built-in, or upgrade the package publicsuffix where there is a newer one"),
        );
    }
    for read in files {
        if read.age(now).is_some_and(|age| age > LISTS_MAY_BE_OLD) {
            report.find(
                Finding::new(
                    "trusted",
                    Severity::Note,
                    format!(
                        "{} was last changed more than a year ago",
                        read.path.display()
                    ),
                    "Partners come and go; what is missing there is not protected.",
                )
                .edit("look through it; touch(1) it when it is as it should be"),
            );
        }
    }
    report
}

fn webmail() -> BTreeSet<&'static str> {
    let lines = Preset::Webmail.text().lines();
    lines
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|name| !name.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Domain;
    use crate::public_suffix::PublicSuffixes;
    use crate::trusted::Source;

    fn list(text: &str, own: &[&str]) -> TrustedList {
        let suffixes = PublicSuffixes::built_in();
        let mut list = TrustedList::new();
        for name in own {
            let source = Source {
                path: "milter.yaml".into(),
                line: 7,
            };
            list.add_own(Domain::parse(name.as_bytes(), &suffixes).unwrap(), source);
        }
        assert_eq!(list.add_text(text, "/etc/partners".as_ref(), &suffixes), []);
        list
    }

    fn found(list: &TrustedList) -> Vec<String> {
        let now = "2026-11-25T12:00:00Z".parse().unwrap();
        let report = check(list, None, &[], now);
        report
            .findings
            .into_iter()
            .map(|finding| finding.found)
            .collect()
    }

    #[test]
    fn lists_that_trust_too_much_or_nothing_are_told() {
        assert_eq!(
            found(&list(".mil\narmy.mil\ngmail.com\n", &["example.org"])),
            Vec::<String>::new()
        );
        assert_eq!(found(&list("", &[])), ["the trusted list is empty"]);
        assert_eq!(
            found(&list(".mil\n.ml\n", &["gmail.com"])),
            [
                "gmail.com is given as your own domain (milter.yaml:7)",
                "the whole ending .ml is trusted (/etc/partners:2)"
            ]
        );
    }

    #[test]
    fn a_list_of_last_year_is_old() {
        let now: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        let read = |days: u64| Read {
            path: "/l".into(),
            written: now.checked_sub(Duration::from_secs(days * 86_400)).ok(),
        };
        let list = list(".mil\n", &[]);
        let severities = |suffixes, file| {
            let report = check(&list, Some(&read(suffixes)), &[read(file)], now);
            report
                .findings
                .iter()
                .map(|f| f.severity)
                .collect::<Vec<_>>()
        };
        assert_eq!(severities(364, 364), []);
        assert_eq!(severities(366, 366), [Severity::Warning, Severity::Note]);
        // A file of tomorrow has no age.
        assert_eq!(
            Read {
                written: now.checked_add(Duration::from_secs(9)).ok(),
                ..read(0)
            }
            .age(now),
            None
        );
    }
}
