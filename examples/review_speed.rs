//! How fast the review pages are with many entries: `cargo run --release --example review_speed`.
//!
//! `-- N` chooses how many entries (10,000). `-- N serve` goes on serving, for a look at the pages
//! with a browser; the account is `anna`, the password `correct horse battery`.

#![allow(dead_code, reason = "the tests use the rest")]

#[path = "../tests/support/pages.rs"]
mod pages;

use std::time::{Duration, Instant};

use anyhow::Result;
use pages::Pages;
use straymail::review::ReviewSettings;
use straymail::service::account::AccountRole;

/// Recipients of a message; each is an entry.
const RECIPIENTS: usize = 10;

/// What people type, and what they meant is trusted.
const TYPED: [&str; 8] = [
    "army.ml",
    "gmial.com",
    "examlpe.com",
    "xn--rmy-5cd.mil",
    "nayv.mil",
    "exampel.com",
    "mail.gmeil.com",
    "hmrc.gov.k",
];
const WHO: [&str; 5] = ["carl.jones", "d.smith", "press-office", "j.doe+plan", "ops"];
const SUBJECTS: [&str; 5] = [
    "Travel order for Thursday",
    "=?UTF-8?Q?Re:_Gr=C3=BC=C3=9Fe_aus_K=C3=B6ln?=",
    "Contract 4711, signed copy attached",
    "Minutes",
    "Lunch?",
];

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let entries: usize = args.next().map_or(Ok(10_000), |text| text.parse())?;
    let serve = args.next().is_some();
    let pages = Pages::start(ReviewSettings::default(), 9)?;
    pages.account("anna", AccountRole::Admin)?;
    let pick = |list: &[&'static str], n: usize| list[n % list.len()];
    let started = Instant::now();
    let mut first = None;
    for message in 0..entries.div_ceil(RECIPIENTS) {
        let recipients: Vec<String> = (0..RECIPIENTS)
            .map(|n| format!("{}.{n}@{}", pick(&WHO, message), pick(&TYPED, message + n)))
            .collect();
        let recipients: Vec<&str> = recipients.iter().map(String::as_str).collect();
        let headers = format!(
            "Received: from desk{message} by relay.example.org\r\nMessage-ID: <{message}@example.org>\r\nFrom: Anna <anna@example.org>\r\nTo: {}\r\nSubject: {}\r\n",
            recipients.join(", "),
            pick(&SUBJECTS, message)
        );
        let sender = format!("anna{}@example.org", message % 97);
        let ids = pages.hold_for(&sender, &recipients, &headers)?;
        if message % TYPED.len() == 3 {
            first = ids.into_iter().next();
        }
    }
    println!(
        "{entries} entries held in {:.1} s",
        started.elapsed().as_secs_f64()
    );
    let mut browser = pages.logged_in("anna")?;
    let last = format!("/?state=open&page={}", entries.div_ceil(50));
    for (name, path) in [
        ("first page", "/"),
        ("last page", last.as_str()),
        ("filter by sender", "/?sender=anna42"),
        ("filter by domain", "/?domain=army.ml"),
        ("filter by score", "/?min=90&state=all"),
        ("audit record", "/audit"),
    ] {
        let mut times: Vec<Duration> = Vec::new();
        for _ in 0..20 {
            let asked = Instant::now();
            let page = browser.get(path)?;
            times.push(asked.elapsed());
            anyhow::ensure!(page.status == 200, "{path}: {}", page.status);
        }
        times.sort();
        let ms = |at: usize| times[at].as_secs_f64() * 1000.0;
        println!(
            "{name:<18} median {:6.1} ms, slowest of 20 {:6.1} ms",
            ms(10),
            ms(19)
        );
    }
    if serve {
        if let Some(id) = first {
            println!("entry   http://{}/entry/{id}", pages.address);
            let link = pages.link(&id, Duration::from_secs(86_400))?;
            println!("confirm http://{}{link}", pages.address);
        }
        println!("list    http://{}/", pages.address);
        loop {
            std::thread::park();
        }
    }
    Ok(())
}
