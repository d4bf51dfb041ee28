//! What is counted, and how the process that is asked for it learns of it.
//!
//! The milter has no network and its decisions wait for no I/O: it counts in memory
//! ([`Tally`]), and every few seconds a task beside it writes the sums, as [`Figures`], to one
//! small file of the state directory. The worker reads that file, looks into the store, and
//! serves both as one page in the text format of Prometheus. No name of a domain, sender or
//! recipient is in any of it.

mod exposition;
mod handover;
mod histogram;
mod tally;

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

pub use exposition::{Exposition, Kind, Sample};
pub use handover::Publisher;
pub use histogram::{Histogram, Times};
pub use tally::{Recipients, Tally};

/// How often the milter writes its figures. Prometheus asks every 15 to 60 s.
pub const EVERY: Duration = Duration::from_secs(5);

/// After so long without new figures the milter counts as gone.
pub const GONE_AFTER: Duration = Duration::from_secs(30);

/// The file in the state directory.
const NAME: &str = "figures.json";

/// A file longer than this is not ours; ours has some 4 KiB.
const LONGEST: u64 = 1 << 20;

/// What a milter has counted since its start, and what it works with.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Figures {
    /// Version of the program that counts.
    pub version: String,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started_at: Timestamp,
    /// When these figures were written.
    pub written_at: Timestamp,
    /// Messages of our own senders.
    pub judged: u64,
    /// Messages that were not ours to judge.
    pub inbound: u64,
    /// Messages with the null sender.
    pub null_sender: u64,
    /// Held messages on their way out, which are no new ones.
    #[serde(default)]
    pub released: u64,
    /// Recipients by verdict and what was to become of them.
    pub recipients: Vec<Recipients>,
    /// Answers forced by a fault of ours.
    pub faults: u64,
    /// How long answers to RCPT took.
    pub rcpt: Times,
    /// The configuration in force.
    pub loaded: Loaded,
    /// Reloads since the start that took a new configuration.
    pub reloads: u64,
    /// Reloads that kept the old one because the new had mistakes.
    pub reloads_failed: u64,
    /// Whether the last reload, if any, took the new configuration.
    pub last_reload_fine: bool,
}

/// A configuration that was read and is in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loaded {
    /// When it was read.
    pub at: Timestamp,
    /// Entries of the trusted list.
    pub trusted: u64,
    /// When the file of the public suffix list was written; `None` for the built-in list.
    pub suffixes_written_at: Option<Timestamp>,
}

impl Loaded {
    /// Returns a configuration read at `at` that trusts nothing.
    pub fn at(at: Timestamp) -> Loaded {
        Loaded {
            at,
            trusted: 0,
            suffixes_written_at: None,
        }
    }
}

impl Figures {
    /// Writes the figures to the state directory `dir`, whole or not at all. They are not
    /// synced: after a power loss the next ones are right.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write(&self, dir: &Path) -> io::Result<()> {
        write_json(&dir.join(NAME), self)
    }

    /// Reads the figures in the state directory `dir`; `None` when no milter has written any.
    ///
    /// # Errors
    /// The file cannot be read, or is not one of ours.
    pub fn read(dir: &Path) -> io::Result<Option<Figures>> {
        read_json(&dir.join(NAME))
    }

    /// Returns these figures with each sum combined with that of `other`.
    fn combined(&self, other: &Figures, sum: fn(u64, u64) -> u64) -> Figures {
        let mut recipients = self.recipients.clone();
        for own in &mut recipients {
            let same = (other.recipients.iter()).find(|other| own.is_same_kind(other));
            own.count = sum(own.count, same.map_or(0, |same| same.count));
        }
        Figures {
            judged: sum(self.judged, other.judged),
            inbound: sum(self.inbound, other.inbound),
            null_sender: sum(self.null_sender, other.null_sender),
            released: sum(self.released, other.released),
            recipients,
            faults: sum(self.faults, other.faults),
            rcpt: self.rcpt.combined(&other.rcpt, sum),
            ..self.clone()
        }
    }

    /// Returns whether the milter that counts was alive a moment before `now`.
    pub fn alive(&self, now: Timestamp) -> bool {
        now.duration_since(self.written_at).unsigned_abs() <= GONE_AFTER
    }
}

/// Writes a file whole or not at all.
fn write_json(path: &Path, content: &impl Serialize) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)?;
    file.write_all(&serde_json::to_vec(content)?)?;
    fs::rename(&temporary, path)
}

/// Reads what was written; `None` when nothing was.
fn read_json<T: DeserializeOwned>(path: &Path) -> io::Result<Option<T>> {
    let file = match fs::File::open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    if file.metadata()?.len() > LONGEST {
        return Err(io::Error::other(format!("{} is too long", path.display())));
    }
    Ok(serde_json::from_reader(io::BufReader::new(file)).map(Some)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn figures() -> Figures {
        let at = "2026-11-25T12:00:00Z".parse().unwrap();
        Tally::new(at).figures(at)
    }

    #[test]
    fn figures_read_back_as_they_were_written() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(Figures::read(dir.path()).unwrap(), None);
        let figures = figures();
        figures.write(dir.path()).unwrap();
        assert_eq!(Figures::read(dir.path()).unwrap(), Some(figures));
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(dir.path().join(NAME), "{").unwrap();
        assert!(Figures::read(dir.path()).is_err());
    }

    #[test]
    fn a_milter_that_no_longer_writes_is_gone() {
        let figures = figures();
        let later = |seconds| figures.written_at + Duration::from_secs(seconds);
        assert!(figures.alive(later(30)));
        assert!(!figures.alive(later(31)));
    }
}
