//! Finds the trusted names a typed name may have been meant as, without looking at all of them.
//!
//! One table answers every question. Each target is entered under the hash of its name without
//! dots and hyphens, of its labels joined by hyphens, of its registrable label, of that label's
//! skeleton, and of that label's first ten letters with none, one or two of them left out
//! (symmetric deletion: two labels at most two edits apart share such a remainder). A query
//! computes the same hashes, each in constant time from sums over the name, and asks a bit
//! filter first, so the usual miss touches no more than a few cache lines.
//!
//! The index may propose too much, never too little; [`super::judge`] decides. A scan over
//! all targets is the oracle of the tests.
//!
//! The hash has a fixed key: the entries are chosen by the admin, not by a stranger, and the
//! work of a query is bounded whatever it hits.

use super::judge::edit_limit;
use super::name::{Name, folded};
use super::skeleton::skeleton;
use super::target::Target;

/// Letters of a label that the deletion keys look at. More letters mean more memory, fewer mean
/// more candidates that turn out too far; 10 was the best of 7, 8, 10 and 16 at 100,000 names.
const PREFIX: usize = 10;
/// Longest name that is hashed: RFC 1035, 2.3.4.
const LONGEST: usize = crate::domain::MAX_DOMAIN;
/// Most labels and hyphenated words a trusted name is looked for inside of another.
pub(super) const MOST_TOKENS: usize = 6;
/// Words of a typed name at which an embedded name may begin. Ordinary names have fewer than 8.
pub(super) const MOST_STARTS: usize = 16;

/// Shortest trusted label that is looked for at an end of another: `us-hp` for `us.hp`.
const SHORTEST_PART: usize = 2;

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

/// What a key stands for; mixed into the hash, so that one table holds all kinds.
#[derive(Clone, Copy)]
enum Tag {
    Folded = 1,
    Joined = 2,
    Label = 3,
    Skeleton = 4,
    Deletion = 5,
}

#[inline]
fn salt(length: usize, tag: Tag) -> u64 {
    ((tag as u64) << 59) ^ ((length as u64) << 51)
}

/// One multiplication: its upper bits, which the filter and the buckets use, depend on all bits of
/// the sum.
#[inline]
fn mix_salted(sum: u64, salt: u64) -> u64 {
    (sum ^ salt).wrapping_mul(0xd6e8_feb8_6659_fd93)
}

fn mix(sum: u64, length: usize, tag: Tag) -> u64 {
    mix_salted(sum, salt(length, tag))
}

/// Sums over the bytes of a name, from which the hash of any part follows.
struct Sums {
    sums: [u64; LONGEST + 1],
    length: usize,
}

impl Sums {
    fn of(bytes: impl Iterator<Item = u8>) -> Sums {
        let mut sums = Sums {
            sums: [0; LONGEST + 1],
            length: 0,
        };
        let mut sum = 0u64;
        let mut length = 0;
        for (byte, power) in bytes.zip(&POWERS[..LONGEST]) {
            sum = sum.wrapping_add((u64::from(byte) + 1).wrapping_mul(*power));
            length += 1;
            sums.sums[length] = sum;
        }
        sums.length = length;
        sums
    }

    /// The hash of the bytes from `start` to `end`.
    fn part(&self, start: usize, end: usize) -> u64 {
        self.sums[end]
            .wrapping_sub(self.sums[start])
            .wrapping_mul(INVERSES[start])
    }

    /// Calls `each` with the hash of the part from `start` to `end` with 0 to `limit` bytes left
    /// out.
    fn deletions(&self, start: usize, end: usize, limit: usize, mut each: impl FnMut(u64)) {
        let length = (end - start).min(PREFIX);
        // sums[i]: the hash of the first i bytes of the label.
        let mut sums = [0u64; PREFIX + 1];
        let (base, scale) = (self.sums[start], INVERSES[start]);
        for (i, sum) in sums.iter_mut().enumerate().take(length + 1).skip(1) {
            *sum = self.sums[start + i].wrapping_sub(base).wrapping_mul(scale);
        }
        let all = sums[length];
        each(mix(all, length, Tag::Deletion));
        if limit == 0 || length == 0 {
            return;
        }
        // The bytes after a hole move one place to the left, which divides their part of the sum
        // by the base. With holes at i < j the sum falls into a part of i and a part of j.
        let (once, twice) = (BASE_INVERSE, BASE_INVERSE.wrapping_mul(BASE_INVERSE));
        let (all_once, all_twice) = (all.wrapping_mul(once), all.wrapping_mul(twice));
        let mut parts = [0u64; PREFIX];
        for (part, pair) in parts.iter_mut().zip(sums[..=length].windows(2)) {
            let (before, through) = (pair[0], pair[1]);
            *part = before
                .wrapping_mul(once)
                .wrapping_sub(through.wrapping_mul(twice));
        }
        let (salt_one, salt_two) = (
            salt(length - 1, Tag::Deletion),
            salt(length.saturating_sub(2), Tag::Deletion),
        );
        for (i, pair) in sums[..=length].windows(2).enumerate() {
            let hole = pair[0].wrapping_sub(pair[1].wrapping_mul(once));
            each(mix_salted(hole.wrapping_add(all_once), salt_one));
            if limit >= 2 {
                let hole = hole.wrapping_add(all_twice);
                for part in &parts[i + 1..length] {
                    each(mix_salted(hole.wrapping_add(*part), salt_two));
                }
            }
        }
    }
}

/// The bytes of a name with its labels joined by hyphens.
fn joined(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|b| if b == b'.' { b'-' } else { b })
}

fn skeleton_key(label: &[u8]) -> u64 {
    let (mut sum, mut length) = (0u64, 0);
    for byte in skeleton(label) {
        sum = sum.wrapping_add((u64::from(byte) + 1).wrapping_mul(POWERS[length]));
        length += 1;
    }
    mix(sum, length, Tag::Skeleton)
}

/// Bits of an item that hold the number of the target; the others hold part of its hash.
const ID_BITS: u32 = 24;
const ID_MASK: u32 = (1 << ID_BITS) - 1;

/// The table. Immutable once built.
#[derive(Debug, Default)]
pub(super) struct Index {
    /// One bit for a key that is there; 8 bits for every key, so 1 in 8 misses passes.
    filter: Vec<u64>,
    /// Where the items of a bucket begin.
    offsets: Vec<u32>,
    items: Vec<u32>,
    /// Shift that leaves the bucket of a hash.
    bucket_shift: u32,
    filter_shift: u32,
    /// Whether a target allows two edits in a label shorter than [`edit_limit`] says.
    has_frequent: bool,
}

impl Index {
    /// Most targets one index holds.
    pub(super) const MOST: usize = ID_MASK as usize;

    /// Builds the index; targets beyond [`Index::MOST`] are left out.
    pub(super) fn build(targets: &[Target]) -> Index {
        let targets = targets.get(..Index::MOST).unwrap_or(targets);
        // Two passes over the keys instead of a list of them: a list would need three times the
        // memory of the index.
        let mut count = 0usize;
        for target in targets {
            keys(target, |_| count += 1);
        }
        let bucket_bits = (count / 4).next_power_of_two().trailing_zeros().max(1);
        let filter_bits = (count * 8).next_power_of_two().trailing_zeros().max(6);
        let bucket_shift = 64 - bucket_bits;
        let filter_shift = 64 - filter_bits;
        let mut offsets = vec![0u32; (1 << bucket_bits) + 1];
        let mut filter = vec![0u64; 1 << (filter_bits - 6)];
        for target in targets {
            keys(target, |hash| {
                offsets[(spread(hash) >> bucket_shift) as usize + 1] += 1;
                let bit = filter_bit(hash, filter_shift);
                filter[bit >> 6] |= 1 << (bit & 63);
            });
        }
        for bucket in 1..offsets.len() {
            offsets[bucket] += offsets[bucket - 1];
        }
        let mut items = vec![0u32; count];
        let mut next = offsets.clone();
        for (id, target) in (0u32..).zip(targets) {
            keys(target, |hash| {
                let hash = spread(hash);
                let place = &mut next[(hash >> bucket_shift) as usize];
                items[*place as usize] = id | fingerprint(hash);
                *place += 1;
            });
        }
        Index {
            filter,
            offsets,
            items,
            bucket_shift,
            filter_shift,
            has_frequent: targets.iter().any(|target| target.frequent),
        }
    }

    /// Bytes of memory in use.
    pub(super) fn size(&self) -> usize {
        8 * self.filter.len() + 4 * (self.offsets.len() + self.items.len())
    }

    #[inline]
    fn probe(&self, hash: u64, each: &mut impl FnMut(u32)) {
        let bit = filter_bit(hash, self.filter_shift);
        if self.filter[bit >> 6] & (1 << (bit & 63)) != 0 {
            self.bucket(hash, each);
        }
    }

    #[inline(never)]
    fn bucket(&self, hash: u64, each: &mut impl FnMut(u32)) {
        let hash = spread(hash);
        let bucket = (hash >> self.bucket_shift) as usize;
        let (start, end) = (self.offsets[bucket], self.offsets[bucket + 1]);
        for item in &self.items[start as usize..end as usize] {
            if item & !ID_MASK == fingerprint(hash) {
                each(item & ID_MASK);
            }
        }
    }

    /// Calls `each` with every target that `typed` may resemble, some of them several times.
    pub(super) fn candidates(&self, typed: &Name<'_>, mut each: impl FnMut(u32)) {
        if self.items.is_empty() {
            return;
        }
        let text: &str = &typed.text;
        let sums = Sums::of(joined(text));
        if sums.length < text.len() {
            return;
        }
        let each = &mut each;
        let first = (typed.label_start(), typed.label_end());
        self.label(&sums, text, first, each);
        if let Some(second) = typed.second_span() {
            self.label(&sums, text, second, each);
        }
        self.parts_of_label(&sums, first, each);
        self.tails(text, each);
        self.windows(&sums, typed, each);
    }

    /// The label itself, what looks like it, and what is a few edits away.
    fn label(
        &self,
        sums: &Sums,
        text: &str,
        (start, end): (usize, usize),
        each: &mut impl FnMut(u32),
    ) {
        let Some(label) = text.as_bytes().get(start..end).filter(|l| !l.is_empty()) else {
            return;
        };
        self.probe(mix(sums.part(start, end), end - start, Tag::Label), each);
        self.probe(skeleton_key(label), each);
        // Two edits reach from a label two shorter than the shortest that allows them.
        let two = edit_limit(label.len() + 2, self.has_frequent);
        sums.deletions(start, end, two, |hash| self.probe(hash, each));
    }

    /// A trusted label at the beginning or the end of the label.
    fn parts_of_label(
        &self,
        sums: &Sums,
        (start, end): (usize, usize),
        each: &mut impl FnMut(u32),
    ) {
        for cut in start + SHORTEST_PART..end {
            self.probe(mix(sums.part(start, cut), cut - start, Tag::Label), each);
        }
        for cut in start + 1..(end + 1).saturating_sub(SHORTEST_PART) {
            self.probe(mix(sums.part(cut, end), end - cut, Tag::Label), each);
        }
    }

    /// The same characters with other dots and hyphens.
    fn tails(&self, text: &str, each: &mut impl FnMut(u32)) {
        let sums = Sums::of(folded(text));
        let mut at = 0;
        self.probe(
            mix(sums.part(0, sums.length), sums.length, Tag::Folded),
            each,
        );
        for byte in text.bytes() {
            match byte {
                b'.' => {
                    let hash = mix(sums.part(at, sums.length), sums.length - at, Tag::Folded);
                    self.probe(hash, each);
                }
                b'-' => {}
                _ => at += 1,
            }
        }
    }

    /// A trusted name inside of the name.
    fn windows(&self, sums: &Sums, typed: &Name<'_>, each: &mut impl FnMut(u32)) {
        // Where the words end; all that a window from one of the first starts can reach.
        let mut ends = [0usize; MOST_STARTS + MOST_TOKENS];
        let mut count = 0;
        for (at, byte) in typed.text.bytes().enumerate() {
            if (byte == b'.' || byte == b'-')
                && let Some(end) = ends.get_mut(count)
            {
                *end = at;
                count += 1;
            }
        }
        let ends = &ends[..count];
        let mut start = 0;
        for first in 0..count.min(MOST_STARTS) {
            if start >= typed.label_end() {
                break;
            }
            for (word, end) in ends[first..].iter().take(MOST_TOKENS).enumerate() {
                // One word may be a trusted label, several a trusted name.
                let tag = if word == 0 { Tag::Label } else { Tag::Joined };
                self.probe(mix(sums.part(start, *end), end - start, tag), each);
            }
            start = ends[first] + 1;
        }
    }
}

fn filter_bit(hash: u64, shift: u32) -> usize {
    (hash >> shift) as usize
}

/// What buckets and fingerprints are taken from; the filter has used the upper bits as they are.
#[inline]
fn spread(hash: u64) -> u64 {
    (hash ^ (hash >> 32)).wrapping_mul(BASE)
}

fn fingerprint(spread: u64) -> u32 {
    ((spread >> 8) as u32) << ID_BITS
}

/// Calls `each` with every key under which a target is found.
fn keys(target: &Target, mut each: impl FnMut(u64)) {
    let text = target.text();
    let sums = Sums::of(joined(text));
    if sums.length < text.len() {
        return;
    }
    let fold = Sums::of(folded(text));
    each(mix(fold.part(0, fold.length), fold.length, Tag::Folded));
    let tokens = text.bytes().filter(|b| *b == b'.' || *b == b'-').count() + 1;
    if tokens <= MOST_TOKENS {
        each(mix(sums.part(0, sums.length), sums.length, Tag::Joined));
    }
    let label = target.label();
    if label.is_empty() {
        return;
    }
    let start = target.below().len() + usize::from(!target.below().is_empty());
    let end = start + label.len();
    each(mix(sums.part(start, end), label.len(), Tag::Label));
    each(skeleton_key(label.as_bytes()));
    let limit = edit_limit(label.len(), target.frequent);
    sums.deletions(start, end, limit, each);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deletion_hashes_are_those_of_the_remaining_bytes() {
        let whole = Sums::of(b"xx-gmail".iter().copied());
        let mut found = Vec::new();
        whole.deletions(3, 8, 2, |hash| found.push(hash));
        assert_eq!(found.len(), 1 + 5 + 10);
        for rest in ["gmail", "mail", "gmal", "gmai", "gml", "ail", "gma"] {
            let sums = Sums::of(rest.bytes());
            let hash = mix(sums.part(0, rest.len()), rest.len(), Tag::Deletion);
            assert!(found.contains(&hash), "{rest}");
        }
    }

    #[test]
    fn the_inverse_undoes_the_base() {
        assert_eq!(BASE.wrapping_mul(BASE_INVERSE), 1);
        assert_eq!(POWERS[200].wrapping_mul(INVERSES[200]), 1);
    }
}
