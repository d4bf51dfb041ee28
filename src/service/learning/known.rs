//! How much of a log was counted before, told by what stands in it.
//!
//! A log is known by its marks ([`LogMark`]): what has grown since is new, and where it lies by
//! now or how it is packed does not matter. Behind a known log another one may follow, as when a
//! month is made of weeks. An older copy is shorter than what is known, and then known as a whole;
//! so is what can be read of a damaged one.

use std::fs::File;
use std::io::{self, Read, Seek as _, SeekFrom};

use crate::maillog::{self, Compression, LogFile};
use crate::store::{LogMark, StoreError};

use super::trail::{ENDING, HEAD};
use super::{Known, Learning, Trail};

/// Known logs that may follow each other in one file: the weeks of a year.
const MOST_PARTS: usize = 64;

/// Octets read at once.
const BUFFER: usize = 64 * 1024;

/// What is known of a part of a file.
struct Part {
    length: u64,
    log: i64,
}

/// The unpacked text of a log from some place on.
struct Text {
    source: Source,
    position: u64,
}

enum Source {
    /// So many octets of a file.
    Plain(File, u64),
    Packed(Box<dyn Read>),
}

impl Learning {
    /// Returns how much of `file` was counted before. What cannot be read twice is not known.
    ///
    /// What cannot be read of it is not known either; reading it tells why.
    ///
    /// # Errors
    /// The store cannot be read.
    pub fn known(&self, file: &LogFile) -> Result<Known, StoreError> {
        match file.is_regular() {
            true => look(file, self),
            false => Ok(Known::default()),
        }
    }
}

fn look(file: &LogFile, learning: &Learning) -> Result<Known, StoreError> {
    let mut known = Known::default();
    let mut text = None;
    for _ in 0..MOST_PARTS {
        let begin = known.header.saturating_add(known.length);
        if begin == u64::MAX {
            break;
        }
        let Ok((mut at, mut trail)) = Text::at(file, text.take(), begin) else {
            break;
        };
        let header = header(trail.head());
        if header > 0 {
            match Text::at(file, Some(at), begin + header) {
                Ok(behind) => (at, trail) = behind,
                Err(_) => break,
            }
        }
        match known.length {
            0 => known.header = header,
            // Nothing of a header is counted, so it may be known.
            length => known.length = length + header,
        }
        let Some(beginning) = trail.beginning() else {
            break;
        };
        let marks = learning.log_marks(&beginning)?;
        let Some(part) = longest(&mut at, trail, marks) else {
            if known.length == 0 {
                known.until = learning.log_read_until(&beginning)?;
            }
            break;
        };
        known.log.get_or_insert(part.log);
        known.length = known.length.saturating_add(part.length);
        text = Some(at);
    }
    Ok(known)
}

/// Returns how many octets of lines of journalctl(1) a text begins with: they tell when it was
/// printed, and are others each time.
fn header(head: &[u8]) -> u64 {
    (head.split_inclusive(|octet| *octet == b'\n'))
        .take_while(|line| line.starts_with(b"-- ") && line.ends_with(b"\n"))
        .map(|line| line.len() as u64)
        .sum()
}

/// Returns the longest of what `marks` know of the text that begins with the head in `trail`, and
/// stands behind that head or what was known.
fn longest(text: &mut Text, mut trail: Trail, marks: Vec<(LogMark, i64)>) -> Option<Part> {
    let mut found = None;
    let head = trail.head().to_owned();
    let hash = trail.head_hash();
    let mut later = Vec::new();
    for (mark, log) in marks {
        match usize::try_from(mark.length).unwrap_or(usize::MAX) {
            length if length <= HEAD => {
                let mut short = Trail::default();
                short.pass(head.get(..length).unwrap_or_default());
                let length = mark.length;
                if short.mark() == Some(mark)
                    && (found.as_ref()).is_none_or(|part: &Part| part.length < length)
                {
                    found = Some(Part { length, log });
                }
            }
            // A shorter text has another hash.
            _ if mark.head == hash => later.push((mark, log)),
            _ => {}
        }
    }
    later.sort_unstable_by_key(|(mark, _)| mark.length);
    for (mark, log) in later {
        match text.pass(&mut trail, mark.length) {
            Ok(true) if trail.mark() == Some(mark) => {
                found = Some(Part {
                    length: mark.length,
                    log,
                });
            }
            Ok(true) => {}
            // It ends before, or is damaged. What is known of it ends where a mark says so; without
            // one it is an older copy.
            Ok(false) | Err(_) => {
                return found.or(Some(Part {
                    length: u64::MAX,
                    log,
                }));
            }
        }
    }
    found
}

impl Text {
    /// Returns the text of `file` behind its first `start` octets and the head that follows, which
    /// is in the trail. Goes on with what is `open` unless that is beyond.
    fn at(file: &LogFile, open: Option<Text>, start: u64) -> io::Result<(Text, Trail)> {
        let mut text = match open.filter(|text| text.position <= start) {
            Some(text) => text,
            None => Text::open(file)?,
        };
        text.leave_out(start - text.position)?;
        let mut trail = Trail::default();
        // Where it is damaged so early, that is all of it.
        let _ = text.pass(&mut trail, HEAD as u64);
        Ok((text, trail))
    }

    fn open(log: &LogFile) -> io::Result<Text> {
        let file = File::open(log.path())?;
        let source = match log.compression() {
            Compression::None => Source::Plain(file, log.size()),
            _ => Source::Packed(maillog::decompress(file.take(log.size()))?.0),
        };
        Ok(Text {
            source,
            position: 0,
        })
    }

    /// Hands the text on to `trail`, until that is `length` octets long; returns whether it became
    /// so long.
    fn pass(&mut self, trail: &mut Trail, length: u64) -> io::Result<bool> {
        let missing = length.saturating_sub(trail.length());
        if matches!(self.source, Source::Plain(..)) && trail.head().len() >= HEAD {
            let left_out = self.leave_out(missing.saturating_sub(ENDING as u64))?;
            if left_out > 0 {
                trail.skip(left_out);
            }
        }
        let mut buffer = vec![0; BUFFER];
        while trail.length() < length {
            let missing = usize::try_from(length - trail.length()).unwrap_or(usize::MAX);
            let room = buffer.get_mut(..missing.min(BUFFER)).unwrap_or_default();
            let read = match self.read(room) {
                Ok(0) => return Ok(false),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                read => read?,
            };
            trail.pass(room.get(..read).unwrap_or_default());
        }
        Ok(true)
    }

    /// Leaves out so many octets, or as many as there are; returns how many.
    fn leave_out(&mut self, octets: u64) -> io::Result<u64> {
        let before = self.position;
        match &mut self.source {
            Source::Plain(file, end) => {
                let to = before.saturating_add(octets).min(*end);
                file.seek(SeekFrom::Start(to))?;
                self.position = to;
            }
            Source::Packed(_) => {
                io::copy(&mut self.by_ref().take(octets), &mut io::sink())?;
            }
        }
        Ok(self.position - before)
    }
}

impl Read for Text {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = match &mut self.source {
            Source::Plain(file, end) => {
                file.take(end.saturating_sub(self.position)).read(buffer)?
            }
            Source::Packed(text) => text.read(buffer)?,
        };
        self.position += read as u64;
        Ok(read)
    }
}
