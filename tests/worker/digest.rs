//! Beyond the budget of notices: one digest, answered line by line.

use super::*;

/// Holds `count` messages whose senders are told of in one digest; returns their ids.
fn digest_of(site: &Site, count: usize) -> Vec<EntryId> {
    let mut ids = Vec::new();
    for number in 0..count {
        let message = format!("Message-ID: <{number}@example.org>\r\n\r\n{number}");
        ids.push(site.hold(message.as_bytes()));
    }
    ids.sort();
    ids
}

fn with_budget(per_hour: u32) -> Site {
    let budget = NoticeSettings {
        per_hour,
        ..notices()
    };
    site_with(WorkerSettings::default(), budget)
}

#[test]
fn beyond_the_budget_one_digest_an_hour_tells_of_the_rest() {
    let site = with_budget(2);
    digest_of(&site, 5);
    site.tick(60);
    let subjects: Vec<String> = site.sink.deliveries().iter().map(subject).collect();
    let single = "Not sent yet: your mail to carl@army.ml";
    assert_eq!(subjects, [single, single, "Not sent yet: 3 of your mails"]);
    for number in 5..9 {
        site.hold(format!("Message-ID: <{number}@example.org>\r\n\r\n{number}").as_bytes());
    }
    // Neither a notice nor a digest within the hour, however often it is tried.
    for second in [121, 800, 1800, 3500] {
        site.tick(second);
        assert_eq!(site.sink.deliveries().len(), 3);
        // Nothing has failed.
        let counts = site.quarantine.counts().unwrap();
        assert_eq!((counts.notices_failing, counts.notices_waiting), (0, 4));
        assert_eq!(counts.last_error, None);
    }
    site.tick(4160);
    let subjects: Vec<String> = site.sink.deliveries()[3..].iter().map(subject).collect();
    assert_eq!(subjects, [single, single, "Not sent yet: 2 of your mails"]);
    site.tick(4161);
    assert_eq!(site.sink.deliveries().len(), 6);
}

#[test]
fn answer_to_a_digest_decides_line_by_line() {
    let site = with_budget(0);
    let ids = digest_of(&site, 4);
    site.tick(60);
    assert_eq!(site.sink.deliveries().len(), 1);
    let text = format!(
        "send {}\ncancel {}.\n\nCorrect {}\n\nRegards\n\nsend all",
        ids[0],
        ids[1].as_str().to_lowercase(),
        ids[2]
    );
    let taken = site.answer(&text, &anna(), 100).unwrap();
    assert_eq!(taken, Taken::Decided(ids[..3].to_vec()));
    site.tick(101);
    let mut to: Vec<String> = site.delivered().into_iter().map(|(to, _)| to).collect();
    to.sort();
    assert_eq!(to, ["carl@army.mil", "carl@army.ml"]);
    let states = ids.iter().map(|id| state(&site.quarantine, id, at(102)));
    use EntryState::{Dropped, Held, Released};
    assert_eq!(
        states.collect::<Vec<_>>(),
        [Released, Dropped, Released, Held]
    );
    // `all` is what is left.
    let rest = site.answer("cancel all", &anna(), 103).unwrap();
    assert_eq!(rest, Taken::Decided(ids[3..].to_vec()));
    let late = site.answer("send all", &anna(), 104).unwrap_err();
    assert!(matches!(late, NotTaken::NothingLeft), "{late}");
}

#[test]
fn answer_to_a_digest_is_taken_whole_or_not_at_all() {
    let site = with_budget(0);
    let ids = digest_of(&site, 3);
    site.tick(60);
    site.quarantine.release(&ids[2], "admin", at(90)).unwrap();
    // Held later, and in no digest yet.
    let other = site.hold(b"Message-ID: <other@example.org>\r\n\r\nx");
    let eve = Writer {
        sender: "anna@example.org".to_owned(),
        login: Some("eve".to_owned()),
    };
    for (text, writer, expected) in [
        (
            format!("send {}", ids[0]),
            eve,
            "only the sender of the held message can decide about it".to_owned(),
        ),
        (
            "send".to_owned(),
            anna(),
            format!(
                "this notice speaks of several messages; begin with a line for each, like \"send {}\", or with \"send all\"",
                ids[0]
            ),
        ),
        (
            "Hello,\nsend all".to_owned(),
            anna(),
            format!(
                "this notice speaks of several messages; begin with a line for each, like \"send {}\", or with \"send all\"",
                ids[0]
            ),
        ),
        (
            format!("send {}\nsend {other}", ids[0]),
            anna(),
            format!("\"{other}\" is no message of this notice"),
        ),
        (
            format!("send {}\nsend {}", ids[0], ids[2]),
            anna(),
            format!(
                "the message to carl@army.ml was already decided: sent at {:.0}",
                at(90)
            ),
        ),
    ] {
        let error = site.answer(&text, &writer, 100).unwrap_err();
        assert_eq!(error.to_string(), expected, "{text}");
    }
    for id in &ids[..2] {
        assert_eq!(state(&site.quarantine, id, at(101)), EntryState::Held);
    }
}

#[test]
fn line_that_names_a_message_goes_before_all() {
    for (number, order) in ["cancel {0} and {1}\nsend all", "send all\ncancel {0}, {1}"]
        .iter()
        .enumerate()
    {
        let site = with_budget(0);
        let ids = digest_of(&site, 3);
        site.tick(60);
        let text = (order.replace("{0}", ids[0].as_str())).replace("{1}", ids[1].as_str());
        site.answer(&text, &anna(), 100).unwrap();
        site.tick(101);
        use EntryState::{Dropped, Released};
        let states = ids.iter().map(|id| state(&site.quarantine, id, at(102)));
        assert_eq!(
            states.collect::<Vec<_>>(),
            [Dropped, Dropped, Released],
            "{number}"
        );
    }
}

#[test]
fn answer_to_a_digest_with_a_wrong_line_decides_nothing() {
    let site = with_budget(0);
    let ids = digest_of(&site, 3);
    site.tick(60);
    let which = format!(
        "this notice speaks of several messages; begin with a line for each, like \"send {}\", or with \"send all\"",
        ids[0]
    );
    let contradiction = "two lines say different things of one message; write one line for it";
    let behind = |id: &str| {
        format!("what you write of {id:?} is not clear; begin with a line for each message")
    };
    let none = |word: &str| format!("{word:?} is no message of this notice");
    for (text, expected) in [
        ("send {0}\ncancle {1}\nsend {2}", "\"send {2}\" may change the answer; write only what decides, and an empty line below it".to_owned()),
        ("send {0}\ncancle {1}", behind("{1}")),
        ("send {0}\n\ncancle {1}", behind("{1}")),
        ("send {0}\ncancle all", behind("all")),
        ("send all except {0}", none("except")),
        ("send {0} cancel {1}", none("cancel")),
        ("send {0} but {1}", none("but")),
        ("send {0}\ncancel {0}", contradiction.to_owned()),
        ("send {0} {0}\ncorrect {0}", contradiction.to_owned()),
        ("send all\ncancel all", contradiction.to_owned()),
        ("send {0} to x@army.mil", which.clone()),
        ("correct {0} to x@army.mil {1}", which.clone()),
        ("send {0}\ncancel", which.clone()),
        (
            "send {0}\ncorrect {1} carl@army",
            "\"carl@army\" is not an address; write one like name@example.org".to_owned(),
        ),
        (
            "send {0}\ncorrect {1} carl@army.ml",
            "\"carl@army.ml\" is the address the message is held for, so that corrects nothing; write another one, or say that it is to be sent as it is".to_owned(),
        ),
    ] {
        let fill = |text: &str| {
            (ids.iter().enumerate()).fold(text.to_owned(), |text, (at, id)| {
                text.replace(&format!("{{{at}}}"), id.as_str())
            })
        };
        let error = site.answer(&fill(text), &anna(), 100).unwrap_err();
        assert_eq!(error.to_string(), fill(&expected), "{text}");
    }
    for id in &ids {
        assert_eq!(state(&site.quarantine, id, at(101)), EntryState::Held);
    }
    site.tick(102);
    assert_eq!(site.delivered(), []);
}

#[test]
fn the_letter_about_one_of_a_digest_says_how_to_name_it() {
    let site = site_with(
        WorkerSettings {
            own: vec!["example.org".to_owned()],
            ..WorkerSettings::default()
        },
        NoticeSettings {
            per_hour: 0,
            ..notices()
        },
    );
    let ids = digest_of(&site, 2);
    site.tick(60);
    let order = format!("correct {} no-such-user@army.mil", ids[0]);
    site.answer(&order, &anna(), 100).unwrap();
    site.tick(101);
    let letter = site.notice();
    let mail = MessageParser::default().parse(&letter.data).unwrap();
    let text = mail.body_text(0).unwrap();
    let send = format!("send {}", ids[0]);
    assert!(
        text.contains(&format!("    {send}      The address is right")),
        "{text}"
    );
    let reply = Site::reply(&letter, &send);
    let taken = (site.desk).take(&site.quarantine, &reply, &anna(), at(102));
    assert_eq!(taken.unwrap(), Taken::Decided(vec![ids[0].clone()]));
}
