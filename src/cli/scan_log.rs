//! `straymail scan-log`: what the rules would have done with the mail of a log, and what leaked.

mod page;
mod text;

use std::cell::Cell;
use std::io::{self, BufWriter, IsTerminal as _, Write};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::config::Config;
use crate::logging::event;
use crate::maillog::{self, Compression, LogFile, MailLog, Tally};
use crate::service::passage::Roles;
use crate::service::scan::{Comparison, Difference, Report, Scan};
use crate::untrusted::{Untrusted, json_line};

use super::{EXIT_FINE, EXIT_FOUND, Failure, load_config, usage};

/// Replays mail logs: what would have been held, and what leaked already
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Reads logs of Postfix and Sendmail as they are: rotated, in any order, plain or \
                  compressed by gzip, xz, zstd or bzip2. Exit status: 0 nothing suspicious, 1 \
                  something suspicious or a file that could not be read to its end, 64 wrong \
                  usage, 78 wrong configuration."
)]
pub(super) struct ScanLog {
    /// Log files; `-` reads standard input
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    /// What this configuration would have decided differently: the older one
    #[arg(long, value_name = "OLD.YAML")]
    compare: Option<PathBuf>,
    /// Print everything as one JSON object
    #[arg(long)]
    json: bool,
    /// Write the report as one HTML file, to be read by people without access here; `-` prints it
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// Hide who wrote: the local part of every address becomes a number
    #[arg(long)]
    anonymise: bool,
    /// Rows of each table
    #[arg(long, default_value_t = 20)]
    top: usize,
    /// Zone of times without one, as `Europe/Berlin` [default: this host's]
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    time_zone: Option<TimeZone>,
}

/// Everything that is printed.
#[derive(Serialize)]
struct Findings {
    /// The format of this object; changes only when a key changes its meaning or goes.
    version: u32,
    logs: Vec<Log>,
    read: Tally,
    #[serde(flatten)]
    report: Report,
    #[serde(skip_serializing_if = "Option::is_none")]
    compared: Option<Difference>,
}

/// A log file.
#[derive(Serialize)]
struct Log {
    name: String,
    compression: Compression,
    /// Bytes it grew by while it was read; not read.
    grown_by: u64,
    /// Why it could not be read to its end.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

impl ScanLog {
    pub(super) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        if self.json && (self.html.as_ref()).is_some_and(|path| path.as_os_str() == "-") {
            return Err(Failure::Other(usage(
                "--json and --html - both go to standard output; write the page into a file",
            )));
        }
        let config = load_config(path)?;
        let older = match &self.compare {
            Some(older) => Some(Config::load(older)?),
            None => None,
        };
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = Timestamp::now();
        let zone = self.time_zone.clone().unwrap_or_else(TimeZone::system);
        let mut scan = scan_of(config, zone.clone(), now);
        let mut older = older.map(|older| {
            let before = scan_of(older, zone.clone(), now);
            (before, Comparison::default())
        });
        let mut log = MailLog::new(zone.clone(), now);
        let logs = self.read(&mut log, &zone, now, |delivery| {
            scan.delivery(delivery);
            if let Some((before, comparison)) = &mut older {
                before.delivery(delivery);
                comparison.delivery(delivery, before, &scan);
            }
        })?;
        let report = scan.finish();
        let compared =
            older.map(|(before, comparison)| comparison.finish(&before.finish(), &report));
        let mut findings = Findings {
            version: 2,
            logs,
            read: log.tally(),
            report,
            compared,
        };
        if self.anonymise {
            findings.anonymise();
        }
        let damaged = findings.logs.iter().any(|log| log.error.is_some());
        let suspicious = findings.report.counts.suspect + findings.report.counts.certain > 0
            || findings.report.counts.leaks > 0;
        let mut printed = None;
        if let Some(path) = &self.html {
            let page = page::render(&findings, &zone, now).context("the HTML report")?;
            if path.as_os_str() == "-" {
                printed = Some(page);
            } else {
                std::fs::write(path, page)
                    .with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        let mut out = BufWriter::new(io::stdout().lock());
        let told = match &printed {
            Some(page) => (out.write_all(page.as_bytes())).and_then(|()| out.flush()),
            None => self.print(&findings, &zone, out),
        };
        match told {
            Ok(()) => {}
            // The reader, such as head(1), has seen enough.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {}
            Err(error) => return Err(Failure::Other(error.into())),
        }
        Ok(if suspicious || damaged {
            EXIT_FOUND
        } else {
            EXIT_FINE
        })
    }

    /// Reads every file, oldest first. What cannot be read is told and left out.
    fn read(
        &self,
        log: &mut MailLog,
        zone: &TimeZone,
        now: Timestamp,
        mut sink: impl FnMut(&maillog::Delivery<'_>),
    ) -> anyhow::Result<Vec<Log>> {
        let mut logs = Vec::new();
        let mut files = Vec::new();
        for path in self.files.iter().filter(|path| path.as_os_str() != "-") {
            match LogFile::look(path, zone, now) {
                Ok(file) => files.push(file),
                Err(error) => logs.push(Log::failed(path, Compression::None, &error)),
            }
        }
        for again in maillog::in_order(&mut files) {
            tell_again(&again);
        }
        let bar = progress(files.iter().map(LogFile::size).sum());
        for file in &files {
            bar.set_message(Untrusted::text(&file.path().display().to_string()).to_string());
            // A million lines a second need no million updates.
            let pending = Cell::new(0);
            let step = |bytes: u64| {
                pending.set(pending.get() + bytes);
                if pending.get() > 1 << 20 {
                    bar.inc(pending.take());
                }
            };
            let read = file.read(log, step, &mut sink);
            bar.inc(pending.take());
            logs.push(match read {
                Ok(()) => Log {
                    name: file.path().display().to_string(),
                    compression: file.compression(),
                    grown_by: file.growth(),
                    error: None,
                },
                Err(error) => Log::failed(file.path(), file.compression(), &error),
            });
        }
        bar.finish_and_clear();
        if self.files.iter().any(|path| path.as_os_str() == "-") {
            let (text, compression) =
                maillog::decompress(io::stdin().lock()).context("standard input")?;
            log.begin("standard input", now);
            let read = log.read(text, &mut sink);
            logs.push(match read {
                Ok(()) => Log {
                    name: "-".to_owned(),
                    compression,
                    grown_by: 0,
                    error: None,
                },
                Err(error) => Log::failed(Path::new("-"), compression, &error),
            });
        }
        for log in &logs {
            if let Some(error) = &log.error {
                say!("straymail: {}: {error}", Untrusted::text(&log.name));
            }
        }
        Ok(logs)
    }

    fn print(&self, findings: &Findings, zone: &TimeZone, mut out: impl Write) -> io::Result<()> {
        if self.json {
            writeln!(out, "{}", json_line(&serde_json::to_string(findings)?))?;
        } else {
            text::write(findings, zone, self.top, &mut out)?;
        }
        out.flush()
    }
}

impl Log {
    fn failed(path: &Path, compression: Compression, error: &io::Error) -> Log {
        Log {
            name: path.display().to_string(),
            compression,
            grown_by: 0,
            error: Some(event::chain(error)),
        }
    }
}

impl Findings {
    /// Replaces the local part of every address by a number, the same for the same address.
    fn anonymise(&mut self) {
        let mut names: Vec<String> = Vec::new();
        let mut known = std::collections::HashMap::new();
        let mut hide = |address: &mut String| {
            if address.is_empty() || address == "?" {
                return;
            }
            let number = *known.entry(address.clone()).or_insert_with(|| {
                names.push(address.clone());
                names.len()
            });
            *address = match address.rsplit_once('@') {
                Some((_, domain)) => format!("person-{number}@{domain}"),
                None => format!("person-{number}"),
            };
        };
        for leak in &mut self.report.leaks {
            hide(&mut leak.sender);
            hide(&mut leak.recipient);
            if let Some(original) = &mut leak.original {
                hide(original);
            }
        }
        for pair in self
            .report
            .suspects
            .iter_mut()
            .flat_map(|suspect| &mut suspect.pairs)
        {
            hide(&mut pair.sender);
            hide(&mut pair.recipient);
        }
        if let Some(compared) = &mut self.compared {
            for change in &mut compared.changes {
                hide(&mut change.sender);
                hide(&mut change.recipient);
            }
        }
        // A line that could not be read may hold anything.
        self.read.samples.clear();
    }
}

/// Reads the name of a time zone.
fn zone(name: &str) -> Result<TimeZone, jiff::Error> {
    TimeZone::get(name)
}

/// Returns a replay under `config`.
fn scan_of(config: Config, zone: TimeZone, now: Timestamp) -> Scan {
    let roles = Roles::of(config.listeners.iter().map(|listener| listener.role));
    Scan::new(config.into_rules(), roles, zone, now)
}

/// Says that a file was named twice, perhaps by a pattern of the shell.
pub(super) fn tell_again(file: &LogFile) {
    let name = file.path().display().to_string();
    let name = Untrusted::text(&name);
    say!("straymail: {name}: was named before; read once");
}

/// Returns a progress bar over so many bytes; on a terminal only.
pub(super) fn progress(bytes: u64) -> ProgressBar {
    let target = if io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let bar = ProgressBar::with_draw_target(Some(bytes), target);
    let style =
        ProgressStyle::with_template("{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta} {msg}");
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}
