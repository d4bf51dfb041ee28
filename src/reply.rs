//! SMTP replies to the person who mistyped, and to the client when the fault is ours.
//!
//! Replies are ASCII without control characters and without `%` (libmilter and Sendmail take
//! it as a format character), and fit one reply line. They show no scores and no internals.

use crate::score::Assessment;

/// Longest text after the status codes: RFC 5321, 4.5.3.1.5 allows 512 octets with codes and CRLF.
const MAX_TEXT: usize = 490;

/// Longest recipient shown: a path (RFC 5321, 4.5.3.1.3) would leave no room for the reason.
const MAX_RECIPIENT: usize = 120;

/// One SMTP reply of one line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Reply code, `550` or `451`.
    pub code: &'static str,
    /// Enhanced status code (RFC 3463).
    pub enhanced: &'static str,
    /// ASCII text.
    pub text: String,
}

impl Reply {
    /// Refuses `recipient` (`local@domain`) because of `assessment`, naming the way out.
    ///
    /// `help` is the site's own sentence about what to do when the address is right; `{domain}`
    /// in it stands for the recipient's domain.
    pub fn rejected(recipient: &str, assessment: &Assessment, help: &str) -> Reply {
        let shown = shorten(recipient, MAX_RECIPIENT);
        let domain = (recipient.rsplit_once('@')).map_or(recipient, |(_, domain)| domain);
        let why = assessment.sentence_ascii();
        let stop = match why.ends_with(['.', '?', '!']) {
            true => "",
            false => ".",
        };
        let help = help.replace("{domain}", &shorten(domain, MAX_RECIPIENT));
        Reply {
            code: "550",
            // RFC 3463: 5.7.1, delivery not authorized, message refused.
            enhanced: "5.7.1",
            text: ascii_line(&format!("<{shown}> not sent: {why}{stop} {help}")),
        }
    }

    /// Leaves out the recipient at the beginning, for an MTA that puts it there itself.
    #[must_use]
    pub fn without_recipient(mut self) -> Reply {
        if self.text.starts_with('<')
            && let Some((_, rest)) = self.text.split_once("> not sent: ")
        {
            self.text = format!("not sent: {rest}");
        }
        self
    }

    /// Answers the daemon's own probe: its recipient was judged. No client ever reads it.
    pub fn probe_judged() -> Reply {
        Reply {
            code: "550",
            enhanced: "5.7.1",
            text: "probe judged".to_owned(),
        }
    }

    /// Refuses a sender's reply to a notice, saying why it does not count.
    pub fn not_taken(why: &dyn std::error::Error) -> Reply {
        Reply {
            code: "550",
            enhanced: "5.7.1",
            text: ascii_line(&format!("your answer was not taken: {why}")),
        }
    }

    /// Asks the client to come back, because straymail itself failed.
    pub fn fault() -> Reply {
        Reply {
            code: "451",
            // RFC 3463: 4.3.0, other or undefined mail system status.
            enhanced: "4.3.0",
            text: "recipients cannot be checked at the moment, please try again later".into(),
        }
    }
}

fn shorten(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some(_) => text.chars().take(most).chain("...".chars()).collect(),
        None => text.to_owned(),
    }
}

/// Returns `text` as one printable ASCII line; what cannot be shown becomes `?`.
fn ascii_line(text: &str) -> String {
    (text.trim().chars())
        .map(|c| match c {
            '%' => '?',
            ' '..='~' => c,
            _ => '?',
        })
        .take(MAX_TEXT)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::DomainError;

    fn undecodable() -> Assessment {
        Assessment::undecodable(b"x", &DomainError::Empty)
    }

    #[test]
    fn hostile_recipient_stays_one_printable_line() {
        let recipient = "a%s%n\r\n250 ok\u{202e}@\u{430}rmy.mil";
        let reply = Reply::rejected(recipient, &undecodable(), "Ask {domain}.");
        assert!(
            reply
                .text
                .starts_with("<a?s?n??250 ok?@?rmy.mil> not sent: ")
        );
        assert!(reply.text.ends_with(" Ask ?rmy.mil."));
        assert!(reply.text.bytes().all(|b| (b' '..=b'~').contains(&b)));
    }

    #[test]
    fn recipient_is_left_out_where_the_mta_names_it() {
        let named = Reply::rejected("carl@army.ml", &undecodable(), "Ask.");
        let reply = named.clone().without_recipient();
        assert_eq!(format!("<carl@army.ml> {}", reply.text), named.text);
        assert_eq!(Reply::fault().without_recipient(), Reply::fault());
    }

    #[test]
    fn reply_fits_one_smtp_line() {
        let recipient = format!("{}@army.ml", "x".repeat(1000));
        let reply = Reply::rejected(&recipient, &undecodable(), &"y".repeat(1000));
        assert!(reply.text.len() <= MAX_TEXT);
        assert!(reply.text.contains("...> not sent"));
    }
}
