//! The names that come again and again in a log, by number.
//!
//! Several ask about the same sender and the same domain: the scorer's verdict, the counters of
//! learning. A name is looked up once a delivery, and what each keeps of it stands in a list.

use foldhash::fast::RandomState;
use indexmap::IndexSet;

/// Longest name that is numbered, in octets: an address of the longest path (RFC 5321, 4.5.3.1.3)
/// and some. What is longer is no name that comes again.
const LONGEST: usize = 320;

/// Names, numbered in the order in which they came.
#[derive(Debug)]
pub struct Numbers {
    names: IndexSet<Box<[u8]>, RandomState>,
    most: usize,
}

impl Numbers {
    /// Numbers the first `most` names.
    pub fn new(most: usize) -> Numbers {
        Numbers {
            names: IndexSet::default(),
            most,
        }
    }

    /// Returns the number of `name`; `None` when it is new and there is no room, or overlong.
    pub fn number(&mut self, name: &[u8]) -> Option<u32> {
        if name.len() > LONGEST {
            return None;
        }
        let number = match self.names.get_index_of(name) {
            Some(number) => number,
            None if self.names.len() >= self.most => return None,
            None => self.names.insert_full(name.into()).0,
        };
        u32::try_from(number).ok()
    }
}

/// What is kept of names, by their numbers. A name without a number has nothing.
#[derive(Debug)]
pub struct ByNumber<T>(Vec<Option<T>>);

impl<T> Default for ByNumber<T> {
    fn default() -> Self {
        ByNumber(Vec::new())
    }
}

impl<T: Copy> ByNumber<T> {
    /// Returns what is kept of the name of this number.
    pub fn get(&self, number: Option<u32>) -> Option<T> {
        *self.0.get(number? as usize)?
    }

    /// Keeps `value` of the name of this number.
    pub fn set(&mut self, number: Option<u32>, value: T) {
        let Some(place) = number.map(|number| number as usize) else {
            return;
        };
        if self.0.len() <= place {
            self.0.resize(place + 1, None);
        }
        if let Some(kept) = self.0.get_mut(place) {
            *kept = Some(value);
        }
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_beyond_the_bound_have_no_number_and_nothing_is_kept_of_them() {
        let mut numbers = Numbers::new(2);
        let told = [b"a", b"b", b"c", b"a"].map(|name| numbers.number(name));
        assert_eq!(told, [Some(0), Some(1), None, Some(0)]);
        assert_eq!(Numbers::new(1).number(&[b'a'; LONGEST + 1]), None);
        let mut kept = ByNumber::default();
        kept.set(Some(1), 'b');
        kept.set(None, 'c');
        assert_eq!(
            [0, 1, 2].map(|n| kept.get(Some(n))),
            [None, Some('b'), None]
        );
        assert_eq!(kept.get(None), None);
        kept.clear();
        assert_eq!(kept.get(Some(1)), None);
    }
}
