//! Names numbered in the order in which they come, each kept once.

use std::hash::BuildHasher as _;

use foldhash::fast::RandomState;
use hashbrown::HashTable;

/// Different names, in one piece of memory.
#[derive(Debug, Default)]
pub(super) struct Names {
    places: HashTable<Place>,
    text: String,
    /// Where each name ends in `text`.
    ends: Vec<usize>,
    hasher: RandomState,
}

/// A name, and its hash.
#[derive(Clone, Copy, Debug)]
struct Place {
    hash: u64,
    number: u32,
}

impl Names {
    /// Returns the number of a name; of one that is not there the hash, to add it by.
    pub(super) fn find(&self, name: &str) -> Result<u32, u64> {
        let hash = self.hasher.hash_one(name);
        let same = |place: &Place| place.hash == hash && self.name(place.number) == Some(name);
        (self.places.find(hash, same)).map_or(Err(hash), |place| Ok(place.number))
    }

    /// Adds a name that is not there, whose hash is what [`Names::find`] returned. The caller sees
    /// to it that there are fewer than four billion.
    pub(super) fn add(&mut self, hash: u64, name: &str) -> u32 {
        let number = u32::try_from(self.ends.len()).unwrap_or(u32::MAX);
        self.text.push_str(name);
        self.ends.push(self.text.len());
        let place = Place { hash, number };
        (self.places).insert_unique(hash, place, |place| place.hash);
        number
    }

    /// Returns the name of this number.
    pub(super) fn name(&self, number: u32) -> Option<&str> {
        let number = number as usize;
        let begin = match number.checked_sub(1) {
            Some(before) => *self.ends.get(before)?,
            None => 0,
        };
        self.text.get(begin..*self.ends.get(number)?)
    }

    /// Returns all names, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        (0..).map_while(|number| self.name(number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_one_number() {
        let mut names = Names::default();
        let mut number = |name: &str| match names.find(name) {
            Ok(number) => number,
            Err(hash) => names.add(hash, name),
        };
        let numbers = ["army.mil", "", "\u{e9}.example", "army.mil", ""].map(&mut number);
        assert_eq!(numbers, [0, 1, 2, 0, 1]);
        let all: Vec<&str> = names.iter().collect();
        assert_eq!(all, ["army.mil", "", "\u{e9}.example"]);
    }
}
