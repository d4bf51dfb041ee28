//! The explanation of a score: every number with its reason.

use serde::{Deserialize, Serialize};

use crate::domain::DomainError;
use crate::untrusted::Untrusted;

/// The result of scoring one recipient domain.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assessment {
    /// 0 (no likeness) to 100 (certain). For [`Finding::Resembles`] the best candidate's score.
    pub score: u8,
    /// What was found.
    pub finding: Finding,
}

/// What scoring found out about a name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finding {
    /// Covered by the trusted entry named.
    Trusted {
        /// The entry as written, `example.org` or `.mil`.
        entry: String,
    },
    /// Resembles nothing the site trusts.
    Unrelated,
    /// Resembles these trusted domains, best first; never empty.
    Resembles {
        /// Every candidate with more than half of the best score.
        candidates: Vec<Candidate>,
    },
    /// Not a domain name at all.
    Undecodable {
        /// The name as received, escaped.
        name: String,
        /// What is wrong with it.
        error: String,
    },
}

/// One trusted domain that the recipient domain resembles.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Candidate {
    /// The domain that may have been meant.
    pub trusted: String,
    /// 0 to 100: the sum of the evidence, clamped.
    pub score: u8,
    /// The terms of the sum.
    pub evidence: Vec<Evidence>,
    /// What was typed instead of `trusted`.
    pub edit: Edit,
}

/// One reason with its points.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which rule speaks.
    pub reason: Reason,
    /// What it adds to (or takes from) the score.
    pub points: i32,
    /// The reason in words a sender understands, without the points.
    pub detail: String,
}

/// The rules that can speak for or against a likeness. Names are stable: logs carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// The registrable label differs by few edits.
    Edit,
}

/// The difference between the typed and the meant name.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Edit {
    /// The meant name with the difference marked, for example `army.m[i]l`.
    pub marked: String,
}

impl Assessment {
    /// Returns the assessment of a name that resembles nothing trusted.
    pub fn unrelated() -> Assessment {
        Assessment {
            score: 0,
            finding: Finding::Unrelated,
        }
    }

    /// Returns the assessment of a name that cannot be decoded: suspicious enough to hold.
    pub fn undecodable(received: &[u8], error: &DomainError) -> Assessment {
        Assessment {
            score: 60,
            finding: Finding::Undecodable {
                name: Untrusted(received).to_string(),
                error: error.to_string(),
            },
        }
    }

    /// Returns the trusted domain most likely meant.
    pub fn best(&self) -> Option<&Candidate> {
        match &self.finding {
            Finding::Resembles { candidates } => candidates.first(),
            _ => None,
        }
    }

    /// Returns the one sentence that explains the finding to a sender, without scores.
    pub fn sentence(&self) -> String {
        match (&self.finding, self.best()) {
            (_, Some(best)) => format!("did you mean {}?", best.trusted),
            (Finding::Undecodable { error, .. }, _) => error.clone(),
            _ => String::new(),
        }
    }
}
