//! Mail counted in memory until it is written: live mail for seconds, a log for millions of
//! lines. Bounded; what does not fit is counted as left out and changes no verdict.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;
use hashbrown::hash_table::Entry;

use super::names::Names;
use crate::store::{Day, Days};

/// Most pairs of sender and domain, domains and addresses together; some 30 MB.
const MOST: usize = 200_000;

/// Returns whether a local part names a role and no person: such are everywhere, so that knowing
/// them says nothing (RFC 2142, and what sites add).
pub(super) fn is_role(local: &str) -> bool {
    matches!(
        local,
        "abuse"
            | "accounting"
            | "admin"
            | "contact"
            | "help"
            | "hostmaster"
            | "hr"
            | "info"
            | "invoice"
            | "jobs"
            | "kontakt"
            | "mail"
            | "marketing"
            | "news"
            | "noc"
            | "noreply"
            | "no-reply"
            | "office"
            | "orders"
            | "postmaster"
            | "sales"
            | "security"
            | "service"
            | "support"
            | "team"
            | "webmaster"
    )
}

/// Mail to be counted.
#[derive(Debug, Default)]
pub struct Batch {
    domains: Names,
    /// Whether an entry covers it, of each of `domains`.
    trusted: Vec<bool>,
    senders: Names,
    pairs: HashTable<Pair>,
    /// Addresses at trusted domains.
    mailboxes: HashTable<Mailbox>,
    /// Their local parts, one after the other.
    locals: String,
    /// Domains that mail came from.
    origins: Names,
    /// The days on which it came, of each of `origins`.
    received: Vec<Days>,
    hasher: RandomState,
    size: usize,
    left_out: u64,
}

/// A domain and a sender, by their numbers, and the mail between them.
#[derive(Debug)]
struct Pair {
    domain: u32,
    sender: u32,
    tally: Tally,
}

/// An address at a trusted domain.
#[derive(Debug)]
struct Mailbox {
    hash: u64,
    domain: u32,
    last: Day,
    /// Where its local part is.
    begin: usize,
    end: usize,
}

/// Mail to one domain.
#[derive(Debug)]
pub(super) struct Outbound<'b> {
    pub(super) domain: &'b str,
    pub(super) senders: Vec<(&'b str, Tally)>,
    /// Local parts, and the last day with mail to each, where the domain is trusted.
    pub(super) mailboxes: Vec<(&'b str, Day)>,
    trusted: bool,
}

/// Mail of one sender to one domain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) days: Days,
    pub(super) mails: u64,
}

impl Batch {
    /// Counts a mail from `sender` to `recipient` (`local@domain`, as compared) that was
    /// accepted on `day`. `mails` is 1, or 0 when only the day may be new. `is_trusted` is asked
    /// once for every domain. Returns whether it was counted.
    pub fn sent(
        &mut self,
        sender: &str,
        recipient: &str,
        day: Day,
        mails: u64,
        is_trusted: impl FnOnce(&str) -> bool,
    ) -> bool {
        let Some((local, domain)) = recipient.rsplit_once('@') else {
            return false;
        };
        if domain.is_empty() || sender.is_empty() {
            return false;
        }
        let Some(pair) = self.pair(domain, sender, is_trusted) else {
            self.left_out += 1;
            return false;
        };
        pair.tally.days.add(day);
        pair.tally.mails += mails;
        let domain = pair.domain;
        if !local.is_empty() && !is_role(local) {
            self.mailbox(domain, local, day);
        }
        true
    }

    /// Returns the place of a pair, a new one if it fits.
    fn pair(
        &mut self,
        domain: &str,
        sender: &str,
        is_trusted: impl FnOnce(&str) -> bool,
    ) -> Option<&mut Pair> {
        let full = self.size >= MOST;
        let domain = match self.domains.find(domain) {
            Ok(domain) => domain,
            Err(_) if full => return None,
            Err(hash) => {
                self.size += 1;
                self.trusted.push(is_trusted(domain));
                self.domains.add(hash, domain)
            }
        };
        let sender = match self.senders.find(sender) {
            Ok(sender) => sender,
            Err(_) if full => return None,
            Err(hash) => self.senders.add(hash, sender),
        };
        let hasher = &self.hasher;
        let hash = |domain: u32, sender: u32| {
            hasher.hash_one((u64::from(domain) << u32::BITS) | u64::from(sender))
        };
        let entry = self.pairs.entry(
            hash(domain, sender),
            |pair| pair.domain == domain && pair.sender == sender,
            |pair| hash(pair.domain, pair.sender),
        );
        match entry {
            Entry::Occupied(pair) => Some(pair.into_mut()),
            Entry::Vacant(_) if full => None,
            Entry::Vacant(place) => {
                self.size += 1;
                let pair = Pair {
                    domain,
                    sender,
                    tally: Tally::default(),
                };
                Some(place.insert(pair).into_mut())
            }
        }
    }

    /// Notes an address, if the domain of this number is trusted.
    fn mailbox(&mut self, domain: u32, local: &str, day: Day) {
        if self.trusted.get(domain as usize) != Some(&true) {
            return;
        }
        let hash = self.hasher.hash_one((domain, local));
        let locals = &self.locals;
        let known = self.mailboxes.find_mut(hash, |known| {
            known.hash == hash
                && known.domain == domain
                && locals.get(known.begin..known.end) == Some(local)
        });
        if let Some(known) = known {
            known.last = day.max(known.last);
        } else if self.size < MOST {
            self.size += 1;
            let begin = self.locals.len();
            self.locals.push_str(local);
            let mailbox = Mailbox {
                hash,
                domain,
                last: day,
                begin,
                end: self.locals.len(),
            };
            (self.mailboxes).insert_unique(hash, mailbox, |known| known.hash);
        }
    }

    /// Counts a mail that came from `domain` on `day`.
    pub fn received(&mut self, domain: &str, day: Day) {
        if let Some(days) = self.origin(domain) {
            days.add(day);
        }
    }

    /// Returns the place of a domain that mail came from, a new one if it fits.
    fn origin(&mut self, domain: &str) -> Option<&mut Days> {
        let number = match self.origins.find(domain) {
            Ok(number) => number,
            Err(_) if domain.is_empty() => return None,
            Err(_) if self.size >= MOST => {
                self.left_out += 1;
                return None;
            }
            Err(hash) => {
                self.size += 1;
                self.received.push(Days::default());
                self.origins.add(hash, domain)
            }
        };
        self.received.get_mut(number as usize)
    }

    /// Returns the mail that was sent, by domain, in the order in which they came first.
    pub(super) fn outbound(&self) -> Vec<Outbound<'_>> {
        let mut all: Vec<Outbound<'_>> = (self.domains.iter().zip(&self.trusted))
            .map(|(domain, trusted)| Outbound {
                domain,
                senders: Vec::new(),
                mailboxes: Vec::new(),
                trusted: *trusted,
            })
            .collect();
        for pair in &self.pairs {
            if let Some(outbound) = all.get_mut(pair.domain as usize)
                && let Some(sender) = self.senders.name(pair.sender)
            {
                outbound.senders.push((sender, pair.tally));
            }
        }
        for known in &self.mailboxes {
            if let Some(outbound) = all.get_mut(known.domain as usize)
                && let Some(local) = self.locals.get(known.begin..known.end)
            {
                outbound.mailboxes.push((local, known.last));
            }
        }
        all
    }

    /// Returns the domains that mail came from, and when.
    pub(super) fn inbound(&self) -> impl Iterator<Item = (&str, &Days)> {
        self.origins.iter().zip(&self.received)
    }

    /// Forgets what was written: so many of the domains of [`Batch::outbound`], and of those of
    /// [`Batch::inbound`].
    pub(super) fn forget(&mut self, outbound: usize, inbound: usize) {
        let all = std::mem::take(self);
        self.left_out = all.left_out;
        self.add(&all, outbound, inbound);
    }

    /// Adds everything of an `earlier` batch that could not be written.
    pub(super) fn merge(&mut self, earlier: &Batch) {
        self.left_out += earlier.left_out;
        self.add(earlier, 0, 0);
    }

    fn add(&mut self, other: &Batch, outbound: usize, inbound: usize) {
        for (domain, days) in other.inbound().skip(inbound) {
            if let Some(known) = self.origin(domain) {
                known.merge(days);
            }
        }
        for outbound in other.outbound().iter().skip(outbound) {
            let mut domain = None;
            for (sender, tally) in &outbound.senders {
                match self.pair(outbound.domain, sender, |_| outbound.trusted) {
                    Some(pair) => {
                        pair.tally.days.merge(&tally.days);
                        pair.tally.mails += tally.mails;
                        domain = Some(pair.domain);
                    }
                    None => self.left_out += tally.mails,
                }
            }
            if let Some(domain) = domain {
                for (local, day) in &outbound.mailboxes {
                    self.mailbox(domain, local, *day);
                }
            }
        }
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.pairs.is_empty() && self.received.is_empty()
    }

    /// Returns whether it is time to write, because little more fits.
    pub fn is_nearly_full(&self) -> bool {
        self.size >= MOST / 4 * 3
    }

    /// Returns how many mails did not fit.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_and_says_what_it_left_out() {
        let mut batch = Batch::default();
        let day = Day::numbered(20_000);
        for n in 0..MOST {
            batch.sent("a@site.example", &format!("x@d{n}.example"), day, 1, |_| {
                true
            });
            batch.received(&format!("in{n}.example"), day);
        }
        assert!(batch.size <= MOST + 2, "{}", batch.size);
        assert!(batch.left_out() > 0);
        // What is known goes on being counted.
        assert!(batch.sent("a@site.example", "y@d0.example", day, 1, |_| true));
    }

    #[test]
    fn what_could_not_be_written_is_kept() {
        let day = Day::numbered(20_000);
        let mut earlier = Batch::default();
        for mails in [1, 1] {
            earlier.sent("a@site.example", "carl@army.mil", day, mails, |_| true);
        }
        earlier.sent("a@site.example", "info@army.mil", day.before(3), 1, |_| {
            true
        });
        earlier.received("army.mil", day);
        let mut batch = Batch::default();
        batch.sent("a@site.example", "carl@army.mil", day, 1, |_| true);
        batch.merge(&earlier);
        let all = batch.outbound();
        let [outbound] = all.as_slice() else {
            panic!("{all:?}");
        };
        assert_eq!(outbound.domain, "army.mil");
        let [("a@site.example", tally)] = outbound.senders.as_slice() else {
            panic!("{outbound:?}");
        };
        assert_eq!((tally.mails, tally.days.count()), (4, 2));
        assert_eq!(outbound.mailboxes, [("carl", day)]);
        let received: Vec<(&str, usize)> = (batch.inbound())
            .map(|(domain, days)| (domain, days.count()))
            .collect();
        assert_eq!(received, [("army.mil", 1)]);
    }

    #[test]
    fn what_was_written_is_forgotten_and_the_rest_kept() {
        let day = Day::numbered(20_000);
        let mut batch = Batch::default();
        for recipient in ["carl@army.mil", "eva@navy.mil"] {
            batch.sent("a@site.example", recipient, day, 1, |_| true);
        }
        batch.received("army.mil", day);
        batch.forget(1, 0);
        let left: Vec<(&str, Vec<(&str, Day)>)> = (batch.outbound().into_iter())
            .map(|outbound| (outbound.domain, outbound.mailboxes))
            .collect();
        assert_eq!(left, [("navy.mil", vec![("eva", day)])]);
        assert_eq!(batch.inbound().count(), 1);
        batch.forget(1, 1);
        assert!(batch.is_empty());
    }
}
