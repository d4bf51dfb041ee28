//! What Postfix writes. Formats: the sources of Postfix 3.7 (`log_adhoc.c`, `qmgr_active.c`,
//! `smtpd.c`, `smtpd_check.c`, `cleanup_message.c`, `pickup.c`, `postsuper.c`); they have not changed since 2.3.

use super::line::cut;
use super::record::{
    Client, Destination, Entrance, Lasting, Outcome, Record, bracketed, ip, is_loopback,
};

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
    let without_id = || without_id(body);
    match daemon {
        b"smtpd" | b"qmqpd" => smtpd(tag, body),
        b"qmgr" | b"oqmgr" | b"nqmgr" => {
            with_id(body).map_or_else(without_id, |(id, rest)| qmgr(id, rest))
        }
        // What the operator deletes.
        b"postsuper" => match with_id(body) {
            Some((id, b"removed")) => Record::Removed { id },
            _ => Record::Nothing,
        },
        b"cleanup" => with_id(body).map_or_else(without_id, |(id, rest)| cleanup(id, rest)),
        b"pickup" => with_id(body).map_or_else(without_id, |(id, rest)| pickup(id, rest)),
        b"smtp" | b"lmtp" | b"local" | b"virtual" | b"pipe" | b"error" | b"discard" | b"relay"
        | b"retry" | b"defer" => {
            with_id(body).map_or_else(without_id, |(id, rest)| agent(daemon, id, rest))
        }
        _ => Record::Nothing,
    }
}

/// Returns what a line says that begins with no queue id.
#[cold]
fn without_id(body: &[u8]) -> Record<'_> {
    unless_cut(is_cut_id(body))
}

/// Returns what a line says that is none of those a report needs, or was cut off before that shows.
fn unless_cut<'l>(is_cut: bool) -> Record<'l> {
    if is_cut {
        Record::Truncated
    } else {
        Record::Nothing
    }
}

/// Returns whether `text` ends within one of these beginnings.
fn is_cut<const N: usize>(text: &[u8], beginnings: [&[u8]; N]) -> bool {
    beginnings
        .iter()
        .any(|beginning| beginning.starts_with(text))
}

/// Returns whether `body` ends within its queue id, or right behind it.
#[inline]
fn is_cut_id(body: &[u8]) -> bool {
    let id = body.strip_suffix(b":").unwrap_or(body);
    let is_of_id = |byte: &u8| ID_CLASSES.get(usize::from(*byte)) != Some(&NOT_OF_ID);
    id.len() < MOST_OF_ID && id.iter().all(is_of_id)
}

/// Splits `4D8A7C0123: rest`. Short ids are upper-case hexadecimal, long ones
/// (`enable_long_queue_ids`) digits and consonants, so `warning:` and `NOQUEUE:` are none.
#[inline]
pub(crate) fn with_id(body: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut classes = 0;
    let mut length = 0;
    for byte in body.iter().take(MOST_OF_ID) {
        let class = *ID_CLASSES.get(usize::from(*byte))?;
        if class == NOT_OF_ID {
            break;
        }
        classes |= class;
        length += 1;
    }
    let (id, rest) = body.split_at_checked(length)?;
    let rest = rest.strip_prefix(b": ")?;
    (length >= 5 && classes != NOT_LONG | NOT_HEXADECIMAL).then_some((id, rest))
}

/// Longer than any queue id.
const MOST_OF_ID: usize = 33;

/// The octet occurs in short queue ids only.
const NOT_LONG: u8 = 1;
/// The octet occurs in long queue ids only.
const NOT_HEXADECIMAL: u8 = 2;
/// The octet occurs in neither.
const NOT_OF_ID: u8 = 4;

/// What an octet says about the queue id it stands in.
const ID_CLASSES: [u8; 256] = {
    let mut classes = [NOT_OF_ID; 256];
    let mut octet = 0;
    while octet < 256 {
        classes[octet] = match octet as u8 {
            b'0'..=b'9' | b'B'..=b'D' | b'F' => 0,
            b'A' | b'E' => NOT_LONG,
            b'I' | b'O' | b'U' | b'a' | b'e' | b'i' | b'o' | b'u' => NOT_OF_ID,
            b'G'..=b'Z' | b'b'..=b'z' => NOT_HEXADECIMAL,
            _ => NOT_OF_ID,
        };
        octet += 1;
    }
    classes
};

fn entrance(tag: &[u8]) -> Entrance {
    // `postfix/smtpd`; other services have another name in between.
    let service = tag.strip_suffix(b"/smtpd").unwrap_or(tag);
    if memchr::memchr(b'/', service).is_none() {
        return Entrance::Smtp;
    }
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
        None => unless_cut(is_cut_id(body) || is_cut(body, [b"NOQUEUE: "])),
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
        if next.is_empty() && memchr::memchr(b'=', field).is_none() {
            return Record::Truncated;
        }
        rest = next;
    }
    // `pc[192.0.2.9]`, `unknown[unknown]`.
    if memchr::memchr(b']', client).is_none() {
        return Record::Truncated;
    }
    let peer = ip(client);
    let client = Client {
        entrance: entrance(tag),
        peer,
        ip: original.map_or(peer, ip),
        login,
    };
    Record::Begun { id, client }
}

/// `reject: RCPT from host[192.0.2.1]: 550 …; from=<a@b> to=<c@d> proto=ESMTP helo=<e>`.
fn refused<'l>(tag: &[u8], id: Option<&'l [u8]>, rest: &'l [u8]) -> Record<'l> {
    let Some(rest) = (rest.strip_prefix(b"reject: RCPT from "))
        .or_else(|| rest.strip_prefix(b"milter-reject: RCPT from "))
    else {
        let needed: [&[u8]; 3] = [
            b"client=",
            b"reject: RCPT from ",
            b"milter-reject: RCPT from ",
        ];
        return unless_cut(is_cut(rest, needed));
    };
    let Some((client, rest)) = cut(rest, b' ') else {
        return Record::Truncated;
    };
    // A client's words may stand in the reply, and in quotes in both addresses. So it is read from
    // its end: `log_whatsup()` of `smtpd_check.c` writes last what a client has least say in.
    let parts = || {
        let end = memchr::memmem::rfind(rest, b" proto=")?;
        let (addresses, circumstances) = rest.split_at_checked(end)?;
        let login = login_behind(circumstances.get(7..)?)?;
        let (sender, recipient) = behind_reply(addresses)?;
        Some((sender, recipient, login))
    };
    let Some((sender, recipient, login)) = parts() else {
        return Record::Truncated;
    };
    Record::Refused {
        id,
        entrance: entrance(tag),
        ip: ip(client),
        login,
        sender: Some(sender),
        recipient,
        lasting: Lasting::of(rest),
    }
}

/// Most places in one line at which the end of the reply is looked for. Postfix cuts its lines at
/// 2 KiB, and no more fit into these.
const MOST_ENDS: usize = 256;

/// Returns sender and recipient in `550 …; from=<a@b> to=<c@d>`: those that fill all from the reply
/// to the end of `text`.
fn behind_reply(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut end = text.len();
    for _ in 0..MOST_ENDS {
        end = memchr::memmem::rfind(text.get(..end)?, b"; from=<")?;
        let pair = || {
            let (sender, rest) = bracketed(text.get(end + 7..)?)?;
            let (recipient, rest) = bracketed(rest.strip_prefix(b" to=")?)?;
            rest.is_empty().then_some((sender, recipient))
        };
        // What begins within the quotes of an address has one quote too many, and is no pair.
        if let Some(pair) = pair() {
            return Some(pair);
        }
    }
    None
}

/// Returns the login in `ESMTP helo=<e> sasl_username=<f>`, the end of a line; `None` when it is not
/// laid out like that.
fn login_behind(text: &[u8]) -> Option<Option<&[u8]>> {
    let end = text.iter().position(|byte| !byte.is_ascii_alphanumeric());
    let mut rest = text.get(end.unwrap_or(text.len())..)?;
    if let Some(name) = rest.strip_prefix(b" helo=<") {
        // Postfix puts `?` for ` <>()\";@` in it (NEUTER_CHARACTERS of `smtpd.c`).
        let end = memchr::memchr3(b' ', b'<', b'>', name)?;
        rest = name.get(end..)?.strip_prefix(b">")?;
    }
    if rest.is_empty() {
        return Some(None);
    }
    let login = rest.strip_prefix(b" sasl_username=<")?.strip_suffix(b">")?;
    // A name holds neither; a client's words in a line that was cut off may.
    memchr::memchr2(b'<', b'>', login)
        .is_none()
        .then_some(Some(login))
}

fn qmgr<'l>(id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    if rest == b"removed" {
        return Record::Removed { id };
    }
    let Some(rest) = rest.strip_prefix(b"from=") else {
        return unless_cut(is_cut(rest, [b"from=", b"removed"]));
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
        None => unless_cut(is_cut(rest, [b"message-id="])),
    }
}

fn pickup<'l>(id: &'l [u8], rest: &[u8]) -> Record<'l> {
    if !rest.starts_with(b"uid=") {
        return unless_cut(is_cut(rest, [b"uid="]));
    }
    let client = Client {
        entrance: Entrance::Local,
        peer: None,
        ip: None,
        login: None,
    };
    Record::Begun { id, client }
}

/// `to=<a@b>, orig_to=<c@d>, relay=…, delay=…, delays=…, dsn=2.0.0, status=sent (…)`.
fn agent<'l>(daemon: &[u8], id: &'l [u8], rest: &'l [u8]) -> Record<'l> {
    let Some(rest) = rest.strip_prefix(b"to=") else {
        return unless_cut(is_cut(rest, [b"to="]));
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
mod tests;
