//! What learning adds to the replay of a log, and how long `straymail learn` takes by itself.
//!
//! `cargo run --release --example learn_speed` generates a month of Postfix lines, replays it as
//! `scan-log` does, replays it and counts for learning in the same pass, and counts alone: by
//! processor time, a few megabytes of the log in turn, and by instructions.

#[path = "../tests/support/traffic.rs"]
mod traffic;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rustix::time::{ClockId, clock_gettime};
use straymail::config::Config;
use straymail::maillog::MailLog;
use straymail::score::Scorer;
use straymail::service::Snapshot;
use straymail::service::learning::{Batch, Learning, LearningSettings, LogLearner, Section};
use straymail::service::passage::{Origin, Roles};
use straymail::service::quarantine::{Quarantine, QuarantineSettings};
use straymail::service::scan::Scan;
use traffic::Model;

const ROUNDS: usize = 9;
/// Octets that one reads before it is the next one's turn; some 50,000 lines.
const PART: usize = 6 << 20;
/// Learning may add so many hundredths to a replay.
const MOST: f64 = 5.0;
const NOW: &str = "2026-12-01T00:00:00Z";

fn snapshot(yaml: &str) -> Result<Snapshot> {
    let config = Config::parse(Path::new("milter.yaml"), yaml)?;
    Ok(Snapshot {
        scorer: Scorer::new(config.trust.list, config.scoring),
        suffixes: config.trust.suffixes,
        policy: config.policy,
        gate: config.gate,
        help: config.help,
    })
}

/// Returns how long this thread was busy so far.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(
        u64::try_from(time.tv_sec).unwrap_or_default(),
        u32::try_from(time.tv_nsec).unwrap_or_default(),
    )
}

struct Log<'l> {
    text: &'l [u8],
    yaml: &'l str,
    now: Timestamp,
}

/// What is done with the lines.
#[derive(Clone, Copy)]
enum Work {
    Scan,
    Learn,
    Both,
}

const WORKS: [(Work, &str); 3] = [
    (Work::Scan, "scan-log"),
    (Work::Learn, "learn"),
    (Work::Both, "both in one pass"),
];

/// A replay that has its rules and read nothing yet.
struct Replay<'r> {
    log: MailLog,
    scan: Scan,
    origin: Origin,
    learner: LogLearner<'r>,
    rules: &'r Snapshot,
}

impl<'r> Replay<'r> {
    fn new(log: &Log<'_>, rules: &'r Snapshot) -> Result<Replay<'r>> {
        let scan = Scan::new(
            snapshot(log.yaml)?,
            Roles::default(),
            TimeZone::UTC,
            log.now,
        );
        Ok(Replay {
            log: MailLog::new(TimeZone::UTC, log.now),
            scan,
            origin: Origin::default(),
            learner: LogLearner::new(rules),
            rules,
        })
    }

    /// Reads more lines. Instructions are counted in here and in [`Replay::measured_end`].
    #[inline(never)]
    fn measured_lines(&mut self, text: &[u8], work: Work) -> Result<()> {
        let (scan, origin, learner) = (&mut self.scan, &mut self.origin, &mut self.learner);
        match work {
            Work::Scan => self.log.read(text, |delivery| scan.delivery(delivery))?,
            Work::Learn => {
                let roles = Roles::default();
                self.log.read(text, |delivery| {
                    origin.look(delivery, self.rules, &roles);
                    learner.delivery(delivery, origin, Section::New);
                })?;
            }
            Work::Both => self.log.read(text, |delivery| {
                scan.delivery(delivery);
                learner.delivery(delivery, scan.origin(), Section::New);
            })?,
        }
        Ok(())
    }

    #[inline(never)]
    fn measured_end(self) -> Batch {
        std::hint::black_box(self.scan.finish());
        self.learner.into_batch()
    }
}

impl Log<'_> {
    /// Reads everything in one go and returns what it taught.
    fn replay(&self, rules: &Snapshot, work: Work) -> Result<Batch> {
        let mut replay = Replay::new(self, rules)?;
        replay.measured_lines(self.text, work)?;
        Ok(replay.measured_end())
    }

    /// Returns the log in parts of so many octets and the rest of a line.
    fn parts(&self) -> Vec<&[u8]> {
        let mut parts = Vec::new();
        let mut rest = self.text;
        while !rest.is_empty() {
            let end = rest
                .get(PART..)
                .and_then(|tail| memchr::memchr(b'\n', tail));
            let (part, tail) = rest.split_at(end.map_or(rest.len(), |end| PART + end + 1));
            parts.push(part);
            rest = tail;
        }
        parts
    }

    /// Returns how long each work takes, in seconds.
    ///
    /// All three read the log together, a part of it in turn, so that they meet the same
    /// disturbances; the median of the rounds counts for each part.
    fn times(&self) -> Result<[f64; WORKS.len()]> {
        let rules = snapshot(self.yaml)?;
        let parts = self.parts();
        let mut taken = vec![[[0.0; ROUNDS]; WORKS.len()]; parts.len() + 1];
        for round in 0..ROUNDS {
            let mut replays = Vec::new();
            for (work, _) in WORKS {
                replays.push((work, Replay::new(self, &rules)?));
            }
            for (part, taken) in parts.iter().zip(&mut taken) {
                for ((work, replay), taken) in replays.iter_mut().zip(taken) {
                    let begin = busy();
                    replay.measured_lines(part, *work)?;
                    taken[round] = (busy() - begin).as_secs_f64();
                }
            }
            for ((_, replay), taken) in replays.into_iter().zip(&mut taken[parts.len()]) {
                let begin = busy();
                std::hint::black_box(replay.measured_end());
                taken[round] = (busy() - begin).as_secs_f64();
            }
        }
        let mut sums = [0.0; WORKS.len()];
        for part in &mut taken {
            for (sum, rounds) in sums.iter_mut().zip(part) {
                rounds.sort_by(f64::total_cmp);
                *sum += rounds[ROUNDS / 2];
            }
        }
        Ok(sums)
    }

    /// Returns how many instructions the work takes; `None` without valgrind.
    fn instructions(&self, name: &str) -> Result<Option<u64>> {
        let directory = tempfile::tempdir()?;
        let [text, yaml, out] = ["log", "yaml", "out"].map(|name| directory.path().join(name));
        std::fs::write(&text, self.text)?;
        std::fs::write(&yaml, self.yaml)?;
        let status = Command::new("valgrind")
            .args(["--quiet", "--tool=callgrind", "--collect-atstart=no"])
            .arg("--toggle-collect=*Replay*measured_*")
            .arg(format!("--callgrind-out-file={}", out.display()))
            .arg(std::env::current_exe()?)
            .args(["--count", name])
            .args([&text, &yaml])
            .status();
        if !status.is_ok_and(|status| status.success()) {
            return Ok(None);
        }
        let profile = std::fs::read_to_string(&out)?;
        let total = profile
            .lines()
            .find_map(|line| line.strip_prefix("totals: "));
        Ok(Some(total.context("no totals")?.trim().parse()?))
    }

    /// Writes what a log teaches into a fresh store.
    fn write(&self, mut batch: Batch) -> Result<Duration> {
        let directory = tempfile::tempdir()?;
        let settings = QuarantineSettings {
            dir: directory.path().join("store"),
            ..QuarantineSettings::default()
        };
        let quarantine = Arc::new(Quarantine::open(settings, self.now)?);
        let learning = Learning::open(quarantine, LearningSettings::default())?;
        let rules = snapshot(self.yaml)?;
        let begin = busy();
        learning.write(&mut batch, &rules)?;
        Ok(busy().saturating_sub(begin))
    }
}

/// The child of [`Log::instructions`].
fn count(name: &str, text: &str, yaml: &str) -> Result<()> {
    let text = std::fs::read(text)?;
    let yaml = std::fs::read_to_string(yaml)?;
    let log = Log {
        text: &text,
        yaml: &yaml,
        now: NOW.parse()?,
    };
    let work = WORKS.iter().find(|(_, known)| *known == name);
    let (work, _) = work.context("no such work")?;
    let rules = snapshot(log.yaml)?;
    std::hint::black_box(log.replay(&rules, *work)?);
    Ok(())
}

/// Returns by how many hundredths `this` is more than `base`.
fn more(this: f64, base: f64) -> f64 {
    100.0 * (this / base - 1.0)
}

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    if let [_, flag, name, text, yaml] = &arguments[..]
        && flag == "--count"
    {
        return count(name, text, yaml);
    }
    let model = Model {
        mails_a_day: 20_000,
        partners: 1000,
        ..Model::default()
    };
    let mut text = Vec::new();
    let truth = traffic::write(&model, &mut text)?;
    let yaml = traffic::configuration(&truth);
    let log = Log {
        text: &text,
        yaml: &yaml,
        now: NOW.parse()?,
    };
    let times = log.times()?;
    println!(
        "{} lines, 1,000 trusted names; processor time, median of {ROUNDS} rounds",
        truth.lines
    );
    for (taken, (_, name)) in times.iter().zip(WORKS) {
        println!(
            "{name:17} {taken:8.3} s  {:5.2} million lines a second {:+6.1} %",
            truth.lines as f64 / taken / 1e6,
            more(*taken, times[0])
        );
    }
    let write = log.write(log.replay(&snapshot(log.yaml)?, Work::Learn)?)?;
    println!("writing what it taught {:7.3} s, once", write.as_secs_f64());
    let mut counts = Vec::new();
    for (_, name) in WORKS {
        let Some(count) = log.instructions(name)? else {
            println!("skipped: valgrind is not installed or cannot run this program");
            return Ok(());
        };
        let added = more(count as f64, *counts.first().unwrap_or(&count) as f64);
        println!(
            "{name:17} {:8.1} instructions a line {added:+.2} %",
            count as f64 / truth.lines as f64
        );
        counts.push(count);
    }
    for (what, added) in [
        ("processor time", more(times[2], times[0])),
        ("instructions", more(counts[2] as f64, counts[0] as f64)),
    ] {
        let met = if added < MOST { "reached" } else { "missed" };
        println!("the goal, less than {MOST} % in one pass, is {met} in {what}: {added:+.1} %");
    }
    Ok(())
}
