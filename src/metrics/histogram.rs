//! How long something took, without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Upper ends of the buckets, in microseconds: a recipient without evidence takes some ten, a
/// look into the store some hundred, a lock that somebody holds up to 5 s.
const ENDS: [u64; 15] = [
    10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 50_000, 100_000, 500_000, 1_000_000,
    5_000_000,
];

/// Counts of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One more than there are ends: what is beyond the last.
    buckets: [AtomicU64; ENDS.len() + 1],
    nanoseconds: AtomicU64,
}

/// What a [`Histogram`] held at some moment.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Times {
    /// Upper end of each bucket in microseconds, and how many were within it and above the one
    /// before.
    pub buckets: Vec<(u64, u64)>,
    /// How many were beyond the last.
    pub beyond: u64,
    /// All together, in nanoseconds.
    pub nanoseconds: u64,
}

impl Histogram {
    /// Counts one more.
    pub fn observe(&self, took: Duration) {
        let micros = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let at = ENDS.partition_point(|end| *end < micros);
        if let Some(bucket) = self.buckets.get(at) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.nanoseconds.fetch_add(nanos, Ordering::Relaxed);
    }

    /// Returns what it holds now.
    pub fn read(&self) -> Times {
        let counts = self
            .buckets
            .iter()
            .map(|bucket| bucket.load(Ordering::Relaxed));
        Times {
            beyond: self.buckets[ENDS.len()].load(Ordering::Relaxed),
            buckets: ENDS.into_iter().zip(counts).collect(),
            nanoseconds: self.nanoseconds.load(Ordering::Relaxed),
        }
    }
}

impl Times {
    /// Returns these times with each count combined with that of `other`.
    pub(super) fn combined(&self, other: &Times, sum: fn(u64, u64) -> u64) -> Times {
        let same = |end: u64| {
            let mut buckets = other.buckets.iter();
            buckets.find(|(other, _)| *other == end)
        };
        Times {
            buckets: (self.buckets.iter())
                .map(|(end, count)| (*end, sum(*count, same(*end).map_or(0, |(_, count)| *count))))
                .collect(),
            beyond: sum(self.beyond, other.beyond),
            nanoseconds: sum(self.nanoseconds, other.nanoseconds),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_duration_is_counted_where_it_ends() {
        let histogram = Histogram::default();
        for micros in [0, 10, 11, 5_000_000, 5_000_001] {
            histogram.observe(Duration::from_micros(micros));
        }
        let times = histogram.read();
        let counted: Vec<_> = times
            .buckets
            .iter()
            .filter(|(_, count)| *count > 0)
            .collect();
        assert_eq!(counted, [&(10, 2), &(25, 1), &(5_000_000, 1)]);
        assert_eq!(times.beyond, 1);
        assert_eq!(times.nanoseconds, 10_000_022_000);
    }
}
