//! Settings of the quarantine.

use std::path::PathBuf;
use std::time::Duration;

use crate::smtp::{SmtpSettings, Target};

/// Where the quarantine is and how it releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct QuarantineSettings {
    /// State directory; holds `quarantine.db` and `spool/`. Created with mode
    /// 0700 when only the last part of it is missing.
    pub dir: PathBuf,
    /// Bytes that must stay free on its file system; below, nothing is held any more and
    /// clients are asked to come again. Default 512 MiB: room for the largest usual message
    /// (50 MiB) ten times.
    pub min_free_bytes: u64,
    /// Most octets of held messages together. Default 10 GiB: more is a fault or an attack, and
    /// nobody reviews so much.
    pub max_total_bytes: u64,
    /// Most octets of held messages of one envelope sender. Default 1 GiB: one script must not
    /// take the room of all others.
    pub max_sender_bytes: u64,
    /// How long an entry is pending before anybody is told of it. Default 60 s: a milter
    /// after us may still refuse the message, and its client then tries again.
    pub grace: Duration,
    /// Where the MTA takes released messages. Default `127.0.0.1:25`, its ordinary port.
    pub release_target: Target,
    /// Our name in EHLO. Default `localhost`.
    pub helo: String,
    /// Life of the approval a release makes. Default 15 min: long enough for an after-queue
    /// filter that hands the message to straymail once more.
    pub approval_for: Duration,
    /// Life of the approval a sender makes by asking not to be asked again. Default 180 days:
    /// half a year shows whether it still is a habit.
    pub remember_for: Duration,
    /// How long a release may take before another may try. Default 5 min.
    pub lease: Duration,
    /// How long finished entries and expired approvals stay to be looked at. Default 365 days:
    /// whoever asks what became of a message does so within a year. The audit record stays.
    pub keep_record: Duration,
}

impl Default for QuarantineSettings {
    fn default() -> Self {
        QuarantineSettings {
            dir: PathBuf::from("/var/lib/straymail"),
            min_free_bytes: 512 * 1024 * 1024,
            max_total_bytes: 10 * 1024 * 1024 * 1024,
            max_sender_bytes: 1024 * 1024 * 1024,
            grace: Duration::from_secs(60),
            release_target: Target::Tcp("127.0.0.1:25".to_owned()),
            helo: "localhost".to_owned(),
            approval_for: Duration::from_secs(15 * 60),
            remember_for: Duration::from_secs(180 * 86_400),
            lease: Duration::from_secs(5 * 60),
            keep_record: Duration::from_secs(365 * 86_400),
        }
    }
}

impl QuarantineSettings {
    /// Returns how to talk to the MTA: within four fifths of the lease, so that nobody else
    /// can claim an entry while we may still be sending it.
    pub(in crate::service) fn smtp(&self) -> SmtpSettings {
        let total = self.lease / 5 * 4;
        SmtpSettings {
            target: self.release_target.clone(),
            helo: self.helo.clone(),
            command_timeout: SmtpSettings::default().command_timeout.min(total),
            total_timeout: total,
        }
    }
}
