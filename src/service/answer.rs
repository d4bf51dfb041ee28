//! A sender's reply to a notice: which entry it is about, and what it decides.
//!
//! The notice's Message-ID carries a token; the reply brings it back in In-Reply-To or
//! References (RFC 5322, 3.6.4). The first word of the text decides. Only the sender of the
//! held message counts, whatever the reply says.

use mail_parser::{HeaderValue, Message, MessageParser};

use super::decide::{Choice, Decision, Remember};

/// Most octets of a reply that are read; the word stands in front, what follows is quoted.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Most message ids looked at; RFC 5322 lets References grow with every reply.
const MAX_IDS: usize = 100;

/// A reply to a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Left parts of the message ids at our own host that it refers to, newest first.
    pub tokens: Vec<String>,
    /// What it says, `None` when that is none of our words.
    pub says: Option<Says>,
    /// Whether a program wrote it (RFC 3834).
    pub automatic: bool,
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
        let Some(message) = MessageParser::default().parse(octets) else {
            return Answer {
                tokens: Vec::new(),
                says: None,
                automatic: false,
            };
        };
        let text = message.body_text(0);
        Answer {
            tokens: tokens(&message, host),
            says: text.as_deref().and_then(says),
            automatic: (message.header_raw("Auto-Submitted"))
                .is_some_and(|value| !value.trim().eq_ignore_ascii_case("no")),
        }
    }
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

/// Reads the first line with a word in it that is not quoted.
fn says(text: &str) -> Option<Says> {
    let line = (text.lines())
        .map(str::trim)
        .find(|line| !line.is_empty() && !line.starts_with('>'))?;
    let mut words = line.split_whitespace().map(|word| {
        // `Send.` and `*send*` are meant as well; an address keeps its own characters.
        word.trim_matches(|c: char| "*_\"'.,;:!<>()".contains(c))
    });
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
