//! The explanation of a score: every number with its reason.

use std::borrow::Cow;

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
    /// The domain that may have been meant, in A-labels; a suffix with its leading dot.
    pub trusted: String,
    /// The hosts that were typed in front of what resembles it, each with its dot, in A-labels:
    /// `us.` of `us.army.ml`. Empty in records of earlier versions.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hosts: String,
    /// 0 to 100: the sum of the points of the evidence.
    pub score: u8,
    /// The terms of the sum. A sum outside of 0 to 100 is brought back by a term of its own.
    pub evidence: Vec<Evidence>,
    /// What was typed instead of `trusted`.
    pub edit: Edit,
}

impl Candidate {
    /// Returns the whole name that may have been meant, in A-labels: `us.army.mil` for
    /// `us.army.ml`.
    pub fn name(&self) -> String {
        format!("{}{}", self.hosts, self.trusted)
    }
}

/// One reason with its points.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evidence {
    /// Which rule speaks.
    pub reason: Reason,
    /// What it adds to (or takes from) the score.
    pub points: i32,
    /// The reason in words a sender understands, without the points.
    pub detail: Cow<'static, str>,
}

/// The rules that can speak for or against a likeness. Names are stable: logs carry them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Reason {
    /// A letter of the label is missing.
    MissingLetter,
    /// The label has a letter too many.
    ExtraLetter,
    /// A letter of the label is another one.
    ReplacedLetter,
    /// Two letters of the label changed places.
    SwappedLetters,
    /// The label differs in two places.
    TwoEdits,
    /// A hyphen was lost or added.
    Hyphen,
    /// Fingers rarely make this slip.
    UnlikelySlip,
    /// A swap or a doubling: hardly any other name is exactly that far away.
    TellingSlip,
    /// Only institutions register there: short names are dense, and strangers cannot wait there.
    ClosedRegistry,
    /// The slip is in the ending as well.
    AlsoLabel,
    /// The ending is no top-level domain.
    DeadEnding,
    /// The ending is one letter off and leads elsewhere.
    EndingTypo,
    /// Right name, unrelated ending.
    OtherEnding,
    /// Right name, another country.
    OtherCountry,
    /// `.co.uk` became `.com`.
    CountryDropped,
    /// `.com` became `.com.br`.
    CountryAdded,
    /// `.ac.uk` became `.co.uk`.
    WrongSecondLevel,
    /// `.co.uk` became `.uk`.
    SecondLevelDropped,
    /// `.de` became `.com.de`.
    SecondLevelAdded,
    /// The end is nearly a suffix that is trusted as a whole.
    TrustedEnding,
    /// A name that is known below a trusted suffix.
    KnownName,
    /// The site's own name with another ending.
    OwnDomain,
    /// Letters of other scripts that look like the trusted name.
    Homoglyph,
    /// Every letter is of another script.
    WholeScript,
    /// The same letters, with accents.
    Accent,
    /// ASCII letters or digits that look like the trusted name.
    AsciiLookalike,
    /// Dots were moved, lost, added or turned into hyphens.
    Dots,
    /// The dot after a host name was lost: `wwwexample.com`.
    HostGlued,
    /// The trusted name stands inside of somebody else's domain.
    EmbeddedDomain,
    /// The trusted label with another word.
    LabelAndWord,
    /// The trusted label is one of the words of the name.
    LabelInside,
    /// Short labels have many real neighbours.
    ShortLabel,
    /// One is the plural of the other.
    Plural,
    /// The two differ in the code of a state: two authorities.
    StateCode,
    /// The two differ in a number: members of a series.
    Number,
    /// Several trusted domains are equally near.
    ManyNeighbours,
    /// The same name is trusted with several endings: it is used in many countries.
    ManyEndings,
    /// Among so many trusted names, one is near by accident.
    Chance,
    /// The domain is a well-known provider itself.
    RealWebmail,
    /// The domain is well known itself.
    RealName,
    /// The trusted domain is one that most mail goes to.
    FrequentTarget,
    /// Mail was sent to the domain before.
    History,
    /// The domain has written to us.
    Answered,
    /// Another recipient of this message is at the trusted domain.
    Companion,
    /// The same local part is known at the trusted domain.
    LocalPart,
    /// Brings the sum back to 0 to 100.
    Limit,
}

/// The difference between the typed and the meant name.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// The difference marked in text: `[x]` was left out, `{x}` is too much, so
    /// `army.m[i]l` was typed `army.ml` and `gm{e}[a]il.com` was typed `gmeil.com`.
    pub marked: String,
    /// The same, piece by piece.
    pub pieces: Vec<Piece>,
}

/// A piece of a marked difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Piece {
    /// In both names.
    Same(String),
    /// In the meant name only.
    Missing(String),
    /// In the typed name only.
    Extra(String),
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

    /// Returns the one sentence that explains the finding to a sender, without scores:
    /// `did you mean army.mil? The ending is .ml instead of .mil (army.m[i]l).`
    /// Empty when there is nothing to explain.
    ///
    /// Names are A-labels; only the marked difference and quoted letters may be non-ASCII.
    pub fn sentence(&self) -> String {
        match &self.finding {
            Finding::Resembles { candidates } => resembles(candidates),
            Finding::Undecodable { error, .. } => {
                format!("the domain of the recipient cannot be used: {error}")
            }
            Finding::Trusted { .. } | Finding::Unrelated => String::new(),
        }
    }

    /// Returns [`Assessment::sentence`] in printable ASCII, for SMTP replies; other characters
    /// are named by their code point, `U+0430`.
    pub fn sentence_ascii(&self) -> String {
        use std::fmt::Write as _;
        let mut ascii = String::new();
        for c in self.sentence().chars() {
            match c {
                ' '..='~' => ascii.push(c),
                c => {
                    // Writing to a string cannot fail.
                    let _ = write!(ascii, "U+{:04X}", u32::from(c));
                }
            }
        }
        ascii
    }
}

fn resembles(candidates: &[Candidate]) -> String {
    let Some((best, others)) = candidates.split_first() else {
        return String::new();
    };
    // A third name confuses more than it helps; the log has them all.
    let or = match others.first() {
        Some(other) if 4 * u32::from(other.score) >= 3 * u32::from(best.score) => {
            format!(" or {}", other.trusted)
        }
        _ => String::new(),
    };
    let why = best
        .evidence
        .iter()
        .find(|term| term.points > 0)
        .map_or("", |term| &*term.detail);
    let mut letters = why.chars();
    let why: String = match letters.next() {
        Some(first) => first.to_uppercase().chain(letters).collect(),
        None => String::new(),
    };
    let marked = match best.edit.marked.as_str() {
        "" => String::new(),
        marked => format!(" ({marked})"),
    };
    if let Some(suffix) = best.trusted.strip_prefix('.') {
        return format!("did you mean a name ending in .{suffix}{or}? {why}{marked}.");
    }
    format!("did you mean {}{or}? {why}{marked}.", best.trusted)
}
