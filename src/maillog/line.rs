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
        let (host, behind) = cut(rest, b' ')?;
        // `postfix/smtpd[123]:` is no host: there is none, as BusyBox writes it with `-S`.
        let (host, behind) = match host.last() {
            Some(b':') if !rfc5424 => (&b""[..], rest),
            // Nor is `mail.info`, and lines of one message have different levels.
            _ if host.starts_with(b"mail.") && is_priority(host) => (&b""[..], behind),
            _ => (host, behind),
        };
        let (tag, process, body) = if rfc5424 {
            structured(behind)?
        } else {
            tagged(behind)?
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

/// Returns program, process id and message of `postfix/smtpd[123]: …`, also behind the facility
/// and level that BusyBox writes (`mail.info postfix/smtpd[123]: …`).
#[inline]
fn tagged(rest: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let colon = memchr::memchr(b':', rest)?;
    let (tag, body) = rest.split_at_checked(colon)?;
    let body = body.get(1..)?;
    let body = body.strip_prefix(b" ").unwrap_or(body);
    // A tag holds no space.
    let Some(end) = memchr::memchr2(b'[', b' ', tag) else {
        return Some((tag, b"", body));
    };
    let (word, behind) = (tag.get(..end)?, tag.get(end + 1..)?);
    if tag.get(end) == Some(&b' ') && is_priority(word) {
        let (tag, process) = cut(behind, b'[').unwrap_or((behind, b""));
        return Some((tag, process, body));
    }
    Some((word, behind, body))
}

/// Returns whether `word` is a facility and a level by the names of syslog(3): `mail.info`.
#[cold]
fn is_priority(word: &[u8]) -> bool {
    const LEVELS: [&[u8]; 8] = [
        b"emerg", b"alert", b"crit", b"err", b"warn", b"notice", b"info", b"debug",
    ];
    let level = cut(word, b'.').map(|(_, level)| level);
    level.is_some_and(|level| LEVELS.contains(&level) || matches!(level, b"error" | b"warning"))
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
            "Nov 25 00:37:51 mx1 mail.info postfix/smtpd[123]: connect from a[::1]",
            "Nov 25 00:37:51 mx1 mail.warning postfix/smtpd: connect from a[::1]",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd 123 - - connect from a[::1]",
            "<22>1 2026-11-25T00:37:51Z mx1 postfix/smtpd 123 id [a b=\"] \\\"\"][c] \u{feff}connect from a[::1]",
        ] {
            assert_eq!(parts(text), expected, "{text}");
        }
    }

    #[test]
    fn a_line_without_a_host_has_its_program_and_message() {
        for (program, expected) in [
            ("postfix/smtpd[123]: x", ("", "postfix/smtpd", "x")),
            ("mail.notice sm-mta[1]: x", ("", "sm-mta", "x")),
            ("postfix/smtpd: x: y", ("", "postfix/smtpd", "x: y")),
            ("kernel: [1.0] x: y", ("", "kernel", "[1.0] x: y")),
            ("postfix/smtpd[123]: ", ("", "postfix/smtpd", "")),
            // Something else than a priority stays what it was.
            ("mx sudo pam[1]: x", ("mx", "sudo", "x")),
            ("mx a.b postfix/smtpd[1]: x", ("mx", "a.b", "x")),
        ] {
            let (host, tag, body) = expected;
            let expected = Some((host.to_owned(), tag.to_owned(), body.to_owned()));
            assert_eq!(
                parts(&format!("Nov 25 00:37:51 {program}")),
                expected,
                "{program}"
            );
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
