//! Learning from a log: what was delivered outside is counted as if it had just passed.

use jiff::Timestamp;

use super::{Batch, Forgotten, Learning};
use crate::address::{Address, Host};
use crate::maillog::{Delivery, Destination, Outcome};
use crate::service::Snapshot;
use crate::service::numbered::ByNumber;
use crate::service::passage::Origin;
use crate::session::Passage;
use crate::store::{Day, Durability, LogMark, StoreError};

/// What a reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// Mails to other domains.
    pub mails: u64,
    /// Of those, mails that had been counted before, from this log or as they passed.
    pub before: u64,
    /// Of those, mails of somebody or to a domain that was forgotten since: not counted.
    pub forgotten: u64,
    /// Mails from outside.
    pub answers: u64,
    /// Of those, mails that did not fit into memory.
    pub left_out: u64,
}

impl Counted {
    /// Returns how many mails were new.
    pub fn new_mails(&self) -> u64 {
        self.mails - self.before - self.forgotten
    }
}

/// What is known of a log from earlier readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// Octets before its first line, by which it is not known.
    pub header: u64,
    /// How many octets behind these were counted.
    pub length: u64,
    /// The number of the log with which it begins.
    pub log: Option<i64>,
    /// Up to when it was counted, where nothing else is known of it.
    pub until: Option<Timestamp>,
}

impl Known {
    /// Returns whether any of it was counted.
    pub fn is_any(&self) -> bool {
        self.length > 0 || self.until.is_some()
    }
}

/// The times of which the mails of a log are new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    /// Not up to then, because the log was read up to it ([`Known::until`]).
    pub after: Option<Timestamp>,
    /// Not from then on, because mail was counted as it passed since.
    pub before: Option<Timestamp>,
}

/// Where in its log a line stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Section {
    /// Within what was counted before.
    Known,
    /// Behind it.
    New,
}

/// Counts the deliveries of one log.
pub struct LogLearner<'a> {
    snapshot: &'a Snapshot,
    /// `None` where nobody was forgotten.
    forgotten: Option<ForgottenInLog<'a>>,
    batch: Batch,
    /// The first and the last second of which the mails are new.
    new: (i64, i64),
    counted: Counted,
    /// What did not fit of the logs before.
    left_out_before: u64,
    /// The numbers that the batch gave to the senders in the log.
    senders: ByNumber<u32>,
    /// Likewise to the recipients' domains, and whether each is trusted.
    domains: ByNumber<(u32, bool)>,
    /// Likewise to the domains of answers, and the last day that was counted.
    correspondents: ByNumber<(u32, Day)>,
}

/// Who of a log was forgotten.
struct ForgottenInLog<'a> {
    forgotten: Forgotten<'a>,
    /// Up to which second the mail of each sender, and to each domain.
    senders: ByNumber<Option<i64>>,
    domains: ByNumber<Option<i64>>,
}

impl<'a> LogLearner<'a> {
    /// Begins to count by the trusted list of `snapshot`.
    pub fn new(snapshot: &'a Snapshot) -> LogLearner<'a> {
        LogLearner {
            snapshot,
            forgotten: None,
            batch: Batch::default(),
            new: (i64::MIN, i64::MAX),
            counted: Counted::default(),
            left_out_before: 0,
            senders: ByNumber::default(),
            domains: ByNumber::default(),
            correspondents: ByNumber::default(),
        }
    }

    /// Counts nothing that was forgotten.
    #[must_use]
    pub fn without(self, forgotten: Forgotten<'a>) -> LogLearner<'a> {
        let forgotten = (!forgotten.is_empty()).then(|| ForgottenInLog {
            forgotten,
            senders: ByNumber::default(),
            domains: ByNumber::default(),
        });
        LogLearner { forgotten, ..self }
    }

    /// Begins the next log.
    pub fn begin(&mut self, new: New) {
        self.new = (
            (new.after).map_or(i64::MIN, |after| after.as_second().saturating_add(1)),
            (new.before).map_or(i64::MAX, |before| before.as_second().saturating_sub(1)),
        );
        self.counted = Counted::default();
        self.left_out_before = self.batch.left_out();
    }

    /// Counts a delivery in a `section` of the log, that `origin` has looked at; the same one each
    /// time.
    pub fn delivery(&mut self, delivery: &Delivery<'_>, origin: &Origin, section: Section) {
        if delivery.outcome != Outcome::Sent || delivery.sender.is_none() {
            return;
        }
        match origin.passage() {
            Passage::NullSender => {}
            Passage::Inbound => self.answer(delivery, origin),
            Passage::Judged => {
                if matches!(
                    delivery.destination,
                    Destination::Outside | Destination::Loopback
                ) {
                    self.mail(delivery, origin, section);
                }
            }
        }
    }

    fn answer(&mut self, delivery: &Delivery<'_>, origin: &Origin) {
        let day = Day::of_second(delivery.time);
        let number = match self.correspondents.get(origin.correspondent()) {
            Some((_, last)) if last == day => None,
            Some((domain, _)) => {
                self.batch.received_from(domain, day);
                Some(domain)
            }
            None => match origin.sender().rsplit_once('@') {
                Some((_, domain)) => self.batch.received(domain, day),
                None => return,
            },
        };
        if let Some(number) = number {
            (self.correspondents).set(origin.correspondent(), (number, day));
        }
        self.counted.answers += u64::from(delivery.first_of_message);
    }

    fn mail(&mut self, delivery: &Delivery<'_>, origin: &Origin, section: Section) {
        let day = Day::of_second(delivery.time);
        let (first, last) = self.new;
        let was_counted =
            section == Section::Known || delivery.time < first || delivery.time > last;
        // What the sender wrote, not what an alias made of it.
        let recipient = delivery.original.unwrap_or(delivery.recipient);
        if let Some(forgotten) = &mut self.forgotten
            && forgotten.covers(recipient, origin, delivery.time, self.snapshot)
        {
            self.counted.mails += 1;
            self.counted.forgotten += 1;
            return;
        }
        let known = (self.senders.get(origin.sender_number()))
            .zip(self.domains.get(origin.written()))
            .map(|(sender, (domain, trusted))| (sender, domain, trusted));
        let Some(numbers) = known.map(Some).or_else(|| self.numbers(recipient, origin)) else {
            return;
        };
        self.counted.mails += 1;
        self.counted.before += u64::from(was_counted);
        let Some((sender, domain, trusted)) = numbers else {
            return;
        };
        self.batch.mail(sender, domain, day, !was_counted);
        if trusted {
            if let Some(local) = origin.written_local(recipient) {
                self.batch.address(domain, local, day);
            } else if let Some(local) = comparable_local(recipient, self.snapshot) {
                self.batch.address(domain, local.as_bytes(), day);
            }
        }
    }

    /// Returns the batch's numbers of the sender and of the recipient's domain, and whether that
    /// is trusted; `Some(None)` when the batch is full, `None` when there is no domain.
    #[expect(clippy::option_option, reason = "both are told apart by the caller")]
    fn numbers(&mut self, recipient: &[u8], origin: &Origin) -> Option<Option<(u32, u32, bool)>> {
        let address = Address::parse(recipient, &self.snapshot.suffixes);
        let Host::Domain(domain) = address.host() else {
            return None;
        };
        let is_trusted = || super::is_trusted(self.snapshot, domain);
        let Some((domain, trusted)) = self.batch.recipient_domain(domain.ascii(), is_trusted)
        else {
            return Some(None);
        };
        self.domains.set(origin.written(), (domain, trusted));
        let Some(sender) = self.batch.sender(origin.sender()) else {
            return Some(None);
        };
        self.senders.set(origin.sender_number(), sender);
        Some(Some((sender, domain, trusted)))
    }

    /// Writes what was counted when memory fills up, or `at_the_end`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&mut self, learning: &Learning, at_the_end: bool) -> Result<(), StoreError> {
        if !at_the_end && !self.batch.is_nearly_full() {
            return Ok(());
        }
        // A batch that was written numbers anew.
        self.senders.clear();
        self.domains.clear();
        self.correspondents.clear();
        learning.write(&mut self.batch, self.snapshot)
    }

    /// Returns what the log came to.
    pub fn end(&mut self) -> Counted {
        self.batch.add_up();
        let left_out = self.batch.left_out() - self.left_out_before;
        Counted {
            left_out,
            ..self.counted
        }
    }

    /// Returns everything counted and not written.
    pub fn into_batch(mut self) -> Batch {
        self.batch.add_up();
        self.batch
    }
}

impl ForgottenInLog<'_> {
    /// Returns whether a mail of this second is forgotten, because of its sender or its recipient's
    /// domain.
    fn covers(
        &mut self,
        recipient: &[u8],
        origin: &Origin,
        time: i64,
        snapshot: &Snapshot,
    ) -> bool {
        let domain = match self.domains.get(origin.written()) {
            Some(known) => known,
            None => {
                let address = Address::parse(recipient, &snapshot.suffixes);
                let Host::Domain(domain) = address.host() else {
                    return false;
                };
                let until = self.forgotten.domain(domain, snapshot);
                self.domains.set(origin.written(), until);
                until
            }
        };
        let sender = match self.senders.get(origin.sender_number()) {
            Some(known) => known,
            None => {
                let until = self.forgotten.sender(origin.sender());
                self.senders.set(origin.sender_number(), until);
                until
            }
        };
        domain.max(sender).is_some_and(|until| time <= until)
    }
}

impl Learning {
    /// Returns the marks in logs whose first line has this hash, each with the number of its log.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn log_marks(&self, beginning: &[u8; 32]) -> Result<Vec<(LogMark, i64)>, StoreError> {
        (self.quarantine.store).read(|ledger| ledger.log_marks(beginning))
    }

    /// Returns up to when a log without a mark was counted, whose first line has this hash: only
    /// what an earlier version has read.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn log_read_until(&self, beginning: &[u8; 32]) -> Result<Option<Timestamp>, StoreError> {
        (self.quarantine.store).read(|ledger| ledger.log_read_until(beginning))
    }

    /// Notes that a log was counted up to `mark`, of which `mails` were new; `before` is what was
    /// known of it.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn log_was_read(
        &self,
        before: &Known,
        mark: &LogMark,
        mails: u64,
        now: Timestamp,
    ) -> Result<(), StoreError> {
        (self.quarantine.store).write(Durability::Written, |ledger| {
            ledger.add_log_mark(mark, before.log, mails, now)?;
            if before.until.is_some() {
                ledger.forget_log_read_until(&mark.beginning)?;
            }
            Ok(())
        })
    }

    /// Returns since when mail is counted as it passes; `None` when it is not.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn counts_mail_since(&self) -> Result<Option<Timestamp>, StoreError> {
        if !self.settings.from_mail {
            return Ok(None);
        }
        self.quarantine.store.read(|ledger| {
            let first = ledger.first_day_total()?.map(Day::begin);
            Ok(first.max(first.and(ledger.learning_began()?)))
        })
    }
}

/// Returns the local part of a recipient in comparable form; `None` without a domain.
fn comparable_local(recipient: &[u8], snapshot: &Snapshot) -> Option<String> {
    let canonical = Address::parse(recipient, &snapshot.suffixes).canonical();
    let (local, _) = canonical.rsplit_once('@')?;
    Some(local.to_owned())
}
