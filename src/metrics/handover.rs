//! One series of figures over a restart by take-over, while two milters count.
//!
//! The newer milter's figures begin at 0, as after any restart. What the older one still counts
//! until its last session ends, it hands on in a file of its own, and the newer one adds it: no
//! sum jumps back and forth between the two, and nothing judged is lost.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::{Figures, read_json, write_json};

/// How the names of files begin that hand figures on.
const PREFIX: &str = "figures.leaving.";

/// Most such files that are looked at: as many milters as may be leaving at a time.
const MOST_LEAVING: usize = 64;

/// Writes the figures of one milter, from its start to its end.
#[derive(Debug, Default)]
pub struct Publisher {
    told: Mutex<Told>,
}

/// What others know of this milter's counts.
#[derive(Debug, Default)]
struct Told {
    /// The counts of the last write.
    last: Option<Figures>,
    /// When the milter started that they are handed on to; `None` while there is none.
    successor: Option<Timestamp>,
    /// The counts that the successor does not get: they were told before.
    before: Option<Figures>,
}

/// Counts that a leaving milter hands on.
#[derive(Debug, Serialize, Deserialize)]
struct Leaving {
    /// When the milter started that they are for.
    to: Timestamp,
    /// What was counted since that one writes the figures.
    counts: Figures,
}

impl Publisher {
    /// Writes `figures` to the state directory `dir`: as the figures of the site, or, when a
    /// newer milter writes those, as what it is to add.
    ///
    /// # Errors
    /// A file cannot be written.
    pub fn publish(&self, dir: &Path, figures: &Figures) -> io::Result<()> {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        // Between the look at the file and its replacement nobody else may replace it.
        let lock = File::open(dir)?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive)?;
        // One that does not read is replaced.
        let found = Figures::read(dir).ok().flatten();
        match found.filter(|found| is_newer(found, figures)) {
            Some(newer) => {
                if told.successor != Some(newer.started_at) {
                    told.successor = Some(newer.started_at);
                    told.before = told.last.take();
                }
                let counts = match &told.before {
                    Some(before) => figures.combined(before, u64::saturating_sub),
                    None => figures.clone(),
                };
                let to = newer.started_at;
                write_json(&leaving_path(dir, figures), &Leaving { to, counts })?;
            }
            None => {
                let mut sums = figures.clone();
                for (path, leaving) in all_leaving(dir)? {
                    if leaving.to == figures.started_at {
                        sums = sums.combined(&leaving.counts, u64::saturating_add);
                    } else if leaving.to < figures.started_at {
                        let _ = fs::remove_file(path);
                    }
                }
                sums.write(dir)?;
            }
        }
        told.last = Some(figures.clone());
        Ok(())
    }
}

/// Returns whether the figures that were `found` are those of a milter that started after the
/// one of `own`, and is alive. One whose clock was wrong does not stop us for longer than that.
fn is_newer(found: &Figures, own: &Figures) -> bool {
    found.started_at > own.started_at && found.alive(own.written_at)
}

fn leaving_path(dir: &Path, figures: &Figures) -> PathBuf {
    let started = figures.started_at.as_millisecond();
    dir.join(format!("{PREFIX}{started}.json"))
}

/// Returns what leaving milters hand on; files that do not read are left out.
fn all_leaving(dir: &Path) -> io::Result<Vec<(PathBuf, Leaving)>> {
    let mut all = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if all.len() < MOST_LEAVING && entry.file_name().to_string_lossy().starts_with(PREFIX) {
            let path = entry.path();
            if let Ok(Some(leaving)) = read_json(&path) {
                all.push((path, leaving));
            }
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;
    use std::time::Duration;

    use super::*;
    use crate::metrics::Tally;

    fn at(second: u64) -> Timestamp {
        let start: Timestamp = "2026-11-25T12:00:00Z".parse().unwrap();
        start + Duration::from_secs(second)
    }

    /// A milter: its counters, and how it writes them.
    struct Counting {
        tally: Tally,
        publisher: Publisher,
    }

    impl Counting {
        fn started(second: u64) -> Counting {
            Counting {
                tally: Tally::new(at(second)),
                publisher: Publisher::default(),
            }
        }

        /// Counts `messages` and their times, then writes at `second`.
        fn counts(&self, dir: &Path, messages: u64, second: u64) {
            for _ in 0..messages {
                self.tally.judged.fetch_add(1, Ordering::Relaxed);
                self.tally.clean.fetch_add(1, Ordering::Relaxed);
                self.tally.rcpt.observe(Duration::from_micros(20));
            }
            let figures = self.tally.figures(at(second));
            self.publisher.publish(dir, &figures).unwrap();
        }
    }

    /// Whose figures there are, and what was counted.
    fn seen(dir: &Path) -> (Timestamp, u64, u64, u64) {
        let figures = Figures::read(dir).unwrap().unwrap();
        let clean = figures.recipients[0].count;
        let timed = figures.rcpt.buckets.iter().map(|(_, count)| count).sum();
        (figures.started_at, figures.judged, clean, timed)
    }

    #[test]
    fn the_newer_milter_writes_and_adds_what_the_older_still_counts() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (old, new) = (Counting::started(0), Counting::started(100));
        old.counts(dir, 7, 95);
        assert_eq!(seen(dir), (at(0), 7, 7, 7));
        new.counts(dir, 1, 101);
        assert_eq!(seen(dir), (at(100), 1, 1, 1));
        // Two of them between its last figures and the first of the newer one.
        old.counts(dir, 3, 102);
        assert_eq!(seen(dir), (at(100), 1, 1, 1));
        new.counts(dir, 1, 106);
        assert_eq!(seen(dir), (at(100), 5, 5, 5));
        old.counts(dir, 2, 107);
        new.counts(dir, 0, 111);
        new.counts(dir, 0, 116);
        assert_eq!(seen(dir), (at(100), 7, 7, 7));
    }

    #[test]
    fn two_take_overs_at_once_lose_and_repeat_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        let (first, second) = (Counting::started(0), Counting::started(10));
        let third = Counting::started(20);
        first.counts(dir, 5, 9);
        second.counts(dir, 1, 11);
        first.counts(dir, 1, 12);
        second.counts(dir, 1, 13);
        assert_eq!(seen(dir), (at(10), 3, 3, 3));
        third.counts(dir, 0, 21);
        first.counts(dir, 2, 22);
        second.counts(dir, 4, 23);
        third.counts(dir, 1, 26);
        assert_eq!(seen(dir), (at(20), 7, 7, 7));
    }

    #[test]
    fn a_milter_started_under_a_clock_ahead_is_waited_for_no_longer_than_it_lives() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path();
        Counting::started(1000).counts(dir, 9, 1001);
        let own = Counting::started(40);
        own.counts(dir, 2, 41);
        assert_eq!(seen(dir), (at(40), 2, 2, 2));
        // A restart in place is a newer one, too.
        Counting::started(50).counts(dir, 1, 51);
        assert_eq!(seen(dir), (at(50), 1, 1, 1));
    }
}
