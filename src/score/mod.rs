//! How much a recipient domain looks like a trusted one without being it.
//!
//! Pure: no I/O, no clock, no randomness, no logging. The same input gives the same verdict.
//!
//! A name that an entry covers is trusted, and nothing else is asked. Otherwise every trusted
//! name that could have been meant is judged by itself ([`judge`]); what is known about
//! the recipient and the message ([`Context`]) is added, and the best candidate's score is the
//! score of the name. Weights and their reasons: `docs/scoring.md`.

mod distance;
mod evidence;
mod explain;
mod index;
mod judge;
mod keys;
mod label_slip;
mod name;
mod skeleton;
mod suffix;
mod suspicion;
mod target;
mod terms;
mod weights;
mod words;

use std::borrow::Cow;

use foldhash::{HashMap, HashSet};

use serde::{Deserialize, Serialize};

use crate::domain::{Domain, DomainError};
use crate::trusted::{Cover, KNOWN_NAMES, Preset, TrustedList};

pub use distance::Keyboard;
pub use evidence::{Assessment, Candidate, Edit, Evidence, Finding, Piece, Reason};
pub use explain::edit;

use index::Index;
use judge::{judge, judge_suffix};
use name::Name;
use suspicion::Suspicion;
use target::{Target, TargetKind};
use terms::sum;
use weights as w;

/// What the scorer is told beside the name itself. Looked-up facts come in as arguments.
///
/// The default knows nothing, and gives the score of the name alone.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Context {
    /// Mails to the recipient domain that were delivered before and not disputed. The caller
    /// decides whose mails count and how often (`docs/learning.md`).
    ///
    /// They speak against a slip of the fingers and against an ordinary other ending only. What
    /// looks the same, stands for a name of the site's own or ends nearly like a suffix that is
    /// trusted as a whole needs somebody's approval, whatever was sent there before.
    pub mails_before: u32,
    /// Mails that the recipient domain has sent to the site. A look-alike may have written
    /// first, so this counts for little, and for nothing without mail in the other direction.
    pub answers_before: u32,
    /// The domains of the other recipients of the same message.
    pub companions: Vec<Domain>,
    /// Trusted domains, in A-labels, at which the same local part is known.
    pub local_part_at: Vec<String>,
    /// Trusted domains, in A-labels, to which a large share of the site's mail goes.
    pub frequent: Vec<String>,
}

/// Settings of the scoring core.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ScoreSettings {
    /// The layout most senders type on.
    pub keyboard: Keyboard,
}

/// Most candidates that are explained; a name with more neighbours is ambiguous anyway.
const MOST_CANDIDATES: usize = 8;

/// Most trusted names that are weighed as the meant one. A name that resembles more is ambiguous:
/// the loudest are kept, in doubt the first of the list, and each of them is marked down for having
/// so many neighbours.
const MOST_SUSPICIONS: usize = 256;

/// Most trusted names that are judged for one typed name. Beyond it the keys that come first count:
/// the same label, the same skeleton, few edits.
const MOST_JUDGED: usize = 4096;

/// The trusted list, indexed. Immutable; shared by all sessions of one snapshot.
#[derive(Debug, Default)]
pub struct Scorer {
    trusted: TrustedList,
    targets: Vec<Target>,
    index: Index,
    /// How many of the targets are entries; the others are known names.
    entries: usize,
    suffixes: Vec<Box<str>>,
    webmail: HashSet<Box<str>>,
    /// Names that are known to be somebody's, whether the site trusts them or not.
    real: HashSet<&'static str>,
    settings: ScoreSettings,
}

/// How candidates are found.
#[derive(Clone, Copy)]
enum Search {
    Index,
    Scan,
}

impl Scorer {
    /// Builds the index over `trusted`.
    pub fn new(trusted: TrustedList, settings: ScoreSettings) -> Scorer {
        let webmail: HashSet<Box<str>> = webmail().map(Box::from).collect();
        let mut endings: HashMap<&str, usize> = HashMap::default();
        for name in &webmail {
            *endings.entry(first_label(name)).or_default() += 1;
        }
        let mut targets: Vec<Target> = Vec::new();
        let mut suffixes = Vec::new();
        for entry in trusted.entries() {
            let ascii = entry.domain.ascii();
            match entry.cover {
                Cover::Suffix => suffixes.push(Box::from(ascii)),
                Cover::Domain => {
                    let kind = if entry.own {
                        TargetKind::Own
                    } else {
                        TargetKind::Entry
                    };
                    let mut target = Target::of(&entry.domain, kind, webmail.contains(ascii));
                    let label = first_label(ascii);
                    target.one_ending = target.frequent
                        && endings.get(label) == Some(&1)
                        && !words::SHARED.contains(&label);
                    targets.push(target);
                }
            }
        }
        let entries = targets.len();
        let mut names: HashSet<&str> = HashSet::default();
        for known in trusted.known() {
            let by_suffix = trusted
                .covering(known)
                .is_some_and(|entry| entry.cover == Cover::Suffix);
            // Hosts of one organisation say no more than its name.
            let Some(name) = known.registrable().filter(|_| by_suffix) else {
                continue;
            };
            if !trusted.holds(name) && names.insert(name) {
                targets.push(Target::known(known));
            }
        }
        targets.shrink_to_fit();
        Scorer {
            index: Index::build(&targets),
            trusted,
            targets,
            entries,
            suffixes,
            webmail,
            real: lines(KNOWN_NAMES).collect(),
            settings,
        }
    }

    /// Returns what speaks for `domain` being a mistyped trusted domain.
    pub fn assess(&self, domain: &Domain, context: &Context) -> Assessment {
        self.assess_with(domain, context, Search::Index)
    }

    /// Returns the same as [`Scorer::assess`], found by looking at every trusted name. Slow: it
    /// is the oracle that the index is tested against.
    pub fn assess_by_scan(&self, domain: &Domain, context: &Context) -> Assessment {
        self.assess_with(domain, context, Search::Scan)
    }

    /// Returns the bytes of memory that the index takes beside the names.
    pub fn index_size(&self) -> usize {
        self.index.size()
    }

    /// Returns how many trusted names the index proposes for `domain`, some of them several times:
    /// what the benchmarks compare with indexes that are nothing else.
    pub fn proposed(&self, domain: &Domain) -> usize {
        let mut count = 0;
        (self.index).candidates(&Name::of(domain), &self.targets, |_| count += 1);
        count
    }

    fn assess_with(&self, domain: &Domain, context: &Context, search: Search) -> Assessment {
        if let Some(entry) = self.trusted.covering(domain) {
            return Assessment {
                score: 0,
                finding: Finding::Trusted {
                    entry: entry.to_string(),
                },
            };
        }
        let typed = Name::of(domain);
        let mut suspicions = self.suspicions(&typed, search);
        if suspicions.is_empty() {
            return Assessment::unrelated();
        }
        self.weigh(domain, context, &mut suspicions);
        suspicions.retain(|suspicion| sum(&suspicion.terms) > 0);
        suspicions.sort_by(|a, b| {
            sum(&b.terms)
                .cmp(&sum(&a.terms))
                .then_with(|| a.meant.cmp(&b.meant))
        });
        let Some(best) = suspicions.first().map(|best| sum(&best.terms).min(100)) else {
            return Assessment::unrelated();
        };
        let candidates: Vec<Candidate> = suspicions
            .into_iter()
            .take_while(|suspicion| 2 * sum(&suspicion.terms) > best)
            .take(MOST_CANDIDATES)
            .map(|suspicion| suspicion.explain(domain, &typed))
            .collect();
        Assessment {
            score: candidates.first().map_or(0, |best| best.score),
            finding: Finding::Resembles { candidates },
        }
    }

    /// Returns the same scorer with more names in use below trusted suffixes, as
    /// [`TrustedList::add_known`] takes them; `None` when none of them is new.
    pub fn with_known(&self, names: impl IntoIterator<Item = Domain>) -> Option<Scorer> {
        let there: HashSet<&str> = self.trusted.known().map(Domain::ascii).collect();
        let new: Vec<Domain> = (names.into_iter())
            .filter(|name| !there.contains(name.ascii()))
            .filter(|name| {
                (self.trusted.covering(name)).is_some_and(|entry| entry.cover == Cover::Suffix)
            })
            .collect();
        if new.is_empty() {
            return None;
        }
        let mut trusted = self.trusted.clone();
        new.into_iter().for_each(|name| trusted.add_known(name));
        Some(Scorer::new(trusted, self.settings.clone()))
    }

    /// Returns the name by which `domain` would be suggested instead of a mistyped one: that of
    /// the entry that covers it, or its organisation's where a whole suffix is trusted. `None`
    /// when nothing covers it.
    pub fn trusted_name<'d>(&'d self, domain: &'d Domain) -> Option<&'d str> {
        let entry = self.trusted.covering(domain)?;
        match entry.cover {
            Cover::Domain => Some(entry.domain.ascii()),
            Cover::Suffix => Some(domain.registrable().unwrap_or(domain.ascii())),
        }
    }

    /// Returns the trusted list.
    pub fn trusted(&self) -> &TrustedList {
        &self.trusted
    }

    /// Returns whether an entry covers `domain`.
    pub fn is_trusted(&self, domain: &Domain) -> bool {
        self.trusted.covering(domain).is_some()
    }

    /// Returns the assessment of a name that is no domain name: suspicious, never clean.
    pub fn assess_undecodable(&self, received: &[u8], error: &DomainError) -> Assessment {
        Assessment::undecodable(received, error)
    }

    /// Returns every trusted name that `typed` resembles by itself.
    fn suspicions(&self, typed: &Name<'_>, search: Search) -> Vec<Suspicion<'_>> {
        let mut ids: Vec<u32> = Vec::new();
        match search {
            Search::Index => {
                self.index.candidates(typed, &self.targets, |id| {
                    // The keys of one target come together, so most repetitions stop here.
                    if ids.last() != Some(&id) && ids.len() < MOST_JUDGED {
                        ids.push(id);
                    }
                });
                ids.sort_unstable();
                ids.dedup();
            }
            Search::Scan => ids.extend((0u32..).take(self.targets.len())),
        }
        let mut found: Vec<Suspicion<'_>> = ids
            .into_iter()
            .filter_map(|id| {
                let target = self.targets.get(id as usize)?;
                let terms = judge(typed, target, self.settings.keyboard)?;
                Some(Suspicion {
                    meant: Cow::Borrowed(target.ascii()),
                    terms,
                    label: target.label(),
                    suffix: target.suffix(),
                    guarded: target.kind != TargetKind::Entry,
                })
            })
            .collect();
        if found.len() > MOST_SUSPICIONS {
            // Stable, so that equals stay in the order of the list.
            found.sort_by_key(|suspicion| -sum(&suspicion.terms));
            found.truncate(MOST_SUSPICIONS);
        }
        for suffix in &self.suffixes {
            let Some(finding) = judge_suffix(typed, suffix, self.settings.keyboard) else {
                continue;
            };
            // `army.mil` says more than `jagcnet.army.mil` made up from the ending.
            let named = found.iter().any(|suspicion| {
                finding
                    .meant
                    .strip_suffix(&*suspicion.meant)
                    .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
                    && sum(&suspicion.terms) >= sum(&finding.terms)
            });
            if !named {
                found.push(Suspicion {
                    meant: Cow::Owned(finding.meant),
                    terms: finding.terms,
                    label: "",
                    suffix,
                    guarded: true,
                });
            }
        }
        found
    }

    /// Adds what is known beside the names.
    fn weigh(&self, domain: &Domain, context: &Context, suspicions: &mut [Suspicion<'_>]) {
        let slips = |suspicion: &Suspicion<'_>| {
            matches!(
                suspicion.terms.first(),
                Some((
                    Reason::MissingLetter
                        | Reason::ExtraLetter
                        | Reason::ReplacedLetter
                        | Reason::SwappedLetters
                        | Reason::TwoEdits,
                    _
                ))
            )
        };
        let ending = |suspicion: &Suspicion<'_>| {
            matches!(
                suspicion.terms.first(),
                Some((
                    Reason::OtherEnding
                        | Reason::OtherCountry
                        | Reason::CountryDropped
                        | Reason::CountryAdded
                        | Reason::SecondLevelAdded,
                    _
                ))
            )
        };
        let endings = suspicions.iter().filter(|s| ending(s)).count();
        let two_edits = |s: &Suspicion<'_>| matches!(s.terms.first(), Some((Reason::TwoEdits, _)));
        let all_neighbours = suspicions.iter().filter(|s| slips(s)).count();
        let far_neighbours = suspicions.iter().filter(|s| two_edits(s)).count();
        let registrable = domain.registrable().unwrap_or_default();
        let real = if self.webmail.contains(registrable) {
            Some((Reason::RealWebmail, w::REAL_WEBMAIL))
        } else if self.real.contains(registrable) {
            Some((Reason::RealName, w::REAL_NAME))
        } else {
            None
        };
        let history = match context.mails_before {
            0 => 0,
            1 => w::HISTORY_ONE,
            2 => w::HISTORY_TWO,
            _ => w::HISTORY_THREE,
        };
        for suspicion in suspicions {
            let disguised = suspicion.looks_alike()
                || matches!(suspicion.terms.first(), Some((Reason::EmbeddedDomain, _)));
            let chance = w::chance(self.entries);
            let share = match suspicion.terms.first() {
                Some((Reason::TwoEdits, _)) => chance,
                _ if slips(suspicion) => chance / 2,
                Some((Reason::OtherCountry, points)) if *points >= w::COUNTRY_ONE => chance / 2,
                // A long name is hardly two companies'.
                Some((Reason::CountryDropped, _))
                    if suspicion.label.len() > w::TWO_COMPANIES_UP_TO =>
                {
                    0
                }
                Some((Reason::WrongSecondLevel, points)) if *points <= w::SECOND_LEVEL_LEFT => {
                    chance
                }
                _ if ending(suspicion) => chance,
                _ => 0,
            };
            if share != 0 {
                suspicion.terms.push(Reason::Chance, share);
            }
            if endings > 1 && ending(suspicion) {
                let further = i32::try_from(endings - 1).unwrap_or(i32::MAX);
                let points = w::MANY_ENDINGS
                    .saturating_mul(further)
                    .max(w::MANY_ENDINGS_MOST);
                suspicion.terms.push(Reason::ManyEndings, points);
            }
            // Names two slips away make one that is a slip away no less likely.
            let neighbours = match two_edits(suspicion) {
                true => all_neighbours,
                false => all_neighbours - far_neighbours,
            };
            if neighbours > 2 && slips(suspicion) {
                let beyond = i32::try_from(neighbours - 2).unwrap_or(i32::MAX);
                let points = w::NEIGHBOURS.saturating_mul(beyond).max(w::NEIGHBOURS_MOST);
                suspicion.terms.push(Reason::ManyNeighbours, points);
            }
            if let (Some((reason, points)), false) = (real, disguised) {
                suspicion.terms.push(reason, points);
            }
            // Somebody who imitates a name writes first and waits for the answer.
            if history != 0 && suspicion.is_forgivable() {
                suspicion.terms.push(Reason::History, history);
                if context.answers_before > 0 {
                    suspicion.terms.push(Reason::Answered, w::ANSWERED);
                }
            }
            if context
                .companions
                .iter()
                .any(|companion| companion.is_within(&suspicion.meant))
            {
                suspicion.terms.push(Reason::Companion, w::COMPANION);
            }
            if context
                .local_part_at
                .iter()
                .any(|at| *at == suspicion.meant)
            {
                suspicion.terms.push(Reason::LocalPart, w::LOCAL_PART);
            }
            if context.frequent.iter().any(|at| *at == suspicion.meant)
                && !suspicion
                    .terms
                    .iter()
                    .any(|(reason, _)| *reason == Reason::FrequentTarget)
            {
                suspicion.terms.push(Reason::FrequentTarget, w::SHARE);
            }
        }
    }
}

/// The domains of the webmail preset: those most mail goes to, and real ones.
fn webmail() -> impl Iterator<Item = &'static str> {
    lines(Preset::Webmail.text())
}

fn first_label(name: &str) -> &str {
    name.split('.').next().unwrap_or_default()
}

/// The names of a shipped list, one a line, without the reasons.
fn lines(text: &'static str) -> impl Iterator<Item = &'static str> {
    text.lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
        .filter(|line| !line.is_empty())
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use crate::public_suffix::PublicSuffixes;

    use super::*;

    fn scorer(text: &str) -> Scorer {
        let suffixes = PublicSuffixes::built_in();
        let mut list = TrustedList::new();
        assert_eq!(list.add_text(text, Path::new("t"), &suffixes), []);
        list.add_well_known(&suffixes);
        Scorer::new(list, ScoreSettings::default())
    }

    fn assess(list: &str, name: &str) -> Assessment {
        let domain = Domain::parse(name.as_bytes(), &PublicSuffixes::built_in()).unwrap();
        scorer(list).assess(&domain, &Context::default())
    }

    #[test]
    fn trusted_domain_is_never_its_own_lookalike() {
        for name in ["army.mil", "us.army.mil", "boeing.com", "mail.boeing.com"] {
            let assessment = assess(".mil\nboeing.com\n", name);
            assert_eq!(assessment.score, 0);
            assert!(
                matches!(assessment.finding, Finding::Trusted { .. }),
                "{name}"
            );
        }
    }

    #[test]
    fn the_main_case() {
        let assessment = assess(".mil\n", "army.ml");
        assert_eq!(assessment.score, 88, "held, not refused");
        let best = assessment.best().unwrap();
        assert_eq!(best.trusted, "army.mil");
        assert_eq!(best.edit.marked, "army.m[i]l");
        assert_eq!(
            assessment.sentence(),
            "did you mean army.mil? The ending is .ml instead of .mil (army.m[i]l)."
        );
    }

    #[test]
    fn somebody_in_mali_is_clean() {
        assert!(assess(".mil\n", "orange.ml").score < 40);
    }

    #[test]
    fn a_homoglyph_is_certain() {
        let assessment = assess(".mil\n", "xn--rmy-5cd.mil");
        // Below a trusted suffix even a strange name stays with that registry.
        assert!(matches!(assessment.finding, Finding::Trusted { .. }));
        let assessment = assess("boeing.com\n", "bоeing.com"); // Cyrillic o
        assert!(assessment.score >= 90);
        assert_eq!(
            assessment.best().unwrap().evidence[0].reason,
            Reason::Homoglyph
        );
        assert_eq!(assessment.best().unwrap().edit.marked, "b{о}[o]eing.com");
        assert_eq!(
            assessment.sentence_ascii(),
            "did you mean boeing.com? It holds letters of another alphabet that look the same (b{U+043E}[o]eing.com)."
        );
    }

    #[test]
    fn every_score_is_the_sum_of_its_terms() {
        for name in [
            "army.ml",
            "army.mli",
            "beoing.com",
            "boieng.cmo",
            "boeing.com.evil.org",
        ] {
            let assessment = assess(".mil\nboeing.com\n", name);
            let Finding::Resembles { candidates } = &assessment.finding else {
                panic!("{name}: {assessment:?}");
            };
            for candidate in candidates {
                let sum: i32 = candidate.evidence.iter().map(|term| term.points).sum();
                assert_eq!(sum, i32::from(candidate.score), "{name}: {candidate:?}");
                assert!(2 * candidate.score > assessment.score);
            }
        }
    }

    #[test]
    fn two_trusted_neighbours_are_both_named() {
        let assessment = assess("army.mil\narmy.nl\n", "army.ml");
        let Finding::Resembles { candidates } = assessment.finding else {
            panic!()
        };
        let names: Vec<_> = candidates.iter().map(|c| c.trusted.as_str()).collect();
        assert_eq!(names, ["army.mil", "army.nl"]);
    }

    #[test]
    fn a_host_in_front_is_no_part_of_the_difference() {
        let assessment = assess(".mil\n", "us.af.il");
        assert_eq!(assessment.best().unwrap().edit.marked, "af.[m]il");
    }

    #[test]
    fn a_name_with_too_many_neighbours_is_ambiguous_and_a_disguise_stands_out() {
        // 676 names that differ from the typed one in its last two letters, and last of the list
        // the one that it looks the same as.
        let letters = b'a'..=b'z';
        let mut list = String::new();
        for first in letters.clone() {
            for second in letters.clone() {
                list.extend(
                    ["northernb", "nk.com\n"]
                        .iter()
                        .enumerate()
                        .flat_map(|(at, part)| match at {
                            0 => vec![(*part).to_owned()],
                            _ => vec![
                                char::from(first).into(),
                                char::from(second).into(),
                                (*part).into(),
                            ],
                        }),
                );
            }
        }
        let suffixes = PublicSuffixes::built_in();
        let scorer = scorer(&list);
        let assess = |name: &str| {
            let domain = Domain::parse(name.as_bytes(), &suffixes).unwrap();
            let found = scorer.suspicions(&Name::of(&domain), Search::Index);
            assert_eq!(found.len(), MOST_SUSPICIONS, "{name}");
            let assessment = scorer.assess(&domain, &Context::default());
            assert_eq!(assessment, scorer.assess(&domain, &Context::default()));
            assessment
        };
        let assessment = assess("northernb__nk.com");
        assert!(assessment.score < 40, "{assessment:?}");
        let assessment = assess("northernbzаnk.com"); // the last a is Cyrillic
        let best = assessment.best().unwrap();
        assert_eq!(
            (best.trusted.as_str(), best.score),
            ("northernbzank.com", 97)
        );
    }

    #[test]
    fn history_clears_a_neighbour_but_never_a_lookalike() {
        let context = Context {
            mails_before: 3,
            ..Context::default()
        };
        let suffixes = PublicSuffixes::built_in();
        let score = |name: &str| {
            let domain = Domain::parse(name.as_bytes(), &suffixes).unwrap();
            scorer("boeing.com\n").assess(&domain, &context).score
        };
        assert!(score("boing.com") < 40);
        assert!(score("bоeing.com") >= 90);
        assert!(score("b0eing.com") >= 90);
    }

    #[test]
    fn a_name_that_is_known_to_be_real_is_no_slip() {
        // Oklahoma and Old Dominion; two bureaus that look the same are not excused.
        let reasons = |list: &str, name: &str| -> Vec<(Reason, i32)> {
            let assessment = assess(list, name);
            let best = assessment.best().unwrap();
            let terms = best.evidence.iter();
            terms.map(|term| (term.reason, term.points)).collect()
        };
        assert_eq!(
            reasons("odu.edu\n", "ou.edu"),
            [(Reason::MissingLetter, 52), (Reason::RealName, -40)]
        );
        assert_eq!(
            reasons("bis.gov\n", "bls.gov"),
            [(Reason::AsciiLookalike, 56), (Reason::ClosedRegistry, -8)]
        );
    }

    #[test]
    fn history_forgives_no_ending_that_is_guarded_and_no_imitation() {
        let suffixes = PublicSuffixes::built_in();
        let context = Context {
            mails_before: 50,
            answers_before: 50,
            ..Context::default()
        };
        let mut list = TrustedList::new();
        let text = ".mil\nboeing.com\nphilharmonic-orchestra.org\n";
        assert_eq!(list.add_text(text, Path::new("t"), &suffixes), []);
        list.add_well_known(&suffixes);
        let own = Domain::parse(b"hospital.org", &suffixes).unwrap();
        let nowhere = crate::trusted::Source {
            path: "t".into(),
            line: 0,
        };
        list.add_own(own, nowhere);
        let scorer = Scorer::new(list, ScoreSettings::default());
        for name in [
            "army.ml",
            "jagcnet.army.ml",
            "hospital.net",
            "boeing.co",
            "boeing-invoice.com",
            "mail-boeing.com",
            "boeing.com.evil.org",
            // One slip away, to the next key, and yet the same to the eye.
            "philharm0nic-orchestra.org",
        ] {
            let domain = Domain::parse(name.as_bytes(), &suffixes).unwrap();
            let unknown = scorer.assess(&domain, &Context::default()).score;
            let known = scorer.assess(&domain, &context).score;
            assert!(unknown >= 50, "{name}: {unknown}");
            assert_eq!(known, unknown, "{name}");
        }
        let real = Domain::parse(b"boeing.de", &suffixes).unwrap();
        assert!(
            scorer.assess(&real, &context).score < scorer.assess(&real, &Context::default()).score
        );
    }
}
