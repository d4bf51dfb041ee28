//! What the commands on the quarantine share: the open quarantine, who asks, when, and where
//! the answer goes.

use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use comfy_table::{Cell, CellAlignment, Table};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::config::{Config, ConfigErrors};
use crate::logging::event;
use crate::service::quarantine::{Quarantine, QuarantineSettings};
use crate::untrusted::Untrusted;

use super::{DEFAULT_PATH, EXIT_FINE, EXIT_FOUND, Failure};

/// Where an admin's command works.
pub(super) struct Desk<'a> {
    pub(super) quarantine: &'a Arc<Quarantine>,
    /// Who asks, for the audit record.
    pub(super) actor: String,
    pub(super) now: Timestamp,
    pub(super) out: &'a mut dyn Write,
    /// Set by [`Desk::complain`].
    complaints: u32,
}

impl Desk<'_> {
    /// Says on standard error that one of several things failed; the others go on.
    pub(super) fn complain(&mut self, error: &dyn std::error::Error) -> io::Result<()> {
        self.complaints += 1;
        // What was printed before belongs above it.
        self.out.flush()?;
        say!("straymail: {}", event::chain(error));
        Ok(())
    }
}

/// Opens the quarantine of the configuration at `path`, lets `work` do its part, and returns
/// the exit status: 1 when there was something to complain about.
pub(super) fn at_desk(
    path: Option<&Path>,
    work: impl FnOnce(&mut Desk<'_>) -> anyhow::Result<()>,
) -> Result<u8, Failure> {
    at_desk_with(quarantine_settings(path)?, work)
}

/// Returns where held mail is kept. A mistake elsewhere in the configuration is no reason to leave
/// mail undecided, so it is only named.
pub(super) fn quarantine_settings(path: Option<&Path>) -> Result<QuarantineSettings, ConfigErrors> {
    let path = path.unwrap_or(Path::new(DEFAULT_PATH));
    let (settings, mistakes) = Config::load_quarantine(path)?;
    if let Some(mistakes) = mistakes {
        say!(
            "straymail: goes on, though {} elsewhere in {}; straymail check-config names each",
            match mistakes.problems.len() {
                1 => "there is a mistake".to_owned(),
                many => format!("there are {many} mistakes"),
            },
            path.display()
        );
    }
    Ok(settings)
}

/// As [`at_desk`], for a command that needs more of the configuration.
pub(super) fn at_desk_with(
    settings: QuarantineSettings,
    work: impl FnOnce(&mut Desk<'_>) -> anyhow::Result<()>,
) -> Result<u8, Failure> {
    #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
    let now = Timestamp::now();
    if !settings.dir.is_dir() {
        let dir = settings.dir.display();
        return Err(Failure::Other(anyhow::anyhow!(
            "the state directory {dir} does not exist; straymail creates it when it starts, or see quarantine.directory"
        )));
    }
    let dir = settings.dir.clone();
    let quarantine = Quarantine::open(settings, now)
        .with_context(|| format!("cannot open the quarantine in {}", dir.display()))?;
    let quarantine = Arc::new(quarantine);
    let recovery = quarantine.recovery();
    if let Some(kept_as) = &recovery.index_kept_as {
        say!(
            "straymail: the index was damaged and is rebuilt from the spool; the old one is {}",
            kept_as.display()
        );
    }
    for error in &recovery.damaged {
        say!("straymail: {}", event::chain(error));
    }
    let mut out = BufWriter::new(io::stdout().lock());
    let mut desk = Desk {
        quarantine: &quarantine,
        actor: actor(),
        now,
        out: &mut out,
        complaints: 0,
    };
    let done = work(&mut desk);
    let complaints = desk.complaints;
    match seen(done.and_then(|()| Ok(out.flush()?))) {
        Ok(Seen::Whole) if complaints > 0 => Ok(EXIT_FOUND),
        Ok(_) => Ok(EXIT_FINE),
        Err(error) => Err(Failure::Other(error)),
    }
}

/// Lets `write` print, for a command without the quarantine.
pub(super) fn printing(
    write: impl FnOnce(&mut dyn Write) -> anyhow::Result<()>,
) -> Result<(), Failure> {
    let mut out = BufWriter::new(io::stdout().lock());
    let done = write(&mut out).and_then(|()| Ok(out.flush()?));
    seen(done).map(|_| ()).map_err(Failure::Other)
}

/// How much of the output was read.
enum Seen {
    Whole,
    /// The reader, such as head(1), has seen enough.
    Enough,
}

fn seen(done: anyhow::Result<()>) -> anyhow::Result<Seen> {
    match done {
        Ok(()) => Ok(Seen::Whole),
        Err(error)
            if error
                .downcast_ref::<io::Error>()
                .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe) =>
        {
            Ok(Seen::Enough)
        }
        Err(error) => Err(error),
    }
}

/// Returns who runs this: `cli anna (uid 0)`. The name is what the environment says, and so
/// a courtesy; the number is the system's.
fn actor() -> String {
    let name = ["SUDO_USER", "LOGNAME", "USER"]
        .into_iter()
        .find_map(|name| std::env::var(name).ok());
    let name = name
        .filter(|name| !name.is_empty())
        .unwrap_or("unknown".to_owned());
    format!(
        "cli {} (uid {})",
        Untrusted::text(&name),
        rustix::process::getuid().as_raw()
    )
}

/// Returns the time as a table shows it: to the second, UTC.
pub(super) fn time(at: Timestamp) -> String {
    at.to_zoned(TimeZone::UTC)
        .strftime("%Y-%m-%d %H:%M:%SZ")
        .to_string()
}

/// Returns the domain in both spellings, `аrmy.mil/xn--rmy-5cd.mil`, when they differ.
pub(super) fn both_spellings(ascii: &str) -> String {
    match idna::domain_to_unicode(ascii) {
        (unicode, Ok(())) if unicode != ascii => {
            format!("{}/{}", Untrusted::text(&unicode), Untrusted::text(ascii))
        }
        // What cannot be decoded has one spelling only.
        _ => Untrusted::text(ascii).to_string(),
    }
}

/// Returns the address (`local@domain`, or a domain alone) with its domain in both spellings.
pub(super) fn address(address: &str) -> String {
    match address.rsplit_once('@') {
        Some((local, domain)) => format!("{}@{}", Untrusted::text(local), both_spellings(domain)),
        None if address.is_empty() => "<>".to_owned(),
        None => both_spellings(address),
    }
}

/// Returns an empty table without lines, so that it can be cut by awk(1).
pub(super) fn table(columns: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(comfy_table::presets::NOTHING);
    table.set_header(columns);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table
}

/// Returns a cell with a number.
pub(super) fn number(value: impl ToString) -> Cell {
    Cell::new(value).set_alignment(CellAlignment::Right)
}

/// Prints a table without blanks at the ends of lines.
pub(super) fn print(table: &Table, out: &mut dyn Write) -> io::Result<()> {
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints one JSON object on one line.
pub(super) fn json(value: &impl serde::Serialize, out: &mut dyn Write) -> anyhow::Result<()> {
    serde_json::to_writer(&mut *out, value).map_err(io::Error::from)?;
    writeln!(out)?;
    Ok(())
}

/// Reads a point in time: `2026-11-23`, `2026-11-23T12:00:00Z`, or `2d` for two days ago; without
/// an offset it is in UTC.
pub(super) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(age) = crate::config::duration(text) {
        return Ok(Moment::Ago(age));
    }
    if let Ok(at) = text.parse::<Timestamp>() {
        return Ok(Moment::At(at));
    }
    // A zone by its name would be read over.
    let date = (!text.contains('[')).then(|| text.parse::<jiff::civil::DateTime>().ok());
    let utc = date
        .flatten()
        .and_then(|date| date.to_zoned(TimeZone::UTC).ok());
    utc.map(|zoned| Moment::At(zoned.timestamp()))
        .ok_or_else(|| "write 2d (two days ago), 2026-11-23 or 2026-11-23T12:00:00Z".to_owned())
}

/// A point in time as it was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Moment {
    /// So long ago.
    Ago(std::time::Duration),
    /// Then.
    At(Timestamp),
}

impl Moment {
    /// Returns the point in time when it is `now`.
    pub(super) fn when(self, now: Timestamp) -> Timestamp {
        match self {
            Moment::Ago(age) => now.saturating_sub(age).unwrap_or(Timestamp::MIN),
            Moment::At(at) => at,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_an_age_a_date_or_a_time() {
        let now: Timestamp = "2026-11-23T12:00:00Z".parse().unwrap();
        for (text, expected) in [
            ("2d", "2026-11-21T12:00:00Z"),
            ("2026-11-22", "2026-11-22T00:00:00Z"),
            ("2026-11-22T01:02:03Z", "2026-11-22T01:02:03Z"),
            ("2026-11-22T01:02", "2026-11-22T01:02:00Z"),
            ("2026-11-22 01:02:03", "2026-11-22T01:02:03Z"),
            ("2026-11-22T01:02:03+01:00", "2026-11-22T00:02:03Z"),
            ("99999999d", "-009999-01-02T01:59:59Z"),
        ] {
            assert_eq!(
                moment(text).unwrap().when(now).to_string(),
                expected,
                "{text}"
            );
        }
        for text in [
            "",
            "yesterday",
            "2d ago",
            "2026-13-01",
            "2026-11-22T01:02[Europe/Berlin]",
        ] {
            assert!(moment(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn an_address_shows_both_spellings_and_no_escapes() {
        assert_eq!(address("carl@army.ml"), "carl@army.ml");
        assert_eq!(
            address("carl@xn--rmy-5cd.mil"),
            "carl@аrmy.mil/xn--rmy-5cd.mil"
        );
        assert_eq!(address("xn--rmy-5cd.mil"), "аrmy.mil/xn--rmy-5cd.mil");
        assert_eq!(address(".ml"), ".ml");
        assert_eq!(address(""), "<>");
        assert_eq!(
            address("a\u{1b}[2J@b\u{202e}.c"),
            "a\\u{1b}[2J@b\\u{202e}.c"
        );
    }
}
