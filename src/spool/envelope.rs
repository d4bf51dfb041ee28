//! What the MTA told us about a held message, kept to send it on unchanged.

use std::net::IpAddr;

use jiff::Timestamp;
use serde::{Deserialize, Deserializer, Serialize};

use crate::octets::Octets;
use crate::policy::Role;
use crate::score::{Assessment, Finding};

/// The envelope of one held message, with the held recipients only.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Envelope {
    /// Reverse-path as received, `<anna@example.org>`; the angle brackets may be missing.
    pub sender: Octets,
    /// The sender as rules and approvals compare it, `local@domain`; empty for `<>`.
    pub sender_address: String,
    /// ESMTP arguments of MAIL, `BODY=8BITMIME`, `RET=HDRS`, as received.
    #[serde(default)]
    pub sender_args: Vec<Octets>,
    /// Our session id, as in the log.
    pub session: String,
    /// The MTA's queue id, if the macro came.
    #[serde(default)]
    pub queue_id: Option<String>,
    /// Address of the SMTP client.
    #[serde(default)]
    pub client_ip: Option<IpAddr>,
    /// Name of the SMTP client as the MTA found it.
    #[serde(default)]
    pub client_name: Option<Octets>,
    /// SASL login.
    #[serde(default)]
    pub login: Option<Octets>,
    /// Role of the listener that took the message.
    pub role: Role,
    /// When the end of the message was seen.
    pub received_at: Timestamp,
    /// The recipients held, in the order received.
    pub recipients: Vec<HeldRecipient>,
}

/// One recipient that is held.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HeldRecipient {
    /// Forward-path as received, `<carl@army.ml>`; the angle brackets may be missing.
    pub path: Octets,
    /// The MTA's own form (`{rcpt_addr}`), if the macro came.
    #[serde(default)]
    pub rcpt_addr: Option<Octets>,
    /// ESMTP arguments of RCPT, `NOTIFY=FAILURE`, `ORCPT=…`, as received.
    #[serde(default)]
    pub args: Vec<Octets>,
    /// The recipient as rules and approvals compare it, `local@domain`, domain in A-labels.
    pub address: String,
    /// Why it is held.
    #[serde(deserialize_with = "assessment_of_any_version")]
    pub assessment: Assessment,
    /// Name of the policy rule that said so.
    pub rule: String,
    /// The trusted domain that was probably meant.
    #[serde(default)]
    pub suggestion: Option<String>,
}

/// Reads an assessment; of one that another version wrote with reasons unknown here, the score.
///
/// A held message must not become unreadable because its explanation is.
fn assessment_of_any_version<'de, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Assessment, D::Error> {
    let value = serde_json::Value::deserialize(deserializer)?;
    let score = value.get("score").and_then(serde_json::Value::as_u64);
    let score = score
        .and_then(|score| u8::try_from(score).ok())
        .unwrap_or_default();
    Ok(serde_json::from_value(value).unwrap_or(Assessment {
        score,
        finding: Finding::Unrelated,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recipient_with_reasons_of_another_version_still_reads() {
        let text = r#"{"path": "<a@b>", "address": "a@b", "rule": "default", "assessment":
            {"score": 97, "finding": {"resembles": {"candidates": [{"trusted": "b.org", "score": 97,
             "evidence": [{"reason": "of_the_year_2040", "points": 97, "detail": ""}], "edit": {}}]}}}}"#;
        let recipient: HeldRecipient = serde_json::from_str(text).unwrap();
        assert_eq!(
            recipient.assessment,
            Assessment {
                score: 97,
                finding: Finding::Unrelated
            }
        );
        let fine = serde_json::to_string(&recipient).unwrap();
        assert_eq!(
            serde_json::from_str::<HeldRecipient>(&fine).unwrap(),
            recipient
        );
    }
}
