//! The logs to learn from, oldest first.

use std::cell::Cell;
use std::io::{self, BufReader};
use std::path::PathBuf;

use indicatif::ProgressBar;
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::cli::desk::Desk;
use crate::cli::scan_log::{progress, tell_again};
use crate::maillog::{self, Delivery, LogFile, MailLog};
use crate::service::learning::{Known, Learning, Section, Trail, read_lines};
use crate::store::{LogMark, StoreError};
use crate::untrusted::Untrusted;

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

    /// Returns what was counted of it before. Standard input is not known again.
    ///
    /// # Errors
    /// What was learned cannot be read.
    pub(super) fn known(&self, learning: &Learning) -> Result<Known, StoreError> {
        match &self.file {
            Some(file) => learning.known(file),
            None => Ok(Known::default()),
        }
    }

    /// Reads it with `log`, and returns by what it is known again, also when it cannot be read to
    /// its end.
    pub(super) fn read(
        &self,
        log: &mut MailLog,
        known: &Known,
        sink: impl FnMut(&Delivery<'_>, Section),
    ) -> (Option<LogMark>, io::Result<()>) {
        let mut trail = Trail::default();
        let read = self.read_on(log, known, &mut trail, sink);
        let mark = trail.mark().filter(|_| {
            let file = self.file.as_ref();
            file.is_some_and(LogFile::is_regular)
        });
        (mark, read)
    }

    fn read_on(
        &self,
        log: &mut MailLog,
        known: &Known,
        trail: &mut Trail,
        sink: impl FnMut(&Delivery<'_>, Section),
    ) -> io::Result<()> {
        let Some(file) = &self.file else {
            let (text, _) = maillog::decompress(io::stdin().lock())?;
            log.begin("standard input", self.now);
            return read_lines(BufReader::new(text), known, trail, log, sink);
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
        let read = (file.begin(log, step))
            .and_then(|text| read_lines(BufReader::new(text), known, trail, log, sink));
        self.bar.inc(pending.take());
        read
    }
}
