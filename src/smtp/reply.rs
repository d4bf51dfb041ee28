//! SMTP replies (RFC 5321, 4.2) from a server we do not trust to be one.

use std::collections::VecDeque;
use std::fmt;

use super::{SmtpError, Stage};
use crate::untrusted::Untrusted;

/// RFC 5321, 4.5.3.1.5 says 512 octets; generous, because some servers are.
const MAX_LINE: usize = 4096;
/// Postfix offers a dozen extensions; nobody offers a hundred.
const MAX_LINES: usize = 100;

/// A complete reply.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    code: u16,
    lines: Vec<Vec<u8>>,
}

impl Reply {
    /// Returns the code, 200 to 599.
    pub fn code(&self) -> u16 {
        self.code
    }

    /// Returns whether a line begins with this keyword, in any case (for replies to EHLO).
    pub fn offers(&self, keyword: &str) -> bool {
        // The first line is the server's name.
        !keyword.is_empty()
            && self.lines.iter().skip(1).any(|line| {
                line.split(|byte| matches!(byte, b' ' | b'='))
                    .next()
                    .is_some_and(|word| word.eq_ignore_ascii_case(keyword.as_bytes()))
            })
    }

    pub(super) fn expect(&self, stage: Stage, class: u16) -> Result<(), SmtpError> {
        if self.code / 100 == class {
            return Ok(());
        }
        if self.code >= 400 {
            return Err(SmtpError::Refused {
                stage,
                reply: self.clone(),
            });
        }
        Err(SmtpError::NotSmtp {
            stage,
            what: format!("code {} is out of place", self.code),
        })
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.code)?;
        for line in &self.lines {
            write!(f, " {}", Untrusted(line))?;
        }
        Ok(())
    }
}

/// What came is not a reply.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum ReplyError {
    #[error("a line has more than {MAX_LINE} octets")]
    LineTooLong,
    #[error("it has more than {MAX_LINES} lines")]
    TooManyLines,
    #[error("a line does not begin with a code from 200 to 599")]
    NoCode,
    #[error("its lines have different codes")]
    CodeChanged,
}

/// Gathers octets and gives complete replies.
#[derive(Debug, Default)]
pub(super) struct ReplyReader {
    octets: VecDeque<u8>,
}

impl ReplyReader {
    /// Takes octets from the server.
    pub(super) fn push(&mut self, octets: &[u8]) {
        self.octets.extend(octets);
    }

    /// Returns the next complete reply, `None` when more octets are needed.
    pub(super) fn next(&mut self) -> Result<Option<Reply>, ReplyError> {
        let octets = self.octets.make_contiguous();
        let mut reply: Option<Reply> = None;
        let mut from = 0;
        loop {
            let rest = &octets[from..];
            let Some(end) = rest.iter().take(MAX_LINE).position(|&byte| byte == b'\n') else {
                return if rest.len() >= MAX_LINE {
                    Err(ReplyError::LineTooLong)
                } else {
                    Ok(None)
                };
            };
            let line = rest[..end].strip_suffix(b"\r").unwrap_or(&rest[..end]);
            from += end + 1;
            let (code, last, text) = read_line(line)?;
            let reply = reply.get_or_insert(Reply {
                code,
                lines: Vec::new(),
            });
            if reply.code != code {
                return Err(ReplyError::CodeChanged);
            }
            if reply.lines.len() == MAX_LINES {
                return Err(ReplyError::TooManyLines);
            }
            reply.lines.push(text.to_vec());
            if last {
                let reply = reply.clone();
                self.octets.drain(..from);
                return Ok(Some(reply));
            }
        }
    }
}

fn read_line(line: &[u8]) -> Result<(u16, bool, &[u8]), ReplyError> {
    let (digits, rest) = line.split_at_checked(3).ok_or(ReplyError::NoCode)?;
    let code = std::str::from_utf8(digits)
        .ok()
        .filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let code = code
        .and_then(|text| text.parse().ok())
        .filter(|code| (200..600).contains(code))
        .ok_or(ReplyError::NoCode)?;
    match rest.split_first() {
        None => Ok((code, true, &[])),
        Some((b' ', text)) => Ok((code, true, text)),
        Some((b'-', text)) => Ok((code, false, text)),
        Some(_) => Err(ReplyError::NoCode),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(octets: &[u8]) -> Result<Option<Reply>, ReplyError> {
        let mut reader = ReplyReader::default();
        reader.push(octets);
        reader.next()
    }

    #[test]
    fn a_reply_of_several_lines_is_one_reply() {
        let reply = read(b"250-mx.example\r\n250-SIZE 10\r\n250 dsn\r\nrest")
            .unwrap()
            .unwrap();
        assert_eq!(reply.to_string(), "250 mx.example SIZE 10 dsn");
        assert!(
            reply.offers("DSN")
                && reply.offers("SIZE")
                && !reply.offers("mx.example")
                && !reply.offers("")
        );
        assert_eq!(read(b"250-mx.example\r\n250"), Ok(None));
    }

    #[test]
    fn what_is_no_reply_is_refused() {
        for (octets, error) in [
            (&b"hello\r\n"[..], ReplyError::NoCode),
            (b"25\r\n", ReplyError::NoCode),
            (b"250_x\r\n", ReplyError::NoCode),
            (b"999 x\r\n", ReplyError::NoCode),
            (b"\xff\xfe\xfd x\r\n", ReplyError::NoCode),
            (b"+50 x\r\n", ReplyError::NoCode),
            (b"250-a\r\n550 b\r\n", ReplyError::CodeChanged),
            (&[b'2'; MAX_LINE], ReplyError::LineTooLong),
            (
                &b"250-x\r\n".repeat(MAX_LINES + 1),
                ReplyError::TooManyLines,
            ),
        ] {
            assert_eq!(read(octets), Err(error));
        }
    }

    #[test]
    fn terminal_escapes_in_a_reply_are_shown_not_obeyed() {
        let shown = read(b"550 no\x1b[2J\r\n").unwrap().unwrap().to_string();
        assert!(!shown.contains('\u{1b}'), "{shown}");
    }

    proptest! {
        #[test]
        fn no_octets_make_it_panic(octets: Vec<u8>) {
            let _ = read(&octets);
            let _ = read(&[b"250-", &octets[..], b"\r\n250 x\r\n"].concat());
        }
    }
}
