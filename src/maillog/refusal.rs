//! Recipients refused at RCPT, and which of them are the same one tried again.
//!
//! Greylisting refuses every recipient for now and takes it some minutes later. A milter judges
//! both attempts, but a report that counted both would count a person several times for one mail.
//! So an attempt is the first only when the same client has not tried the same sender and recipient
//! before.
//!
//! Memory is constant. An ordinary delivery pays for it with a hash and a look at one place of a
//! table, and with nothing in a log in which nobody was refused for now.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::fast::RandomState;

use super::record::{Entrance, Lasting};

/// How long an attempt is taken for the same one tried again, in seconds: MTAs try for five days.
const TRIED: u64 = 6 * 86_400;
/// Attempts with the same place in the table.
const EACH: usize = 16;
/// Places of the table: 65,536 attempts in all, 1.5 MiB.
const PLACES: usize = 4096;

/// What a line about a refused recipient told.
pub(super) struct Refusal<'l> {
    pub(super) id: &'l [u8],
    pub(super) entrance: Entrance,
    pub(super) ip: Option<IpAddr>,
    pub(super) login: Option<&'l [u8]>,
    pub(super) sender: Option<&'l [u8]>,
    pub(super) recipient: &'l [u8],
    pub(super) lasting: Lasting,
}

/// A refused recipient that waits for the line with its sender.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) time: i64,
    recipient: Box<[u8]>,
    lasting: Lasting,
}

impl Waiting {
    pub(super) fn new(time: i64, lasting: Lasting, recipient: &[u8]) -> Waiting {
        Waiting {
            time,
            recipient: recipient.into(),
            lasting,
        }
    }

    /// Returns a refusal of which the message knows the rest.
    pub(super) fn refusal<'l>(&'l self, id: &'l [u8]) -> Refusal<'l> {
        Refusal {
            id,
            entrance: Entrance::Unknown,
            ip: None,
            login: None,
            sender: None,
            recipient: &self.recipient,
            lasting: self.lasting,
        }
    }
}

/// A client's attempt to bring a mail to a recipient.
pub(super) struct Attempt<'l> {
    pub(super) time: i64,
    /// The recipient as a hash.
    pub(super) recipient: u64,
    pub(super) sender: &'l [u8],
    pub(super) client: Option<IpAddr>,
}

/// The first of the attempts that were refused for now.
#[derive(Clone, Copy, Debug)]
struct Refused {
    /// Recipient, sender and client as a hash.
    who: u64,
    time: i64,
}

/// The attempts that were refused for now and have not come to an end yet.
#[derive(Debug, Default)]
pub(super) struct Refusals {
    /// By who it was. Empty until somebody is refused for now.
    places: Vec<[Option<Refused>; EACH]>,
    hasher: RandomState,
}

impl Refusals {
    /// Returns whether a refused attempt is the first one.
    pub(super) fn refused(&mut self, attempt: &Attempt<'_>, lasting: Lasting) -> bool {
        match lasting {
            Lasting::ForGood => !self.end(attempt),
            Lasting::ForNow => self.begin(attempt),
        }
    }

    /// Ends the attempts at a recipient with this one, which was not refused for now; returns
    /// whether there were any.
    #[inline]
    pub(super) fn end(&mut self, attempt: &Attempt<'_>) -> bool {
        if self.places.is_empty() {
            return false;
        }
        let who = self.who(attempt);
        let Some(place) = self.places.get_mut(place_of(who)) else {
            return false;
        };
        let found = (place.iter_mut()).find(|refused| refused.is_some_and(|it| it.who == who));
        (found.and_then(Option::take)).is_some_and(|refused| refused.is_recent(attempt.time))
    }

    fn who(&self, attempt: &Attempt<'_>) -> u64 {
        (self.hasher).hash_one((attempt.recipient, attempt.client, attempt.sender))
    }

    /// Remembers an attempt; returns whether it is the first.
    fn begin(&mut self, attempt: &Attempt<'_>) -> bool {
        if self.places.is_empty() {
            self.places = vec![[None; EACH]; PLACES];
        }
        let who = self.who(attempt);
        let Some(place) = self.places.get_mut(place_of(who)) else {
            return true;
        };
        if let Some(known) = place.iter_mut().flatten().find(|known| known.who == who) {
            let again = known.is_recent(attempt.time);
            if !again {
                known.time = attempt.time;
            }
            return !again;
        }
        // A free one, or else the oldest.
        let oldest = (place.iter_mut()).min_by_key(|refused| refused.map(|refused| refused.time));
        if let Some(oldest) = oldest {
            *oldest = Some(Refused {
                who,
                time: attempt.time,
            });
        }
        true
    }
}

impl Refused {
    fn is_recent(&self, time: i64) -> bool {
        time.abs_diff(self.time) <= TRIED
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "any bits of a hash will do, and the low ones are enough"
)]
fn place_of(who: u64) -> usize {
    who as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(recipient: u64, sender: &[u8], time: i64) -> Attempt<'_> {
        Attempt {
            time,
            recipient,
            sender,
            client: None,
        }
    }

    #[test]
    fn an_attempt_is_the_first_until_it_ends_or_is_long_past() {
        let mut refusals = Refusals::default();
        assert!(!refusals.end(&attempt(1, b"a", 0)));
        assert!(refusals.refused(&attempt(1, b"a", 0), Lasting::ForNow));
        assert!(!refusals.refused(&attempt(1, b"a", 9), Lasting::ForNow));
        assert!(refusals.refused(&attempt(1, b"b", 9), Lasting::ForNow));
        assert!(refusals.end(&attempt(1, b"a", 10)));
        assert!(!refusals.end(&attempt(1, b"a", 10)));
        assert!(!refusals.refused(&attempt(1, b"b", 10), Lasting::ForGood));
        assert!(refusals.refused(&attempt(1, b"b", 11), Lasting::ForGood));
        assert!(refusals.refused(&attempt(1, b"a", 20), Lasting::ForNow));
        let past = 21 + 6 * 86_400;
        assert!(refusals.refused(&attempt(1, b"a", past), Lasting::ForNow));
        assert!(!refusals.refused(&attempt(1, b"a", past + 1), Lasting::ForNow));
    }

    #[test]
    fn any_number_of_senders_may_try_the_same_recipient() {
        let mut refusals = Refusals::default();
        for time in 0..3 {
            for sender in 0_u16..5_000 {
                let sender = sender.to_be_bytes();
                let attempt = attempt(1, &sender, time);
                assert_eq!(refusals.refused(&attempt, Lasting::ForNow), time == 0);
            }
        }
    }

    #[test]
    fn however_many_are_refused_the_table_stays_as_large_and_the_latest_are_known() {
        let mut refusals = Refusals::default();
        for n in 0..500_000 {
            refusals.refused(&attempt(n, b"a", n as i64 / 1000), Lasting::ForNow);
        }
        assert_eq!(refusals.places.len(), PLACES);
        for n in 490_000..500_000 {
            assert!(!refusals.refused(&attempt(n, b"a", 501), Lasting::ForNow));
        }
        assert!(refusals.refused(&attempt(0, b"a", 501), Lasting::ForNow));
    }
}
