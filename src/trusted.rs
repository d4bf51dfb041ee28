//! The trusted list: the domains and suffixes a site means to write to.

use std::path::PathBuf;

/// Where an entry was written, for messages to the admin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// File the entry stands in; `milter.yaml` itself for inline entries.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: usize,
}

/// What one entry covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// `example.org`: that domain and everything below it.
    Domain,
    /// `.mil`: everything below that suffix.
    Suffix,
}

/// The trusted list as configured, before it is indexed.
#[derive(Clone, Debug, Default)]
pub struct TrustedList {}
