//! A held message and its quarantine, for the tests of both.

#![allow(dead_code, reason = "each test binary uses its own part")]
#![allow(clippy::unwrap_used, reason = "a helper that fails fails its test")]

use std::path::Path;

use jiff::Timestamp;
use straymail::octets::Octets;
use straymail::policy::Role;
use straymail::score::Assessment;
use straymail::service::quarantine::{Quarantine, QuarantineSettings};
use straymail::smtp::Target;
use straymail::spool::{Envelope, HeldRecipient};
use straymail::store::{EntryId, EntryState};

pub(crate) const MESSAGE: &[u8] =
    b"Message-ID: <1@example.org>\r\nSubject: plan\r\n\r\nGr\xfc\xdfe \x00 \xf0\x9f\r\n.\r\n..x\r\n";

pub(crate) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

pub(crate) fn settings(dir: &Path, port: u16) -> QuarantineSettings {
    QuarantineSettings {
        dir: dir.to_owned(),
        min_free_bytes: 0,
        release_target: Target::Tcp(format!("127.0.0.1:{port}")),
        ..QuarantineSettings::default()
    }
}

pub(crate) fn open(dir: &Path, port: u16) -> Quarantine {
    Quarantine::open(settings(dir, port), at(0)).unwrap()
}

pub(crate) fn recipient(path: &[u8], address: &str) -> HeldRecipient {
    HeldRecipient {
        path: Octets::from(path),
        rcpt_addr: None,
        args: vec![
            Octets::from("NOTIFY=SUCCESS,FAILURE"),
            Octets::from("ORCPT=rfc822;carl@army.ml"),
        ],
        address: address.to_owned(),
        assessment: Assessment::unrelated(),
        rule: "default".to_owned(),
        suggestion: Some("army.mil".to_owned()),
    }
}

pub(crate) fn envelope(now: Timestamp) -> Envelope {
    Envelope {
        sender: Octets::from("<Anna@example.org>"),
        sender_address: "anna@example.org".to_owned(),
        sender_args: vec![
            Octets::from("BODY=8BITMIME"),
            Octets::from("RET=HDRS"),
            Octets::from("SIZE=999"),
        ],
        session: "s1".to_owned(),
        queue_id: Some("4XyZ".to_owned()),
        client_ip: Some([192, 0, 2, 7].into()),
        client_name: None,
        login: Some(Octets::from("anna")),
        role: Role::Submission,
        received_at: now,
        recipients: vec![recipient(b"<carl@army.ml>", "carl@army.ml")],
    }
}

pub(crate) fn hold(quarantine: &Quarantine, now: Timestamp) -> EntryId {
    let mut draft = quarantine.draft();
    draft.write(MESSAGE).unwrap();
    quarantine
        .hold(draft, envelope(now), now)
        .unwrap()
        .remove(0)
}

pub(crate) fn state(quarantine: &Quarantine, id: &EntryId, now: Timestamp) -> EntryState {
    quarantine.detail(id, now).unwrap().entry.state
}

pub(crate) fn files(dir: &Path) -> usize {
    std::fs::read_dir(dir.join("spool")).unwrap().count() - 1
}
