//! What was decided and is yet to be done: nobody decides again, and nobody is told untruths.

use straymail::service::quarantine::QuarantineError;

use super::*;

#[test]
fn an_admin_does_not_override_what_the_sender_decided() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    site.answer("correct busy@navy.mil", &anna(), 100).unwrap();
    site.tick(101);
    let by = "by sender anna@example.org (login anna), by reply";
    let expected = format!(
        "entry {id} was decided already: send to busy@navy.mil instead, {by}; not done yet: entry {id} not released, it is still held: the MTA answered RCPT TO with: 450 4.2.1 mailbox busy"
    );
    let (quarantine, admin) = (&site.quarantine, "cli root");
    for refused in [
        quarantine.release(&id, admin, at(102)).map(drop),
        quarantine.drop_entry(&id, "no", admin, at(102)).map(drop),
        quarantine
            .correct(&id, "carl@army.mil", admin, at(102))
            .map(drop),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, QuarantineError::Decided(_)), "{error}");
        assert_eq!(error.to_string(), expected);
    }
    assert_eq!(site.delivered(), []);
    assert_eq!(state(quarantine, &id, at(103)), EntryState::Held);
    assert!(quarantine.pending_decision(&id).unwrap().is_some());
}

/// The text of the newest mail of our own.
fn told(site: &Site) -> (String, String) {
    let mails = site.sink.deliveries();
    let mail = mails.iter().rfind(|mail| mail.sender.is_empty()).unwrap();
    let text = MessageParser::default().parse(&mail.data).unwrap();
    let body = text.body_text(0).unwrap().replace("\r\n", "\n");
    (subject(mail), body)
}

fn ours(at_end: AtEnd) -> Site {
    let settings = WorkerSettings {
        own: vec!["example.org".to_owned()],
        at_end,
        ..WorkerSettings::default()
    };
    site_with(settings, notices())
}

const REFUSAL: &str = "the MTA answered RCPT TO with: 550 5.1.1 no such user";

#[test]
fn a_correction_refused_for_good_is_told_at_once_and_asked_anew() {
    let site = site();
    let id = site.hold(MESSAGE);
    site.tick(60);
    let first = site.notice();
    site.answer("correct no-such-user@army.mil", &anna(), 100)
        .unwrap();
    site.tick(101);
    assert_eq!(site.quarantine.pending_decision(&id).unwrap(), None);
    assert_eq!(state(&site.quarantine, &id, at(102)), EntryState::Held);
    let (subject, text) = told(&site);
    assert_eq!(subject, "Not sent: your mail to carl@army.ml");
    for part in [
        "\"correct to no-such-user@army.mil\"",
        REFUSAL,
        "decide anew",
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    // Another Message-ID, or mailboxes throw the second mail away.
    let ids = [&first, &site.notice()].map(|mail| {
        let mail = MessageParser::default().parse(&mail.data).unwrap();
        mail.message_id().unwrap().to_owned()
    });
    assert_ne!(ids[0], ids[1]);
    // Nothing is tried again by itself, and a reply to this letter decides.
    site.tick(5000);
    assert_eq!(site.sink.deliveries().len(), 2);
    let reply = Site::reply(&site.notice(), "correct carl@navy.mil");
    (site.desk)
        .take(&site.quarantine, &reply, &anna(), at(5001))
        .unwrap();
    site.tick(5002);
    assert_eq!(site.delivered()[0].0, "carl@navy.mil");
    assert_eq!(state(&site.quarantine, &id, at(5003)), EntryState::Released);
}

#[test]
fn an_address_that_its_sender_rejected_is_not_used_in_the_end() {
    for at_end in [AtEnd::Release, AtEnd::Drop] {
        let site = ours(at_end);
        let id = site.hold(MESSAGE);
        site.tick(60);
        site.answer("correct no-such-user@army.mil", &anna(), 100)
            .unwrap();
        site.tick(101);
        assert!(told(&site).1.contains("it is thrown away."), "{at_end:?}");
        // Seen now and then: what passes is no jump of the clock.
        for day in 1..=15 {
            site.tick(day * 80_000 + 102);
        }
        assert_eq!(site.delivered(), [], "{at_end:?}");
        let now = at(15 * 80_000 + 103);
        assert_eq!(state(&site.quarantine, &id, now), EntryState::Held);
        site.tick(14 * 86_400 + 200);
        site.tick(14 * 86_400 + 201);
        assert_eq!(site.delivered(), [], "{at_end:?}");
        let now = at(14 * 86_400 + 202);
        assert_eq!(state(&site.quarantine, &id, now), EntryState::Expired);
        let (subject, text) = told(&site);
        assert_eq!(subject, "Not delivered: your mail to carl@army.ml");
        let said = "what you answered (\"correct to no-such-user@army.mil\") could not be done";
        assert!(text.contains(said) && text.contains(REFUSAL), "{text}");
        assert!(!text.contains("nobody confirmed it"), "{text}");
    }
}

#[test]
fn what_its_sender_rejected_is_not_sent_in_the_end_though_it_was_handed_in_again() {
    for answer in ["cancel", "correct carl@army.mil"] {
        let site = ours(AtEnd::Release);
        let id = site.hold(MESSAGE);
        site.tick(60);
        site.answer(answer, &anna(), 100).unwrap();
        site.tick(101);
        let before = site.delivered().len();
        // The client did not see the first 250.
        assert_eq!(site.hold_at(MESSAGE, 200), id);
        for day in 1..=31 {
            site.tick(day * 80_000 + 201);
        }
        let now = at(31 * 80_000 + 202);
        assert_eq!(state(&site.quarantine, &id, now), EntryState::Expired);
        let sent = site.delivered();
        assert_eq!(sent.len(), before, "{answer}");
        assert!(sent.iter().all(|mail| mail.0 != "carl@army.ml"));
    }
}

#[test]
fn a_corrected_domain_goes_out_in_a_labels_and_a_foreign_local_part_needs_smtputf8() {
    let site = site();
    site.hold(MESSAGE);
    site.tick(60);
    let foreign = site.answer("correct j\u{fc}rgen@army.mil", &anna(), 100);
    assert_eq!(
        foreign.unwrap_err().to_string(),
        "the message cannot go to \"j\u{fc}rgen@army.mil\": it was not sent with SMTPUTF8"
    );
    site.answer("correct bob@\u{430}rmy.mil", &anna(), 100)
        .unwrap();
    site.tick(101);
    assert_eq!(site.delivered()[0].0, "bob@xn--rmy-5cd.mil");
}

#[test]
fn only_a_refusal_for_good_is_not_tried_again() {
    use straymail::service::quarantine::Retry;
    let busy = Sink::start().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let quarantine = open(dir.path(), busy.port());
    let id = held::hold(&quarantine, at(0));
    for (to, expected) in [
        ("busy@navy.mil", Retry::Later),
        ("no-such-user@x.mil", Retry::Never),
    ] {
        let error = quarantine.correct(&id, to, "cli", at(100)).unwrap_err();
        let QuarantineError::NotReleased { retry, .. } = error else {
            panic!("{error}");
        };
        assert_eq!(retry, expected, "{to}");
    }
}

#[test]
fn a_repeated_reply_hears_where_the_message_went() {
    let site = site();
    site.hold(MESSAGE);
    site.tick(60);
    site.answer("correct", &anna(), 100).unwrap();
    let again = |second| {
        let error = site.answer("send", &anna(), second).unwrap_err();
        error.to_string()
    };
    let already = "the message to carl@army.ml was already decided: ";
    assert_eq!(
        again(101),
        format!("{already}it is about to be sent to carl@army.mil instead")
    );
    site.tick(102);
    let text = again(103);
    let sent = format!("{already}sent to carl@army.mil instead at ");
    assert!(text.starts_with(&sent), "{text}");
}
