//! Counts failures by name, so that nobody may guess for long.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Names remembered; at the bound the oldest goes. An attacker with that many addresses is not
/// stopped by counting.
const MOST_NAMES: usize = 4096;

/// Failures by name within a time.
pub(super) struct Throttle {
    limit: u32,
    window: Duration,
    failures: Mutex<HashMap<String, Failures>>,
}

struct Failures {
    since: Instant,
    count: u32,
}

impl Throttle {
    /// Allows `limit` failures in each `window`.
    pub(super) fn new(limit: u32, window: Duration) -> Throttle {
        Throttle {
            limit,
            window,
            failures: Mutex::default(),
        }
    }

    /// Returns how long `name` must wait, if it must.
    pub(super) fn wait(&self, name: &str, now: Instant) -> Option<Duration> {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let found = failures.get(name)?;
        let left = self.window.checked_sub(now.duration_since(found.since))?;
        (found.count >= self.limit && !left.is_zero()).then_some(left)
    }

    /// Counts a failure of `name`.
    pub(super) fn failed(&self, name: &str, now: Instant) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        if failures.len() >= MOST_NAMES && !failures.contains_key(name) {
            let oldest = failures.iter().min_by_key(|(_, f)| f.since);
            if let Some(oldest) = oldest.map(|(name, _)| name.clone()) {
                failures.remove(&oldest);
            }
        }
        let found = failures.entry(name.to_owned()).or_insert(Failures {
            since: now,
            count: 0,
        });
        if now.duration_since(found.since) >= self.window {
            *found = Failures {
                since: now,
                count: 0,
            };
        }
        found.count = found.count.saturating_add(1);
    }

    /// Forgets the failures of `name`: it succeeded.
    pub(super) fn succeeded(&self, name: &str) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_failed_too_often_waits_until_the_window_is_over() {
        let throttle = Throttle::new(3, Duration::from_secs(60));
        let start = Instant::now();
        let at = |second| start + Duration::from_secs(second);
        for second in 0..3 {
            assert_eq!(throttle.wait("a", at(second)), None);
            throttle.failed("a", at(second));
        }
        assert_eq!(throttle.wait("a", at(3)), Some(Duration::from_secs(57)));
        assert_eq!(throttle.wait("b", at(3)), None);
        assert_eq!(throttle.wait("a", at(60)), None);
        throttle.failed("a", at(61));
        assert_eq!(throttle.wait("a", at(61)), None);
        throttle.succeeded("a");
        assert_eq!(throttle.failures.lock().unwrap().len(), 0);
    }

    #[test]
    fn a_flood_of_names_is_forgotten_oldest_first() {
        let throttle = Throttle::new(1, Duration::from_secs(60));
        let start = Instant::now();
        for n in 0..=MOST_NAMES {
            throttle.failed(&n.to_string(), start + Duration::from_millis(n as u64));
        }
        assert_eq!(throttle.failures.lock().unwrap().len(), MOST_NAMES);
        assert_eq!(throttle.wait("0", start), None);
        assert!(throttle.wait("1", start).is_some());
    }
}
