//! Learning from a log: what was delivered outside is counted as if it had just passed.

use super::{Batch, Learning};
use crate::address::{self, Address, Host};
use crate::maillog::{Delivery, Destination, Outcome};
use crate::service::Snapshot;
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
        }
    }

    /// Begins the next log.
    pub fn begin(&mut self, new: New) {
        self.new = new;
        self.until = None;
        self.counted = Counted::default();
        self.left_out_before = self.batch.left_out();
    }

    /// Counts a delivery of a message that passes as `passage` and comes from `sender`, in
    /// comparable form.
    pub fn delivery(&mut self, delivery: &Delivery<'_>, passage: Passage, sender: &str) {
        if delivery.outcome != Outcome::Sent || delivery.sender.is_none() {
            return;
        }
        let day = Day::of_second(delivery.time);
        match passage {
            Passage::NullSender => return,
            Passage::Inbound => {
                if let Some((_, domain)) = sender.rsplit_once('@') {
                    self.batch.received(domain, day);
                    self.counted.answers += u64::from(delivery.first_of_message);
                }
                return;
            }
            Passage::Judged => {}
        }
        if !matches!(
            delivery.destination,
            Destination::Outside | Destination::Loopback
        ) {
            return;
        }
        let was_counted = (self.new.after).is_some_and(|after| delivery.time <= after)
            || self.new.before.is_some_and(|before| day >= before);
        let snapshot = self.snapshot;
        let is_trusted = |domain: &str| super::is_trusted(snapshot, domain);
        // What the sender wrote, not what an alias made of it.
        let recipient = delivery.original.unwrap_or(delivery.recipient);
        let canonical;
        let (local, domain) = match address::plain(recipient) {
            Some(parts) if !recipient.iter().any(u8::is_ascii_uppercase) => parts,
            _ => {
                let address = Address::parse(recipient, &snapshot.suffixes);
                canonical = address.canonical();
                match canonical.rsplit_once('@') {
                    Some(parts) if matches!(address.host(), Host::Domain(_)) => parts,
                    _ => return,
                }
            }
        };
        (self.batch).sent(sender, local, domain, day, !was_counted, is_trusted);
        self.counted.mails += 1;
        self.counted.before += u64::from(was_counted);
        self.until = self.until.max(Some(delivery.time));
    }

    /// Writes what was counted when memory fills up, or `at_the_end`.
    ///
    /// # Errors
    /// The store cannot be written.
    pub fn write(&mut self, learning: &Learning, at_the_end: bool) -> Result<(), StoreError> {
        match at_the_end || self.batch.is_nearly_full() {
            true => learning.write(&mut self.batch, self.snapshot),
            false => Ok(()),
        }
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
