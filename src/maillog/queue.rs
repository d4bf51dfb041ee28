//! The messages under way: what earlier lines said about a queue id.
//!
//! Memory is bounded. A message leaves when Postfix says `removed`, some minutes after all
//! recipients of a Sendmail message are done, when nothing was heard of it for longer than MTAs
//! keep trying, and at the latest when there are too many.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::HashMap;
use foldhash::fast::RandomState;
use hashbrown::HashTable;

use super::record::Entrance;
use super::refusal::Waiting;

/// Longer than both MTAs keep a message by default (five days), in seconds.
const KEPT: u64 = 6 * 86_400;
/// How long a message is kept when all its recipients seem done: aliases may add some.
const KEPT_DONE: u64 = 600;
/// Most messages under way; beyond that the half not heard of for longest is forgotten. A
/// quarter million is a queue in serious trouble, and some 100 MB.
const MOST: usize = 262_144;
/// Most recipients of one message that are remembered as tried before.
const MOST_TRIED: usize = 65_536;
/// Most refused recipients that wait for the line with their sender, which comes at the end of
/// the transaction: a thousand clients with a hundred each.
const MOST_REFUSED: usize = 100_000;

/// Where a message is kept; valid until the next message is added.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot(u32);

/// One message under way.
#[derive(Debug, Default)]
pub(crate) struct Entry {
    live: bool,
    hash: u64,
    id: Vec<u8>,
    /// Counts the messages of a run, from 1.
    pub(crate) number: u64,
    sender: Option<Vec<u8>>,
    login: Option<Vec<u8>>,
    /// Room of the former, to be used again.
    spare: Vec<Vec<u8>>,
    pub(crate) entrance: Entrance,
    pub(crate) peer: Option<IpAddr>,
    pub(crate) ip: Option<IpAddr>,
    message_id: Option<u64>,
    /// Whether a line told of its Message-ID, be it none.
    message_id_told: bool,
    /// The client of a later hop of the same message.
    pub(crate) next_hop: Option<IpAddr>,
    /// Whether it came back from a filter.
    pub(crate) again: bool,
    pub(crate) expected: u32,
    pub(crate) finished: u32,
    /// Whether a delivery of it was told.
    pub(crate) told: bool,
    touched: i64,
    /// Recipients that were refused, until the sender is known.
    refused: Vec<Waiting>,
    /// Recipients told of before, and original recipients, as hashes.
    tried: Vec<u64>,
    originals: Vec<u64>,
}

impl Entry {
    pub(crate) fn sender(&self) -> Option<&[u8]> {
        self.sender.as_deref()
    }

    pub(crate) fn login(&self) -> Option<&[u8]> {
        self.login.as_deref()
    }

    pub(crate) fn set_sender(&mut self, sender: &[u8]) {
        set(&mut self.sender, &mut self.spare, sender);
    }

    pub(crate) fn set_login(&mut self, login: &[u8]) {
        set(&mut self.login, &mut self.spare, login);
    }

    /// Returns whether this recipient was not told of before, and remembers it when it may
    /// come again.
    pub(crate) fn first_try(&mut self, recipient: u64, may_come_again: bool) -> bool {
        first(&mut self.tried, recipient, may_come_again)
    }

    /// Returns whether this original recipient was not told of before.
    pub(crate) fn first_original(&mut self, original: u64) -> bool {
        first(&mut self.originals, original, true)
    }

    /// Returns whether Postfix has told who brought it, or what became of it.
    ///
    /// A line that two daemons wrote at the same moment may come before that of the client.
    pub(crate) fn is_begun(&self) -> bool {
        self.entrance != Entrance::Unknown || self.told
    }

    /// Returns whether Postfix has told its Message-ID and, behind that, its sender: the first is
    /// told as the message comes in, the second when it is in the queue.
    pub(crate) fn is_queued(&self) -> bool {
        self.message_id_told && self.sender.is_some()
    }

    /// Forgets all but the queue id.
    fn clear(&mut self) {
        self.spare.extend(self.sender.take());
        self.spare.extend(self.login.take());
        self.refused = Vec::new();
        self.tried.clear();
        self.tried.shrink_to(16);
        self.originals.clear();
        self.entrance = Entrance::Unknown;
        (self.peer, self.ip, self.message_id, self.next_hop) = (None, None, None, None);
        (self.again, self.told, self.message_id_told) = (false, false, false);
        (self.expected, self.finished) = (0, 0);
    }
}

fn set(field: &mut Option<Vec<u8>>, spare: &mut Vec<Vec<u8>>, value: &[u8]) {
    let field = field.get_or_insert_with(|| spare.pop().unwrap_or_default());
    field.clear();
    field.extend_from_slice(value);
}

fn first(seen: &mut Vec<u64>, one: u64, remember: bool) -> bool {
    if seen.contains(&one) {
        return false;
    }
    if remember && seen.len() < MOST_TRIED {
        seen.push(one);
    }
    true
}

/// The messages under way.
#[derive(Debug)]
pub(crate) struct Queue {
    entries: Vec<Entry>,
    free: Vec<u32>,
    index: HashTable<u32>,
    by_message_id: HashMap<u64, u32>,
    hasher: RandomState,
    messages: u64,
    since_sweep: usize,
    /// The times of the last three lines. Their median is the queue's clock: one line with a junk
    /// date does not move it.
    recent: Option<[i64; 3]>,
    /// Messages forgotten for want of room.
    pub(crate) evicted: u64,
    /// Refused recipients that wait for their sender.
    pub(crate) waiting: usize,
    /// Refused recipients whose sender never came.
    pub(crate) unheard: u64,
}

impl Queue {
    pub(crate) fn new() -> Queue {
        Queue {
            entries: Vec::new(),
            free: Vec::new(),
            index: HashTable::new(),
            by_message_id: HashMap::default(),
            hasher: RandomState::default(),
            messages: 0,
            since_sweep: 0,
            recent: None,
            evicted: 0,
            waiting: 0,
            unheard: 0,
        }
    }

    /// Returns the hash that names foreign bytes within this run.
    pub(crate) fn hash(&self, bytes: &[u8]) -> u64 {
        self.hasher.hash_one(bytes)
    }

    /// Returns the key of a queue id of this host and instance.
    pub(crate) fn key(&self, host: &[u8], instance: &[u8], id: &[u8]) -> u64 {
        self.hasher.hash_one((host, instance, id))
    }

    /// Returns the hash that names a process of this host.
    pub(crate) fn process(&self, host: &[u8], process: u32) -> u64 {
        self.hasher.hash_one((host, process))
    }

    pub(crate) fn find(&self, key: u64, id: &[u8]) -> Option<Slot> {
        (self.index)
            .find(key, |slot| self.is(*slot, key, id))
            .map(|slot| Slot(*slot))
    }

    fn is(&self, slot: u32, key: u64, id: &[u8]) -> bool {
        (self.entries.get(slot as usize)).is_some_and(|entry| entry.hash == key && entry.id == id)
    }

    pub(crate) fn entry(&mut self, slot: Slot) -> Option<&mut Entry> {
        self.entries.get_mut(slot.0 as usize)
    }

    /// Returns the message of this queue id, a new one when it is not under way.
    pub(crate) fn find_or_add(&mut self, key: u64, id: &[u8], time: i64) -> Slot {
        let now = self.tick(time);
        if let Some(slot) = self.find(key, id) {
            if let Some(entry) = self.entry(slot) {
                entry.touched = now;
            }
            return slot;
        }
        self.since_sweep += 1;
        if self.since_sweep > (self.index.len() / 2).max(4096) || self.index.len() >= MOST {
            self.sweep(now);
        }
        let slot = self.free.pop().unwrap_or_else(|| {
            self.entries.push(Entry::default());
            u32::try_from(self.entries.len() - 1).unwrap_or(u32::MAX)
        });
        self.messages += 1;
        if let Some(entry) = self.entries.get_mut(slot as usize) {
            entry.live = true;
            entry.hash = key;
            entry.id.extend_from_slice(id);
            entry.number = self.messages;
            entry.touched = now;
        }
        let entries = &self.entries;
        self.index.insert_unique(key, slot, |slot| {
            entries.get(*slot as usize).map_or(0, |entry| entry.hash)
        });
        Slot(slot)
    }

    /// Takes the time of a line, and returns what the queue takes for the time.
    fn tick(&mut self, time: i64) -> i64 {
        let [_, b, c] = self.recent.unwrap_or([time; 3]);
        self.recent = Some([b, c, time]);
        b.min(c).max(b.max(c).min(time))
    }

    /// Lets a refused recipient wait for the line with its sender; `false` when there is no room.
    pub(super) fn wait(&mut self, slot: Slot, refused: Waiting) -> bool {
        let room = self.waiting < MOST_REFUSED;
        if let Some(entry) = self.entries.get_mut(slot.0 as usize).filter(|_| room) {
            entry.refused.push(refused);
            self.waiting += 1;
        }
        room
    }

    /// Returns the refused recipients that waited for the sender.
    pub(super) fn waited(&mut self, slot: Slot) -> Vec<Waiting> {
        let refused = self
            .entry(slot)
            .map(|entry| std::mem::take(&mut entry.refused));
        let refused = refused.unwrap_or_default();
        self.waiting -= refused.len();
        refused
    }

    /// Notes the Message-ID of a message and joins it with an earlier hop of the same one.
    pub(crate) fn set_message_id(&mut self, slot: Slot, message_id: &[u8]) {
        let hash = self.hash(message_id);
        let Some(entry) = self.entries.get_mut(slot.0 as usize) else {
            return;
        };
        entry.message_id_told = true;
        if entry.message_id.is_some() || message_id.is_empty() || message_id == b"<>" {
            return;
        }
        entry.message_id = Some(hash);
        let peer = entry.peer;
        let owner = *self.by_message_id.entry(hash).or_insert(slot.0);
        if owner != slot.0
            && let Some(owner) = self.entries.get_mut(owner as usize)
        {
            owner.next_hop = peer;
        }
    }

    /// Returns to an entry whose sender is now known who had brought the message to the hop
    /// before. A mailing list sends with a sender of its own, so its mail is not taken for a hop.
    pub(crate) fn inherit(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get(slot.0 as usize) else {
            return;
        };
        let owner = (entry.message_id).and_then(|id| self.by_message_id.get(&id));
        let Some(owner) = owner.filter(|owner| **owner != slot.0) else {
            return;
        };
        let Some(owner) = self.entries.get(*owner as usize) else {
            return;
        };
        if entry.again || owner.sender != entry.sender {
            return;
        }
        let (entrance, ip, login) = (owner.entrance, owner.ip, owner.login.clone());
        if let Some(entry) = self.entries.get_mut(slot.0 as usize) {
            entry.again = true;
            if entrance != Entrance::Unknown {
                (entry.entrance, entry.ip) = (entrance, ip);
                if entry.login.is_none() {
                    entry.login = login;
                }
            }
        }
    }

    /// Begins another message with the same queue id: Postfix gives an id again when its file is
    /// gone, whatever the log said of that.
    pub(crate) fn begin_again(&mut self, slot: Slot) {
        self.forget(slot);
        self.messages += 1;
        if let Some(entry) = self.entries.get_mut(slot.0 as usize) {
            entry.number = self.messages;
        }
    }

    pub(crate) fn remove(&mut self, slot: Slot) {
        self.forget(slot);
        let Some(entry) = self
            .entries
            .get_mut(slot.0 as usize)
            .filter(|entry| entry.live)
        else {
            return;
        };
        let hash = entry.hash;
        entry.live = false;
        entry.id.clear();
        if let Ok(found) = self.index.find_entry(hash, |other| *other == slot.0) {
            found.remove();
        }
        self.free.push(slot.0);
    }

    /// Forgets what is known of the message behind a queue id.
    fn forget(&mut self, slot: Slot) {
        let Some(entry) = self.entries.get_mut(slot.0 as usize) else {
            return;
        };
        let message_id = entry.message_id;
        self.waiting -= entry.refused.len();
        self.unheard += entry.refused.len() as u64;
        entry.clear();
        if let Some(id) = message_id
            && self.by_message_id.get(&id) == Some(&slot.0)
        {
            self.by_message_id.remove(&id);
        }
    }

    /// Forgets what is done or too old, and when that is not enough, the older half.
    fn sweep(&mut self, now: i64) {
        self.since_sweep = 0;
        // A clock that was put back leaves times to come; they are no truer than times long past.
        self.retain(|entry| {
            let done = entry.expected > 0 && entry.finished >= entry.expected;
            now.abs_diff(entry.touched) <= if done { KEPT_DONE } else { KEPT }
        });
        if self.index.len() < MOST {
            return;
        }
        let mut times: Vec<i64> = (self.entries.iter())
            .filter(|entry| entry.live)
            .map(|entry| entry.touched)
            .collect();
        let middle = times.len() / 2;
        let median = *times.select_nth_unstable(middle).1;
        let before = self.index.len();
        self.retain(|entry| entry.touched > median);
        self.evicted += (before - self.index.len()) as u64;
    }

    fn retain(&mut self, keep: impl Fn(&Entry) -> bool) {
        let slots: Vec<u32> = (0u32..)
            .zip(&self.entries)
            .filter(|(_, entry)| entry.live && !keep(entry))
            .map(|(slot, _)| slot)
            .collect();
        for slot in slots {
            self.remove(Slot(slot));
        }
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.index.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_id_means_another_message_on_another_host() {
        let mut queue = Queue::new();
        let here = queue.key(b"mx1", b"postfix", b"ABCDE");
        let there = queue.key(b"mx2", b"postfix", b"ABCDE");
        let slot = queue.find_or_add(here, b"ABCDE", 0);
        assert_eq!(queue.find(here, b"ABCDE"), Some(slot));
        assert_eq!(queue.find(there, b"ABCDE"), None);
        queue.remove(slot);
        assert_eq!(queue.find(here, b"ABCDE"), None);
    }

    #[test]
    fn what_is_never_removed_is_forgotten_by_age_and_by_number() {
        let mut queue = Queue::new();
        for n in 0..20_000_u32 {
            let id = n.to_string();
            let key = queue.key(b"mx", b"", id.as_bytes());
            queue.find_or_add(key, id.as_bytes(), i64::from(n) * 3600);
        }
        assert!(queue.len() < 9000, "{}", queue.len());
        let mut queue = Queue::new();
        for n in 0..300_000_u32 {
            let id = n.to_string();
            let key = queue.key(b"mx", b"", id.as_bytes());
            queue.find_or_add(key, id.as_bytes(), i64::from(n) / 1000);
        }
        assert!(queue.len() <= MOST);
        assert!(queue.evicted > 0);
    }

    #[test]
    fn one_line_with_a_junk_date_does_not_make_the_queue_forget() {
        let mut queue = Queue::new();
        let live = queue.key(b"mx", b"", b"live");
        queue.find_or_add(live, b"live", 1000);
        for junk in [i64::from(i32::MAX), 0] {
            queue.find_or_add(live, b"live", 1000);
            // Every line begins a message, so that the sweep comes in the midst of them.
            for n in 0..10_000_u32 {
                let id = format!("{junk}-{n}");
                let time = if n % 100 == 50 { junk } else { 1000 };
                let key = queue.key(b"mx", b"", id.as_bytes());
                queue.find_or_add(key, id.as_bytes(), time);
            }
            assert!(queue.find(live, b"live").is_some(), "{junk}");
        }
    }

    #[test]
    fn a_clock_put_back_does_not_make_the_queue_forget_what_comes_then() {
        let mut queue = Queue::new();
        for n in 0..20_000_u32 {
            let id = n.to_string();
            let time = if n < 10 { 100 * KEPT as i64 } else { 1000 };
            let key = queue.key(b"mx", b"", id.as_bytes());
            queue.find_or_add(key, id.as_bytes(), time);
        }
        // The first line after it is not believed alone.
        let after = queue.key(b"mx", b"", b"11");
        assert!(queue.find(after, b"11").is_some());
        let first = queue.key(b"mx", b"", b"0");
        assert!(queue.find(first, b"0").is_none());
    }
}
