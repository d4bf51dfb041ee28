//! A sender's reply to a notice: which entry it is about, and what it decides.
//!
//! The notice's Message-ID carries a token; the reply brings it back in In-Reply-To or
//! References (RFC 5322, 3.6.4). The first word of the text decides. Only the sender of the
//! held message counts, whatever the reply says.

use std::borrow::Cow;

use mail_parser::{HeaderName, HeaderValue, Message, MessageParser, MimeHeaders};

use super::decide::{Choice, Decision, Remember};

/// Most octets of a reply that are read; the word stands in front, what follows is quoted.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Most orders read from one reply; no digest lists more.
const MAX_ORDERS: usize = 100;

/// Most message ids looked at; RFC 5322 lets References grow with every reply.
const MAX_IDS: usize = 100;

/// Most multiparts in one another that are opened; mail programs make three or four.
const MAX_DEPTH: usize = 10;

/// A reply to a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Left parts of the message ids at our own host that it refers to, newest first.
    pub tokens: Vec<String>,
    /// What it says, `None` when that is none of our words.
    pub says: Option<Says>,
    /// What its first lines say of single messages; for the reply to a digest.
    pub orders: Vec<Order>,
    /// Whether a program wrote it (RFC 3834).
    pub automatic: bool,
}

/// One line of the reply to a digest: `send 7Q2M`, `cancel all`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The second word: an id as in the digest, or its beginning, or `all`.
    pub which: String,
    /// What to do.
    pub says: Says,
}

/// What a reply says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Says {
    /// `send`, `send always`, `send always domain`, `cancel`, `correct name@example.org`.
    Decision(Decision),
    /// `correct` alone: to the address the notice suggested.
    CorrectAsSuggested,
}

impl Answer {
    /// Reads a reply; `host` is the right part of the notices' message ids.
    pub fn parse(octets: &[u8], host: &str) -> Answer {
        let Some(message) = MessageParser::default().parse_headers(octets) else {
            return Answer {
                tokens: Vec::new(),
                says: None,
                orders: Vec::new(),
                automatic: false,
            };
        };
        let text = text(octets);
        Answer {
            tokens: tokens(&message, host),
            says: text.as_deref().and_then(first_line).and_then(says),
            orders: text.as_deref().map(orders).unwrap_or_default(),
            automatic: (message.header_raw("Auto-Submitted"))
                .is_some_and(|value| !value.trim().eq_ignore_ascii_case("no")),
        }
    }
}

/// Returns the first text of a message.
///
/// Only the part that is text goes to the parser as a whole: it reads messages within messages
/// as deep as a stranger nests them, and freeing 9,000 of them overflows the stack, which no
/// `catch_unwind` survives.
fn text(octets: &[u8]) -> Option<String> {
    let mut part = Some(with_header(octets)).filter(|part| may_hold_text(part))?;
    for _ in 0..MAX_DEPTH {
        let header = MessageParser::default().parse_headers(&part)?;
        let kind = header
            .content_type()
            .filter(|kind| kind.c_type == "multipart");
        let Some(kind) = kind else {
            let message = MessageParser::default().parse(&part)?;
            return message.body_text(0).map(Cow::into_owned);
        };
        let inner = (sections(&part, kind.attribute("boundary")?).into_iter())
            .map(with_header)
            .find(|part| may_hold_text(part))?;
        part = inner;
    }
    None
}

/// Puts a field in front: the parser knows no part without one.
fn with_header(part: &[u8]) -> Vec<u8> {
    [b"MIME-Version: 1.0\r\n", part].concat()
}

/// Returns whether a part is text or a multipart, in so many words: of two types the parser
/// might take the other one.
fn may_hold_text(part: &[u8]) -> bool {
    let Some(header) = MessageParser::default().parse_headers(part) else {
        return false;
    };
    let types = (header.headers().iter()).filter(|field| field.name == HeaderName::ContentType);
    match types.count() {
        0 => true,
        1 => (header.content_type())
            .is_some_and(|kind| ["text", "multipart"].contains(&kind.c_type.as_ref())),
        _ => false,
    }
}

/// Returns what stands between the lines `--boundary` (RFC 2046, 5.1.1).
fn sections<'p>(part: &'p [u8], boundary: &str) -> Vec<&'p [u8]> {
    let delimiter = format!("--{boundary}");
    let end = format!("--{boundary}--");
    let mut sections = Vec::new();
    let mut begun = None;
    let mut at = 0;
    for line in part.split_inclusive(|octet| *octet == b'\n') {
        let text = line.trim_ascii_end();
        if text == delimiter.as_bytes() || text == end.as_bytes() {
            sections.extend(begun.and_then(|begun| part.get(begun..at)));
            begun = (text == delimiter.as_bytes()).then_some(at + line.len());
        }
        at += line.len();
    }
    sections.extend(begun.and_then(|begun| part.get(begun..)));
    sections
}

fn tokens(message: &Message<'_>, host: &str) -> Vec<String> {
    let ids = |value: &HeaderValue<'_>| -> Vec<String> {
        let list = value.as_text_list().unwrap_or_default();
        list.iter().map(ToString::to_string).collect()
    };
    let references = ids(message.references());
    (ids(message.in_reply_to()).into_iter())
        // The last reference is the one replied to.
        .chain(references.into_iter().rev())
        .take(MAX_IDS)
        .filter_map(|id| {
            let (left, right) = id.rsplit_once('@')?;
            right.eq_ignore_ascii_case(host).then(|| left.to_owned())
        })
        .collect()
}

/// Returns the first line with a word in it that is not quoted.
fn first_line(text: &str) -> Option<&str> {
    (text.lines())
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('>'))
}

/// Reads the first lines, up to one that is empty or says something else: what follows may be
/// the digest itself, which not every mail program marks as quoted.
fn orders(text: &str) -> Vec<Order> {
    (text.lines())
        .map(str::trim)
        .skip_while(|line| line.is_empty() || line.starts_with('>'))
        .map_while(order)
        .take(MAX_ORDERS)
        .collect()
}

/// Reads `word which rest` as `word rest` about `which`.
fn order(line: &str) -> Option<Order> {
    let (word, rest) = line.split_once(char::is_whitespace)?;
    let rest = rest.trim_start();
    let (which, rest) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    Some(Order {
        which: bare(which).to_owned(),
        says: says(&format!("{word} {rest}"))?,
    })
}

/// `Send.` and `*send*` are meant as well; an address keeps its own characters.
fn bare(word: &str) -> &str {
    word.trim_matches(|c: char| "*_\"'.,;:!<>()".contains(c))
}

/// Reads one line.
fn says(line: &str) -> Option<Says> {
    let mut words = line.split_whitespace().map(bare);
    let first = words.next()?.to_lowercase();
    let decision = |choice, remember| Some(Says::Decision(Decision { choice, remember }));
    match first.as_str() {
        "send" => {
            let mut is =
                |wanted: &str| words.next().is_some_and(|w| w.eq_ignore_ascii_case(wanted));
            let remember = match is("always") {
                true if is("domain") => Remember::Domain,
                true => Remember::Recipient,
                false => Remember::Not,
            };
            decision(Choice::Send, remember)
        }
        "cancel" => decision(Choice::Cancel, Remember::Not),
        "correct" => match words.find(|word| word.contains('@')) {
            Some(address) => decision(Choice::Correct(address.to_owned()), Remember::Not),
            None => Some(Says::CorrectAsSuggested),
        },
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_end_where_the_reply_ends() {
        let text =
            "\nSend 7q2m.\ncancel AB12CD34EF please\ncorrect 9XYZ bob@army.mil\nsend ALL always\n";
        for behind in ["", "\nsend KEEP\n", "Regards\nsend KEEP\n", "> send KEEP\n"] {
            let found: Vec<(String, Says)> = (orders(&format!("{text}{behind}")).into_iter())
                .map(|order| (order.which, order.says))
                .collect();
            let says = |choice, remember| Says::Decision(Decision { choice, remember });
            let expected = [
                ("7q2m", says(Choice::Send, Remember::Not)),
                ("AB12CD34EF", says(Choice::Cancel, Remember::Not)),
                (
                    "9XYZ",
                    says(Choice::Correct("bob@army.mil".into()), Remember::Not),
                ),
                ("ALL", says(Choice::Send, Remember::Recipient)),
            ];
            let expected = expected.map(|(which, says)| (which.to_owned(), says));
            assert_eq!(found, expected, "{behind:?}");
        }
        assert_eq!(orders("send"), []);
        assert_eq!(orders("Dear all,\nsend 7Q2M\n"), []);
    }

    fn parse(reply: &str) -> Answer {
        Answer::parse(reply.replace('\n', "\r\n").as_bytes(), "site.example")
    }

    fn word(text: &str) -> Option<Says> {
        parse(&format!("In-Reply-To: <T@site.example>\n\n{text}")).says
    }

    fn decision(choice: Choice, remember: Remember) -> Option<Says> {
        Some(Says::Decision(Decision { choice, remember }))
    }

    #[test]
    fn first_word_decides() {
        for (text, expected) in [
            ("send", decision(Choice::Send, Remember::Not)),
            (
                "\n\n  SEND.\n\nThanks\n> correct",
                decision(Choice::Send, Remember::Not),
            ),
            ("*send* always", decision(Choice::Send, Remember::Recipient)),
            (
                "Send always, thanks!",
                decision(Choice::Send, Remember::Recipient),
            ),
            (
                "send always domain",
                decision(Choice::Send, Remember::Domain),
            ),
            ("Cancel, please", decision(Choice::Cancel, Remember::Not)),
            ("correct", Some(Says::CorrectAsSuggested)),
            ("> send\ncancel", decision(Choice::Cancel, Remember::Not)),
            (
                "correct <carl@army.mil>",
                decision(Choice::Correct("carl@army.mil".into()), Remember::Not),
            ),
            ("Dear admin, please send", None),
            ("sender", None),
            ("", None),
        ] {
            assert_eq!(word(text), expected, "{text:?}");
        }
    }

    #[test]
    fn html_and_encoded_replies_are_read() {
        let html =
            "In-Reply-To: <T@site.example>\nContent-Type: text/html\n\n<div dir=ltr>cancel</div>";
        assert_eq!(parse(html).says, decision(Choice::Cancel, Remember::Not));
        let base64 = "In-Reply-To: <T@site.example>\nContent-Transfer-Encoding: base64\n\nc2VuZA==";
        assert_eq!(parse(base64).says, decision(Choice::Send, Remember::Not));
    }

    #[test]
    fn text_is_found_in_multiparts() {
        let part = |kind: &str, body: &str| format!("\n--b\nContent-Type: {kind}\n\n{body}");
        let multipart = |kind: &str, parts: &[String]| {
            format!(
                "Content-Type: multipart/{kind}; boundary=\"b\"\n\nnot mime{}\n--b--\n",
                parts.concat()
            )
        };
        let said = |reply: &str| parse(&format!("In-Reply-To: <T@site.example>\n{reply}")).says;
        let cancel = || decision(Choice::Cancel, Remember::Not);
        let html = part("text/html", "<p>cancel</p>");
        let both = [part("text/plain", "cancel"), html.clone()];
        assert_eq!(said(&multipart("alternative", &both)), cancel());
        assert_eq!(
            said(&multipart("alternative", &both).replace("\"b\"", "b")),
            cancel()
        );
        assert_eq!(
            said(&multipart("mixed", &[part("image/png", "send"), html])),
            cancel()
        );
        assert_eq!(
            said(&multipart("mixed", &["\n--b\n\ncancel".into()])),
            cancel()
        );
        let inner = multipart("alternative", &both)
            .replace("--b", "--b2")
            .replace("\"b\"", "b2");
        let outer = multipart("mixed", &[format!("\n--b\n{inner}")]);
        assert_eq!(said(&outer), cancel());
        assert_eq!(
            said(&multipart(
                "mixed",
                &[part("message/rfc822", "A: b\n\nsend")]
            )),
            None
        );
        assert_eq!(said("Content-Type: message/rfc822\n\nA: b\n\nsend"), None);
        let two = "Content-Type: text/plain\nContent-Type: message/rfc822\n\nA: b\n\nsend";
        assert_eq!(said(two), None);
    }

    #[test]
    fn messages_within_messages_do_not_overflow_the_stack() {
        let rfc822 = "Content-Type:message/rfc822\n\n".repeat(MAX_ANSWER / 30);
        let digests: String = (0..MAX_ANSWER / 55)
            .map(|n| format!("Content-Type:multipart/digest;boundary=b{n}\n\n--b{n}\n\n"))
            .collect();
        for mut body in [rfc822, digests] {
            for kind in [
                "message/rfc822",
                "text/plain",
                "multipart/mixed; boundary=b",
            ] {
                let reply =
                    format!("In-Reply-To: <T@site.example>\nContent-Type: {kind}\n\n{body}");
                assert_eq!(parse(&reply).tokens, ["T"]);
            }
            body.insert_str(0, "In-Reply-To: <T@site.example>\n");
            assert_eq!(parse(&body).tokens, ["T"]);
        }
    }

    #[test]
    fn only_ids_of_our_host_are_tokens_and_the_newest_comes_first() {
        let reply = "In-Reply-To: <c@site.example>\nReferences: <a@site.example> <x@other.example>\n <b@SITE.example>\n\nsend";
        assert_eq!(parse(reply).tokens, ["c", "b", "a"]);
    }

    #[test]
    fn answer_of_a_program_is_told_apart() {
        assert!(parse("Auto-Submitted: auto-replied\n\nsend").automatic);
        assert!(!parse("Auto-Submitted: no\n\nsend").automatic);
        assert!(!parse("\nsend").automatic);
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_panic(octets in proptest::collection::vec(0_u8.., 0..200)) {
            Answer::parse(&octets, "site.example");
        }
    }
}
