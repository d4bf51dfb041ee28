//! The public suffix list: where a registrable domain ends.
//!
//! `army.co.uk` and `army.uk` have different owners only because of this list. A list file
//! of the distribution wins over the built-in one, because suffixes change more often than
//! straymail is released.
//!
//! Only the ICANN part counts. The private part (`blogspot.com`, `uk.com`) names companies
//! that hand out subdomains; for mail such a name is an ordinary registrable domain, and a
//! trusted list may well hold it.

use std::fmt;
use std::sync::Arc;

use publicsuffix::{IcannList, Psl as _, Type};

/// A public suffix list, built in or read from a file. Cheap to clone.
#[derive(Clone, Default)]
pub struct PublicSuffixes {
    source: Source,
}

#[derive(Clone, Default)]
enum Source {
    #[default]
    BuiltIn,
    Listed(Arc<IcannList>),
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
        let list: IcannList =
            text.parse()
                .map_err(|error: publicsuffix::Error| PublicSuffixError::Malformed {
                    reason: error.to_string(),
                })?;
        let listed = PublicSuffixes {
            source: Source::Listed(Arc::new(list)),
        };
        if !listed.suffix("example.com").listed {
            return Err(PublicSuffixError::NotIcann);
        }
        Ok(listed)
    }

    /// Returns where the public suffix of `name` begins.
    ///
    /// `name` must be lower-case A-labels without empty labels, as [`crate::domain::Domain`]
    /// guarantees.
    pub fn suffix(&self, name: &str) -> Suffix {
        let mut tail = name;
        loop {
            let labels = tail.as_bytes().rsplit(|byte| *byte == b'.');
            let info = match &self.source {
                Source::BuiltIn => {
                    let info = psl::List.find(labels);
                    (info.len, info.typ.map(|kind| kind == psl::Type::Icann))
                }
                Source::Listed(list) => {
                    let info = list.find(labels);
                    (info.len, info.typ.map(|kind| kind == Type::Icann))
                }
            };
            let (len, icann) = info;
            let start = name.len() - len.min(name.len());
            if icann != Some(false) {
                return Suffix {
                    start,
                    listed: icann == Some(true),
                };
            }
            // A private suffix: what it hangs below is shorter by at least one label.
            match tail
                .get(tail.len() - len.min(tail.len())..)
                .and_then(|s| s.split_once('.'))
            {
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
