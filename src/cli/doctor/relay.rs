//! Whether a released mail would get out: the MTA is asked without sending anything.

use crate::smtp::{SmtpError, SmtpSettings, Stage, Target};

use super::finding::{Finding, Severity};
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

/// Says why a released mail would not get out.
pub(super) fn check(target: &Target, error: &SmtpError, postfix: Option<&Postfix>) -> Finding {
    let why =
        "Nothing that is held can be released, confirmed or corrected, and no notice goes out.";
    let said = crate::logging::event::chain(error);
    let found = format!("a released mail would not be taken at {target}: {said}");
    let finding = Finding::new("release", Severity::Error, found, why);
    match (error, postfix) {
        (SmtpError::Refused { stage: Stage::Rcpt, .. }, Some(postfix)) => {
            let networks = postfix.parameter("mynetworks");
            let has = networks.contains("127.0.0.0/8") || networks.contains("127.0.0.1");
            let restrictions = "smtpd_relay_restrictions";
            // The other list decides alone only where this one is empty.
            let permits = match postfix.parameter(restrictions) {
                "" => postfix.parameter("smtpd_recipient_restrictions"),
                list => list,
            }
            .contains("permit_mynetworks");
            let finding = match has {
                true => finding,
                false => {
                    let more = format!("127.0.0.0/8 {networks}");
                    finding.run(postfix.set(None, "mynetworks", more.trim()))
                }
            };
            let finding = match permits {
                true => finding,
                false => {
                    let more = format!("permit_mynetworks, {}", postfix.parameter(restrictions));
                    let more = more.trim_end_matches([',', ' ']);
                    finding.run(postfix.set(None, restrictions, more))
                }
            };
            match has && permits {
                true => finding.edit("Postfix's log says which restriction refused; let mail of 127.0.0.1 pass it, or point quarantine.release_to at a port that does"),
                false => finding.run(postfix.reload()),
            }
        }
        (SmtpError::Connect { .. }, Some(postfix)) => finding
            .run(postfix.command("postfix", "start"))
            .edit("or in milter.yaml: quarantine.release_to: a port of the MTA that takes mail from this host"),
        _ => finding.edit("in milter.yaml: quarantine.release_to: a port of the MTA that takes mail from this host"),
    }
}
