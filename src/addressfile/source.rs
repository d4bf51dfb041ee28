//! A file as text: opened without waiting, unpacked, in UTF-8.
//!
//! Any user can put a FIFO, or a link to a device, into a home directory or behind `:include:`,
//! and reading it would never end. So only regular files are read, and what the shell has opened
//! already.

use std::fs::{self, File, FileType};
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::os::unix::fs::FileTypeExt as _;
use std::path::Path;

use rustix::fs::{Mode, OFlags};

use crate::maillog::{Compression, decompress};

use super::utf16::Utf16;

/// Bytes looked at to tell what a file is.
pub(super) const PEEK: u64 = 16 * 1024;
/// Most bytes of text that a packed file is unpacked to. The addresses of a whole army are less,
/// and some kilobytes can be packed so that they unpack to terabytes.
const MAX_UNPACKED: u64 = 1 << 30;
const BUFFER: usize = 64 * 1024;

/// A file that can be read.
pub(super) struct Source {
    /// How its text begins, without a byte order mark.
    pub(super) beginning: Vec<u8>,
    /// All of its text, the beginning too.
    pub(super) text: Box<dyn BufRead>,
}

impl Source {
    /// Opens a file, to the size that it has now: a file may grow as fast as it is read.
    ///
    /// # Errors
    /// When it cannot be read, is no file, or holds no text.
    pub(super) fn open(path: &Path) -> io::Result<Source> {
        // Looked at before it is opened, because opening alone moves some devices, and after it,
        // because it may have been exchanged.
        must_be_regular(fs::metadata(path)?.file_type())?;
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::open(path, flags, Mode::empty())?);
        let metadata = file.metadata()?;
        must_be_regular(metadata.file_type())?;
        match metadata.len() {
            // Files of /proc tell no size.
            0 => Source::new(file),
            size => Source::new(file.take(size)),
        }
    }

    /// Opens what a shell writes for `<(command)`, and `/dev/stdin`: a pipe that is open already;
    /// `None` when `path` is none. A FIFO in the file system is not, whoever named it: `/home/*/.forward` may be one.
    ///
    /// # Errors
    /// When it cannot be read, or holds no text.
    pub(super) fn open_pipe(path: &Path) -> Option<io::Result<Source>> {
        let open_already = path == Path::new("/dev/stdin")
            || ["/dev/fd", "/proc/self/fd"]
                .iter()
                .any(|dir| path.parent() == Some(Path::new(dir)));
        let is_pipe = fs::metadata(path).is_ok_and(|found| found.file_type().is_fifo());
        (open_already && is_pipe).then(|| Source::new(File::open(path)?))
    }

    /// Reads standard input.
    ///
    /// # Errors
    /// When it cannot be read, or holds no text.
    pub(super) fn standard_input() -> io::Result<Source> {
        Source::new(io::stdin().lock())
    }

    fn new(input: impl Read + 'static) -> io::Result<Source> {
        let (text, compression) = decompress(input)?;
        let (mut beginning, mut text) = peek(match compression {
            Compression::None => text,
            _ => Box::new(Bounded {
                text,
                left: MAX_UNPACKED,
            }),
        });
        if let Some(utf16) = Utf16::of(&beginning) {
            (beginning, text) = peek(Box::new(utf16.reader(text)));
        } else if beginning.contains(&0) {
            return Err(io::Error::other(
                "is binary; only text is searched (`postmap -s` prints a .db, a spreadsheet can be \
                 saved as CSV)",
            ));
        }
        let mut text = BufReader::with_capacity(BUFFER, text);
        if beginning.starts_with(b"\xef\xbb\xbf") {
            beginning.drain(..3);
            io::copy(&mut text.by_ref().take(3), &mut io::sink())?;
        }
        Ok(Source {
            beginning,
            text: Box::new(text),
        })
    }
}

fn must_be_regular(found: FileType) -> io::Result<()> {
    let what = if found.is_file() {
        return Ok(());
    } else if found.is_dir() {
        "a directory"
    } else if found.is_fifo() {
        "a FIFO"
    } else if found.is_socket() {
        "a socket"
    } else {
        "a device"
    };
    Err(io::Error::other(format!("is {what}, not a file")))
}

/// Returns how `text` begins, and all of it. An error comes up where it stands: behind what could
/// be read.
fn peek(mut text: Box<dyn Read>) -> (Vec<u8>, Box<dyn Read>) {
    let mut beginning = Vec::new();
    let read = text.by_ref().take(PEEK).read_to_end(&mut beginning);
    let rest: Box<dyn Read> = match read {
        Ok(_) => text,
        Err(error) => Box::new(Damaged(Some(error))),
    };
    let all = Cursor::new(beginning.clone()).chain(rest);
    (beginning, Box::new(all))
}

/// What could not be read.
struct Damaged(Option<io::Error>);

impl Read for Damaged {
    fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
        self.0.take().map_or(Ok(0), Err)
    }
}

/// Text of which there must not be more.
struct Bounded<R> {
    text: R,
    left: u64,
}

impl<R: Read> Read for Bounded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.text.read(buffer)?;
        self.left = (self.left)
            .checked_sub(read as u64)
            .ok_or_else(|| io::Error::other("unpacks to more than 1 GiB; unpack it first"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_unpacks_without_end_is_an_error() {
        let mut bounded = Bounded {
            text: io::repeat(b'a'),
            left: 100_000,
        };
        let mut text = Vec::new();
        let error = bounded.read_to_end(&mut text).unwrap_err();
        assert_eq!(
            error.to_string(),
            "unpacks to more than 1 GiB; unpack it first"
        );
        assert!(text.len() <= 100_000);
    }

    #[test]
    fn an_error_stands_behind_what_could_be_read() {
        let text = io::Cursor::new(b"a@b.example").chain(Damaged(Some(io::Error::other("torn"))));
        let (beginning, mut text) = peek(Box::new(text));
        assert_eq!(beginning, b"a@b.example");
        let mut read = Vec::new();
        assert_eq!(text.read_to_end(&mut read).unwrap_err().to_string(), "torn");
        assert_eq!(read, b"a@b.example");
    }
}
