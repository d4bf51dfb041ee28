//! Addresses at trusted domains that mail went to, counted in memory until they are written.

use std::hash::{BuildHasher as _, Hasher as _};

use foldhash::fast::RandomState;
use hashbrown::HashTable;

use crate::store::Day;

/// Most addresses that wait to be looked up; 16 bytes each, and the local part.
const MOST_WAITING: usize = 1 << 8;

/// Returns whether a local part names a role and no person, or nobody: such are everywhere, so that knowing
/// them says nothing (RFC 2142, and what sites add).
pub(super) fn is_role(local: &str) -> bool {
    matches!(
        local,
        "" | "abuse"
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

/// The addresses, and those that wait to be looked up among them: so many at once, because a
/// processor told of many places in memory waits for them at the same time.
#[derive(Debug, Default)]
pub(super) struct Mailboxes {
    waiting: Vec<Waiting>,
    /// The local parts of those, one after the other.
    waiting_text: Vec<u8>,
    /// By domain and local part.
    last_on: HashTable<LastOn>,
    known: Vec<Known>,
    /// The local parts of those, one after the other.
    text: String,
    hasher: RandomState,
}

/// A hash, and in the midst of it, which the table does not ask for, the number of a day.
///
/// Eight bytes hold all that is asked of an address that is known. Two addresses with the same 48
/// bits would be taken for one: that may happen to one site in thousands.
#[derive(Clone, Copy, Debug)]
struct LastOn(u64);

impl LastOn {
    const DAY: u64 = 0xffff << 32;

    fn new(hash: u64, day: Day) -> LastOn {
        LastOn(hash & !LastOn::DAY | day.number().unsigned_abs() << 32)
    }

    fn hash(self) -> u64 {
        self.0 & !LastOn::DAY
    }

    fn day(self) -> Day {
        Day::numbered(i64::from((self.0 >> 32) as u16))
    }
}

#[derive(Clone, Copy, Debug)]
struct Waiting {
    last_on: LastOn,
    domain: u32,
    begin: u16,
    length: u8,
}

#[derive(Clone, Copy, Debug)]
struct Known {
    domain: u32,
    begin: u32,
    length: u8,
}

/// An address at the domain of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mailbox<'a> {
    pub(super) domain: u32,
    pub(super) local: &'a str,
    pub(super) last_on: Day,
}

impl Mailboxes {
    /// Notes an address by its local part in comparable form, and returns whether it is time to
    /// [`Mailboxes::look_up`].
    pub(super) fn note(&mut self, domain: u32, local: &[u8], day: Day) -> bool {
        // What is longer is no mailbox (RFC 5321, 4.5.3.1.1: 64 octets).
        let (Ok(begin), Ok(length)) = (
            u16::try_from(self.waiting_text.len()),
            u8::try_from(local.len()),
        ) else {
            return false;
        };
        self.waiting_text.extend_from_slice(local);
        self.waiting.push(Waiting {
            last_on: LastOn::new(self.hash(domain, local), day),
            domain,
            begin,
            length,
        });
        self.waiting.len() >= MOST_WAITING
    }

    /// Looks up the addresses that wait; up to `room` new ones are kept.
    pub(super) fn look_up(&mut self, mut room: usize) {
        for address in self.waiting.drain(..) {
            let hash = address.last_on.hash();
            let same = |known: &LastOn| known.hash() == hash;
            if let Some(known) = self.last_on.find_mut(hash, same) {
                known.0 = known.0.max(address.last_on.0);
                continue;
            }
            let begin = usize::from(address.begin);
            let local = (self.waiting_text)
                .get(begin..begin + usize::from(address.length))
                .unwrap_or_default();
            let (Ok(local), Ok(begin)) =
                (std::str::from_utf8(local), u32::try_from(self.text.len()))
            else {
                continue;
            };
            if room > 0 && !is_role(local) {
                room -= 1;
                self.text.push_str(local);
                self.known.push(Known {
                    domain: address.domain,
                    begin,
                    length: address.length,
                });
                (self.last_on).insert_unique(hash, address.last_on, |known| known.hash());
            }
        }
        self.waiting_text.clear();
    }

    /// Returns how many are known.
    pub(super) fn len(&self) -> usize {
        self.known.len()
    }

    /// Returns how many wait to be looked up.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Returns those that are known.
    pub(super) fn iter(&self) -> impl Iterator<Item = Mailbox<'_>> {
        self.known.iter().filter_map(|known| {
            let begin = known.begin as usize;
            let local = (self.text).get(begin..begin + usize::from(known.length))?;
            let hash = self.hash(known.domain, local.as_bytes()) & !LastOn::DAY;
            let last_on = (self.last_on).find(hash, |other| other.hash() == hash)?;
            Some(Mailbox {
                domain: known.domain,
                local,
                last_on: last_on.day(),
            })
        })
    }

    fn hash(&self, domain: u32, local: &[u8]) -> u64 {
        let mut hash = self.hasher.build_hasher();
        hash.write_u32(domain);
        hash.write(local);
        hash.finish()
    }
}
