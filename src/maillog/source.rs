//! Log files as they lie around: rotated, compressed, in any order, still growing.
//!
//! How a file is compressed is told by its first bytes, never by its name. A file is read to the
//! size it had when it was opened, so that a busy log comes to an end.

use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bzip2::bufread::MultiBzDecoder;
use flate2::bufread::MultiGzDecoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lzma_rust2::XzReader;
use ruzstd::decoding::StreamingDecoder;

use super::MailLog;

/// What `xz -9` needs is 65 MiB; a file that wants more is no log.
const XZ_MEMORY_KIB: u32 = 128 * 1024;
/// How far into a file its first time is looked for.
const PEEK: u64 = 256 * 1024;
const BUFFER: usize = 128 * 1024;

/// How a log is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Compression {
    /// Not at all.
    None,
    /// gzip (RFC 1952).
    Gzip,
    /// xz.
    Xz,
    /// Zstandard (RFC 8878).
    Zstd,
    /// bzip2.
    Bzip2,
}

impl Compression {
    fn of(beginning: &[u8]) -> Compression {
        match beginning {
            [0x1f, 0x8b, ..] => Compression::Gzip,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Compression::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Compression::Zstd,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Compression::Bzip2,
            _ => Compression::None,
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Compression::None => "plain",
            Compression::Gzip => "gzip",
            Compression::Xz => "xz",
            Compression::Zstd => "zstd",
            Compression::Bzip2 => "bzip2",
        })
    }
}

/// Returns a reader of the text in `input`, and how it was compressed.
///
/// # Errors
/// When the first bytes cannot be read, or the header behind them is damaged.
pub fn decompress<'r>(input: impl Read + 'r) -> io::Result<(Box<dyn Read + 'r>, Compression)> {
    let mut input = BufReader::with_capacity(BUFFER, input);
    // A pipe may give less than the magic number at once; a log line is longer.
    let compression = Compression::of(input.fill_buf()?);
    let text: Box<dyn Read> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(MultiGzDecoder::new(input)),
        Compression::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Compression::Bzip2 => Box::new(MultiBzDecoder::new(input)),
        Compression::Zstd => Box::new(Frames {
            decoder: Some(frame(input)?),
        }),
    };
    Ok((text, compression))
}

type Frame<R> = StreamingDecoder<R, ruzstd::decoding::FrameDecoder>;

fn frame<R: Read>(input: R) -> io::Result<Frame<R>> {
    StreamingDecoder::new(input)
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error.to_string()))
}

/// One Zstandard frame after the other, as `cat a.zst b.zst` and pzstd(1) make them.
struct Frames<R: BufRead> {
    decoder: Option<Frame<R>>,
}

impl<R: BufRead> Read for Frames<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Every turn but the last takes a frame off the input.
        while let Some(decoder) = &mut self.decoder {
            let read = decoder.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(decoder) = self.decoder.take() else {
                break;
            };
            let mut input = decoder.into_inner();
            if !input.fill_buf()?.is_empty() {
                self.decoder = Some(frame(input)?);
            }
        }
        Ok(0)
    }
}

/// A log file, not read yet.
#[derive(Clone, Debug)]
pub struct LogFile {
    path: PathBuf,
    size: u64,
    written: Timestamp,
    compression: Compression,
    /// The first time in it, in seconds since 1970-01-01T00:00Z.
    first: Option<i64>,
}

impl LogFile {
    /// Looks at a file: how large it is, how compressed, when it begins. Times without a zone
    /// are those of `zone`, none is later than `now`.
    ///
    /// # Errors
    /// When it cannot be read, or is no file.
    pub fn look(path: &Path, zone: &TimeZone, now: Timestamp) -> io::Result<LogFile> {
        let file = File::open(path)?;
        let metadata = file.metadata()?;
        if metadata.is_dir() {
            return Err(io::Error::new(
                io::ErrorKind::IsADirectory,
                "it is a directory",
            ));
        }
        let modified = metadata.modified()?.duration_since(UNIX_EPOCH);
        let written = (modified.ok())
            .and_then(|age| Timestamp::from_second(i64::try_from(age.as_secs()).ok()?).ok())
            .filter(|written| *written <= now)
            .unwrap_or(now);
        let mut found = LogFile {
            path: path.to_owned(),
            size: metadata.len(),
            written,
            compression: Compression::None,
            first: None,
        };
        if metadata.is_file() {
            let (text, compression) = decompress(file)?;
            found.compression = compression;
            found.first = first_time(text, zone, written);
        }
        Ok(found)
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns its size in bytes when it was looked at, compressed.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// Returns how it is compressed.
    pub fn compression(&self) -> Compression {
        self.compression
    }

    /// Reads it with `log`; `progress` is told how many bytes of the file each step took.
    ///
    /// # Errors
    /// When it cannot be read on, because it is damaged or gone; what came before was told.
    pub fn read(
        &self,
        log: &mut MailLog,
        progress: impl Fn(u64),
        sink: impl FnMut(&super::Delivery<'_>),
    ) -> io::Result<()> {
        let file = File::open(&self.path)?;
        log.begin(&self.path.display().to_string(), self.written);
        let is_file = file.metadata()?.is_file();
        let limit = if is_file { self.size } else { u64::MAX };
        let counted = Counted {
            inner: file.take(limit),
            progress,
        };
        let (text, _) = decompress(counted)?;
        log.read(text, sink)
    }

    /// Returns by how many bytes it has grown since it was looked at.
    pub fn growth(&self) -> u64 {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        size.saturating_sub(self.size)
    }
}

/// Puts files in the order in which they were written; those without a time go first.
pub fn in_order(files: &mut [LogFile]) {
    files.sort_by_key(|file| file.first);
}

fn first_time(text: impl Read, zone: &TimeZone, written: Timestamp) -> Option<i64> {
    let mut log = MailLog::new(zone.clone(), written);
    let mut text = BufReader::new(text.take(PEEK));
    let mut line = Vec::new();
    // What is damaged is told when it is read.
    while text.read_until(b'\n', &mut line).ok()? > 0 {
        if let Some(time) = log.time_of(&line) {
            return Some(time);
        }
        line.clear();
    }
    None
}

struct Counted<R, P> {
    inner: R,
    progress: P,
}

impl<R: Read, P: Fn(u64)> Read for Counted<R, P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        (self.progress)(read as u64);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;
    use std::process::{Command, Stdio};

    use super::*;

    const TEXT: &str = "Nov 25 10:00:00 mx postfix/qmgr[3]: ABCDE1: removed\n";

    fn compress(program: &str, text: &str) -> Option<Vec<u8>> {
        let child = Command::new(program)
            .arg("-c")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn();
        let Ok(mut child) = child else {
            eprintln!("skipped: {program} is not installed");
            return None;
        };
        child
            .stdin
            .take()
            .unwrap()
            .write_all(text.as_bytes())
            .unwrap();
        Some(child.wait_with_output().unwrap().stdout)
    }

    #[test]
    fn every_compression_is_known_by_its_first_bytes_and_read_to_the_last_part() {
        for (program, expected) in [
            ("gzip", Compression::Gzip),
            ("xz", Compression::Xz),
            ("zstd", Compression::Zstd),
            ("bzip2", Compression::Bzip2),
            ("cat", Compression::None),
        ] {
            let program = if program == "cat" {
                None
            } else {
                Some(program)
            };
            let packed = match program {
                Some(program) => match compress(program, TEXT) {
                    Some(packed) => packed,
                    None => continue,
                },
                None => TEXT.as_bytes().to_vec(),
            };
            // Two of them, as `cat a.gz b.gz` makes them.
            let twice = [packed.clone(), packed].concat();
            let (mut text, compression) = decompress(&twice[..]).unwrap();
            let mut read = String::new();
            text.read_to_string(&mut read).unwrap();
            assert_eq!((compression, read), (expected, TEXT.repeat(2)));
        }
    }

    #[test]
    fn a_damaged_archive_is_an_error_after_what_could_be_read() {
        let Some(packed) = compress("gzip", &TEXT.repeat(100_000)) else {
            return;
        };
        let half = packed.get(..packed.len() / 2).unwrap();
        let (mut text, _) = decompress(half).unwrap();
        let mut read = Vec::new();
        text.read_to_end(&mut read).unwrap_err();
        assert!(read.len() > 1000);
    }

    #[test]
    fn rotated_files_are_read_oldest_first_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        let now = "2026-11-26T00:00:00Z".parse().unwrap();
        let mut files = Vec::new();
        for (name, day) in [("mail.log", 25), ("mail.log.1", 18), ("mail.log.2.gz", 11)] {
            let path = dir.path().join(name);
            let text = format!("junk\nNov {day} 10:00:00 mx postfix/qmgr[3]: ABCDE1: removed\n");
            std::fs::write(&path, text).unwrap();
            let file = LogFile::look(&path, &TimeZone::UTC, now).unwrap();
            assert_eq!(file.compression(), Compression::None);
            files.push(file);
        }
        in_order(&mut files);
        let names: Vec<_> = files
            .iter()
            .map(|file| file.path().file_name().unwrap())
            .collect();
        assert_eq!(names, ["mail.log.2.gz", "mail.log.1", "mail.log"]);
    }

    #[test]
    fn a_growing_log_is_read_to_the_size_it_had() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("mail.log");
        std::fs::write(&path, TEXT).unwrap();
        let now: Timestamp = "2026-11-26T00:00:00Z".parse().unwrap();
        let file = LogFile::look(&path, &TimeZone::UTC, now).unwrap();
        let mut grown = std::fs::OpenOptions::new()
            .append(true)
            .open(&path)
            .unwrap();
        grown.write_all(TEXT.as_bytes()).unwrap();
        let mut log = MailLog::new(TimeZone::UTC, now);
        file.read(&mut log, |_| {}, |_| {}).unwrap();
        assert_eq!(log.tally().lines, 1);
        assert_eq!(file.growth(), TEXT.len() as u64);
    }
}
