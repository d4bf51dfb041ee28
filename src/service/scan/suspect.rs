//! A domain that resembles a trusted one, and all that the log tells about it.

use std::collections::{BTreeMap, BTreeSet};

use foldhash::HashMap;
use jiff::Timestamp;
use jiff::civil::Date;
use serde::Serialize;

use crate::policy::{Action, Band, Verdict};
use crate::score::{Assessment, Reason};

use super::{Way, keeps_back};

/// Most doubtful domains of one report; beyond that they are only counted.
const MOST_SUSPECTS: usize = 20_000;
/// Most sender-recipient pairs kept for one domain.
const MOST_PAIRS: usize = 200;
/// Most senders told apart for one domain, and most days.
pub const MOST_SENDERS: usize = 1000;

/// From how much traffic on a domain is taken for a real correspondent: mails to it, mails from
/// it, days with mail to it. A typo is a habit of one person at most, and nobody answers to it.
const NEIGHBOUR_MAILS: u64 = 5;
const NEIGHBOUR_ANSWERS: u32 = 3;
const NEIGHBOUR_DAYS: usize = 3;

/// A doubtful domain.
#[derive(Clone, Debug, Serialize)]
pub struct Suspect {
    /// In A-labels; what is no domain name, escaped.
    pub domain: String,
    /// What it resembles and why.
    pub assessment: Assessment,
    /// The band of the last verdict about it; rules for single senders may say otherwise.
    pub band: Option<Band>,
    /// Recipients judged, by what would have been done.
    pub noted: u64,
    /// See `noted`.
    pub held: u64,
    /// See `noted`.
    pub rejected: u64,
    /// Deliveries to it.
    pub delivered: u64,
    /// Of these, those that no milter in front would have seen: by an alias or list of the site,
    /// or mail from outside that was sent on.
    pub unseen: u64,
    /// Mails to it that came back.
    pub bounced: u64,
    /// Mails from it to the site.
    pub answers: u32,
    /// On how many days of the site's zone there was mail to it, at most a thousand.
    pub days: usize,
    /// Distinct senders, at most a thousand.
    pub senders: usize,
    /// First and last mail to it.
    pub first: Option<Timestamp>,
    /// See `first`.
    pub last: Option<Timestamp>,
    /// Whether it seems to be a real correspondent.
    pub neighbour: Neighbour,
    /// Who writes whom, most mails first; at most 200.
    pub pairs: Vec<Pair>,
    #[serde(skip)]
    pub(super) tables: Tables,
}

/// Whether a doubtful domain seems to be a real correspondent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Neighbour {
    /// It does not.
    #[default]
    No,
    /// Frequent, on several days, and it writes back.
    Likely,
    /// The same, but it looks the same as a trusted name to the eye: whoever imitates a name
    /// writes first and waits for the answer.
    Disguised,
}

/// A sender and a recipient.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// In comparable form.
    pub sender: String,
    /// In comparable form.
    pub recipient: String,
    /// Recipients judged.
    pub mails: u64,
    /// Of these, how many would have been held or rejected.
    pub kept_back: u64,
}

/// What is gathered while reading.
#[derive(Clone, Debug, Default)]
pub(super) struct Tables {
    pub(super) hash: u64,
    pairs: BTreeMap<(String, String), (u64, u64)>,
    senders: BTreeSet<String>,
    /// Days with mail to it, and how many were delivered on each.
    days: BTreeMap<Date, u64>,
    span: Option<(i64, i64)>,
}

/// All doubtful domains of a log.
#[derive(Debug, Default)]
pub(super) struct Suspects {
    all: Vec<Suspect>,
    index: HashMap<u64, u32>,
    /// Not kept for want of room.
    pub(super) beyond: u64,
}

impl Suspects {
    /// Returns the number of the suspect `domain`, a new one when it is not known, `None` when
    /// there is no room.
    pub(super) fn add(&mut self, domain: &str, hash: u64, assessment: Assessment) -> Option<u32> {
        if let Some(known) = self.index.get(&hash) {
            return Some(*known);
        }
        if self.all.len() >= MOST_SUSPECTS {
            self.beyond += 1;
            return None;
        }
        let number = u32::try_from(self.all.len()).ok()?;
        self.index.insert(hash, number);
        self.all.push(Suspect::new(domain, hash, assessment));
        Some(number)
    }

    pub(super) fn get_mut(&mut self, number: u32) -> Option<&mut Suspect> {
        self.all.get_mut(number as usize)
    }

    /// Returns them all, in the order of their numbers, with what `answers` says about each.
    pub(super) fn finish(self, answers: impl Fn(u64) -> u32) -> Vec<Suspect> {
        let mut all = self.all;
        for suspect in &mut all {
            suspect.answers = answers(suspect.tables.hash);
            suspect.finish();
        }
        all
    }
}

impl Suspect {
    fn new(domain: &str, hash: u64, assessment: Assessment) -> Suspect {
        Suspect {
            domain: domain.to_owned(),
            assessment,
            band: None,
            noted: 0,
            held: 0,
            rejected: 0,
            delivered: 0,
            unseen: 0,
            bounced: 0,
            answers: 0,
            days: 0,
            senders: 0,
            first: None,
            last: None,
            neighbour: Neighbour::No,
            pairs: Vec::new(),
            tables: Tables {
                hash,
                ..Tables::default()
            },
        }
    }

    /// Returns the trusted name it resembles most, `-` for what is no domain name.
    pub fn meant(&self) -> &str {
        self.assessment.best().map_or("-", |best| &best.trusted)
    }

    pub(super) fn judged(&mut self, sender: &str, recipient: &str, verdict: &Verdict) {
        self.band = Some(verdict.band);
        match verdict.intended {
            Action::Hold | Action::HoldMessage => self.held += 1,
            Action::Reject => self.rejected += 1,
            Action::Accept | Action::Tag | Action::Tempfail => self.noted += 1,
        }
        let kept_back = u64::from(keeps_back(verdict.intended));
        let pair = (sender.to_owned(), recipient.to_owned());
        let pairs = &mut self.tables.pairs;
        if pairs.len() < MOST_PAIRS || pairs.contains_key(&pair) {
            let (mails, kept) = pairs.entry(pair).or_default();
            *mails += 1;
            *kept += kept_back;
        }
    }

    /// Notes that there was mail to it.
    pub(super) fn seen(&mut self, time: i64, date: Option<Date>, sender: &str) {
        let tables = &mut self.tables;
        if tables.senders.len() < MOST_SENDERS && !tables.senders.contains(sender) {
            tables.senders.insert(sender.to_owned());
        }
        if let Some(date) = date
            && tables.days.len() < MOST_SENDERS
        {
            tables.days.entry(date).or_default();
        }
        let (first, last) = tables.span.unwrap_or((time, time));
        tables.span = Some((first.min(time), last.max(time)));
    }

    /// Counts a delivery on a day that was [`Suspect::seen`].
    pub(super) fn delivered(&mut self, date: Option<Date>, way: Way) {
        self.delivered += 1;
        self.unseen += u64::from(way != Way::Direct);
        if let Some(count) = date.and_then(|date| self.tables.days.get_mut(&date)) {
            *count += 1;
        }
    }

    /// Returns the days with mail to it, and how many were delivered on each.
    pub(super) fn delivered_on(&self) -> impl Iterator<Item = (Date, u64)> {
        self.tables.days.iter().map(|(date, count)| (*date, *count))
    }

    fn finish(&mut self) {
        let tables = &mut self.tables;
        let time = |second| Timestamp::from_second(second).ok();
        self.first = tables.span.and_then(|(first, _)| time(first));
        self.last = tables.span.and_then(|(_, last)| time(last));
        self.days = tables.days.len();
        self.senders = tables.senders.len();
        self.pairs = std::mem::take(&mut tables.pairs)
            .into_iter()
            .map(|((sender, recipient), (mails, kept_back))| Pair {
                sender,
                recipient,
                mails,
                kept_back,
            })
            .collect();
        self.pairs.sort_by_key(|pair| std::cmp::Reverse(pair.mails));
        let mails = self.delivered.max(self.noted + self.held + self.rejected);
        let both_ways = mails >= NEIGHBOUR_MAILS
            && self.answers >= NEIGHBOUR_ANSWERS
            && self.days >= NEIGHBOUR_DAYS;
        self.neighbour = match both_ways {
            false => Neighbour::No,
            true if self.is_disguised() => Neighbour::Disguised,
            true => Neighbour::Likely,
        };
    }

    fn is_disguised(&self) -> bool {
        let Some(best) = self.assessment.best() else {
            return true;
        };
        best.evidence.iter().any(|term| {
            matches!(
                term.reason,
                Reason::Homoglyph | Reason::WholeScript | Reason::Accent | Reason::AsciiLookalike
            )
        })
    }
}
