//! Logs that are read again: grown, in parts, together, older copies; and what was forgotten since.

#![expect(
    clippy::unwrap_used,
    reason = "what the tests share fails them like the tests themselves"
)]

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::Command;

use flate2::Compression;
use flate2::write::GzEncoder;
use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::Value;
use tempfile::TempDir;

/// A real neighbour of `boeing.com`.
const NEIGHBOUR: &str = "boing.com";

struct Site(TempDir);

impl Site {
    fn new() -> Site {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("store")).unwrap();
        let yaml = format!(
            "trusted: {{own: [site.example], domains: [boeing.com]}}\npublic_suffix_list: built-in\n\
             quarantine: {{directory: {}}}\n",
            dir.path().join("store").display()
        );
        fs::write(dir.path().join("milter.yaml"), yaml).unwrap();
        Site(dir)
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn write(&self, name: &str, log: &str) {
        fs::write(self.path().join(name), log).unwrap();
    }

    /// Runs a command and returns its status and both its streams.
    fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = assert_cmd::Command::cargo_bin("straymail")
            .unwrap()
            .current_dir(self.path())
            .env("TZ", "UTC")
            .args(arguments)
            .args(["--config", "milter.yaml"])
            .output()
            .unwrap();
        let text = |octets| String::from_utf8(octets).unwrap();
        (
            output.status.code().unwrap(),
            text(output.stdout),
            text(output.stderr),
        )
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (status, printed, complaint) = self.run(&[arguments, &["--json"]].concat());
        assert_eq!((status, complaint.as_str()), (0, ""), "{printed}");
        serde_json::from_str(&printed).unwrap()
    }

    /// Learns from a log and returns how many of its mails were new.
    fn learn(&self, name: &str) -> u64 {
        let counted = self.json(&["learn", name])["counted"].take();
        let count = |what: &str| counted[what].as_u64().unwrap();
        count("mails") - count("before") - count("forgotten")
    }

    fn mails(&self) -> u64 {
        self.json(&["learn", "status"])["mails"].as_u64().unwrap()
    }

    /// The mails that are known to have gone to a domain, and on how many days.
    fn known(&self, domain: &str) -> (u64, u64) {
        let shown = self.json(&["learn", "show", domain]);
        (
            shown["mails"].as_u64().unwrap(),
            shown["days"].as_u64().unwrap(),
        )
    }
}

#[expect(clippy::disallowed_methods, reason = "the logs are of the last days")]
fn now() -> Timestamp {
    Timestamp::now()
}

/// The beginning of a day so many days ago.
fn day(ago: i64) -> Timestamp {
    let today = now().as_second() / 86_400 * 86_400;
    Timestamp::from_second(today - ago * 86_400).unwrap()
}

/// The lines of mail number `n` to a domain: until it is in the queue, and from its delivery on.
fn halves(n: usize, time: Timestamp, domain: &str) -> (String, String) {
    let time = time.strftime("%Y-%m-%dT%H:%M:%S+00:00").to_string();
    let begin = format!("{time} mx postfix");
    let id = format!("4AB{n:07X}");
    (
        format!(
            "{begin}/submission/smtpd[1]: {id}: client=pc[192.0.2.7], sasl_method=PLAIN, sasl_username=anna\n\
             {begin}/cleanup[2]: {id}: message-id=<{n}@x>\n\
             {begin}/qmgr[3]: {id}: from=<anna@site.example>, size=900, nrcpt=1 (queue active)\n"
        ),
        format!(
            "{begin}/smtp[4]: {id}: to=<carl@{domain}>, relay=mx.{domain}[203.0.113.9]:25, delay=1, delays=0/0/0/1, dsn=2.0.0, status=sent (250 ok)\n\
             {begin}/qmgr[3]: {id}: removed\n"
        ),
    )
}

fn mail(n: usize, time: Timestamp, domain: &str) -> String {
    let (queued, delivered) = halves(n, time, domain);
    queued + &delivered
}

/// Twenty mails to `domain` on a day, a minute apart, numbered from `first`.
fn twenty(first: usize, ago: i64, domain: &str) -> String {
    let mut log = String::new();
    for n in 0..20 {
        let time = day(ago) + SignedDuration::from_mins(i64::try_from(n).unwrap());
        write!(log, "{}", mail(first + n, time, domain)).unwrap();
    }
    log
}

#[test]
fn of_a_log_that_has_grown_everything_new_counts_also_of_the_same_second() {
    let site = Site::new();
    let time = day(3);
    let mut log = mail(1, time, "one.example") + &mail(2, time, "one.example");
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 2);
    log += &mail(3, time, "one.example");
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 1);
    assert_eq!(site.learn("mail.log"), 0);
    assert_eq!(site.mails(), 3);
}

#[test]
fn a_line_dated_ahead_keeps_no_later_mail_from_being_counted() {
    let site = Site::new();
    let ahead = now() + SignedDuration::from_hours(20);
    let mut log = mail(1, day(3), "one.example") + &mail(2, ahead, "one.example");
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 2);
    log += &mail(3, day(2), "one.example");
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 1);
    assert_eq!(site.mails(), 3);
}

#[test]
fn different_logs_that_begin_with_the_same_line_are_different() {
    let site = Site::new();
    let header = "-- Logs begin at Mon 2026-01-05 08:00:00 UTC. --\n";
    let restart = format!("{} mx postfix/master[1]: daemon started\n", day(5));
    for (n, beginning) in [header, &restart].into_iter().enumerate() {
        let first = 100 * (n + 1);
        site.write(
            "a.log",
            &(beginning.to_owned() + &twenty(first, 3, "one.example")),
        );
        site.write(
            "b.log",
            &(beginning.to_owned() + &twenty(first + 50, 4, "one.example")),
        );
        assert_eq!(site.learn("a.log"), 20, "{beginning}");
        assert_eq!(site.learn("b.log"), 20, "{beginning}");
        for known in ["a.log", "b.log"] {
            assert_eq!(site.learn(known), 0, "{beginning}");
        }
    }
    assert_eq!(site.mails(), 80);
}

#[test]
fn what_journalctl_prints_is_known_although_it_tells_the_time_first() {
    let site = Site::new();
    let header =
        |hour| format!("-- Logs begin at Mon 2026-01-05, end at Tue {hour}:00:00 UTC. --\n");
    let (old, new) = (twenty(1, 4, "one.example"), twenty(50, 3, "one.example"));
    site.write("old.log", &(header(10) + &old));
    assert_eq!(site.learn("old.log"), 20);
    site.write("old.log", &format!("{}{old}{new}", header(11)));
    assert_eq!(site.learn("old.log"), 20);
    assert_eq!(site.learn("old.log"), 0);
    let latest = twenty(100, 2, "one.example");
    site.write("new.log", &(header(12) + &latest));
    assert_eq!(site.learn("new.log"), 20);
    let (first, second) = (header(13), header(14));
    site.write("both.log", &format!("{first}{old}{new}{second}{latest}"));
    assert_eq!(site.learn("both.log"), 0);
}

#[test]
fn a_file_made_of_logs_that_were_read_counts_nothing_again() {
    let site = Site::new();
    let (old, new) = (twenty(1, 4, "one.example"), twenty(50, 3, "one.example"));
    let grown = mail(99, day(2), "one.example");
    site.write("new.log", &new);
    site.write("old.log", &old);
    site.write("both.log", &format!("{old}{new}{grown}"));
    assert_eq!(site.learn("new.log"), 20);
    assert_eq!(site.learn("old.log"), 20);
    assert_eq!(site.learn("both.log"), 1);
    assert_eq!(site.mails(), 41);
    let packed = Command::new("gzip")
        .arg("both.log")
        .current_dir(site.path())
        .status();
    if packed.is_ok_and(|status| status.success()) {
        assert_eq!(site.learn("both.log.gz"), 0);
    } else {
        println!("skipped: gzip is not installed");
    }
}

#[test]
fn a_log_read_day_by_day_is_known_at_every_length_also_packed() {
    let site = Site::new();
    let mut log = String::new();
    for (n, ago) in (3..9).rev().enumerate() {
        log += &twenty(100 * n, ago, "one.example");
        site.write("mail.log", &log);
        site.write(&format!("copy.{n}"), &log);
        assert_eq!(site.learn("mail.log"), 20);
    }
    for n in 0..6 {
        let copy = format!("copy.{n}");
        let packed = Command::new("gzip")
            .args(["-k", &copy])
            .current_dir(site.path())
            .status();
        assert_eq!(site.learn(&copy), 0);
        if packed.is_ok_and(|status| status.success()) {
            assert_eq!(site.learn(&format!("{copy}.gz")), 0);
        } else {
            println!("skipped: gzip is not installed");
        }
    }
    assert_eq!(site.mails(), 120);
    assert_eq!(site.json(&["learn", "status"])["logs"], 1);
}

#[test]
fn an_older_copy_of_a_log_that_has_grown_counts_nothing_again() {
    let site = Site::new();
    let (old, new) = (twenty(1, 4, "one.example"), twenty(50, 3, "one.example"));
    site.write("mail.log", &format!("{old}{new}"));
    site.write("copy.log", &old);
    assert_eq!(site.learn("mail.log"), 40);
    assert_eq!(site.learn("copy.log"), 0);
    assert_eq!(site.learn("mail.log"), 0);
    assert_eq!(site.mails(), 40);
}

#[test]
fn a_message_that_began_before_the_end_of_the_log_counts_when_it_was_delivered() {
    let site = Site::new();
    let (queued, delivered) = halves(2, day(3), "two.example");
    let mut log = mail(1, day(3), "one.example") + &queued;
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 1);
    log += &delivered;
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 1);
    assert_eq!(site.known("two.example"), (1, 1));
}

#[test]
fn a_last_line_that_is_still_being_written_counts_once() {
    let log = mail(1, day(3), "one.example") + &mail(2, day(3), "two.example");
    let line = log.find("to=<carl@two.example>").unwrap();
    let sent = log.rfind("status=sent").unwrap();
    for cut in [
        line + 3,
        line + 30,
        sent + 5,
        sent + 11,
        sent + 18,
        sent + 20,
    ] {
        let site = Site::new();
        site.write("mail.log", log.get(..cut).unwrap());
        let first = site.learn("mail.log");
        site.write("mail.log", &log);
        assert_eq!(first + site.learn("mail.log"), 2, "cut at {cut}");
        assert_eq!(site.learn("mail.log"), 0);
    }
    // A log without a last line end is whole nevertheless.
    let site = Site::new();
    let (whole, _) = log.trim_end().rsplit_once('\n').unwrap();
    site.write("mail.log", whole);
    assert_eq!(site.learn("mail.log"), 2);
    assert_eq!(site.learn("mail.log"), 0);
}

#[test]
fn a_log_that_an_earlier_straymail_read_does_not_count_again() {
    use sha2::{Digest as _, Sha256};

    let site = Site::new();
    let old = twenty(1, 4, "one.example");
    site.mails();
    let line = old.split_inclusive('\n').next().unwrap();
    let until = day(4) + SignedDuration::from_mins(19);
    let store = Connection::open(site.path().join("store/quarantine.db")).unwrap();
    store
        .execute(
            "INSERT INTO learned_log (beginning, read_until, mails, read_at) VALUES (?1, ?2, 20, ?3)",
            rusqlite::params![
                Sha256::digest(line).as_slice(),
                until.as_millisecond(),
                now().as_millisecond()
            ],
        )
        .unwrap();
    site.write("mail.log", &(old.clone() + &twenty(50, 3, "one.example")));
    assert_eq!(site.learn("mail.log"), 20);
    assert_eq!(site.learn("mail.log"), 0);
    // From now on it is known by what it holds.
    site.write(
        "other.log",
        &(line.to_owned() + &twenty(150, 5, "one.example")),
    );
    assert_eq!(site.learn("other.log"), 20);
}

#[test]
fn what_was_forgotten_stays_so_when_its_log_is_read_again() {
    let site = Site::new();
    let mut log = String::new();
    for (n, ago) in [6, 5, 4, 3].into_iter().enumerate() {
        log += &mail(n, day(ago), NEIGHBOUR);
        log += &mail(10 + n, day(ago), "boeing.com");
    }
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 8);
    assert_eq!(site.known(NEIGHBOUR), (4, 4));
    site.json(&["learn", "forget", NEIGHBOUR]);
    site.learn("mail.log");
    assert_eq!(site.known(NEIGHBOUR), (0, 0));
    assert_eq!(site.known("boeing.com"), (4, 4));
    // Nor by a log that was not read yet, of mail from before.
    site.write("other.log", &mail(20, day(2), NEIGHBOUR));
    site.learn("other.log");
    assert_eq!(site.known(NEIGHBOUR), (0, 0));
    // Mail after it teaches anew.
    log += &mail(21, now() + SignedDuration::from_mins(10), NEIGHBOUR);
    site.write("mail.log", &log);
    assert_eq!(site.learn("mail.log"), 1);
    assert_eq!(site.known(NEIGHBOUR), (1, 1));
    // A person likewise.
    let erased = site.json(&["learn", "forget", "anna@site.example"]);
    assert_eq!(erased["pairs"], 2);
    site.learn("mail.log");
    assert_eq!(site.known("boeing.com"), (0, 0));
}

#[test]
fn after_everything_was_forgotten_a_log_is_learned_from_as_if_it_were_new() {
    let site = Site::new();
    site.write("mail.log", &twenty(1, 4, NEIGHBOUR));
    site.mails();
    // Mail has been counted as it passed for longer than the log.
    let store = Connection::open(site.path().join("store/quarantine.db")).unwrap();
    let first = day(9).as_second() / 86_400;
    store
        .execute(
            "INSERT INTO day_total (day, judged, inbound, null_sender, clean, suspicious, faults)
             VALUES (?1, 1, 0, 0, 1, 0, 0)",
            [first],
        )
        .unwrap();
    assert_eq!(site.learn("mail.log"), 0);
    assert_eq!(site.known(NEIGHBOUR), (0, 1));
    site.json(&["learn", "forget", NEIGHBOUR]);
    site.json(&["learn", "forget", "--everything"]);
    assert_eq!(site.learn("mail.log"), 20);
    assert_eq!(site.known(NEIGHBOUR), (20, 1));
    assert_eq!(site.learn("mail.log"), 0);
}

#[test]
fn a_log_that_was_set_back_and_grew_otherwise_loses_nothing() {
    let site = Site::new();
    let [first, more, other] = [
        twenty(0, 9, "one.example"),
        twenty(100, 8, "one.example"),
        twenty(200, 7, "two.example"),
    ];
    site.write("mail.log", &first);
    assert_eq!(site.learn("mail.log"), 20);
    site.write("mail.log", &format!("{first}{more}"));
    assert_eq!(site.learn("mail.log"), 20);
    let five: String = other.split_inclusive('\n').take(25).collect();
    site.write("mail.log", &format!("{first}{five}"));
    let before = site.mails();
    assert_eq!(site.learn("mail.log"), 5);
    assert_eq!(site.mails(), before + 5);
    assert_eq!(site.learn("mail.log"), 0);
}

#[test]
fn what_can_be_read_of_a_damaged_copy_counts_once() {
    let site = Site::new();
    let log: String = (0..20).map(|n| twenty(n * 20, 9, "one.example")).collect();
    site.write("mail.log.1", &log);
    assert_eq!(site.learn("mail.log.1"), 400);
    let packed = packed(&log);
    fs::write(
        site.path().join("mail.log.1.gz"),
        &packed[..packed.len() / 2],
    )
    .unwrap();
    let mails = |site: &Site| {
        let (status, _, complaint) = site.run(&["learn", "mail.log.1.gz"]);
        assert_eq!(status, 1, "{complaint}");
        site.mails()
    };
    assert_eq!(mails(&site), 400);
    // So short that not even its beginning is whole.
    let site = Site::new();
    fs::write(site.path().join("mail.log.1.gz"), &packed[..550]).unwrap();
    let once = mails(&site);
    assert!(once > 0);
    assert_eq!(mails(&site), once);
}

#[test]
fn two_that_learn_at_once_count_once() {
    let site = Site::new();
    let log: String = (0..50).map(|n| twenty(n * 20, 9, "one.example")).collect();
    site.write("mail.log", &log);
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| site.run(&["learn", "mail.log"]));
        }
    });
    assert_eq!(site.mails(), 1000);
}

#[test]
fn what_was_forgotten_stays_so_when_the_trusted_list_changes() {
    let site = Site::new();
    site.write("mail.log", &twenty(0, 9, "mail.partner.example"));
    assert_eq!(site.learn("mail.log"), 20);
    site.run(&["learn", "forget", "mail.partner.example"]);
    let yaml = fs::read_to_string(site.path().join("milter.yaml")).unwrap();
    let trusting = yaml.replace("[boeing.com]", "[boeing.com, mail.partner.example]");
    site.write("milter.yaml", &trusting);
    assert_eq!((site.learn("mail.log"), site.mails()), (0, 0));
}

#[test]
fn a_trusted_host_is_shown_by_its_own_name() {
    let site = Site::new();
    let yaml = fs::read_to_string(site.path().join("milter.yaml")).unwrap();
    let trusting = yaml.replace("[boeing.com]", "[boeing.com, mail.partner.example]");
    site.write("milter.yaml", &trusting);
    site.write("mail.log", &twenty(0, 9, "mail.partner.example"));
    assert_eq!(site.learn("mail.log"), 20);
    assert_eq!(site.known("mail.partner.example"), (20, 1));
}

/// Returns `log` packed.
fn packed(log: &str) -> Vec<u8> {
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(log.as_bytes()).unwrap();
    packed.finish().unwrap()
}
