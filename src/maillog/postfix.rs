//! What Postfix writes. Formats: the sources of Postfix 3.7 (`log_adhoc.c`, `qmgr_active.c`,
//! `smtpd.c`, `smtpd_check.c`, `cleanup_message.c`, `pickup.c`); they have not changed since 2.3.

use super::line::cut;
use super::record::{Destination, Entrance, Outcome, Record, bracketed, ip, is_loopback};

/// Returns the instance (`postfix`, `postfix-out`) and the daemon (`smtpd`) of a program name, or
/// `None` when it is none of Postfix.
#[inline]
pub(crate) fn program(tag: &[u8]) -> Option<(&[u8], &[u8])> {
    let slash = memchr::memrchr(b'/', tag)?;
    let daemon = tag.get(slash + 1..)?;
    let known = matches!(
        daemon,
        b"smtpd"
            | b"smtp"
            | b"lmtp"
            | b"qmgr"
            | b"cleanup"
            | b"pickup"
            | b"local"
            | b"virtual"
            | b"pipe"
            | b"error"
            | b"discard"
            | b"bounce"
            | b"trivial-rewrite"
            | b"anvil"
            | b"scache"
            | b"master"
            | b"postscreen"
            | b"oqmgr"
            | b"nqmgr"
            | b"relay"
            | b"retry"
            | b"tlsmgr"
            | b"tlsproxy"
            | b"verify"
            | b"proxymap"
            | b"flush"
            | b"showq"
            | b"qmqpd"
            | b"dnsblog"
            | b"postfix-script"
            | b"spawn"
            | b"postlogd"
            | b"sendmail"
            | b"postdrop"
            | b"postqueue"
            | b"postsuper"
            | b"defer"
            | b"postalias"
            | b"postmap"
    );
    if !known {
        return None;
    }
    let instance = memchr::memchr(b'/', tag).and_then(|end| tag.get(..end))?;
    Some((instance, daemon))
}

/// Returns what a line of `daemon` says. `tag` is the whole program name.
#[inline]
pub(crate) fn parse<'l>(tag: &[u8], daemon: &[u8], body: &'l [u8]) -> Record<'l> {
    match daemon {
        b"smtpd" | b"qmqpd" => smtpd(tag, body),
        b"qmgr" | b"oqmgr" | b"nqmgr" => {
            with_id(body).map_or(Record::Nothing, |(id, rest)| qmgr(id, rest))
        }
        b"cleanup" => with_id(body).map_or(Record::Nothing, |(id, rest)| cleanup(id, rest)),
        b"pickup" => with_id(body).map_or(Record::Nothing, |(id, rest)| {
            if rest.starts_with(b"uid=") {
                Record::Client {
                    id,
                    entrance: Entrance::Local,
                    peer: None,
                    ip: None,
                    login: None,
                }
            } else {
                Record::Nothing
            }
        }),
        b"smtp" | b"lmtp" | b"local" | b"virtual" | b"pipe" | b"error" | b"discard" | b"relay"
        | b"retry" | b"defer" => {
            with_id(body).map_or(Record::Nothing, |(id, rest)| agent(daemon, id, rest))
        }
        _ => Record::Nothing,
    }
}

/// Splits `4D8A7C0123: rest`. Short ids are upper-case hexadecimal, long ones
/// (`enable_long_queue_ids`) digits and consonants, so `warning:` and `NOQUEUE:` are none.
#[inline]
pub(crate) fn with_id(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut hexadecimal = true;
    let mut long = true;
    let mut length = 0;
    for byte in body.iter().take(33) {
        match byte {
            b'0'..=b'9' | b'B'..=b'D' | b'F' => {}
            b'A' | b'E' => long = false,
            b'G'..=b'Z' if !matches!(byte, b'I' | b'O' | b'U') => hexadecimal = false,
            b'b'..=b'z' if !matches!(byte, b'e' | b'i' | b'o' | b'u') => hexadecimal = false,
            b':' => break,
            _ => return None,
        }
        length += 1;
    }
    let (id, rest) = body.split_at_checked(length)?;
    let rest = rest.strip_prefix(b": ")?;
    (length >= 5 && (hexadecimal || long)).then_some((id, rest))
}

fn entrance(tag: &[u8]) -> Entrance {
    // The names of the services in the master.cf that Postfix ships.
    let is_submission = memchr::memmem::find(tag, b"/submission").is_some()
        || memchr::memmem::find(tag, b"/smtps/").is_some();
    if is_submission {
        Entrance::Submission
    } else {
        Entrance::Smtp
    }
}

fn smtpd<'l>(tag: &[u8], body: &'l [u8]) -> Record<'l> {
    // By far the most lines: connect, disconnect, lost connection, warning.
    if let Some((id, rest)) = with_id(body) {
        if let Some(client) = rest.strip_prefix(b"client=") {
            return client_of(tag, id, client);
        }
        return refused(tag, Some(id), rest);
    }
    match body.strip_prefix(b"NOQUEUE: ") {
        Some(rest) => refused(tag, None, rest),
        None => Record::Nothing,
    }
}

fn client_of<'l>(tag: &[u8], id: &'l [u8], text: &'l [u8]) -> Record<'l> {
    let (client, mut rest) = split(text);
    let (mut login, mut original) = (None, None);
    while !rest.is_empty() {
        let (field, next) = split(rest);
        if let Some(name) = field.strip_prefix(b"sasl_username=") {
            login = Some(name).filter(|name| !name.is_empty());
        } else if let Some(client) = field.strip_prefix(b"orig_client=") {
            original = Some(client);
        }
        rest = next;
    }
    Record::Client {
        id,
        entrance: entrance(tag),
        peer: ip(client),
        ip: ip(original.unwrap_or(client)),
        login,
    }
}

/// `reject: RCPT from host[192.0.2.1]: 550 …; from=<a@b> to=<c@d> proto=ESMTP helo=<e>`.
fn refused<'l>(tag: &[u8], id: Option<&'l [u8]>, rest: &'l [u8]) -> Record<'l> {
    let Some((_, rest)) = rest
        .strip_prefix(b"reject: RCPT from ")
        .or_else(|| rest.strip_prefix(b"milter-reject: RCPT from "))
        .map(|rest| ((), rest))
    else {
        return Record::Nothing;
    };
    let Some((client, rest)) = cut(rest, b' ') else {
        return Record::Truncated;
    };
    let parts = || {
        let at = memchr::memmem::find(rest, b"; from=<")?;
        let (sender, rest) = bracketed(rest.get(at + 7..)?)?;
        let (recipient, rest) = bracketed(rest.strip_prefix(b" to=")?)?;
        Some((sender, recipient, rest))
    };
    let Some((sender, recipient, rest)) = parts() else {
        return Record::Truncated;
    };
    let login = memchr::memmem::find(rest, b" sasl_username=<")
        .and_then(|at| bracketed(rest.get(at + 15..)?))
        .map(|(name, _)| name);
    Record::Refused {
        id,
        entrance: entrance(tag),
        ip: ip(client),
        login,
        sender: Some(sender),
        recipient,
    }
}

fn qmgr<'l>(id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    if rest == b"removed" {
        return Record::Removed { id };
    }
    let Some(rest) = rest.strip_prefix(b"from=") else {
        return Record::Nothing;
    };
    let Some((sender, rest)) = bracketed(rest) else {
        return Record::Truncated;
    };
    let recipients = memchr::memmem::find(rest, b"nrcpt=")
        .and_then(|at| rest.get(at + 6..))
        .map_or(0, number);
    Record::From {
        id,
        sender,
        recipients,
        message_id: None,
        entrance: None,
        login_at: None,
    }
}

fn cleanup<'l>(id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    match rest.strip_prefix(b"message-id=") {
        Some(message_id) => Record::MessageId { id, message_id },
        None => Record::Nothing,
    }
}

/// `to=<a@b>, orig_to=<c@d>, relay=…, delay=…, delays=…, dsn=2.0.0, status=sent (…)`.
fn agent<'l>(daemon: &[u8], id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    let Some(rest) = rest.strip_prefix(b"to=") else {
        return Record::Nothing;
    };
    delivery(daemon, id, rest).unwrap_or(Record::Truncated)
}

fn delivery<'l>(daemon: &[u8], id: &'l [u8], rest: &'l [u8]) -> Option<Record<'l>> {
    let (recipients, rest) = bracketed(rest)?;
    let rest = rest.strip_prefix(b", ")?;
    let (original, rest) = match rest.strip_prefix(b"orig_to=") {
        Some(rest) => {
            let (original, rest) = bracketed(rest)?;
            (Some(original), rest.strip_prefix(b", ")?)
        }
        None => (None, rest),
    };
    let (relay, mut rest) = split(rest.strip_prefix(b"relay=")?);
    let status = loop {
        if let Some(status) = rest.strip_prefix(b"status=") {
            break status;
        }
        let (_, next) = split(rest);
        if next.is_empty() {
            return None;
        }
        rest = next;
    };
    let word = status.split(|byte| *byte == b' ').next()?;
    let outcome = match word {
        b"sent" => Outcome::Sent,
        b"deferred" | b"SOFTBOUNCE" => Outcome::Deferred,
        b"bounced" | b"expired" => Outcome::Bounced,
        // Address probes: nobody wrote a mail.
        b"deliverable" | b"undeliverable" => return Some(Record::Nothing),
        _ => return None,
    };
    let destination = match daemon {
        _ if relay == b"none" => Destination::Nobody,
        b"smtp" | b"relay" if is_loopback(relay) => Destination::Loopback,
        b"smtp" | b"relay" => Destination::Outside,
        b"lmtp" if is_loopback(relay) && memchr::memmem::find(status, b"queued as ").is_some() => {
            Destination::Loopback
        }
        b"error" | b"retry" | b"discard" | b"defer" => Destination::Nobody,
        _ => Destination::Local,
    };
    Some(Record::To {
        id,
        recipients,
        original,
        relay,
        destination,
        outcome,
    })
}

/// Splits around the first `, `; the rest is empty when there is none.
#[inline]
fn split(text: &[u8]) -> (&[u8], &[u8]) {
    let mut from = 0;
    while let Some(at) = text.get(from..).and_then(|rest| memchr::memchr(b',', rest)) {
        let at = from + at;
        if text.get(at + 1) == Some(&b' ') {
            return (
                text.get(..at).unwrap_or_default(),
                text.get(at + 2..).unwrap_or_default(),
            );
        }
        from = at + 1;
    }
    (text, &[])
}

fn number(text: &[u8]) -> u32 {
    let end = text
        .iter()
        .take(9)
        .position(|byte| !byte.is_ascii_digit())
        .unwrap_or(text.len().min(9));
    (text
        .get(..end)
        .and_then(|digits| std::str::from_utf8(digits).ok()))
    .and_then(|digits| digits.parse().ok())
    .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read<'l>(tag: &'l str, body: &'l str) -> Record<'l> {
        let (_, daemon) = program(tag.as_bytes()).unwrap();
        parse(tag.as_bytes(), daemon, body.as_bytes())
    }

    #[test]
    fn queue_ids_of_both_kinds_and_nothing_else() {
        for id in ["4D8A7C0123", "ABCDE", "4gXkLn3Zj8z2Rt", "3Pt2mN2VXxznjll"] {
            let line = format!("{id}: removed");
            assert_eq!(
                with_id(line.as_bytes()),
                Some((id.as_bytes(), &b"removed"[..])),
                "{id}"
            );
        }
        for line in [
            "warning: x",
            "NOQUEUE: reject",
            "fatal: x",
            "connect from x",
            "statistics: x",
            "AB: x",
            "ABCDE:",
            "ABCDE",
            "",
        ] {
            assert_eq!(with_id(line.as_bytes()), None, "{line}");
        }
    }

    #[test]
    fn instances_and_services_are_told_apart_from_other_programs() {
        let of = |tag: &'static str| program(tag.as_bytes());
        assert_eq!(of("postfix/smtpd"), Some((&b"postfix"[..], &b"smtpd"[..])));
        assert_eq!(
            of("postfix-out/smtp"),
            Some((&b"postfix-out"[..], &b"smtp"[..]))
        );
        assert_eq!(
            of("postfix/submission/smtpd"),
            Some((&b"postfix"[..], &b"smtpd"[..]))
        );
        assert_eq!(of("dovecot/imap"), None);
        assert_eq!(of("sshd"), None);
    }

    #[test]
    fn a_delivery_has_its_recipient_its_origin_and_its_outcome() {
        assert_eq!(
            read(
                "postfix/smtp",
                "4D8A7C0123: to=<carl@army.ml>, orig_to=<carl>, relay=mx.army.ml[192.0.2.7]:25, conn_use=2, delay=1.2, delays=0/0/1/0.2, dsn=2.0.0, status=sent (250 2.0.0 Ok: queued as 1, status=bounced)"
            ),
            Record::To {
                id: b"4D8A7C0123",
                recipients: b"carl@army.ml",
                original: Some(b"carl"),
                relay: b"mx.army.ml[192.0.2.7]:25",
                destination: Destination::Outside,
                outcome: Outcome::Sent,
            }
        );
        let cases = [
            (
                "postfix/smtp",
                "127.0.0.1[127.0.0.1]:10024",
                "sent (x)",
                Destination::Loopback,
                Outcome::Sent,
            ),
            (
                "postfix/lmtp",
                "mx[private/dovecot-lmtp]",
                "sent (x)",
                Destination::Local,
                Outcome::Sent,
            ),
            (
                "postfix/local",
                "local",
                "sent (delivered to mailbox)",
                Destination::Local,
                Outcome::Sent,
            ),
            (
                "postfix/smtp",
                "none",
                "deferred (x)",
                Destination::Nobody,
                Outcome::Deferred,
            ),
            (
                "postfix/error",
                "none",
                "bounced (x)",
                Destination::Nobody,
                Outcome::Bounced,
            ),
        ];
        for (tag, relay, status, destination, outcome) in cases {
            let body = format!(
                "ABCDE: to=<a@b.example>, relay={relay}, delay=0, delays=0/0/0/0, dsn=2.0.0, status={status}"
            );
            let expected = Record::To {
                id: b"ABCDE",
                recipients: b"a@b.example",
                original: None,
                relay: relay.as_bytes(),
                destination,
                outcome,
            };
            assert_eq!(read(tag, &body), expected, "{body}");
        }
    }

    #[test]
    fn a_client_has_its_login_and_who_came_before_the_filter() {
        assert_eq!(
            read(
                "postfix/submission/smtpd",
                "ABCDE: client=pc[192.0.2.9], sasl_method=PLAIN, sasl_username=anna@example.org"
            ),
            Record::Client {
                id: b"ABCDE",
                entrance: Entrance::Submission,
                peer: "192.0.2.9".parse().ok(),
                ip: "192.0.2.9".parse().ok(),
                login: Some(b"anna@example.org"),
            }
        );
        assert_eq!(
            read(
                "postfix/smtpd",
                "ABCDE: client=localhost[127.0.0.1], orig_queue_id=FEDCBA, orig_client=pc[192.0.2.9]"
            ),
            Record::Client {
                id: b"ABCDE",
                entrance: Entrance::Smtp,
                peer: "127.0.0.1".parse().ok(),
                ip: "192.0.2.9".parse().ok(),
                login: None,
            }
        );
    }

    #[test]
    fn a_refused_recipient_is_read_whoever_refused_it() {
        for verb in ["reject", "milter-reject"] {
            let body = format!(
                "NOQUEUE: {verb}: RCPT from pc[192.0.2.9]: 550 5.7.1 <carl@army.ml>: no; from=<anna@example.org> to=<carl@army.ml> proto=ESMTP helo=<pc> sasl_username=<anna>"
            );
            assert_eq!(
                read("postfix/smtpd", &body),
                Record::Refused {
                    id: None,
                    entrance: Entrance::Smtp,
                    ip: "192.0.2.9".parse().ok(),
                    login: Some(b"anna"),
                    sender: Some(b"anna@example.org"),
                    recipient: b"carl@army.ml",
                }
            );
        }
        assert_eq!(
            read(
                "postfix/smtpd",
                "NOQUEUE: reject: CONNECT from x[192.0.2.1]: 554"
            ),
            Record::Nothing
        );
    }

    #[test]
    fn a_line_cut_off_anywhere_is_truncated_or_nothing_but_never_a_delivery() {
        let whole = "ABCDE: to=<carl@army.ml>, relay=mx[192.0.2.7]:25, delay=1.2, delays=0/0/1/0.2, dsn=2.0.0, status=sent";
        for end in 0..whole.len() {
            let record = read("postfix/smtp", whole.get(..end).unwrap_or_default());
            assert!(
                matches!(record, Record::Truncated | Record::Nothing),
                "{record:?}"
            );
        }
    }
}
