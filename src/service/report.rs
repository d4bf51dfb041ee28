//! What became of the mail of a day, a week or a month: flagged, held, and what people decided.
//!
//! Read from the audit record, which has a row for every verdict other than a clean accept, and
//! from the daily totals. The share of holds that senders confirm is the false-alarm rate as it
//! really is; what rules in mode observe would have done stands beside what others did.

use std::collections::BTreeMap;

use foldhash::{HashMap, HashSet};
use jiff::Timestamp;
use serde::Serialize;

use crate::address::{Address, Host};
use crate::public_suffix::PublicSuffixes;
use crate::service::quarantine::Quarantine;
use crate::store::{
    AuditEvent, AuditRecord, Day, DayTotal, Ending, Endings, EntryId, EventKind, Meaning,
    StoreError,
};
use crate::untrusted::Untrusted;

/// Most different pairs, rules and entries that are told apart; the rest is only counted.
const MOST: usize = 100_000;

/// Slowest decisions that are named.
const SLOWEST: usize = 5;

/// What became of recipients with evidence.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verdicts {
    /// Refused at RCPT.
    pub rejected: u64,
    /// Kept in the quarantine.
    pub held: u64,
    /// Put into the MTA's own hold queue.
    pub held_message: u64,
    /// Delivered with a header.
    pub tagged: u64,
    /// Delivered with a line in the log.
    pub noted: u64,
    /// Delivered because somebody had approved it.
    pub approved: u64,
    /// Asked to come again, because of a fault of ours.
    pub deferred: u64,
    /// Delivered because the rule only observes.
    pub observed: u64,
}

/// What enforcing would have done with observed recipients.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Would {
    /// Refused at RCPT.
    pub rejected: u64,
    /// Kept in the quarantine.
    pub held: u64,
    /// Put into the MTA's own hold queue.
    pub held_message: u64,
    /// Delivered with a header.
    pub tagged: u64,
    /// Delivered with a line in the log.
    pub noted: u64,
    /// Recorded by a version that did not say.
    pub unknown: u64,
}

/// One rule's share.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuleFigures {
    /// Its name.
    pub rule: String,
    /// What it did.
    pub verdicts: Verdicts,
    /// What it would have done.
    pub would: Would,
    /// What senders said about its holds.
    pub endings: Endings,
    /// Share of the decisions of senders that confirmed, in hundredths.
    pub confirm_rate: Option<u8>,
}

/// A recipient domain and the trusted name it was taken for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Pair {
    /// The recipient domain in A-labels, escaped when it is none.
    pub domain: String,
    /// The trusted name that may have been meant.
    pub meant: Option<String>,
    /// Recipients.
    pub recipients: u64,
    /// Of these, rejected or held.
    pub kept_back: u64,
    /// Decisions of senders: confirmed.
    pub confirmed: u64,
    /// Corrected or cancelled, or redirected by a reviewer.
    pub prevented: u64,
    /// The highest score.
    pub score: u8,
    /// The last time.
    pub last: Timestamp,
}

/// A decision that took long.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Slow {
    /// The entry.
    pub entry: EntryId,
    /// The recipient domain.
    pub domain: String,
    /// When it was held.
    pub held_at: Timestamp,
    /// Seconds until somebody decided.
    pub seconds: i64,
    /// What they decided.
    pub ending: &'static str,
}

/// One day's figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct DayFigures {
    /// Which day, UTC.
    pub day: Day,
    /// Recipients with evidence.
    pub flagged: u64,
    /// Of these, rejected or held.
    pub kept_back: u64,
    /// Of these, what observing rules would have rejected or held.
    pub would_keep_back: u64,
}

/// A report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// From this time on.
    pub from: Timestamp,
    /// Until before this time.
    pub to: Timestamp,
    /// What passed from the first to the last of these whole days, both included: there are no
    /// totals of parts of a day.
    pub mail: DayTotal,
    /// The day of `from`.
    pub first_day: Day,
    /// The last day with a part before `to`.
    pub last_day: Day,
    /// Recipients with evidence, and what was done.
    pub verdicts: Verdicts,
    /// All of them together.
    pub flagged: u64,
    /// What observing rules would have done.
    pub would: Would,
    /// How held mail ended in this time.
    pub endings: Endings,
    /// Share of the decisions of senders that confirmed, in hundredths; `None` without any.
    pub confirm_rate: Option<u8>,
    /// Held and not decided now.
    pub waiting: u64,
    /// By rule, in the order of their names.
    pub rules: Vec<RuleFigures>,
    /// Most frequent first.
    pub pairs: Vec<Pair>,
    /// Slowest first.
    pub slowest: Vec<Slow>,
    /// Each day of the time.
    pub days: Vec<DayFigures>,
}

impl Verdicts {
    fn count(&mut self, kind: EventKind) {
        let counter = match kind {
            EventKind::Rejected => &mut self.rejected,
            EventKind::Held => &mut self.held,
            EventKind::HeldMessage => &mut self.held_message,
            EventKind::Tagged => &mut self.tagged,
            EventKind::Noted => &mut self.noted,
            EventKind::Approved => &mut self.approved,
            EventKind::Tempfailed => &mut self.deferred,
            EventKind::Observed => &mut self.observed,
            _ => return,
        };
        *counter += 1;
    }

    fn all(&self) -> u64 {
        self.rejected
            + self.held
            + self.held_message
            + self.tagged
            + self.noted
            + self.approved
            + self.deferred
            + self.observed
    }
}

impl Would {
    /// Counts what the record of an observed verdict says; returns whether the recipient would
    /// have been kept back.
    fn count(&mut self, detail: Option<&str>) -> bool {
        let (counter, keeps_back) = match detail.and_then(|detail| detail.strip_prefix("would ")) {
            Some("reject") => (&mut self.rejected, true),
            Some("hold") => (&mut self.held, true),
            Some("hold-message") => (&mut self.held_message, true),
            Some("tag") => (&mut self.tagged, false),
            Some("accept") => (&mut self.noted, false),
            _ => (&mut self.unknown, false),
        };
        *counter += 1;
        keeps_back
    }
}

/// What is gathered while the record is read.
struct Gathering {
    report: Report,
    suffixes: PublicSuffixes,
    rules: BTreeMap<String, RuleFigures>,
    pairs: HashMap<(String, Option<String>), Pair>,
    held_at: HashMap<EntryId, Timestamp>,
    ended: HashSet<EntryId>,
    days: BTreeMap<Day, DayFigures>,
    slow: Vec<Slow>,
}

impl Quarantine {
    /// Returns what became of the mail from `from` to before `to`.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn report(&self, from: Timestamp, to: Timestamp) -> Result<Report, StoreError> {
        let last = to.saturating_sub(jiff::SignedDuration::from_millis(1));
        let (first, last) = (Day::of(from), Day::of(last.unwrap_or(to)));
        let mut gathering = Gathering::new(from, to);
        (gathering.report.first_day, gathering.report.last_day) = (first, last);
        self.store.read(|ledger| {
            let totals = ledger.day_totals(first, last)?;
            for (_, total) in &totals {
                gathering.report.mail.add(total);
            }
            ledger.each_audit(from, to, |record| {
                let known = |id: &EntryId| ledger.entry(id).map(|e| e.map(|e| e.held_at));
                gathering.record(record, known)
            })?;
            gathering.fill(totals.first().map(|(day, _)| *day), last);
            gathering.report.waiting = ledger.counts()?.open();
            Ok::<_, StoreError>(())
        })?;
        Ok(gathering.finish())
    }
}

impl Gathering {
    fn new(from: Timestamp, to: Timestamp) -> Gathering {
        Gathering {
            report: Report {
                from,
                to,
                mail: DayTotal::default(),
                first_day: Day::of(from),
                last_day: Day::of(to),
                verdicts: Verdicts::default(),
                flagged: 0,
                would: Would::default(),
                endings: Endings::default(),
                confirm_rate: None,
                waiting: 0,
                rules: Vec::new(),
                pairs: Vec::new(),
                slowest: Vec::new(),
                days: Vec::new(),
            },
            suffixes: PublicSuffixes::built_in(),
            rules: BTreeMap::new(),
            pairs: HashMap::default(),
            held_at: HashMap::default(),
            ended: HashSet::default(),
            days: BTreeMap::new(),
            slow: Vec::new(),
        }
    }

    fn day(&mut self, day: Day) -> &mut DayFigures {
        self.days.entry(day).or_insert(DayFigures {
            day,
            flagged: 0,
            kept_back: 0,
            would_keep_back: 0,
        })
    }

    /// Adds the days on which nothing was flagged, from the `first` with mail to the `last`: of the
    /// time before there is nothing to tell.
    fn fill(&mut self, first: Option<Day>, last: Day) {
        let flagged = self.days.keys().next().copied();
        let begin = first.into_iter().chain(flagged).min().unwrap_or(last);
        for day in (begin.number()..=last.number()).map(Day::numbered) {
            self.day(day);
        }
    }

    /// Takes one row into account; `held_at` looks up when an entry was held.
    fn record(
        &mut self,
        record: &AuditRecord,
        held_at: impl Fn(&EntryId) -> Result<Option<Timestamp>, StoreError>,
    ) -> Result<(), StoreError> {
        let event = &record.event;
        match Meaning::of(event) {
            Meaning::Verdict => {}
            Meaning::End(ending) => return self.ended(record, ending, held_at),
            Meaning::Nothing => return Ok(()),
        }
        if event.kind == EventKind::Held
            && let Some(id) = &event.entry
        {
            self.ended.remove(id);
            if self.held_at.len() < MOST || self.held_at.contains_key(id) {
                self.held_at.insert(id.clone(), record.at);
            }
        }
        self.report.verdicts.count(event.kind);
        let observed = event.kind == EventKind::Observed;
        let detail = event.detail.as_deref();
        let would_keep_back = observed && self.report.would.count(detail);
        let kept_back = matches!(
            event.kind,
            EventKind::Rejected | EventKind::Held | EventKind::HeldMessage
        );
        let day = self.day(Day::of(record.at));
        day.flagged += 1;
        day.kept_back += u64::from(kept_back);
        day.would_keep_back += u64::from(would_keep_back);
        if let Some(rule) = self.rule(event) {
            rule.verdicts.count(event.kind);
            if observed {
                rule.would.count(detail);
            }
        }
        if let Some(pair) = self.pair(record) {
            pair.recipients += 1;
            pair.kept_back += u64::from(kept_back);
            pair.score = pair.score.max(event.score.unwrap_or(0));
            pair.last = pair.last.max(record.at);
        }
        Ok(())
    }

    fn ended(
        &mut self,
        record: &AuditRecord,
        ending: Ending,
        held_at: impl Fn(&EntryId) -> Result<Option<Timestamp>, StoreError>,
    ) -> Result<(), StoreError> {
        let event = &record.event;
        self.report.endings.count(ending);
        if let Some(rule) = self.rule(event) {
            rule.endings.count(ending);
        }
        let domain = self.domain(event);
        // Also of mail that was held before the time of the report.
        match ending {
            Ending::Confirmed => {
                if let Some(pair) = self.pair(record) {
                    pair.confirmed += 1;
                }
            }
            Ending::Corrected | Ending::Cancelled | Ending::Redirected => {
                if let Some(pair) = self.pair(record) {
                    pair.prevented += 1;
                }
            }
            Ending::Released | Ending::Dropped | Ending::Expired => {}
        }
        let Some(id) = event.entry.clone() else {
            return Ok(());
        };
        // What nobody decided on was not slow, but left.
        if ending == Ending::Expired || self.ended.len() >= MOST || !self.ended.insert(id.clone()) {
            return Ok(());
        }
        let held_at = match self.held_at.get(&id) {
            Some(at) => *at,
            None => match held_at(&id)? {
                Some(at) => at,
                None => return Ok(()),
            },
        };
        self.slow.push(Slow {
            entry: id,
            domain,
            held_at,
            seconds: record.at.duration_since(held_at).as_secs(),
            ending: ending.name(),
        });
        self.slow
            .sort_by_key(|slow| std::cmp::Reverse(slow.seconds));
        self.slow.truncate(SLOWEST);
        Ok(())
    }

    fn rule(&mut self, event: &AuditEvent) -> Option<&mut RuleFigures> {
        let name = event.rule.as_ref()?;
        if !self.rules.contains_key(name) {
            if self.rules.len() >= MOST {
                return None;
            }
            let new = RuleFigures {
                rule: name.clone(),
                ..RuleFigures::default()
            };
            self.rules.insert(name.clone(), new);
        }
        self.rules.get_mut(name)
    }

    fn pair(&mut self, record: &AuditRecord) -> Option<&mut Pair> {
        let domain = self.domain(&record.event);
        let meant = record.event.suggestion.clone();
        let key = (domain, meant);
        if !self.pairs.contains_key(&key) {
            if self.pairs.len() >= MOST {
                return None;
            }
            let pair = Pair {
                domain: key.0.clone(),
                meant: key.1.clone(),
                recipients: 0,
                kept_back: 0,
                confirmed: 0,
                prevented: 0,
                score: record.event.score.unwrap_or(0),
                last: record.at,
            };
            self.pairs.insert(key.clone(), pair);
        }
        self.pairs.get_mut(&key)
    }

    fn domain(&self, event: &AuditEvent) -> String {
        let Some(path) = &event.recipient else {
            return "?".to_owned();
        };
        match Address::parse(path.as_bytes(), &self.suffixes).host() {
            Host::Domain(domain) => domain.ascii().to_owned(),
            _ => Untrusted(path.as_bytes()).to_string(),
        }
    }

    fn finish(self) -> Report {
        let mut pairs: Vec<Pair> = self.pairs.into_values().collect();
        pairs.sort_by(|a, b| {
            (b.recipients.cmp(&a.recipients)).then_with(|| a.domain.cmp(&b.domain))
        });
        let mut rules: Vec<RuleFigures> = self.rules.into_values().collect();
        for rule in &mut rules {
            rule.confirm_rate = rule.endings.confirm_rate();
        }
        Report {
            flagged: self.report.verdicts.all(),
            confirm_rate: self.report.endings.confirm_rate(),
            rules,
            pairs,
            slowest: self.slow,
            days: self.days.into_values().collect(),
            ..self.report
        }
    }
}
