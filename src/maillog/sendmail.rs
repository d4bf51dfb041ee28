//! What Sendmail writes. Formats: the sources of Sendmail 8.17 (`logsender` in `envelope.c`,
//! `logdelivery` in `deliver.c`, `srvrsmtp.c`, `milter.c`).

use std::net::IpAddr;

use super::line::cut;
use super::record::{
    Client, Destination, Entrance, Lasting, Outcome, Record, bracketed, ip, is_loopback,
};

/// Returns whether a program is Sendmail under one of its names: `sendmail`, `sm-mta`,
/// `sm-msp-queue`.
#[inline]
pub(crate) fn is_program(tag: &[u8]) -> bool {
    tag.starts_with(b"sm-") || tag.starts_with(b"sendmail")
}

/// Returns what a line says.
pub(crate) fn parse(body: &[u8]) -> Record<'_> {
    let Some((id, rest)) = with_id(body) else {
        return login(body).unwrap_or(if is_cut(body) {
            Record::Truncated
        } else {
            Record::Nothing
        });
    };
    let record = if let Some(rest) = rest.strip_prefix(b"from=") {
        from(id, rest)
    } else if let Some(rest) = rest.strip_prefix(b"to=") {
        delivery(id, rest)
    } else if rest.starts_with(b"AUTH=server") {
        Some(authenticated(id, rest))
    } else if let Some(rest) = rest.strip_prefix(b"Milter: to=") {
        milter(id, rest)
    } else if let Some(rest) = rest.strip_prefix(b"ruleset=check_rcpt, arg1=") {
        ruleset(id, rest)
    } else if NEEDED.iter().any(|field| field.starts_with(rest)) {
        None
    } else {
        Some(notice(rest).unwrap_or(Record::Nothing))
    };
    record.unwrap_or(Record::Truncated)
}

/// How the lines begin, behind the queue id, that a report needs.
const NEEDED: [&[u8]; 5] = [
    b"from=",
    b"to=",
    LOGIN,
    b"Milter: to=",
    b"ruleset=check_rcpt, arg1=",
];
/// How a line about a login begins.
const LOGIN: &[u8] = b"AUTH=server, ";

/// Returns whether a line without a queue id ends within it, right behind it, or within a login.
fn is_cut(body: &[u8]) -> bool {
    let id = body.strip_suffix(b":").unwrap_or(body);
    id.len() < 33 && id.iter().all(u8::is_ascii_alphanumeric)
        || LOGIN.starts_with(body)
        || body.starts_with(LOGIN)
}

/// Splits `4APDc7lq012345: rest`: eight characters of time and a process id of five or more
/// digits.
fn with_id(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = body.iter().take(33).position(|byte| *byte == b':')?;
    let (id, rest) = body.split_at_checked(length)?;
    let (time, process) = id.split_at_checked(8)?;
    let is_id = process.len() >= 5
        && time.iter().all(u8::is_ascii_alphanumeric)
        && process.iter().all(u8::is_ascii_digit);
    let rest = rest.strip_prefix(b": ")?;
    is_id.then_some((id, rest))
}

/// The value of `name=` among the fields of `text`, up to the next `, `.
fn field<'l>(text: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let mut from = 0;
    // At most a few dozen fields stand in a line.
    while let Some(at) = memchr::memmem::find(text.get(from..)?, name) {
        let start = from + at;
        let value = text.get(start + name.len()..)?;
        if start == 0 || text.get(..start)?.ends_with(b", ") {
            let end = memchr::memmem::find(value, b", ").unwrap_or(value.len());
            return value.get(..end);
        }
        from = start + name.len();
    }
    None
}

/// The same of the last field with this name: what stands behind the Message-ID cannot be written
/// by a stranger, who may write `, relay=` into that.
fn last_field<'l>(text: &'l [u8], name: &[u8]) -> Option<&'l [u8]> {
    let mut end = text.len();
    loop {
        let start = memchr::memmem::rfind(text.get(..end)?, name)?;
        if start == 0 || text.get(..start)?.ends_with(b", ") {
            return field(text.get(start..)?, name);
        }
        end = start;
    }
}

fn from<'l>(id: &'l [u8], text: &'l [u8]) -> Option<Record<'l>> {
    let (sender, rest) = match bracketed(text) {
        Some((sender, rest)) => (sender, rest.strip_prefix(b", ")?),
        // From sendmail(1): a bare name.
        None => {
            let end = memchr::memmem::find(text, b", ")?;
            (text.get(..end)?, text.get(end + 2..)?)
        }
    };
    let relay = last_field(rest, b"relay=")?;
    if relay.contains(&b'[') && !relay.contains(&b']') {
        return None;
    }
    // `root@localhost` stands for the person who called sendmail(1).
    let entrance = if memchr::memchr(b'@', relay).is_some() && ip(relay).is_none() {
        Entrance::Local
    } else if last_field(rest, b"daemon=").is_some_and(|name| name.starts_with(b"MSA")) {
        Entrance::Submission
    } else {
        Entrance::Smtp
    };
    let recipients = field(rest, b"nrcpts=")
        .and_then(|digits| std::str::from_utf8(digits).ok())
        .and_then(|digits| digits.parse().ok())
        .unwrap_or(0);
    // RFC 3848: `ESMTPA` and `ESMTPSA` are those with a login.
    let login_at = last_field(rest, b"proto=")
        .filter(|protocol| protocol.ends_with(b"A"))
        .and_then(|_| number(id.get(8..)?));
    Some(Record::From {
        id,
        sender,
        recipients,
        message_id: field(rest, b"msgid="),
        entrance: Some((entrance, ip(relay))),
        login_at,
    })
}

/// `to=<a@b>,<c@d>, ctladdr=…, delay=…, mailer=esmtp, relay=mx.b. [192.0.2.7], dsn=2.0.0,
/// stat=Sent (…)`.
fn delivery<'l>(id: &'l [u8], text: &'l [u8]) -> Option<Record<'l>> {
    let (recipients, rest) = list(text)?;
    let status = memchr::memmem::find(rest, b", stat=").and_then(|at| rest.get(at + 7..))?;
    let mailer = field(rest, b"mailer=").unwrap_or_default();
    let relay = field(rest, b"relay=").unwrap_or_default();
    let dsn = field(rest, b"dsn=").unwrap_or_default();
    let outcome = if status.starts_with(b"Sent") {
        Outcome::Sent
    } else if status.starts_with(b"Deferred") || status.starts_with(b"queued") {
        Outcome::Deferred
    } else {
        match dsn.first() {
            Some(b'2') => Outcome::Sent,
            Some(b'5') => Outcome::Bounced,
            _ => Outcome::Deferred,
        }
    };
    let is_smtp = mailer.ends_with(b"smtp") || matches!(mailer, b"relay" | b"smtp8" | b"dsmtp");
    let destination = match mailer {
        b"" => Destination::Nobody,
        _ if !is_smtp => Destination::Local,
        _ if is_loopback(relay) => Destination::Loopback,
        _ => Destination::Outside,
    };
    Some(Record::To {
        id,
        recipients,
        original: None,
        relay,
        destination,
        outcome,
    })
}

/// Splits the addresses behind `to=` from the fields. Between addresses there is a comma without
/// a space.
fn list(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut quoted, mut escaped) = (false, false);
    for (at, byte) in text.iter().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => quoted = !quoted,
            b',' if !quoted && text.get(at + 1) == Some(&b' ') => {
                return Some((text.get(..at)?, text.get(at..)?));
            }
            _ => {}
        }
    }
    None
}

/// Returns the addresses of a list, without brackets.
pub(crate) fn addresses(list: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = list;
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let (mut quoted, mut escaped) = (false, false);
        let end = rest.iter().position(|byte| {
            match byte {
                _ if escaped => escaped = false,
                b'\\' => escaped = true,
                b'"' => quoted = !quoted,
                b',' => return !quoted,
                _ => {}
            }
            false
        });
        let (address, next) = rest.split_at_checked(end.unwrap_or(rest.len()))?;
        rest = next.get(1..).unwrap_or_default();
        let inner = address
            .strip_prefix(b"<")
            .and_then(|inner| inner.strip_suffix(b">"));
        Some(inner.unwrap_or(address))
    })
}

/// `4APDc7lm012346: DSN: User unknown`, behind the queue id of the message it is about: a notice to
/// its sender. No other line says that its own sender is the null one.
fn notice(rest: &[u8]) -> Option<Record<'_>> {
    let (id, _) = with_id(rest)?;
    Some(Record::From {
        id,
        sender: b"",
        recipients: 1,
        message_id: None,
        entrance: Some((Entrance::Local, None)),
        login_at: None,
    })
}

/// Returns the number that `text` begins with.
pub(crate) fn number(text: &[u8]) -> Option<u32> {
    let end = text.iter().take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(text.get(..end)?).ok()?.parse().ok()
}

/// `AUTH=server, relay=pc [192.0.2.9], authid=anna, mech=PLAIN, bits=0`, as 8.17 writes it: before
/// the first message there is no queue id.
fn login(body: &[u8]) -> Option<Record<'_>> {
    let rest = body.strip_prefix(LOGIN)?;
    Some(Record::Login {
        ip: field(rest, b"relay=").and_then(ip),
        login: field(rest, b"authid=")?,
    })
}

/// The same behind a queue id, from the second message of a connection on.
fn authenticated<'l>(id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    let peer = field(rest, b"relay=").and_then(ip);
    let client = Client {
        entrance: Entrance::Smtp,
        peer,
        ip: peer,
        login: field(rest, b"authid="),
    };
    Record::Client { id, client }
}

/// `<a@b>, reject=550 5.7.1 …`.
fn milter<'l>(id: &'l [u8], rest: &'l [u8]) -> Option<Record<'l>> {
    let (recipient, rest) = bracketed(rest)?;
    let Some(reply) = rest.strip_prefix(b", reject=") else {
        let is_cut = b", reject=".starts_with(rest);
        return (!is_cut).then_some(Record::Nothing);
    };
    refused(id, None, recipient, reply)
}

/// `<a@b>, relay=pc [192.0.2.9], reject=550 5.7.1 …`.
fn ruleset<'l>(id: &'l [u8], rest: &'l [u8]) -> Option<Record<'l>> {
    let (recipient, rest) = bracketed(rest)?;
    let (_, rest) = cut(rest, b' ')?;
    let client = field(rest, b"relay=").and_then(ip);
    match field(rest, b"reject=") {
        Some(reply) => refused(id, client, recipient, reply),
        // What a ruleset may do besides; without any of these the line is cut off.
        None => [&b"quarantine="[..], b"discard"]
            .iter()
            .any(|other| memchr::memmem::find(rest, other).is_some())
            .then_some(Record::Nothing),
    }
}

fn refused<'l>(
    id: &'l [u8],
    ip: Option<IpAddr>,
    recipient: &'l [u8],
    reply: &[u8],
) -> Option<Record<'l>> {
    // Whether for good or for now tells the first of three digits.
    let is_whole = reply.len() >= 3;
    is_whole.then(|| Record::Refused {
        id: Some(id),
        entrance: Entrance::Smtp,
        ip,
        login: None,
        sender: None,
        recipient,
        lasting: Lasting::of(reply),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &[u8] = b"4APDc7lq012345";

    fn read(body: &str) -> Record<'_> {
        parse(body.as_bytes())
    }

    #[test]
    fn a_message_id_does_not_say_whence() {
        let Record::From { entrance, .. } = read(
            "4APDc7lq012345: from=<x@army.ml>, size=9, class=0, nrcpts=1, msgid=<1, relay=[127.0.0.1], daemon=MSA-v4>, proto=ESMTP, daemon=MTA-v4, relay=x [192.0.2.9]",
        ) else {
            panic!("no sender");
        };
        let expected = (Entrance::Smtp, "192.0.2.9".parse().ok());
        assert_eq!(entrance, Some(expected));
    }

    #[test]
    fn the_sender_line_says_who_and_whence() {
        assert_eq!(
            read(
                "4APDc7lq012345: from=<anna@example.org>, size=900, class=0, nrcpts=2, msgid=<1@example.org>, proto=ESMTPSA, daemon=MSA-v4, relay=pc.example.org [192.0.2.9]"
            ),
            Record::From {
                id: ID,
                sender: b"anna@example.org",
                recipients: 2,
                message_id: Some(b"<1@example.org>"),
                entrance: Some((Entrance::Submission, "192.0.2.9".parse().ok())),
                login_at: Some(12345),
            }
        );
        assert_eq!(
            read(
                "4APDc7lq012345: from=root, size=900, class=0, nrcpts=1, msgid=<1@example.org>, relay=root@localhost"
            ),
            Record::From {
                id: ID,
                sender: b"root",
                recipients: 1,
                message_id: Some(b"<1@example.org>"),
                entrance: Some((Entrance::Local, None)),
                login_at: None,
            }
        );
    }

    #[test]
    fn several_recipients_share_one_line() {
        let Record::To {
            recipients,
            destination,
            outcome,
            ..
        } = read(
            "4APDc7lq012345: to=<carl@army.ml>,<\"a,b\"@navy.mil>,root, delay=00:00:01, xdelay=00:00:01, mailer=esmtp, pri=120000, relay=mx.army.ml. [192.0.2.7], dsn=2.0.0, stat=Sent (OK, queued)",
        )
        else {
            panic!("no delivery");
        };
        let each: Vec<&[u8]> = addresses(recipients).collect();
        assert_eq!(each, [&b"carl@army.ml"[..], b"\"a,b\"@navy.mil", b"root"]);
        assert_eq!(
            (destination, outcome),
            (Destination::Outside, Outcome::Sent)
        );
    }

    #[test]
    fn outcomes_and_destinations_by_mailer_and_status() {
        let cases = [
            (
                "mailer=local",
                "stat=Sent",
                Destination::Local,
                Outcome::Sent,
            ),
            (
                "mailer=relay, relay=[127.0.0.1] [127.0.0.1], dsn=2.0.0",
                "stat=Sent (x Message accepted for delivery)",
                Destination::Loopback,
                Outcome::Sent,
            ),
            (
                "mailer=esmtp, relay=mx.b. [192.0.2.7], dsn=4.2.0",
                "stat=Deferred: 451 later",
                Destination::Outside,
                Outcome::Deferred,
            ),
            (
                "mailer=esmtp, relay=mx.b. [192.0.2.7], dsn=5.1.1",
                "stat=User unknown",
                Destination::Outside,
                Outcome::Bounced,
            ),
        ];
        for (fields, status, destination, outcome) in cases {
            let body =
                format!("4APDc7lq012345: to=<a@b.example>, delay=00:00:01, {fields}, {status}");
            let Record::To {
                destination: whom,
                outcome: what,
                ..
            } = read(&body)
            else {
                panic!("{body}");
            };
            assert_eq!((whom, what), (destination, outcome), "{body}");
        }
    }

    #[test]
    fn logins_and_refusals_belong_to_their_message() {
        assert_eq!(
            read(
                "4APDc7lq012345: AUTH=server, relay=pc [192.0.2.9], authid=anna, mech=PLAIN, bits=0"
            ),
            Record::Client {
                id: ID,
                client: Client {
                    entrance: Entrance::Smtp,
                    peer: "192.0.2.9".parse().ok(),
                    ip: "192.0.2.9".parse().ok(),
                    login: Some(b"anna"),
                },
            }
        );
        assert_eq!(
            read("AUTH=server, relay=pc [192.0.2.9], authid=anna, mech=PLAIN, bits=0"),
            Record::Login {
                ip: "192.0.2.9".parse().ok(),
                login: b"anna",
            }
        );
        for body in [
            "4APDc7lq012345: Milter: to=<carl@army.ml>, reject=550 5.7.1 <carl@army.ml> not sent",
            "4APDc7lq012345: ruleset=check_rcpt, arg1=<carl@army.ml>, relay=pc, reject=550 5.7.1 no",
        ] {
            assert_eq!(
                read(body),
                refused(ID, None, b"carl@army.ml", b"550").unwrap(),
                "{body}"
            );
        }
    }

    #[test]
    fn a_refusal_is_told_whole_or_not_at_all() {
        for whole in [
            "4APDc7lq012345: Milter: to=<carl@army.ml>, reject=550",
            "4APDc7lq012345: ruleset=check_rcpt, arg1=<carl@army.ml>, relay=pc [192.0.2.9], reject=451",
        ] {
            assert!(matches!(read(whole), Record::Refused { .. }), "{whole}");
            for end in "4APDc7lq012345: ".len()..whole.len() {
                let cut = whole.get(..end).unwrap();
                assert_eq!(read(cut), Record::Truncated, "{cut}");
            }
        }
        for other in ["quarantine=x", "discard"] {
            let body = format!("4APDc7lq012345: ruleset=check_rcpt, arg1=<a@b>, relay=pc, {other}");
            assert_eq!(read(&body), Record::Nothing);
        }
        let from = "4APDc7lq012345: from=<a@b>, size=1, class=0, nrcpts=1, proto=ESMTP, daemon=MTA, relay=pc [192.0.2";
        assert_eq!(read(from), Record::Truncated);
    }

    #[test]
    fn a_notice_has_the_null_sender() {
        assert_eq!(
            read("4APDc7lq012345: 4APDc7lm012346: DSN: User unknown"),
            Record::From {
                id: b"4APDc7lm012346",
                sender: b"",
                recipients: 1,
                message_id: None,
                entrance: Some((Entrance::Local, None)),
                login_at: None,
            }
        );
    }

    #[test]
    fn what_has_no_queue_id_or_no_end_is_no_delivery() {
        for body in [
            "NOQUEUE: connect from x",
            "starting daemon (8.17.1)",
            "4APDc7lq012345: NOQUEUE",
        ] {
            assert_eq!(read(body), Record::Nothing, "{body}");
        }
        for body in [
            "",
            "4APD",
            "4APDc7lq012345",
            "4APDc7lq012345:",
            "4APDc7lq012345: ",
            "4APDc7lq012345: t",
            "AUTH=server",
            "AUTH=server, relay=pc [192.0.2.9], auth",
        ] {
            assert_eq!(read(body), Record::Truncated, "{body}");
        }
        assert_eq!(read("4APDc7lq012345: to=<a@b.exa"), Record::Truncated);
        assert_eq!(
            read("4APDc7lq012345: to=<a@b.example>, delay=1"),
            Record::Truncated
        );
    }
}
