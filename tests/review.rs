//! The web pages as a browser, a link scanner and an attacker see them.

#![allow(
    clippy::unwrap_used,
    clippy::string_slice,
    reason = "a helper that fails fails its test"
)]

#[path = "review/link.rs"]
mod link;
#[path = "review/login.rs"]
mod login;
mod support;

use std::collections::BTreeSet;
use std::io::{Read as _, Write as _};
use std::os::unix::fs::PermissionsExt as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::sync::Barrier;
use std::time::Duration;

use jiff::Timestamp;
use straymail::review::{Listen, PublicUrl, Review, ReviewSettings};
use straymail::service::account::{AccountRole, Accounts};
use straymail::service::decide::{Choice, Decision, Remember};
use straymail::service::worker;
use straymail::store::{AuditFilter, EntryFilter, EntryId, EntryState, EventKind};
use support::daemon::{Daemon, Settings};
use support::pages::{Browser, Pages, exchange};
use support::sink::Sink;

const DAY: Duration = Duration::from_secs(86_400);

fn now() -> Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a test is served in real time")]
    Timestamp::now()
}

/// Pages with an account of each role, and an MTA that takes everything.
fn pages() -> (Pages, Sink) {
    let sink = Sink::start().unwrap();
    let pages = Pages::start(ReviewSettings::default(), sink.port()).unwrap();
    pages.account("vera", AccountRole::Viewer).unwrap();
    pages.account("rudi", AccountRole::Reviewer).unwrap();
    pages.account("anna", AccountRole::Admin).unwrap();
    (pages, sink)
}

fn held(pages: &Pages, n: usize, to: &str) -> EntryId {
    let headers = format!("Message-ID: <{n}@example.org>\r\nSubject: plan {n}\r\n");
    pages.hold("anna@example.org", to, &headers).unwrap()
}

fn state(pages: &Pages, id: &EntryId) -> EntryState {
    let detail = pages.service.quarantine().detail(id, now()).unwrap();
    detail.entry.state
}

/// The kinds and actors of everything that happened to an entry.
fn history(pages: &Pages, id: &EntryId) -> Vec<(EventKind, String)> {
    let detail = pages.service.quarantine().detail(id, now()).unwrap();
    let rows = detail.history.into_iter();
    rows.map(|row| (row.event.kind, row.event.actor)).collect()
}

/// Everything that a request could have changed.
fn everything(pages: &Pages) -> String {
    let quarantine = pages.service.quarantine();
    format!(
        "{:?} {:?} {:?}",
        quarantine.entries(&EntryFilter::default(), now()).unwrap(),
        quarantine.audit(&AuditFilter::default()).unwrap(),
        quarantine.approvals(true, now()).unwrap(),
    )
}

fn decide(browser: &mut Browser, id: &EntryId, action: &str) -> support::pages::Page {
    let page = browser.get(&format!("/entry/{id}")).unwrap();
    let fields = [
        ("seal", page.seal()),
        ("id", id.to_string()),
        ("action", action.to_owned()),
        ("reason", "not ours".to_owned()),
    ];
    let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
    browser.post("/decide", &fields).unwrap()
}

#[test]
fn a_reviewer_logs_in_filters_opens_and_releases() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    held(&pages, 2, "dora@gmial.com");
    let mut rudi = pages.logged_in("rudi").unwrap();
    let list = rudi.get("/").unwrap();
    assert!(list.body.contains("2 entries fit"), "{}", list.body);
    assert!(
        list.body.contains("army.m<span class=\"gap\""),
        "{}",
        list.body
    );
    for (query, count) in [
        ("domain=army.ml", 1),
        ("domain=ARMY.ml", 1),
        ("recipient=dora", 1),
        ("sender=anna%40example.org", 2),
        ("sender=nobody", 0),
        ("min=0&max=100", 2),
        ("max=1", 0),
        ("state=released", 0),
        ("since=2020-01-01&until=2999-01-01", 2),
        ("until=2020-01-01", 0),
    ] {
        let page = rudi.get(&format!("/?{query}")).unwrap();
        let found = page
            .body
            .matches("<td role=\"cell\" data-label=\"Score\">")
            .count();
        assert_eq!(found, count, "{query}");
    }
    let wrong = rudi.get("/?min=200&since=tomorrow&domain=a..b").unwrap();
    assert_eq!(wrong.body.matches("this filter was left out").count(), 3);
    let page = rudi.get(&format!("/entry/{id}")).unwrap();
    for text in [
        "To <bdi>carl@army.ml</bdi>",
        "Subject: plan 1",
        "192.0.2.7",
        "of 100",
    ] {
        assert!(page.body.contains(text), "{text}: {}", page.body);
    }
    let done = decide(&mut rudi, &id, "release");
    assert_eq!(done.status, 200);
    assert!(done.body.contains("1 released"), "{}", done.body);
    assert_eq!(state(&pages, &id), EntryState::Released);
    assert_eq!(sink.deliveries().len(), 1);
    let history = history(&pages, &id);
    assert_eq!(history[1].0, EventKind::Released);
    assert_eq!(history[1].1, "web rudi (127.0.0.1)");
}

#[test]
fn a_dropped_entry_carries_its_reason() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let mut rudi = pages.logged_in("rudi").unwrap();
    let seal = rudi.get("/").unwrap().seal();
    let fields = [
        ("seal", seal.as_str()),
        ("id", id.as_str()),
        ("action", "drop"),
    ];
    let refused = rudi.post("/decide", &fields).unwrap();
    assert_eq!(refused.status, 400);
    assert!(
        refused.body.contains("Write why it is dropped first."),
        "{}",
        refused.body
    );
    assert_eq!(state(&pages, &id), EntryState::Held);
    assert_eq!(decide(&mut rudi, &id, "drop").status, 200);
    assert_eq!(state(&pages, &id), EntryState::Dropped);
    let page = rudi.get(&format!("/entry/{id}")).unwrap();
    assert!(page.body.contains("not ours"));
    assert_eq!(sink.deliveries().len(), 0);
}

#[test]
fn bulk_shows_a_preview_with_a_count_and_then_does_just_that() {
    let (pages, sink) = pages();
    let ids: Vec<EntryId> = (0..60)
        .map(|n| {
            held(
                &pages,
                n,
                if n % 2 == 0 {
                    "carl@army.ml"
                } else {
                    "dora@gmial.com"
                },
            )
        })
        .collect();
    let mut rudi = pages.logged_in("rudi").unwrap();
    let page = rudi.get("/?select=page").unwrap();
    assert_eq!(page.body.matches(" checked>").count(), 50);
    let seal = page.seal();
    let three = [
        ("seal", seal.as_str()),
        ("action", "release"),
        ("id", ids[0].as_str()),
        ("id", ids[1].as_str()),
        ("id", ids[2].as_str()),
        ("id", ids[2].as_str()),
    ];
    let before = everything(&pages);
    let preview = rudi.post("/bulk", &three).unwrap();
    assert!(
        preview.body.contains("3 entries. Nothing was done yet."),
        "{}",
        preview.body
    );
    assert!(preview.body.contains("Release 3"), "{}", preview.body);
    assert_eq!(everything(&pages), before);
    let done = rudi.post("/decide", &three).unwrap();
    assert!(done.body.contains("3 released"), "{}", done.body);
    assert_eq!(sink.deliveries().len(), 3);
    // One of them is finished now: the others are done all the same.
    let mixed = [
        ("seal", seal.as_str()),
        ("action", "release"),
        ("id", ids[0].as_str()),
        ("id", ids[3].as_str()),
    ];
    let done = rudi.post("/decide", &mixed).unwrap();
    assert!(done.body.contains("1 released, 1 not"), "{}", done.body);
    let all = [
        ("seal", seal.as_str()),
        ("action", "drop"),
        ("all", "yes"),
        ("query", "domain=gmial.com"),
    ];
    let preview = rudi.post("/bulk", &all).unwrap();
    assert!(
        preview.body.contains("28 entries. Nothing was done yet."),
        "{}",
        preview.body
    );
    assert_eq!(preview.body.matches("name=\"id\"").count(), 28);
    let nothing = [("seal", seal.as_str()), ("action", "drop")];
    assert_eq!(rudi.post("/bulk", &nothing).unwrap().status, 400);
    // Nothing shown is not all there is.
    let unseen = [("seal", seal.as_str()), ("action", "drop"), ("all", "yes")];
    assert_eq!(rudi.post("/bulk", &unseen).unwrap().status, 400);
    let wrong = [
        ("seal", seal.as_str()),
        ("action", "drop"),
        ("all", "yes"),
        ("query", "min=x"),
    ];
    assert_eq!(rudi.post("/bulk", &wrong).unwrap().status, 400);
}

#[test]
fn two_reviewers_at_once_have_one_outcome_and_a_clear_message() {
    let (pages, sink) = pages();
    for round in 0..10 {
        let id = held(&pages, round, "carl@army.ml");
        let barrier = Barrier::new(4);
        let answers: Vec<(u16, String)> = std::thread::scope(|scope| {
            let threads: Vec<_> = (["rudi", "anna", "rudi", "anna"].iter().enumerate())
                .map(|(n, name)| {
                    let mut browser = pages.logged_in(name).unwrap();
                    let (barrier, id) = (&barrier, &id);
                    scope.spawn(move || {
                        barrier.wait();
                        let page = decide(&mut browser, id, if n < 2 { "release" } else { "drop" });
                        (page.status, page.body)
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        let done = answers.iter().filter(|(status, _)| *status == 200).count();
        assert_eq!(done, 1, "{answers:?}");
        for (status, body) in answers {
            let told = body.contains("was released at")
                || body.contains("was dropped at")
                || body.contains("is being released");
            assert!(status == 200 || (status == 409 && told), "{status} {body}");
        }
        let finished = state(&pages, &id);
        let ends = history(&pages, &id);
        let ends = ends
            .iter()
            .filter(|(kind, _)| matches!(kind, EventKind::Released | EventKind::Dropped));
        assert_eq!(ends.count(), 1);
        let delivered = sink.deliveries().len();
        assert!(matches!(
            finished,
            EntryState::Released | EntryState::Dropped
        ));
        assert!(delivered <= round + 1);
    }
}

#[test]
fn reviewer_and_sender_at_once_have_one_outcome() {
    let (pages, _sink) = pages();
    for round in 0..10 {
        let id = held(&pages, round, "carl@army.ml");
        let link = pages.link(&id, DAY).unwrap();
        let mut rudi = pages.logged_in("rudi").unwrap();
        let mut sender = pages.browser();
        let barrier = Barrier::new(2);
        let (web, by_link) = std::thread::scope(|scope| {
            let reviewer = scope.spawn(|| {
                barrier.wait();
                decide(&mut rudi, &id, "drop").status
            });
            let sender = scope.spawn(|| {
                barrier.wait();
                sender.post(&link, &[("choice", "cancel")]).unwrap().status
            });
            (reviewer.join().unwrap(), sender.join().unwrap())
        });
        match (web, by_link) {
            (200, 409 | 410) | (409, 200) => {}
            other => panic!("{other:?}"),
        }
        assert_eq!(state(&pages, &id), EntryState::Dropped);
    }
}

#[test]
fn a_double_click_decides_once() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let mut rudi = pages.logged_in("rudi").unwrap();
    assert_eq!(decide(&mut rudi, &id, "release").status, 200);
    let again = decide(&mut rudi, &id, "release");
    assert_eq!(again.status, 409);
    assert!(again.body.contains("was released at"), "{}", again.body);
    assert_eq!(sink.deliveries().len(), 1);
    let id = held(&pages, 2, "carl@army.ml");
    let link = pages.link(&id, DAY).unwrap();
    let mut sender = pages.browser();
    assert_eq!(
        sender.post(&link, &[("choice", "typed")]).unwrap().status,
        200
    );
    let again = sender.post(&link, &[("choice", "typed")]).unwrap();
    assert_eq!(again.status, 410);
    assert!(again.body.contains("is about to be sent"), "{}", again.body);
}

#[test]
fn a_reviewer_sees_what_the_sender_decided() {
    let (pages, _sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let decision = Decision {
        choice: Choice::Correct("carl@army.mil".to_owned()),
        remember: Remember::Not,
    };
    pages
        .service
        .quarantine()
        .decide(&id, &decision, "sender x", now())
        .unwrap();
    let page = pages
        .logged_in("vera")
        .unwrap()
        .get(&format!("/entry/{id}"))
        .unwrap();
    assert!(
        page.body
            .contains("send to carl@army.mil instead, by sender x"),
        "{}",
        page.body
    );
    // The first decision counts: a reviewer is not offered another, and it is not taken.
    let mut rudi = pages.logged_in("rudi").unwrap();
    let page = rudi.get(&format!("/entry/{id}")).unwrap();
    assert!(!page.body.contains("<button class=\"stop\">Drop</button>"));
    let seal = rudi.get("/").unwrap().seal();
    for action in ["release", "drop"] {
        let (id, action) = (id.as_str(), ("action", action));
        let fields = [
            ("seal", seal.as_str()),
            ("id", id),
            action,
            ("reason", "no"),
        ];
        let page = rudi.post("/decide", &fields).unwrap();
        assert_eq!(page.status, 409);
        assert!(page.body.contains("was decided already"), "{}", page.body);
    }
    assert_eq!(state(&pages, &id), EntryState::Held);
}

#[test]
fn a_vanished_message_file_is_said_and_the_entry_can_be_dropped() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let entry = pages.service.quarantine().detail(&id, now()).unwrap().entry;
    let spool = pages.service.quarantine().settings().dir.join("spool");
    std::fs::remove_file(spool.join(&entry.message.key)).unwrap();
    let mut rudi = pages.logged_in("rudi").unwrap();
    let page = rudi.get(&format!("/entry/{id}")).unwrap();
    assert_eq!(page.status, 200);
    assert!(
        page.body
            .contains("is gone; it cannot be released, drop the entry"),
        "{}",
        page.body
    );
    assert!(!page.body.contains("Download"));
    let failed = decide(&mut rudi, &id, "release");
    assert_eq!(failed.status, 409);
    assert!(failed.body.contains("is gone"), "{}", failed.body);
    assert_ne!(
        rudi.get(&format!("/entry/{id}/message")).unwrap().status,
        200
    );
    assert_eq!(sink.deliveries().len(), 0);
    assert_eq!(decide(&mut rudi, &id, "drop").status, 200);
}

#[test]
fn an_admin_approves_and_removes_an_approval() {
    let (pages, _sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let mut anna = pages.logged_in("anna").unwrap();
    let page = anna.get(&format!("/entry/{id}")).unwrap();
    let seal = page.seal();
    let fields = [
        ("seal", seal.as_str()),
        ("what", "domain"),
        ("who", "sender"),
        ("life", "90"),
        ("reason", "our office in Bamako"),
    ];
    let done = anna.post(&format!("/entry/{id}/approve"), &fields).unwrap();
    assert!(
        done.body
            .contains("Approved: from anna@example.org to army.ml, until "),
        "{}",
        done.body
    );
    let fields = [
        ("seal", seal.as_str()),
        ("recipient", "*@army.ml"),
        ("sender", ""),
        ("life", "ever"),
        ("owner", "anna"),
        ("reason", "why not"),
    ];
    let wrong = anna.post("/approvals/add", &fields).unwrap();
    assert_eq!(wrong.status, 400);
    assert!(
        wrong
            .body
            .contains("needs no wildcard; did you mean army.ml?"),
        "{}",
        wrong.body
    );
    let fields = fields.map(|field| {
        if field.0 == "recipient" {
            ("recipient", ".ml")
        } else {
            field
        }
    });
    assert_eq!(anna.post("/approvals/add", &fields).unwrap().status, 200);
    let approvals = pages.service.quarantine().approvals(false, now()).unwrap();
    assert_eq!(approvals.len(), 2);
    assert_eq!(
        (approvals[0].recipient.as_str(), approvals[0].expires_at),
        (".ml", None)
    );
    let fields = [("seal", seal.as_str()), ("id", approvals[0].id.as_str())];
    let done = anna.post("/approvals/remove", &fields).unwrap();
    assert!(
        done.body.contains("Removed: from anybody to .ml."),
        "{}",
        done.body
    );
    assert_eq!(anna.post("/approvals/remove", &fields).unwrap().status, 404);
    let audit = anna.get("/audit?kind=approval-removed").unwrap();
    assert!(
        audit.body.contains("web anna (127.0.0.1)"),
        "{}",
        audit.body
    );
}

#[test]
fn every_answer_forbids_what_no_page_needs() {
    let (pages, _sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let mut rudi = pages.logged_in("rudi").unwrap();
    let link = pages.link(&id, DAY).unwrap();
    for path in [
        "/",
        "/login",
        "/nowhere",
        "/style.css",
        &link,
        &format!("/entry/{id}/message"),
    ] {
        let page = rudi.get(path).unwrap();
        let policy = "default-src 'none'; style-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'";
        assert_eq!(page.header("content-security-policy"), policy, "{path}");
        assert_eq!(page.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(page.header("referrer-policy"), "no-referrer", "{path}");
        let cache = if path == "/style.css" {
            "max-age=3600"
        } else {
            "no-store"
        };
        assert_eq!(page.header("cache-control"), cache, "{path}");
    }
    let download = rudi.get(&format!("/entry/{id}/message")).unwrap();
    assert_eq!(download.header("content-type"), "application/octet-stream");
    assert_eq!(
        download.header("content-disposition"),
        "attachment; filename=\"message.eml\""
    );
    assert!(download.octets.ends_with(b"\r\nThe body.\r\n"));
}

#[test]
fn a_name_that_was_made_to_lead_here_is_turned_away() {
    let (pages, _sink) = pages();
    let mut rudi = pages.logged_in("rudi").unwrap();
    for (host, status) in [
        ("evil.example", 421),
        ("evil.example:8890", 421),
        ("127.0.0.1.evil.example", 421),
        ("", 421),
        ("localhost", 200),
        ("localhost:1234", 200),
        ("127.0.0.1", 200),
    ] {
        rudi.headers = vec![("Host".to_owned(), host.to_owned())];
        assert_eq!(rudi.get("/").unwrap().status, status, "{host}");
    }
}

#[tokio::test]
async fn nothing_listens_beyond_this_host_without_a_listed_proxy() {
    let (pages, _sink) = tokio::task::spawn_blocking(pages).await.unwrap();
    let settings = ReviewSettings {
        listen: Some(Listen::Inet(([0, 0, 0, 0], 0).into())),
        ..ReviewSettings::default()
    };
    let opened = Review::open(settings, pages.service.clone(), pages.tokens.clone()).await;
    let error = opened.err().unwrap().to_string();
    assert!(
        error.ends_with("list the proxies that may in review.trusted_proxies"),
        "{error}"
    );
}

#[test]
fn hostile_requests_are_bounded() {
    let (pages, _sink) = pages();
    let host = pages.address;
    let line = format!("GET / HTTP/1.1\r\nHost: {host}\r\n");
    let many: String = (0..100).map(|n| format!("X-{n}: y\r\n")).collect();
    let answer = exchange(host, &format!("{line}{many}\r\n")).unwrap();
    assert!(
        answer.starts_with(b"HTTP/1.1 431"),
        "{:?}",
        String::from_utf8_lossy(&answer)
    );
    let long = "a".repeat(200 * 1024);
    let answer = exchange(host, &format!("{line}X: {long}\r\n\r\n"));
    assert!(answer.map_or(true, |answer| answer.starts_with(b"HTTP/1.1 431")));
    let answer = exchange(host, "\x16\x03\x01 not http\r\n\r\n").unwrap();
    assert!(answer.is_empty() || answer.starts_with(b"HTTP/1.1 400"));
    let mut browser = pages.browser();
    let big = "a".repeat(100 * 1024);
    let page = browser.get("/login").unwrap();
    let seal = page.seal();
    let fields = [("seal", seal.as_str()), ("name", big.as_str())];
    assert_eq!(browser.post("/login", &fields).unwrap().status, 400);
    // Still there for everybody else.
    assert_eq!(
        pages.logged_in("rudi").unwrap().get("/").unwrap().status,
        200
    );
}

#[test]
fn the_list_pages_through_many_entries_without_gap_or_repeat() {
    let (pages, _sink) = pages();
    let ids: BTreeSet<String> = (0..120)
        .map(|n| held(&pages, n, "carl@army.ml").to_string())
        .collect();
    let mut vera = pages.logged_in("vera").unwrap();
    let mut seen = BTreeSet::new();
    for page in 1..=3 {
        let body = vera.get(&format!("/?page={page}")).unwrap().body;
        for part in body.split("href=\"/entry/").skip(1) {
            assert!(seen.insert(part[..10].to_owned()), "{part}");
        }
    }
    assert_eq!(seen, ids);
    let beyond = vera.get("/?page=99999999999999999999").unwrap();
    assert!(beyond.body.contains("page 1 of 3"));
    assert!(vera.get("/?page=77").unwrap().body.contains("page 3 of 3"));
}

#[test]
fn no_template_turns_escaping_off() {
    let mut read = 0;
    for folder in ["templates/review", "templates/confirm"] {
        for file in std::fs::read_dir(folder).unwrap() {
            let path = file.unwrap().path();
            let text = std::fs::read_to_string(&path).unwrap();
            for word in [
                "|safe",
                "| safe",
                "|escape",
                "<script",
                "style=",
                " onclick",
                "javascript:",
            ] {
                assert!(!text.contains(word), "{}: {word}", path.display());
            }
            read += 1;
        }
    }
    assert!(read > 8);
}

#[test]
fn the_daemon_serves_the_pages_on_a_unix_socket_and_takes_it_away_again() {
    let dir = tempfile::tempdir().unwrap();
    let socket = dir.path().join("review.sock");
    let settings = Settings::in_directory(dir.path()).with(serde_json::json!({"review": {
        "listen": format!("unix:{}", socket.display()),
        "public_url": "https://mail.example.org",
        "user_header": "X-Remote-User",
    }}));
    // One that an earlier run left behind is no hindrance.
    drop(UnixListener::bind(&socket).unwrap());
    let daemon = Daemon::start(&settings).unwrap();
    Accounts::new(&dir.path().join("store"))
        .add("anna", AccountRole::Viewer, None)
        .unwrap();
    let ask = |header: &str| {
        let mut stream = UnixStream::connect(&socket).unwrap();
        let request = format!(
            "GET / HTTP/1.1\r\nHost: mail.example.org\r\nConnection: close\r\n{header}\r\n"
        );
        stream.write_all(request.as_bytes()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    };
    let mode = std::fs::metadata(&socket).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o660);
    assert!(ask("").starts_with("HTTP/1.1 303 "));
    let page = ask("X-Remote-User: anna\r\n");
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    assert!(page.contains("Nobody waits for you."), "{page}");
    daemon.stop().unwrap();
    assert!(!socket.exists());
}
