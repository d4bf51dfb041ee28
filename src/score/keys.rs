//! The hashes under which a trusted name is entered in the [index](super::index), and under which a
//! typed one asks for it.
//!
//! Each is a polynomial over the bytes, from which the hash of any part, and of what is left without
//! some letters, follows in constant time.
//!
//! The hash has a fixed key: the entries are chosen by the admin, not by a stranger, and the
//! work of a query is bounded whatever it hits.

use super::index::MOST_TOKENS;
use super::label_slip::{Letters, edit_limit};
use super::name::folded;
use super::skeleton::{UNITS, turns_r};
use super::target::Target;
use super::weights::TWO_EDITS_FROM;

/// Letters of a label that the deletion keys look at. More letters mean more memory and more
/// keys to ask for, fewer mean more candidates that turn out too far.
pub(super) const PREFIX: usize = 10;
/// Below the prefix no letter is cut off, so a label that misses letters of the meant one needs
/// fewer of its own left out; [`super::index`] counts on that.
const _: () = assert!(PREFIX >= TWO_EDITS_FROM);
/// Longest name that is hashed: RFC 1035, 2.3.4.
pub(super) const LONGEST: usize = crate::domain::MAX_DOMAIN;
/// Shortest trusted label that is looked for at an end of another that is no host, with no hyphen
/// between; the rules for added words begin there.
pub(super) const SHORTEST_GLUED: usize = 5;
const _: () = assert!(SHORTEST_GLUED <= 8 && SHORTEST_GLUED <= PREFIX);

/// Base of the polynomial hash; odd, so it has an inverse modulo 2^64.
pub(super) const BASE: u64 = 0x9e37_79b9_7f4a_7c15;
const BASE_INVERSE: u64 = inverse(BASE);
pub(super) const POWERS: [u64; LONGEST + 1] = powers(BASE);

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
pub(super) enum Tag {
    Folded = 1,
    Joined = 2,
    Label = 3,
    Skeleton = 4,
    Deletion = 5,
    /// A mark, under which nothing is entered: see [`keys`].
    Front = 6,
    Back = 7,
}

/// What distinguishes kinds and lengths. Added rather than mixed in, so that many keys of one
/// length share the work; multiplying by random odd numbers and taking upper bits is universal
/// hashing, and needs no further mixing. The last bits are not as good, and choose no more than a bit
/// of a filter.
#[inline]
const fn salt(length: usize, tag: Tag) -> u64 {
    (length as u64)
        .wrapping_mul(0xd6e8_feb8_6659_fd93)
        .wrapping_add((tag as u64).wrapping_mul(0xa076_1d64_78bd_642f))
}

#[inline]
pub(super) const fn mix(sum: u64, length: usize, tag: Tag) -> u64 {
    sum.wrapping_add(salt(length, tag))
}

#[inline]
pub(super) fn term(byte: u8, place: usize) -> u64 {
    u64::from(byte).wrapping_mul(POWERS[place])
}

/// The hashes of a label, from which those of its parts follow.
pub(super) struct Label<'l> {
    pub label: &'l [u8],
    /// The hash of the first so many letters, of the prefix.
    pub sums: [u64; PREFIX + 1],
    /// The hash of all.
    pub sum: u64,
    holes: Holes,
    /// The key of the skeleton.
    pub skeleton: u64,
    pub letters: Letters,
    pub hyphen: bool,
}

/// What letters left out of the prefix do to its hash.
///
/// The letters behind a hole move one place to the left, which divides their part of the sum by the
/// base; those behind two holes move twice. So the sum of what is left falls into a part for each
/// hole and one for the whole prefix.
struct Holes {
    /// The parts of a hole: when it is the only one or the first of two, and when it is the second.
    parts: [(u64, u64); PREFIX],
    /// How many letters are left out one at a time: of two equal ones side by side the other leaves
    /// the same.
    count: usize,
    /// The parts of such two, left out together.
    pairs: [u64; PREFIX / 2],
    pair_count: usize,
}

/// The last letters of a label, hashed: nothing, the last one, the last two.
///
/// When two edits in the first [`PREFIX`] letters are all that sets two labels apart, the rest is
/// the same, and so is the last letter when the meant label has two more letters than the prefix
/// (a swap may reach over the border of the prefix), the last two when it has three more.
/// The key with two letters left out is then good for labels that end alike only.
#[derive(Clone, Copy)]
pub(super) struct Ends([u64; 3]);

impl Ends {
    pub(super) fn of(label: &[u8]) -> Ends {
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
    pub(super) fn of_typed(&self, length: usize) -> &[u64] {
        let places = Ends::place(length.saturating_sub(2))..=Ends::place(length + 2);
        self.0.get(places).unwrap_or(&self.0)
    }
}

impl<'l> Label<'l> {
    /// Of a label of at most [`LONGEST`] bytes, before [`Label::read`].
    #[inline(always)]
    pub(super) fn empty(label: &'l [u8]) -> Label<'l> {
        Label {
            label,
            sums: [0; PREFIX + 1],
            sum: 0,
            holes: Holes {
                parts: [(0, 0); PREFIX],
                count: 0,
                pairs: [0; PREFIX / 2],
                pair_count: 0,
            },
            skeleton: 0,
            letters: Letters(0),
            hyphen: false,
        }
    }

    /// Computes the hashes; in place, because moving them costs as much.
    #[inline(always)]
    pub(super) fn read(&mut self) {
        let label = self.label;
        let (mut sum, mut letters, mut skeleton) = (0u64, 0, 0u64);
        let mut add = |byte: u8, power: u64| {
            letters |= bit(byte);
            let (factor, term) = UNIT_STEPS[usize::from(byte)];
            skeleton = skeleton.wrapping_mul(factor).wrapping_add(term);
            sum = sum.wrapping_add(u64::from(byte).wrapping_mul(power));
            sum
        };
        let (mut before, mut first_before, mut sum_before) = (0, 0u64, 0u64);
        let (mut count, mut pair_count) = (0, 0);
        let (prefix, rest) = label.split_at(label.len().min(PREFIX));
        for ((byte, power), after) in prefix.iter().zip(&POWERS).zip(&mut self.sums[1..]) {
            let sum = add(*byte, *power);
            *after = sum;
            let first = sum_before.wrapping_sub(sum.wrapping_mul(BASE_INVERSE));
            let second = first.wrapping_mul(BASE_INVERSE);
            sum_before = sum;
            if *byte == before {
                if let Some(pair) = self.holes.pairs.get_mut(pair_count) {
                    *pair = first_before.wrapping_add(second);
                    pair_count += 1;
                }
                before = 0;
                continue;
            }
            (before, first_before) = (*byte, first);
            if let Some(parts) = self.holes.parts.get_mut(count) {
                *parts = (first, second);
                count += 1;
            }
        }
        for (byte, power) in rest.iter().zip(&POWERS[PREFIX..]) {
            add(*byte, *power);
        }
        let has = |set: u64| letters & set != 0;
        if has(bit(b'r')) && has(bit(b'n') | bit(b'm')) && turns(label) {
            skeleton = skeleton_turned(label);
        }
        (self.holes.count, self.holes.pair_count) = (count, pair_count);
        self.sum = sum;
        self.skeleton = mix(skeleton, 0, Tag::Skeleton);
        self.letters = Letters(letters);
        // `m` has the same bit.
        self.hyphen = letters & bit(b'-') != 0 && label.contains(&b'-');
    }

    /// The key of the whole label.
    #[inline]
    pub(super) fn whole(&self) -> u64 {
        mix(self.sum, self.label.len(), Tag::Label)
    }

    /// The mark of labels that begin with the same [`SHORTEST_GLUED`] letters.
    #[inline]
    pub(super) fn front_mark(&self) -> Option<u64> {
        let letters = self.label.first_chunk::<SHORTEST_GLUED>();
        letters.map(|letters| mark(letters, Tag::Front))
    }

    /// The mark of labels that end in the same [`SHORTEST_GLUED`] letters.
    #[inline]
    pub(super) fn back_mark(&self) -> Option<u64> {
        let letters = self.label.last_chunk::<SHORTEST_GLUED>();
        letters.map(|letters| mark(letters, Tag::Back))
    }

    /// Calls `each` with the key of the first [`PREFIX`] letters with 0 to `limit` of them left
    /// out, and with whether two are. Different letters left out may leave the same.
    #[inline(always)]
    pub(super) fn deletions(&self, limit: usize, mut each: impl FnMut(u64, bool)) {
        let length = self.label.len().min(PREFIX);
        let all = self.sums[length];
        each(mix(all, length, Tag::Deletion), false);
        if limit == 0 || length == 0 {
            return;
        }
        let all = all.wrapping_mul(BASE_INVERSE);
        let once = mix(all, length - 1, Tag::Deletion);
        let all = all.wrapping_mul(BASE_INVERSE);
        let twice = mix(all, length.saturating_sub(2), Tag::Deletion);
        let mut parts = self.holes.parts.get(..self.holes.count).unwrap_or_default();
        if limit > 1 {
            for pair in self.holes.pairs.iter().take(self.holes.pair_count) {
                each(pair.wrapping_add(twice), true);
            }
            // Two first holes share the way through the second ones behind both.
            while let [(one, _), (other, between), behind @ ..] = parts {
                each(one.wrapping_add(once), false);
                each(other.wrapping_add(once), false);
                let (one, other) = (one.wrapping_add(twice), other.wrapping_add(twice));
                each(one.wrapping_add(*between), true);
                for (_, second) in behind {
                    each(one.wrapping_add(*second), true);
                    each(other.wrapping_add(*second), true);
                }
                parts = behind;
            }
        }
        for (first, _) in parts {
            each(first.wrapping_add(once), false);
        }
    }
}

/// The hash of a few letters; they fit into one number.
#[inline]
fn mark(letters: &[u8; SHORTEST_GLUED], tag: Tag) -> u64 {
    let number = (letters.iter()).fold(0u64, |number, byte| (number << 8) | u64::from(*byte));
    mix(number.wrapping_mul(BASE), 0, tag)
}

/// The bit of a byte in [`Letters`].
pub(super) const fn bit(byte: u8) -> u64 {
    1 << (byte & 63)
}

/// The hash of bytes, and how many they are.
pub(super) fn hash(bytes: impl Iterator<Item = u8>) -> (u64, usize) {
    let (mut sum, mut length) = (0u64, 0);
    for (byte, power) in bytes.zip(&POWERS) {
        sum = sum.wrapping_add(u64::from(byte).wrapping_mul(*power));
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
            (BASE, first as u64)
        } else {
            (
                BASE.wrapping_mul(BASE),
                (first as u64)
                    .wrapping_mul(BASE)
                    .wrapping_add(second as u64),
            )
        };
        byte += 1;
    }
    steps
};

/// Returns whether an `r` of the label looks like an `n`.
#[inline(never)]
fn turns(label: &[u8]) -> bool {
    label
        .windows(2)
        .any(|pair| pair[0] == b'r' && turns_r(pair[1]))
}

/// The hash of the skeleton of a label in which [`turns`] finds an `r`. Without, the steps alone give
/// a hash that is equal when the skeletons of [`super::skeleton`] are, but for the accidents of
/// hashing.
#[cold]
fn skeleton_turned(label: &[u8]) -> u64 {
    const TURN: u64 = (b'n' as u64).wrapping_sub(b'r' as u64);
    // What the sum gains when the `r`s right before turn out to look like `n`s.
    let (mut sum, mut gain) = (0u64, 0u64);
    for byte in label {
        let (factor, term) = UNIT_STEPS[usize::from(*byte)];
        if turns_r(*byte) {
            sum = sum.wrapping_add(gain);
        }
        gain = match byte {
            b'r' => gain.wrapping_mul(BASE).wrapping_add(TURN),
            _ => 0,
        };
        sum = sum.wrapping_mul(factor).wrapping_add(term);
    }
    sum
}

/// The bytes of a name with its labels joined by hyphens.
fn joined(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().map(|b| if b == b'.' { b'-' } else { b })
}

/// Words of a name, divided by dots and hyphens.
fn word_count(text: &str) -> usize {
    text.bytes().filter(|b| *b == b'.' || *b == b'-').count() + 1
}

/// Calls `each` with every key under which a target is found, and with the ends that the label must
/// have (see [`Ends`]); with none for a mark.
///
/// A mark is what the filters know a target by although nothing is entered there: the letters that
/// all labels share in which its own one may be the beginning or the end, and the first word of a
/// name that begins with another than its label. One question for these saves one for each length.
pub(super) fn keys(target: &Target, mut each: impl FnMut(u64, Option<u64>)) {
    let text = target.text();
    let (sum, length) = hash(folded(text));
    each(mix(sum, length, Tag::Folded), Some(0));
    if word_count(text) <= MOST_TOKENS {
        let (sum, length) = hash(joined(text));
        each(mix(sum, length, Tag::Joined), Some(0));
    }
    let first = text.split(['.', '-']).next().unwrap_or_default();
    if first != target.label() {
        let (sum, length) = hash(first.bytes());
        each(mix(sum, length, Tag::Label), None);
    }
    let mut label = Label::empty(target.label().as_bytes());
    label.read();
    let length = label.label.len();
    if length == 0 {
        return;
    }
    each(label.whole(), Some(0));
    each(label.skeleton, Some(0));
    for mark in label.front_mark().into_iter().chain(label.back_mark()) {
        each(mark, None);
    }
    let end = Ends::of(label.label).0[Ends::place(length)];
    label.deletions(edit_limit(length, target.largest), |hash, two| {
        each(hash, Some(if two { end } else { 0 }));
    });
}

/// About the number of keys that [`keys`] finds, by which the number of buckets is chosen.
pub(super) fn key_count(target: &Target) -> usize {
    let label = target.label().as_bytes();
    let prefix = label.get(..PREFIX).unwrap_or(label);
    let repeated = prefix.windows(2).filter(|pair| pair[0] == pair[1]).count();
    let apart = prefix.len() - repeated;
    let pairs = match edit_limit(label.len(), target.largest) {
        1 => 0,
        _ => apart * apart.saturating_sub(1) / 2 + repeated,
    };
    4 + 1 + apart + pairs
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::skeleton::likeness;
    use super::*;

    fn label(text: &str) -> Label<'_> {
        let mut label = Label::empty(text.as_bytes());
        label.read();
        label
    }

    /// The keys of what is left of the prefix without any one letter, and any two, found by leaving
    /// them out.
    fn remainders(text: &str, limit: usize) -> BTreeSet<u64> {
        let prefix = &text.as_bytes()[..text.len().min(PREFIX)];
        let mut rests = BTreeSet::from([prefix.to_vec()]);
        for _ in 0..limit {
            for rest in rests.clone() {
                rests.extend((0..rest.len()).map(|at| {
                    let mut less = rest.clone();
                    less.remove(at);
                    less
                }));
            }
        }
        let key = |rest: Vec<u8>| {
            let (sum, length) = hash(rest.into_iter());
            mix(sum, length, Tag::Deletion)
        };
        rests.into_iter().map(key).collect()
    }

    #[test]
    fn deletion_hashes_are_those_of_the_remaining_bytes() {
        for text in [
            "gmail",
            "a",
            "aa",
            "ab",
            "aaaa",
            "aaaaaaaaaaaa",
            "aabbccddee",
            "abbbbacccc",
            "abababababab",
            "mississippi",
            "committee-of-all",
            "wellnessbookkeeper",
            "bank-of-the-north",
        ] {
            let label = label(text);
            for limit in 0..=2 {
                let mut found = Vec::new();
                label.deletions(limit, |hash, two| found.push((hash, two)));
                let keys: BTreeSet<u64> = found.iter().map(|(hash, _)| *hash).collect();
                assert_eq!(keys, remainders(text, limit), "{text}, {limit} left out");
                for (hash, two) in found {
                    let fewer = remainders(text, 1);
                    // Only what needs two letters left out holds for labels that end alike alone.
                    assert_eq!(two, !fewer.contains(&hash), "{text}");
                }
            }
        }
    }

    #[test]
    fn marks_are_shared_by_what_begins_or_ends_alike() {
        let (whole, north, bank) = (label("northbanks"), label("north"), label("banks"));
        assert_eq!(whole.front_mark(), north.front_mark());
        assert_eq!(whole.back_mark(), bank.back_mark());
        assert_ne!(whole.front_mark(), bank.front_mark());
        assert_eq!(label("bank").front_mark(), None);
        assert_eq!(label("bank").back_mark(), None);
    }

    #[test]
    fn labels_that_look_alike_have_one_skeleton_key() {
        for (typed, meant) in [
            ("rnicrosoft", "microsoft"),
            ("nnicrosoft", "microsoft"),
            ("bannner", "bamner"),
            ("vvells", "wells"),
            ("northwestern-nnail", "northwestern-mail"),
            ("sannnartin", "sanmartin"),
            ("vietnarnnettv", "vietnamnettv"),
            ("forrnal-forrrnal", "formal-forrmal"),
            ("urnn", "umn"),
        ] {
            assert!(likeness(typed.as_bytes(), meant.as_bytes()).is_some());
            assert_eq!(label(typed).skeleton, label(meant).skeleton, "{typed}");
        }
        assert_ne!(label("banner").skeleton, label("baner").skeleton);
    }

    #[test]
    fn the_inverse_undoes_the_base() {
        assert_eq!(BASE.wrapping_mul(BASE_INVERSE), 1);
    }
}
