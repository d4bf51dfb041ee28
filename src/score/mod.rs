//! How much a recipient domain looks like a trusted one without being it.
//!
//! Pure: no I/O, no clock, no randomness, no logging. The same input gives the same verdict.

mod evidence;

pub use evidence::{Assessment, Candidate, Edit, Evidence, Finding, Reason};

use crate::domain::{Domain, DomainError};
use crate::trusted::TrustedList;

/// What the scorer is told beside the name itself. Looked-up facts come in as arguments.
#[derive(Clone, Debug, Default)]
pub struct Context {}

/// Settings of the scoring core.
#[derive(Clone, Debug, Default)]
pub struct ScoreSettings {}

/// The trusted list, indexed. Immutable; shared by all sessions of one snapshot.
#[derive(Debug, Default)]
pub struct Scorer {}

impl Scorer {
    /// Builds the index over `trusted`.
    pub fn new(_trusted: TrustedList, _settings: ScoreSettings) -> Scorer {
        Scorer {}
    }

    /// Returns what speaks for `domain` being a mistyped trusted domain.
    pub fn assess(&self, _domain: &Domain, _context: &Context) -> Assessment {
        Assessment::unrelated()
    }

    /// Returns the assessment of a name that is no domain name: suspicious, never clean.
    pub fn assess_undecodable(&self, received: &[u8], error: &DomainError) -> Assessment {
        Assessment::undecodable(received, error)
    }
}
