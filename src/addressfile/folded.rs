//! Lines as they were before folding, and text in UTF-16.

use std::io::{self, BufRead, BufReader, Read};

use super::Kind;

/// Longest folded line that is put together.
const MAX_FOLDED: usize = 1 << 20;

/// Puts folded lines together where a fold may be within a word: vCard (RFC 6350, 3.2) and LDIF
/// (RFC 2849, note 2). Everywhere else a line is told as it is.
pub(super) struct Folding {
    kind: Kind,
    folds: bool,
    line: u64,
    text: Vec<u8>,
}

impl Folding {
    pub(super) fn new(kind: Kind) -> Folding {
        Folding {
            kind,
            folds: matches!(kind, Kind::Vcard | Kind::Ldif),
            line: 0,
            text: Vec::new(),
        }
    }

    /// Takes a line and returns what is complete with it, with the number of its first line.
    pub(super) fn push(&mut self, number: u64, text: &[u8]) -> Option<(u64, Vec<u8>)> {
        if !self.folds {
            let comment = self.kind.has_comments() && text.trim_ascii_start().starts_with(b"#");
            return (!comment).then(|| (number, text.to_vec()));
        }
        match text.strip_prefix(b" ").or_else(|| text.strip_prefix(b"\t")) {
            Some(more) => {
                if self.text.len() + more.len() <= MAX_FOLDED {
                    self.text.extend_from_slice(more);
                }
                None
            }
            None => {
                let ready = self.end();
                self.line = number;
                self.text.extend_from_slice(text);
                ready
            }
        }
    }

    /// Returns what is left at the end.
    pub(super) fn end(&mut self) -> Option<(u64, Vec<u8>)> {
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some((self.line, text))
    }
}

/// UTF-16, as address books of Outlook and Excel have it.
#[derive(Clone, Copy)]
pub(super) enum Utf16 {
    Little,
    Big,
}

impl Utf16 {
    /// Returns which, from the byte order mark.
    pub(super) fn of(beginning: &[u8]) -> Option<Utf16> {
        match beginning {
            [0xff, 0xfe, ..] => Some(Utf16::Little),
            [0xfe, 0xff, ..] => Some(Utf16::Big),
            _ => None,
        }
    }

    /// Returns the text as UTF-8.
    pub(super) fn reader<R: Read>(self, input: R) -> impl BufRead {
        BufReader::new(Recoded {
            input,
            order: self,
            ready: Vec::new(),
            half: Vec::new(),
        })
    }
}

struct Recoded<R> {
    input: R,
    order: Utf16,
    ready: Vec<u8>,
    /// Bytes of a character that is not complete.
    half: Vec<u8>,
}

impl<R: Read> Read for Recoded<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.ready.is_empty() {
            let mut chunk = [0; 8192];
            let read = self.input.read(&mut chunk)?;
            if read == 0 {
                return Ok(0);
            }
            self.half.extend(chunk.iter().take(read));
            let mut units: Vec<u16> = (self.half.chunks_exact(2))
                .filter_map(|pair| <[u8; 2]>::try_from(pair).ok())
                .map(|pair| match self.order {
                    Utf16::Little => u16::from_le_bytes(pair),
                    Utf16::Big => u16::from_be_bytes(pair),
                })
                .collect();
            // A character beyond U+FFFF has two units.
            if units
                .last()
                .is_some_and(|unit| (0xd800..0xdc00).contains(unit))
            {
                units.pop();
            }
            self.half.drain(..units.len() * 2);
            self.ready = String::from_utf16_lossy(&units).into_bytes();
        }
        let count = self.ready.len().min(buffer.len());
        for (to, from) in buffer.iter_mut().zip(self.ready.drain(..count)) {
            *to = from;
        }
        Ok(count)
    }
}
