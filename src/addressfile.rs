//! Addresses in the files of a mail site: aliases, Postfix maps, forwards, lists, address books.
//!
//! A wrong address that is stored leaks longest, and no milter sees what an alias expands to. A
//! file is read line by line and every address is told with the line it stands in. The formats
//! differ in three things only: what is a comment, which column is the mail's way in, and
//! whether a line may be folded within a word.

mod folded;
mod kind;
mod token;

use std::collections::{BTreeSet, VecDeque};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

pub use kind::Kind;

/// Longest line looked into; an alias of a large list is one line.
const MAX_LINE: u64 = 4 << 20;
/// How deep `:include:` files may include others; Sendmail allows as many.
const MAX_DEPTH: usize = 10;
/// Most files read because another one includes them, or because they lie in a directory.
const MAX_FILES: usize = 100_000;
/// How deep directories are searched.
const MAX_DIRECTORIES: usize = 16;
/// Bytes looked at to tell what a file is.
const PEEK: usize = 4096;

/// An address or, in a transport map, a domain, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: u64,
    /// `local@domain` as it stands there, or a domain alone.
    pub address: Vec<u8>,
}

/// What was read, and what could not be.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Tally {
    /// Files read.
    pub files: u64,
    /// Lines of these.
    pub lines: u64,
    /// Addresses in these.
    pub addresses: u64,
    /// Lines longer than 4 MiB, passed over.
    pub overlong_lines: u64,
    /// Files that could not be read, with the reason.
    pub failed: Vec<(PathBuf, String)>,
}

/// A file to be read.
struct Waiting {
    path: PathBuf,
    kind: Option<Kind>,
    depth: usize,
}

/// Reads `paths`, directories with all that lies in them, and tells `sink` every address.
/// `kind` says what the files are; without it each is told by its name and its beginning.
/// Nothing is an error: what cannot be read is in the tally.
pub fn read(paths: &[PathBuf], kind: Option<Kind>, mut sink: impl FnMut(&Stored)) -> Tally {
    let mut tally = Tally::default();
    let mut seen = BTreeSet::new();
    let mut waiting: VecDeque<Waiting> = (paths.iter())
        .map(|path| Waiting {
            path: path.clone(),
            kind,
            depth: 0,
        })
        .collect();
    while let Some(next) = waiting.pop_front() {
        let real = std::fs::canonicalize(&next.path).unwrap_or_else(|_| next.path.clone());
        if !seen.insert(real) {
            continue;
        }
        if seen.len() > MAX_FILES {
            let why = format!("more than {MAX_FILES} files; name fewer at a time");
            tally.failed.push((next.path, why));
            break;
        }
        let done = if next.path.is_dir() {
            directory(&next, &mut waiting)
        } else {
            file(&next, &mut waiting, &mut tally, &mut sink)
        };
        if let Err(error) = done {
            tally.failed.push((next.path, error.to_string()));
        }
    }
    tally
}

/// Puts what lies in a directory into the queue, in order of names. Symbolic links within it are
/// not followed.
fn directory(next: &Waiting, waiting: &mut VecDeque<Waiting>) -> io::Result<()> {
    if next.depth >= MAX_DIRECTORIES {
        return Err(io::Error::other("directories lie too deep in each other"));
    }
    let mut found = Vec::new();
    for entry in std::fs::read_dir(&next.path)? {
        let entry = entry?;
        if !entry.file_type()?.is_symlink() {
            found.push(entry.path());
        }
    }
    found.sort();
    waiting.extend(found.into_iter().map(|path| Waiting {
        path,
        kind: next.kind,
        depth: next.depth + 1,
    }));
    Ok(())
}

fn file(
    next: &Waiting,
    waiting: &mut VecDeque<Waiting>,
    tally: &mut Tally,
    sink: &mut impl FnMut(&Stored),
) -> io::Result<()> {
    let mut input = BufReader::new(File::open(&next.path)?);
    let beginning = input.fill_buf()?;
    let beginning = beginning.get(..PEEK).unwrap_or(beginning);
    let utf16 = folded::Utf16::of(beginning);
    if utf16.is_none() && beginning.contains(&0) {
        return Err(io::Error::other(
            "is binary; name the text it was made from (postmap -s prints a .db)",
        ));
    }
    let kind = next.kind.unwrap_or_else(|| Kind::of(&next.path, beginning));
    tally.files += 1;
    match utf16 {
        Some(utf16) => lines(next, kind, &mut utf16.reader(input), waiting, tally, sink),
        None => lines(next, kind, &mut input, waiting, tally, sink),
    }
}

fn lines(
    next: &Waiting,
    kind: Kind,
    mut input: &mut dyn BufRead,
    waiting: &mut VecDeque<Waiting>,
    tally: &mut Tally,
    sink: &mut impl FnMut(&Stored),
) -> io::Result<()> {
    let mut number = 0;
    let mut line = Vec::new();
    let mut folding = folded::Folding::new(kind);
    let mut tell = |number: u64, address: &[u8], tally: &mut Tally| {
        tally.addresses += 1;
        sink(&Stored {
            path: next.path.clone(),
            line: number,
            address: address.to_vec(),
        });
    };
    loop {
        line.clear();
        let read = (&mut input).take(MAX_LINE).read_until(b'\n', &mut line)?;
        let at_end = read == 0;
        if !at_end {
            number += 1;
            tally.lines += 1;
            if !line.ends_with(b"\n") && read as u64 == MAX_LINE {
                tally.overlong_lines += 1;
                skip_line(input)?;
                continue;
            }
        }
        let text = line.strip_suffix(b"\n").unwrap_or(&line);
        let text = text.strip_suffix(b"\r").unwrap_or(text);
        let ready = if at_end {
            folding.end()
        } else {
            folding.push(number, text)
        };
        if let Some((number, text)) = ready {
            let text = kind.value(&text);
            for address in token::addresses(&text) {
                tell(number, address, tally);
            }
            for domain in kind.domains(&text) {
                tell(number, domain, tally);
            }
            if kind.includes() {
                includes(next, &text, waiting);
            }
        }
        if at_end {
            return Ok(());
        }
    }
}

fn skip_line(input: &mut dyn BufRead) -> io::Result<()> {
    loop {
        let chunk = input.fill_buf()?;
        if chunk.is_empty() {
            return Ok(());
        }
        let end = memchr::memchr(b'\n', chunk);
        let used = end.map_or(chunk.len(), |end| end + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(());
        }
    }
}

/// Puts the files that `:include:/path` names into the queue.
fn includes(next: &Waiting, text: &[u8], waiting: &mut VecDeque<Waiting>) {
    const MARK: &[u8] = b":include:";
    if next.depth >= MAX_DEPTH {
        return;
    }
    for at in memchr::memmem::find_iter(text, MARK) {
        let rest = text.get(at + MARK.len()..).unwrap_or_default();
        let end = rest
            .iter()
            .position(|byte| matches!(byte, b',' | b'"') || byte.is_ascii_whitespace());
        let path = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
        let Some(path) = std::str::from_utf8(path)
            .ok()
            .filter(|path| !path.is_empty())
        else {
            continue;
        };
        let base = next.path.parent().unwrap_or(Path::new("."));
        waiting.push_back(Waiting {
            path: base.join(path),
            kind: Some(Kind::Forward),
            depth: next.depth + 1,
        });
    }
}

#[cfg(test)]
mod tests;
