//! How much mail passed the milter, day by day: what reports compare the verdicts with.

use rusqlite::params;
use serde::Serialize;

use super::days::Day;
use super::{Ledger, StoreError};

/// What passed on one day, or on several together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct DayTotal {
    /// Messages of the site's own senders.
    pub judged: u64,
    /// Messages that were not ours to judge.
    pub inbound: u64,
    /// Messages with the null sender.
    pub null_sender: u64,
    /// Recipients without evidence.
    pub clean: u64,
    /// Recipients with evidence.
    pub suspicious: u64,
    /// Answers forced by a fault of ours.
    pub faults: u64,
}

impl DayTotal {
    /// Adds what passed on another day.
    pub fn add(&mut self, other: &DayTotal) {
        self.judged += other.judged;
        self.inbound += other.inbound;
        self.null_sender += other.null_sender;
        self.clean += other.clean;
        self.suspicious += other.suspicious;
        self.faults += other.faults;
    }

    /// Returns what came since `earlier` of the same counters.
    pub fn since(&self, earlier: &DayTotal) -> DayTotal {
        DayTotal {
            judged: self.judged.saturating_sub(earlier.judged),
            inbound: self.inbound.saturating_sub(earlier.inbound),
            null_sender: self.null_sender.saturating_sub(earlier.null_sender),
            clean: self.clean.saturating_sub(earlier.clean),
            suspicious: self.suspicious.saturating_sub(earlier.suspicious),
            faults: self.faults.saturating_sub(earlier.faults),
        }
    }
}

fn number(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

impl Ledger<'_> {
    /// Adds what passed on `day`.
    pub fn add_day_total(&self, day: Day, total: &DayTotal) -> Result<(), StoreError> {
        self.connection
            .execute(
                "INSERT INTO day_total (day, judged, inbound, null_sender, clean, suspicious, faults)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)
                 ON CONFLICT (day) DO UPDATE SET judged = judged + ?2, inbound = inbound + ?3,
                     null_sender = null_sender + ?4, clean = clean + ?5, suspicious = suspicious + ?6,
                     faults = faults + ?7",
                params![
                    day.number(),
                    number(total.judged),
                    number(total.inbound),
                    number(total.null_sender),
                    number(total.clean),
                    number(total.suspicious),
                    number(total.faults)
                ],
            )
            .map_err(|error| self.error(error))?;
        Ok(())
    }

    /// Returns the first day that was counted.
    pub fn first_day_total(&self) -> Result<Option<Day>, StoreError> {
        let first: Option<i64> = self
            .connection
            .query_row("SELECT min(day) FROM day_total", [], |row| row.get(0))
            .map_err(|error| self.error(error))?;
        Ok(first.map(Day::numbered))
    }

    /// Returns what passed from `first` to `last`, both included, for each day that had any.
    pub fn day_totals(&self, first: Day, last: Day) -> Result<Vec<(Day, DayTotal)>, StoreError> {
        let error = |error| self.error(error);
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT day, judged, inbound, null_sender, clean, suspicious, faults FROM day_total
                 WHERE day BETWEEN ?1 AND ?2 ORDER BY day",
            )
            .map_err(error)?;
        let rows = statement
            .query_map(params![first.number(), last.number()], |row| {
                let count = |column| -> rusqlite::Result<u64> {
                    Ok(u64::try_from(row.get::<_, i64>(column)?).unwrap_or(0))
                };
                let total = DayTotal {
                    judged: count(1)?,
                    inbound: count(2)?,
                    null_sender: count(3)?,
                    clean: count(4)?,
                    suspicious: count(5)?,
                    faults: count(6)?,
                };
                Ok((Day::numbered(row.get(0)?), total))
            })
            .map_err(error)?;
        rows.collect::<Result<_, _>>().map_err(error)
    }
}
