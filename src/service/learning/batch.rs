//! Mail counted in memory until it is written: live mail for seconds, a log for millions of
//! lines. Bounded; what does not fit is counted as left out and changes no verdict.

use foldhash::fast::RandomState;
use indexmap::{IndexMap, IndexSet};

use super::mailboxes::Mailboxes;
use crate::store::{Day, Days};

/// Most pairs of sender and domain, domains and addresses together; some 30 MB.
const MOST: usize = 400_000;

/// Most mails that wait to be added up; 8 bytes each, and as many to sort them.
const MOST_WAITING: usize = 1 << 18;
/// Most answers that wait; 8 bytes each.
const MOST_ANSWERS: usize = 1 << 10;
/// Bits of the number of a domain or a sender.
const NUMBER_BITS: u32 = 19;
const _: () = assert!(MOST <= 1 << NUMBER_BITS);
/// So many that room is made for all that may wait.
const MANY: usize = 1 << 12;

/// Mail to be counted.
///
/// Names are numbered in the order in which they came. A mail is then a few numbers at the end of
/// a list, which is sorted and added up now and then: looking for the place of each mail among a
/// hundred thousand others would cost a log of millions of lines much more.
#[derive(Debug, Default)]
pub struct Batch {
    pub(super) domains: IndexMap<Box<str>, Side, RandomState>,
    pub(super) senders: IndexSet<Box<str>, RandomState>,
    mails: Vec<Mail>,
    /// Room to sort them.
    room: Vec<Mail>,
    /// What [`Batch::add_up`] made of `mails`, in order.
    pub(super) pairs: Vec<(Pair, Tally)>,
    /// Answers that wait, the number of the domain and the day: so many at once, because a
    /// processor told of many places in memory waits for them at the same time.
    answers: Vec<(u32, Day)>,
    /// Addresses at trusted domains that mail went to.
    pub(super) mailboxes: Mailboxes,
    left_out: u64,
}

/// A domain.
#[derive(Debug, Default)]
pub(super) struct Side {
    /// Whether an entry covers it; `None` before mail went to it.
    trusted: Option<bool>,
    /// The days on which mail came from it.
    pub(super) received: Days,
}

impl Side {
    /// Returns whether mail went to it.
    pub(super) fn is_recipient(&self) -> bool {
        self.trusted.is_some()
    }
}

/// A recipient domain and a sender, by their numbers: in one, because that sorts faster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Pair(u64);

impl Pair {
    fn new(domain: u32, sender: u32) -> Pair {
        Pair(u64::from(domain) << u32::BITS | u64::from(sender))
    }

    pub(super) fn domain(self) -> u32 {
        (self.0 >> u32::BITS) as u32
    }

    pub(super) fn sender(self) -> u32 {
        self.0 as u32
    }
}

/// A mail, or when it is not new a day on which there was mail that was counted before: domain,
/// sender, day and whether it is new, in one.
#[derive(Clone, Copy, Debug)]
struct Mail(u64);

impl Mail {
    fn new(pair: Pair, day: Day, new: bool) -> Mail {
        let pair = u64::from(pair.domain()) << NUMBER_BITS | u64::from(pair.sender());
        Mail(pair << (u16::BITS + 1) | day.number().unsigned_abs() << 1 | u64::from(new))
    }

    fn domain(self) -> u32 {
        (self.0 >> (u16::BITS + 1 + NUMBER_BITS)) as u32
    }

    fn sender(self) -> u32 {
        (self.0 >> (u16::BITS + 1)) as u32 & ((1 << NUMBER_BITS) - 1)
    }

    fn pair(self) -> Pair {
        Pair::new(self.domain(), self.sender())
    }

    fn day(self) -> Day {
        Day::numbered(i64::from((self.0 >> 1) as u16))
    }

    fn is_new(self) -> bool {
        self.0 & 1 == 1
    }
}

/// Mail of one sender to one domain.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) days: Days,
    pub(super) mails: u64,
}

impl Tally {
    pub(super) fn add(&mut self, other: &Tally) {
        self.days.merge(&other.days);
        self.mails += other.mails;
    }
}

impl Batch {
    /// Counts a mail from `sender` to `local` at `domain` (as compared) that was accepted on `day`,
    /// or without `new` only the day. `is_trusted` is asked once for every domain.
    pub fn sent(
        &mut self,
        sender: &str,
        local: &str,
        domain: &str,
        day: Day,
        new: bool,
        is_trusted: impl FnOnce() -> bool,
    ) {
        let Some((domain, trusted)) = self.recipient_domain(domain, is_trusted) else {
            return;
        };
        let Some(sender) = self.sender(sender) else {
            return;
        };
        self.mail(sender, domain, day, new);
        if trusted {
            self.address(domain, local.as_bytes(), day);
        }
    }

    /// Counts a mail by the numbers of its sender and its recipient's domain.
    pub(super) fn mail(&mut self, sender: u32, domain: u32, day: Day, new: bool) {
        if self.mails.len() >= MOST_WAITING {
            self.add_up();
        }
        if self.mails.len() == self.mails.capacity() && self.mails.len() >= MANY {
            // So that they need not move as they become more.
            let room = MOST_WAITING.saturating_sub(self.mails.len());
            self.mails.reserve_exact(room);
        }
        self.mails
            .push(Mail::new(Pair::new(domain, sender), day, new));
    }

    /// Returns the number of a domain, a new one if it fits.
    fn domain(&mut self, name: &str) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        let number = match self.domains.get_index_of(name) {
            Some(number) => number,
            // The other half is for the mail to them.
            None if self.domains.len() >= MOST / 2 => {
                self.left_out += 1;
                return None;
            }
            None => (self.domains).insert_full(name.into(), Side::default()).0,
        };
        u32::try_from(number).ok()
    }

    /// Returns the number of a domain that mail goes to, and whether it is trusted.
    pub(super) fn recipient_domain(
        &mut self,
        name: &str,
        is_trusted: impl FnOnce() -> bool,
    ) -> Option<(u32, bool)> {
        let number = self.domain(name)?;
        let (_, side) = self.domains.get_index_mut(number as usize)?;
        Some((number, *side.trusted.get_or_insert_with(is_trusted)))
    }

    /// Returns the number of a sender, a new one if it fits.
    pub(super) fn sender(&mut self, name: &str) -> Option<u32> {
        if name.is_empty() {
            return None;
        }
        let number = match self.senders.get_index_of(name) {
            Some(number) => number,
            None if self.senders.len() >= MOST => {
                self.left_out += 1;
                return None;
            }
            None => self.senders.insert_full(name.into()).0,
        };
        u32::try_from(number).ok()
    }

    /// Notes an address at the trusted domain of this number by its local part in comparable form.
    pub(super) fn address(&mut self, domain: u32, local: &[u8], day: Day) {
        if self.mailboxes.note(domain, local, day) {
            self.look_up();
        }
    }

    /// Looks up the addresses that wait; new ones are kept as far as they fit.
    fn look_up(&mut self) {
        let room = MOST.saturating_sub(self.size());
        self.mailboxes.look_up(room);
    }

    /// Counts a mail that came from `domain` on `day`, and returns the number of the domain.
    pub fn received(&mut self, domain: &str, day: Day) -> Option<u32> {
        let number = self.domain(domain)?;
        self.received_from(number, day);
        Some(number)
    }

    /// Counts a mail that came from the domain of this number.
    pub(super) fn received_from(&mut self, domain: u32, day: Day) {
        self.answers.push((domain, day));
        if self.answers.len() >= MOST_ANSWERS {
            self.add_answers();
        }
    }

    fn add_answers(&mut self) {
        for (domain, day) in self.answers.drain(..) {
            if let Some((_, side)) = self.domains.get_index_mut(domain as usize) {
                side.received.add(day);
            }
        }
    }

    /// Adds up what waits to be.
    pub(super) fn add_up(&mut self) {
        let mut mails = std::mem::take(&mut self.mails);
        let mut sorted = std::mem::take(&mut self.room);
        let (senders, domains) = (self.senders.len(), self.domains.len());
        sort_by_number(&mut mails, &mut sorted, senders, |mail| mail.sender());
        sort_by_number(&mut mails, &mut sorted, domains, |mail| mail.domain());
        let pairs = mails.chunk_by(|one, other| one.pair() == other.pair());
        self.add_pairs(
            pairs.filter_map(|mails| Some((mails.first()?.pair(), mails))),
            |mails| {
                let mut tally = Tally::default();
                for mail in *mails {
                    tally.days.add(mail.day());
                    tally.mails += u64::from(mail.is_new());
                }
                tally
            },
        );
        mails.clear();
        self.mails = mails;
        self.room = sorted;
        self.look_up();
        self.add_answers();
    }

    /// Adds pairs that are in order, as far as new ones fit, in the place where the others are.
    fn add_pairs<T>(
        &mut self,
        pairs: impl DoubleEndedIterator<Item = (Pair, T)> + Clone,
        tally: impl Fn(&T) -> Tally,
    ) {
        let room = MOST.saturating_sub(self.size());
        let mut known = self.pairs.iter().map(|(pair, _)| *pair).peekable();
        let mut unknown = (pairs.clone())
            .filter(|(pair, _)| {
                while known.next_if(|known| known < pair).is_some() {}
                known.peek() != Some(pair)
            })
            .count();
        // From the end, so that everything moves only once.
        let mut known = self.pairs.len();
        let mut end = known + unknown.min(room);
        self.pairs.resize(end, (Pair(0), Tally::default()));
        for (pair, mails) in pairs.rev() {
            let mut tally = tally(&mails);
            let mut is_known = false;
            while let Some(before) = known.checked_sub(1)
                && let Some(mut other) = self.pairs.get(before).copied()
                && other.0 >= pair
            {
                known = before;
                if other.0 == pair {
                    other.1.add(&tally);
                    (tally, is_known) = (other.1, true);
                    break;
                }
                end -= 1;
                if let Some(place) = self.pairs.get_mut(end) {
                    *place = other;
                }
            }
            if !is_known {
                unknown -= 1;
                if unknown >= room {
                    self.left_out += tally.mails;
                    continue;
                }
            }
            end -= 1;
            if let Some(place) = self.pairs.get_mut(end) {
                *place = (pair, tally);
            }
        }
    }

    /// Adds everything of an `earlier` batch that could not be written.
    pub(super) fn merge(&mut self, mut earlier: Batch) {
        earlier.add_up();
        self.add_up();
        self.left_out += earlier.left_out;
        let numbers: Vec<Option<u32>> = (earlier.domains.iter())
            .map(|(name, theirs)| {
                let number = self.domain(name)?;
                let (_, side) = self.domains.get_index_mut(number as usize)?;
                side.trusted = side.trusted.or(theirs.trusted);
                side.received.merge(&theirs.received);
                Some(number)
            })
            .collect();
        let domain = |number: u32| numbers.get(number as usize).copied().flatten();
        let mut pairs: Vec<(Pair, Tally)> = (earlier.pairs.iter())
            .filter_map(|(pair, tally)| {
                let sender = earlier.senders.get_index(pair.sender() as usize)?;
                Some((
                    Pair::new(domain(pair.domain())?, self.sender(sender)?),
                    *tally,
                ))
            })
            .collect();
        pairs.sort_unstable_by_key(|(pair, _)| *pair);
        self.add_pairs(pairs.into_iter(), |tally| *tally);
        for mailbox in earlier.mailboxes.iter() {
            if let Some(domain) = domain(mailbox.domain) {
                self.address(domain, mailbox.local.as_bytes(), mailbox.last_on);
            }
        }
        self.look_up();
    }

    /// Forgets all but how many mails did not fit.
    pub(super) fn empty(&mut self) {
        *self = Batch {
            left_out: self.left_out,
            ..Batch::default()
        };
    }

    /// Returns whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        // Each mail and each answer is from or to one.
        self.domains.is_empty()
    }

    /// Returns whether it is time to write, so that everything goes on fitting.
    pub fn is_nearly_full(&mut self) -> bool {
        // The next mail may bring a domain, a pair and an address.
        if self.size() + self.mails.len() + self.mailboxes.waiting() + 3 > MOST {
            self.add_up();
        }
        self.size() >= MOST / 2
    }

    fn size(&self) -> usize {
        self.domains.len() + self.pairs.len() + self.mailboxes.len()
    }

    /// Returns how many mails did not fit.
    pub fn left_out(&self) -> u64 {
        self.left_out
    }
}

/// Sorts by a number below `numbers`, and keeps the order of those with the same. `room` is room
/// to do so.
///
/// Numbers that were given one after the other lie close, so each one's place can be counted out:
/// several times as fast as comparing.
fn sort_by_number<T: Copy>(
    list: &mut Vec<T>,
    room: &mut Vec<T>,
    numbers: usize,
    number: impl Fn(&T) -> u32,
) {
    if numbers > list.len() {
        list.sort_by_key(number);
        return;
    }
    let mut places = vec![0usize; numbers + 1];
    for one in &*list {
        if let Some(count) = places.get_mut(number(one) as usize + 1) {
            *count += 1;
        }
    }
    let mut begin = 0;
    for place in &mut places {
        begin += *place;
        *place = begin;
    }
    if let Some(any) = list.first() {
        room.resize(list.len(), *any);
    }
    for one in &*list {
        if let Some(place) = places.get_mut(number(one) as usize)
            && let Some(sorted) = room.get_mut(*place)
        {
            *sorted = *one;
            *place += 1;
        }
    }
    std::mem::swap(list, room);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_batch_is_bounded_and_says_what_it_left_out() {
        let mut batch = Batch::default();
        let day = Day::numbered(20_000);
        let send = |batch: &mut Batch, n: usize| {
            let domain = format!("d{n}.example");
            batch.sent("a@site.example", "x", &domain, day, true, || true);
        };
        for n in 0..MOST {
            send(&mut batch, n);
            batch.received(&format!("in{n}.example"), day);
        }
        batch.add_up();
        assert!(batch.size() <= MOST, "{}", batch.size());
        let left_out = batch.left_out();
        assert!(left_out > 0);
        // What is known goes on being counted.
        let (pair, before) = batch.pairs[0];
        send(&mut batch, 0);
        batch.add_up();
        let (same, after) = batch.pairs[0];
        assert_eq!((same, after.mails), (pair, before.mails + 1));
        assert_eq!(batch.left_out(), left_out);
    }

    #[test]
    fn who_writes_in_time_leaves_nothing_out() {
        let mut batch = Batch::default();
        let mut written = 0;
        for n in 0..3 * MOST {
            let local = format!("x{n}");
            let sender = format!("s{n}@site.example");
            batch.sent(
                &sender,
                &local,
                "d.example",
                Day::numbered(20_000),
                true,
                || true,
            );
            if batch.is_nearly_full() {
                batch.add_up();
                written += batch.pairs.len();
                assert_eq!(
                    (batch.left_out(), batch.pairs.len()),
                    (0, batch.mailboxes.len())
                );
                batch = Batch::default();
            }
        }
        batch.add_up();
        assert_eq!(
            (written + batch.pairs.len(), batch.left_out()),
            (3 * MOST, 0)
        );
    }

    #[test]
    fn mail_in_any_order_is_added_up_alike() {
        let day = |n: usize| Day::numbered(20_000 + n as i64 % 5);
        let mail = |batch: &mut Batch, n: usize| {
            let sender = format!("{}@site.example", n % 7);
            let (local, domain) = (format!("{}", n % 11), format!("d{}.example", n % 3));
            batch.sent(
                &sender,
                &local,
                &domain,
                day(n),
                n.is_multiple_of(2),
                || domain != "d2.example",
            );
        };
        let (mut one, mut other) = (Batch::default(), Batch::default());
        for n in 0..1000 {
            mail(&mut one, n);
        }
        for n in (0..1000).rev() {
            mail(&mut other, n);
            if n % 100 == 0 {
                other.add_up();
            }
        }
        let told = |mut batch: Batch| {
            batch.add_up();
            let name = |number: u32| batch.domains.get_index(number as usize).unwrap().0.clone();
            let mut pairs: Vec<_> = (batch.pairs.iter())
                .map(|(pair, tally)| {
                    let sender = batch.senders.get_index(pair.sender() as usize).unwrap();
                    (
                        name(pair.domain()),
                        sender.clone(),
                        tally.mails,
                        tally.days.octets(),
                    )
                })
                .collect();
            let mut mailboxes: Vec<_> = (batch.mailboxes.iter())
                .map(|mailbox| {
                    (
                        name(mailbox.domain),
                        mailbox.local.to_owned(),
                        mailbox.last_on,
                    )
                })
                .collect();
            pairs.sort();
            mailboxes.sort();
            (pairs, mailboxes)
        };
        let (one, other) = (told(one), told(other));
        assert_eq!((one.0.len(), one.1.len()), (21, 22));
        assert_eq!(one.0.iter().map(|pair| pair.2).sum::<u64>(), 500);
        assert_eq!(one, other);
    }

    #[test]
    fn what_could_not_be_written_is_kept() {
        let day = Day::numbered(20_000);
        let mut earlier = Batch::default();
        for (local, domain) in [
            ("eva", "navy.mil"),
            ("carl", "army.mil"),
            ("carl", "army.mil"),
        ] {
            earlier.sent("a@site.example", local, domain, day, true, || true);
        }
        earlier.sent(
            "a@site.example",
            "info",
            "army.mil",
            day.before(3),
            true,
            || true,
        );
        earlier.received("army.mil", day);
        let mut batch = Batch::default();
        batch.sent("a@site.example", "carl", "army.mil", day, true, || true);
        batch.merge(earlier);
        let names: Vec<&str> = batch.domains.keys().map(|name| &**name).collect();
        assert_eq!(names, ["army.mil", "navy.mil"]);
        let tallies: Vec<(u32, u64, usize)> = (batch.pairs.iter())
            .map(|(pair, tally)| (pair.domain(), tally.mails, tally.days.count()))
            .collect();
        assert_eq!(tallies, [(0, 4, 2), (1, 1, 1)]);
        let mut known: Vec<(u32, &str)> = (batch.mailboxes.iter())
            .map(|mailbox| (mailbox.domain, mailbox.local))
            .collect();
        known.sort_unstable();
        assert_eq!(known, [(0, "carl"), (1, "eva")]);
        assert_eq!(batch.domains["army.mil"].received.count(), 1);
    }
}
