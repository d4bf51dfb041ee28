//! Learning from a log: what was delivered outside is counted as if it had just passed.

use super::{Batch, Learning};
use crate::address::{Address, Host};
use crate::maillog::{Delivery, Destination, Outcome};
use crate::public_suffix::PublicSuffixes;
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
    /// Mails that did not fit into memory.
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
            until: None,
        }
    }

    /// Begins the next log.
    pub fn begin(&mut self, new: New) {
        self.new = new;
        self.until = None;
        self.counted = Counted::default();
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
        let mails = u64::from(!was_counted);
        let counted = match plain(recipient) {
            Some(recipient) => self.batch.sent(sender, recipient, day, mails, is_trusted),
            None => match canonical(recipient, &snapshot.suffixes) {
                Some(recipient) => self.batch.sent(sender, &recipient, day, mails, is_trusted),
                None => return,
            },
        };
        self.counted.left_out += u64::from(!counted);
        self.counted.mails += u64::from(counted);
        self.counted.before += u64::from(counted && was_counted);
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
    pub fn end(&self) -> (Counted, Option<i64>) {
        (self.counted, self.until)
    }

    /// Returns everything counted and not written.
    pub fn into_batch(self) -> Batch {
        self.batch
    }
}

/// Returns an address that is in comparable form as it stands, as nearly all are.
fn plain(address: &[u8]) -> Option<&str> {
    let plain = |byte: &u8| {
        byte.is_ascii_lowercase()
            || byte.is_ascii_digit()
            || matches!(byte, b'.' | b'-' | b'_' | b'+' | b'=' | b'@')
    };
    let text = std::str::from_utf8(address).ok()?;
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    (address.iter().all(plain)
        && ends(address.first())
        && ends(address.last())
        && address.iter().filter(|byte| **byte == b'@').count() == 1)
        .then_some(text)
}

fn canonical(address: &[u8], suffixes: &PublicSuffixes) -> Option<String> {
    let address = Address::parse(address, suffixes);
    matches!(address.host(), Host::Domain(_)).then(|| address.canonical())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_addresses_are_their_own_comparable_form() {
        let suffixes = PublicSuffixes::built_in();
        for address in ["carl@army.ml", "a.b+c_d=e@x-y.example", "1@2.example"] {
            assert_eq!(plain(address.as_bytes()), Some(address));
            assert_eq!(
                canonical(address.as_bytes(), &suffixes).as_deref(),
                Some(address)
            );
        }
        for address in [
            "Carl@army.ml",
            "carl@army.ml.",
            "a@b@c.example",
            "carl%army.ml@x.example",
            "\u{430}@x.example",
            "carl",
        ] {
            assert_eq!(plain(address.as_bytes()), None, "{address}");
        }
    }
}
