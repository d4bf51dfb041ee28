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
        let known;
        let (local, domain) = match plain(recipient) {
            Some(parts) => parts,
            None => {
                known = canonical(recipient, &snapshot.suffixes).unwrap_or_default();
                match known.rsplit_once('@') {
                    Some(parts) => parts,
                    None => return,
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

/// Returns the local part and the domain of an address that is in comparable form as it stands, as
/// nearly all are.
fn plain(address: &[u8]) -> Option<(&str, &str)> {
    let mut at = None;
    for (place, octet) in address.iter().enumerate() {
        if PLAIN.get(usize::from(*octet)) != Some(&true) {
            return None;
        }
        if *octet == b'@' && at.replace(place).is_some() {
            return None;
        }
    }
    let ends = |octet: Option<&u8>| octet.is_some_and(u8::is_ascii_alphanumeric);
    if !ends(address.first()) || !ends(address.last()) {
        return None;
    }
    let (local, domain) = std::str::from_utf8(address).ok()?.split_at_checked(at?)?;
    Some((local, domain.get(1..)?))
}

/// The octets of an address in comparable form.
const PLAIN: [bool; 256] = {
    let mut plain = [false; 256];
    let mut octet = 0u8;
    while octet < 128 {
        plain[octet as usize] = octet.is_ascii_lowercase()
            || octet.is_ascii_digit()
            || matches!(octet, b'.' | b'-' | b'_' | b'+' | b'=' | b'@');
        octet += 1;
    }
    plain
};

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
            assert_eq!(plain(address.as_bytes()), address.split_once('@'));
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
