//! Whether a program wrote a message: nobody is told about such mail, and it decides nothing.
//!
//! RFC 3834 has `Auto-Submitted` for it; older programs, answering machines among them, say it
//! in one of the other fields.

use mail_parser::Message;

/// Fields whose presence alone tells, with what they tell.
const TELLING: [(&str, &str); 10] = [
    ("X-Autoreply", "the message is automatic"),
    ("X-Autorespond", "the message is automatic"),
    ("X-Autoresponder", "the message is automatic"),
    ("List-Id", "the message is of a mailing list"),
    ("List-Post", "the message is of a mailing list"),
    ("List-Unsubscribe", "the message is of a mailing list"),
    ("List-Subscribe", "the message is of a mailing list"),
    ("List-Help", "the message is of a mailing list"),
    ("List-Owner", "the message is of a mailing list"),
    ("List-Archive", "the message is of a mailing list"),
];

/// Returns why the writer of this header is a program or a mailing list, if so.
pub(super) fn why(header: &Message<'_>) -> Option<&'static str> {
    for field in header.headers() {
        let value = header.header_raw(field.name()).unwrap_or_default().trim();
        let is = |name: &str| field.name().eq_ignore_ascii_case(name);
        if is("Auto-Submitted") && !is_no(value) {
            return Some("the message is automatic");
        }
        if is("Precedence") {
            match value.to_ascii_lowercase().as_str() {
                "auto_reply" | "auto-reply" => return Some("the message is automatic"),
                "bulk" | "list" | "junk" => return Some("the message is bulk mail"),
                _ => {}
            }
        }
        if let Some((_, why)) = TELLING.iter().find(|(name, _)| is(name)) {
            return Some(why);
        }
    }
    None
}

/// RFC 3834, 5: `no`, perhaps with parameters or a comment behind.
fn is_no(value: &str) -> bool {
    let word = value.split([';', '(', ' ', '\t']).next();
    word.is_some_and(|word| word.eq_ignore_ascii_case("no"))
}

#[cfg(test)]
mod tests {
    use mail_parser::MessageParser;

    use super::*;

    fn read(header: &str) -> Option<&'static str> {
        let octets = format!("From: a@b.example\r\n{header}\r\nSubject: x\r\n\r\nx");
        why(&MessageParser::default().parse_headers(&octets).unwrap())
    }

    #[test]
    fn fields_of_programs_and_lists_tell() {
        for header in [
            "Auto-Submitted: auto-replied",
            "auto-submitted: auto-generated (x)",
            "X-Autoreply: yes",
            "X-AutoRespond: Away",
            "Precedence: bulk",
            "Precedence: Auto_Reply",
            "Precedence: junk",
            "Precedence: list",
            "List-Id: <a.example>",
            "List-Unsubscribe: <mailto:x@a.example>",
        ] {
            assert!(read(header).is_some(), "{header}");
        }
        for header in [
            "Auto-Submitted: no",
            "Auto-Submitted: No; x=y",
            "Precedence: first-class",
            "X-Mailer: mutt",
        ] {
            assert_eq!(read(header), None, "{header}");
        }
    }
}
