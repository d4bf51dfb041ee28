//! The public suffix list: where a registrable domain ends.
//!
//! `army.co.uk` and `army.uk` have different owners only because of this list. A list file
//! of the distribution wins over the built-in one, because suffixes change more often than
//! straymail is released.
//!
//! Only the ICANN part counts. The private part (`blogspot.com`, `uk.com`) names companies
//! that hand out subdomains; for mail such a name is an ordinary registrable domain, and a
//! trusted list may well hold it. Where it holds names below one instead, that one counts as well
//! ([`PublicSuffixes::counting`]): `acme.uk.com` and `amce.uk.com` have different owners.

use std::fmt;
use std::sync::Arc;

use foldhash::HashSet;
use publicsuffix::{List, Psl as _, Type};

/// Domains of a provider that gives each customer a name below it for mail, and that the list does
/// not name: the first domain of every Microsoft 365 organisation.
const CUSTOMERS_BELOW: &str = "onmicrosoft.com";

/// A public suffix list, built in or read from a file. Cheap to clone.
#[derive(Clone, Default)]
pub struct PublicSuffixes {
    source: Source,
    /// Private suffixes that count.
    private: Arc<HashSet<Box<str>>>,
}

#[derive(Clone, Default)]
enum Source {
    #[default]
    BuiltIn,
    Listed(Arc<List>),
}

/// Why a text is not a public suffix list.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublicSuffixError {
    /// A rule cannot be read.
    #[error("not a public suffix list: {reason}; expected the format of publicsuffix.org")]
    Malformed {
        /// What the reader of the list says.
        reason: String,
    },
    /// The ICANN section is missing, so not even `com` would be a suffix.
    #[error("the public suffix list has no ICANN section with the rule \"com\"; it is not used")]
    NotIcann,
}

/// The public suffix of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Suffix {
    /// Where the suffix begins in the name, in bytes.
    pub start: usize,
    /// Whether the list has a rule for it. Without a rule the last label is taken, and
    /// mail to that top-level domain cannot be delivered.
    pub listed: bool,
}

impl PublicSuffixes {
    /// Returns the list compiled into this release.
    pub fn built_in() -> Self {
        PublicSuffixes::default()
    }

    /// Reads a list in the format of publicsuffix.org, such as Debian's
    /// `/usr/share/publicsuffix/public_suffix_list.dat`.
    ///
    /// # Errors
    /// When a rule cannot be read, or the ICANN section is missing.
    pub fn parse(text: &str) -> Result<Self, PublicSuffixError> {
        let list: List =
            text.parse()
                .map_err(|error: publicsuffix::Error| PublicSuffixError::Malformed {
                    reason: error.to_string(),
                })?;
        let listed = PublicSuffixes {
            source: Source::Listed(Arc::new(list)),
            private: Arc::default(),
        };
        if !listed.suffix("example.com").listed {
            return Err(PublicSuffixError::NotIcann);
        }
        Ok(listed)
    }

    /// Returns the same list, in which these private suffixes count.
    #[must_use]
    pub fn counting(&self, private: HashSet<Box<str>>) -> PublicSuffixes {
        PublicSuffixes {
            source: self.source.clone(),
            private: Arc::new(private),
        }
    }

    /// Returns the private suffix that `name` hangs below, whether it counts or not; `None` when
    /// there is none.
    pub fn private_suffix<'n>(&self, name: &'n str) -> Option<&'n str> {
        match self.find(name) {
            (len, Some(false)) if len < name.len() => name.get(name.len() - len..),
            _ => None,
        }
    }

    /// Returns the length of the longest suffix of `name`, and whether its rule is one of the
    /// ICANN part; `None` without a rule.
    fn find(&self, name: &str) -> (usize, Option<bool>) {
        if (name.strip_suffix(CUSTOMERS_BELOW)).is_some_and(|customer| customer.ends_with('.')) {
            return (CUSTOMERS_BELOW.len(), Some(false));
        }
        let labels = name.as_bytes().rsplit(|byte| *byte == b'.');
        let (len, icann) = match &self.source {
            Source::BuiltIn => {
                let info = psl::List.find(labels);
                (info.len, info.typ.map(|kind| kind == psl::Type::Icann))
            }
            Source::Listed(list) => {
                let info = list.find(labels);
                (info.len, info.typ.map(|kind| kind == Type::Icann))
            }
        };
        (len.min(name.len()), icann)
    }

    /// Returns where the public suffix of `name` begins.
    ///
    /// `name` must be lower-case A-labels without empty labels, as [`crate::domain::Domain`]
    /// guarantees.
    pub fn suffix(&self, name: &str) -> Suffix {
        let mut tail = name;
        loop {
            let (len, icann) = self.find(tail);
            let start = name.len() - len;
            let suffix = name.get(start..).unwrap_or_default();
            if icann != Some(false) || self.private.contains(suffix) {
                return Suffix {
                    start,
                    listed: icann.is_some(),
                };
            }
            // A private suffix: what it hangs below is shorter by at least one label.
            match suffix.split_once('.') {
                Some((_, rest)) => tail = rest,
                None => {
                    return Suffix {
                        start,
                        listed: false,
                    };
                }
            }
        }
    }
}

impl fmt::Debug for PublicSuffixes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.source {
            Source::BuiltIn => "PublicSuffixes(built in)",
            Source::Listed(_) => "PublicSuffixes(from a file)",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn suffix<'n>(list: &PublicSuffixes, name: &'n str) -> (&'n str, bool) {
        let suffix = list.suffix(name);
        (name.get(suffix.start..).unwrap(), suffix.listed)
    }

    #[test]
    fn private_suffixes_count_where_that_is_said() {
        let list = PublicSuffixes::built_in();
        let private = ["acme.uk.com", "a.b.github.io", "acme.onmicrosoft.com"];
        let private = private.map(|name| list.private_suffix(name).unwrap());
        assert_eq!(private, ["uk.com", "github.io", "onmicrosoft.com"]);
        for name in [
            "uk.com",
            "onmicrosoft.com",
            "xonmicrosoft.com",
            "acme.co.uk",
        ] {
            assert_eq!(list.private_suffix(name), None, "{name}");
        }
        let list = list.counting(
            ["uk.com", "onmicrosoft.com"]
                .map(Box::from)
                .into_iter()
                .collect(),
        );
        assert_eq!(suffix(&list, "mail.acme.uk.com"), ("uk.com", true));
        assert_eq!(
            suffix(&list, "acme.onmicrosoft.com"),
            ("onmicrosoft.com", true)
        );
        assert_eq!(suffix(&list, "xonmicrosoft.com"), ("com", true));
        assert_eq!(suffix(&list, "partner.github.io"), ("io", true));
    }

    #[test]
    fn suffixes_of_the_built_in_list() {
        let list = PublicSuffixes::built_in();
        assert_eq!(suffix(&list, "www.army.mil"), ("mil", true));
        assert_eq!(suffix(&list, "bbc.co.uk"), ("co.uk", true));
        assert_eq!(suffix(&list, "a.b.kobe.jp"), ("b.kobe.jp", true));
        assert_eq!(suffix(&list, "city.kobe.jp"), ("kobe.jp", true));
        assert_eq!(
            suffix(&list, "xn--80aesfpebagmfblc0a.xn--p1ai"),
            ("xn--p1ai", true)
        );
        assert_eq!(suffix(&list, "army.mli"), ("mli", false));
        assert_eq!(suffix(&list, "mil"), ("mil", true));
    }

    #[test]
    fn a_private_suffix_is_an_ordinary_domain() {
        let list = PublicSuffixes::built_in();
        assert_eq!(suffix(&list, "someone.blogspot.com"), ("com", true));
        assert_eq!(suffix(&list, "shop.uk.com"), ("com", true));
    }

    #[test]
    fn a_list_from_a_file_wins() {
        let list = PublicSuffixes::parse(
            "// ===BEGIN ICANN DOMAINS===\ncom\nzz\nco.zz\n*.yy\n!city.yy\n// ===END ICANN DOMAINS===\n\
             // ===BEGIN PRIVATE DOMAINS===\nblogspot.com\n// ===END PRIVATE DOMAINS===\n",
        )
        .unwrap();
        assert_eq!(suffix(&list, "army.co.zz"), ("co.zz", true));
        assert_eq!(suffix(&list, "army.mil"), ("mil", false));
        assert_eq!(suffix(&list, "a.b.yy"), ("b.yy", true));
        assert_eq!(suffix(&list, "a.city.yy"), ("yy", true));
        assert_eq!(suffix(&list, "someone.blogspot.com"), ("com", true));
    }

    #[test]
    fn text_without_rules_is_refused() {
        assert_eq!(
            PublicSuffixes::parse("// nothing\n").unwrap_err(),
            PublicSuffixError::Malformed {
                reason: "the provided list is not valid".to_owned()
            }
        );
        assert_eq!(
            PublicSuffixes::parse("// ===BEGIN ICANN DOMAINS===\nzz\n").unwrap_err(),
            PublicSuffixError::NotIcann
        );
    }
}
