//! Finds the trusted names a typed name may have been meant as, without looking at all of them.
//!
//! One table answers every question. Each target is entered under the hash of its name without
//! dots and hyphens, of its labels joined by hyphens, of its registrable label, of that label's
//! skeleton, and of that label's first letters with none, one or two of them left out
//! (symmetric deletion: two labels at most two edits apart share such a remainder). A query
//! computes the same [hashes](super::keys), each in constant time from sums over the name, and asks
//! the filter of the bucket first, so the usual miss touches no more than a few cache lines. Where
//! many questions have something in common, the filters hold a mark for that, which is asked for
//! before them. What a deletion key proposes is compared at once, because most of it turns out too
//! far away.
//!
//! The index may propose too much, never too little; [`super::judge`] decides. A scan over
//! all targets is the oracle of the tests.

use super::keys::{
    BASE, Ends, LONGEST, Label, POWERS, PREFIX, SHORTEST_GLUED, Tag, bit, hash, key_count, keys,
    mix, term,
};
use super::label_slip::{close, edit_limit};
use super::name::{Name, folded};
use super::target::Target;
use super::words;

/// Most labels and hyphenated words a trusted name is looked for inside of another.
pub(super) const MOST_TOKENS: usize = 6;
/// Words of a typed name at which an embedded name may begin. Ordinary names have fewer than 8.
pub(super) const MOST_STARTS: usize = 16;

/// Shortest trusted label that is looked for at an end of another: `us-hp` for `us.hp`. Beside other
/// letters than a hyphen and a host it is [`SHORTEST_GLUED`].
const SHORTEST_PART: usize = 2;

/// Keys of two buckets, on average. More would fill the filters, fewer would cost memory.
const KEYS: usize = 13;
/// Targets whose keys are computed before the table is touched, so that the processor waits for many
/// places in memory at a time.
const BATCH: usize = 64;
/// Most items of a bucket that is searched from its start. A bucket is long where many labels have
/// the same first letters.
const SHORT: usize = 16;
/// Most bits of an item that hold the number of the target; the others hold part of its hash.
const ID_BITS: u32 = 24;

/// The ways in which labels end, as the filters tell them apart.
#[derive(Clone, Copy)]
struct EndSet(u64);

impl EndSet {
    /// That of the keys that are good for all labels.
    const ANY: EndSet = EndSet(1);

    fn of(ends: &[u64]) -> EndSet {
        EndSet(ends.iter().fold(0, |set, end| set | 1 << (end >> 58)))
    }
}

/// Where a key belongs. The hash times the number of buckets gives the bucket by its upper half and
/// what else is chosen by its lower one: the first bit of the filter by the last bits (the number is
/// odd, so none of them is lost), the second one by the first bits, the fingerprint by those between.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    rest: u64,
}

impl Place {
    #[inline]
    fn of(hash: u64, buckets: usize) -> Place {
        let wide = u128::from(hash) * buckets as u128;
        Place {
            bucket: (wide >> 64) as usize,
            rest: wide as u64,
        }
    }

    /// The bits of the filter that a key sets; the second one for a label that ends as given.
    #[inline]
    fn first_bit(&self) -> u64 {
        1 << (self.rest & 63)
    }

    #[inline]
    fn second_bit(&self, end: u64) -> u64 {
        (1u64 << (end >> 58)).rotate_left((self.rest >> 58) as u32)
    }

    /// Returns whether the filter of the bucket has both bits, the second one for a label that ends
    /// in one of the ways of `ends`.
    #[inline]
    fn passes(&self, filter: u64, ends: EndSet) -> bool {
        filter & self.first_bit() != 0
            && filter.rotate_right((self.rest >> 58) as u32) & ends.0 != 0
    }

    /// The bits of an item beside the number of the target, for a label that ends as given.
    #[inline]
    fn fingerprint(&self, end: u64, id_bits: u32) -> u32 {
        (((self.rest >> 20) ^ (end >> 32)) as u32) << id_bits
    }
}

/// The table. Immutable once built.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// Two bits for each key and each mark of the bucket.
    filters: Vec<u64>,
    /// Where the items of a bucket begin.
    starts: Vec<u32>,
    items: Vec<u32>,
    /// Bits of an item that hold the number of the target.
    id_bits: u32,
    /// Whether a target allows two edits in a label shorter than others do.
    has_largest: bool,
    /// The lengths of the labels of the targets.
    lengths: u64,
    /// Bytes of the longest target.
    longest_name: usize,
    /// Bytes of the longest target without dots and hyphens.
    longest_folded: usize,
}

impl Index {
    /// Most targets one index holds.
    pub(super) const MOST: usize = (1 << ID_BITS) - 1;

    /// Builds the index; targets beyond [`Index::MOST`] are left out.
    pub(super) fn build(targets: &[Target]) -> Index {
        let targets = targets.get(..Index::MOST).unwrap_or(targets);
        // Two passes over the keys instead of a list of them: a list would need three times the
        // memory of the index.
        let count: usize = targets.iter().map(key_count).sum();
        let buckets = (2 * count / KEYS) | 1;
        let mut filters = vec![0u64; buckets];
        let mut starts = vec![0u32; buckets + 1];
        let mut batch: Vec<(Place, Option<u64>)> = Vec::new();
        for targets in targets.chunks(BATCH) {
            batch.clear();
            for target in targets {
                keys(target, |hash, end| {
                    batch.push((Place::of(hash, buckets), end))
                });
            }
            for (place, end) in &batch {
                starts[place.bucket + 1] += u32::from(end.is_some());
                filters[place.bucket] |= place.first_bit() | place.second_bit(end.unwrap_or(0));
            }
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut items = vec![0u32; sum as usize];
        let id_bits = (usize::BITS - targets.len().leading_zeros()).min(ID_BITS);
        // Each bucket is filled from its start, which ends up at the start of the next one.
        let mut ids = 0u32..;
        let mut batch: Vec<(usize, u32)> = Vec::new();
        for targets in targets.chunks(BATCH) {
            batch.clear();
            for (target, id) in targets.iter().zip(&mut ids) {
                keys(target, |hash, end| {
                    let Some(end) = end else { return };
                    let place = Place::of(hash, buckets);
                    batch.push((place.bucket, id | place.fingerprint(end, id_bits)));
                });
            }
            for (at, _) in &mut batch {
                let next = &mut starts[*at];
                *at = *next as usize;
                *next += 1;
            }
            for (at, item) in &batch {
                items[*at] = *item;
            }
        }
        starts.rotate_right(1);
        if let Some(first) = starts.first_mut() {
            *first = 0;
        }
        for range in starts.windows(2) {
            items[range[0] as usize..range[1] as usize].sort_unstable();
        }
        Index {
            filters,
            starts,
            items,
            id_bits,
            has_largest: targets.iter().any(|target| target.largest),
            lengths: (targets.iter()).fold(0, |set, target| set | length_bit(target.label().len())),
            longest_name: targets
                .iter()
                .map(|target| target.text().len())
                .max()
                .unwrap_or(0),
            longest_folded: targets
                .iter()
                .map(|target| folded(target.text()).count())
                .max()
                .unwrap_or(0),
        }
    }

    /// Bytes of memory in use.
    pub(super) fn size(&self) -> usize {
        8 * self.filters.len() + 4 * (self.starts.len() + self.items.len())
    }

    /// Returns where a key is, if it may be there.
    #[inline(always)]
    fn find(&self, hash: u64, ends: EndSet) -> Option<Place> {
        let place = Place::of(hash, self.filters.len());
        let filter = self.filters.get(place.bucket)?;
        place.passes(*filter, ends).then_some(place)
    }

    #[inline(always)]
    fn probe(&self, hash: u64, each: &mut impl FnMut(u32)) {
        if let Some(place) = self.find(hash, EndSet::ANY) {
            self.propose(place, each);
        }
    }

    #[inline]
    fn is_marked(&self, hash: u64) -> bool {
        self.find(hash, EndSet::ANY).is_some()
    }

    /// Calls `each` with what a key proposes.
    #[cold]
    #[inline(never)]
    fn propose(&self, place: Place, each: &mut impl FnMut(u32)) {
        self.search(place, 0, each);
    }

    /// The same for a key of labels that end in one of the ways given.
    #[cold]
    #[inline(never)]
    fn propose_ending(&self, place: Place, ends: &[u64], each: &mut impl FnMut(u32)) {
        let filter = self.filters.get(place.bucket).copied().unwrap_or(0);
        for end in ends {
            if filter & place.second_bit(*end) != 0 {
                self.search(place, *end, each);
            }
        }
    }

    /// Looks for the items of a bucket that have the fingerprint; they are sorted.
    #[inline(always)]
    fn search(&self, place: Place, end: u64, each: &mut impl FnMut(u32)) {
        let Some([from, to, ..]) = self.starts.get(place.bucket..) else {
            return;
        };
        let range = *from as usize..*to as usize;
        let mut items = self.items.get(range).unwrap_or_default();
        let first = place.fingerprint(end, self.id_bits);
        if items.len() > SHORT {
            let at = items.partition_point(|item| *item < first);
            items = items.get(at..).unwrap_or_default();
        }
        while let [item, next @ ..] = items {
            if *item >= first {
                let last = first | ((1u32 << self.id_bits) - 1);
                // Mostly another key's.
                if *item <= last {
                    hand_over(items, first, last, each);
                }
                return;
            }
            items = next;
        }
    }

    /// Calls `each` with every one of the `targets`, those the index was built of, that `typed`
    /// may resemble; with some of them several times.
    pub(super) fn candidates(
        &self,
        typed: &Name<'_>,
        targets: &[Target],
        mut each: impl FnMut(u32),
    ) {
        if self.items.is_empty() || typed.text.len() > LONGEST {
            return;
        }
        let text = typed.text.as_bytes();
        let each = &mut each;
        let (start, end) = (typed.label_start(), typed.label_end());
        let mut label = Label::empty(text.get(start..end).unwrap_or_default());
        label.read();
        self.label(&label, targets, each);
        self.parts(&label, each);
        if let Some((start, end)) = typed.second_span() {
            self.second(text.get(start..end).unwrap_or_default(), targets, each);
        }
        self.tails(text, start..end, (!label.hyphen).then_some(label.sum), each);
        self.glued(&label, each);
        // A label by itself has been asked for.
        if start > 0 || label.hyphen {
            self.windows(text, end, each);
        }
    }

    /// The label itself, what looks like it, and what is a few edits away.
    #[inline]
    fn label(&self, label: &Label<'_>, targets: &[Target], each: &mut impl FnMut(u32)) {
        let length = label.label.len();
        if length == 0 {
            return;
        }
        self.probe(label.whole(), each);
        self.probe(label.skeleton, each);
        if self.lengths & lengths_near(length) == 0 {
            return;
        }
        // Many keys of one target come together when one does.
        let mut before = None;
        let mut near = |id: u32| {
            if before == Some(id) {
                return;
            }
            before = Some(id);
            if let Some(target) = targets.get(id as usize)
                && close(label.label, label.letters, target)
            {
                each(id);
            }
        };
        // Letters that the typed label misses need none of its own left out, unless the prefix
        // cuts some off.
        let long = if length < PREFIX { 0 } else { 2 };
        let limit = edit_limit(length + long, self.has_largest);
        let ends = Ends::of(label.label);
        let ends = ends.of_typed(length);
        let end_set = EndSet::of(ends);
        label.deletions(limit, |hash, two| {
            if !two {
                self.probe(hash, &mut near);
            } else if let Some(place) = self.find(hash, end_set) {
                self.propose_ending(place, ends, &mut near);
            }
        });
    }

    /// What [`Index::label`] finds for another label.
    #[cold]
    #[inline(never)]
    fn second(&self, label: &[u8], targets: &[Target], each: &mut impl FnMut(u32)) {
        let mut label = Label::empty(label);
        label.read();
        self.label(&label, targets, each);
    }

    /// The trusted labels at the beginning of the label and at its end.
    #[inline]
    fn parts(&self, label: &Label<'_>, each: &mut impl FnMut(u32)) {
        let bytes = label.label;
        let length = bytes.len();
        if length > SHORTEST_GLUED {
            if label.front_mark().is_some_and(|mark| self.is_marked(mark)) {
                self.fronts(label, each);
            }
            if label.back_mark().is_some_and(|mark| self.is_marked(mark)) {
                self.backs(bytes, each);
            }
        }
        // A short one is recognised beside a hyphen only, and after the name of a host.
        let host = may_be_host(bytes);
        if !label.hyphen && !host {
            return;
        }
        for front in SHORTEST_PART..SHORTEST_GLUED.min(length) {
            if bytes.get(front) == Some(&b'-') {
                self.probe(mix(label.sums[front], front, Tag::Label), each);
            }
        }
        for cut in
            length.saturating_sub(SHORTEST_GLUED - 1)..(length + 1).saturating_sub(SHORTEST_PART)
        {
            let Some((front, back)) = bytes.split_at_checked(cut) else {
                break;
            };
            if front.last() == Some(&b'-') || host && !front.is_empty() {
                let (sum, length) = hash(back.iter().copied());
                self.probe(mix(sum, length, Tag::Label), each);
            }
        }
    }

    /// What a long label begins with.
    #[inline(never)]
    fn fronts(&self, label: &Label<'_>, each: &mut impl FnMut(u32)) {
        let mut sum = label.sums[SHORTEST_GLUED];
        for (front, byte) in label.label.iter().enumerate().skip(SHORTEST_GLUED) {
            self.probe(mix(sum, front, Tag::Label), each);
            sum = sum.wrapping_add(term(*byte, front));
        }
    }

    /// What a long label ends in.
    #[inline(never)]
    fn backs(&self, label: &[u8], each: &mut impl FnMut(u32)) {
        let mut sum = 0u64;
        for (back, byte) in (1..label.len()).zip(label.iter().rev()) {
            sum = sum.wrapping_mul(BASE).wrapping_add(u64::from(*byte));
            if back >= SHORTEST_GLUED {
                self.probe(mix(sum, back, Tag::Label), each);
            }
        }
    }

    /// The same characters with other dots and hyphens: every tail of the name that begins with a
    /// label. The registrable label is at `label`; its hash is given when it has no hyphens.
    #[inline]
    fn tails(
        &self,
        text: &[u8],
        label: std::ops::Range<usize>,
        sum: Option<u64>,
        each: &mut impl FnMut(u32),
    ) {
        let mut tail = (0u64, 0usize);
        let mut take = |(sum, length): &mut (u64, usize), part: &[u8]| {
            for byte in part.iter().rev() {
                if !matches!(byte, b'.' | b'-') {
                    *length += 1;
                    if *length > self.longest_folded {
                        return false;
                    }
                    *sum = sum.wrapping_mul(BASE).wrapping_add(u64::from(*byte));
                } else if *byte == b'.' {
                    self.probe(mix(*sum, *length, Tag::Folded), each);
                }
            }
            true
        };
        let (front, rest) = text.split_at(label.end.min(text.len()));
        let (front, label) = front.split_at(label.start.min(front.len()));
        if !take(&mut tail, rest) {
            return;
        }
        let through = match sum {
            Some(sum) => {
                tail.1 += label.len();
                tail.0 = tail
                    .0
                    .wrapping_mul(POWERS[label.len().min(LONGEST)])
                    .wrapping_add(sum);
                tail.1 <= self.longest_folded
            }
            None => take(&mut tail, label),
        };
        if through && take(&mut tail, front) {
            self.probe(mix(tail.0, tail.1, Tag::Folded), each);
        }
    }

    /// A whole trusted name without its dots as the label.
    #[inline]
    fn glued(&self, label: &Label<'_>, each: &mut impl FnMut(u32)) {
        let (sum, length) = match label.hyphen {
            false => (label.sum, label.label.len()),
            true => hash(label.label.iter().copied().filter(|byte| *byte != b'-')),
        };
        self.probe(mix(sum, length, Tag::Folded), each);
    }

    /// A trusted name inside of the name, which begins in front of `label_end`.
    fn windows(&self, text: &[u8], label_end: usize, each: &mut impl FnMut(u32)) {
        let (mut starts, mut start, mut sum, mut power) = (0, 0, 0u64, 1u64);
        for (at, byte) in text.iter().enumerate() {
            if !matches!(byte, b'.' | b'-') {
                sum = sum.wrapping_add(u64::from(*byte).wrapping_mul(power));
                power = power.wrapping_mul(BASE);
                continue;
            }
            // One word may be a trusted label, several a trusted name. Both are known by it.
            if let Some(place) = self.find(mix(sum, at - start, Tag::Label), EndSet::ANY) {
                self.propose(place, each);
                self.names(text.get(start..).unwrap_or_default(), each);
            }
            (starts, start, sum, power) = (starts + 1, at + 1, 0, 1);
            if starts == MOST_STARTS || start >= label_end {
                break;
            }
        }
    }

    /// The trusted names of several words that `text` begins with, a word or more in front of its
    /// end.
    #[inline(never)]
    fn names(&self, text: &[u8], each: &mut impl FnMut(u32)) {
        let (mut words, mut sum) = (0, 0u64);
        for (length, byte) in text.iter().enumerate().take(self.longest_name + 1) {
            let mut byte = *byte;
            if matches!(byte, b'.' | b'-') {
                words += 1;
                if words > 1 {
                    self.probe(mix(sum, length, Tag::Joined), each);
                }
                if words == MOST_TOKENS {
                    return;
                }
                byte = b'-';
            }
            sum = sum.wrapping_add(term(byte, length));
        }
    }
}

/// Calls `each` with the numbers of the targets in the items from `first` to `last`.
#[inline(never)]
fn hand_over(items: &[u32], first: u32, last: u32, each: &mut impl FnMut(u32)) {
    for item in items {
        if *item > last {
            break;
        }
        each(item ^ first);
    }
}

/// Returns whether a label may begin with one of [`words::HOSTS`], by its first two letters.
#[inline]
fn may_be_host(label: &[u8]) -> bool {
    /// By the first letter, the set of second ones.
    const SECONDS: [u64; 64] = {
        let mut seconds = [0; 64];
        let mut at = 0;
        while at < words::HOSTS.len() {
            let host = words::HOSTS[at].as_bytes();
            seconds[host[0] as usize & 63] |= bit(host[1]);
            at += 1;
        }
        seconds
    };
    match label {
        [first, second, ..] => SECONDS[usize::from(first & 63)] & bit(*second) != 0,
        _ => false,
    }
}

/// Lengths of labels, as a set; the longest ones are one.
fn length_bit(length: usize) -> u64 {
    1 << length.min(63)
}

/// The set of lengths at most two letters away.
fn lengths_near(length: usize) -> u64 {
    let from = length.saturating_sub(2).min(63);
    let to = (length + 2).min(63);
    (u64::MAX >> (63 - to)) & (u64::MAX << from)
}
