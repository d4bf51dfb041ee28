//! One line of a log, taken apart: when, which host, which program, what it says.

use super::timestamp::{Clock, Stamped};

/// A line of a syslog, whoever wrote it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Line<'l> {
    /// Seconds since 1970-01-01T00:00Z.
    pub(crate) time: i64,
    pub(crate) host: &'l [u8],
    /// The program, without its process id: `postfix/smtpd`.
    pub(crate) tag: &'l [u8],
    /// Begins with the process id; empty when there is none.
    pub(crate) process: &'l [u8],
    pub(crate) body: &'l [u8],
}

impl<'l> Line<'l> {
    /// Takes `text`, without its line end, apart; `None` when it is no line of a syslog.
    #[inline]
    pub(crate) fn parse(text: &'l [u8], clock: &mut Clock) -> Option<Line<'l>> {
        let Stamped {
            time,
            rest,
            rfc5424,
        } = clock.read(text)?;
        let (host, rest) = cut(rest, b' ')?;
        let (tag, process, body) = if rfc5424 {
            structured(rest)?
        } else {
            let colon = memchr::memchr(b':', rest)?;
            let (tag, body) = rest.split_at_checked(colon)?;
            // `postfix/smtpd[123]`; a tag holds no space.
            let (tag, process) = memchr::memchr2(b'[', b' ', tag)
                .and_then(|end| Some((tag.get(..end)?, tag.get(end + 1..)?)))
                .unwrap_or((tag, b""));
            let body = body.get(1..)?;
            (tag, process, body.strip_prefix(b" ").unwrap_or(body))
        };
        Some(Line {
            time,
            host,
            tag,
            process,
            body,
        })
    }
}

/// Returns program, process id and message of the rest of an RFC 5424 line behind the host:
/// program, process id, message id, structured data, message.
fn structured(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (tag, rest) = cut(rest, b' ')?;
    let (process, rest) = cut(rest, b' ')?;
    let (_id, rest) = cut(rest, b' ')?;
    let body = match rest.strip_prefix(b"-") {
        Some(rest) => rest,
        None => behind_data(rest)?,
    };
    let body = body.strip_prefix(b" ").unwrap_or(body);
    let body = body.strip_prefix(b"\xef\xbb\xbf").unwrap_or(body);
    Some((tag, process, body))
}

/// Returns what follows `[id a="b"][id2 …]` (RFC 5424, 6.3: `"`, `\` and `]` are escaped in
/// values).
fn behind_data(text: &[u8]) -> Option<&[u8]> {
    let (mut quoted, mut escaped, mut inside) = (false, false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' if inside => quoted = !quoted,
            b'[' if !quoted => inside = true,
            b']' if !quoted => inside = false,
            b' ' if !inside => return text.get(at..),
            _ if !inside => return None,
            _ => {}
        }
    }
    None
}

/// Splits around the first `byte`.
#[inline]
pub(crate) fn cut(text: &[u8], byte: u8) -> Option<(&[u8], &[u8])> {
    let at = memchr::memchr(byte, text)?;
    Some((text.get(..at)?, text.get(at + 1..)?))
}

#[cfg(test)]
mod tests {
    use jiff::tz::TimeZone;

    use super::*;

    fn parts(text: &str) -> Option<(String, String, String)> {
        let reference = "2026-11-26T00:00:00Z".parse().unwrap();
        let mut clock = Clock::new(TimeZone::UTC, reference);
        let line = Line::parse(text.as_bytes(), &mut clock)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        Some((text(line.host), text(line.tag), text(line.body)))
    }

    #[test]
    fn every_layout_gives_host_program_and_message() {
        let expected = Some((
            "mx1".into(),
            "postfix/smtpd".into(),
            "connect from a[::1]".into(),
        ));
        for text in [
            "Nov 25 00:37:51 mx1 postfix/smtpd[123]: connect from a[::1]",
            "Nov 25 00:37:51 mx1 postfix/smtpd: connect from a[::1]",
            "2026-11-25T00:37:51Z mx1 postfix/smtpd[123]: connect from a[::1]",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd 123 - - connect from a[::1]",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd 123 id [a b=\"] \\\"\"][c] \u{feff}connect from a[::1]",
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn truncated_headers_are_no_line() {
        for text in [
            "Nov 25 00:37:51 ",
            "Nov 25 00:37:51 mx1",
            "Nov 25 00:37:51 mx1 postfix/smtpd",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd 1 - [a b=\"",
        ] {
            assert_eq!(parts(text), None, "{text}");
        }
    }
}
