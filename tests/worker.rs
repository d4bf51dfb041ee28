//! The life of a held message after its grace period: notice, answer, delivery, end.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

#[path = "worker/clock.rs"]
mod clock;
#[path = "worker/decided.rs"]
mod decided;
#[path = "worker/digest.rs"]
mod digest;
#[path = "worker/end.rs"]
mod end;
#[path = "worker/figures.rs"]
mod figures;
mod held;
mod support;

use std::sync::Arc;
use std::time::Duration;

use held::{MESSAGE, at, envelope, open, settings, state};
use mail_parser::MessageParser;
use straymail::address::Address;
use straymail::logging;
use straymail::notice::{NoticeSettings, Templates};
use straymail::octets::Octets;
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Assessment, Candidate, Edit, Finding};
use straymail::service::decide::{Choice, Decision, Remember};
use straymail::service::desk::{Desk, NotTaken, Taken, Writer};
use straymail::service::quarantine::Quarantine;
use straymail::service::token::{Links, Tokens};
use straymail::service::worker::{AtEnd, Worker, WorkerSettings};
use straymail::store::{AuditFilter, EntryId, EntryState, EventKind};
use support::sink::{Delivery, Sink};
use tempfile::TempDir;

const FROM: &str = "straymail@example.org";

/// A quarantine with its worker, and the MTA they deliver to.
struct Site {
    dir: TempDir,
    sink: Sink,
    quarantine: Arc<Quarantine>,
    worker: Worker,
    desk: Desk,
}

fn site_with(worker: WorkerSettings, notices: NoticeSettings) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let sink = Sink::start().unwrap();
    let quarantine = Arc::new(open(dir.path(), sink.port()));
    let tokens = Arc::new(Tokens::open(dir.path(), at(0)).unwrap());
    let worker = Worker::new(
        Arc::clone(&quarantine),
        worker,
        notices,
        Templates::built_in().unwrap(),
        Arc::clone(&tokens),
        logging::discard(),
    );
    let desk = Desk {
        from: FROM.to_owned(),
        tokens,
    };
    Site {
        dir,
        sink,
        quarantine,
        worker,
        desk,
    }
}

fn notices() -> NoticeSettings {
    NoticeSettings {
        from: Some(FROM.to_owned()),
        ..NoticeSettings::default()
    }
}

fn site() -> Site {
    let own = vec!["example.org".to_owned()];
    site_with(
        WorkerSettings {
            own,
            ..WorkerSettings::default()
        },
        notices(),
    )
}

fn assessment() -> Assessment {
    let candidate = Candidate {
        trusted: "army.mil".to_owned(),
        hosts: String::new(),
        score: 70,
        evidence: Vec::new(),
        edit: Edit {
            marked: "army.m[i]l".to_owned(),
            ..Edit::default()
        },
    };
    Assessment {
        score: 70,
        finding: Finding::Resembles {
            candidates: vec![candidate],
        },
    }
}

impl Site {
    /// Holds `message` for carl@army.ml, with evidence.
    fn hold(&self, message: &[u8]) -> EntryId {
        self.hold_at(message, 0)
    }

    fn hold_at(&self, message: &[u8], second: i64) -> EntryId {
        let mut envelope = envelope(at(second));
        envelope.recipients[0].assessment = assessment();
        let mut draft = self.quarantine.draft();
        draft.write(message).unwrap();
        (self.quarantine.hold(draft, envelope, at(second)).unwrap()).remove(0)
    }

    fn tick(&self, second: i64) {
        self.worker.tick(at(second)).unwrap();
    }

    /// The notice that the last tick sent.
    fn notice(&self) -> Delivery {
        self.sink.deliveries().pop().unwrap()
    }

    /// What a mail program makes of a reply to `notice`.
    fn reply(notice: &Delivery, text: &str) -> Vec<u8> {
        let mail = MessageParser::default().parse(&notice.data).unwrap();
        let id = mail.message_id().unwrap();
        format!(
            "From: Anna <anna@example.org>\r\nTo: <{FROM}>\r\nSubject: Re: Not sent yet\r\n\
             In-Reply-To: <{id}>\r\nReferences: <{id}>\r\n\r\n{text}\r\n> quoted\r\n"
        )
        .into_bytes()
    }

    fn answer(&self, text: &str, writer: &Writer, second: i64) -> Result<Taken, NotTaken> {
        let notices = self.sink.deliveries();
        let notice = (notices.iter().find(|d| d.sender.is_empty())).unwrap();
        let reply = Site::reply(notice, text);
        (self.desk).take(&self.quarantine, &reply, writer, at(second))
    }

    /// What was delivered other than notices: recipients and text.
    fn delivered(&self) -> Vec<(String, Vec<u8>)> {
        (self.sink.deliveries().into_iter())
            .filter(|delivery| !delivery.sender.is_empty())
            .map(|delivery| (delivery.recipients[0].0.clone(), delivery.data))
            .collect()
    }

    fn kinds(&self, id: &EntryId) -> Vec<EventKind> {
        let filter = AuditFilter {
            entry: Some(id.clone()),
            ..AuditFilter::default()
        };
        let rows = self.quarantine.audit(&filter).unwrap();
        rows.into_iter().map(|row| row.event.kind).collect()
    }
}

fn anna() -> Writer {
    Writer {
        sender: "anna@example.org".to_owned(),
        login: Some("anna".to_owned()),
    }
}

#[test]
fn sender_is_told_after_the_grace_period_and_only_once() {
    let site = site();
    site.hold(MESSAGE);
    site.tick(59);
    assert_eq!(site.sink.deliveries().len(), 0);
    for second in [60, 61, 4000] {
        site.tick(second);
    }
    assert_eq!(site.sink.deliveries().len(), 1);
    let notice = site.notice();
    assert_eq!(notice.sender, "");
    assert_eq!(
        notice.recipients,
        [("anna@example.org".to_owned(), String::new())]
    );
    let mail = MessageParser::default().parse(&notice.data).unwrap();
    let text = mail.body_text(0).unwrap().replace("\r\n", "\n");
    for part in [
        "carl@army.ml",
        "carl@army.mil",
        "army.m[i]l",
        "plan",
        "it is thrown away",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn answer_send_delivers_the_message_as_it_came() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    let taken = site.answer("send", &anna(), 100).unwrap();
    assert_eq!(taken, Taken::Decided(vec![id.clone()]));
    site.tick(101);
    assert_eq!(
        site.delivered(),
        [("carl@army.ml".to_owned(), MESSAGE.to_vec())]
    );
    assert_eq!(state(&site.quarantine, &id, at(102)), EntryState::Released);
    use EventKind::{Decided, Held, Notified, Released};
    assert_eq!(site.kinds(&id), [Held, Notified, Decided, Released]);
    // The approval of the release ends; the next message is asked about again.
    let approved = |second| {
        let approval = (site.quarantine).approval("anna@example.org", "carl@army.ml", at(second));
        approval.unwrap().is_some()
    };
    assert!(approved(102) && !approved(102 + 3600));
}

#[test]
fn answer_send_always_is_remembered_for_this_sender_and_recipient() {
    let site = site();
    site.hold(MESSAGE);
    site.tick(60);
    site.answer("Send always, thanks!", &anna(), 100).unwrap();
    let later = at(90 * 86_400);
    let approval = |sender, recipient| site.quarantine.approval(sender, recipient, later).unwrap();
    assert!(approval("anna@example.org", "carl@army.ml").is_some());
    assert!(approval("bert@example.org", "carl@army.ml").is_none());
    assert!(approval("anna@example.org", "dora@army.ml").is_none());
}

#[test]
fn answer_cancel_ends_the_entry_at_once() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.answer("cancel", &anna(), 100).unwrap();
    assert_eq!(state(&site.quarantine, &id, at(100)), EntryState::Dropped);
    assert_eq!(held::files(site.dir.path()), 0);
    site.tick(101);
    assert_eq!(site.delivered(), []);
}

#[test]
fn answer_correct_sends_to_the_suggestion_and_says_so_in_that_copy() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.answer("correct", &anna(), 100).unwrap();
    site.tick(101);
    let delivered = site.delivered();
    let expected = [
        b"X-Straymail-Corrected: addressed to carl@army.ml\r\n",
        MESSAGE,
    ]
    .concat();
    assert_eq!(delivered, [("carl@army.mil".to_owned(), expected)]);
    let sent = site.notice();
    assert_eq!(sent.recipients[0].1, "NOTIFY=SUCCESS,FAILURE");
    assert!(site.kinds(&id).contains(&EventKind::Corrected));
    let approval = (site.quarantine).approval("anna@example.org", "carl@army.ml", at(102));
    assert!(approval.unwrap().is_none());
}

#[test]
fn answer_correct_takes_the_address_written_behind_it() {
    let site = site();
    site.hold(MESSAGE);
    site.tick(60);
    let bad = site.answer("correct carl@army", &anna(), 100).unwrap_err();
    assert_eq!(
        bad.to_string(),
        "\"carl@army\" is not an address; write one like name@example.org"
    );
    let same = site.answer("correct Carl@army.ml", &anna(), 100);
    assert_eq!(
        same.unwrap_err().to_string(),
        "\"Carl@army.ml\" is the address the message is held for, so that corrects nothing; write another one, or say that it is to be sent as it is"
    );
    site.answer("correct charles@army.mil", &anna(), 100)
        .unwrap();
    site.tick(101);
    assert_eq!(site.delivered()[0].0, "charles@army.mil");
}

#[test]
fn only_the_sender_of_the_held_message_decides() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    for (sender, login) in [
        ("eve@example.org", Some("eve")),
        ("anna@example.org", Some("eve")),
        ("anna@example.org", None),
    ] {
        let writer = Writer {
            sender: sender.to_owned(),
            login: login.map(str::to_owned),
        };
        let error = site.answer("send", &writer, 100).unwrap_err();
        assert!(matches!(error, NotTaken::Foreign), "{error}");
    }
    assert_eq!(state(&site.quarantine, &id, at(100)), EntryState::Held);
}

#[test]
fn second_answer_and_a_late_one_change_nothing() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.answer("cancel", &anna(), 100).unwrap();
    let again = site.answer("send", &anna(), 101).unwrap_err();
    let text = again.to_string();
    assert!(
        text.starts_with("the message to carl@army.ml was already decided: dropped at "),
        "{text}"
    );
    let late = site.answer("send", &anna(), 15 * 86_400).unwrap_err();
    assert!(matches!(late, NotTaken::Token(_)), "{late}");
    site.tick(102);
    assert_eq!(
        (site.delivered(), state(&site.quarantine, &id, at(103))),
        (vec![], EntryState::Dropped)
    );
}

#[test]
fn unclear_forged_and_automatic_answers_change_nothing() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    let unclear = site.answer("Yes please!", &anna(), 100).unwrap_err();
    assert_eq!(
        unclear.to_string(),
        "the first line must be send, send always, cancel, correct or correct name@example.org, and nothing else"
    );
    let reply = Site::reply(&site.notice(), "send");
    let take = |octets: &[u8]| site.desk.take(&site.quarantine, octets, &anna(), at(100));
    for field in [
        "Auto-Submitted: auto-replied",
        "X-Autoreply: yes",
        "Precedence: bulk",
    ] {
        let automatic = [format!("{field}\r\n").as_bytes(), &reply].concat();
        assert_eq!(take(&automatic).unwrap(), Taken::NoAnswer, "{field}");
    }
    assert_eq!(
        take(b"Subject: hi\r\n\r\nsend\r\n").unwrap(),
        Taken::NoAnswer
    );
    let text = String::from_utf8(reply).unwrap();
    let token = text
        .split('<')
        .nth(3)
        .unwrap()
        .split('@')
        .next()
        .unwrap()
        .to_owned();
    let mut forged: Vec<char> = token.chars().collect();
    forged[20] = if forged[20] == 'A' { 'B' } else { 'A' };
    let forged = text.replace(&token, &forged.into_iter().collect::<String>());
    assert!(matches!(take(forged.as_bytes()), Err(NotTaken::Token(_))));
    assert_eq!(state(&site.quarantine, &id, at(101)), EntryState::Held);
}

#[test]
fn answer_that_says_anything_else_is_refused_and_nothing_leaves() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    let first = "the first line must be send, send always, cancel, correct or correct name@example.org, and nothing else";
    for (text, expected) in [
        ("send to bob@army.mil instead", first),
        ("Send it never!", first),
        ("send or cancel? I do not know", first),
        ("correct carl@army.ml to carl@army.mil", first),
        ("Correct, the address is right, please send", first),
        ("send. Always glad to help", first),
        (id.as_str(), first),
        ("send 7Q2M", first),
        ("send all", first),
        (
            "send\nto bob@army.mil",
            "\"to bob@army.mil\" may change the answer; write only what decides, and an empty line below it",
        ),
        (
            "send\n\ncancel",
            "two lines say different things of one message; write one line for it",
        ),
        (
            "-----BEGIN PGP MESSAGE-----\n\nx",
            "it is encrypted, or signed in a way that it cannot be read; answer as plain text, or by the link if the notice has one",
        ),
    ] {
        let error = site.answer(text, &anna(), 100).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text:?}");
    }
    site.tick(101);
    assert_eq!(
        (site.delivered(), state(&site.quarantine, &id, at(102))),
        (vec![], EntryState::Held)
    );
}

#[test]
fn senders_that_are_not_ours_and_programs_get_no_notice() {
    for (message, login, sender) in [
        (
            "Auto-Submitted: auto-generated\r\n\r\nx",
            Some("anna"),
            "anna@example.org",
        ),
        (
            "List-Id: <l.example.org>\r\n\r\nx",
            Some("anna"),
            "anna@example.org",
        ),
        (
            "Precedence: bulk\r\n\r\nx",
            Some("anna"),
            "anna@example.org",
        ),
        ("Subject: x\r\n\r\nx", None, "anna@elsewhere.example"),
    ] {
        let site = site();
        let mut envelope = envelope(at(0));
        envelope.login = login.map(Octets::from);
        envelope.sender = Octets::from(format!("<{sender}>"));
        envelope.sender_address = sender.to_owned();
        let mut draft = site.quarantine.draft();
        draft.write(message.as_bytes()).unwrap();
        let id = (site.quarantine.hold(draft, envelope, at(0)).unwrap()).remove(0);
        site.tick(60);
        site.tick(4000);
        assert_eq!(site.sink.deliveries(), [], "{message}");
        assert_eq!(
            site.kinds(&id),
            [EventKind::Held, EventKind::Notified],
            "{message}"
        );
    }
}

#[test]
fn login_that_is_an_address_gets_the_notice_whatever_the_envelope_says() {
    let site = site();
    let mut envelope = envelope(at(0));
    envelope.login = Some(Octets::from("Bert@example.org"));
    let mut draft = site.quarantine.draft();
    draft.write(MESSAGE).unwrap();
    site.quarantine.hold(draft, envelope, at(0)).unwrap();
    site.tick(60);
    assert_eq!(site.notice().recipients[0].0, "bert@example.org");
}

#[test]
fn senders_with_other_letters_or_quotation_marks_are_told_and_decide() {
    for (sender, mailbox, said) in [
        ("<jürgen@example.org>", "jürgen@example.org", "SMTPUTF8"),
        (
            "<\"Anna Smith\"@example.org>",
            "\"anna smith\"@example.org",
            "",
        ),
    ] {
        let site = site();
        let parsed = Address::parse(sender.as_bytes(), &PublicSuffixes::built_in());
        let mut envelope = envelope(at(0));
        envelope.login = None;
        envelope.sender = Octets::from(sender);
        envelope.sender_address = parsed.canonical();
        let mut draft = site.quarantine.draft();
        draft.write(MESSAGE).unwrap();
        let id = (site.quarantine.hold(draft, envelope, at(0)).unwrap()).remove(0);
        site.tick(60);
        let notice = site.notice();
        assert_eq!(notice.recipients[0].0, mailbox);
        assert_eq!(notice.sender_args, said, "{sender}");
        let mail = MessageParser::default().parse(&notice.data).unwrap();
        let to = mail.to().and_then(|to| to.first()?.address()).unwrap();
        assert_eq!(to.replace('"', ""), mailbox.replace('"', ""));
        let writer = Writer {
            sender: parsed.canonical(),
            login: None,
        };
        site.answer("cancel", &writer, 100).unwrap();
        let state = state(&site.quarantine, &id, at(100));
        assert_eq!(state, EntryState::Dropped, "{sender}");
    }
}

fn subject(delivery: &Delivery) -> String {
    let mail = MessageParser::default().parse(&delivery.data).unwrap();
    mail.subject().unwrap().to_owned()
}

#[test]
fn mta_that_is_down_delays_and_loses_nothing() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.quarantine
        .decide(&id, &Decision::SEND, "tester", at(60))
        .unwrap();
    let (quarantine, _) = (open_elsewhere(&site), ());
    let tokens = Arc::new(Tokens::open(site.dir.path(), at(0)).unwrap());
    let down = Worker::new(
        quarantine,
        WorkerSettings::default(),
        NoticeSettings::default(),
        Templates::built_in().unwrap(),
        tokens,
        logging::discard(),
    );
    down.tick(at(61)).unwrap();
    assert_eq!(state(&site.quarantine, &id, at(62)), EntryState::Held);
    // Not before the pause is over.
    site.tick(70);
    assert_eq!(site.delivered().len(), 0);
    site.tick(61 + 60);
    assert_eq!(site.delivered().len(), 1);
}

/// The same quarantine, released to a port where nobody listens.
fn open_elsewhere(site: &Site) -> Arc<Quarantine> {
    let port = {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).unwrap();
        listener.local_addr().unwrap().port()
    };
    let settings = settings(site.dir.path(), port);
    Arc::new(Quarantine::open(settings, at(60)).unwrap())
}

/// A site where held messages end after 1000 seconds.
fn ending(at_end: AtEnd) -> Site {
    let settings = WorkerSettings {
        keep_for: Duration::from_secs(1000),
        at_end,
        own: vec!["example.org".to_owned()],
        ..WorkerSettings::default()
    };
    site_with(settings, notices())
}

#[test]
fn after_the_key_was_revoked_senders_are_asked_anew() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    let tokens = Tokens::open(site.dir.path(), at(70)).unwrap();
    tokens.rotate(Links::Revoke, at(70)).unwrap();
    assert_eq!(site.quarantine.ask_again().unwrap(), 1);
    let old = Site::reply(&site.notice(), "send");
    let refused = (site.desk).take(&site.quarantine, &old, &anna(), at(80));
    assert!(matches!(refused, Err(NotTaken::Token(_))), "{refused:?}");
    site.tick(90);
    assert_eq!(site.sink.deliveries().len(), 2);
    let new = Site::reply(&site.notice(), "cancel");
    (site.desk)
        .take(&site.quarantine, &new, &anna(), at(100))
        .unwrap();
    assert_eq!(state(&site.quarantine, &id, at(100)), EntryState::Dropped);
}

#[test]
fn message_held_again_is_asked_about_again() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.answer("cancel", &anna(), 100).unwrap();
    let mut envelope = envelope(at(200));
    envelope.recipients[0].assessment = assessment();
    let mut draft = site.quarantine.draft();
    draft.write(MESSAGE).unwrap();
    let again = (site.quarantine.hold(draft, envelope, at(200)).unwrap()).remove(0);
    assert_eq!(again, id);
    site.tick(260);
    assert_eq!(site.sink.deliveries().len(), 2);
    // The token of the first notice speaks of the first time.
    let outdated = site.answer("send", &anna(), 300).unwrap_err();
    assert!(matches!(outdated, NotTaken::Token(_)), "{outdated}");
}

#[test]
fn message_held_again_after_its_end_has_its_whole_time_again() {
    let site = ending(AtEnd::Drop);
    let id = site.hold(MESSAGE);
    site.tick(1001);
    assert_eq!(state(&site.quarantine, &id, at(1001)), EntryState::Expired);
    let mut draft = site.quarantine.draft();
    draft.write(MESSAGE).unwrap();
    (site.quarantine.hold(draft, envelope(at(5000)), at(5000))).unwrap();
    for (second, expected) in [(5999, EntryState::Held), (6001, EntryState::Expired)] {
        site.tick(second);
        assert_eq!(state(&site.quarantine, &id, at(second)), expected);
    }
}

#[test]
fn sender_and_reviewer_at_once_have_one_outcome() {
    for _ in 0..20 {
        let site = site();
        let id = site.hold(MESSAGE);
        site.tick(60);
        let cancel = Decision {
            choice: Choice::Cancel,
            remember: Remember::Not,
        };
        let (first, second) = std::thread::scope(|scope| {
            let sender = scope.spawn(|| {
                site.quarantine
                    .decide(&id, &cancel, "sender", at(100))
                    .is_ok()
            });
            let admin = scope.spawn(|| site.quarantine.release(&id, "admin", at(100)).is_ok());
            (sender.join().unwrap(), admin.join().unwrap())
        });
        assert!(first != second, "both or none: {first} {second}");
        site.tick(101);
        assert_eq!(site.delivered().len(), usize::from(second));
    }
}

#[test]
fn counts_show_what_waits_and_what_does_not_get_on() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.quarantine
        .decide(&id, &Decision::SEND, "tester", at(61))
        .unwrap();
    let counts = site.quarantine.counts().unwrap();
    assert_eq!(counts.entries[1], (EntryState::Held, 1));
    assert_eq!((counts.decisions, counts.decisions_failing), (1, 0));
    assert_eq!(counts.oldest, Some(at(0)));
    site.tick(62);
    let counts = site.quarantine.counts().unwrap();
    assert_eq!((counts.worker_seen_at, counts.letters), (Some(at(60)), 0));
    assert_eq!(counts.entries[3], (EntryState::Released, 1));
    assert_eq!((counts.decisions, counts.oldest), (0, None));
}

/// The only file in the spool.
fn spool_file(site: &Site) -> std::path::PathBuf {
    (std::fs::read_dir(site.dir.path().join("spool")).unwrap())
        .map(|entry| entry.unwrap().path())
        .find(|path| path.is_file())
        .unwrap()
}

#[test]
fn message_file_gone_or_altered_has_one_outcome_and_the_sender_hears_of_the_end() {
    for altered in [false, true] {
        let site = ending(AtEnd::Drop);
        let id = site.hold(MESSAGE);
        let path = spool_file(&site);
        if altered {
            let mut octets = std::fs::read(&path).unwrap();
            octets[30] ^= 1;
            std::fs::write(&path, octets).unwrap();
        } else {
            std::fs::remove_file(&path).unwrap();
        }
        let expected = if altered {
            "was altered or cut"
        } else {
            "is gone"
        };
        for second in [60, 121, 500] {
            site.tick(second);
        }
        // No notice: an answer could not be carried out. Said once, not every minute.
        assert_eq!(site.sink.deliveries(), []);
        use EventKind::{Expired, Held, Notified};
        assert_eq!(site.kinds(&id), [Held, Notified]);
        let history = site.quarantine.detail(&id, at(500)).unwrap().history;
        let detail = history[1].event.detail.clone().unwrap();
        assert!(
            detail.starts_with("none: ") && detail.contains(expected),
            "{detail}"
        );
        site.tick(1001);
        site.tick(1002);
        assert_eq!(state(&site.quarantine, &id, at(1003)), EntryState::Expired);
        assert_eq!(site.kinds(&id), [Held, Notified, Expired, Notified]);
        let told: Vec<String> = site.sink.deliveries().iter().map(subject).collect();
        assert_eq!(told, ["Not delivered: your mail to carl@army.ml"]);
    }
}

#[test]
fn message_file_lost_after_the_notice_refuses_the_answer_without_naming_the_file() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    std::fs::remove_file(spool_file(&site)).unwrap();
    let lost = site.answer("send", &anna(), 100).unwrap_err();
    assert_eq!(
        lost.to_string(),
        "the message cannot be read any more; ask your mail administrator"
    );
    assert_eq!(state(&site.quarantine, &id, at(101)), EntryState::Held);
}
