//! Reading an address pattern: in a configuration file, on the command line, in a form.

use crate::domain::{Domain, DomainError};
use crate::public_suffix::PublicSuffixes;

use super::AddressPattern;

/// A text is no address pattern. The message goes on after the text that was read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatternError {
    /// Not an address at all.
    #[error(
        "is not an address; write carl@army.ml, army.ml (with its subdomains) or .ml (an ending)"
    )]
    NotAnAddress,
    /// `*@army.ml`
    #[error("needs no wildcard; did you mean {0}?")]
    Wildcard(String),
    /// The part after the `@`, or all of it, is no domain.
    #[error("is not an address: {0}")]
    Domain(DomainError),
    /// A single label.
    #[error("is not a domain; for an ending write .{0}")]
    OneLabel(String),
    /// `co.uk`: everything that anybody registered there.
    #[error("is a public suffix, below which anybody registers names; for all of them write .{0}")]
    PublicSuffix(String),
}

impl AddressPattern {
    /// Reads `carl@army.ml`, `army.ml` or `.ml`; its domain becomes A-labels.
    ///
    /// # Errors
    /// What is wrong, and what to write instead.
    pub fn parse(text: &str, suffixes: &PublicSuffixes) -> Result<AddressPattern, PatternError> {
        let stripped = text.trim_start_matches('*').trim_start_matches('@');
        if stripped.len() < text.len() {
            return Err(match stripped {
                "" => PatternError::NotAnAddress,
                stripped => PatternError::Wildcard(stripped.to_owned()),
            });
        }
        let ascii = |domain: &str| {
            Domain::parse(domain.as_bytes(), suffixes)
                .map(|domain| domain.ascii().to_owned())
                .map_err(PatternError::Domain)
        };
        if let Some((local, domain)) = text.rsplit_once('@') {
            if local.is_empty() || local.contains('@') || text.len() > 254 {
                return Err(PatternError::NotAnAddress);
            }
            return Ok(AddressPattern::Address(format!(
                "{local}@{}",
                ascii(domain)?
            )));
        }
        if let Some(suffix) = text.strip_prefix('.') {
            return Ok(AddressPattern::Suffix(format!(".{}", ascii(suffix)?)));
        }
        if !text.contains('.') {
            return Err(PatternError::OneLabel(text.to_owned()));
        }
        let domain = Domain::parse(text.as_bytes(), suffixes).map_err(PatternError::Domain)?;
        let name = domain.ascii().to_owned();
        match domain.registrable() {
            None if domain.suffix_is_listed() => Err(PatternError::PublicSuffix(name)),
            _ => Ok(AddressPattern::Domain(name)),
        }
    }

    /// Returns the pattern as an approval keeps it.
    pub fn into_text(self) -> String {
        match self {
            AddressPattern::Address(text)
            | AddressPattern::Domain(text)
            | AddressPattern::Suffix(text) => text,
        }
    }
}
