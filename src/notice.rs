//! The notice that tells a sender which recipient is held, and how to decide.
//!
//! Pure composition: facts in, an RFC 5322 message out. The texts come from templates an
//! admin can replace; what strangers wrote (addresses, subject) is escaped before it gets
//! there, and once more as HTML by the template engine. A notice goes to the sender alone, so
//! it may name the held recipient; it says it is automatic (RFC 3834), so that nothing answers.

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use jiff::Timestamp;
use minijinja::{Environment, context};

/// How notices are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeSettings {
    /// Address the notices come from and replies go to, `straymail@example.org`. Without one
    /// no notices are sent.
    pub from: Option<String>,
    /// Directory with a `notice.txt` and a `notice.html` in place of the built-in ones.
    pub templates: Option<PathBuf>,
    /// Most notices to one sender in an hour; further ones wait.
    pub per_hour: u32,
}

impl Default for NoticeSettings {
    fn default() -> Self {
        NoticeSettings {
            from: None,
            templates: None,
            per_hour: 20,
        }
    }
}

/// What a notice tells; the names are those of the templates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// The held recipient, its domain in both spellings where they differ.
    pub recipient: String,
    /// The address that was probably meant.
    pub suggestion: Option<String>,
    /// The difference, marked.
    pub marked: String,
    /// The sentence that explains the doubt.
    pub why: String,
    /// Subject of the held message.
    pub subject: Option<String>,
    /// When it was sent.
    pub sent_at: String,
    /// Page to decide on.
    pub link: Option<String>,
    /// Until when an answer counts.
    pub until: String,
    /// What happens without one, as the end of a sentence.
    pub ending: String,
}

/// The header of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Address it comes from.
    pub from: &'a str,
    /// Address it goes to.
    pub to: &'a str,
    /// Left part of the Message-ID; a reply brings it back.
    pub id: &'a str,
    /// Message-ID of the held message, so that mail programs show both together.
    pub about: Option<&'a str>,
    /// When.
    pub date: Timestamp,
}

/// Why there is no notice.
#[derive(Debug, thiserror::Error)]
pub enum NoticeError {
    /// A template file cannot be read.
    #[error("cannot read the template {}", path.display())]
    Unreadable {
        /// Which file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A template is wrong.
    #[error("the template does not work")]
    Template(#[from] minijinja::Error),
    /// The first line of the text template is not the subject.
    #[error("notice.txt must begin with a line \"Subject: ...\" and an empty line")]
    NoSubject,
    /// An address cannot stand in a header.
    #[error("{0:?} cannot be written to")]
    Address(String),
}

/// The texts of a notice.
#[derive(Debug)]
pub struct Templates {
    texts: Environment<'static>,
}

impl Templates {
    /// Returns the built-in texts.
    ///
    /// # Errors
    /// None in a release: a test renders them.
    pub fn built_in() -> Result<Templates, NoticeError> {
        Templates::new(
            include_str!("../templates/notice/en.txt").to_owned(),
            include_str!("../templates/notice/en.html").to_owned(),
        )
    }

    /// Reads `notice.txt` and `notice.html` in `dir`.
    ///
    /// # Errors
    /// A file is missing or its template is wrong.
    pub fn load(dir: &Path) -> Result<Templates, NoticeError> {
        let read = |name| {
            let path = dir.join(name);
            fs::read_to_string(&path).map_err(|source| NoticeError::Unreadable { path, source })
        };
        Templates::new(read("notice.txt")?, read("notice.html")?)
    }

    fn new(text: String, html: String) -> Result<Templates, NoticeError> {
        let mut texts = Environment::new();
        texts.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        // The names decide about escaping: `.html` is, `.txt` is not.
        texts.add_template_owned("notice.txt", text)?;
        texts.add_template_owned("notice.html", html)?;
        let templates = Templates { texts };
        // A wrong template must show at the start, not with the first held message.
        templates.render(&Facts::example())?;
        Ok(templates)
    }

    /// Returns subject, text and HTML.
    fn render(&self, facts: &Facts) -> Result<(String, String, String), NoticeError> {
        let facts = context! {
            recipient => facts.recipient.clone(),
            suggestion => facts.suggestion.clone(),
            marked => facts.marked.clone(),
            why => facts.why.clone(),
            subject => facts.subject.clone(),
            sent_at => facts.sent_at.clone(),
            link => facts.link.clone(),
            until => facts.until.clone(),
            ending => facts.ending.clone(),
        };
        let text = self.texts.get_template("notice.txt")?.render(&facts)?;
        let html = self.texts.get_template("notice.html")?.render(&facts)?;
        let (first, text) = text.split_once('\n').ok_or(NoticeError::NoSubject)?;
        let subject = first
            .strip_prefix("Subject:")
            .ok_or(NoticeError::NoSubject)?;
        Ok((
            subject.trim().to_owned(),
            text.trim_start().to_owned(),
            html,
        ))
    }

    /// Returns the notice as a message with CRLF line ends.
    ///
    /// # Errors
    /// The template fails on these facts, or an address cannot stand in a header.
    pub fn compose(&self, header: &Header<'_>, facts: &Facts) -> Result<Vec<u8>, NoticeError> {
        for address in [header.from, header.to, header.id] {
            if !address.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
                return Err(NoticeError::Address(address.to_owned()));
            }
        }
        let (subject, text, html) = self.render(facts)?;
        let host = host(header.from);
        // The id is unique and unguessable, so no part can hold the boundary by accident.
        let boundary = format!("=_{}", header.id.get(..40).unwrap_or(header.id));
        let date = jiff::fmt::rfc2822::to_string(&header.date.to_zoned(jiff::tz::TimeZone::UTC))
            .unwrap_or_default();
        let about = match header.about {
            Some(id) if id.bytes().all(|b| (b'!'..=b'~').contains(&b)) => {
                format!("References: {id}\r\n")
            }
            _ => String::new(),
        };
        let mut out = format!(
            "From: straymail <{from}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}@{host}>\r\n\
             {about}\
             Auto-Submitted: auto-generated\r\n\
             X-Auto-Response-Suppress: All\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/alternative; boundary=\"{boundary}\"\r\n\r\n",
            from = header.from,
            to = header.to,
            subject = encoded_words(&subject),
            id = header.id,
        );
        for (kind, part) in [("plain", text), ("html", html)] {
            out.push_str(&format!(
                "--{boundary}\r\nContent-Type: text/{kind}; charset=utf-8\r\n\
                 Content-Transfer-Encoding: base64\r\n\r\n"
            ));
            let encoded = Base64::encode_string(part.replace('\n', "\r\n").as_bytes());
            for line in encoded.as_bytes().chunks(76) {
                out.extend(line.iter().map(|byte| char::from(*byte)));
                out.push_str("\r\n");
            }
        }
        out.push_str(&format!("--{boundary}--\r\n"));
        Ok(out.into_bytes())
    }
}

impl Facts {
    /// Facts that try every branch of a template.
    fn example() -> Facts {
        Facts {
            recipient: "carl@army.ml".into(),
            suggestion: Some("carl@army.mil".into()),
            marked: "army.m[i]l".into(),
            why: "did you mean army.mil?".into(),
            subject: Some("Plan".into()),
            sent_at: "1970-01-01 00:00 UTC".into(),
            link: Some("https://mail.example/d/x".into()),
            until: "1970-01-15 00:00 UTC".into(),
            ending: "it is not delivered".into(),
        }
    }
}

/// Returns the domain of an address, which stands right of the Message-ID's `@`.
pub fn host(address: &str) -> &str {
    address
        .rsplit_once('@')
        .map_or("localhost", |(_, host)| host)
}

/// Returns a header text, as encoded words (RFC 2047) unless it is plain ASCII that fits.
fn encoded_words(text: &str) -> String {
    if text.len() <= 60 && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return text.to_owned();
    }
    let mut words = Vec::new();
    let mut chunk = String::new();
    for c in text.chars().filter(|c| !c.is_control()) {
        // RFC 2047, 2: at most 75 characters a word; 39 octets become 52 in base64, and leave
        // room for "Subject: ".
        if chunk.len() + c.len_utf8() > 39 {
            words.push(std::mem::take(&mut chunk));
        }
        chunk.push(c);
    }
    words.push(chunk);
    (words.iter())
        .map(|word| format!("=?utf-8?B?{}?=", Base64::encode_string(word.as_bytes())))
        .collect::<Vec<_>>()
        .join("\r\n ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use mail_parser::{MessageParser, MimeHeaders};

    fn compose(facts: &Facts) -> Vec<u8> {
        let header = Header {
            from: "straymail@site.example",
            to: "anna@site.example",
            id: "T0ken",
            about: Some("<1@site.example>"),
            date: Timestamp::UNIX_EPOCH,
        };
        Templates::built_in()
            .unwrap()
            .compose(&header, facts)
            .unwrap()
    }

    #[test]
    fn notice_reads_back_as_it_was_meant() {
        let bytes = compose(&Facts::example());
        let mail = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(
            mail.subject(),
            Some("Not sent yet: your mail to carl@army.ml")
        );
        assert_eq!(mail.message_id(), Some("T0ken@site.example"));
        assert_eq!(
            mail.header_raw("Auto-Submitted").map(str::trim),
            Some("auto-generated")
        );
        assert_eq!(
            mail.parts[0].content_type().unwrap().subtype(),
            Some("alternative")
        );
        let text = mail.body_text(0).unwrap();
        assert!(
            text.contains("    Did you mean:    carl@army.mil\r\n"),
            "{text}"
        );
        assert!(text.contains("https://mail.example/d/x"));
    }

    #[test]
    fn what_strangers_wrote_is_inert_in_html() {
        let facts = Facts {
            subject: Some("<script>alert(1)</script>".into()),
            recipient: "\"><img src=x onerror=alert(1)>@army.ml".into(),
            ..Facts::example()
        };
        let bytes = compose(&facts);
        let mail = MessageParser::default().parse(&bytes).unwrap();
        let html = mail.body_html(0).unwrap();
        assert!(
            !html.contains("<script") && !html.contains("<img"),
            "{html}"
        );
    }

    #[test]
    fn long_and_foreign_subjects_are_encoded_within_the_line_limit() {
        let facts = Facts {
            recipient: format!("{}@army.ml", "ü".repeat(200)),
            ..Facts::example()
        };
        let bytes = compose(&facts);
        let text = String::from_utf8(bytes.clone()).unwrap();
        assert!(text.lines().all(|line| line.len() <= 78), "{text}");
        let mail = MessageParser::default().parse(&bytes).unwrap();
        let expected = format!("Not sent yet: your mail to {}", facts.recipient);
        assert_eq!(mail.subject(), Some(expected.as_str()));
    }

    #[test]
    fn address_that_would_add_a_header_is_refused() {
        let header = Header {
            from: "straymail@site.example",
            to: "anna@site.example>\r\nBcc: <eve@army.ml",
            id: "x",
            about: None,
            date: Timestamp::UNIX_EPOCH,
        };
        let templates = Templates::built_in().unwrap();
        let error = templates.compose(&header, &Facts::example()).unwrap_err();
        assert!(matches!(error, NoticeError::Address(_)));
    }

    #[test]
    fn template_with_an_unknown_name_is_refused_at_once() {
        let dir = tempfile::tempdir().unwrap();
        fs::write(
            dir.path().join("notice.txt"),
            "Subject: x\n\n{{ recipiant }}",
        )
        .unwrap();
        fs::write(dir.path().join("notice.html"), "x").unwrap();
        assert!(matches!(
            Templates::load(dir.path()),
            Err(NoticeError::Template(_))
        ));
    }
}
