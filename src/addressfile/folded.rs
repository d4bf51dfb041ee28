//! Lines as they were before folding.

use super::{Kind, vcard};

/// Longest folded line that is put together. Pictures may be longer, what mail goes to is not.
const MAX_FOLDED: usize = 1 << 20;

/// Puts folded lines together where a fold may be within a word: vCard (RFC 6350, 3.2; with
/// quoted-printable also RFC 2045, 6.7) and LDIF (RFC 2849, note 2). Everywhere else a line is
/// told as it is.
pub(super) struct Folding {
    kind: Kind,
    line: u64,
    text: Vec<u8>,
}

impl Folding {
    pub(super) fn new(kind: Kind) -> Folding {
        Folding {
            kind,
            line: 0,
            text: Vec::new(),
        }
    }

    /// Takes a line and returns what is complete with it, with the number of its first line.
    pub(super) fn push(&mut self, number: u64, text: &[u8]) -> Option<(u64, Vec<u8>)> {
        if !matches!(self.kind, Kind::Vcard | Kind::Ldif) {
            return (!self.kind.is_comment(text)).then(|| (number, text.to_vec()));
        }
        if let Some(more) = self.continuation(text) {
            if self.text.len() + more.len() <= MAX_FOLDED {
                self.text.extend_from_slice(more);
            }
            return None;
        }
        let ready = self.end();
        self.line = number;
        self.text.extend_from_slice(text);
        ready
    }

    /// Returns what `text` adds to the line before it, if it goes on there.
    fn continuation<'t>(&mut self, text: &'t [u8]) -> Option<&'t [u8]> {
        if self.kind == Kind::Vcard
            && self.text.ends_with(b"=")
            && vcard::is_quoted_printable(&self.text)
        {
            self.text.pop();
            return Some(text.trim_ascii_start());
        }
        (text.strip_prefix(b" ")).or_else(|| text.strip_prefix(b"\t"))
    }

    /// Returns what is left at the end.
    pub(super) fn end(&mut self) -> Option<(u64, Vec<u8>)> {
        let text = std::mem::take(&mut self.text);
        (!text.is_empty()).then_some((self.line, text))
    }
}
