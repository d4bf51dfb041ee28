//! What is learned from earlier mail, when it counts, and what it never excuses.

#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

mod held;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use held::{at, open};
use jiff::Timestamp;
use straymail::address::Address;
use straymail::policy::{Policy, Role};
use straymail::public_suffix::PublicSuffixes;
use straymail::score::{Context, ScoreSettings, Scorer};
use straymail::service::conversation::{Conversation, DOCTOR, RcptStep};
use straymail::service::learning::{Batch, Learning, LearningSettings, NotYet};
use straymail::service::{Service, Snapshot};
use straymail::session::{Answer, Client, Gate, Mail, Rcpt, Recipient};
use straymail::store::{Day, DayTotal, Erased, NewApproval, Origin, Standing};
use straymail::trusted::TrustedList;
use tempfile::TempDir;

const DAY: i64 = 86_400;

fn snapshot() -> Snapshot {
    let suffixes = PublicSuffixes::built_in();
    let mut list = TrustedList::new();
    let text = ".mil\nboeing.com\nsiemens.de\ngmail.com\n";
    assert_eq!(list.add_text(text, Path::new("t"), &suffixes), []);
    list.add_well_known(&suffixes);
    Snapshot {
        scorer: Scorer::new(list, ScoreSettings::default()),
        suffixes,
        policy: Policy::default(),
        gate: Gate::default(),
        help: String::new(),
    }
}

/// A site on day 0 of the tests.
struct Site {
    dir: TempDir,
    snapshot: Snapshot,
    learning: Learning,
}

fn site() -> Site {
    site_with(LearningSettings::default())
}

fn site_with(settings: LearningSettings) -> Site {
    let dir = tempfile::tempdir().unwrap();
    let quarantine = Arc::new(open(dir.path(), 1));
    Site {
        learning: Learning::open(quarantine, settings).unwrap(),
        snapshot: snapshot(),
        dir,
    }
}

fn day(number: i64) -> Timestamp {
    at(number * DAY)
}

impl Site {
    /// Counts a mail from each of `senders` to `recipient` on each of `days`.
    fn sent(&self, senders: &[&str], recipient: &str, days: &[i64]) {
        let mut batch = Batch::default();
        let (local, domain) = recipient.split_once('@').unwrap();
        for number in days {
            for sender in senders {
                let (sender, day) = (format!("{sender}@site.example"), Day::of(day(*number)));
                batch.sent(&sender, local, domain, day, true, || {
                    domain.ends_with(".mil") || domain == "boeing.com"
                });
            }
        }
        self.write(batch);
    }

    fn received(&self, domain: &str, days: &[i64]) {
        let mut batch = Batch::default();
        for number in days {
            batch.received(domain, Day::of(day(*number)));
        }
        self.write(batch);
    }

    fn write(&self, mut batch: Batch) {
        self.learning.write(&mut batch, &self.snapshot).unwrap();
    }

    /// Scores of `address` for a mail of `sender` on day `number`: by itself, and with history.
    fn scores(&self, sender: &str, address: &str, number: i64) -> (u8, u8) {
        let recipient = Recipient {
            args: Vec::new(),
            address: Address::parse(address.as_bytes(), &self.snapshot.suffixes),
            rewritten: None,
        };
        let unknown = (self.snapshot)
            .assess(&recipient, &Context::default())
            .unwrap();
        let weighed = self.learning.weigh(
            &self.snapshot,
            &recipient,
            &format!("{sender}@site.example"),
            &[],
            unknown.clone(),
            day(number),
        );
        (unknown.score, weighed.unwrap().score)
    }
}

#[test]
fn a_real_neighbour_is_known_after_three_days_and_two_with_answers() {
    let site = site();
    site.sent(&["anna"], "carl@boing.com", &[0]);
    site.received("boing.com", &[1]);
    site.received("mail.boing.com", &[2]);
    site.sent(&["anna"], "carl@boing.com", &[0, 1]);
    let (before, after) = site.scores("anna", "carl@boing.com", 2);
    assert!(before >= 50);
    assert_eq!(after, before, "two days are no history");
    site.sent(&["anna"], "carl@boing.com", &[2]);
    let (_, after) = site.scores("anna", "carl@boing.com", 2);
    assert!(after < 40, "{after}");
    // Half a year later three days of old are worth less than three.
    let (before, after) = site.scores("anna", "carl@boing.com", 182);
    assert_eq!(after, before);
}

#[test]
fn a_typo_that_many_make_is_no_neighbour() {
    let site = site();
    let senders = ["anna", "bob", "carl", "dora", "ed", "flo", "gus"];
    let days: Vec<i64> = (0..15).collect();
    site.sent(&senders, "carl@boing.com", &days);
    // Whoever writes first, and one automatic reply.
    site.received("boing.com", &[0, 6]);
    let (before, after) = site.scores("anna", "carl@boing.com", 15);
    assert_eq!(after, before);
    let listed = site.learning.doubtful(&site.snapshot, 9, day(15)).unwrap();
    assert_eq!(listed[0].not_yet, Some(NotYet::FewAnswers));
}

#[test]
fn a_site_that_sees_no_inbound_mail_may_ask_for_no_answers() {
    let site = site_with(LearningSettings {
        answers: 0,
        ..LearningSettings::default()
    });
    site.sent(&["anna"], "carl@boing.com", &[0, 1, 2]);
    assert!(site.scores("anna", "carl@boing.com", 2).1 < 40);
}

#[test]
fn a_thousand_mails_in_a_day_are_one_day() {
    let site = site();
    for _ in 0..1000 {
        site.sent(&["anna", "bob"], "carl@boing.com", &[0]);
    }
    site.received("boing.com", &[1, 2]);
    let (before, after) = site.scores("anna", "carl@boing.com", 2);
    assert_eq!(after, before);
    let contacts = (site.learning)
        .contacts(Standing::Doubtful, 10, day(0))
        .unwrap();
    let (name, history) = &contacts[0];
    assert_eq!(
        (name.as_str(), history.mails, history.days),
        ("boing.com", 2000, 1)
    );
}

#[test]
fn somebody_new_to_a_neighbour_is_asked_until_many_write_there() {
    let site = site();
    site.sent(&["anna", "bob"], "carl@boing.com", &[0, 1, 2]);
    site.received("boing.com", &[1, 2]);
    let (before, dora) = site.scores("dora", "carl@boing.com", 2);
    let (_, anna) = site.scores("anna", "carl@boing.com", 2);
    assert!(anna < dora && dora < before, "{anna} {dora} {before}");
    site.sent(&["ed", "flo", "gus"], "carl@boing.com", &[2]);
    assert_eq!(site.scores("dora", "carl@boing.com", 2).1, anna);
}

/// The leaks of ten years went to army.ml day after day, from many senders, and were answered.
#[test]
fn no_history_excuses_a_look_alike_or_a_swapped_trusted_ending() {
    let site = site();
    let senders = ["anna", "bob", "carl", "dora", "ed", "flo"];
    let days: Vec<i64> = (0..15).collect();
    for name in [
        "army.ml",
        "navy.ml",
        "boeing.co",
        "bоeing.com", // Cyrillic o
        "b0eing.com",
        "boeing-invoice.com",
        "mail-boeing.com",
        "boeing.com.evil.org",
    ] {
        let domain = straymail::domain::Domain::parse(name.as_bytes(), &site.snapshot.suffixes);
        let domain = domain.unwrap();
        site.sent(&senders, &format!("x@{}", domain.ascii()), &days);
        site.received(domain.ascii(), &days);
        let (before, after) = site.scores("anna", &format!("y@{}", domain.ascii()), 15);
        assert!(before >= 50 && after == before, "{name}: {before} {after}");
    }
    let listed = site
        .learning
        .doubtful(&site.snapshot, 100, day(15))
        .unwrap();
    assert_eq!(listed.len(), 7, "all but evil.org, which resembles nothing");
    assert!(
        listed
            .iter()
            .all(|it| it.weighed == it.assessment && it.not_yet.is_none())
    );
}

#[test]
fn the_address_that_is_known_at_the_trusted_domain_speaks_for_a_typo() {
    let site = site();
    site.sent(&["anna"], "carl@boeing.com", &[0]);
    site.sent(&["anna"], "info@boeing.com", &[0]);
    let (before, carl) = site.scores("anna", "carl@boing.com", 1);
    let (_, dora) = site.scores("anna", "dora@boing.com", 1);
    let (_, info) = site.scores("anna", "info@boing.com", 1);
    assert_eq!((dora, info), (before, before));
    assert_eq!(carl, (before + 25).min(100));
}

#[test]
fn names_in_use_below_a_trusted_suffix_sharpen_the_scorer() {
    let site = site();
    site.sent(&["anna"], "x@mail.jagdkommando.mil", &[0, 1, 2]);
    site.sent(&["anna"], "x@seldom.mil", &[0]);
    site.learning.refresh().unwrap();
    let habits = site.learning.habits();
    assert_eq!(habits.known, ["jagdkommando.mil"]);
    let suffixes = &site.snapshot.suffixes;
    let informed = site
        .learning
        .inform(&site.snapshot.scorer, suffixes)
        .unwrap();
    let domain = straymail::domain::Domain::parse(b"jagdkommando.org", suffixes).unwrap();
    let score = |scorer: &Scorer| scorer.assess(&domain, &Context::default()).score;
    assert!(score(&site.snapshot.scorer) < 40);
    assert!(score(&informed) >= 50, "{}", score(&informed));
    assert!(
        site.learning.inform(&informed, suffixes).is_none(),
        "nothing new"
    );
}

#[test]
fn domains_most_mail_goes_to_are_meant_more_often() {
    let site = site();
    let senders: Vec<String> = (0..60).map(|n| format!("s{n}")).collect();
    let senders: Vec<&str> = senders.iter().map(String::as_str).collect();
    site.sent(&senders, "x@boeing.com", &[0, 1]);
    site.learning.refresh().unwrap();
    assert_eq!(site.learning.habits().frequent, ["boeing.com"]);
    let (before, after) = site.scores("anna", "dora@boing.com", 1);
    assert_eq!(after, before + 8);
}

#[test]
fn what_is_stored_names_only_the_trusted_and_the_doubtful() {
    let site = site();
    site.sent(&["anna"], "x@boeing.com", &[0]);
    site.sent(&["anna"], "x@boing.com", &[0]);
    site.sent(&["anna"], "x@private-clinic.example", &[0]);
    let everything = std::fs::read(site.dir.path().join("quarantine.db")).unwrap();
    let log = std::fs::read(site.dir.path().join("quarantine.db-wal")).unwrap_or_default();
    let all = [everything, log].concat();
    let holds = |text: &str| all.windows(text.len()).any(|part| part == text.as_bytes());
    assert!(holds("boeing.com") && holds("boing.com"));
    assert!(!holds("private-clinic") && !holds("anna"));
}

#[test]
fn a_person_and_a_domain_can_be_forgotten() {
    let site = site();
    site.sent(&["anna", "bob"], "carl@boing.com", &[0, 1, 2]);
    site.sent(&["anna"], "dora@boeing.com", &[0]);
    let forget = |whom: &str| {
        site.learning
            .forget(whom, &site.snapshot, "cli root", day(3))
            .unwrap()
    };
    assert_eq!(
        forget("Anna@Site.example"),
        Erased {
            domains: 1,
            pairs: 2,
            mailboxes: 0
        }
    );
    assert_eq!(
        forget("dora@boeing.com"),
        Erased {
            domains: 0,
            pairs: 0,
            mailboxes: 1
        }
    );
    assert_eq!(
        forget("boing.com"),
        Erased {
            domains: 1,
            pairs: 1,
            mailboxes: 0
        }
    );
    assert_eq!(forget("boing.com"), Erased::default());
    let extent = site.learning.extent().unwrap();
    assert_eq!((extent.domains, extent.pairs, extent.mailboxes), (0, 0, 0));
}

#[test]
fn what_is_old_is_forgotten_by_itself() {
    let site = site();
    site.sent(&["anna"], "x@old.example", &[0]);
    site.sent(&["anna"], "x@new.example", &[700]);
    site.learning.prune(day(731)).unwrap();
    assert_eq!(site.learning.extent().unwrap().domains, 1);
}

#[test]
fn totals_of_a_day_add_up_over_restarts() {
    let site = site();
    let total = |judged| DayTotal {
        judged,
        clean: 2 * judged,
        ..DayTotal::default()
    };
    for judged in [3, 5, 5] {
        let now = day(0);
        site.learning
            .flush(&site.snapshot, &total(judged), now)
            .unwrap();
    }
    let quarantine = Arc::new(open(site.dir.path(), 1));
    let again = Learning::open(Arc::clone(&quarantine), LearningSettings::default()).unwrap();
    again.flush(&site.snapshot, &total(1), day(0)).unwrap();
    again.flush(&site.snapshot, &total(2), day(1)).unwrap();
    let totals = quarantine
        .day_totals(Day::of(day(0)), Day::of(day(1)))
        .unwrap();
    let totals: Vec<_> = totals.into_iter().map(|(_, total)| total).collect();
    assert_eq!(totals, [total(6), total(1)]);
}

/// A service of the site, with the time standing still.
fn service(site: &Site) -> Arc<Service> {
    let quarantine = Arc::new(open(site.dir.path(), 1));
    let learning = Learning::open(Arc::clone(&quarantine), LearningSettings::default()).unwrap();
    let log = straymail::logging::discard();
    let service = Service::new(snapshot(), quarantine, None, log, || at(0), 1);
    Arc::new(service.with_learning(Arc::new(learning)))
}

/// A whole message as the milter sees it, from an authenticated client or from anybody.
fn message(service: &Arc<Service>, login: Option<&[u8]>, sender: &str, recipients: &[&str]) {
    let mut conversation = Conversation::new(Arc::clone(service), Role::Relay);
    conversation.connect(Client {
        ip: Some([192, 0, 2, 7].into()),
        port: 1,
        ..Client::default()
    });
    conversation.mail(Mail {
        path: sender.as_bytes(),
        login,
        ..Mail::default()
    });
    for recipient in recipients {
        let rcpt = Rcpt {
            path: recipient.as_bytes(),
            ..Rcpt::default()
        };
        if let RcptStep::Evidence(recipient, assessment) = conversation.rcpt(rcpt) {
            conversation.settle(*recipient, assessment);
        }
    }
    conversation.header(b"Subject", b" x");
    conversation.end_of_header();
    conversation.body(b"Hello\r\n");
    conversation.end_of_message(None, true);
}

#[test]
fn the_doctor_is_judged_like_any_client_and_counts_as_nobodys_mail() {
    let site = site();
    let service = service(&site);
    for (name, counted) in [(DOCTOR, 0), ("mua.site.example", 1)] {
        let mut conversation = Conversation::new(Arc::clone(&service), Role::Relay);
        conversation.connect(Client {
            name: name.into(),
            ip: Some([127, 0, 0, 1].into()),
            port: 1,
        });
        conversation.mail(Mail {
            path: b"<anna@site.example>",
            ..Mail::default()
        });
        let path = b"<a@partner.example>";
        let step = conversation.rcpt(Rcpt {
            path,
            ..Rcpt::default()
        });
        assert!(
            matches!(step, RcptStep::Answered(Answer::Continue)),
            "{name}"
        );
        let counters = &service.counters;
        let found = [&counters.judged, &counters.clean].map(|n| n.load(Ordering::Relaxed));
        assert_eq!(found, [counted; 2], "{name}");
    }
}

#[test]
fn what_was_accepted_is_counted_and_what_was_held_or_rejected_is_not() {
    let site = site();
    let service = service(&site);
    let anna = Some(&b"anna"[..]);
    let from = "<anna@site.example>";
    let recipients = ["<a@partner.example>", "<b@boing.com>", "<c@b0eing.com>"];
    message(&service, anna, from, &recipients);
    message(&service, anna, "<>", &["<a@bounce.example>"]);
    // Not ours to judge: it may be an answer, and is nothing without mail of ours before.
    message(
        &service,
        None,
        "<x@stranger.example>",
        &["<anna@site.example>"],
    );
    assert_eq!(
        service.learning().unwrap().extent().unwrap().domains,
        0,
        "in memory only"
    );
    service.write_learned().unwrap();
    let extent = service.learning().unwrap().extent().unwrap();
    assert_eq!((extent.domains, extent.mails, extent.doubtful), (1, 1, 0));
    let known = |name: &str| {
        let domain = straymail::domain::Domain::parse(name.as_bytes(), &site.snapshot.suffixes);
        let history =
            (site.learning).history(&site.snapshot, "anna@site.example", &domain.unwrap(), at(0));
        history.unwrap().is_some()
    };
    assert!(known("partner.example"));
    assert!(!known("boing.com") && !known("b0eing.com") && !known("bounce.example"));
    // Approved, as a release is, it passes and counts.
    let approval = NewApproval {
        sender: None,
        recipient: "boing.com".to_owned(),
        expires_at: None,
        owner: "anna".to_owned(),
        reason: "a customer".to_owned(),
        origin: Origin::Admin,
    };
    service
        .quarantine()
        .approve(&approval, "cli", at(0))
        .unwrap();
    message(&service, anna, from, &["<b@boing.com>"]);
    service.write_learned().unwrap();
    assert!(known("boing.com"));
}

#[test]
fn a_locked_store_keeps_no_clean_message_waiting() {
    let site = site();
    let service = service(&site);
    let other = rusqlite::Connection::open(site.dir.path().join("quarantine.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    let begin = std::time::Instant::now();
    for _ in 0..100 {
        let anna = Some(&b"anna"[..]);
        message(
            &service,
            anna,
            "<anna@site.example>",
            &["<a@partner.example>"],
        );
    }
    // A single wait for the lock is five seconds.
    assert!(begin.elapsed() < straymail::store::BUSY_TIMEOUT);
    assert!(service.write_learned().is_err());
    other.execute_batch("ROLLBACK").unwrap();
    service.write_learned().unwrap();
    let extent = service.learning().unwrap().extent().unwrap();
    assert_eq!(
        (extent.domains, extent.mails),
        (1, 100),
        "nothing of it is lost"
    );
}
