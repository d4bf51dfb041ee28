//! Whatever stands in a mail log: no panic, every line counted once, every delivery with a recipient.
#![no_main]

use jiff::Timestamp;
use jiff::tz::TimeZone;
use libfuzzer_sys::fuzz_target;
use straymail_fuzz::maillog::MailLog;

fuzz_target!(|bytes: &[u8]| {
    let mut log = MailLog::new(TimeZone::UTC, Timestamp::from_second(1_795_600_000).unwrap());
    let mut told = 0;
    log.read(bytes, |delivery| {
        told += 1;
        assert!(delivery.first_original || delivery.original.is_some());
    })
    .unwrap();
    let tally = log.tally();
    let lines = bytes.split(|byte| *byte == b'\n').count();
    let lines = if bytes.is_empty() || bytes.ends_with(b"\n") { lines - 1 } else { lines };
    assert_eq!(tally.lines, lines as u64);
    assert_eq!(tally.deliveries, told);
    assert_eq!(tally.bytes, bytes.len() as u64);
    assert!(tally.mail_lines + tally.other_lines + tally.unreadable_lines <= tally.lines);
});
