//! What the rules would have done with the mail of a log: the same judgement as the milter's,
//! over the past.
//!
//! Every recipient is judged once, as the milter would have seen it: behind the same gate, by
//! the same scorer and rules, before aliases. What was delivered to a doubtful domain is a past
//! leak, whether a milter could have seen it or not. Approvals and relationships are not asked:
//! the report is about the rules.
//!
//! Memory does not grow with the log: verdicts are kept per distinct domain, and every list has
//! a bound, beyond which it only counts.

mod day;
mod difference;
mod fate;
mod leak;
mod report;
mod suspect;

use std::borrow::Cow;

use foldhash::HashSet;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::address::{Address, Host};
use crate::maillog::{Delivery, Destination, Outcome};
use crate::policy::{Action, Band, Subject};
use crate::score::{Assessment, Context};
use crate::service::Snapshot;
use crate::service::numbered::ByNumber;
use crate::service::passage::{Origin, Roles};
use crate::session::{Passage, Recipient};
use crate::untrusted::Untrusted;

pub use day::Day;
pub use difference::{Change, Comparison, Difference, Shift, Turn};
pub use fate::Fate;
pub use leak::{Leak, Way};
pub use report::{Counts, Report};
pub use suspect::{MOST_SENDERS, Neighbour, Pair, Suspect};

use suspect::Suspects;

/// Most distinct recipient domains that are counted; 16 bytes each.
const MOST_DOMAINS: usize = 500_000;

/// A replay of a log under one configuration.
pub struct Scan {
    snapshot: Snapshot,
    roles: Roles,
    now: Timestamp,
    /// By the spelling after the `@`; what has no number is judged each time it comes.
    domains: ByNumber<Known>,
    /// Distinct domains of judged recipients, as hashes of their A-labels.
    distinct: HashSet<u64>,
    /// Mails that a domain sent to this site.
    answers: ByNumber<u32>,
    suspects: Suspects,
    leaks: leak::Leaks,
    days: day::Days,
    counts: Counts,
    message: Origin,
    fate: Fate,
}

/// What is known of a recipient domain.
#[derive(Clone, Copy)]
enum Known {
    /// Nothing speaks against it.
    Clean,
    /// The suspect of this number.
    Suspect(u32),
}

impl Scan {
    /// Judges by `snapshot`, with rules in force at `now`, and counts days in `zone`.
    pub fn new(snapshot: Snapshot, roles: Roles, zone: TimeZone, now: Timestamp) -> Scan {
        Scan {
            snapshot,
            roles,
            now,
            days: day::Days::new(zone),
            domains: ByNumber::default(),
            distinct: HashSet::default(),
            answers: ByNumber::default(),
            suspects: Suspects::default(),
            leaks: leak::Leaks::default(),
            counts: Counts::default(),
            message: Origin::default(),
            fate: Fate::Passed,
        }
    }

    /// Takes one delivery into account.
    pub fn delivery(&mut self, delivery: &Delivery<'_>) {
        self.message.look(delivery, &self.snapshot, &self.roles);
        self.fate = Fate::Passed;
        if delivery.first_of_message {
            match self.message.passage() {
                Passage::Judged => self.counts.mails += 1,
                Passage::Inbound => {
                    self.counts.inbound_mails += 1;
                    self.count_answer();
                }
                Passage::NullSender => self.counts.null_sender_mails += 1,
            }
        }
        match self.message.passage() {
            Passage::NullSender => {}
            Passage::Inbound => self.forwarded(delivery),
            Passage::Judged => self.outbound(delivery),
        }
    }

    /// Returns the message of the delivery taken into account last.
    pub fn origin(&self) -> &Origin {
        &self.message
    }

    /// Returns what became of the recipient judged with the last delivery; [`Fate::Passed`] also
    /// when none was judged.
    pub fn fate(&self) -> Fate {
        self.fate
    }

    /// Returns the sender of `delivery`, the last one, and the recipient that a milter would have
    /// seen, in comparable form.
    pub fn names(&self, delivery: &Delivery<'_>) -> (&str, String) {
        let seen = delivery.original.unwrap_or(delivery.recipient);
        (
            sender_of(delivery, self.message.sender()),
            self.parse(seen).canonical(),
        )
    }

    /// Ends the replay.
    pub fn finish(self) -> Report {
        report::build(self)
    }

    fn count_answer(&mut self) {
        match self.message.correspondent() {
            Some(domain) => {
                let count = self.answers.get(Some(domain)).unwrap_or(0);
                self.answers.set(Some(domain), count.saturating_add(1));
            }
            None if self.message.sender().contains('@') => self.counts.uncounted_answers += 1,
            None => {}
        }
    }

    /// A recipient that the milter would have judged.
    fn outbound(&mut self, delivery: &Delivery<'_>) {
        let known = self.known(delivery.recipient, self.message.recipient());
        // What the milter sees is the recipient before aliases.
        let seen = match delivery
            .original
            .filter(|original| *original != delivery.recipient)
        {
            Some(original) => delivery
                .first_original
                .then(|| (original, self.known(original, self.message.written()))),
            None => delivery.first.then_some((delivery.recipient, known)),
        };
        if let Some((seen, known)) = seen {
            self.counts.recipients += 1;
            self.days.judged(delivery.time);
            if let Known::Suspect(suspect) = known {
                self.judge(delivery, seen, suspect);
            }
        }
        if let Known::Suspect(suspect) = known {
            let way = match delivery.original {
                Some(original) if original != delivery.recipient => Way::Alias,
                _ => Way::Direct,
            };
            self.happened(delivery, suspect, way);
        }
    }

    /// A recipient of mail from outside. The milter lets it pass; but when this host sends it on
    /// to a doubtful domain, a forward is wrong.
    fn forwarded(&mut self, delivery: &Delivery<'_>) {
        if delivery.destination != Destination::Outside {
            return;
        }
        if let Known::Suspect(suspect) = self.known(delivery.recipient, self.message.recipient()) {
            self.happened(delivery, suspect, Way::Forward);
        }
    }

    /// Returns what is known of the domain of `recipient` with this number, having judged it when
    /// it is new.
    fn known(&mut self, recipient: &[u8], domain: Option<u32>) -> Known {
        if let Some(known) = self.domains.get(domain) {
            return known;
        }
        let parsed = self.parse(recipient);
        let Some(name) = name(parsed.address.host()) else {
            return Known::Clean;
        };
        let hash = self.message.hash(name.as_bytes());
        if self.distinct.len() < MOST_DOMAINS {
            self.distinct.insert(hash);
        } else if !self.distinct.contains(&hash) {
            self.counts.uncounted_domains += 1;
        }
        let known = (self.snapshot.assess_worst(&parsed, &Context::default()))
            .filter(|(_, assessment)| self.may_matter(assessment))
            .and_then(|(host, assessment)| {
                // `carl%army.ml@relay.example` is about `army.ml`.
                let name = self::name(host)?;
                let hash = self.message.hash(name.as_bytes());
                self.suspects.add(&name, hash, assessment)
            })
            .map_or(Known::Clean, Known::Suspect);
        self.domains.set(domain, known);
        known
    }

    /// Returns whether some rule could do more than accept at this score.
    fn may_matter(&self, assessment: &Assessment) -> bool {
        let policy = &self.snapshot.policy;
        let lowest = (policy.rules.iter())
            .flat_map(|rule| [rule.note_at, rule.hold_at, rule.reject_at])
            .flatten()
            .chain([policy.thresholds.note_at])
            .min();
        lowest.is_none_or(|lowest| assessment.score >= lowest.max(1))
    }

    fn parse(&self, recipient: &[u8]) -> Recipient {
        Recipient {
            args: Vec::new(),
            address: Address::parse(recipient, &self.snapshot.suffixes),
            rewritten: None,
        }
    }

    /// Notes what the rules say about a recipient the milter would have seen.
    fn judge(&mut self, delivery: &Delivery<'_>, recipient: &[u8], suspect: u32) {
        let sender = sender_of(delivery, self.message.sender());
        let recipient = self.parse(recipient).canonical();
        let subject = Subject {
            sender,
            login: login(delivery),
            client: delivery.client,
            role: self.message.role(),
            recipient: &recipient,
        };
        let Some(entry) = self.suspects.get_mut(suspect) else {
            return;
        };
        let policy = &self.snapshot.policy;
        let verdict = policy.decide(&subject, &entry.assessment, None, self.now);
        if verdict.band == Band::Clean {
            return;
        }
        self.fate = Fate::of(&verdict);
        let refused = delivery.outcome == Outcome::Refused;
        self.counts.bands(verdict.band);
        self.counts.actions(verdict.intended);
        self.counts.observed += u64::from(self.fate == Fate::Observed);
        self.counts.refused += u64::from(refused && verdict.band >= Band::Suspect);
        self.days.flagged(delivery.time, verdict.intended);
        entry.seen(delivery.time, self.days.date(delivery.time), sender);
        entry.judged(sender, &recipient, &verdict);
    }

    /// Notes what became of a recipient at a doubtful domain.
    fn happened(&mut self, delivery: &Delivery<'_>, suspect: u32, way: Way) {
        let sender = sender_of(delivery, self.message.sender());
        let recipient = self.parse(delivery.recipient).canonical();
        let subject = Subject {
            sender,
            login: login(delivery),
            client: delivery.client,
            role: self.message.role(),
            recipient: &recipient,
        };
        let Some(entry) = self.suspects.get_mut(suspect) else {
            return;
        };
        let verdict = (self.snapshot.policy).decide(&subject, &entry.assessment, None, self.now);
        if verdict.band < Band::Suspect {
            return;
        }
        let date = self.days.date(delivery.time);
        entry.seen(delivery.time, date, sender);
        match (delivery.outcome, delivery.destination) {
            (Outcome::Sent, Destination::Outside | Destination::Loopback) => {
                entry.delivered(date, way);
                (self.leaks).add(Leak::new(delivery, sender, &recipient, suspect, way));
            }
            (Outcome::Bounced, _) => entry.bounced += 1,
            _ => {}
        }
    }
}

/// Returns what stands for `host` in the report; `None` for this host's own (`root`, `|program`).
fn name(host: &Host) -> Option<Cow<'_, str>> {
    match host {
        Host::Domain(domain) => Some(domain.ascii().into()),
        Host::Literal(literal) => Some(literal.into()),
        Host::Missing => None,
        Host::Invalid { received, .. } => Some(Untrusted(received).to_string().into()),
    }
}

fn sender_of<'a>(delivery: &Delivery<'_>, sender: &'a str) -> &'a str {
    match delivery.sender {
        Some(_) => sender,
        None => "?",
    }
}

fn login<'l>(delivery: &Delivery<'l>) -> Option<&'l str> {
    std::str::from_utf8(delivery.login?).ok()
}

/// Actions that keep a recipient back.
pub(crate) fn keeps_back(action: Action) -> bool {
    matches!(action, Action::Hold | Action::HoldMessage | Action::Reject)
}
