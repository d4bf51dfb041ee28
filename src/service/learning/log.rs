//! Learning from a log: what was delivered outside is counted as if it had just passed.

use super::{Batch, Learning};
use crate::address::{Address, Host};
use crate::maillog::{Delivery, Destination, Outcome};
use crate::service::Snapshot;
use crate::service::numbered::ByNumber;
use crate::service::passage::Origin;
use crate::session::Passage;
use crate::store::{Day, StoreError};

/// What a reading came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Counted {
    /// Mails to other domains.
    pub mails: u64,
    /// Of those, mails that had been counted before, from this log or as they passed.
    pub before: u64,
    /// Mails from outside.
    pub answers: u64,
    /// Of those, mails that did not fit into memory.
    pub left_out: u64,
}

/// Where the mails of a log begin to be new.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct New {
    /// Not up to this second, because the log was read up to it.
    pub after: Option<i64>,
    /// Not from this day on, because mail was counted as it passed since.
    pub before: Option<Day>,
}

/// Counts the deliveries of one log.
pub struct LogLearner<'a> {
    snapshot: &'a Snapshot,
    batch: Batch,
    new: New,
    counted: Counted,
    /// What did not fit of the logs before.
    left_out_before: u64,
    /// The second of the last mail counted.
    until: Option<i64>,
    /// The numbers that the batch gave to the names of the log.
    senders: ByNumber<u32>,
    /// Likewise, and whether the domain is trusted.
    domains: ByNumber<(u32, bool)>,
    /// Likewise, and the last day that was counted.
    correspondents: ByNumber<(u32, Day)>,
}

impl<'a> LogLearner<'a> {
    /// Begins to count by the trusted list of `snapshot`.
    pub fn new(snapshot: &'a Snapshot) -> LogLearner<'a> {
        LogLearner {
            snapshot,
            batch: Batch::default(),
            new: New::default(),
            counted: Counted::default(),
            left_out_before: 0,
            until: None,
            senders: ByNumber::default(),
            domains: ByNumber::default(),
            correspondents: ByNumber::default(),
        }
    }

    /// Begins the next log.
    pub fn begin(&mut self, new: New) {
        self.new = new;
        self.until = None;
        self.counted = Counted::default();
        self.left_out_before = self.batch.left_out();
    }

    /// Counts a delivery that `origin` has looked at; the same one each time.
    pub fn delivery(&mut self, delivery: &Delivery<'_>, origin: &Origin) {
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
                    self.mail(delivery, origin);
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

    fn mail(&mut self, delivery: &Delivery<'_>, origin: &Origin) {
        let day = Day::of_second(delivery.time);
        let was_counted = (self.new.after).is_some_and(|after| delivery.time <= after)
            || self.new.before.is_some_and(|before| day >= before);
        // What the sender wrote, not what an alias made of it.
        let recipient = delivery.original.unwrap_or(delivery.recipient);
        let known = (self.senders.get(origin.sender_number()))
            .zip(self.domains.get(origin.written()))
            .map(|(sender, (domain, trusted))| (sender, domain, trusted));
        let Some(numbers) = known.map(Some).or_else(|| self.numbers(recipient, origin)) else {
            return;
        };
        self.counted.mails += 1;
        self.counted.before += u64::from(was_counted);
        self.until = self.until.max(Some(delivery.time));
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

    /// Returns what the log came to, and the second of its last mail.
    pub fn end(&mut self) -> (Counted, Option<i64>) {
        self.batch.add_up();
        let left_out = self.batch.left_out() - self.left_out_before;
        let counted = Counted {
            left_out,
            ..self.counted
        };
        (counted, self.until)
    }

    /// Returns everything counted and not written.
    pub fn into_batch(mut self) -> Batch {
        self.batch.add_up();
        self.batch
    }
}

/// Returns the local part of a recipient in comparable form; `None` without a domain.
fn comparable_local(recipient: &[u8], snapshot: &Snapshot) -> Option<String> {
    let canonical = Address::parse(recipient, &snapshot.suffixes).canonical();
    let (local, _) = canonical.rsplit_once('@')?;
    Some(local.to_owned())
}
