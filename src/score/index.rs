//! Finds the trusted names a typed name may have been meant as, without looking at all of them.
//!
//! One table answers every question. Each target is entered under the hash of its name without
//! dots and hyphens, of its labels joined by hyphens, of its registrable label, of that label's
//! skeleton, and of that label's first letters with none, one or two of them left out
//! (symmetric deletion: two labels at most two edits apart share such a remainder). A query
//! computes the same hashes, each in constant time from sums over the name, and asks the filter
//! of the bucket first, so the usual miss touches no more than a few cache lines. What a
//! deletion key proposes is compared at once, because most of it turns out too far away.
//!
//! The index may propose too much, never too little; [`super::judge`] decides. A scan over
//! all targets is the oracle of the tests.
//!
//! The hash has a fixed key: the entries are chosen by the admin, not by a stranger, and the
//! work of a query is bounded whatever it hits.

use super::judge::{Letters, close, edit_limit};
use super::name::{Name, folded};
use super::skeleton::UNITS;
use super::target::Target;
use super::weights::TWO_EDITS_FROM;

/// Letters of a label that the deletion keys look at. More letters mean more memory and more
/// keys to ask for, fewer mean more candidates that turn out too far.
const PREFIX: usize = 10;
/// Below the prefix no letter is cut off, so a label that misses letters of the meant one needs
/// fewer of its own left out; [`Index::candidates`] counts on that.
const _: () = assert!(PREFIX >= TWO_EDITS_FROM);
/// Longest name that is hashed: RFC 1035, 2.3.4.
const LONGEST: usize = crate::domain::MAX_DOMAIN;
/// Most labels and hyphenated words a trusted name is looked for inside of another.
pub(super) const MOST_TOKENS: usize = 6;
/// Words of a typed name at which an embedded name may begin. Ordinary names have fewer than 8.
pub(super) const MOST_STARTS: usize = 16;

/// Shortest trusted label that is looked for at an end of another: `us-hp` for `us.hp`.
const SHORTEST_PART: usize = 2;
/// The same at its beginning when no hyphen follows; the rules for added words begin there.
const SHORTEST_FRONT: usize = 5;

/// Base of the polynomial hash; odd, so it has an inverse modulo 2^64.
const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const BASE_INVERSE: u64 = inverse(BASE);
const POWERS: [u64; LONGEST + 1] = powers(BASE);
const INVERSES: [u64; LONGEST + 1] = powers(BASE_INVERSE);

const fn inverse(odd: u64) -> u64 {
    // Newton's iteration doubles the correct bits; odd * odd = 1 modulo 8 gives the first three.
    let mut x = odd;
    let mut round = 0;
    while round < 5 {
        x = x.wrapping_mul(2u64.wrapping_sub(odd.wrapping_mul(x)));
        round += 1;
    }
    x
}

const fn powers(base: u64) -> [u64; LONGEST + 1] {
    let mut all = [1u64; LONGEST + 1];
    let mut i = 1;
    while i <= LONGEST {
        all[i] = all[i - 1].wrapping_mul(base);
        i += 1;
    }
    all
}

/// What a key stands for; part of the hash, so that one table holds all kinds.
#[derive(Clone, Copy)]
enum Tag {
    Folded = 1,
    Joined = 2,
    Label = 3,
    Skeleton = 4,
    Deletion = 5,
}

/// What distinguishes kinds and lengths. Added rather than mixed in, so that many keys of one
/// length share the work; multiplying by random odd numbers and taking upper bits is universal
/// hashing, and needs no further mixing.
#[inline]
const fn salt(length: usize, tag: Tag) -> u64 {
    (length as u64)
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .wrapping_add((tag as u64).wrapping_mul(0xa076_1d64_78bd_642f))
}

#[inline]
const fn mix(sum: u64, length: usize, tag: Tag) -> u64 {
    sum.wrapping_add(salt(length, tag))
}

#[inline]
fn term(byte: u8, place: usize) -> u64 {
    (u64::from(byte) + 1).wrapping_mul(POWERS[place])
}

/// Places for the sums of an ordinary label (RFC 1035, 2.3.4: at most 63 bytes). The ASCII look of
/// an international label may be longer.
const ORDINARY: usize = crate::domain::MAX_LABEL + 1;

/// Sums over the bytes of a label, from which the hash of any part follows.
struct Label<const N: usize> {
    /// The hash of the first so many bytes.
    sums: [u64; N],
    length: usize,
    /// The key of the skeleton.
    skeleton: u64,
    letters: Letters,
    ends: Ends,
}

/// The last letters of a label, hashed: nothing, the last one, the last two.
///
/// When two edits in the first [`PREFIX`] letters are all that sets two labels apart, the rest is
/// the same, and so is the last letter when the meant label has two more letters than the prefix
/// (a swap may reach over the border of the prefix), the last two when it has three more.
/// The key with two letters left out is then good for labels that end alike only.
#[derive(Clone, Copy)]
struct Ends([u64; 3]);

impl Ends {
    fn of(label: &[u8]) -> Ends {
        let last = label.last().map_or(0, |byte| term(*byte, 1));
        let before = label.len().checked_sub(2).and_then(|at| label.get(at));
        Ends([
            0,
            last,
            before.map_or(0, |byte| last.wrapping_add(term(*byte, 2))),
        ])
    }

    /// Which one a meant label of `length` letters is entered with.
    fn place(length: usize) -> usize {
        length.saturating_sub(PREFIX + 1).min(2)
    }

    /// Those that labels at most two letters shorter or longer are entered with.
    fn of_typed(&self, length: usize) -> &[u64] {
        let places = Ends::place(length.saturating_sub(2))..=Ends::place(length + 2);
        self.0.get(places).unwrap_or(&self.0)
    }
}

impl<const N: usize> Label<N> {
    /// Of a label of fewer than `N` bytes.
    #[inline(always)]
    fn of(label: &[u8]) -> Label<N> {
        let mut sums = [0; N];
        let mut sum = 0u64;
        let mut letters = 0;
        let mut skeleton = Skeleton::default();
        for ((byte, power), after) in label.iter().zip(&POWERS).zip(&mut sums[1..]) {
            sum = sum.wrapping_add((u64::from(*byte) + 1).wrapping_mul(*power));
            *after = sum;
            letters |= 1 << (byte & 63);
            skeleton.add(*byte);
        }
        Label {
            sums,
            length: label.len().min(N - 1),
            skeleton: mix(skeleton.sum, 0, Tag::Skeleton),
            letters: Letters(letters),
            ends: Ends::of(label),
        }
    }

    /// The key of the label as one that begins with its first `length` bytes.
    #[inline]
    fn front(&self, length: usize) -> u64 {
        mix(self.sums[length], length, Tag::Label)
    }

    /// The key of what follows the first `cut` bytes, as a label.
    #[inline]
    fn back(&self, cut: usize) -> u64 {
        let sum = self.sums[self.length].wrapping_sub(self.sums[cut]);
        mix(
            sum.wrapping_mul(INVERSES[cut]),
            self.length - cut,
            Tag::Label,
        )
    }

    /// Calls `each` with the key of the first [`PREFIX`] bytes with 0 to `limit` of them left out,
    /// and with whether two are.
    #[inline]
    fn deletions(&self, limit: usize, mut each: impl FnMut(u64, bool)) {
        let length = self.length.min(PREFIX);
        let all = self.sums[length];
        each(mix(all, length, Tag::Deletion), false);
        if limit == 0 || length == 0 {
            return;
        }
        // The bytes after a hole move one place to the left, which divides their part of the sum
        // by the base. With holes at i < j the sum falls into a part of i and a part of j.
        let (once, twice) = (BASE_INVERSE, BASE_INVERSE.wrapping_mul(BASE_INVERSE));
        let all_once = mix(all.wrapping_mul(once), length - 1, Tag::Deletion);
        let all_twice = mix(
            all.wrapping_mul(twice),
            length.saturating_sub(2),
            Tag::Deletion,
        );
        let pairs = self.sums[..=length].windows(2);
        if limit == 1 {
            for pair in pairs {
                let hole = pair[0].wrapping_sub(pair[1].wrapping_mul(once));
                each(hole.wrapping_add(all_once), false);
            }
            return;
        }
        // From the back, so that the parts of the later hole are there already.
        let mut parts = [0u64; PREFIX];
        for (at, pair) in pairs.enumerate().rev() {
            let moved = pair[1].wrapping_mul(once);
            let hole = pair[0].wrapping_sub(moved);
            each(hole.wrapping_add(all_once), false);
            let hole = hole.wrapping_add(all_twice);
            for part in &parts[at + 1..length] {
                each(hole.wrapping_add(*part), true);
            }
            parts[at] = hole_part(pair[0], moved);
        }
    }
}

/// What the later of two holes adds: the bytes between the holes have moved by one place, those
/// behind it by two.
#[inline]
fn hole_part(before: u64, moved: u64) -> u64 {
    before.wrapping_sub(moved).wrapping_mul(BASE_INVERSE)
}

/// The hash of bytes, and how many they are.
fn hash(bytes: impl Iterator<Item = u8>) -> (u64, usize) {
    let (mut sum, mut length) = (0u64, 0);
    for (byte, power) in bytes.zip(&POWERS) {
        sum = sum.wrapping_add((u64::from(byte) + 1).wrapping_mul(*power));
        length += 1;
    }
    (sum, length)
}

/// What a byte does to the hash of a skeleton: a factor and a term. A byte may look like two.
const UNIT_STEPS: [(u64, u64); 256] = {
    let mut steps = [(0, 0); 256];
    let mut byte = 0;
    while byte < 256 {
        let (first, second) = UNITS[byte];
        steps[byte] = if second == 0 {
            (BASE, first as u64 + 1)
        } else {
            (
                BASE.wrapping_mul(BASE),
                (first as u64 + 1)
                    .wrapping_mul(BASE)
                    .wrapping_add(second as u64 + 1),
            )
        };
        byte += 1;
    }
    steps
};

/// The hash of the skeleton of a label, byte by byte: equal when the skeletons of
/// [`super::skeleton`] are, but for the accidents of hashing.
#[derive(Default)]
struct Skeleton {
    sum: u64,
    /// Whether the byte before was an `n` that is no second one.
    after_n: bool,
}

impl Skeleton {
    #[inline]
    fn add(&mut self, byte: u8) {
        // `nn` looks like `rn`: the second of a pair turns the first one into an `r`.
        const PAIR: u64 = BASE
            .wrapping_mul(b'r' as u64 - b'n' as u64)
            .wrapping_add(b'n' as u64 + 1);
        let (factor, term) = UNIT_STEPS[usize::from(byte)];
        let pair = self.after_n && byte == b'n';
        self.after_n = byte == b'n' && !pair;
        let term = if pair { PAIR } else { term };
        self.sum = self.sum.wrapping_mul(factor).wrapping_add(term);
    }
}

/// Keys of two buckets, on average. More would fill the filters, fewer would cost memory.
const KEYS: usize = 13;
/// Most items of a bucket that is searched from its start. A bucket is long where many labels have
/// the same first letters.
const SHORT: usize = 16;
/// Most bits of an item that hold the number of the target; the others hold part of its hash.
const ID_BITS: u32 = 24;

/// Where a key belongs. The upper bits of its hash choose the bucket, the next ones the bits of the
/// filter, the last ones the fingerprint.
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
    fn first_bit(&self) -> u32 {
        (self.rest >> 58) as u32
    }

    #[inline]
    fn second_bit(&self, end: u64) -> u32 {
        ((self.rest >> 52) ^ (end >> 58)) as u32 & 63
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
    /// Two bits for each key of the bucket.
    filters: Vec<u64>,
    /// Where the items of a bucket begin.
    starts: Vec<u32>,
    items: Vec<u32>,
    /// Bits of an item that hold the number of the target.
    id_bits: u32,
    /// Whether a target allows two edits in a label shorter than [`edit_limit`] says.
    has_frequent: bool,
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
        let buckets = 2 * count / KEYS + 1;
        let mut filters = vec![0u64; buckets];
        let mut starts = vec![0u32; buckets + 1];
        for target in targets {
            keys(target, |hash, end| {
                let place = Place::of(hash, buckets);
                starts[place.bucket + 1] += 1;
                filters[place.bucket] |= 1 << place.first_bit() | 1 << place.second_bit(end);
            });
        }
        let mut sum = 0;
        for start in &mut starts {
            sum += *start;
            *start = sum;
        }
        let mut items = vec![0u32; sum as usize];
        let id_bits = (usize::BITS - targets.len().leading_zeros()).min(ID_BITS);
        // Each bucket is filled from its start, which ends up at the start of the next one.
        for (id, target) in (0u32..).zip(targets) {
            keys(target, |hash, end| {
                let place = Place::of(hash, buckets);
                let next = &mut starts[place.bucket];
                items[*next as usize] = id | place.fingerprint(end, id_bits);
                *next += 1;
            });
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
            has_frequent: targets.iter().any(|target| target.frequent),
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

    #[inline]
    fn probe(&self, hash: u64, each: &mut impl FnMut(u32)) {
        let place = Place::of(hash, self.filters.len());
        let filter = self.filters[place.bucket];
        if filter >> place.first_bit() & 1 != 0 && filter >> place.second_bit(0) & 1 != 0 {
            self.bucket(&place, 0, each);
        }
    }

    /// The same for a key of labels that end in one of the ways given.
    #[inline]
    fn probe_ending(&self, hash: u64, ends: &[u64], each: &mut impl FnMut(u32)) {
        let place = Place::of(hash, self.filters.len());
        let filter = self.filters[place.bucket];
        if filter >> place.first_bit() & 1 != 0 {
            for end in ends {
                if filter >> place.second_bit(*end) & 1 != 0 {
                    self.bucket(&place, *end, each);
                }
            }
        }
    }

    #[inline(never)]
    fn bucket(&self, place: &Place, end: u64, each: &mut impl FnMut(u32)) {
        let range = self.starts[place.bucket] as usize..self.starts[place.bucket + 1] as usize;
        let mut items = &self.items[range];
        let fingerprint = place.fingerprint(end, self.id_bits);
        if items.len() > SHORT {
            let first = items.partition_point(|item| *item < fingerprint);
            items = items.get(first..).unwrap_or_default();
        }
        for item in items {
            if item >> self.id_bits == fingerprint >> self.id_bits {
                each(item ^ fingerprint);
            } else if *item > fingerprint {
                break;
            }
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
        let label = text.get(start..end).unwrap_or_default();
        let second = typed.second_span();
        let second = second.and_then(|(start, end)| text.get(start..end));
        if label.len() < ORDINARY {
            self.label(&Label::<ORDINARY>::of(label), label, targets, true, each);
        } else {
            self.label(
                &Label::<{ LONGEST + 1 }>::of(label),
                label,
                targets,
                true,
                each,
            );
        }
        match second {
            Some(label) if label.len() < ORDINARY => {
                self.label(&Label::<ORDINARY>::of(label), label, targets, false, each);
            }
            Some(label) => {
                self.label(
                    &Label::<{ LONGEST + 1 }>::of(label),
                    label,
                    targets,
                    false,
                    each,
                );
            }
            None => {}
        }
        self.tails(text, each);
        // A label by itself has been asked for.
        if start > 0 || label.contains(&b'-') {
            self.windows(text, end, each);
        }
    }

    /// The label itself, what looks like it, what is a few edits away, and with `parts` the trusted
    /// labels at its beginning and at its end.
    #[inline]
    fn label<const N: usize>(
        &self,
        sums: &Label<N>,
        label: &[u8],
        targets: &[Target],
        parts: bool,
        each: &mut impl FnMut(u32),
    ) {
        if label.is_empty() {
            return;
        }
        self.probe(sums.front(sums.length), each);
        self.probe(sums.skeleton, each);
        // Many keys of one target come together when one does.
        let mut before = None;
        let mut near = |id: u32| {
            if before == Some(id) {
                return;
            }
            before = Some(id);
            if let Some(target) = targets.get(id as usize)
                && close(label, sums.letters, target)
            {
                each(id);
            }
        };
        // Letters that the typed label misses need none of its own left out, unless the prefix
        // cuts some off.
        let long = if sums.length < PREFIX { 0 } else { 2 };
        let two = edit_limit(label.len() + long, self.has_frequent);
        let ends = sums.ends.of_typed(sums.length);
        sums.deletions(two, |hash, two| {
            if two {
                self.probe_ending(hash, ends, &mut near);
            } else {
                self.probe(hash, &mut near);
            }
        });
        if parts {
            for length in SHORTEST_PART..sums.length {
                // In front of other letters only a long label is recognised.
                if length >= SHORTEST_FRONT || label.get(length) == Some(&b'-') {
                    self.probe(sums.front(length), each);
                }
            }
            for cut in 1..(sums.length + 1).saturating_sub(SHORTEST_PART) {
                self.probe(sums.back(cut), each);
            }
        }
    }

    /// The same characters with other dots and hyphens: every tail of the name that begins with a
    /// label.
    #[inline]
    fn tails(&self, text: &[u8], each: &mut impl FnMut(u32)) {
        let (mut sum, mut length) = (0u64, 0);
        for byte in text.iter().rev() {
            match byte {
                b'.' => self.probe(mix(sum, length, Tag::Folded), each),
                b'-' => {}
                byte => {
                    length += 1;
                    if length > self.longest_folded {
                        return;
                    }
                    sum = sum.wrapping_mul(BASE).wrapping_add(u64::from(*byte) + 1);
                }
            }
        }
        self.probe(mix(sum, length, Tag::Folded), each);
    }

    /// A trusted name inside of the name, which begins in front of `label_end`.
    fn windows(&self, text: &[u8], label_end: usize, each: &mut impl FnMut(u32)) {
        // The words in front of the last one; all that a window from one of the first starts can
        // reach.
        let mut words = [(0u64, 0usize); MOST_STARTS + MOST_TOKENS];
        let (mut count, mut sum, mut start) = (0, 0u64, 0);
        for (at, byte) in text.iter().enumerate() {
            if *byte == b'.' || *byte == b'-' {
                let Some(word) = words.get_mut(count) else {
                    break;
                };
                *word = (sum, at - start);
                (count, sum, start) = (count + 1, 0, at + 1);
            } else {
                sum = sum.wrapping_add(term(*byte, at - start));
            }
        }
        let words = &words[..count];
        let mut start = 0;
        for first in 0..count.min(MOST_STARTS) {
            if start >= label_end {
                break;
            }
            let (mut sum, mut length) = words[first];
            // One word may be a trusted label, several a trusted name.
            self.probe(mix(sum, length, Tag::Label), each);
            start += length + 1;
            for (next, next_length) in words[first + 1..].iter().take(MOST_TOKENS - 1) {
                sum = sum
                    .wrapping_add(term(b'-', length))
                    .wrapping_add(next.wrapping_mul(POWERS[length + 1]));
                length += 1 + next_length;
                if length > self.longest_name {
                    break;
                }
                self.probe(mix(sum, length, Tag::Joined), each);
            }
        }
    }
}

/// The bytes of a name with its labels joined by hyphens.
fn joined(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|b| if b == b'.' { b'-' } else { b })
}

/// Words of a name, divided by dots and hyphens.
fn words(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'.' || *b == b'-').count() + 1
}

/// Calls `each` with every key under which a target is found, and with what [`Ends`] is entered.
fn keys(target: &Target, mut each: impl FnMut(u64, u64)) {
    let text = target.text();
    let (sum, length) = hash(folded(text));
    each(mix(sum, length, Tag::Folded), 0);
    if words(text) <= MOST_TOKENS {
        let (sum, length) = hash(joined(text));
        each(mix(sum, length, Tag::Joined), 0);
    }
    let label = target.label().as_bytes();
    match label.len() {
        0 => {}
        1..ORDINARY => label_keys(&Label::<ORDINARY>::of(label), target, each),
        _ => label_keys(&Label::<{ LONGEST + 1 }>::of(label), target, each),
    }
}

fn label_keys<const N: usize>(label: &Label<N>, target: &Target, mut each: impl FnMut(u64, u64)) {
    each(label.front(label.length), 0);
    each(label.skeleton, 0);
    let end = label.ends.0[Ends::place(label.length)];
    label.deletions(edit_limit(label.length, target.frequent), |hash, two| {
        each(hash, if two { end } else { 0 });
    });
}

/// The number of keys that [`keys`] finds, or more.
fn key_count(target: &Target) -> usize {
    let label = target.label().len();
    let length = label.min(PREFIX);
    4 + 1
        + match edit_limit(label, target.frequent) {
            1 => length,
            _ => length * (length + 1) / 2,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn label(text: &str) -> Label<ORDINARY> {
        Label::of(text.as_bytes())
    }

    #[test]
    fn deletion_hashes_are_those_of_the_remaining_bytes() {
        let mut found = Vec::new();
        label("gmail").deletions(2, |hash, _| found.push(hash));
        assert_eq!(found.len(), 1 + 5 + 10);
        for rest in ["gmail", "mail", "gmal", "gmai", "gml", "ail", "gma"] {
            let rest = label(rest);
            let hash = mix(rest.sums[rest.length], rest.length, Tag::Deletion);
            assert!(found.contains(&hash), "{}", rest.length);
        }
    }

    #[test]
    fn parts_hash_as_they_do_alone() {
        let whole = label("north-bank");
        assert_eq!(whole.front(5), label("north").front(5));
        assert_eq!(whole.back(6), label("bank").front(4));
    }

    #[test]
    fn the_inverse_undoes_the_base() {
        assert_eq!(BASE.wrapping_mul(BASE_INVERSE), 1);
        assert_eq!(POWERS[200].wrapping_mul(INVERSES[200]), 1);
    }
}
