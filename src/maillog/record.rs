//! What one line says about a message, whichever MTA wrote it.

use std::net::IpAddr;

/// What became of a recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Outcome {
    /// Handed on: to another host, to a mailbox, to a program.
    Sent,
    /// To be tried again.
    Deferred,
    /// Given up; the sender is told.
    Bounced,
    /// Refused while it was offered, so it never got a place in the queue.
    Refused,
}

impl Outcome {
    /// Returns whether no further line about the recipient is to be expected.
    pub fn is_final(self) -> bool {
        self != Outcome::Deferred
    }
}

/// For how long a recipient is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lasting {
    /// The client is to try again (4xx).
    ForNow,
    /// It is not (5xx).
    ForGood,
}

impl Lasting {
    /// Returns what a reply means.
    pub(crate) fn of(reply: &[u8]) -> Lasting {
        if reply.first() == Some(&b'4') {
            Lasting::ForNow
        } else {
            Lasting::ForGood
        }
    }
}

/// Whom a recipient was handed to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Destination {
    /// Another host.
    Outside,
    /// A filter on this host, which gives the message back: the next hop is in this log too.
    Loopback,
    /// A mailbox or program on this host.
    Local,
    /// Nobody.
    Nobody,
}

/// How a message came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Entrance {
    /// The log does not say: its line is before the beginning of the log.
    #[default]
    Unknown,
    /// By SMTP.
    Smtp,
    /// By SMTP through a port of its own for senders (`postfix/submission/smtpd`).
    Submission,
    /// By sendmail(1).
    Local,
}

/// Who brought a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Client<'l> {
    pub(crate) entrance: Entrance,
    /// Who connected.
    pub(crate) peer: Option<IpAddr>,
    /// Who connected to the hop before, told by a content filter (XFORWARD); else `peer`.
    pub(crate) ip: Option<IpAddr>,
    pub(crate) login: Option<&'l [u8]>,
}

/// What one line says about a message.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Record<'l> {
    /// Postfix begins a message: who brings it. Of each message there is one such line at most.
    Begun { id: &'l [u8], client: Client<'l> },
    /// Who brought a message of Sendmail, which may be under way.
    Client { id: &'l [u8], client: Client<'l> },
    /// Its Message-ID.
    MessageId { id: &'l [u8], message_id: &'l [u8] },
    /// Its envelope sender, as Postfix's queue manager or Sendmail tells it.
    From {
        id: &'l [u8],
        sender: &'l [u8],
        /// Recipients in the envelope; 0 when not told.
        recipients: u32,
        message_id: Option<&'l [u8]>,
        /// Where it came from, when the same line says so.
        entrance: Option<(Entrance, Option<IpAddr>)>,
        /// The process that took it in from a client that had logged in.
        login_at: Option<u32>,
    },
    /// Somebody logged in and has sent no message yet.
    Login { ip: Option<IpAddr>, login: &'l [u8] },
    /// What became of recipients.
    To {
        id: &'l [u8],
        /// One address, or several with commas between them (Sendmail).
        recipients: &'l [u8],
        original: Option<&'l [u8]>,
        relay: &'l [u8],
        destination: Destination,
        outcome: Outcome,
    },
    /// A recipient was refused at RCPT.
    Refused {
        /// `None` before the message has a queue id. Sendmail tells the sender later, with the
        /// same id.
        id: Option<&'l [u8]>,
        entrance: Entrance,
        ip: Option<IpAddr>,
        login: Option<&'l [u8]>,
        sender: Option<&'l [u8]>,
        recipient: &'l [u8],
        lasting: Lasting,
    },
    /// It left the queue.
    Removed { id: &'l [u8] },
    /// Understood, but nothing a report needs.
    Nothing,
    /// Of this MTA, but cut off within what a report needs.
    Truncated,
}

/// Splits `<address>…` into the address and what follows; a `>` in a quoted local part does
/// not end it. `None` when the end is missing.
#[inline]
pub(crate) fn bracketed(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let inner = text.strip_prefix(b"<")?;
    let at = memchr::memchr2(b'>', b'"', inner)?;
    let end = if inner.get(at) == Some(&b'>') {
        at
    } else {
        quoted_end(inner)?
    };
    Some((inner.get(..end)?, inner.get(end + 1..)?))
}

fn quoted_end(inner: &[u8]) -> Option<usize> {
    let (mut quoted, mut escaped) = (false, false);
    inner.iter().position(|byte| {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b'>' => return !quoted,
            _ => {}
        }
        false
    })
}

/// Returns the address in `name[192.0.2.1]` or `name [IPv6:2001:db8::1]`: what stands in the
/// last brackets.
pub(crate) fn ip(host: &[u8]) -> Option<IpAddr> {
    let open = memchr::memrchr(b'[', host)?;
    let inner = host.get(open + 1..)?;
    let inner = inner.get(..memchr::memchr(b']', inner)?)?;
    let inner = inner.strip_prefix(b"IPv6:").unwrap_or(inner);
    std::str::from_utf8(inner).ok()?.parse().ok()
}

/// Returns whether `relay` is this host itself.
pub(crate) fn is_loopback(relay: &[u8]) -> bool {
    // A name may begin like it, or be forged: the address decides where there is one.
    if let Some(ip) = ip(relay) {
        return ip.to_canonical().is_loopback();
    }
    let end = relay.iter().position(|octet| b"[: ".contains(octet));
    let name = relay.get(..end.unwrap_or(relay.len())).unwrap_or(relay);
    let name = name.strip_suffix(b".").unwrap_or(name);
    [&b"localhost"[..], b"localhost.localdomain"].contains(&name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bracket_in_a_quoted_local_part_does_not_end_the_address() {
        let cases: [(&str, Option<(&str, &str)>); 5] = [
            ("<a@b>, x", Some(("a@b", ", x"))),
            ("<\"a>, b\"@c>, x", Some(("\"a>, b\"@c", ", x"))),
            ("<\"a\\\">\"@c> x", Some(("\"a\\\">\"@c", " x"))),
            ("<>", Some(("", ""))),
            ("<\"a>", None),
        ];
        for (text, expected) in cases {
            let expected = expected.map(|(a, b)| (a.as_bytes(), b.as_bytes()));
            assert_eq!(bracketed(text.as_bytes()), expected, "{text}");
        }
    }

    #[test]
    fn clients_have_addresses_of_both_families() {
        assert_eq!(ip(b"a.example[192.0.2.1]:25"), "192.0.2.1".parse().ok());
        assert_eq!(ip(b"a [IPv6:2001:db8::1]"), "2001:db8::1".parse().ok());
        assert_eq!(ip(b"unknown[unknown]"), None);
        assert!(is_loopback(b"127.0.0.1[127.0.0.1]:10024"));
        assert!(is_loopback(b"localhost[::1]:10024"));
        assert!(is_loopback(b"localhost.") && is_loopback(b"localhost:10024"));
        assert!(!is_loopback(b"mx.example[192.0.2.1]:25"));
        assert!(!is_loopback(b"localhost.army.ml[192.0.2.1]:25"));
        assert!(!is_loopback(b"localhost.army.ml"));
    }
}
