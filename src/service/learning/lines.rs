//! The lines of a log that is read: those known before, those that are new, and a last one that is
//! perhaps still being written.
//!
//! What stands in a log is told apart at the ends of lines only. Everything that was handed on is
//! noted in a [`Trail`], from which the log is known again.

use std::io::{self, BufRead, Read};

use crate::maillog::{Delivery, MAX_LINE, MailLog, Outcome};

use super::{Known, Section, Trail};

/// Reads `text` with `log`; lines that begin within the first octets that are `known` were counted
/// before.
///
/// A last line without its end is left for the next reading unless it tells of a delivery already.
/// `trail` then holds the lines that were read.
///
/// # Errors
/// The text cannot be read on.
pub fn read_lines(
    mut text: impl BufRead,
    known: &Known,
    trail: &mut Trail,
    log: &mut MailLog,
    mut sink: impl FnMut(&Delivery<'_>, Section),
) -> io::Result<()> {
    if known.header > 0 {
        let header = text.by_ref().take(known.header);
        log.read(header, |delivery| sink(delivery, Section::Known))?;
    }
    if known.length > 0 {
        let lines = KnownLines {
            text: &mut text,
            left: known.length,
            in_line: false,
            trail,
        };
        log.read(lines, |delivery| sink(delivery, Section::Known))?;
    }
    let mut lines = WholeLines {
        text,
        rest: Vec::new(),
        trail,
    };
    log.read(&mut lines, |delivery| sink(delivery, Section::New))?;
    let last = lines.rest;
    if !last.is_empty() {
        let mut sent = false;
        log.line(&last, |delivery| {
            sent |= delivery.outcome == Outcome::Sent;
            sink(delivery, Section::New);
        });
        if sent {
            trail.pass(&last);
        }
    }
    Ok(())
}

/// The lines that begin within what is known.
struct KnownLines<'r, R> {
    text: &'r mut R,
    /// Octets that are known and were not read.
    left: u64,
    /// Whether the last octet that was read was no line end.
    in_line: bool,
    trail: &'r mut Trail,
}

impl<R: BufRead> Read for KnownLines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = if self.left > 0 {
            let most = usize::try_from(self.left).unwrap_or(usize::MAX);
            let most = most.min(buffer.len());
            self.text.read(buffer.get_mut(..most).unwrap_or_default())?
        } else if self.in_line {
            let ahead = self.text.fill_buf()?;
            let line = memchr::memchr(b'\n', ahead).map_or(ahead.len(), |end| end + 1);
            let read = line.min(buffer.len());
            if let (Some(to), Some(from)) = (buffer.get_mut(..read), ahead.get(..read)) {
                to.copy_from_slice(from);
            }
            self.text.consume(read);
            read
        } else {
            0
        };
        self.left = self.left.saturating_sub(read as u64);
        let octets = buffer.get(..read).unwrap_or_default();
        if let Some(last) = octets.last() {
            self.in_line = *last != b'\n';
        }
        self.trail.pass(octets);
        Ok(read)
    }
}

/// A text without its last line if that has no end.
struct WholeLines<'r, R> {
    text: R,
    /// The beginning of a line whose end was not read yet.
    rest: Vec<u8>,
    trail: &'r mut Trail,
}

impl<R: Read> WholeLines<'_, R> {
    /// Hands on the first `whole` octets of `read`, and keeps the others.
    fn hand_on(&mut self, read: &[u8], whole: usize) -> usize {
        let (lines, rest) = read.split_at_checked(whole).unwrap_or((read, &[]));
        self.rest.clear();
        self.rest.extend_from_slice(rest);
        self.trail.pass(lines);
        lines.len()
    }
}

impl<R: Read> Read for WholeLines<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let before = self.rest.len();
            let Some((rest, room)) = buffer.split_at_mut_checked(before) else {
                // Less room than for a line.
                let all = std::mem::take(&mut self.rest);
                let fits = self.hand_on(&all, buffer.len());
                buffer.copy_from_slice(all.get(..fits).unwrap_or_default());
                return Ok(fits);
            };
            rest.copy_from_slice(&self.rest);
            // An error leaves everything as it was.
            let read = match room.is_empty() {
                true => 0,
                false => self.text.read(room)?,
            };
            let new = room.get(..read).unwrap_or_default();
            let end = memchr::memrchr(b'\n', new).map(|end| before + end + 1);
            let filled = before + read;
            let is_full = read == room.len();
            if let Some(whole) = end {
                return Ok(self.hand_on(buffer.get(..filled).unwrap_or_default(), whole));
            }
            // What is longer is no line that tells anything.
            if filled > MAX_LINE || filled > 0 && is_full {
                return Ok(self.hand_on(buffer.get(..filled).unwrap_or_default(), filled));
            }
            if read == 0 {
                return Ok(0);
            }
            let new = buffer.get(before..filled).unwrap_or_default();
            self.rest.extend_from_slice(new);
        }
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use jiff::tz::TimeZone;
    use std::io::BufReader;

    use super::*;

    /// Gives at most so many octets at once.
    struct Slow<'t>(&'t [u8], usize);

    impl Read for Slow<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let most = self.1.min(buffer.len());
            self.0.read(&mut buffer[..most])
        }
    }

    fn whole(text: &[u8], at_once: usize, room: usize) -> (Vec<u8>, Vec<u8>) {
        let mut trail = Trail::default();
        let mut lines = WholeLines {
            text: Slow(text, at_once),
            rest: Vec::new(),
            trail: &mut trail,
        };
        let mut buffer = vec![0; room];
        let mut all = Vec::new();
        loop {
            let read = lines.read(&mut buffer).unwrap();
            if read == 0 {
                break;
            }
            all.extend_from_slice(&buffer[..read]);
        }
        let rest = lines.rest;
        assert_eq!(trail.length(), all.len() as u64);
        (all, rest)
    }

    #[test]
    fn a_line_without_its_end_is_kept_back_however_the_text_comes() {
        let text = b"one\ntwo\n\nthree";
        for at_once in 1..16 {
            for room in [8, 9, 64, 1024] {
                let (lines, rest) = whole(text, at_once, room);
                let expected = (&b"one\ntwo\n\n"[..], &b"three"[..]);
                assert_eq!((&*lines, &*rest), expected, "{at_once} {room}");
            }
        }
        assert_eq!(whole(b"", 1, 8), (vec![], vec![]));
        assert_eq!(whole(b"one", 1, 8), (vec![], b"one".to_vec()));
    }

    #[test]
    fn what_is_too_long_for_a_line_is_handed_on() {
        let text = [vec![b'x'; 3 * MAX_LINE], b"\ntwo\nthree".to_vec()].concat();
        for room in [100, MAX_LINE, 1 << 20] {
            let (lines, rest) = whole(&text, 5000, room);
            assert_eq!(
                (lines.len(), &*rest),
                (text.len() - 5, &b"three"[..]),
                "{room}"
            );
        }
    }

    #[test]
    fn a_line_is_known_when_it_begins_within_what_is_known() {
        let text: String = (0..9)
            .map(|n| {
                format!(
                    "2026-01-05T10:00:0{n}+00:00 mx postfix/smtp[4]: 4ABCDEF{n}: to=<{n}@a.example>, \
                     relay=mx[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 ok)\n"
                )
            })
            .collect();
        let line = text.len() / 9;
        for known in [
            0,
            1,
            line - 1,
            line,
            line + 1,
            3 * line,
            text.len(),
            usize::MAX,
        ] {
            let mut trail = Trail::default();
            let mut log = MailLog::new(TimeZone::UTC, "2026-01-06T00:00:00Z".parse().unwrap());
            log.begin("", Timestamp::UNIX_EPOCH);
            let mut told = Vec::new();
            let slow = BufReader::with_capacity(16, Slow(text.as_bytes(), 100));
            let length = known as u64;
            let known_octets = Known {
                length,
                ..Known::default()
            };
            read_lines(slow, &known_octets, &mut trail, &mut log, |_, section| {
                told.push(section);
            })
            .unwrap();
            let before = told.iter().filter(|it| **it == Section::Known).count();
            assert_eq!(
                (told.len(), before),
                (9, known.div_ceil(line).min(9)),
                "{known}"
            );
            assert_eq!(trail.length(), text.len() as u64);
        }
    }
}
