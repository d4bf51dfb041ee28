//! A trusted name that a typed one resembles, with what speaks for it, until it is explained.

use std::borrow::Cow;

use crate::domain::{Domain, unicode};

use super::evidence::{Candidate, Evidence, Piece, Reason};
use super::explain::{detail, edit};
use super::name::{Name, Reading, folded};
use super::terms::{Terms, sum};

/// A candidate before it is explained.
pub(super) struct Suspicion<'s> {
    /// The trusted name in A-labels.
    pub(super) meant: Cow<'s, str>,
    pub(super) terms: Terms,
    pub(super) label: &'s str,
    pub(super) suffix: &'s str,
    /// Whether the meant name is the site's own or stands below a suffix trusted as a whole: then
    /// another ending is never ordinary.
    pub(super) guarded: bool,
}

impl Suspicion<'_> {
    /// Returns whether the names look the same, letter for letter.
    pub(super) fn looks_alike(&self) -> bool {
        self.terms.iter().any(|(reason, _)| {
            matches!(
                reason,
                Reason::Homoglyph | Reason::WholeScript | Reason::Accent | Reason::AsciiLookalike
            )
        })
    }

    /// Returns whether earlier mail may speak against the suspicion.
    pub(super) fn is_forgivable(&self) -> bool {
        match self.terms.first() {
            _ if self.looks_alike() => false,
            Some((
                Reason::MissingLetter
                | Reason::ExtraLetter
                | Reason::ReplacedLetter
                | Reason::SwappedLetters
                | Reason::TwoEdits
                // A hyphen is a letter like others: `miami-dade.gov` and `miamidade.gov`.
                | Reason::Hyphen,
                _,
            )) => true,
            Some((
                Reason::OtherEnding
                | Reason::OtherCountry
                | Reason::CountryDropped
                | Reason::CountryAdded
                | Reason::WrongSecondLevel
                | Reason::SecondLevelDropped
                | Reason::SecondLevelAdded,
                _,
            )) => !self.guarded,
            // A glued host name, moved dots, a name inside of a name or beside a word, an ending
            // one letter off: those who imitate choose these.
            _ => false,
        }
    }

    /// Says it in words: `typed` is the name of `domain`.
    pub(super) fn explain(self, domain: &Domain, typed: &Name<'_>) -> Candidate {
        let Suspicion {
            meant,
            mut terms,
            label,
            suffix,
            guarded: _,
        } = self;
        let reason = terms.first().map(|(reason, _)| *reason);
        let is_inside = matches!(reason, Some(Reason::EmbeddedDomain | Reason::LabelInside));
        let count = match reason {
            _ if is_inside => 0,
            Some(Reason::Dots) => (typed.tails())
                .position(|tail| folded(tail).eq(folded(&meant)))
                .unwrap_or(0),
            _ => hosts(typed, &meant, label, suffix),
        };
        let edit = edit(behind(domain.unicode(), count), &in_unicode(&meant));
        let hosts = match edit.pieces.first() {
            Some(Piece::Extra(front)) if is_inside && front.ends_with('.') => {
                front.split('.').count() - 1
            }
            _ => count,
        };
        let front = domain.ascii().len() - behind(domain.ascii(), hosts).len();
        let total = sum(&terms);
        let score = total.clamp(0, 100);
        if score != total {
            terms.push(Reason::Limit, score - total);
        }
        Candidate {
            score: u8::try_from(score).unwrap_or(100),
            evidence: terms
                .iter()
                .map(|&(reason, points)| Evidence {
                    reason,
                    points,
                    detail: detail(reason, typed, &meant, label, suffix),
                })
                .collect(),
            edit,
            hosts: domain.ascii().get(..front).unwrap_or_default().to_owned(),
            trusted: meant.into_owned(),
        }
    }
}

/// Returns how many labels of `typed` are hosts in front of what resembles `meant`, which is made of
/// `label`, `suffix` and perhaps hosts of its own; none where a suffix alone was mistaken.
fn hosts(typed: &Name<'_>, meant: &str, label: &str, suffix: &str) -> usize {
    if label.is_empty() {
        return 0;
    }
    let labels = |text: &str| match text {
        "" => 0,
        text => 1 + text.bytes().filter(|byte| *byte == b'.').count(),
    };
    let first = typed.reading();
    let distance = |reading: &Reading<'_>| strsim::osa_distance(reading.label, label);
    let reading = (typed.second_reading())
        .filter(|second| distance(second) < distance(&first))
        .unwrap_or(first);
    let own = labels(meant).saturating_sub(1 + labels(suffix));
    labels(reading.below).saturating_sub(own)
}

/// Returns what stands behind the first `count` labels of a name.
fn behind(name: &str, count: usize) -> &str {
    name.splitn(count + 1, '.').nth(count).unwrap_or(name)
}

/// Returns a name in A-labels as people read it.
fn in_unicode(name: &str) -> Cow<'_, str> {
    match name.contains("xn--") {
        true => unicode(name).into(),
        false => name.into(),
    }
}
