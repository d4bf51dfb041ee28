//! The trusted list: the domains and suffixes a site means to write to.
//!
//! One entry a line: `example.org` covers that domain and everything below it, `.mil` covers
//! everything below that suffix, `#` begins a comment. Lists, presets and the site's own
//! domains are merged into one [`TrustedList`]; every problem of a text is reported, not only
//! the first.

use std::fmt;
use std::path::{Path, PathBuf};

use foldhash::{HashMap, HashSet};

use crate::domain::{Domain, DomainError};
use crate::public_suffix::PublicSuffixes;

/// Where an entry was written, for messages to the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// File the entry stands in; `milter.yaml` itself for inline entries, `preset webmail` for
    /// an entry of a preset.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.path.display(), self.line)
    }
}

/// What one entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Cover {
    /// `example.org`: that domain and everything below it.
    Domain,
    /// `.mil`: everything below that suffix.
    Suffix,
}

/// One trusted entry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustedEntry {
    /// The domain, or the suffix without its leading dot.
    pub domain: Domain,
    /// What the entry covers.
    pub cover: Cover,
    /// Whether the domain is the site's own. Another ending of an own domain is more
    /// suspicious than another ending of a partner's.
    pub own: bool,
    /// Where it was written.
    pub source: Source,
}

impl fmt::Display for TrustedEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.cover {
            Cover::Domain => f.write_str(self.domain.ascii()),
            Cover::Suffix => write!(f, ".{}", self.domain.ascii()),
        }
    }
}

/// A problem of a trusted list, with its place.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TrustedError {
    /// A line is not a domain name.
    #[error("{source_line}: {text:?} is not a domain name: {error}; write one domain per line")]
    NotADomain {
        /// Where.
        source_line: Source,
        /// What was read.
        text: String,
        /// Why it is none.
        error: DomainError,
    },
    /// An address instead of a domain.
    #[error("{source_line}: {text:?} is an address; write the domain alone: {domain:?}")]
    Address {
        /// Where.
        source_line: Source,
        /// What was read.
        text: String,
        /// The part after the `@`.
        domain: String,
    },
    /// Several words on a line.
    #[error("{source_line}: {text:?} holds more than one word; write one domain per line")]
    SeveralWords {
        /// Where.
        source_line: Source,
        /// What was read.
        text: String,
    },
    /// `co.uk` would trust a whole suffix by accident.
    #[error(
        "{source_line}: {text:?} is a public suffix; write \".{text}\" to trust every domain below it"
    )]
    PublicSuffix {
        /// Where.
        source_line: Source,
        /// What was read.
        text: String,
    },
    /// The entry was given before. Harmless: the entry counts once.
    #[error("{source_line}: {text:?} is given twice, first at {first}; remove one")]
    Duplicate {
        /// Where.
        source_line: Source,
        /// What was read.
        text: String,
        /// Where it was given first.
        first: Source,
    },
}

impl TrustedError {
    /// Returns whether the list can be used in spite of the problem, because it means the same
    /// without the line complained of.
    pub fn is_harmless(&self) -> bool {
        matches!(self, TrustedError::Duplicate { .. })
    }
}

/// A shipped list of trusted entries, with a reason on every line of its file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Preset {
    /// The large providers of personal mail.
    Webmail,
    /// For those who write to the US armed forces.
    DodPartner,
    /// For those who write to US authorities.
    Gov,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 3] = [Preset::Webmail, Preset::DodPartner, Preset::Gov];

    /// Returns the name used in `milter.yaml`.
    pub fn name(self) -> &'static str {
        match self {
            Preset::Webmail => "webmail",
            Preset::DodPartner => "dod-partner",
            Preset::Gov => "gov",
        }
    }

    /// Returns the preset called `name`.
    pub fn named(name: &str) -> Option<Preset> {
        Preset::ALL.into_iter().find(|preset| preset.name() == name)
    }

    /// Returns the text of the list.
    pub fn text(self) -> &'static str {
        match self {
            Preset::Webmail => include_str!("../presets/webmail.txt"),
            Preset::DodPartner => include_str!("../presets/dod-partner.txt"),
            Preset::Gov => include_str!("../presets/gov.txt"),
        }
    }
}

/// Well-known names below suffixes; each counts only where its suffix is trusted.
pub(crate) const KNOWN_NAMES: &str = include_str!("../presets/known-names.txt");

/// The trusted list as configured, before it is indexed.
#[derive(Clone, Debug, Default)]
pub struct TrustedList {
    entries: Vec<TrustedEntry>,
    /// Place of a domain entry by its name.
    domains: HashMap<Box<str>, usize>,
    /// Place of a suffix entry by its name without the leading dot.
    suffixes: HashMap<Box<str>, usize>,
    known: Vec<Domain>,
    /// Bytes of the shortest domain entry: the endings of most names are shorter.
    shortest: usize,
    /// Bytes of the longest entry: no longer tail of a name is looked up.
    longest: usize,
}

impl TrustedList {
    /// Returns a list that trusts nothing.
    pub fn new() -> TrustedList {
        TrustedList::default()
    }

    /// Adds the entries of a text, one a line, and returns every problem found. Good lines count
    /// even when others are bad; the caller decides whether to use the list.
    ///
    /// `path` is only for messages.
    #[must_use = "the problems are for the admin"]
    pub fn add_text(
        &mut self,
        text: &str,
        path: &Path,
        suffixes: &PublicSuffixes,
    ) -> Vec<TrustedError> {
        let mut problems = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let entry = line.split('#').next().unwrap_or_default().trim();
            let entry = entry.trim_start_matches('\u{feff}');
            if entry.is_empty() {
                continue;
            }
            let source = Source {
                path: path.to_owned(),
                line: index + 1,
            };
            if let Err(problem) = self.add(entry, source, suffixes) {
                problems.push(problem);
            }
        }
        problems
    }

    /// Adds one entry, `example.org` or `.mil`.
    ///
    /// # Errors
    /// When it is not an entry, or was given before.
    pub fn add(
        &mut self,
        entry: &str,
        source: Source,
        suffixes: &PublicSuffixes,
    ) -> Result<(), TrustedError> {
        let entry = parse_entry(entry, source, suffixes)?;
        match self.place(&entry) {
            Some(first) => Err(TrustedError::Duplicate {
                text: entry.to_string(),
                first: first.source.clone(),
                source_line: entry.source,
            }),
            None => {
                self.insert(entry);
                Ok(())
            }
        }
    }

    /// Adds the entries of a preset. An entry that is there already stays as it is.
    pub fn add_preset(&mut self, preset: Preset, suffixes: &PublicSuffixes) {
        // The presets are part of the program and a test proves that they hold no errors; an
        // entry that was given before is none either.
        let path = PathBuf::from(format!("preset {}", preset.name()));
        let _harmless = self.add_text(preset.text(), &path, suffixes);
    }

    /// Adds one of the site's own domains: it is trusted, and the same name with another ending
    /// is more suspicious than a partner's.
    pub fn add_own(&mut self, domain: Domain, source: Source) {
        let own = TrustedEntry {
            domain,
            cover: Cover::Domain,
            own: true,
            source,
        };
        match self.place(&own) {
            Some(entry) => entry.own = true,
            None => self.insert(own),
        }
    }

    /// Adds a name that is known to be in use, from the history of outbound mail or a directory.
    /// It counts only where an entry of the list covers it: knowing `navy.mil` tells
    /// `navy.ml` from `orange.ml`, but trusts nothing by itself.
    pub fn add_known(&mut self, domain: Domain) {
        self.known.push(domain);
    }

    /// Adds the well-known names that come with straymail, as [`TrustedList::add_known`] does.
    pub fn add_well_known(&mut self, suffixes: &PublicSuffixes) {
        let lines = KNOWN_NAMES
            .lines()
            .map(|line| line.split('#').next().unwrap_or_default().trim())
            .filter(|line| !line.is_empty());
        for name in lines {
            if let Ok(domain) = Domain::parse(name.as_bytes(), suffixes) {
                self.known.push(domain);
            }
        }
    }

    /// Adds everything of `other`; entries that are there already stay as they are.
    pub fn merge(&mut self, other: TrustedList) {
        for entry in other.entries {
            match self.place(&entry) {
                Some(there) => there.own |= entry.own,
                None => self.insert(entry),
            }
        }
        self.known.extend(other.known);
    }

    /// Returns the private suffixes that entries hang below without trusting the whole.
    pub fn private_suffixes(&self, suffixes: &PublicSuffixes) -> HashSet<Box<str>> {
        (self.entries.iter())
            .filter(|entry| entry.cover == Cover::Domain)
            .filter_map(|entry| suffixes.private_suffix(entry.domain.ascii()))
            .filter(|private| !self.domains.contains_key(*private))
            .map(Box::from)
            .collect()
    }

    /// Divides the names of the list as these `suffixes` say.
    pub fn divide(&mut self, suffixes: &PublicSuffixes) {
        for entry in &mut self.entries {
            entry.domain = entry.domain.divided(suffixes);
        }
        for known in &mut self.known {
            *known = known.divided(suffixes);
        }
    }

    /// Returns the entries in the order given.
    pub fn entries(&self) -> &[TrustedEntry] {
        &self.entries
    }

    /// Returns the known names that an entry of the list covers.
    pub fn known(&self) -> impl Iterator<Item = &Domain> {
        self.known
            .iter()
            .filter(|domain| self.covering(domain).is_some())
    }

    /// Returns the entry that covers `domain`, the closest one when several do.
    pub fn covering(&self, domain: &Domain) -> Option<&TrustedEntry> {
        let name = domain.ascii();
        let mut tail = if name.len() > self.longest {
            // Labels that begin further in front are followed by more than the longest entry.
            let from = name.len() - self.longest - 1;
            after_dot(name.get(from..)?)?
        } else if let Some(at) = self.domains.get(name) {
            return self.entries.get(*at);
        } else {
            after_dot(name)?
        };
        loop {
            if tail.len() >= self.shortest
                && let Some(at) = self.domains.get(tail)
            {
                return self.entries.get(*at);
            }
            // `.mil` covers what is below `mil`, not `mil` itself.
            if !self.suffixes.is_empty()
                && let Some(at) = self.suffixes.get(tail)
            {
                return self.entries.get(*at);
            }
            tail = after_dot(tail)?;
        }
    }

    /// Returns whether `name` is a domain entry itself, not only covered by one.
    pub fn holds(&self, name: &str) -> bool {
        self.domains.contains_key(name)
    }

    /// Returns the entry that is the same as `entry`, if there is one already.
    fn place(&mut self, entry: &TrustedEntry) -> Option<&mut TrustedEntry> {
        let at = *self.places(entry.cover).get(entry.domain.ascii())?;
        self.entries.get_mut(at)
    }

    fn insert(&mut self, entry: TrustedEntry) {
        let at = self.entries.len();
        let length = entry.domain.ascii().len();
        if entry.cover == Cover::Domain && (self.domains.is_empty() || length < self.shortest) {
            self.shortest = length;
        }
        self.longest = self.longest.max(length);
        self.places(entry.cover)
            .insert(entry.domain.ascii().into(), at);
        self.entries.push(entry);
    }

    fn places(&mut self, cover: Cover) -> &mut HashMap<Box<str>, usize> {
        match cover {
            Cover::Domain => &mut self.domains,
            Cover::Suffix => &mut self.suffixes,
        }
    }
}

/// Returns what follows the first dot.
fn after_dot(name: &str) -> Option<&str> {
    let dot = name.bytes().position(|byte| byte == b'.')?;
    name.get(dot + 1..)
}

fn parse_entry(
    entry: &str,
    source: Source,
    suffixes: &PublicSuffixes,
) -> Result<TrustedEntry, TrustedError> {
    if entry.contains(char::is_whitespace) {
        return Err(TrustedError::SeveralWords {
            source_line: source,
            text: entry.to_owned(),
        });
    }
    if let Some((_, domain)) = entry.rsplit_once('@') {
        return Err(TrustedError::Address {
            source_line: source,
            text: entry.to_owned(),
            domain: domain.to_owned(),
        });
    }
    let (cover, name) = match entry.strip_prefix('.') {
        Some(suffix) => (Cover::Suffix, suffix),
        None => (Cover::Domain, entry),
    };
    let domain = match Domain::parse(name.as_bytes(), suffixes) {
        Ok(domain) => domain,
        Err(error) => {
            return Err(TrustedError::NotADomain {
                source_line: source,
                text: entry.to_owned(),
                error,
            });
        }
    };
    if cover == Cover::Domain && domain.registrable().is_none() && domain.suffix_is_listed() {
        return Err(TrustedError::PublicSuffix {
            source_line: source,
            text: domain.ascii().to_owned(),
        });
    }
    Ok(TrustedEntry {
        domain,
        cover,
        own: false,
        source,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(text: &str) -> (TrustedList, Vec<String>) {
        let mut list = TrustedList::new();
        let problems = list
            .add_text(text, Path::new("trusted.list"), &PublicSuffixes::built_in())
            .iter()
            .map(ToString::to_string)
            .collect();
        (list, problems)
    }

    fn domain(text: &str) -> Domain {
        Domain::parse(text.as_bytes(), &PublicSuffixes::built_in()).unwrap()
    }

    #[test]
    fn every_problem_is_named_with_its_line() {
        let (list, problems) = list(
            "# partners\nboeing.com  # airplanes\n\nj.doe@army.mil\nfoo..bar\nco.uk\nBOEING.com\n\
             army.mil navy.mil\n.mil\n",
        );
        assert_eq!(
            problems,
            [
                "trusted.list:4: \"j.doe@army.mil\" is an address; write the domain alone: \"army.mil\"",
                "trusted.list:5: \"foo..bar\" is not a domain name: the domain has an empty label \
                 (two dots in a row, or a dot in front); write one domain per line",
                "trusted.list:6: \"co.uk\" is a public suffix; write \".co.uk\" to trust every \
                 domain below it",
                "trusted.list:7: \"boeing.com\" is given twice, first at trusted.list:2; remove one",
                "trusted.list:8: \"army.mil navy.mil\" holds more than one word; write one domain \
                 per line",
            ]
        );
        let entries: Vec<_> = list.entries().iter().map(ToString::to_string).collect();
        assert_eq!(entries, ["boeing.com", ".mil"]);
    }

    #[test]
    fn entries_cover_what_is_below_them() {
        let (list, problems) = list(".mil\nexample.org\n");
        assert_eq!(problems, Vec::<String>::new());
        let covering = |name: &str| list.covering(&domain(name)).map(ToString::to_string);
        assert_eq!(covering("us.army.mil"), Some(".mil".to_owned()));
        assert_eq!(covering("a.b.example.org"), Some("example.org".to_owned()));
        assert_eq!(covering("mil"), None);
        assert_eq!(covering("notexample.org"), None);
        assert_eq!(covering("example.org.evil.com"), None);
    }

    #[test]
    fn a_known_name_counts_only_below_a_trusted_entry() {
        let (mut list, _) = list(".mil\n");
        list.add_known(domain("navy.mil"));
        list.add_known(domain("example.org"));
        let known: Vec<_> = list.known().map(Domain::ascii).collect();
        assert_eq!(known, ["navy.mil"]);
    }

    #[test]
    fn an_own_domain_stays_own_when_it_is_listed_as_well() {
        let (mut list, _) = list("example.org\n");
        let source = Source {
            path: "milter.yaml".into(),
            line: 3,
        };
        list.add_own(domain("example.org"), source);
        assert_eq!(list.entries().len(), 1);
        assert!(list.entries()[0].own);
    }

    #[test]
    fn presets_hold_no_errors_and_a_reason_on_every_line() {
        let suffixes = PublicSuffixes::built_in();
        for preset in Preset::ALL {
            let mut list = TrustedList::new();
            let problems = list.add_text(preset.text(), Path::new(preset.name()), &suffixes);
            assert_eq!(problems, [], "{}", preset.name());
            assert!(!list.entries().is_empty());
            assert_eq!(Preset::named(preset.name()), Some(preset));
        }
        let lines = Preset::ALL.iter().map(|preset| preset.text());
        for line in lines.chain([KNOWN_NAMES]).flat_map(str::lines) {
            assert!(
                line.is_empty() || line.contains("# ") || line == "#",
                "no reason: {line:?}"
            );
        }
        let mut list = TrustedList::new();
        list.add_well_known(&suffixes);
        let names = KNOWN_NAMES
            .lines()
            .filter(|line| !line.is_empty() && !line.starts_with('#'));
        assert_eq!(list.known.len(), names.count());
    }
}
