//! Octets that must survive a text format: envelope paths, ESMTP arguments, macros.
//!
//! An envelope address may hold any octet from 1 to 255. What is held must be sent on, and
//! removed from the MTA's list, exactly as received; a lossy conversion would make
//! `DELRCPT` miss and leak the message. So these bytes never become a `String`.

use std::fmt::{self, Write as _};

use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::untrusted::Untrusted;

/// Any octets. In JSON: printable ASCII as it is, `\\` for a backslash, `\xHH` for the rest.
#[derive(Clone, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Octets(Vec<u8>);

/// A text is not the escaped form of octets.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not an escaped octet string: at character {at} expected printable ASCII, `\\\\` or `\\xHH`"
)]
pub struct OctetsError {
    text: String,
    at: usize,
}

impl Octets {
    /// Returns the octets.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Returns the octets.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }

    /// Returns the lossless text form that [`Octets::unescape`] reads.
    pub fn escape(&self) -> String {
        let mut text = String::with_capacity(self.0.len());
        for &byte in &self.0 {
            match byte {
                b'\\' => text.push_str("\\\\"),
                b' '..=b'~' => text.push(char::from(byte)),
                _ => {
                    let _ = write!(text, "\\x{byte:02x}");
                }
            }
        }
        text
    }

    /// Decodes xtext (RFC 3461, 4): `+XX` is an octet in hexadecimal. What is none stays.
    pub fn from_xtext(text: &[u8]) -> Octets {
        let digit = |octet: Option<&u8>| octet.and_then(|octet| char::from(*octet).to_digit(16));
        let mut octets = Vec::with_capacity(text.len());
        let mut rest = text;
        while let Some((first, after)) = rest.split_first() {
            rest = after;
            let hex = (digit(after.first())).zip(digit(after.get(1)));
            match hex.and_then(|(high, low)| u8::try_from(high * 16 + low).ok()) {
                Some(octet) if *first == b'+' => {
                    octets.push(octet);
                    rest = after.get(2..).unwrap_or_default();
                }
                _ => octets.push(*first),
            }
        }
        Octets(octets)
    }

    /// Reads the form that [`Octets::escape`] writes.
    ///
    /// # Errors
    /// The position of the first character that is neither printable ASCII nor an escape.
    pub fn unescape(text: &str) -> Result<Octets, OctetsError> {
        let bytes = text.as_bytes();
        let mut octets = Vec::with_capacity(bytes.len());
        let mut at = 0;
        while let Some(&byte) = bytes.get(at) {
            let (octet, length) = match (byte, bytes.get(at + 1)) {
                (b'\\', Some(b'\\')) => (Some(b'\\'), 2),
                (b'\\', Some(b'x')) => (hex(bytes.get(at + 2..at + 4)), 4),
                (b'\\', _) => (None, 1),
                (b' '..=b'~', _) => (Some(byte), 1),
                _ => (None, 1),
            };
            let Some(octet) = octet else {
                return Err(OctetsError {
                    text: text.to_owned(),
                    at,
                });
            };
            octets.push(octet);
            at += length;
        }
        Ok(Octets(octets))
    }
}

fn hex(digits: Option<&[u8]>) -> Option<u8> {
    let &[high, low] = digits? else { return None };
    let digit = |byte: u8| char::from(byte).to_digit(16);
    u8::try_from(digit(high)? * 16 + digit(low)?).ok()
}

impl AsRef<[u8]> for Octets {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl From<Vec<u8>> for Octets {
    fn from(bytes: Vec<u8>) -> Self {
        Octets(bytes)
    }
}

impl From<&[u8]> for Octets {
    fn from(bytes: &[u8]) -> Self {
        Octets(bytes.to_vec())
    }
}

impl From<&str> for Octets {
    fn from(text: &str) -> Self {
        Octets(text.as_bytes().to_vec())
    }
}

impl From<String> for Octets {
    fn from(text: String) -> Self {
        Octets(text.into_bytes())
    }
}

impl fmt::Display for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Untrusted(&self.0).fmt(f)
    }
}

impl fmt::Debug for Octets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "\"{}\"", self.escape())
    }
}

impl Serialize for Octets {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.escape())
    }
}

impl<'de> Deserialize<'de> for Octets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Octets::unescape(&text).map_err(de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_octets_survive_json(bytes: Vec<u8>) {
            let octets = Octets::from(bytes);
            let json = serde_json::to_string(&octets).unwrap();
            prop_assert!(json.is_ascii());
            prop_assert_eq!(serde_json::from_str::<Octets>(&json).unwrap(), octets);
        }

        #[test]
        fn unescaping_any_text_never_panics(text: String) {
            let _ = Octets::unescape(&text);
        }
    }

    #[test]
    fn a_broken_escape_names_its_place() {
        for (text, at) in [
            ("ab\\", 2),
            ("ab\\x4", 2),
            ("\\xg0", 0),
            ("é", 0),
            ("a\\n", 1),
        ] {
            let error = Octets::unescape(text).unwrap_err();
            assert_eq!(error.at, at, "{text:?}");
        }
    }
}
