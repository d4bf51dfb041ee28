//! A sender's reply to a notice: which entry it is about, and what it decides.
//!
//! The notice's Message-ID carries a token; the reply brings it back in In-Reply-To or
//! References (RFC 5322, 3.6.4). The first line of the text decides. Only the sender of the
//! held message counts, whatever the reply says.

mod html;
mod order;
mod text;

use mail_parser::{HeaderValue, Message, MessageParser};

pub use self::order::{Order, Orders, Says, Unread};
use self::text::Text;
use super::automatic;

/// Most octets of a reply that are read; the word stands in front, what follows is quoted.
pub const MAX_ANSWER: usize = 256 * 1024;

/// Most message ids looked at; RFC 5322 lets References grow with every reply.
const MAX_IDS: usize = 100;

/// A reply to a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Left parts of the message ids at our own host that it refers to, newest first.
    pub tokens: Vec<String>,
    /// What its first lines say, or why that is not known.
    pub orders: Result<Orders, Unread>,
    /// Whether a program wrote it.
    pub automatic: bool,
}

impl Answer {
    /// Reads a reply; `host` is the right part of the notices' message ids.
    pub fn parse(octets: &[u8], host: &str) -> Answer {
        let Some(message) = MessageParser::default().parse_headers(octets) else {
            return Answer {
                tokens: Vec::new(),
                orders: Err(Unread::Unclear),
                automatic: false,
            };
        };
        Answer {
            tokens: tokens(&message, host),
            orders: match text::find(octets) {
                Text::Found(text) => order::read(&text::lines(&text)),
                Text::Wrapped => Err(Unread::Wrapped),
                Text::Missing => Err(Unread::Unclear),
            },
            automatic: automatic::why(&message).is_some(),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::decide::{Choice, Decision, Remember};

    fn parse(reply: &str) -> Answer {
        Answer::parse(reply.replace('\n', "\r\n").as_bytes(), "site.example")
    }

    /// What the first line says.
    fn said(reply: &str) -> Result<Says, Unread> {
        let answer = parse(&format!(
            "In-Reply-To: <T@site.example>
{reply}"
        ));
        Ok(answer.orders?.lines.remove(0).says)
    }

    fn decision(choice: Choice) -> Result<Says, Unread> {
        let remember = Remember::Not;
        Ok(Says::Decision(Decision { choice, remember }))
    }

    #[test]
    fn html_and_encoded_replies_are_read() {
        let html = |body: &str| said(&format!("Content-Type: text/html\n\n{body}"));
        for body in [
            "<div dir=ltr>cancel</div>",
            "<div>cancel</div><div>Anna</div>",
            "<div>cancel</div><div id=\"appendonsend\"></div><hr><div>From: straymail</div>",
            "<table><tr><td>cancel</td></tr><tr><td>Best</td></tr></table>",
            "<ul><li>cancel</li><li>x</li></ul>",
            "<blockquote>send</blockquote><p>cancel</p>",
            "<div class=gmail_quote><div>On 1 May straymail wrote:<br></div>\n\
             <blockquote class=gmail_quote>send<p>x</p></blockquote></div><div>cancel</div>",
        ] {
            assert_eq!(html(body), decision(Choice::Cancel), "{body}");
        }
        let correct = html("<div>correct bob@example.org</div><div>Anna</div>");
        assert_eq!(correct, decision(Choice::Correct("bob@example.org".into())));
        let base64 = "Content-Transfer-Encoding: base64\n\nc2VuZA==";
        assert_eq!(said(base64), decision(Choice::Send));
        for nothing in ["\u{feff}", "\u{200b}", "\u{a0}\n"] {
            let text = format!("Content-Type: text/plain; charset=utf-8\n\n{nothing}cancel");
            assert_eq!(said(&text), decision(Choice::Cancel), "{nothing:?}");
        }
    }

    #[test]
    fn encrypted_and_wrapped_replies_are_told_apart() {
        for reply in [
            "Content-Type: application/pkcs7-mime; smime-type=signed-data\n\nMIA=",
            "Content-Type: application/x-pkcs7-mime; name=smime.p7m\n\nMIA=",
            "Content-Type: multipart/encrypted; boundary=b\n\n--b\n\nsend\n--b--",
            "Content-Type: text/plain\n\n-----BEGIN PGP MESSAGE-----\n\nx",
            "Content-Type: multipart/mixed; boundary=b\n\n\
             --b\nContent-Type: application/pkcs7-mime\n\nMIA=\n--b--",
        ] {
            assert_eq!(said(reply), Err(Unread::Wrapped), "{reply}");
        }
        let signed = "Content-Type: multipart/signed; boundary=b\n\n\
                      --b\nContent-Type: text/plain\n\ncancel\n\
                      --b\nContent-Type: application/pkcs7-signature\n\nAAAA\n--b--";
        assert_eq!(said(signed), decision(Choice::Cancel));
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
        let cancel = || decision(Choice::Cancel);
        let unclear = || Err(Unread::Unclear);
        let html = part("text/html", "<p>cancel</p>");
        let both = [part("text/plain", "cancel"), html.clone()];
        assert_eq!(said(&multipart("alternative", &both)), cancel());
        assert_eq!(
            said(&multipart("alternative", &both).replace("\"b\"", "b")),
            cancel()
        );
        assert_eq!(
            said(&multipart(
                "mixed",
                &[part("image/png", "send"), html.clone()]
            )),
            cancel()
        );
        let empty = [part("text/plain", "\u{a0} \n"), html.clone()];
        assert_eq!(said(&multipart("alternative", &empty)), cancel());
        let attached = part("text/plain\nContent-Disposition: attachment", "send");
        assert_eq!(
            said(&multipart("mixed", &[attached.clone(), html.clone()])),
            cancel()
        );
        assert_eq!(said(&multipart("mixed", &[attached])), unclear());
        for file in [
            "text/plain\nContent-Disposition: inline; filename=\"todo.txt\"",
            "text/plain; name=todo.txt",
        ] {
            let file = part(file, "send");
            assert_eq!(said(&multipart("mixed", &[file])), unclear());
        }
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
            unclear()
        );
        assert_eq!(
            said("Content-Type: message/rfc822\n\nA: b\n\nsend"),
            unclear()
        );
        let two = "Content-Type: text/plain\nContent-Type: message/rfc822\n\nA: b\n\nsend";
        assert_eq!(said(two), unclear());
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
        assert!(parse("Precedence: auto_reply\n\nsend").automatic);
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
