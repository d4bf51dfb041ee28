//! The delivery status notification (RFC 3464) for a recipient whose time is over.

use std::fmt::Write as _;

use jiff::Timestamp;

use super::Part;
use crate::octets::Octets;

/// What a report says beside the explanation.
#[derive(Clone, Copy, Debug)]
pub struct Bounce<'a> {
    /// Our name, as in EHLO.
    pub reporter: &'a str,
    /// ESMTP arguments of MAIL as received.
    pub sender_args: &'a [Octets],
    /// ESMTP arguments of RCPT as received.
    pub recipient_args: &'a [Octets],
    /// The recipient, `local@domain`, domain in A-labels.
    pub recipient: &'a str,
    /// Why, one line.
    pub why: &'a str,
    /// When the message came.
    pub arrived_at: Timestamp,
    /// Its header block as received.
    pub header: &'a [u8],
}

/// The sender asked for no report about this recipient (RFC 3461, 4.1: NOTIFY without FAILURE).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct NeverBounced;

impl<'a> Bounce<'a> {
    /// Checks that a report may be sent.
    ///
    /// # Errors
    /// The sender asked for none.
    pub fn wanted(self) -> Result<Bounce<'a>, NeverBounced> {
        let failure = |value: &str| {
            (value.split(',')).any(|word| word.trim().eq_ignore_ascii_case("FAILURE"))
        };
        match argument(self.recipient_args, "NOTIFY") {
            Some(value) if !failure(&value) => Err(NeverBounced),
            _ => Ok(self),
        }
    }

    /// Returns the parts of the report: `text`, the status, the header of the message.
    pub(super) fn parts(&self, text: &str) -> [Part; 3] {
        let text = text.replace('\n', "\r\n");
        [
            Part::encoded("text/plain; charset=utf-8", text.as_bytes()),
            Part {
                header: "Content-Type: message/delivery-status\r\n".to_owned(),
                content: self.status(),
            },
            self.message_header(),
        ]
    }

    fn status(&self) -> String {
        let mut status = format!("Reporting-MTA: dns; {}\r\n", self.reporter);
        // Writing to a String cannot fail.
        if let Some(id) = argument(self.sender_args, "ENVID") {
            let _ = write!(status, "Original-Envelope-Id: {}\r\n", decoded(&id));
        }
        let at = self.arrived_at.to_zoned(jiff::tz::TimeZone::UTC);
        let arrived = jiff::fmt::rfc2822::to_string(&at).unwrap_or_default();
        let _ = write!(status, "Arrival-Date: {arrived}\r\n\r\n");
        if let Some(original) = argument(self.recipient_args, "ORCPT") {
            let (kind, address) = original.split_once(';').unwrap_or(("rfc822", &original));
            let _ = write!(
                status,
                "Original-Recipient: {}; {}\r\n",
                plain(kind),
                decoded(address)
            );
        }
        let kind = match self.recipient.is_ascii() {
            true => "rfc822",
            // RFC 6533, 3.
            false => "utf-8",
        };
        let _ = write!(
            status,
            "Final-Recipient: {kind}; {}\r\nAction: failed\r\nStatus: 5.7.1\r\n\
             Diagnostic-Code: X-Straymail; not confirmed in time: {}\r\n",
            plain(self.recipient),
            plain(self.why)
        );
        status
    }

    /// The header block, so that the sender's program finds the message.
    fn message_header(&self) -> Part {
        let kind = "text/rfc822-headers";
        let short = |line: &[u8]| line.len() <= 998;
        let plain = self.header.is_ascii()
            && !self.header.contains(&0)
            && self.header.split(|byte| *byte == b'\n').all(short);
        match std::str::from_utf8(self.header) {
            Ok(text) if plain => Part {
                header: format!("Content-Type: {kind}\r\n"),
                content: text.to_owned(),
            },
            _ => Part::encoded(kind, self.header),
        }
    }
}

/// Returns the value of the ESMTP argument `name`.
fn argument(args: &[Octets], name: &str) -> Option<String> {
    args.iter().find_map(|arg| {
        let (found, value) = std::str::from_utf8(arg.as_bytes()).ok()?.split_once('=')?;
        found.eq_ignore_ascii_case(name).then(|| value.to_owned())
    })
}

/// Returns the text that an xtext (RFC 3461, 4) stands for, on one line.
fn decoded(xtext: &str) -> String {
    let octets = Octets::from_xtext(xtext.as_bytes());
    plain(&String::from_utf8_lossy(octets.as_bytes()))
}

/// Returns `text` on one line of ASCII; other characters as RFC 6533, 3 writes them.
fn plain(text: &str) -> String {
    text.chars().fold(String::new(), |mut out, c| {
        match c {
            ' '..='~' => out.push(c),
            _ => {
                let _ = write!(out, "\\x{{{:X}}}", u32::from(c));
            }
        }
        out
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bounce<'a>(sender_args: &'a [Octets], recipient_args: &'a [Octets]) -> Bounce<'a> {
        Bounce {
            reporter: "mx.site.example",
            sender_args,
            recipient_args,
            recipient: "carl@army.ml",
            why: "did you mean army.mil?",
            arrived_at: Timestamp::UNIX_EPOCH,
            header: b"Subject: plan\r\n",
        }
    }

    #[test]
    fn status_names_both_recipients_and_the_senders_own_id() {
        let sender_args = [Octets::from("ENVID=a+2Bb"), Octets::from("RET=HDRS")];
        let recipient_args = [Octets::from("ORCPT=rfc822;carl@army.ml")];
        assert_eq!(
            bounce(&sender_args, &recipient_args).status(),
            "Reporting-MTA: dns; mx.site.example\r\n\
             Original-Envelope-Id: a+b\r\n\
             Arrival-Date: Thu, 1 Jan 1970 00:00:00 +0000\r\n\r\n\
             Original-Recipient: rfc822; carl@army.ml\r\n\
             Final-Recipient: rfc822; carl@army.ml\r\n\
             Action: failed\r\n\
             Status: 5.7.1\r\n\
             Diagnostic-Code: X-Straymail; not confirmed in time: did you mean army.mil?\r\n"
        );
    }

    #[test]
    fn foreign_text_cannot_add_a_field() {
        let sender_args = [Octets::from("ENVID=x+0D+0AAction:+20delivered+")];
        let status = bounce(&sender_args, &[]).status();
        assert!(
            status.contains("Id: x\\x{D}\\x{A}Action: delivered+\r\n"),
            "{status}"
        );
    }

    #[test]
    fn sender_who_asked_for_no_report_gets_none() {
        for (notify, wanted) in [
            ("NOTIFY=NEVER", false),
            ("NOTIFY=SUCCESS,DELAY", false),
            ("notify=success,failure", true),
        ] {
            let args = [Octets::from(notify)];
            assert_eq!(bounce(&[], &args).wanted().is_ok(), wanted, "{notify}");
        }
    }

    #[test]
    fn header_that_seven_bits_cannot_hold_is_encoded() {
        let raw = b"Subject: Gr\xfc\xdfe\r\n";
        let part = Bounce {
            header: raw,
            ..bounce(&[], &[])
        }
        .message_header();
        assert!(part.header.contains("base64") && part.content.is_ascii());
    }
}
