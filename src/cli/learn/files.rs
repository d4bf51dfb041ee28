//! The logs to learn from, oldest first, and how one is known again.

use std::cell::Cell;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::path::PathBuf;

use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use sha2::{Digest as _, Sha256};

use crate::cli::desk::Desk;
use crate::cli::scan_log::{progress, tell_again};
use crate::maillog::{self, Delivery, LogFile, MailLog};
use crate::untrusted::Untrusted;

/// Octets of the first line by which a log is known again.
const BEGINNING: u64 = 4096;

/// A log that cannot be read, or not to its end.
#[derive(Debug, thiserror::Error)]
#[error("{name}: cannot be read to its end")]
pub(super) struct FileError {
    pub(super) name: String,
    #[source]
    pub(super) error: io::Error,
}

/// One log to read.
pub(super) struct Input {
    /// `None` is standard input.
    file: Option<LogFile>,
    bar: ProgressBar,
    now: Timestamp,
}

/// Returns the logs that can be looked at, oldest first; complains about the others.
pub(super) fn look(paths: &[PathBuf], desk: &mut Desk<'_>) -> io::Result<Vec<Input>> {
    let zone = TimeZone::system();
    let mut files = Vec::new();
    for path in paths.iter().filter(|path| path.as_os_str() != "-") {
        match LogFile::look(path, &zone, desk.now) {
            Ok(file) => files.push(file),
            Err(error) => desk.complain(&FileError {
                name: Untrusted::text(&path.display().to_string()).to_string(),
                error,
            })?,
        }
    }
    for again in maillog::in_order(&mut files) {
        tell_again(&again);
    }
    let bar = progress(files.iter().map(LogFile::size).sum());
    let standard_input = paths.iter().any(|path| path.as_os_str() == "-");
    let now = desk.now;
    Ok((files.into_iter().map(Some))
        .chain(standard_input.then_some(None))
        .map(|file| Input {
            file,
            bar: bar.clone(),
            now,
        })
        .collect())
}

impl Input {
    pub(super) fn name(&self) -> String {
        match &self.file {
            Some(file) => Untrusted::text(&file.path().display().to_string()).to_string(),
            None => "standard input".to_owned(),
        }
    }

    /// Returns the hash of the first line, unpacked: the same when the log has grown, was
    /// rotated or packed. Standard input and pipes are not known again.
    pub(super) fn beginning(&self) -> Option<[u8; 32]> {
        let file = self.file.as_ref().filter(|file| file.is_regular())?;
        let file = File::open(file.path()).ok()?;
        let (text, _) = maillog::decompress(file).ok()?;
        let mut line = Vec::new();
        (BufReader::new(text.take(BEGINNING)).read_until(b'\n', &mut line)).ok()?;
        (!line.is_empty()).then(|| Sha256::digest(&line).into())
    }

    /// Reads it with `log`.
    pub(super) fn read(
        &self,
        log: &mut MailLog,
        sink: impl FnMut(&Delivery<'_>),
    ) -> io::Result<()> {
        let Some(file) = &self.file else {
            let (text, _) = maillog::decompress(io::stdin().lock())?;
            log.begin("standard input", self.now);
            return log.read(text, sink);
        };
        self.bar.set_message(self.name());
        // A million lines a second need no million updates.
        let pending = Cell::new(0);
        let step = |bytes: u64| {
            pending.set(pending.get() + bytes);
            if pending.get() > 1 << 20 {
                self.bar.inc(pending.take());
            }
        };
        let read = file.read(log, step, sink);
        self.bar.inc(pending.take());
        read
    }
}
