//! One event, one line, greppable for ten years.
//!
//! The drains are our own because the usual ones write a stranger's newlines, terminal escapes
//! and bidirectional controls as they come. Every value is escaped here, whoever logged it.
//! Records are written by the thread that logs them, in order; no queue can lose them. A reader
//! that stops reading cannot stop mail: after a second of waiting a line is counted as lost, and
//! the count is logged once the reader is back.
//!
//! The audit record is in the store, not here.

pub mod event;

use std::fmt::{self, Write as _};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use slog::{Drain, KV, Key, Level, Logger, Never, OwnedKVList, Record, Serializer, o};

use crate::untrusted::deceives;

/// How events are logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogSettings {
    /// The least important events that are written.
    pub level: LogLevel,
    /// The shape of a line.
    pub format: LogFormat,
}

/// How important an event is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogLevel {
    /// We cannot serve.
    Error,
    /// The operator should act.
    Warn,
    /// One line per verdict other than accept.
    #[default]
    Info,
    /// The rest.
    Debug,
}

/// The shape of a line.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogFormat {
    /// `2026-11-23T15:00:00Z INFO recipient held session=3f rcpt_domain=army.ml`.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
    /// Text with a priority (`<6>`, sd-daemon(3)) and without the time, which the journal adds.
    Journal,
}

impl LogLevel {
    fn lowest(self) -> Level {
        match self {
            LogLevel::Error => Level::Error,
            LogLevel::Warn => Level::Warning,
            LogLevel::Info => Level::Info,
            LogLevel::Debug => Level::Debug,
        }
    }
}

/// Returns a logger that writes to standard error.
pub fn logger(settings: &LogSettings) -> Logger {
    let stderr = Patient::new(io::stderr(), PATIENCE);
    Logger::root(LineDrain::new(settings, stderr, now), o!())
}

/// Returns a logger that keeps nothing, for tests and commands.
pub fn discard() -> Logger {
    Logger::root(slog::Discard, o!())
}

#[expect(
    clippy::disallowed_methods,
    reason = "a log line says when it was written"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Formats records as lines and writes each with one call.
struct LineDrain<W> {
    lowest: Level,
    format: LogFormat,
    clock: fn() -> Timestamp,
    out: Mutex<W>,
}

impl<W: Write> LineDrain<W> {
    fn new(settings: &LogSettings, out: W, clock: fn() -> Timestamp) -> LineDrain<W> {
        LineDrain {
            lowest: settings.level.lowest(),
            format: settings.format,
            clock,
            out: Mutex::new(out),
        }
    }
}

impl<W: Write> Drain for LineDrain<W> {
    type Ok = ();
    type Err = Never;

    fn log(&self, record: &Record<'_>, context: &OwnedKVList) -> Result<(), Never> {
        if !record.level().is_at_least(self.lowest) {
            return Ok(());
        }
        let facts = Facts::of(record, context);
        let message = record.msg().to_string();
        let mut line = match self.format {
            LogFormat::Json => json_line((self.clock)(), record.level(), &message, &facts),
            LogFormat::Text => text_line(
                &format!("{:.0} {}", (self.clock)(), level_name(record.level())),
                &message,
                &facts,
            ),
            LogFormat::Journal => text_line(priority(record.level()), &message, &facts),
        };
        line.push('\n');
        // A panic while another thread wrote leaves the lock poisoned, the writer is fine.
        let mut out = self
            .out
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        // There is no better place to say that logging fails.
        let _ = out.write_all(line.as_bytes());
        Ok(())
    }

    fn is_enabled(&self, level: Level) -> bool {
        level.is_at_least(self.lowest)
    }
}

fn level_name(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "ERROR",
        Level::Warning => "WARN",
        Level::Info => "INFO",
        Level::Debug | Level::Trace => "DEBUG",
    }
}

/// The prefix of sd-daemon(3).
fn priority(level: Level) -> &'static str {
    match level {
        Level::Critical | Level::Error => "<3>ERROR",
        Level::Warning => "<4>WARN",
        Level::Info => "<6>INFO",
        Level::Debug | Level::Trace => "<7>DEBUG",
    }
}

/// A value as the JSON drain tells kinds apart.
enum Fact {
    Number(String),
    Bool(bool),
    Absent,
    Text(String),
}

/// The keys and values of one record: the logger's own first, then the event's, as written.
#[derive(Default)]
struct Facts(Vec<(Key, Fact)>);

impl Facts {
    fn of(record: &Record<'_>, context: &OwnedKVList) -> Facts {
        let mut facts = Facts::default();
        // slog hands both lists out last key first.
        let _ = record.kv().serialize(record, &mut facts);
        let _ = context.serialize(record, &mut facts);
        facts.0.reverse();
        facts
    }
}

/// A longer value is cut. The longest of ours are the problems of a configuration not reloaded.
const LONGEST: usize = 16 * 1024;

impl Serializer for Facts {
    fn emit_arguments(&mut self, key: Key, value: &fmt::Arguments<'_>) -> slog::Result {
        let mut text = value.to_string();
        if let Some((cut, _)) = text.char_indices().find(|(at, _)| *at >= LONGEST) {
            let lost = text.len() - cut;
            text.truncate(cut);
            let _ = write!(text, "…(+{lost} bytes)");
        }
        self.0.push((key, Fact::Text(text)));
        Ok(())
    }

    fn emit_bool(&mut self, key: Key, value: bool) -> slog::Result {
        self.0.push((key, Fact::Bool(value)));
        Ok(())
    }

    fn emit_none(&mut self, key: Key) -> slog::Result {
        self.0.push((key, Fact::Absent));
        Ok(())
    }

    fn emit_unit(&mut self, key: Key) -> slog::Result {
        self.emit_none(key)
    }

    fn emit_u64(&mut self, key: Key, value: u64) -> slog::Result {
        self.0.push((key, Fact::Number(value.to_string())));
        Ok(())
    }

    fn emit_i64(&mut self, key: Key, value: i64) -> slog::Result {
        self.0.push((key, Fact::Number(value.to_string())));
        Ok(())
    }

    fn emit_u8(&mut self, key: Key, value: u8) -> slog::Result {
        self.emit_u64(key, value.into())
    }

    fn emit_u16(&mut self, key: Key, value: u16) -> slog::Result {
        self.emit_u64(key, value.into())
    }

    fn emit_u32(&mut self, key: Key, value: u32) -> slog::Result {
        self.emit_u64(key, value.into())
    }

    fn emit_usize(&mut self, key: Key, value: usize) -> slog::Result {
        self.0.push((key, Fact::Number(value.to_string())));
        Ok(())
    }

    fn emit_i32(&mut self, key: Key, value: i32) -> slog::Result {
        self.emit_i64(key, value.into())
    }
}

/// Returns `head message key=value …`. A value is quoted when it is empty, holds a space, a
/// quote, `=` or anything escaped; in quotes `\"` and `\\` are escapes, outside nothing is.
fn text_line(head: &str, message: &str, facts: &Facts) -> String {
    let mut line = String::with_capacity(256);
    line.push_str(head);
    line.push(' ');
    for c in message.chars() {
        push_escaped(&mut line, c);
    }
    for (key, fact) in &facts.0 {
        let _ = write!(line, " {key}=");
        match fact {
            Fact::Number(number) => line.push_str(number),
            Fact::Bool(value) => line.push_str(if *value { "true" } else { "false" }),
            Fact::Absent => line.push('-'),
            Fact::Text(text) => push_value(&mut line, text),
        }
    }
    line
}

fn push_value(line: &mut String, text: &str) {
    let plain = |c: char| !deceives(c) && !matches!(c, ' ' | '"' | '=');
    if !text.is_empty() && text != "-" && text.chars().all(plain) {
        line.push_str(text);
        return;
    }
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            c => push_escaped(line, c),
        }
    }
    line.push('"');
}

fn push_escaped(line: &mut String, c: char) {
    match c {
        '\n' => line.push_str("\\n"),
        '\r' => line.push_str("\\r"),
        '\t' => line.push_str("\\t"),
        c if deceives(c) => {
            let _ = write!(line, "\\u{{{:x}}}", u32::from(c));
        }
        c => line.push(c),
    }
}

/// Returns one JSON object. When the logger and the event share a key, the event's is kept.
fn json_line(time: Timestamp, level: Level, message: &str, facts: &Facts) -> String {
    let mut line = String::with_capacity(256);
    let _ = write!(line, "{{\"time\":\"{time:.3}\",\"level\":");
    push_json(&mut line, &level_name(level).to_ascii_lowercase());
    line.push_str(",\"event\":");
    push_json(&mut line, message);
    for (i, (key, fact)) in facts.0.iter().enumerate() {
        if facts.0.iter().skip(i + 1).any(|(later, _)| later == key) {
            continue;
        }
        line.push(',');
        push_json(&mut line, key);
        line.push(':');
        match fact {
            Fact::Number(number) => line.push_str(number),
            Fact::Bool(value) => line.push_str(if *value { "true" } else { "false" }),
            Fact::Absent => line.push_str("null"),
            Fact::Text(text) => push_json(&mut line, text),
        }
    }
    line.push('}');
    line
}

/// RFC 8259, 7; and everything that could deceive a reader as `\uXXXX` too.
fn push_json(line: &mut String, text: &str) {
    line.push('"');
    for c in text.chars() {
        match c {
            '"' => line.push_str("\\\""),
            '\\' => line.push_str("\\\\"),
            '\n' => line.push_str("\\n"),
            '\r' => line.push_str("\\r"),
            '\t' => line.push_str("\\t"),
            c if deceives(c) => {
                let mut units = [0u16; 2];
                for unit in c.encode_utf16(&mut units) {
                    let _ = write!(line, "\\u{unit:04x}");
                }
            }
            c => line.push(c),
        }
    }
    line.push('"');
}

/// A writer that cannot stop us: what its reader does not take in time is counted as lost.
struct Patient<W> {
    out: W,
    patience: Duration,
    lost: u64,
    /// Whether a line was given up halfway.
    torn: bool,
}

/// Long enough for a busy journal, short enough for a client that waits for its answer.
const PATIENCE: Duration = Duration::from_secs(1);

/// What a pipe that polls as writable takes without blocking (PIPE_BUF, pipe(7)).
const ATOMIC: usize = 4096;

impl<W: Write + AsFd> Patient<W> {
    fn new(out: W, patience: Duration) -> Patient<W> {
        Patient {
            out,
            patience,
            lost: 0,
            torn: false,
        }
    }

    /// Returns whether the reader takes data; after a loss nobody waits for it again.
    fn ready(&self) -> bool {
        use rustix::event::{PollFd, PollFlags, Timespec, poll};
        let patience = match self.lost {
            0 => self.patience,
            _ => Duration::ZERO,
        };
        let timeout = Timespec::try_from(patience).ok();
        let mut fds = [PollFd::from_borrowed_fd(self.out.as_fd(), PollFlags::OUT)];
        // An error of poll itself (a signal) is no reason to lose a line.
        poll(&mut fds, timeout.as_ref()).map_or(true, |ready| ready > 0)
    }
}

impl<W: Write + AsFd> Write for Patient<W> {
    /// Takes one line; a line that is lost counts as written.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        for (i, part) in line.chunks(ATOMIC).enumerate() {
            if !self.ready() {
                self.lost = self.lost.saturating_add(1);
                self.torn |= i > 0;
                break;
            }
            if self.lost > 0 {
                let end = if std::mem::take(&mut self.torn) {
                    "\n"
                } else {
                    ""
                };
                let notice = format!("{end}WARN log lines lost count={}\n", self.lost);
                self.lost = 0;
                self.out.write_all(notice.as_bytes())?;
                if !self.ready() {
                    self.lost = 1;
                    break;
                }
            }
            self.out.write_all(part)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Bounds how often an event is logged that a stranger can cause.
#[derive(Debug)]
pub struct RateLimit {
    burst: u32,
    per: Duration,
    window: Mutex<Window>,
}

#[derive(Debug, Default)]
struct Window {
    began: Option<Instant>,
    logged: u32,
    suppressed: u64,
}

impl RateLimit {
    /// Returns a limit of `burst` lines in every span of `per`.
    pub const fn new(burst: u32, per: Duration) -> RateLimit {
        RateLimit {
            burst,
            per,
            window: Mutex::new(Window {
                began: None,
                logged: 0,
                suppressed: 0,
            }),
        }
    }

    /// Returns `None` when the event at `now` must not be logged, else how many were suppressed
    /// since the last one that was: log it as `suppressed` when it is not 0.
    pub fn admit(&self, now: Instant) -> Option<u64> {
        let mut window = self
            .window
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let over = (window.began).is_none_or(|began| now.duration_since(began) >= self.per);
        if over {
            window.began = Some(now);
            window.logged = 0;
        }
        if window.logged < self.burst {
            window.logged += 1;
            Some(std::mem::take(&mut window.suppressed))
        } else {
            window.suppressed = window.suppressed.saturating_add(1);
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use slog::{info, warn};

    use super::*;
    use crate::untrusted::Untrusted;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn noon() -> Timestamp {
        "2026-11-23T12:00:00Z".parse().unwrap()
    }

    fn logged(format: LogFormat, log: impl FnOnce(&Logger)) -> String {
        let buffer = Buffer::default();
        let settings = LogSettings {
            level: LogLevel::Info,
            format,
        };
        let drain = LineDrain::new(&settings, buffer.clone(), noon);
        log(&Logger::root(drain, o!("session" => "3f")));
        let bytes = buffer.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_text_line_has_time_level_phrase_and_facts_in_order() {
        let line = logged(LogFormat::Text, |log| {
            info!(log, "recipient held"; "rcpt" => "carl@army.ml", "score" => 97u8,
                  "reason" => "did you mean army.mil?", "queue_id" => Option::<&str>::None);
        });
        assert_eq!(
            line,
            "2026-11-23T12:00:00Z INFO recipient held session=3f rcpt=carl@army.ml score=97 \
             reason=\"did you mean army.mil?\" queue_id=-\n"
        );
    }

    #[test]
    fn a_journal_line_has_its_priority_and_no_time() {
        let line = logged(
            LogFormat::Journal,
            |log| warn!(log, "store is slow"; "ms" => 900),
        );
        assert_eq!(line, "<4>WARN store is slow session=3f ms=900\n");
    }

    #[test]
    fn a_json_line_is_json_with_typed_values() {
        let line = logged(LogFormat::Json, |log| {
            info!(log, "recipient held"; "score" => 97u8, "first" => true, "rcpt" => "a\"\n\u{202e}",
                  "queue_id" => Option::<&str>::None, "session" => "40");
        });
        assert!(line.is_ascii());
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(
            value,
            serde_json::json!({"time": "2026-11-23T12:00:00.000Z", "level": "info",
                "event": "recipient held", "session": "40", "score": 97, "first": true,
                "rcpt": "a\"\n\u{202e}", "queue_id": null})
        );
    }

    #[test]
    fn a_forged_line_stays_one_line() {
        let rcpt = "x@y\n2026-11-23T12:00:00Z INFO recipient released";
        let line = logged(
            LogFormat::Text,
            |log| info!(log, "recipient held"; "rcpt" => rcpt),
        );
        assert_eq!(
            line,
            "2026-11-23T12:00:00Z INFO recipient held session=3f \
             rcpt=\"x@y\\n2026-11-23T12:00:00Z INFO recipient released\"\n"
        );
    }

    #[test]
    fn events_below_the_level_are_not_written() {
        assert_eq!(
            logged(LogFormat::Text, |log| slog::debug!(log, "hidden")),
            ""
        );
    }

    #[test]
    fn a_huge_value_is_cut() {
        let line = logged(
            LogFormat::Text,
            |log| info!(log, "x"; "v" => "y".repeat(100_000)),
        );
        assert!(line.ends_with("yyy…(+83616 bytes)\"\n"), "{}", line.len());
    }

    proptest! {
        #[test]
        fn no_value_breaks_a_line_or_deceives(value in "[\\PC\u{0}-\u{9f}\u{200b}-\u{206f}\u{feff}\"\\\\= ]{0,60}") {
            for format in [LogFormat::Text, LogFormat::Json, LogFormat::Journal] {
                let line = logged(format, |log| info!(log, "x"; "v" => &value));
                prop_assert_eq!(line.matches('\n').count(), 1);
                prop_assert!(!line.trim_end_matches('\n').chars().any(deceives), "{:?}", line);
            }
            let line = logged(LogFormat::Json, |log| info!(log, "x"; "v" => &value));
            let read: serde_json::Value = serde_json::from_str(&line).unwrap();
            prop_assert_eq!(read["v"].as_str(), Some(value.as_str()));
        }

        #[test]
        fn foreign_bytes_reach_no_line(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let line = logged(LogFormat::Text, |log| info!(log, "x"; "v" => %Untrusted(&bytes)));
            prop_assert!(!line.trim_end_matches('\n').chars().any(deceives));
        }
    }

    #[test]
    fn a_reader_that_stops_reading_stops_nobody_and_learns_what_it_missed() {
        let (mut reader, writer) = io::pipe().unwrap();
        let settings = LogSettings::default();
        let patient = Patient::new(writer, Duration::from_millis(20));
        let log = Logger::root(LineDrain::new(&settings, patient, noon), o!());
        let value = "y".repeat(1000);
        let began = Instant::now();
        // A pipe holds 64 KiB (pipe(7)), some 60 of these lines.
        for _ in 0..200 {
            info!(log, "x"; "v" => &value);
        }
        assert!(began.elapsed() < Duration::from_secs(5), "it waited");
        let mut first = vec![0; 16 * 1024];
        io::Read::read_exact(&mut reader, &mut first).unwrap();
        info!(log, "last");
        drop(log);
        let mut text = String::from_utf8(first).unwrap();
        io::Read::read_to_string(&mut reader, &mut text).unwrap();
        let kept = text.lines().filter(|line| line.ends_with(&value)).count();
        assert!((30..200).contains(&kept), "{kept}");
        let rest: Vec<&str> = text
            .lines()
            .filter(|line| !line.ends_with(&value))
            .collect();
        let lost = format!("WARN log lines lost count={}", 200 - kept);
        assert_eq!(rest, [lost.as_str(), "2026-11-23T12:00:00Z INFO last"]);
    }

    #[test]
    fn a_flood_is_logged_in_bursts_and_counted() {
        let limit = RateLimit::new(2, Duration::from_secs(10));
        let start = Instant::now();
        let at = |seconds| limit.admit(start + Duration::from_secs(seconds));
        assert_eq!([at(0), at(1), at(2), at(3)], [Some(0), Some(0), None, None]);
        assert_eq!([at(10), at(11), at(12)], [Some(2), Some(0), None]);
    }
}
