//! What nobody decided on ends, and its sender hears of it.

use super::*;

#[test]
fn entry_nobody_decided_on_ends_as_configured() {
    for (at_end, expected, delivered) in [
        (AtEnd::Drop, EntryState::Expired, 0),
        (AtEnd::Release, EntryState::Released, 1),
        (AtEnd::Bounce, EntryState::Expired, 0),
    ] {
        let site = ending(at_end);
        let id = site.hold(MESSAGE);
        for second in [60, 999, 1001, 1002] {
            site.tick(second);
        }
        assert_eq!(state(&site.quarantine, &id, at(1003)), expected);
        assert_eq!(site.delivered().len(), delivered);
        // The notice, and what tells of the end; a release tells by itself.
        assert_eq!(site.sink.deliveries().len(), 2, "{at_end:?}");
        assert_eq!(held::files(site.dir.path()), 0);
    }
}

#[test]
fn sender_is_told_that_the_message_was_thrown_away() {
    let site = ending(AtEnd::Drop);
    let id = site.hold(MESSAGE);
    for second in [60, 999, 1001] {
        site.tick(second);
    }
    let letter = site.notice();
    assert_eq!(letter.sender, "");
    assert_eq!(letter.recipients[0].0, "anna@example.org");
    assert_eq!(subject(&letter), "Not delivered: your mail to carl@army.ml");
    let mail = MessageParser::default().parse(&letter.data).unwrap();
    let text = mail.body_text(0).unwrap();
    assert!(text.contains("it was thrown away"), "{text}");
    use EventKind::{Expired, Held, Notified};
    assert_eq!(site.kinds(&id), [Held, Notified, Expired, Notified]);
    // It cannot be answered any more.
    let reply = Site::reply(&letter, "send");
    let late = (site.desk)
        .take(&site.quarantine, &reply, &anna(), at(1002))
        .unwrap_err();
    assert!(matches!(late, NotTaken::Token(_)), "{late}");
}

#[test]
fn programs_and_foreign_senders_are_not_told_of_the_end() {
    let site = ending(AtEnd::Drop);
    let id = site.hold(b"Auto-Submitted: auto-generated\r\n\r\nx");
    for second in [60, 999, 1001, 1002] {
        site.tick(second);
    }
    assert_eq!(site.sink.deliveries(), []);
    let history = site.quarantine.detail(&id, at(1003)).unwrap().history;
    let last = history.last().unwrap().event.detail.clone().unwrap();
    assert_eq!(
        last,
        "nobody decided in time; nobody is told: the message is automatic"
    );
}

#[test]
fn bounce_is_a_delivery_status_notification_with_the_header() {
    let site = ending(AtEnd::Bounce);
    // A program gets it too: it is what it watches for.
    site.hold(b"Auto-Submitted: auto-generated\r\nSubject: plan\r\n\r\nsecret\r\n");
    for second in [60, 999, 1001] {
        site.tick(second);
    }
    let report = site.notice();
    assert_eq!(
        (report.sender.as_str(), report.recipients[0].0.as_str()),
        ("", "anna@example.org")
    );
    let text = String::from_utf8(report.data).unwrap();
    for part in [
        "From: Mail Delivery System <MAILER-DAEMON@example.org>\r\n",
        "Content-Type: multipart/report; report-type=delivery-status;\r\n",
        "Content-Type: message/delivery-status\r\n\r\nReporting-MTA: dns; localhost\r\n",
        "Original-Recipient: rfc822; carl@army.ml\r\nFinal-Recipient: rfc822; carl@army.ml\r\nAction: failed\r\nStatus: 5.7.1\r\n",
        "Content-Type: text/rfc822-headers\r\n\r\nAuto-Submitted: auto-generated\r\nSubject: plan\r\n--=_",
    ] {
        assert!(text.contains(part), "{part:?} is not in {text}");
    }
    assert!(!text.contains("secret"));
}

#[test]
fn a_sender_elsewhere_gets_the_report_but_no_letter() {
    for (at_end, told) in [(AtEnd::Bounce, 1), (AtEnd::Drop, 0)] {
        let site = ending(at_end);
        let mut envelope = envelope(at(0));
        envelope.sender = Octets::from("<dora@elsewhere.example>");
        envelope.sender_address = "dora@elsewhere.example".to_owned();
        envelope.login = None;
        let mut draft = site.quarantine.draft();
        draft.write(MESSAGE).unwrap();
        site.quarantine.hold(draft, envelope, at(0)).unwrap();
        for second in [60, 999, 1001, 1002] {
            site.tick(second);
        }
        let deliveries = site.sink.deliveries();
        assert_eq!(deliveries.len(), told, "{at_end:?}");
        let to = deliveries.first().map(|mail| mail.recipients[0].0.as_str());
        assert_eq!(to, (told == 1).then_some("dora@elsewhere.example"));
    }
}

#[test]
fn own_domains_of_a_reload_are_told() {
    let site = ending(AtEnd::Drop);
    let mut envelope = envelope(at(0));
    envelope.sender = Octets::from("<dora@new.example>");
    envelope.sender_address = "dora@new.example".to_owned();
    envelope.login = None;
    let mut draft = site.quarantine.draft();
    draft.write(MESSAGE).unwrap();
    site.quarantine.hold(draft, envelope, at(0)).unwrap();
    site.worker.set_own(vec!["new.example".to_owned()]);
    site.tick(60);
    assert_eq!(site.notice().recipients[0].0, "dora@new.example");
}

#[test]
fn where_a_template_fails_the_built_in_text_is_sent() {
    let site = site();
    site.hold(MESSAGE);
    let templates = tempfile::tempdir().unwrap();
    let load = |wrong_when: &str| {
        let text = format!("Subject: held\n\n{{% if {wrong_when} %}}{{{{ oops }}}}{{% endif %}}");
        for ending in ["txt", "html"] {
            let path = templates.path().join(format!("notice.{ending}"));
            std::fs::write(path, &text).unwrap();
        }
        Templates::load(templates.path())
    };
    // What may be unknown is tried beforehand, known and unknown.
    for wrong_when in ["suggestion", "not suggestion", "link and not subject"] {
        let refused = load(wrong_when).unwrap_err();
        assert_eq!(refused.to_string(), "the template does not work");
    }
    let templates = load("sent_at > '1971'").unwrap();
    let worker = Worker::new(
        Arc::clone(&site.quarantine),
        WorkerSettings {
            own: vec!["example.org".to_owned()],
            ..WorkerSettings::default()
        },
        notices(),
        templates,
        Arc::new(Tokens::open(site.dir.path(), at(0)).unwrap()),
        logging::discard(),
    );
    worker.tick(at(60)).unwrap();
    assert_eq!(
        subject(&site.notice()),
        "Not sent yet: your mail to carl@army.ml"
    );
}

#[test]
fn end_is_told_once_the_mta_is_back() {
    let site = ending(AtEnd::Drop);
    let id = site.hold(MESSAGE);
    site.tick(60);
    let tokens = Arc::new(Tokens::open(site.dir.path(), at(0)).unwrap());
    let settings = WorkerSettings {
        keep_for: Duration::from_secs(1000),
        own: vec!["example.org".to_owned()],
        ..WorkerSettings::default()
    };
    let templates = Templates::built_in().unwrap();
    let quarantine = open_elsewhere(&site);
    let log = logging::discard();
    let down = Worker::new(quarantine, settings, notices(), templates, tokens, log);
    down.tick(at(1001)).unwrap();
    assert_eq!(state(&site.quarantine, &id, at(1002)), EntryState::Expired);
    let counts = site.quarantine.counts().unwrap();
    assert_eq!(counts.letters, 1);
    let why = counts.last_error.unwrap();
    assert!(why.starts_with("cannot connect to the MTA at "), "{why}");
    site.tick(1010);
    assert_eq!(site.sink.deliveries().len(), 1);
    site.tick(1001 + 60);
    assert_eq!(site.sink.deliveries().len(), 2);
}

#[test]
fn what_its_sender_decided_does_not_end() {
    let site = ending(AtEnd::Drop);
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.quarantine
        .decide(&id, &Decision::SEND, "tester", at(900))
        .unwrap();
    let expired = site.quarantine.expire_entry(&id, "late", None, at(1001));
    assert!(expired.is_err());
    site.tick(1001);
    assert_eq!(state(&site.quarantine, &id, at(1002)), EntryState::Released);
}
