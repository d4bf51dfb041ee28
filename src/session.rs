//! One SMTP session as the milter sees it: a pure state machine.
//!
//! It knows who sends, through which listener, and what was decided about the recipients so
//! far, and says at the end of the message what to ask of the MTA. It knows nothing of the
//! milter library, so that two adapters can drive it and tests need no MTA.

mod gate;
mod message;
mod recipient;

use std::net::IpAddr;

use crate::address::Address;
use crate::octets::Octets;
use crate::policy::{OnError, Role, Subject};
use crate::public_suffix::PublicSuffixes;
use crate::untrusted::Untrusted;

pub use gate::{Gate, Passage};
pub use message::{Change, Message};
pub use recipient::{Judged, Rcpt, Recipient};

/// Most domains of earlier recipients that are remembered for judging a later one. A message
/// to more is no conversation among people who know each other.
const MAX_COMPANIONS: usize = 20;

/// Most recipients without evidence that are remembered for learning. A message to more is a
/// mailing and says little about whom its sender knows.
const MAX_CONTACTS: usize = 50;

/// The SMTP client, as the MTA describes it at CONNECT.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Client {
    /// Host name, as the MTA looked it up.
    pub name: Vec<u8>,
    /// Address; `None` for UNIX sockets and unknown families.
    pub ip: Option<IpAddr>,
    /// Port; 0 for mail that Postfix's cleanup passes on from sendmail(1).
    pub port: u16,
}

/// A MAIL command with the macros that belong to it. Every macro may be missing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mail<'a> {
    /// The path as received, with angle brackets on SMTP and without from sendmail(1).
    pub path: &'a [u8],
    /// ESMTP parameters, `BODY=8BITMIME`.
    pub args: &'a [&'a [u8]],
    /// `{auth_authen}`: SASL login.
    pub login: Option<&'a [u8]>,
    /// `i`: queue id. Postfix assigns it only once a recipient was accepted.
    pub queue_id: Option<&'a [u8]>,
}

/// What straymail answers to one milter event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// Go on. Never ACCEPT: after an early accept, Postfix before 3.11.3 could be made to send
    /// a second message past the milter.
    Continue,
    /// No more body chunks are needed.
    Skip,
    /// Refuse the recipient or the message with this reply.
    Refuse(crate::reply::Reply),
    /// Take the message off the MTA's hands: all its recipients are held by us.
    Discard,
}

/// The session of one milter connection.
#[derive(Debug)]
pub struct Session {
    role: Role,
    client: Client,
    mta_is_sendmail: bool,
    message: Option<Message>,
}

impl Session {
    /// Begins a session on a listener of this role.
    pub fn new(role: Role) -> Session {
        Session {
            role,
            client: Client::default(),
            mta_is_sendmail: false,
            message: None,
        }
    }

    /// Before CONNECT: the MTA's own version, its macro `v`, if it told that.
    ///
    /// Sendmail says `8.17.1.9` and begins the reply to a RCPT with `<the address>... `;
    /// Postfix says `Postfix 3.7.11` and passes our text on as it is.
    pub fn mta(&mut self, version: Option<&[u8]>) {
        self.mta_is_sendmail = version
            .and_then(<[u8]>::first)
            .is_some_and(u8::is_ascii_digit);
    }

    /// Returns whether the MTA itself names this recipient when it passes on a refusal, so
    /// that our text need not: not so when the MTA has rewritten the address.
    pub fn mta_names(&self, recipient: &Recipient) -> bool {
        self.mta_is_sendmail && recipient.address.canonical() == recipient.canonical()
    }

    /// CONNECT: who speaks to the MTA.
    ///
    /// Postfix's cleanup simulates a client `localhost` with port 0 for mail from sendmail(1).
    /// There no recipient may be refused, whatever the listener's role.
    pub fn connect(&mut self, client: Client) {
        if client.port == 0 && client.ip.is_some_and(|ip| ip.is_loopback()) {
            self.role = Role::Local;
        }
        self.client = client;
    }

    /// MAIL: a new message; what was known of an earlier one is forgotten.
    pub fn mail(&mut self, mail: Mail<'_>, gate: &Gate, suffixes: &PublicSuffixes) -> &Message {
        let sender = Address::parse(mail.path, suffixes);
        let login = mail.login.filter(|login| !login.is_empty());
        // Sendmail gives `SITE\anna` as `SITE+5Canna`.
        let decoded = match self.mta_is_sendmail {
            true => login.map(Octets::from_xtext),
            false => None,
        };
        let login = (decoded.as_ref().map(Octets::as_bytes)).or(login);
        let passage = gate.passage(self.role, &sender, &self.client, login.is_some());
        self.message.insert(Message {
            sender,
            sender_args: to_owned(mail.args),
            login: login.map(text),
            queue_id: escaped(mail.queue_id),
            passage,
            judged: Vec::new(),
            clean: 0,
            companions: Vec::new(),
            contacts: Vec::new(),
            passed: Vec::new(),
            role: self.role,
            fault: None,
        })
    }

    /// RCPT: returns the recipient when it is to be judged.
    ///
    /// A RCPT without a MAIL before it is judged as well: a confused MTA opens no way around.
    pub fn rcpt(&mut self, rcpt: Rcpt<'_>, suffixes: &PublicSuffixes) -> Option<Recipient> {
        if let Some(message) = &mut self.message {
            message.learn_queue_id(rcpt.queue_id);
            if message.passage != Passage::Judged {
                return None;
            }
        }
        Some(Recipient::parse(rcpt, suffixes))
    }

    /// Notes a recipient without evidence.
    pub fn let_pass(&mut self, recipient: Recipient) {
        let Some(message) = &mut self.message else {
            return;
        };
        message.clean += 1;
        if message.companions.len() < MAX_COMPANIONS
            && let Some(domain) = recipient.domain()
            && !message.companions.contains(domain)
        {
            message.companions.push(domain.clone());
        }
        if message.contacts.len() < MAX_CONTACTS && recipient.domain().is_some() {
            message.contacts.push(recipient.canonical());
        }
        message.keep_passed(recipient);
    }

    /// Notes what was decided about a recipient that was not refused.
    pub fn note(&mut self, judged: Judged) {
        if let Some(message) = &mut self.message {
            message.judged.push(judged);
        }
    }

    /// Notes a recipient about whom a fault of ours decides, at the end of the message; the
    /// strictest `on_error` wins.
    pub fn fail(&mut self, on_error: OnError, recipient: Recipient) {
        if let Some(message) = &mut self.message {
            message.clean += 1;
            let stricter = |old: OnError| old.strictest(on_error);
            message.fault = Some(message.fault.map_or(on_error, stricter));
            message.keep_passed(recipient);
        }
    }

    /// Returns the message under way.
    pub fn message(&self) -> Option<&Message> {
        self.message.as_ref()
    }

    /// Returns the role that applies to this session.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns the SMTP client.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Returns what rules ask about `recipient` (in comparable form) of this message, whose
    /// sender is given in comparable form too.
    pub fn subject<'a>(&'a self, sender: &'a str, recipient: &'a str) -> Subject<'a> {
        Subject {
            sender,
            login: self.message.as_ref().and_then(|m| m.login.as_deref()),
            client: self.client.ip,
            role: self.role,
            recipient,
        }
    }

    /// Returns whether the header and body are needed, because a recipient will be held.
    pub fn wants_content(&self) -> bool {
        (self.message.as_ref()).is_some_and(|message| message.held().next().is_some())
    }

    /// Returns whether nothing is left to do at the end of the message.
    pub fn is_plain(&self) -> bool {
        (self.message.as_ref()).is_none_or(|m| m.judged.is_empty() && m.fault.is_none())
    }

    /// End of message: hands the message over, leaving the session ready for the next.
    pub fn end_of_message(&mut self, queue_id: Option<&[u8]>) -> Option<Message> {
        let mut message = self.message.take()?;
        message.learn_queue_id(queue_id);
        Some(message)
    }

    /// ABORT (also after RSET): forgets the message; client and login stay the MTA's to tell.
    pub fn abort(&mut self) {
        self.message = None;
    }
}

impl OnError {
    /// Returns the answer that risks least: tempfail before hold-message before accept.
    fn strictest(self, other: OnError) -> OnError {
        match (self, other) {
            (OnError::Tempfail, _) | (_, OnError::Tempfail) => OnError::Tempfail,
            (OnError::HoldMessage, _) | (_, OnError::HoldMessage) => OnError::HoldMessage,
            (OnError::Accept, OnError::Accept) => OnError::Accept,
        }
    }
}

fn to_owned(args: &[&[u8]]) -> Vec<Vec<u8>> {
    args.iter().map(|arg| arg.to_vec()).collect()
}

fn text(macro_value: &[u8]) -> String {
    match std::str::from_utf8(macro_value) {
        Ok(text) => text.to_owned(),
        Err(_) => Untrusted(macro_value).whole(),
    }
}

fn escaped(macro_value: Option<&[u8]>) -> Option<String> {
    macro_value.map(|value| Untrusted(value).to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Action, Band, Mode, Verdict};
    use crate::score::Assessment;

    fn suffixes() -> PublicSuffixes {
        PublicSuffixes::built_in()
    }

    fn gate() -> Gate {
        Gate {
            networks: vec!["10.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            authenticated: true,
        }
    }

    fn client(ip: &str, port: u16) -> Client {
        Client {
            name: b"client.example".to_vec(),
            ip: Some(ip.parse().unwrap()),
            port,
        }
    }

    /// A session after CONNECT and MAIL.
    fn session(role: Role, ip: &str, sender: &[u8], login: Option<&[u8]>) -> Session {
        let mut session = Session::new(role);
        session.connect(client(ip, 4000));
        let mail = Mail {
            path: sender,
            login,
            ..Mail::default()
        };
        session.mail(mail, &gate(), &suffixes());
        session
    }

    fn passage(role: Role, ip: &str, sender: &[u8], login: Option<&[u8]>) -> Passage {
        session(role, ip, sender, login).message().unwrap().passage
    }

    fn rcpt<'a>(path: &'a [u8], rewritten: Option<&'a [u8]>) -> Rcpt<'a> {
        Rcpt {
            path,
            rewritten,
            ..Rcpt::default()
        }
    }

    fn decide(session: &mut Session, path: &[u8], rewritten: Option<&[u8]>, action: Action) {
        let recipient = session.rcpt(rcpt(path, rewritten), &suffixes()).unwrap();
        session.note(Judged {
            recipient,
            assessment: Assessment::undecodable(b"x", &crate::domain::DomainError::Empty),
            verdict: Verdict {
                action,
                intended: action,
                band: Band::Suspect,
                mode: Mode::Enforce,
                rule: "default".into(),
                approval: None,
                on_error: OnError::Tempfail,
            },
        });
    }

    fn deleted(message: &Message) -> Vec<String> {
        (message.changes().into_iter())
            .map(|change| match change {
                Change::DeleteRecipient(path) => String::from_utf8(path).unwrap(),
                other => panic!("{other:?}"),
            })
            .collect()
    }

    fn clean(path: &str) -> Recipient {
        Recipient::parse(rcpt(path.as_bytes(), None), &suffixes())
    }

    #[test]
    fn domains_of_clean_recipients_are_remembered_once_and_not_for_ever() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        session.let_pass(clean("<bob@navy.mil>"));
        session.let_pass(clean("<eve@NAVY.mil>"));
        for number in 0..100 {
            session.let_pass(clean(&format!("<x@d{number}.example>")));
        }
        let message = session.message().unwrap();
        assert_eq!(
            (message.clean, message.companions.len()),
            (102, MAX_COMPANIONS)
        );
        assert_eq!(message.companions[0].ascii(), "navy.mil");
    }

    #[test]
    fn gate_lets_only_our_own_mail_be_judged() {
        use Passage::*;
        let alice = b"<alice@site.example>";
        assert_eq!(passage(Role::Relay, "192.0.2.1", alice, None), Inbound);
        assert_eq!(passage(Role::Relay, "192.0.2.1", alice, Some(b"")), Inbound);
        assert_eq!(
            passage(Role::Relay, "192.0.2.1", alice, Some(b"alice")),
            Judged
        );
        assert_eq!(passage(Role::Relay, "10.1.2.3", alice, None), Judged);
        assert_eq!(passage(Role::Relay, "::ffff:10.1.2.3", alice, None), Judged);
        assert_eq!(passage(Role::Submission, "192.0.2.1", alice, None), Judged);
        assert_eq!(passage(Role::Local, "192.0.2.1", alice, None), Judged);
        assert_eq!(
            passage(Role::Submission, "10.1.2.3", b"<>", Some(b"alice")),
            NullSender
        );
    }

    #[test]
    fn login_is_kept_as_received() {
        let login = |login| {
            let session = session(Role::Submission, "192.0.2.1", b"<a@b.test>", Some(login));
            session.message().unwrap().login.clone().unwrap()
        };
        assert_eq!(login(b"SITE\\anna"), "SITE\\anna");
        assert_eq!(login(b"J\xc3\xbcrgen"), "J\u{fc}rgen");
        assert_eq!(login(b"a\xff"), "a\\xff");
    }

    #[test]
    fn login_of_sendmail_is_decoded_and_of_others_not() {
        let login = |version: &[u8], login| {
            let mut session = Session::new(Role::Submission);
            session.mta(Some(version));
            let mail = Mail {
                path: b"<a@b.test>",
                login: Some(login),
                ..Mail::default()
            };
            session.mail(mail, &gate(), &suffixes());
            session.message().unwrap().login.clone().unwrap()
        };
        assert_eq!(login(b"8.17.1.9", b"SITE+5Canna+2B1"), "SITE\\anna+1");
        assert_eq!(login(b"8.17.1.9", b"anna+5+g0+"), "anna+5+g0+");
        assert_eq!(login(b"Postfix 3.7.11", b"anna+5C"), "anna+5C");
    }

    #[test]
    fn gate_without_authenticated_ignores_the_login() {
        let mut session = Session::new(Role::Relay);
        session.connect(client("192.0.2.1", 4000));
        let (gate, mail) = (
            Gate {
                networks: vec![],
                authenticated: false,
            },
            Mail {
                path: b"<a@b.example>",
                login: Some(b"alice"),
                ..Mail::default()
            },
        );
        assert_eq!(
            session.mail(mail, &gate, &suffixes()).passage,
            Passage::Inbound
        );
    }

    #[test]
    fn recipients_of_inbound_mail_are_not_even_parsed() {
        let mut session = session(Role::Relay, "192.0.2.1", b"<a@b.example>", None);
        assert!(
            session
                .rcpt(rcpt(b"<carl@army.ml>", None), &suffixes())
                .is_none()
        );
    }

    #[test]
    fn only_sendmail_names_the_recipient_of_a_refusal_and_only_as_sent() {
        let names = |version: Option<&[u8]>, rewritten: &[u8]| {
            let mut session = Session::new(Role::Submission);
            session.mta(version);
            let path = b"<Carl@army.ml>";
            session.mta_names(&Recipient::parse(rcpt(path, Some(rewritten)), &suffixes()))
        };
        assert!(names(Some(b"8.17.1.9"), b"Carl@army.ml"));
        assert!(!names(Some(b"8.17.1.9"), b"gary@army.ml"));
        assert!(!names(Some(b"Postfix 3.7.11"), b"carl@army.ml"));
        assert!(!names(Some(b""), b"carl@army.ml"));
        assert!(!names(None, b"carl@army.ml"));
    }

    #[test]
    fn sendmail_submission_makes_the_session_local() {
        let mut session = Session::new(Role::Relay);
        session.connect(client("127.0.0.1", 0));
        assert_eq!(session.role(), Role::Local);
        session = Session::new(Role::Relay);
        session.connect(client("192.0.2.1", 0));
        assert_eq!(session.role(), Role::Relay);
    }

    #[test]
    fn held_recipient_is_removed_in_both_spellings() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        decide(
            &mut session,
            b"<Carl@ARMY.ml>",
            Some(b"carl@army.ml"),
            Action::Hold,
        );
        decide(
            &mut session,
            b"dora@army.ml",
            Some(b"dora@army.ml"),
            Action::Hold,
        );
        decide(&mut session, b"<eve@army.ml>", None, Action::Accept);
        let message = session.end_of_message(None).unwrap();
        assert_eq!(
            deleted(&message),
            ["<Carl@ARMY.ml>", "carl@army.ml", "dora@army.ml"]
        );
        assert!(!message.all_held());
    }

    #[test]
    fn error_text_in_the_macro_is_not_an_address() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        let text: &[u8] = b"Recipient address rejected: no such user";
        let recipient = session
            .rcpt(rcpt(b"<bob@navy.mil>", Some(text)), &suffixes())
            .unwrap();
        assert!(recipient.rewritten.is_none());
        assert_eq!(recipient.canonical(), "bob@navy.mil");
    }

    #[test]
    fn message_is_discarded_only_when_nobody_else_gets_it() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        decide(&mut session, b"<carl@army.ml>", None, Action::Hold);
        assert!(session.wants_content());
        session.let_pass(clean("<bob@navy.mil>"));
        assert!(!session.end_of_message(None).unwrap().all_held());
    }

    #[test]
    fn only_sendmail_messages_with_others_left_must_be_split() {
        for (role, others, expected) in [
            (Role::Local, true, true),
            (Role::Local, false, false),
            (Role::Relay, true, false),
        ] {
            let mut session = session(role, "10.1.2.3", b"<a@site.example>", None);
            decide(&mut session, b"carl@army.ml", None, Action::Hold);
            if others {
                session.let_pass(clean("bob@navy.mil"));
            }
            let message = session.end_of_message(None).unwrap();
            assert_eq!(message.must_split(), expected, "{role:?} {others}");
            assert_eq!(message.passed.len(), usize::from(expected));
        }
    }

    #[test]
    fn rset_and_a_new_mail_forget_recipients() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        decide(&mut session, b"<carl@army.ml>", None, Action::Hold);
        session.abort();
        assert!(!session.wants_content());
        assert!(session.end_of_message(None).is_none());
        session.mail(
            Mail {
                path: b"<b@site.example>",
                ..Mail::default()
            },
            &gate(),
            &suffixes(),
        );
        decide(&mut session, b"<carl@army.ml>", None, Action::Hold);
        session.mail(
            Mail {
                path: b"<c@site.example>",
                ..Mail::default()
            },
            &gate(),
            &suffixes(),
        );
        assert!(!session.wants_content());
    }

    #[test]
    fn queue_id_is_taken_whenever_the_mta_tells_it() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        assert_eq!(session.message().unwrap().queue_id, None);
        let late = Rcpt {
            queue_id: Some(b"4XyZ"),
            ..rcpt(b"<bob@navy.mil>", None)
        };
        session.rcpt(late, &suffixes());
        assert_eq!(session.message().unwrap().queue_id.as_deref(), Some("4XyZ"));
        let message = session.end_of_message(Some(b"4XyZ2")).unwrap();
        assert_eq!(message.queue_id.as_deref(), Some("4XyZ2"));
    }

    #[test]
    fn strictest_fault_decides_about_the_message() {
        let mut session = session(Role::Relay, "10.1.2.3", b"<a@site.example>", None);
        session.fail(OnError::Accept, clean("<carl@army.ml>"));
        session.fail(OnError::HoldMessage, clean("<carl@army.ml>"));
        assert!(!session.is_plain());
        assert_eq!(session.message().unwrap().fault, Some(OnError::HoldMessage));
        session.fail(OnError::Tempfail, clean("<carl@army.ml>"));
        session.fail(OnError::Accept, clean("<carl@army.ml>"));
        assert_eq!(session.message().unwrap().fault, Some(OnError::Tempfail));
    }
}
