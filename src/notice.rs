//! What a sender is told: that a recipient is held and how to decide, or that its time is over.
//!
//! Pure composition: facts in, an RFC 5322 message out. The texts come from templates an
//! admin can replace; what strangers wrote (addresses, subject) is escaped before it gets
//! there, and once more as HTML by the template engine. A notice goes to the sender alone, so
//! it may name the held recipient; it says it is automatic (RFC 3834), so that nothing answers.

mod bounce;

use std::fs;
use std::path::{Path, PathBuf};

use base64ct::{Base64, Encoding as _};
use jiff::Timestamp;
use minijinja::{Environment, Value, context};

pub use bounce::{Bounce, NeverBounced};

/// How notices are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeSettings {
    /// Address the notices come from and replies go to, `straymail@example.org`. Without one
    /// no notices are sent.
    pub from: Option<String>,
    /// Directory with templates in place of the built-in ones: `notice`, `ended`, `failed` and
    /// `digest`, each as `.txt` and `.html`; of the last three, what is missing is built in.
    pub templates: Option<PathBuf>,
    /// Most notices to one sender in an hour; further entries go into one digest an hour.
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
    /// What the sender answered before, when that could not be done.
    pub answer: Option<String>,
    /// Why it could not be done.
    pub problem: Option<String>,
}

/// The header of a notice.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header<'a> {
    /// Address it comes from.
    pub from: &'a str,
    /// Address it goes to, as [`crate::address::Address::mailbox`] returns it.
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
    /// The first line of a text template is not the subject.
    #[error("{0}.txt must begin with a line \"Subject: ...\" and an empty line")]
    NoSubject(&'static str),
    /// An address cannot stand in a header.
    #[error("{0:?} cannot be written to")]
    Address(String),
}

/// The texts of all that senders are told.
#[derive(Debug)]
pub struct Templates {
    texts: Environment<'static>,
    /// The built-in ones, beside those of a directory.
    built_in: Option<Box<Templates>>,
}

/// A name with its built-in text and HTML.
type BuiltIn = (&'static str, &'static str, &'static str);

macro_rules! built_in {
    ($name:literal) => {
        (
            $name,
            include_str!(concat!("../templates/notice/", $name, ".en.txt")),
            include_str!(concat!("../templates/notice/", $name, ".en.html")),
        )
    };
}

/// One recipient is held.
const NOTICE: BuiltIn = built_in!("notice");
/// The time of one recipient is over.
const ENDED: BuiltIn = built_in!("ended");
/// What the sender answered cannot be done.
const FAILED: BuiltIn = built_in!("failed");
/// Several messages are held.
const DIGEST: BuiltIn = built_in!("digest");

/// One of the messages in a digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// What to write into the reply to mean this one.
    pub id: String,
    /// What a notice would tell.
    pub facts: Facts,
}

impl Templates {
    /// Returns the built-in texts.
    ///
    /// # Errors
    /// None in a release: a test renders them.
    pub fn built_in() -> Result<Templates, NoticeError> {
        Templates::new(|_, built_in| Ok(built_in.to_owned()))
    }

    /// Reads the templates in `dir`; an `ended`, `failed` or `digest` that is not there is built in.
    ///
    /// # Errors
    /// A file does not read or its template is wrong.
    pub fn load(dir: &Path) -> Result<Templates, NoticeError> {
        let built_in = Some(Box::new(Templates::built_in()?));
        let own = Templates::new(|name, built_in| {
            let path = dir.join(name);
            match fs::read_to_string(&path) {
                Err(error)
                    if error.kind() == std::io::ErrorKind::NotFound
                        && !name.starts_with(NOTICE.0) =>
                {
                    Ok(built_in.to_owned())
                }
                read => read.map_err(|source| NoticeError::Unreadable { path, source }),
            }
        })?;
        Ok(Templates { built_in, ..own })
    }

    /// Returns the built-in texts, when these are others: for facts that these fail on.
    pub fn instead(&self) -> Option<&Templates> {
        self.built_in.as_deref()
    }

    fn new(
        text: impl Fn(&str, &'static str) -> Result<String, NoticeError>,
    ) -> Result<Templates, NoticeError> {
        let mut texts = Environment::new();
        texts.set_undefined_behavior(minijinja::UndefinedBehavior::Strict);
        for (name, plain, html) in [NOTICE, ENDED, FAILED, DIGEST] {
            // The names decide about escaping: `.html` is, `.txt` is not.
            for (name, built_in) in [
                (format!("{name}.txt"), plain),
                (format!("{name}.html"), html),
            ] {
                let text = text(&name, built_in)?;
                texts.add_template_owned(name, text)?;
            }
        }
        let templates = Templates {
            texts,
            built_in: None,
        };
        // A wrong template must show at the start, not with the first held message; also what is
        // told only when something is known, or is not.
        for facts in Facts::examples() {
            for template in [NOTICE, ENDED, FAILED] {
                templates.render(template, facts.value(""))?;
            }
            templates.render(DIGEST, context! { held => vec![facts.value("7Q2M7Q2M7Q")] })?;
        }
        Ok(templates)
    }

    /// Returns subject, text and HTML.
    fn render(
        &self,
        (name, _, _): BuiltIn,
        facts: Value,
    ) -> Result<(String, String, String), NoticeError> {
        let template = |ending| self.texts.get_template(&format!("{name}{ending}"));
        let text = template(".txt")?.render(&facts)?;
        let html = template(".html")?.render(&facts)?;
        let (first, text) = text.split_once('\n').ok_or(NoticeError::NoSubject(name))?;
        let subject = first
            .strip_prefix("Subject:")
            .ok_or(NoticeError::NoSubject(name))?;
        Ok((
            subject.trim().to_owned(),
            text.trim_start().to_owned(),
            html,
        ))
    }

    /// Returns the notice that a recipient is held, as a message with CRLF line ends.
    ///
    /// # Errors
    /// The template fails on these facts, or an address cannot stand in a header.
    pub fn compose(&self, header: &Header<'_>, facts: &Facts) -> Result<Vec<u8>, NoticeError> {
        header.mail(self.render(NOTICE, facts.value(""))?)
    }

    /// Returns the notice that the time of a recipient is over.
    ///
    /// # Errors
    /// As [`Templates::compose`].
    pub fn compose_ended(
        &self,
        header: &Header<'_>,
        facts: &Facts,
    ) -> Result<Vec<u8>, NoticeError> {
        header.mail(self.render(ENDED, facts.value(""))?)
    }

    /// Returns the notice that what a sender answered cannot be done. `which` stands behind the
    /// word of an answer, where one notice spoke of several messages.
    ///
    /// # Errors
    /// As [`Templates::compose`].
    pub fn compose_failed(
        &self,
        header: &Header<'_>,
        facts: &Facts,
        which: &str,
    ) -> Result<Vec<u8>, NoticeError> {
        header.mail(self.render(FAILED, facts.value(which))?)
    }

    /// Returns the notice that several messages are held.
    ///
    /// # Errors
    /// As [`Templates::compose`]; there must be at least one.
    pub fn compose_digest(
        &self,
        header: &Header<'_>,
        items: &[Item],
    ) -> Result<Vec<u8>, NoticeError> {
        let held: Vec<Value> = (items.iter())
            .map(|item| item.facts.value(&item.id))
            .collect();
        header.mail(self.render(DIGEST, context! { held })?)
    }

    /// Returns the report that a recipient's mail is not going to be delivered (RFC 3464).
    ///
    /// # Errors
    /// As [`Templates::compose`].
    pub fn compose_bounce(
        &self,
        header: &Header<'_>,
        facts: &Facts,
        bounce: &Bounce<'_>,
    ) -> Result<Vec<u8>, NoticeError> {
        let (subject, text, _) = self.render(ENDED, facts.value(""))?;
        let parts = bounce.parts(&text);
        let kind = "report; report-type=delivery-status";
        header.compose("Mail Delivery System", &subject, kind, &parts)
    }
}

/// One part of a message: its header fields and its content, both with CRLF line ends.
struct Part {
    header: String,
    content: String,
}

impl Part {
    /// A part in base64: any octets, and lines that fit.
    fn encoded(kind: &str, octets: &[u8]) -> Part {
        let mut content = String::new();
        for line in Base64::encode_string(octets).as_bytes().chunks(76) {
            content.extend(line.iter().map(|byte| char::from(*byte)));
            content.push_str("\r\n");
        }
        Part {
            header: format!("Content-Type: {kind}\r\nContent-Transfer-Encoding: base64\r\n"),
            content,
        }
    }
}

impl Header<'_> {
    fn mail(
        &self,
        (subject, text, html): (String, String, String),
    ) -> Result<Vec<u8>, NoticeError> {
        let part = |kind: &str, text: &str| {
            let kind = format!("text/{kind}; charset=utf-8");
            Part::encoded(&kind, text.replace('\n', "\r\n").as_bytes())
        };
        let parts = [part("plain", &text), part("html", &html)];
        self.compose("straymail", &subject, "alternative", &parts)
    }

    fn compose(
        &self,
        name: &str,
        subject: &str,
        kind: &str,
        parts: &[Part],
    ) -> Result<Vec<u8>, NoticeError> {
        for address in [self.from, self.id] {
            if !address.bytes().all(|b| (b'!'..=b'~').contains(&b)) {
                return Err(NoticeError::Address(address.to_owned()));
            }
        }
        if (self.to.chars()).any(|c| c.is_control() || matches!(c, '<' | '>')) {
            return Err(NoticeError::Address(self.to.to_owned()));
        }
        let host = host(self.from);
        // The id is unique and unguessable, so no part can hold the boundary by accident.
        let boundary = format!("=_{}", self.id.get(..40).unwrap_or(self.id));
        let date = jiff::fmt::rfc2822::to_string(&self.date.to_zoned(jiff::tz::TimeZone::UTC))
            .unwrap_or_default();
        let about = match self.about {
            Some(id) if id.bytes().all(|b| (b'!'..=b'~').contains(&b)) => {
                format!("References: {id}\r\n")
            }
            _ => String::new(),
        };
        let mut out = format!(
            "From: {name} <{from}>\r\n\
             To: <{to}>\r\n\
             Subject: {subject}\r\n\
             Date: {date}\r\n\
             Message-ID: <{id}@{host}>\r\n\
             {about}\
             Auto-Submitted: auto-generated\r\n\
             X-Auto-Response-Suppress: All\r\n\
             MIME-Version: 1.0\r\n\
             Content-Type: multipart/{kind};\r\n boundary=\"{boundary}\"\r\n\r\n",
            from = self.from,
            to = self.to,
            subject = encoded_words(subject),
            id = self.id,
        );
        for part in parts {
            out.push_str(&format!(
                "--{boundary}\r\n{}\r\n{}\r\n",
                part.header,
                part.content.trim_end_matches("\r\n")
            ));
        }
        out.push_str(&format!("--{boundary}--\r\n"));
        Ok(out.into_bytes())
    }
}

impl Facts {
    /// Returns what a template sees; `id` is for digests.
    fn value(&self, id: &str) -> Value {
        context! {
            id => id,
            recipient => self.recipient.clone(),
            suggestion => self.suggestion.clone(),
            marked => self.marked.clone(),
            why => self.why.clone(),
            subject => self.subject.clone(),
            sent_at => self.sent_at.clone(),
            link => self.link.clone(),
            until => self.until.clone(),
            ending => self.ending.clone(),
            answer => self.answer.clone(),
            problem => self.problem.clone(),
        }
    }

    /// Facts that try every branch of a template; docs/quarantine.md names them all.
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
            answer: Some("correct to carl@army.mil".into()),
            problem: Some("the MTA answered RCPT TO with: 550 no such user".into()),
        }
    }

    /// Examples with every choice of what may be known.
    fn examples() -> impl Iterator<Item = Facts> {
        let known = |which: u32| {
            let all = Facts::example();
            let keep = |bit: u32, value: Option<String>| value.filter(|_| which & 1 << bit != 0);
            Facts {
                suggestion: keep(0, all.suggestion),
                subject: keep(1, all.subject),
                link: keep(2, all.link),
                answer: keep(3, all.answer),
                problem: keep(4, all.problem),
                ..all
            }
        };
        (0..1 << 5).map(known)
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
    fn every_variable_is_in_the_document() {
        let text = include_str!("../docs/quarantine.md");
        let (_, text) = text.split_once("## Your own texts").unwrap();
        let (table, _) = text.split_once("\n## ").unwrap();
        for name in Facts::example().value("").try_iter().unwrap() {
            assert!(table.contains(&format!("`{name}`")), "{name}");
        }
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
    fn digest_names_every_message_with_its_id() {
        let header = Header {
            from: "straymail@site.example",
            to: "anna@site.example",
            id: "T0ken",
            about: None,
            date: Timestamp::UNIX_EPOCH,
        };
        let item = |id: &str, recipient: &str| Item {
            id: id.to_owned(),
            facts: Facts {
                recipient: recipient.to_owned(),
                subject: Some("<script>".into()),
                ..Facts::example()
            },
        };
        let items = [
            item("7Q2M000000", "carl@army.ml"),
            item("AB12000000", "dora@navy.ml"),
        ];
        let templates = Templates::built_in().unwrap();
        let bytes = templates.compose_digest(&header, &items).unwrap();
        let mail = MessageParser::default().parse(&bytes).unwrap();
        assert_eq!(mail.subject(), Some("Not sent yet: 2 of your mails"));
        let text = mail.body_text(0).unwrap();
        for part in [
            "7Q2M000000",
            "carl@army.ml",
            "AB12000000",
            "dora@navy.ml",
            "send all",
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!mail.body_html(0).unwrap().contains("<script"));
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
