//! Whether a released mail would get out: the MTA is asked without sending anything.

use crate::smtp::{SmtpError, SmtpSettings, Stage, Target};

use super::finding::{Finding, Severity};
use super::milter::words;
use super::postfix::Postfix;

/// Asks the MTA at `target` up to RCPT, and takes it back.
pub(super) fn ask(
    target: &Target,
    helo: &str,
    sender: &str,
    recipient: &str,
) -> Result<(), SmtpError> {
    let patience = std::time::Duration::from_secs(15);
    let settings = SmtpSettings {
        target: target.clone(),
        helo: helo.to_owned(),
        command_timeout: patience,
        total_timeout: patience * 2,
    };
    crate::smtp::rehearse(&settings, sender.as_bytes(), recipient.as_bytes())
}

/// The lists that may refuse mail of this host for want of `permit_mynetworks`.
const RESTRICTIONS: &[&str] = &[
    "smtpd_client_restrictions",
    "smtpd_relay_restrictions",
    "smtpd_recipient_restrictions",
];

/// Says why a released mail would not get out.
pub(super) fn check(target: &Target, error: &SmtpError, postfix: Option<&Postfix>) -> Finding {
    let why =
        "Nothing that is held can be released, confirmed or corrected, and no notice goes out.";
    let said = crate::logging::event::chain(error);
    let found = format!("a released mail would not be taken at {target}: {said}");
    let finding = Finding::new("release", Severity::Error, found, why);
    let other =
        "in milter.yaml: quarantine.release_to: a port of the MTA that takes mail from this host";
    match (error, postfix) {
        (SmtpError::Refused { reply, .. }, Some(_)) if reply.code() == MILTER_IS_AWAY => {
            finding.edit("Postfix says so when a milter does not answer: mend that first; its log names the milter")
        }
        (SmtpError::Refused { stage: Stage::Rcpt, .. }, Some(postfix)) => {
            refused(finding, target, postfix)
        }
        (SmtpError::Connect { .. }, Some(postfix)) => finding
            .run(postfix.command("postfix", "start"))
            .edit(format!("or {other}")),
        _ => finding.edit(other),
    }
}

/// `451 4.7.1 Service unavailable`, by `milter_default_action = tempfail`.
const MILTER_IS_AWAY: u16 = 451;

/// Adds what lets mail of this host pass the port, where its settings are written.
fn refused(mut finding: Finding, target: &Target, postfix: &Postfix) -> Finding {
    let service = match target {
        Target::Tcp(place) => postfix.receiver_at(place),
        Target::Unix(_) => None,
    };
    let before = finding.mend.len();
    let networks = postfix.value(service, "mynetworks");
    if !(networks.contains("127.0.0.0/8") || networks.contains("127.0.0.1")) {
        let more = format!("127.0.0.0/8 {networks}");
        finding = finding.run(postfix.set(service, "mynetworks", more.trim()));
    }
    for name in RESTRICTIONS {
        let list = postfix.value(service, name);
        let refuses = [
            "reject",
            "defer",
            "reject_unauth_destination",
            "defer_unauth_destination",
        ];
        let has = |word: &str| words(list).iter().any(|own| own == word);
        if !has("permit_mynetworks") && refuses.into_iter().any(has) {
            let more = format!("permit_mynetworks, {list}");
            finding = finding.run(postfix.set(service, name, &more));
        }
    }
    match finding.mend.len() == before {
        true => finding.edit("Postfix's log says which restriction refused; let mail of 127.0.0.1 pass it, or point quarantine.release_to at a port that does"),
        false => finding.run(postfix.reload()),
    }
}
