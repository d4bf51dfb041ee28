//! Log files as they lie around: rotated, compressed, in any order, still growing.
//!
//! How a file is compressed is told by its first bytes, never by its name. A file is read to the
//! size it had when it was opened, so that a busy log comes to an end.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use bzip2::bufread::BzDecoder;
use flate2::bufread::GzDecoder;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use lzma_rust2::XzReader;
use ruzstd::decoding::{FrameDecoder, StreamingDecoder};

use super::MailLog;

/// What `xz -9` needs is 65 MiB; a file that wants more is no log.
const XZ_MEMORY_KIB: u32 = 128 * 1024;
/// How far into a file its first time is looked for.
const PEEK: u64 = 256 * 1024;
const BUFFER: usize = 128 * 1024;
/// The longest magic number, that of xz.
const MAGIC: u64 = 6;

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
            _ if is_skippable(beginning) => Compression::Zstd,
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
/// The reader comes to its end only where the archive does: one that is cut off, or followed by
/// anything but padding, is an error behind what could be read.
///
/// # Errors
/// When the first bytes cannot be read, or the header behind them is damaged.
pub fn decompress<'r>(mut input: impl Read + 'r) -> io::Result<(Box<dyn Read + 'r>, Compression)> {
    // A pipe may give less than the magic number at once.
    let mut beginning = Vec::new();
    input.by_ref().take(MAGIC).read_to_end(&mut beginning)?;
    let compression = Compression::of(&beginning);
    let input = BufReader::with_capacity(BUFFER, Cursor::new(beginning).chain(input));
    let text: Box<dyn Read> = match compression {
        Compression::None => Box::new(input),
        Compression::Gzip => Box::new(Parts::<GzDecoder<_>>::begin(input)?),
        Compression::Xz => Box::new(XzReader::new_mem_limit(input, true, XZ_MEMORY_KIB)),
        Compression::Bzip2 => Box::new(Parts::<BzDecoder<_>>::begin(input)?),
        Compression::Zstd => Box::new(Parts::<Frame<_>>::begin(input)?),
    };
    Ok((text, compression))
}

/// One part of an archive: a gzip member, a bzip2 stream, a Zstandard frame.
trait Part: Read + Sized {
    type Input: BufRead;

    /// Begins the part at the beginning of `input`, which is not at its end; `None` when no part
    /// with text follows.
    fn begin(input: Self::Input) -> io::Result<Option<Self>>;

    /// Returns what stands behind this part, which was read to its end.
    fn end(self) -> io::Result<Self::Input>;
}

/// One part after the other, as `cat a.gz b.gz`, pigz(1) and pzstd(1) make them, with or without
/// the zeros behind that tapes and block devices leave.
struct Parts<P> {
    part: Option<P>,
}

impl<P: Part> Parts<P> {
    fn begin(input: P::Input) -> io::Result<Parts<P>> {
        Ok(Parts {
            part: P::begin(input)?,
        })
    }
}

impl<P: Part> Read for Parts<P> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        // Every turn but the last takes a part off the input.
        while let Some(part) = &mut self.part {
            let read = part.read(buffer)?;
            if read > 0 || buffer.is_empty() {
                return Ok(read);
            }
            let Some(part) = self.part.take() else {
                break;
            };
            let mut input = part.end()?;
            skip_zeros(&mut input)?;
            if !input.fill_buf()?.is_empty() {
                self.part = P::begin(input)?;
            }
        }
        Ok(0)
    }
}

fn skip_zeros(input: &mut impl BufRead) -> io::Result<()> {
    loop {
        let ahead = input.fill_buf()?;
        let zeros = ahead.iter().take_while(|byte| **byte == 0).count();
        let more = zeros > 0 && zeros == ahead.len();
        input.consume(zeros);
        if !more {
            return Ok(());
        }
    }
}

impl<R: BufRead> Part for GzDecoder<R> {
    type Input = R;

    fn begin(input: R) -> io::Result<Option<Self>> {
        Ok(Some(GzDecoder::new(input)))
    }

    fn end(self) -> io::Result<R> {
        Ok(self.into_inner())
    }
}

impl<R: BufRead> Part for BzDecoder<R> {
    type Input = R;

    fn begin(input: R) -> io::Result<Option<Self>> {
        Ok(Some(BzDecoder::new(input)))
    }

    fn end(self) -> io::Result<R> {
        Ok(self.into_inner())
    }
}

/// A Zstandard frame, behind the four bytes that told that it is one.
type Frame<R> = StreamingDecoder<Chain<Cursor<[u8; 4]>, R>, FrameDecoder>;

impl<R: BufRead> Part for Frame<R> {
    type Input = R;

    fn begin(mut input: R) -> io::Result<Option<Self>> {
        // A turn takes a frame off the input. pzstd(1) begins every frame with a skippable one,
        // the seekable format ends with one (RFC 8878, 3.1.2).
        while !input.fill_buf()?.is_empty() {
            let mut magic = [0; 4];
            input.read_exact(&mut magic)?;
            if !is_skippable(&magic) {
                return StreamingDecoder::new(Cursor::new(magic).chain(input))
                    .map(Some)
                    .map_err(|error| damaged(&error.to_string()));
            }
            let mut length = [0; 4];
            input.read_exact(&mut length)?;
            let length = u64::from(u32::from_le_bytes(length));
            if io::copy(&mut input.by_ref().take(length), &mut io::sink())? < length {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(None)
    }

    fn end(self) -> io::Result<R> {
        let (input, frame) = self.into_parts();
        let (told, found) = (
            frame.get_checksum_from_data(),
            frame.get_calculated_checksum(),
        );
        if told.is_some() && told != found {
            return Err(damaged("the checksum of a Zstandard frame does not match"));
        }
        Ok(input.into_inner().1)
    }
}

fn is_skippable(beginning: &[u8]) -> bool {
    matches!(beginning, [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..])
}

fn damaged(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
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
    /// Device and inode of a regular file.
    identity: Option<(u64, u64)>,
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
            identity: None,
        };
        if metadata.is_file() {
            found.identity = Some((metadata.dev(), metadata.ino()));
            let (text, compression) = decompress(file)?;
            found.compression = compression;
            found.first = first_time(text, zone, written, now);
        }
        Ok(found)
    }

    /// Returns where it lies.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns whether it can be read more than once: what is read of a pipe is gone.
    pub fn is_regular(&self) -> bool {
        self.identity.is_some()
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
        let text = self.begin(log, progress)?;
        log.read(text, sink)
    }

    /// Begins to read it with `log`, and returns the text to hand on to that; `progress` is told
    /// how many bytes of the file each step took.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn begin<'r>(
        &self,
        log: &mut MailLog,
        progress: impl Fn(u64) + 'r,
    ) -> io::Result<Box<dyn Read + 'r>> {
        let file = File::open(&self.path)?;
        log.begin(&self.path.display().to_string(), self.written);
        let is_file = file.metadata()?.is_file();
        let limit = if is_file { self.size } else { u64::MAX };
        let counted = Counted {
            inner: file.take(limit),
            progress,
        };
        let (text, _) = decompress(counted)?;
        Ok(text)
    }

    /// Returns by how many bytes it has grown since it was looked at.
    pub fn growth(&self) -> u64 {
        let size = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        size.saturating_sub(self.size)
    }
}

/// Puts files in the order in which they were written; those without a time go first. A file that
/// is there twice, under whatever name, is taken out once and returned.
pub fn in_order(files: &mut Vec<LogFile>) -> Vec<LogFile> {
    files.sort_by_key(|file| file.first);
    let mut seen = HashSet::new();
    let again = |file: &mut LogFile| file.identity.is_some_and(|file| !seen.insert(file));
    files.extract_if(.., again).collect()
}

fn first_time(text: impl Read, zone: &TimeZone, written: Timestamp, now: Timestamp) -> Option<i64> {
    let mut log = MailLog::new(zone.clone(), now);
    log.begin("", written);
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

    /// Gives one byte at a time, as a slow pipe may.
    struct Slowly<'a>(&'a [u8]);

    impl Read for Slowly<'_> {
        fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
            let length = buffer.len().min(1);
            self.0.read(&mut buffer[..length])
        }
    }

    #[test]
    fn a_compression_is_known_however_slowly_its_first_bytes_arrive() {
        for program in ["gzip", "xz", "zstd", "bzip2"] {
            let Some(packed) = compress(program, TEXT) else {
                continue;
            };
            let (mut text, _) = decompress(Slowly(&packed)).unwrap();
            let mut read = String::new();
            text.read_to_string(&mut read).unwrap();
            assert_eq!(read, TEXT, "{program}");
        }
        // Shorter than a magic number, and nothing at all.
        for short in ["x\n", ""] {
            let (mut text, compression) = decompress(Slowly(short.as_bytes())).unwrap();
            let mut read = String::new();
            text.read_to_string(&mut read).unwrap();
            assert_eq!((compression, read.as_str()), (Compression::None, short));
        }
    }

    fn read(packed: &[u8]) -> (Compression, io::Result<()>, String) {
        let mut text = Vec::new();
        let (compression, end) = match decompress(packed) {
            Ok((mut reader, compression)) => {
                (compression, reader.read_to_end(&mut text).map(|_| ()))
            }
            Err(error) => (Compression::of(packed), Err(error)),
        };
        (compression, end, String::from_utf8(text).unwrap())
    }

    /// A skippable frame (RFC 8878, 3.1.2) of so many bytes.
    fn skippable(number: u8, length: u32) -> Vec<u8> {
        let mut frame = vec![0x50 + number, 0x2a, 0x4d, 0x18];
        frame.extend(length.to_le_bytes());
        frame.resize(8 + length as usize, 0xaa);
        frame
    }

    #[test]
    fn skippable_frames_of_zstandard_are_skipped_wherever_they_stand() {
        let packed = ruzstd::encoding::compress_to_vec(
            TEXT.as_bytes(),
            ruzstd::encoding::CompressionLevel::Fastest,
        );
        let beginning = [skippable(0, 4), packed.clone()].concat();
        let far = [skippable(15, 300_000), skippable(3, 0), packed.clone()].concat();
        let between = [beginning.clone(), skippable(7, 4), packed.clone()].concat();
        let behind = [packed.clone(), skippable(14, 17)].concat();
        for (packed, times) in [(beginning, 1), (far, 1), (between, 2), (behind, 1)] {
            let (compression, end, text) = read(&packed);
            end.unwrap();
            assert_eq!((compression, text), (Compression::Zstd, TEXT.repeat(times)));
        }
        let (compression, end, text) = read(&skippable(0, 4));
        end.unwrap();
        assert_eq!((compression, text), (Compression::Zstd, String::new()));
        // Its end is missing.
        for cut in [1, 4, 6, 8, 10] {
            let cut = skippable(0, 4).get(..cut).unwrap().to_vec();
            let (_, end, _) = read(&[packed.clone(), cut].concat());
            end.unwrap_err();
        }
    }

    #[test]
    fn padding_behind_an_archive_is_no_damage_but_anything_else_is() {
        for program in ["gzip", "xz", "zstd", "bzip2"] {
            let Some(packed) = compress(program, TEXT) else {
                continue;
            };
            let padded = [packed.clone(), vec![0; 512]].concat();
            let (_, end, text) = read(&padded);
            end.unwrap_or_else(|error| panic!("{program}: {error}"));
            assert_eq!(text, TEXT, "{program}");
            let (_, end, text) = read(&[packed, b"and more".to_vec()].concat());
            end.expect_err(program);
            assert_eq!(text, TEXT, "{program}");
        }
    }

    #[test]
    fn an_archive_cut_off_anywhere_is_an_error_after_what_could_be_read() {
        for program in ["gzip", "xz", "zstd", "bzip2"] {
            let Some(packed) = compress(program, TEXT) else {
                continue;
            };
            let twice = [packed.clone(), packed.clone()].concat();
            for length in 6..twice.len() {
                let (_, end, text) = read(twice.get(..length).unwrap());
                let whole = length == packed.len();
                assert_eq!(end.is_ok(), whole, "{program} cut at {length}: {end:?}");
                let before = if length < packed.len() { "" } else { TEXT };
                assert!(text.starts_with(before), "{program} cut at {length}");
            }
        }
        let Some(packed) = compress("gzip", &TEXT.repeat(100_000)) else {
            return;
        };
        let (_, end, text) = read(packed.get(..packed.len() / 2).unwrap());
        end.unwrap_err();
        assert!(text.len() > 1000);
    }

    #[test]
    fn a_zstandard_frame_that_does_not_add_up_is_an_error() {
        let Some(mut packed) = compress("zstd", TEXT) else {
            return;
        };
        // The last four bytes are the checksum of zstd(1).
        *packed.last_mut().unwrap() ^= 1;
        let (_, end, _) = read(&packed);
        end.unwrap_err();
    }

    #[test]
    fn rotated_files_are_read_oldest_first_and_once_whatever_they_are_called() {
        let dir = tempfile::tempdir().unwrap();
        let now = "2026-11-26T00:00:00Z".parse().unwrap();
        let mut files = Vec::new();
        for (name, day) in [("mail.log", 25), ("mail.log.1", 18), ("mail.log.2.gz", 11)] {
            let path = dir.path().join(name);
            let text = format!(
                "junk\n2036-01-01T00:00:00Z mx postfix/qmgr[3]: ABCDE1: removed\n\
                 Nov {day} 10:00:00 mx postfix/qmgr[3]: ABCDE1: removed\n"
            );
            std::fs::write(&path, text).unwrap();
            let file = LogFile::look(&path, &TimeZone::UTC, now).unwrap();
            assert_eq!(file.compression(), Compression::None);
            files.push(file);
        }
        let linked = dir.path().join("mail");
        std::os::unix::fs::symlink("mail.log", &linked).unwrap();
        files.push(LogFile::look(&linked, &TimeZone::UTC, now).unwrap());
        let again = in_order(&mut files);
        assert_eq!(again.len(), 1);
        assert_eq!(again.first().unwrap().path(), linked);
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
