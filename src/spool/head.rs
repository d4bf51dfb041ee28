//! The header block of a message that arrives in pieces: where it ends, and two fields of it.
//!
//! Only what the hold key and a list line need. Nothing is decided from a header.

/// A header block longer than this is not searched further: above Postfix's
/// `header_size_limit` of 102,400 octets with room for other MTAs.
const MAX_HEAD: usize = 256 * 1024;

/// Splits the pieces of a message into header block and body.
#[derive(Debug, Default)]
pub(super) struct HeadScanner {
    head: Vec<u8>,
    complete: bool,
}

impl HeadScanner {
    /// Takes the next piece and returns the part of it that belongs to the body.
    pub(super) fn take<'a>(&mut self, piece: &'a [u8]) -> &'a [u8] {
        if self.complete {
            return piece;
        }
        let before = self.head.len();
        let room = MAX_HEAD.saturating_sub(before);
        self.head.extend_from_slice(&piece[..piece.len().min(room)]);
        // The empty line may begin in the piece before: look back three octets.
        if let Some(end) = end_of_head(&self.head, before.saturating_sub(3)) {
            self.head.truncate(end);
            self.complete = true;
        } else if piece.len() >= room {
            self.complete = true;
        }
        let used = self.head.len().saturating_sub(before).min(piece.len());
        if self.complete { &piece[used..] } else { &[] }
    }

    /// Returns the header block with its empty line, as far as it came.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }
}

/// Returns the offset after the empty line that ends the header block.
fn end_of_head(head: &[u8], from: usize) -> Option<usize> {
    if head.starts_with(b"\r\n") {
        return Some(2);
    }
    if head.starts_with(b"\n") {
        return Some(1);
    }
    (from..head.len()).find_map(|at| {
        let rest = &head[at..];
        if rest.starts_with(b"\r\n\r\n") {
            Some(at + 4)
        } else if rest.starts_with(b"\n\n") {
            Some(at + 2)
        } else {
            None
        }
    })
}

/// Returns the first field called `name` (any case), unfolded and trimmed.
pub(super) fn field(head: &[u8], name: &str) -> Option<Vec<u8>> {
    let mut value: Option<Vec<u8>> = None;
    for line in head.split(|&byte| byte == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let folded = matches!(line.first(), Some(b' ' | b'\t'));
        if folded {
            if let Some(value) = &mut value {
                value.extend_from_slice(line);
            }
            continue;
        }
        if value.is_some() {
            break;
        }
        let Some(colon) = line.iter().position(|&byte| byte == b':') else {
            continue;
        };
        if line[..colon]
            .trim_ascii_end()
            .eq_ignore_ascii_case(name.as_bytes())
        {
            value = Some(line[colon + 1..].to_vec());
        }
    }
    value.map(|value| value.trim_ascii().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(message: &[u8], step: usize) -> (Vec<u8>, Vec<u8>) {
        let mut scanner = HeadScanner::default();
        let mut body = Vec::new();
        for piece in message.chunks(step) {
            body.extend_from_slice(scanner.take(piece));
        }
        (scanner.head().to_vec(), body)
    }

    #[test]
    fn pieces_of_any_size_split_at_the_same_place() {
        for message in [
            &b"A: 1\r\nB: 2\r\n\r\nbody\r\n\r\nmore"[..],
            b"A: 1\n\nbody",
            b"\r\nbody\r\n\r\nmore",
            b"A: 1\r\n\r\n",
            b"A: no end",
        ] {
            let whole = split(message, message.len());
            assert_eq!([&whole.0[..], &whole.1[..]].concat(), message);
            for step in 1..message.len() {
                assert_eq!(split(message, step), whole, "step {step}");
            }
        }
    }

    #[test]
    fn an_endless_header_is_cut_and_the_rest_counts_as_body() {
        let message = vec![b'x'; MAX_HEAD + 10];
        for step in [message.len(), 1000] {
            let (head, body) = split(&message, step);
            assert_eq!((head.len(), body.len()), (MAX_HEAD, 10));
        }
    }

    #[test]
    fn a_field_is_found_in_any_case_and_unfolded() {
        let head = b"X: 1\r\nMESSAGE-id:\r\n <a@b>\r\nSubject: x\r\n y \r\nsubject: second\r\n\r\n";
        assert_eq!(field(head, "message-id").unwrap(), b"<a@b>");
        assert_eq!(field(head, "subject").unwrap(), b"x y");
        assert_eq!(field(head, "date"), None);
    }
}
