//! Mail counted in memory until it is written: live mail for seconds, a log for millions of
//! lines. Bounded; what does not fit is counted as left out and changes no verdict.

use foldhash::HashMap;

use crate::store::{Day, Days};

/// Most pairs of sender and domain, domains and addresses together; some 30 MB.
const MOST: usize = 200_000;

/// Local parts that are everywhere, so that knowing them says nothing (RFC 2142, and what sites
/// add).
const ROLES: &[&str] = &[
    "abuse",
    "accounting",
    "admin",
    "contact",
    "help",
    "hostmaster",
    "hr",
    "info",
    "invoice",
    "jobs",
    "kontakt",
    "mail",
    "marketing",
    "news",
    "noc",
    "noreply",
    "no-reply",
    "office",
    "orders",
    "postmaster",
    "sales",
    "security",
    "service",
    "support",
    "team",
    "webmaster",
];

/// Returns whether a local part names a role and no person.
pub(super) fn is_role(local: &str) -> bool {
    ROLES.contains(&local)
}

/// Mail to be counted.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) sent: HashMap<Box<str>, Outbound>,
    pub(super) received: HashMap<Box<str>, Days>,
    size: usize,
    left_out: u64,
}

/// Mail to one domain.
#[derive(Debug, Default)]
pub(super) struct Outbound {
    pub(super) senders: HashMap<Box<str>, Tally>,
    /// Whole addresses, where the domain is trusted.
    pub(super) mailboxes: Option<HashMap<Box<str>, Day>>,
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
        let full = self.size >= MOST;
        let outbound = match self.sent.get_mut(domain) {
            Some(outbound) => outbound,
            None if full => {
                self.left_out += 1;
                return false;
            }
            None => {
                self.size += 1;
                self.sent.entry(domain.into()).or_insert_with(|| Outbound {
                    mailboxes: is_trusted(domain).then(HashMap::default),
                    senders: HashMap::default(),
                })
            }
        };
        let tally = match outbound.senders.get_mut(sender) {
            Some(tally) => tally,
            None if full => {
                self.left_out += 1;
                return false;
            }
            None => {
                self.size += 1;
                outbound.senders.entry(sender.into()).or_default()
            }
        };
        tally.days.add(day);
        tally.mails += mails;
        if let Some(mailboxes) = &mut outbound.mailboxes
            && !local.is_empty()
            && !is_role(local)
        {
            match mailboxes.get_mut(recipient) {
                Some(last) => *last = day.max(*last),
                None if full => {}
                None => {
                    self.size += 1;
                    mailboxes.insert(recipient.into(), day);
                }
            }
        }
        true
    }

    /// Counts a mail that came from `domain` on `day`.
    pub fn received(&mut self, domain: &str, day: Day) {
        match self.received.get_mut(domain) {
            Some(days) => days.add(day),
            None if domain.is_empty() => {}
            None if self.size >= MOST => self.left_out += 1,
            None => {
                self.size += 1;
                (self.received.entry(domain.into()).or_default()).add(day);
            }
        }
    }

    /// Adds everything of an `earlier` batch that could not be written.
    pub(super) fn merge(&mut self, earlier: Batch) {
        self.left_out += earlier.left_out;
        for (domain, days) in earlier.received {
            days.iter().for_each(|day| self.received(&domain, day));
        }
        for (domain, outbound) in earlier.sent {
            let trusted = outbound.mailboxes.is_some();
            for (sender, tally) in outbound.senders {
                let mut mails = tally.mails;
                for day in tally.days.iter() {
                    let address = format!("@{domain}");
                    self.sent(&sender, &address, day, mails, |_| trusted);
                    mails = 0;
                }
            }
            let addresses = outbound.mailboxes.into_iter().flatten();
            if let Some(mailboxes) =
                (self.sent.get_mut(&domain)).and_then(|place| place.mailboxes.as_mut())
            {
                for (address, day) in addresses {
                    if self.size < MOST && mailboxes.insert(address, day).is_none() {
                        self.size += 1;
                    }
                }
            }
        }
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.sent.is_empty() && self.received.is_empty()
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
        batch.merge(earlier);
        let outbound = &batch.sent["army.mil"];
        let tally = outbound.senders["a@site.example"];
        assert_eq!((tally.mails, tally.days.count()), (4, 2));
        let known: Vec<&str> = (outbound.mailboxes.iter().flatten())
            .map(|(address, _)| &**address)
            .collect();
        assert_eq!(known, ["carl@army.mil"]);
        assert_eq!(batch.received["army.mil"].count(), 1);
    }
}
