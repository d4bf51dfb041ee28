//! Why a name looks wrong, as a person reads it: every score is the sum of its printed terms.

use std::io::{self, Write};

use crate::score::{Assessment, Finding};
use crate::untrusted::Untrusted;

use super::desk::both_spellings;

/// Prints what was found, indented by two; the best candidate first.
pub(super) fn write(assessment: &Assessment, out: &mut dyn Write) -> io::Result<()> {
    let candidates = match &assessment.finding {
        Finding::Resembles { candidates } => candidates,
        Finding::Trusted { entry } => {
            return writeln!(out, "  trusted: covered by {}", Untrusted::text(entry));
        }
        Finding::Unrelated => return writeln!(out, "  resembles nothing that is trusted"),
        Finding::Undecodable { error, .. } => {
            let (score, error) = (assessment.score, Untrusted::text(error));
            return writeln!(out, "  score {score}: not a domain name: {error}");
        }
    };
    for (at, candidate) in candidates.iter().enumerate() {
        let verb = if at == 0 { "looks like" } else { "or like" };
        let marked = Untrusted::text(&candidate.edit.marked);
        writeln!(
            out,
            "  {verb} {}   {marked}",
            both_spellings(&candidate.trusted)
        )?;
        for evidence in &candidate.evidence {
            writeln!(
                out,
                "    {:>+4}  {}",
                evidence.points,
                Untrusted::text(&evidence.detail)
            )?;
        }
        writeln!(out, "    {:>4}  of 100", candidate.score)?;
    }
    Ok(())
}

/// Returns the strongest reason alone, in words.
pub(super) fn reason(assessment: &Assessment) -> String {
    match &assessment.finding {
        Finding::Resembles { candidates } => (candidates.first())
            .and_then(|best| best.evidence.first())
            .map_or_else(String::new, |term| {
                Untrusted::text(&term.detail).to_string()
            }),
        Finding::Undecodable { error, .. } => Untrusted::text(error).to_string(),
        Finding::Trusted { .. } | Finding::Unrelated => String::new(),
    }
}
