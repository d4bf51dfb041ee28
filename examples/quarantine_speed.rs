//! How fast the quarantine is: holds and look-ups a second, and what 10,000 entries cost.
//!
//! `cargo run --release --example quarantine_speed [directory]`. The figures depend on how fast
//! the disk below the directory syncs; without one a temporary directory is used.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use jiff::Timestamp;
use straymail::octets::Octets;
use straymail::policy::Role;
use straymail::score::Assessment;
use straymail::service::quarantine::{Quarantine, QuarantineSettings};
use straymail::spool::{Envelope, HeldRecipient};
use straymail::store::{AuditEvent, EntryFilter, EventKind};

const MESSAGES: u32 = 1000;
const RECIPIENTS: u32 = 10;

fn main() -> Result<()> {
    let temporary;
    let dir = match std::env::args_os().nth(1) {
        Some(dir) => PathBuf::from(dir),
        None => {
            temporary = tempfile::tempdir().context("cannot make a temporary directory")?;
            temporary.path().to_owned()
        }
    };
    let now = Timestamp::from_second(1_800_000_000)?;
    let settings = QuarantineSettings {
        dir,
        min_free_bytes: 0,
        ..QuarantineSettings::default()
    };
    let quarantine = Quarantine::open(settings.clone(), now)?;

    let body = format!(
        "Subject: plan\r\n\r\n{}",
        "All work and no play.\r\n".repeat(2800)
    );
    let started = Instant::now();
    for n in 0..MESSAGES {
        let mut draft = quarantine.draft();
        draft.write(format!("Message-ID: <{n}@example.org>\r\n").as_bytes())?;
        draft.write(body.as_bytes())?;
        quarantine.hold(draft, envelope(n, now), now)?;
    }
    rate(
        "hold a message of 64 KB with 10 recipients",
        MESSAGES,
        started.elapsed(),
    );

    let count = 20_000;
    let started = Instant::now();
    for _ in 0..count {
        quarantine.approval("anna@example.org", "carl@hq.army.ml", now)?;
    }
    rate("look for an approval", count, started.elapsed());

    let count = 5000;
    let event = AuditEvent {
        recipient: Some(Octets::from("<carl@army.ml>")),
        ..AuditEvent::new(EventKind::Rejected, "milter")
    };
    let started = Instant::now();
    for _ in 0..count {
        quarantine.record(&event, now)?;
    }
    rate("record a rejection", count, started.elapsed());

    let entries = MESSAGES * RECIPIENTS;
    drop(quarantine);
    let started = Instant::now();
    let quarantine = Quarantine::open(settings, now)?;
    took(
        &format!("open with {entries} entries in {MESSAGES} files"),
        started.elapsed(),
    );
    for (what, limit, recipient) in [
        ("list the newest 100", Some(100), None),
        ("list all", None, None),
        ("list all that contain a text", None, Some("r7@".to_owned())),
    ] {
        let filter = EntryFilter {
            limit,
            recipient,
            ..EntryFilter::default()
        };
        let started = Instant::now();
        let found = quarantine.entries(&filter, now)?.len();
        took(&format!("{what} of {entries}: {found}"), started.elapsed());
    }
    let started = Instant::now();
    quarantine.verify_audit(None)?;
    took(
        &format!("verify {} audit rows", entries + count),
        started.elapsed(),
    );
    Ok(())
}

fn rate(what: &str, count: u32, time: Duration) {
    println!(
        "{:>9.0} a second  {what}",
        f64::from(count) / time.as_secs_f64()
    );
}

fn took(what: &str, time: Duration) {
    println!("{:>9.2} ms        {what}", time.as_secs_f64() * 1000.0);
}

fn envelope(message: u32, now: Timestamp) -> Envelope {
    let recipient = |n: u32| HeldRecipient {
        path: Octets::from(format!("<m{message}r{n}@army.ml>")),
        rcpt_addr: None,
        args: Vec::new(),
        address: format!("m{message}r{n}@army.ml"),
        assessment: Assessment::unrelated(),
        rule: "default".to_owned(),
        suggestion: Some("army.mil".to_owned()),
    };
    Envelope {
        sender: Octets::from("<anna@example.org>"),
        sender_address: "anna@example.org".to_owned(),
        sender_args: Vec::new(),
        session: "s1".to_owned(),
        queue_id: None,
        client_ip: None,
        client_name: None,
        login: None,
        role: Role::Submission,
        received_at: now,
        recipients: (0..RECIPIENTS).map(recipient).collect(),
    }
}
