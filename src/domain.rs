//! A recipient's or a trusted domain, parsed once.
//!
//! Holds three spellings (as received, A-labels, U-labels): the mapping of UTS #46 folds
//! look-alikes away, so evidence needs the original.

use std::fmt;

use crate::public_suffix::PublicSuffixes;

/// A syntactically valid domain name within the lengths of RFC 1035, 2.3.4.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Domain {
    received: Box<str>,
    ascii: Box<str>,
    unicode: Box<str>,
}

/// Why bytes are not a domain name.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DomainError {
    /// Nothing was given.
    #[error("the domain is empty")]
    Empty,
}

impl Domain {
    /// Parses the bytes after the last `@` of an address.
    ///
    /// # Errors
    /// What is not a domain name; a caller treats such a recipient as suspicious, never as clean.
    pub fn parse(received: &[u8], _suffixes: &PublicSuffixes) -> Result<Domain, DomainError> {
        if received.is_empty() {
            return Err(DomainError::Empty);
        }
        let text: Box<str> = String::from_utf8_lossy(received).to_lowercase().into();
        Ok(Domain {
            received: text.clone(),
            ascii: text.clone(),
            unicode: text,
        })
    }

    /// Returns the spelling received.
    pub fn received(&self) -> &str {
        &self.received
    }

    /// Returns the lower-case A-labels (RFC 5890), without a trailing dot.
    pub fn ascii(&self) -> &str {
        &self.ascii
    }

    /// Returns the U-labels (RFC 5890).
    pub fn unicode(&self) -> &str {
        &self.unicode
    }
}

impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.unicode == self.ascii {
            f.write_str(&self.ascii)
        } else {
            write!(f, "{}/{}", self.unicode, self.ascii)
        }
    }
}
