//! Addresses in the files of a mail site: aliases, maps, forwards, lists, address books.
//!
//! A wrong address that is stored leaks longest, and no milter sees what an alias expands to. A
//! file is read line by line and every address is told with the line it stands in. The formats
//! differ in three things only: what is a comment, which column is the mail's way in, and
//! whether a line may be folded within a word.
//!
//! Nothing is passed over without a word: what is not read is in the tally with the reason.

mod column;
mod folded;
mod include;
mod kind;
mod ldif;
mod line;
mod source;
mod token;
mod utf16;
mod vcard;

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::path::{Path, PathBuf};

pub use kind::Kind;

use line::{Line, Lines};
use source::Source;

/// How deep `:include:` files may include others; Sendmail allows as many.
const MAX_INCLUDES: usize = 10;
/// How deep directories are searched.
const MAX_DIRECTORIES: usize = 16;
/// Most files read because another one includes them, or because they lie in a directory.
const MAX_FILES: usize = 100_000;

/// An address or, in a map, a domain, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The file.
    pub path: PathBuf,
    /// Line, counted from 1.
    pub line: u64,
    /// `local@domain` as it stands there, `@domain` for every user of it, or a domain alone.
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
    /// Files that were not read, or not as a whole, with the reason.
    pub failed: Vec<(PathBuf, String)>,
}

/// Why something is read.
#[derive(Clone, Copy)]
enum Reason {
    Named,
    /// It lies in a directory, so many deep.
    Found(usize),
    /// A file includes it, so many deep.
    Included(usize),
}

/// A file or directory to be read.
struct Waiting {
    path: PathBuf,
    kind: Option<Kind>,
    reason: Reason,
}

/// Reads `paths`, directories with all that lies in them, and tells `sink` every address; `-` is
/// standard input. `kind` says what the files are; without it each is told by its name and its
/// beginning. Nothing is an error: what cannot be read is in the tally.
pub fn read(paths: &[PathBuf], kind: Option<Kind>, sink: impl FnMut(&Stored)) -> Tally {
    let waiting = (paths.iter())
        .map(|path| Waiting {
            path: path.clone(),
            kind,
            reason: Reason::Named,
        })
        .collect();
    let mut search = Search {
        waiting,
        seen: BTreeSet::new(),
        linked: Vec::new(),
        full: false,
        tally: Tally::default(),
        sink,
    };
    search.run();
    search.tally
}

struct Search<S> {
    waiting: VecDeque<Waiting>,
    /// What was read, without symbolic links.
    seen: BTreeSet<PathBuf>,
    /// Links to directories, which are not followed: some lead to `/`.
    linked: Vec<PathBuf>,
    /// Whether more was found than is read.
    full: bool,
    tally: Tally,
    sink: S,
}

impl<S: FnMut(&Stored)> Search<S> {
    fn run(&mut self) {
        while let Some(next) = self.waiting.pop_front() {
            if !self.seen.insert(real(&next.path)) {
                continue;
            }
            let done = match next.reason {
                Reason::Named if next.path.is_dir() => self.directory(&next, 0),
                Reason::Found(depth) if next.path.is_dir() => self.directory(&next, depth),
                Reason::Included(depth) if depth > MAX_INCLUDES => Err(io::Error::other(format!(
                    "is included more than {MAX_INCLUDES} deep; name it"
                ))),
                _ => self.file(&next),
            };
            if let Err(error) = done {
                self.fail(next.path, error.to_string());
            }
        }
        let mut linked = std::mem::take(&mut self.linked);
        linked.sort();
        for path in linked {
            if !self.seen.contains(&real(&path)) {
                let why = "is a link to a directory, which is not followed; name it".to_owned();
                self.fail(path, why);
            }
        }
    }

    /// Puts something into the queue. When there is too much already, that is told once.
    fn push(&mut self, next: Waiting) {
        if self.seen.len() + self.waiting.len() < MAX_FILES {
            self.waiting.push_back(next);
        } else if !std::mem::replace(&mut self.full, true) {
            let why = format!("more than {MAX_FILES} files; name fewer at a time");
            self.fail(next.path, why);
        }
    }

    fn fail(&mut self, path: PathBuf, why: String) {
        self.tally.failed.push((path, why));
    }

    /// Puts what lies in a directory into the queue, in order of names.
    fn directory(&mut self, next: &Waiting, depth: usize) -> io::Result<()> {
        if depth >= MAX_DIRECTORIES {
            return Err(io::Error::other(format!(
                "lies {MAX_DIRECTORIES} directories deep; name it"
            )));
        }
        let mut found = Vec::new();
        for entry in std::fs::read_dir(&next.path)? {
            let entry = entry?;
            let path = entry.path();
            if entry.file_type()?.is_symlink() && path.is_dir() {
                self.linked.push(path);
            } else {
                found.push(path);
            }
            // One more than there may be, so that it is told.
            if found.len().max(self.linked.len()) > MAX_FILES {
                break;
            }
        }
        found.sort();
        for path in found {
            self.push(Waiting {
                path,
                kind: next.kind,
                reason: Reason::Found(depth + 1),
            });
        }
        Ok(())
    }

    fn file(&mut self, next: &Waiting) -> io::Result<()> {
        let given = match next.reason {
            Reason::Named if next.path.as_os_str() == "-" => Some(Source::standard_input()),
            Reason::Named => Source::open_pipe(&next.path),
            Reason::Found(_) | Reason::Included(_) => None,
        };
        let source = given.unwrap_or_else(|| Source::open(&next.path))?;
        let kind = (next.kind).unwrap_or_else(|| Kind::of(&next.path, &source.beginning));
        self.tally.files += 1;
        let mut lines = Lines::new(source);
        let mut line = Vec::new();
        let mut folding = folded::Folding::new(kind);
        loop {
            let ready = match lines.next(&mut line)? {
                Line::Whole(number) => {
                    self.tally.lines += 1;
                    folding.push(number, &line)
                }
                Line::Overlong(number) => {
                    self.tally.lines += 1;
                    let why = format!("line {number} is longer than 4 MiB and was passed over");
                    self.fail(next.path.clone(), why);
                    continue;
                }
                Line::End => break,
            };
            if let Some((number, text)) = ready {
                self.line(next, kind, number, &text);
            }
        }
        if let Some((number, text)) = folding.end() {
            self.line(next, kind, number, &text);
        }
        Ok(())
    }

    /// Tells the addresses of a line, and puts the files that it includes into the queue.
    fn line(&mut self, next: &Waiting, kind: Kind, number: u64, text: &[u8]) {
        let value = kind.value(text);
        for address in token::addresses(&value).chain(kind.domains(&value)) {
            self.tally.addresses += 1;
            (self.sink)(&Stored {
                path: next.path.clone(),
                line: number,
                address: address.to_vec(),
            });
        }
        if !kind.includes() {
            return;
        }
        let depth = match next.reason {
            Reason::Included(depth) => depth,
            Reason::Named | Reason::Found(_) => 0,
        };
        for path in include::paths(&value) {
            self.push(Waiting {
                path: next.path.parent().unwrap_or(Path::new(".")).join(path),
                kind: Some(Kind::Forward),
                reason: Reason::Included(depth + 1),
            });
        }
    }
}

/// Returns the path without symbolic links; as it is when there is nothing.
fn real(path: &Path) -> PathBuf {
    std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
mod tests;
