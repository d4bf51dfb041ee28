//! A sender decides by the link of a notice.

use super::*;

#[test]
fn a_link_scanner_changes_nothing_and_uses_up_nothing() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let link = pages.link(&id, DAY).unwrap();
    let before = everything(&pages);
    let mut scanner = pages.browser();
    for _ in 0..50 {
        let page = scanner.get(&link).unwrap();
        assert_eq!(page.status, 200);
        assert!(
            !page
                .body
                .contains("name=\"choice\" value=\"typed\" checked")
        );
        let head = scanner.head(&link).unwrap();
        assert_eq!((head.status, head.body.as_str()), (200, ""));
    }
    // Some press the button, without the choice that only the sender can make.
    for fields in [
        vec![],
        vec![("remember", "not")],
        vec![("choice", "")],
        vec![("choice", "other"), ("other", "")],
        vec![("choice", "meant-7")],
    ] {
        let answer = scanner.post(&link, &fields).unwrap();
        assert_eq!(answer.status, 422, "{fields:?}");
    }
    for method in ["OPTIONS", "PUT", "DELETE", "PATCH", "PROPFIND"] {
        let host = pages.address;
        let request =
            format!("{method} {link} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
        let answer = exchange(host, &request).unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 405"), "{method}");
    }
    assert_eq!(everything(&pages), before);
    assert_eq!(sink.deliveries().len(), 0);
    let answer = scanner
        .post(&link, &[("choice", "typed"), ("remember", "domain")])
        .unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("It is on its way"), "{}", answer.body);
    let decided = pages
        .service
        .quarantine()
        .pending_decision(&id)
        .unwrap()
        .unwrap();
    assert_eq!(decided.actor, "sender anna@example.org (link, 127.0.0.1)");
    let approvals = pages.service.quarantine().approvals(false, now()).unwrap();
    assert_eq!(approvals[0].recipient, "army.ml");
}

#[test]
fn a_message_that_is_lost_is_promised_to_nobody_and_can_be_cancelled_and_dropped() {
    let (pages, _sink) = pages();
    let quarantine = pages.service.quarantine();
    let [lost, decided] = [1, 2].map(|n| held(&pages, n, "carl@army.ml"));
    let answer = |id: &EntryId, choice: &str| {
        let link = pages.link(id, DAY).unwrap();
        (pages
            .browser()
            .post(&link, &[("choice", choice), ("remember", "not")]))
        .unwrap()
    };
    assert_eq!(answer(&decided, "typed").status, 200);
    for file in std::fs::read_dir(quarantine.settings().dir.join("spool")).unwrap() {
        let path = file.unwrap().path();
        if path.is_file() {
            std::fs::write(path, "cut").unwrap();
        }
    }
    let told = answer(&lost, "typed");
    assert_eq!(told.status, 410);
    assert!(
        told.body.contains("ask your mail administrator"),
        "{}",
        told.body
    );
    assert_eq!(quarantine.pending_decision(&lost).unwrap(), None);
    assert_eq!(answer(&lost, "cancel").status, 200);
    // Nobody can carry out what was decided, so an admin may.
    quarantine
        .drop_entry(&decided, "lost", "tester", now())
        .unwrap();
    assert_eq!(quarantine.pending_decision(&decided).unwrap(), None);
}

#[test]
fn a_sender_corrects_cancels_or_writes_another_address() {
    let (pages, _sink) = pages();
    let quarantine = pages.service.quarantine();
    let mut sender = pages.browser();
    let first = held(&pages, 1, "carl@army.ml");
    let link = pages.link(&first, DAY).unwrap();
    let page = sender.get(&link).unwrap();
    assert!(page.body.contains("army.m<mark>i</mark>l"), "{}", page.body);
    assert_eq!(page.body.matches("<mark>").count(), 1);
    sender.post(&link, &[("choice", "meant-0")]).unwrap();
    let decided = quarantine.pending_decision(&first).unwrap().unwrap();
    assert_eq!(decided.corrected.as_deref(), Some("carl@army.mil"));
    let second = held(&pages, 2, "carl@army.ml");
    let link = pages.link(&second, DAY).unwrap();
    let wrong = sender
        .post(&link, &[("choice", "other"), ("other", "a b@c\"><script>")])
        .unwrap();
    assert_eq!(wrong.status, 422);
    assert!(wrong.body.contains("is not an address"), "{}", wrong.body);
    assert!(!wrong.body.contains("<script"), "{}", wrong.body);
    // An address written and something else chosen is no answer.
    for choice in ["typed", "meant-0", "cancel"] {
        let both = [("choice", choice), ("other", "dora@navy.mil")];
        let page = sender.post(&link, &both).unwrap();
        assert_eq!(page.status, 422, "{choice}");
        assert!(page.body.contains("which do you mean?"), "{}", page.body);
        assert!(
            page.body.contains("value=\"dora@navy.mil\""),
            "{}",
            page.body
        );
    }
    let page = sender
        .post(
            &link,
            &[("choice", "other"), ("other", "j\u{fc}rgen@army.mil")],
        )
        .unwrap();
    assert_eq!(page.status, 422);
    assert!(
        page.body.contains("not sent with SMTPUTF8"),
        "{}",
        page.body
    );
    let page = sender
        .post(&link, &[("choice", "other"), ("other", "Carl@army.ml")])
        .unwrap();
    assert_eq!(page.status, 422);
    assert!(
        page.body.contains("is the address the message is held for"),
        "{}",
        page.body
    );
    assert!(quarantine.pending_decision(&second).unwrap().is_none());
    sender
        .post(&link, &[("choice", "other"), ("other", "dora@navy.mil")])
        .unwrap();
    let decided = quarantine.pending_decision(&second).unwrap().unwrap();
    assert_eq!(decided.corrected.as_deref(), Some("dora@navy.mil"));
    let third = held(&pages, 3, "carl@army.ml");
    let link = pages.link(&third, DAY).unwrap();
    let done = sender.post(&link, &[("choice", "cancel")]).unwrap();
    assert!(done.body.contains("It was not sent"), "{}", done.body);
    assert_eq!(state(&pages, &third), EntryState::Dropped);
    quarantine
        .carry_out(
            &quarantine.pending_decision(&second).unwrap().unwrap(),
            now(),
        )
        .unwrap();
    let page = sender.get(&pages.link(&second, DAY).unwrap()).unwrap();
    let text = "sent to dora@navy.mil instead of carl@army.ml at";
    assert!(page.body.contains(text), "{}", page.body);
    // The link is used up.
    for answer in [
        sender.get(&link).unwrap(),
        sender.post(&link, &[("choice", "typed")]).unwrap(),
    ] {
        assert_eq!(answer.status, 410);
        assert!(
            answer.body.contains("This was already decided"),
            "{}",
            answer.body
        );
    }
}

#[test]
fn page_and_notice_suggest_the_same_host() {
    let (pages, _sink) = pages();
    let quarantine = pages.service.quarantine();
    for (n, (typed, expected)) in [
        ("carl@us.army.ml", "carl@us.army.mil"),
        ("carl@a.army.ml", "carl@a.army.mil"),
        ("carl@a.navymil", "carl@a.navy.mil"),
    ]
    .into_iter()
    .enumerate()
    {
        let id = held(&pages, n, typed);
        let detail = quarantine.detail(&id, now()).unwrap();
        let meant = worker::meant(&detail.entry, &detail.assessment.unwrap());
        let link = pages.link(&id, DAY).unwrap();
        pages
            .browser()
            .post(&link, &[("choice", "meant-0")])
            .unwrap();
        let decided = quarantine.pending_decision(&id).unwrap().unwrap();
        assert_eq!(decided.corrected, meant);
        assert_eq!(meant.as_deref(), Some(expected));
    }
}

#[test]
fn a_link_says_which_answer_could_not_be_carried_out() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let link = pages.link(&id, DAY).unwrap();
    let mut sender = pages.browser();
    let first = sender.get(&link).unwrap();
    assert!(!first.body.contains("could not be carried out"));
    let wrong = [("choice", "other"), ("other", "no-such-user@army.mil")];
    assert_eq!(sender.post(&link, &wrong).unwrap().status, 200);
    pages.worker().unwrap().tick(now()).unwrap();
    let again = sender.get(&link).unwrap();
    assert_eq!(again.status, 200);
    for part in [
        "Your answer &#34;correct to no-such-user@army.mil&#34; could not be carried out",
        "550 5.1.1 no such user",
    ] {
        assert!(again.body.contains(part), "{part}: {}", again.body);
    }
    sender.post(&link, &[("choice", "meant-0")]).unwrap();
    pages.worker().unwrap().tick(now()).unwrap();
    assert_eq!(sink.deliveries()[0].recipients[0].0, "carl@army.mil");
}

#[test]
fn old_forged_and_foreign_links_say_what_is_wrong_with_them() {
    let (pages, _sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let other = held(&pages, 2, "dora@army.ml");
    let entry = pages.service.quarantine().detail(&id, now()).unwrap().entry;
    let past = now() - jiff::SignedDuration::from_secs(5);
    let expired = format!("/r/{}", pages.tokens.sign(&entry, past));
    let good = pages.link(&id, DAY).unwrap();
    let for_other = format!("/r/{other}{}", &good[13..]);
    let cut = &good[..good.len() - 3];
    let before = everything(&pages);
    let mut browser = pages.browser();
    for (link, status, text) in [
        (expired.as_str(), 410, "This link has expired"),
        (for_other.as_str(), 404, "This link does not work"),
        (cut, 404, "not a whole link"),
        ("/r/x", 404, "not a whole link"),
        ("/r/%00%0a", 404, "not a whole link"),
    ] {
        for answer in [
            browser.get(link).unwrap(),
            browser.post(link, &[("choice", "typed")]).unwrap(),
        ] {
            assert_eq!(answer.status, status, "{link}");
            assert!(answer.body.contains(text), "{link}: {}", answer.body);
        }
    }
    // The same message handed in again: the notice about it has a new link.
    std::thread::sleep(Duration::from_millis(1100));
    assert_eq!(held(&pages, 1, "carl@army.ml"), id);
    let outdated = browser.get(&good).unwrap();
    assert_eq!(outdated.status, 410);
    assert!(
        outdated.body.contains("There is a newer link"),
        "{}",
        outdated.body
    );
    assert!(before.len() > 100);
    for _ in 0..30 {
        browser.get("/r/x").unwrap();
    }
    assert_eq!(browser.get("/r/x").unwrap().status, 429);
    // Whoever else comes through the same proxy has a genuine link, and is heard.
    let genuine = pages.link(&id, DAY).unwrap();
    assert_eq!(browser.get(&genuine).unwrap().status, 200);
    let answer = browser.post(&genuine, &[("choice", "cancel")]).unwrap();
    assert_eq!(answer.status, 200);
}
