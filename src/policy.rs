//! What to do about an assessment: ordered rules, thresholds, actions.
//!
//! Pure: the time and the looked-up approval come in as arguments, so `straymail check`
//! and the milter reach the same verdict.

use std::fmt;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// What a listener is for, and so what it may answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// Mail programs hand mail in here (`smtpd_milters`); a recipient may be rejected.
    #[default]
    Submission,
    /// Mail from sendmail(1) (`non_smtpd_milters`): a recipient may be held, never rejected.
    Local,
    /// Mail of other hosts passes here; judged only when the gate says it is ours.
    Relay,
}

/// What straymail asks of the MTA for one recipient.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Deliver.
    Accept,
    /// Deliver with a header that says the message has a doubtful recipient, not which.
    Tag,
    /// Keep this recipient's copy in the quarantine and deliver the rest.
    Hold,
    /// Ask the MTA to put the whole message into its own hold queue.
    HoldMessage,
    /// Refuse this recipient with a 550 reply.
    Reject,
    /// Ask the client to try again later; only for our own faults.
    Tempfail,
}

/// Whether verdicts are carried out or only recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Record what would have been done, and accept.
    Observe,
    /// Carry the action out.
    #[default]
    Enforce,
}

/// Where a score lies among the thresholds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Band {
    /// Below `note_at`.
    Clean,
    /// From `note_at`: worth a line in the log.
    Note,
    /// From `hold_at`.
    Suspect,
    /// From `reject_at`.
    Certain,
}

/// Scores (0 to 100) from which a band begins; ascending.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Thresholds {
    /// First score of [`Band::Note`].
    pub note_at: u8,
    /// First score of [`Band::Suspect`].
    pub hold_at: u8,
    /// First score of [`Band::Certain`].
    pub reject_at: u8,
}

impl Default for Thresholds {
    fn default() -> Self {
        Thresholds {
            note_at: 40,
            hold_at: 50,
            reject_at: 90,
        }
    }
}

/// The action of each band.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BandActions {
    /// For [`Band::Note`].
    pub note: Action,
    /// For [`Band::Suspect`].
    pub suspect: Action,
    /// For [`Band::Certain`].
    pub certain: Action,
}

impl Default for BandActions {
    fn default() -> Self {
        // Rejecting one of several recipients makes most mail programs abort the whole
        // message; holding never does. So reject only where the mistake is certain.
        BandActions {
            note: Action::Accept,
            suspect: Action::Hold,
            certain: Action::Reject,
        }
    }
}

/// What to do with a message when straymail itself fails.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnError {
    /// 451: the client keeps the message and tries again. Nothing leaks, nothing is lost.
    #[default]
    Tempfail,
    /// The MTA holds the whole message in its own queue.
    HoldMessage,
    /// Deliver unjudged. Leaks by design; for a trial in observe mode only.
    Accept,
}

/// Addresses a rule or an approval speaks of.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum AddressPattern {
    /// `carl@army.ml`: this address, compared without regard to case.
    Address(String),
    /// `army.ml`: every address at this domain or below it.
    Domain(String),
    /// `.ml`: every address below this suffix.
    Suffix(String),
}

/// Which recipients a rule is for. An absent field fits everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Envelope sender.
    pub sender: Option<AddressPattern>,
    /// SASL login (`{auth_authen}`), exact.
    pub login: Option<String>,
    /// Network of the SMTP client.
    pub client: Option<ipnet::IpNet>,
    /// Role of the listener.
    pub role: Option<Role>,
    /// Envelope recipient.
    pub recipient: Option<AddressPattern>,
}

/// One rule. Fields left out fall back to the policy's defaults.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    /// Unique name; logs and `straymail check` print it.
    pub name: String,
    /// Which recipients it is for.
    pub scope: Scope,
    /// Observe or enforce.
    pub mode: Option<Mode>,
    /// First score of the note band.
    pub note_at: Option<u8>,
    /// First score of the suspect band.
    pub hold_at: Option<u8>,
    /// First score of the certain band.
    pub reject_at: Option<u8>,
    /// Action of the note band.
    pub note: Option<Action>,
    /// Action of the suspect band.
    pub suspect: Option<Action>,
    /// Action of the certain band.
    pub certain: Option<Action>,
    /// What to do when straymail itself fails.
    pub on_error: Option<OnError>,
    /// Who answers for an exception.
    pub owner: Option<String>,
    /// Why the exception exists.
    pub reason: Option<String>,
    /// From this moment on the rule is ignored.
    pub expires: Option<jiff::Timestamp>,
}

/// The rules of one site.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Policy {
    /// Default mode.
    pub mode: Mode,
    /// Default thresholds.
    pub thresholds: Thresholds,
    /// Default action of each band.
    pub actions: BandActions,
    /// Default for our own faults.
    pub on_error: OnError,
    /// In the order written; of those that fit, the most specific wins, then the first.
    pub rules: Vec<Rule>,
}

/// Who sends to whom, as far as rules ask.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// Envelope sender, `local@domain`, empty for the null sender.
    pub sender: &'a str,
    /// SASL login.
    pub login: Option<&'a str>,
    /// Address of the SMTP client.
    pub client: Option<IpAddr>,
    /// Role of the listener.
    pub role: Role,
    /// Envelope recipient, `local@domain` with the domain in A-labels.
    pub recipient: &'a str,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Action::Accept => "accept",
            Action::Tag => "tag",
            Action::Hold => "hold",
            Action::HoldMessage => "hold-message",
            Action::Reject => "reject",
            Action::Tempfail => "tempfail",
        })
    }
}
