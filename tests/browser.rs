//! The web pages in a real browser: they work without scripts, and nobody else's run.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod support;

use std::time::Duration;

use straymail::review::ReviewSettings;
use straymail::service::account::AccountRole;
use straymail::store::{EntryId, EntryState, NewApproval, Origin};
use support::chromium::{Chromium, Look, why_no_chromium};
use support::pages::{PASSWORD, Pages};
use support::sink::Sink;

const DAY: Duration = Duration::from_secs(86_400);
const HOSTILE: &str = include_str!("hostile.html.txt");

fn now() -> jiff::Timestamp {
    #[expect(clippy::disallowed_methods, reason = "a test is served in real time")]
    jiff::Timestamp::now()
}

/// Says why a test cannot run here.
fn skipped() -> bool {
    let why = why_no_chromium();
    if let Some(why) = &why {
        println!("skipped: {why}");
    }
    why.is_some()
}

fn pages() -> (Pages, Sink, String) {
    let sink = Sink::start().unwrap();
    let pages = Pages::start(ReviewSettings::default(), sink.port()).unwrap();
    pages.account("anna", AccountRole::Admin).unwrap();
    let site = format!("http://{}", pages.address);
    (pages, sink, site)
}

fn held(pages: &Pages, n: usize, to: &str) -> EntryId {
    let headers = format!("Message-ID: <{n}@example.org>\r\nSubject: plan {n}\r\n");
    pages.hold("anna@example.org", to, &headers).unwrap()
}

fn state(pages: &Pages, id: &EntryId) -> EntryState {
    let detail = pages.service.quarantine().detail(id, now()).unwrap();
    detail.entry.state
}

fn log_in(browser: &Chromium, site: &str) {
    browser.open(&format!("{site}/login")).unwrap();
    browser.type_into("#name", "anna").unwrap();
    browser.type_into("#password", PASSWORD).unwrap();
    browser.click("button.go").unwrap();
    wait(browser, "h1", "Quarantine");
}

/// Waits until the first `css` shows `text`: a click does not wait for the page it leads to.
fn wait(browser: &Chromium, css: &str, text: &str) {
    support::wait_for(text, || {
        let shown = browser.text(css).unwrap_or_default();
        Ok(shown.contains(text).then_some(()))
    })
    .unwrap();
}

#[test]
fn a_reviewer_works_without_scripts() {
    if skipped() {
        return;
    }
    let (pages, sink, site) = pages();
    let ids: Vec<EntryId> = (0..4).map(|n| held(&pages, n, "carl@army.ml")).collect();
    let other = held(&pages, 9, "dora@gmial.com");
    let browser = Chromium::start(Look {
        no_scripts: true,
        ..Look::default()
    })
    .unwrap();
    // A link from a mail leads there after the login.
    browser.open(&format!("{site}/entry/{other}")).unwrap();
    wait(&browser, "h1", "Log in");
    browser.type_into("#name", "anna").unwrap();
    browser.type_into("#password", PASSWORD).unwrap();
    browser.click("button.go").unwrap();
    wait(&browser, "h1", "dora@gmial.com");
    assert!(browser.url().unwrap().ends_with(&format!("/entry/{other}")));
    // Filter.
    browser.open(&format!("{site}/")).unwrap();
    browser.click("summary").unwrap();
    browser.type_into("#domain", "army.ml").unwrap();
    browser.click("form.filters button.go").unwrap();
    wait(&browser, "main > p", "4 entries fit");
    // Open and release one.
    browser
        .click(&format!("a[href='/entry/{}']", ids[0]))
        .unwrap();
    wait(&browser, "#why", "Why it is held");
    browser
        .click("section[aria-labelledby=decide] button.go")
        .unwrap();
    wait(&browser, "h1", "1 released");
    assert_eq!(state(&pages, &ids[0]), EntryState::Released);
    assert_eq!(sink.deliveries().len(), 1);
    // Drop two of the rest.
    browser.open(&format!("{site}/")).unwrap();
    for id in &ids[1..3] {
        browser.click(&format!("input[value='{id}']")).unwrap();
    }
    browser.click("button.stop").unwrap();
    wait(&browser, "h1", "Drop these?");
    assert_eq!(state(&pages, &ids[1]), EntryState::Held);
    browser.type_into("#reason", "wrong address").unwrap();
    browser.click("button.stop.sure").unwrap();
    wait(&browser, "h1", "2 dropped");
    assert_eq!(state(&pages, &ids[1]), EntryState::Dropped);
    assert_eq!(state(&pages, &ids[2]), EntryState::Dropped);
    assert_eq!(state(&pages, &ids[3]), EntryState::Held);
    // Log out.
    browser.click(".who button").unwrap();
    wait(&browser, "h1", "Log in");
}

#[test]
fn a_sender_answers_on_a_phone() {
    if skipped() {
        return;
    }
    let (pages, _sink, site) = pages();
    let browser = Chromium::start(Look {
        phone: true,
        ..Look::default()
    })
    .unwrap();
    let id = held(&pages, 1, "carl@army.ml");
    let link = format!("{site}{}", pages.link(&id, DAY).unwrap());
    browser.open(&link).unwrap();
    // Without a choice the browser does not even send the form.
    browser.click("button.go").unwrap();
    wait(&browser, "h1", "Your message waits for your answer");
    assert!(
        pages
            .service
            .quarantine()
            .pending_decision(&id)
            .unwrap()
            .is_none()
    );
    browser.click("input[value=meant-0]").unwrap();
    browser.click("button.go").unwrap();
    wait(&browser, "h1", "It is on its way");
    assert!(browser.text("main").unwrap().contains("carl@army.mil"));
    let decided = pages
        .service
        .quarantine()
        .pending_decision(&id)
        .unwrap()
        .unwrap();
    assert_eq!(decided.corrected.as_deref(), Some("carl@army.mil"));
    browser.open(&link).unwrap();
    wait(&browser, "h1", "This was already decided");
}

/// What no page of ours has: foreign elements, handlers, styles, and links to elsewhere.
const FOREIGN: &str = r#"
    const tags = new Set("HTML HEAD META TITLE LINK BODY A HEADER DIV NAV SPAN BDI FORM INPUT BUTTON MAIN H1 H2 P LABEL SELECT OPTION DETAILS SUMMARY TABLE CAPTION THEAD TBODY TR TH TD MARK SECTION DL DT DD PRE CODE FIELDSET LEGEND STRONG Q".split(" "));
    const names = new Set("lang charset name content rel href class id method action type value for autocomplete autocapitalize spellcheck required autofocus role aria-label aria-labelledby aria-current scope data-label tabindex maxlength placeholder min max selected checked open".split(" "));
    const found = [];
    for (const e of document.querySelectorAll("*")) {
        if (!tags.has(e.tagName)) found.push(e.tagName);
        for (const a of e.attributes) {
            if (!names.has(a.name)) found.push(e.tagName + " " + a.name);
            if ((a.name == "href" || a.name == "action") && !/^[\/#][^\/]|^[\/]$/.test(a.value)) found.push(a.value);
        }
    }
    if (window.xss !== undefined) found.push("a script ran");
    if (document.querySelectorAll("h1").length != 1) found.push("headings");
    if (document.querySelectorAll("main").length != 1) found.push("mains");
    return found.join(", ");
"#;

#[test]
fn foreign_text_is_shown_and_nothing_else() {
    if skipped() {
        return;
    }
    let (pages, _sink, site) = pages();
    let texts: Vec<&str> = HOSTILE
        .lines()
        .filter(|line| !line.starts_with("# "))
        .collect();
    assert!(texts.len() >= 100, "only {} texts", texts.len());
    let browser = Chromium::start(Look::default()).unwrap();
    // The eye that looks is not blind.
    browser
        .open("data:text/html,<img src=x onerror=window.xss=1><h1 onclick=x>a</h1>")
        .unwrap();
    let seen = browser.ask(FOREIGN).unwrap();
    for expected in [
        "IMG",
        "IMG src",
        "IMG onerror",
        "H1 onclick",
        "a script ran",
        "mains",
    ] {
        assert!(
            seen.as_str().unwrap().contains(expected),
            "{expected} not seen: {seen}"
        );
    }
    log_in(&browser, &site);
    let inert = |path: &str, what: &str| {
        browser.open(&format!("{site}{path}")).unwrap();
        let found = browser.ask(FOREIGN).unwrap();
        assert_eq!(found, "", "{path} with {what}");
        let title = browser.ask("return document.title").unwrap();
        assert!(
            title.as_str().unwrap().ends_with("· straymail"),
            "{title} {what}"
        );
    };
    let quarantine = pages.service.quarantine();
    for (n, text) in texts.iter().enumerate() {
        let headers = format!(
            "Message-ID: <{n}@example.org>\r\nSubject: {text}\r\nX-{n}: {text}\r\nFrom: \"{text}\" <a@example.org>\r\n"
        );
        let to = format!("{text}@army.ml");
        let id = pages
            .hold(&format!("{text}@example.org"), &to, &headers)
            .unwrap();
        inert(&format!("/entry/{id}"), text);
        let shown = browser.text("main").unwrap();
        let visible = text.replace('\\', "\\\\");
        if text.is_ascii() {
            assert!(shown.contains(&visible), "{visible} is not shown: {shown}");
        }
        inert(&pages.link(&id, DAY).unwrap(), text);
        let asked: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
        inert(
            &format!("/?sender={asked}&domain={asked}&min={asked}"),
            text,
        );
        let path: String = text.bytes().map(|byte| format!("%{byte:02x}")).collect();
        inert(&format!("/nowhere/{path}"), text);
        let approval = NewApproval {
            sender: Some(format!("{text}@x")),
            recipient: format!("{text}@y"),
            expires_at: None,
            owner: (*text).to_owned(),
            reason: (*text).to_owned(),
            origin: Origin::Admin,
        };
        quarantine.approve(&approval, text, now()).unwrap();
        quarantine.drop_entry(&id, text, text, now()).unwrap();
        if n % 10 == 0 {
            inert(&format!("/entry/{id}"), text);
        }
    }
    inert("/approvals", "all");
    inert("/audit", "all");
    for page in 1..=3 {
        inert(&format!("/?state=all&page={page}"), "all");
    }
    browser
        .open(&format!("{site}/login?next={}", "%22%3E%3Cscript%3E"))
        .unwrap();
    assert_eq!(browser.ask(FOREIGN).unwrap(), "");
    println!(
        "{} texts, each in 4 pages and 3 lists: 0 elements, 0 scripts",
        texts.len()
    );
}

#[test]
fn pages_fit_a_phone_and_every_control_has_a_name() {
    if skipped() {
        return;
    }
    let (pages, _sink, site) = pages();
    let long = format!("carl@{}.army.ml", "a".repeat(60));
    let id = held(&pages, 1, &long);
    held(&pages, 2, "carl@xn--rmy-5cd.mil");
    let link = pages.link(&id, DAY).unwrap();
    let browser = Chromium::start(Look {
        phone: true,
        ..Look::default()
    })
    .unwrap();
    log_in(&browser, &site);
    let entry = format!("/entry/{id}");
    for path in [
        "/",
        &entry,
        &link,
        "/approvals",
        "/audit",
        "/login",
        "/?state=released",
    ] {
        browser.open(&format!("{site}{path}")).unwrap();
        let wide = browser
            .ask("return document.documentElement.scrollWidth - document.documentElement.clientWidth")
            .unwrap();
        assert_eq!(wide, 0, "{path} is wider than the phone");
        let nameless = browser
            .ask(
                "return [...document.querySelectorAll('input:not([type=hidden]), select, button, a, textarea')]
                    .filter(e => !e.getAttribute('aria-label') && !(e.labels && e.labels.length) && !e.textContent.trim())
                    .map(e => e.outerHTML).join()",
            )
            .unwrap();
        assert_eq!(nameless, "", "{path}");
        let captions = "return [...document.querySelectorAll('table')].filter(t => !t.caption || !t.querySelector('th[scope]')).length";
        assert_eq!(
            browser.ask(captions).unwrap(),
            0,
            "{path}: tables without caption or headers"
        );
    }
}
