//! A recipient's or a trusted domain, parsed once.
//!
//! Holds three spellings (as received, A-labels, U-labels): the mapping of UTS #46 folds
//! look-alikes away, so evidence needs the original.
//!
//! Parsing is bounded by the lengths of RFC 1035 before anything costly runs, and never
//! panics. What is not a domain name is an error, never a guess: a caller treats such a
//! recipient as suspicious, not as clean.

use std::borrow::Cow;
use std::fmt;

use idna::uts46::{AsciiDenyList, DnsLength, Hyphens, Uts46};

use crate::public_suffix::PublicSuffixes;

/// RFC 1035, 2.3.4: 255 octets on the wire, which is 253 characters in text.
pub const MAX_DOMAIN: usize = 253;
/// RFC 1035, 2.3.4.
pub const MAX_LABEL: usize = 63;
/// Longest input looked at. A U-label of 63 octets as A-label needs at most 4 bytes for each
/// character, so no valid name is longer than this in UTF-8.
const MAX_RECEIVED: usize = 4 * MAX_DOMAIN + 1;

/// A syntactically valid domain name within the lengths of RFC 1035, 2.3.4.
///
/// Two domains are equal when their A-labels are.
#[derive(Clone, Debug)]
pub struct Domain {
    /// Only when it differs from `ascii`.
    received: Option<Box<str>>,
    ascii: Box<str>,
    /// Only when it differs from `ascii`.
    unicode: Option<Box<str>>,
    /// Where the registrable domain begins in `ascii`; 0 as well when there is none.
    registrable: u8,
    /// Where the public suffix begins in `ascii`.
    suffix: u8,
    suffix_listed: bool,
}

/// Why bytes are not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing was given.
    #[error("the domain is empty")]
    Empty,
    /// The name does not fit the DNS.
    #[error("the domain is {length} characters long; the DNS allows {MAX_DOMAIN}")]
    TooLong {
        /// Length in octets, as far as it was looked at.
        length: usize,
    },
    /// Two dots in a row, or a dot at the beginning.
    #[error("the domain has an empty label (two dots in a row, or a dot in front)")]
    EmptyLabel,
    /// One label does not fit the DNS.
    #[error("a label of the domain is {length} characters long; the DNS allows {MAX_LABEL}")]
    LabelTooLong {
        /// Length of the A-label in octets.
        length: usize,
    },
    /// The bytes are not UTF-8 (RFC 6531 allows nothing else beyond ASCII).
    #[error("the domain is not valid UTF-8")]
    NotUtf8,
    /// A character that no domain name can hold.
    #[error("the domain holds the character {0:?}, which no domain name can hold")]
    BadCharacter(char),
    /// A character that shows as nothing, so the name is not what a reader sees.
    #[error("the domain holds the invisible character {0:?}")]
    Invisible(char),
    /// `[192.0.2.1]` or `192.0.2.1`.
    #[error("an IP address is not a domain name")]
    AddressLiteral,
    /// An A-label that does not decode, or a U-label IDNA forbids (UTS #46, RFC 5893).
    #[error("the internationalised domain name cannot be decoded (UTS #46)")]
    Undecodable,
}

impl Domain {
    /// Parses the bytes after the last `@` of an address.
    ///
    /// Letter case is folded, one trailing dot is dropped, U-labels are mapped by UTS #46
    /// (non-transitional). `_` is accepted, because MTAs accept it.
    ///
    /// # Errors
    /// What is not a domain name; a caller treats such a recipient as suspicious, never as clean.
    pub fn parse(received: &[u8], suffixes: &PublicSuffixes) -> Result<Domain, DomainError> {
        if received.is_empty() {
            return Err(DomainError::Empty);
        }
        if received.len() > MAX_RECEIVED {
            return Err(DomainError::TooLong {
                length: received.len(),
            });
        }
        if let Some(lower) = ordinary(received) {
            // The bytes are ASCII, so this cannot fail.
            let text = std::str::from_utf8(received).map_err(|_| DomainError::NotUtf8)?;
            let ascii = if lower {
                text.into()
            } else {
                text.to_ascii_lowercase().into_boxed_str()
            };
            let received = (!lower).then(|| text.into());
            return Ok(Domain::of(received, ascii, None, suffixes));
        }
        let text = std::str::from_utf8(received).map_err(|_| DomainError::NotUtf8)?;
        if text.starts_with('[') {
            return Err(DomainError::AddressLiteral);
        }
        let (ascii, unicode) = if check_characters(text)? {
            decode(text)?
        } else {
            let text = text.strip_suffix('.').unwrap_or(text);
            (Cow::Owned(text.to_ascii_lowercase()), None)
        };
        check_lengths(&ascii)?;
        let mut last = ascii.bytes().rev().take_while(|byte| *byte != b'.');
        if last.all(|byte| byte.is_ascii_digit()) {
            // No top-level domain is numeric (RFC 3696, 2), so this is an IPv4 address or nothing.
            return Err(DomainError::AddressLiteral);
        }
        let received = (text != ascii).then(|| text.into());
        Ok(Domain::of(received, ascii.into(), unicode, suffixes))
    }

    /// A valid name, divided where the list of suffixes says.
    fn of(
        received: Option<Box<str>>,
        ascii: Box<str>,
        unicode: Option<Box<str>>,
        suffixes: &PublicSuffixes,
    ) -> Domain {
        let found = suffixes.suffix(&ascii);
        let before = ascii.as_bytes().get(..found.start.saturating_sub(1));
        let registrable = before
            .and_then(|before| before.iter().rposition(|byte| *byte == b'.'))
            .map_or(0, |dot| dot + 1);
        Domain {
            received,
            registrable: small(registrable),
            suffix: small(found.start),
            suffix_listed: found.listed,
            unicode,
            ascii,
        }
    }

    /// Returns the same name, divided where another list of suffixes says.
    #[must_use]
    pub fn divided(&self, suffixes: &PublicSuffixes) -> Domain {
        let same = self.clone();
        Domain::of(same.received, same.ascii, same.unicode, suffixes)
    }

    /// Returns the spelling received.
    pub fn received(&self) -> &str {
        self.received.as_deref().unwrap_or(&self.ascii)
    }

    /// Returns the lower-case A-labels (RFC 5890), without a trailing dot.
    pub fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Returns the U-labels (RFC 5890).
    pub fn unicode(&self) -> &str {
        self.unicode.as_deref().unwrap_or(&self.ascii)
    }

    /// Returns the public suffix in A-labels: `mil`, `co.uk`.
    pub fn public_suffix(&self) -> &str {
        self.ascii
            .get(usize::from(self.suffix)..)
            .unwrap_or_default()
    }

    /// Returns whether the public suffix list knows the suffix. Mail to an unlisted
    /// top-level domain such as `army.mli` cannot be delivered.
    pub fn suffix_is_listed(&self) -> bool {
        self.suffix_listed
    }

    /// Returns the domain somebody registered: `bbc.co.uk` of `news.bbc.co.uk`. `None` when
    /// the name is itself a public suffix.
    pub fn registrable(&self) -> Option<&str> {
        (self.suffix > 0)
            .then(|| self.ascii.get(usize::from(self.registrable)..))
            .flatten()
    }

    /// Returns the label in front of the public suffix, `bbc` of `news.bbc.co.uk`; empty when
    /// the name is itself a public suffix.
    pub fn label(&self) -> &str {
        let end = usize::from(self.suffix).saturating_sub(1);
        self.ascii
            .get(usize::from(self.registrable)..end)
            .unwrap_or_default()
    }

    /// Returns what stands in front of the registrable domain, `a.b` of `a.b.example.org`;
    /// empty when there is nothing.
    pub fn below(&self) -> &str {
        let end = usize::from(self.registrable).saturating_sub(1);
        self.ascii.get(..end).unwrap_or_default()
    }

    /// Returns the number of labels, at least 1.
    pub fn label_count(&self) -> usize {
        self.ascii.bytes().filter(|byte| *byte == b'.').count() + 1
    }

    /// Returns whether the A-labels and the U-labels differ.
    pub fn is_international(&self) -> bool {
        self.unicode.is_some()
    }

    /// Returns whether this is `other` or a name below it.
    pub fn is_within(&self, other: &str) -> bool {
        match self.ascii.strip_suffix(other) {
            Some(rest) => rest.is_empty() || rest.ends_with('.'),
            None => false,
        }
    }
}

impl PartialEq for Domain {
    fn eq(&self, other: &Self) -> bool {
        self.ascii == other.ascii
    }
}

impl Eq for Domain {}

impl std::hash::Hash for Domain {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.ascii.hash(state);
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.unicode {
            Some(unicode) => write!(f, "{unicode}/{}", self.ascii),
            None => f.write_str(&self.ascii),
        }
    }
}

/// Offsets fit in a byte, because a name is at most 253 octets long.
fn small(offset: usize) -> u8 {
    u8::try_from(offset).unwrap_or(u8::MAX)
}

/// What [`ordinary`] does with a byte: part of a label, of one in upper case, a dot, or a reason to
/// look closer.
const PLAIN: u8 = 0;
const UPPER: u8 = 1;
const DOT: u8 = 2;
const OTHER: u8 = 4;
const CLASSES: [u8; 256] = {
    let mut classes = [OTHER; 256];
    let mut byte = 0;
    while byte < 256 {
        classes[byte] = match byte as u8 {
            b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' => PLAIN,
            b'A'..=b'Z' => UPPER,
            b'.' => DOT,
            _ => OTHER,
        };
        byte += 1;
    }
    classes
};

/// Returns whether a name that is valid at first sight is all lower case; `None` when it needs a
/// closer look, which finds out what is wrong with it, if anything.
///
/// Nearly every name of a day's mail is ordinary, so this one pass is most of the cost of parsing.
fn ordinary(received: &[u8]) -> Option<bool> {
    if received.len() > MAX_DOMAIN {
        return None;
    }
    let mut seen = 0;
    let mut start = 0;
    for (at, byte) in received.iter().enumerate() {
        let class = CLASSES[usize::from(*byte)];
        seen |= class;
        if class >= DOT {
            let label = received.get(start..at)?;
            if class == OTHER || label.is_empty() || label.len() > MAX_LABEL || is_a_label(label) {
                return None;
            }
            start = at + 1;
        }
    }
    let last = received.get(start..)?;
    let usual = !last.is_empty()
        && last.len() <= MAX_LABEL
        && !is_a_label(last)
        && last.iter().any(|byte| !byte.is_ascii_digit());
    usual.then_some(seen & UPPER == 0)
}

fn is_a_label(label: &[u8]) -> bool {
    matches!(label, [b'x' | b'X', b'n' | b'N', b'-', b'-', ..])
}

/// Returns whether IDNA must decode the text.
fn check_characters(text: &str) -> Result<bool, DomainError> {
    let mut needs_idna = false;
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => {}
            0x80.. => needs_idna = true,
            _ => return Err(DomainError::BadCharacter(char::from(byte))),
        }
    }
    needs_idna |= text.as_bytes().split(|byte| *byte == b'.').any(is_a_label);
    if needs_idna && let Some(hidden) = text.chars().find(|c| is_invisible(*c)) {
        return Err(DomainError::Invisible(hidden));
    }
    Ok(needs_idna)
}

/// Whether a character shows as nothing or reorders what shows. UTS #46 drops most of these
/// silently, so the name delivered to would not be the name seen. ZWJ and ZWNJ (U+200C,
/// U+200D) are left to the context rules of IDNA, which some scripts need.
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{80}'..='\u{9f}' | '\u{ad}' | '\u{34f}' | '\u{61c}' | '\u{115f}' | '\u{1160}'
        | '\u{17b4}' | '\u{17b5}' | '\u{180b}'..='\u{180f}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{3164}' | '\u{fe00}'..='\u{fe0f}'
        | '\u{feff}' | '\u{ffa0}' | '\u{fff0}'..='\u{fffb}' | '\u{1bca0}'..='\u{1bca3}'
        | '\u{1d173}'..='\u{1d17a}' | '\u{e0000}'..='\u{e0fff}')
}

fn decode(text: &str) -> Result<(Cow<'_, str>, Option<Box<str>>), DomainError> {
    // The characters were checked above, so no ASCII deny list is needed; UTS #46 may still map
    // a character to ASCII punctuation, which the URL list catches.
    let uts46 = Uts46::new();
    let ascii = uts46
        .to_ascii(
            text.as_bytes(),
            AsciiDenyList::URL,
            Hyphens::Allow,
            DnsLength::Ignore,
        )
        .map_err(|_| DomainError::Undecodable)?;
    let ascii = match ascii {
        Cow::Borrowed(ascii) => Cow::Borrowed(ascii.strip_suffix('.').unwrap_or(ascii)),
        Cow::Owned(mut ascii) => {
            if ascii.ends_with('.') {
                ascii.pop();
            }
            Cow::Owned(ascii)
        }
    };
    if let Some(bad) = ascii
        .chars()
        .find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'))
    {
        return Err(DomainError::BadCharacter(bad));
    }
    let (unicode, valid) = uts46.to_unicode(ascii.as_bytes(), AsciiDenyList::URL, Hyphens::Allow);
    if valid.is_err() {
        return Err(DomainError::Undecodable);
    }
    let unicode = (*unicode != *ascii).then(|| unicode.into());
    Ok((ascii, unicode))
}

fn check_lengths(ascii: &str) -> Result<(), DomainError> {
    if ascii.is_empty() {
        return Err(DomainError::Empty);
    }
    if ascii.len() > MAX_DOMAIN {
        return Err(DomainError::TooLong {
            length: ascii.len(),
        });
    }
    let mut length = 0;
    for byte in ascii.bytes().chain([b'.']) {
        if byte != b'.' {
            length += 1;
            continue;
        }
        match length {
            0 => return Err(DomainError::EmptyLabel),
            1..=MAX_LABEL => length = 0,
            length => return Err(DomainError::LabelTooLong { length }),
        }
    }
    Ok(())
}

/// Returns a name in A-labels as people read it, for showing only.
pub(crate) fn unicode(ascii: &str) -> String {
    idna::domain_to_unicode(ascii).0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Domain, DomainError> {
        Domain::parse(text.as_bytes(), &PublicSuffixes::built_in())
    }

    #[test]
    fn the_three_spellings_are_kept() {
        let domain = parse("Аrmy.Example").unwrap(); // first letter Cyrillic
        assert_eq!(domain.received(), "Аrmy.Example");
        assert_eq!(domain.ascii(), "xn--rmy-5cd.example");
        assert_eq!(domain.unicode(), "аrmy.example");
        assert_eq!(domain.to_string(), "аrmy.example/xn--rmy-5cd.example");
        let same = parse("xn--RMY-5cd.EXAMPLE.").unwrap();
        assert_eq!(same, domain);
        assert_eq!(same.received(), "xn--RMY-5cd.EXAMPLE.");
    }

    #[test]
    fn the_parts_of_a_name() {
        let parts = |text: &str| {
            let d = parse(text).unwrap();
            (
                d.below().to_owned(),
                d.label().to_owned(),
                d.public_suffix().to_owned(),
                d.registrable().map(str::to_owned),
                d.suffix_is_listed(),
            )
        };
        let owned = |below: &str, label: &str, suffix: &str, registrable: Option<&str>, listed| {
            (
                below.to_owned(),
                label.to_owned(),
                suffix.to_owned(),
                registrable.map(str::to_owned),
                listed,
            )
        };
        assert_eq!(
            parts("News.BBC.co.uk."),
            owned("news", "bbc", "co.uk", Some("bbc.co.uk"), true)
        );
        assert_eq!(
            parts("army.mil"),
            owned("", "army", "mil", Some("army.mil"), true)
        );
        assert_eq!(parts("co.uk"), owned("", "", "co.uk", None, true));
        assert_eq!(
            parts("a.army.mli"),
            owned("a", "army", "mli", Some("army.mli"), false)
        );
    }

    #[test]
    fn what_is_not_a_domain_name_says_why() {
        assert_eq!(parse("").unwrap_err(), DomainError::Empty);
        assert_eq!(parse(".").unwrap_err(), DomainError::Empty);
        assert_eq!(parse("a..b").unwrap_err(), DomainError::EmptyLabel);
        assert_eq!(parse(".army.mil").unwrap_err(), DomainError::EmptyLabel);
        assert_eq!(parse("army.mil..").unwrap_err(), DomainError::EmptyLabel);
        assert_eq!(
            parse("army mil").unwrap_err(),
            DomainError::BadCharacter(' ')
        );
        assert_eq!(
            parse("army\0.mil").unwrap_err(),
            DomainError::BadCharacter('\0')
        );
        assert_eq!(
            parse("[192.0.2.1]").unwrap_err(),
            DomainError::AddressLiteral
        );
        assert_eq!(parse("192.0.2.1").unwrap_err(), DomainError::AddressLiteral);
        assert_eq!(
            parse("[IPv6:2001:db8::1]").unwrap_err(),
            DomainError::AddressLiteral
        );
        assert_eq!(
            parse(&"a".repeat(64)).unwrap_err(),
            DomainError::LabelTooLong { length: 64 }
        );
        assert_eq!(
            parse(&"a.".repeat(10_000)).unwrap_err(),
            DomainError::TooLong { length: 20_000 }
        );
        assert_eq!(
            parse("xn--army-.mil").unwrap_err(),
            DomainError::Undecodable
        );
        assert_eq!(
            parse("xn--99999999.mil").unwrap_err(),
            DomainError::Undecodable
        );
        assert_eq!(
            parse("ar\u{ad}my.mil").unwrap_err(),
            DomainError::Invisible('\u{ad}')
        );
        assert_eq!(
            parse("army\u{202e}.mil").unwrap_err(),
            DomainError::Invisible('\u{202e}')
        );
        assert_eq!(
            Domain::parse(b"arm\xff.mil", &PublicSuffixes::built_in()).unwrap_err(),
            DomainError::NotUtf8
        );
    }

    #[test]
    fn the_longest_name_is_accepted() {
        let label = "a".repeat(61);
        let name = format!("{label}.{label}.{label}.{label}.abcd");
        assert_eq!(name.len(), 252);
        assert_eq!(parse(&format!("{name}e")).unwrap().label_count(), 5);
        assert_eq!(
            parse(&format!("{name}ef")).unwrap_err(),
            DomainError::TooLong { length: 254 }
        );
    }

    #[test]
    fn an_ideographic_full_stop_separates_labels() {
        assert_eq!(parse("army。mil").unwrap().ascii(), "army.mil");
        assert_eq!(parse("ａｒｍｙ.mil").unwrap().ascii(), "army.mil");
    }

    #[test]
    fn within_is_on_a_label_boundary() {
        let domain = parse("us.army.mil").unwrap();
        assert!(domain.is_within("army.mil"));
        assert!(domain.is_within("mil"));
        assert!(domain.is_within("us.army.mil"));
        assert!(!domain.is_within("my.mil"));
        assert!(!parse("notarmy.mil").unwrap().is_within("army.mil"));
    }
}
