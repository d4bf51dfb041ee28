//! Who may see what: roles, sessions, guessed passwords, a proxy that vouches.

use super::*;

#[test]
fn roles_are_enforced_by_the_server() {
    let (pages, sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let admin_only = [
        "/approvals/add",
        "/approvals/remove",
        &format!("/entry/{id}/approve"),
    ];
    for (name, refused) in [
        (
            "vera",
            ["/bulk", "/decide"]
                .iter()
                .chain(&admin_only)
                .copied()
                .collect::<Vec<_>>(),
        ),
        ("rudi", admin_only.to_vec()),
    ] {
        let mut browser = pages.logged_in(name).unwrap();
        let page = browser.get("/").unwrap();
        let seal = page.seal();
        assert_eq!(page.body.contains("Release selected"), name != "vera");
        let before = everything(&pages);
        for path in refused {
            let fields = [
                ("seal", seal.as_str()),
                ("id", id.as_str()),
                ("action", "release"),
                ("recipient", "army.ml"),
                ("life", "30"),
                ("owner", "x"),
                ("reason", "x"),
                ("what", "address"),
                ("who", "anybody"),
            ];
            let answer = browser.post(path, &fields).unwrap();
            assert_eq!(answer.status, 403, "{name} {path}");
            assert!(answer.body.contains("this takes a"), "{}", answer.body);
        }
        assert_eq!(everything(&pages), before);
        let download = browser.get(&format!("/entry/{id}/message")).unwrap();
        assert_eq!(download.status, if name == "vera" { 403 } else { 200 });
    }
    assert_eq!(sink.deliveries().len(), 0);
}

#[test]
fn every_page_is_behind_the_login_and_every_form_behind_its_seal() {
    let (pages, _sink) = pages();
    let id = held(&pages, 1, "carl@army.ml");
    let entry = format!("/entry/{id}");
    let message = format!("/entry/{id}/message");
    let approve = format!("/entry/{id}/approve");
    let mut nobody = pages.browser();
    for path in ["/", &entry, &message, "/approvals", "/audit"] {
        let answer = nobody.get(path).unwrap();
        assert_eq!(answer.status, 303, "{path}");
        assert!(answer.header("location").starts_with("/login"), "{path}");
        assert_eq!(answer.body, "");
    }
    let posts = [
        "/bulk",
        "/decide",
        &approve,
        "/approvals/add",
        "/approvals/remove",
        "/logout",
    ];
    let before = everything(&pages);
    let mut anna = pages.logged_in("anna").unwrap();
    let other = pages.logged_in("anna").unwrap().get("/").unwrap().seal();
    for path in posts {
        assert_eq!(
            nobody.post(path, &[("id", id.as_str())]).unwrap().status,
            403,
            "{path}"
        );
        for seal in ["", "00", other.as_str(), &"0".repeat(64)] {
            let fields = [("seal", seal), ("id", id.as_str()), ("action", "release")];
            let answer = anna.post(path, &fields).unwrap();
            assert_eq!(answer.status, 403, "{path} with {seal:?}");
            assert!(
                answer.body.contains("This form is too old"),
                "{}",
                answer.body
            );
        }
    }
    // Sent by a page of somebody else, with a seal that fits.
    let seal = anna.get("/").unwrap().seal();
    for header in [
        ("Origin", "https://evil.example"),
        ("Sec-Fetch-Site", "cross-site"),
        ("Sec-Fetch-Site", "same-site"),
    ] {
        let mut anna = anna.clone();
        anna.headers
            .push((header.0.to_owned(), header.1.to_owned()));
        let fields = [
            ("seal", seal.as_str()),
            ("id", id.as_str()),
            ("action", "release"),
        ];
        assert_eq!(
            anna.post("/decide", &fields).unwrap().status,
            403,
            "{header:?}"
        );
    }
    assert_eq!(everything(&pages), before);
}

#[test]
fn a_login_makes_a_new_session_and_logout_ends_it() {
    let (pages, _sink) = pages();
    let mut browser = pages.browser();
    // Somebody put a cookie of theirs into this browser.
    let planted = "a".repeat(64);
    browser
        .cookies
        .insert("straymail".to_owned(), planted.clone());
    let page = browser.get("/login?next=/audit").unwrap();
    let fields = |password: &'static str| {
        [
            ("seal", page.seal()),
            ("name", "anna".to_owned()),
            ("password", password.to_owned()),
            ("next", page.field("next")),
        ]
    };
    let send = |browser: &mut Browser, fields: &[(&str, String)]| {
        let fields: Vec<(&str, &str)> = fields.iter().map(|(n, v)| (*n, v.as_str())).collect();
        browser.post("/login", &fields).unwrap()
    };
    let wrong = send(&mut browser.clone(), &fields("wrong password"));
    assert_eq!(wrong.status, 403);
    assert!(wrong.body.contains("Name or password is wrong."));
    let right = send(&mut browser, &fields(support::pages::PASSWORD));
    assert_eq!((right.status, right.header("location")), (303, "/audit"));
    let cookie = (right.headers.iter())
        .find(|(name, value)| name == "set-cookie" && value.starts_with("straymail="))
        .unwrap();
    assert!(
        cookie.1.ends_with("; Path=/; HttpOnly; SameSite=Strict"),
        "{}",
        cookie.1
    );
    let session = browser.cookies["straymail"].clone();
    assert_ne!(session, planted);
    let mut thief = pages.browser();
    thief.cookies.insert("straymail".to_owned(), planted);
    assert_eq!(thief.get("/").unwrap().status, 303);
    let seal = browser.get("/").unwrap().seal();
    assert_eq!(
        browser.post("/logout", &[("seal", &seal)]).unwrap().status,
        303
    );
    let mut thief = pages.browser();
    thief.cookies.insert("straymail".to_owned(), session);
    assert_eq!(thief.get("/").unwrap().status, 303);
    // A login form needs the cookie it came with.
    let mut bare = pages.browser();
    let seal = page.seal();
    let fields = [
        ("seal", seal.as_str()),
        ("name", "anna"),
        ("password", support::pages::PASSWORD),
    ];
    assert_eq!(bare.post("/login", &fields).unwrap().status, 403);
    assert!(!bare.cookies.contains_key("straymail"));
}

#[test]
fn a_removed_account_or_a_changed_password_ends_sessions_at_once() {
    let (pages, _sink) = pages();
    let mut anna = pages.logged_in("anna").unwrap();
    let mut rudi = pages.logged_in("rudi").unwrap();
    assert_eq!(anna.get("/").unwrap().status, 200);
    pages
        .accounts
        .set_password("anna", "another long password")
        .unwrap();
    pages.accounts.remove("rudi").unwrap();
    assert_eq!(anna.get("/").unwrap().status, 303);
    assert_eq!(rudi.get("/").unwrap().status, 303);
}

#[test]
fn whoever_guesses_passwords_must_wait_and_learns_no_names() {
    let (pages, _sink) = pages();
    let mut guesser = pages.browser();
    let mut answers = BTreeSet::new();
    for n in 0..10 {
        let seal = guesser.get("/login").unwrap().seal();
        let name = if n % 2 == 0 {
            "anna"
        } else {
            "no-such-account"
        };
        let fields = [
            ("seal", seal.as_str()),
            ("name", name),
            ("password", "guess"),
        ];
        let answer = guesser.post("/login", &fields).unwrap();
        answers.insert((
            answer.status,
            answer.body.contains("Name or password is wrong."),
        ));
    }
    assert_eq!(answers, BTreeSet::from([(403, true)]));
    let seal = guesser.get("/login").unwrap().seal();
    let fields = [
        ("seal", seal.as_str()),
        ("name", "anna"),
        ("password", support::pages::PASSWORD),
    ];
    let answer = guesser.post("/login", &fields).unwrap();
    assert_eq!(answer.status, 429);
    assert!(answer.body.contains("Too many wrong passwords"));
}

#[test]
fn only_a_listed_proxy_vouches_for_an_account() {
    let sink = Sink::start().unwrap();
    let settings = |proxies: &[&str]| ReviewSettings {
        public_url: Some(PublicUrl::parse("https://mail.example.org").unwrap()),
        trusted_proxies: proxies.iter().map(|net| net.parse().unwrap()).collect(),
        user_header: Some("x-remote-user".to_owned()),
        ..ReviewSettings::default()
    };
    let vouch = |pages: &Pages, name: &str| {
        let mut browser = pages.browser();
        browser.headers = vec![
            ("Host".to_owned(), "mail.example.org".to_owned()),
            ("X-Remote-User".to_owned(), name.to_owned()),
            (
                "X-Forwarded-For".to_owned(),
                "203.0.113.9, 198.51.100.7".to_owned(),
            ),
        ];
        browser
    };
    let unlisted = Pages::start(settings(&["192.0.2.0/24"]), sink.port()).unwrap();
    unlisted.account("anna", AccountRole::Admin).unwrap();
    assert_eq!(vouch(&unlisted, "anna").get("/").unwrap().status, 303);
    let pages = Pages::start(settings(&["127.0.0.1/32"]), sink.port()).unwrap();
    pages
        .accounts
        .add("anna", AccountRole::Reviewer, None)
        .unwrap();
    let id = held(&pages, 1, "carl@army.ml");
    let mut anna = vouch(&pages, "Anna");
    assert_eq!(anna.get("/").unwrap().status, 200);
    assert_eq!(decide(&mut anna, &id, "release").status, 200);
    assert_eq!(history(&pages, &id)[1].1, "web anna (198.51.100.7)");
    let stranger = vouch(&pages, "berta").get("/").unwrap();
    assert_eq!(stranger.status, 403);
    assert!(
        stranger.body.contains("there is no such account"),
        "{}",
        stranger.body
    );
    // Whatever a client sends beside the proxy's word, nobody knows which is which.
    let mut twice = vouch(&pages, "anna");
    (twice.headers).push(("X-Remote-User".to_owned(), "anna".to_owned()));
    let refused = twice.get("/").unwrap();
    assert_eq!(refused.status, 403);
    assert!(refused.body.contains("came twice"), "{}", refused.body);
    // Cookies of an encrypted site stay on it.
    let login = vouch(&unlisted, "anna").get("/login").unwrap();
    let cookie = login.header("set-cookie");
    assert!(cookie.starts_with("__Host-straymail-login="), "{cookie}");
    assert!(
        cookie.ends_with("; Path=/; HttpOnly; SameSite=Strict; Secure"),
        "{cookie}"
    );
}
