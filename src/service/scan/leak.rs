//! One delivery to a doubtful domain, as the log tells it.

use jiff::Timestamp;
use serde::Serialize;

use crate::maillog::Delivery;
use crate::untrusted::Untrusted;

/// How a mail came to go there.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// A sender of the site addressed it.
    Direct,
    /// An alias or list of the site did: no milter sees that address.
    Alias,
    /// Mail from outside was sent on.
    Forward,
}

/// One delivery to a doubtful domain.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Leak {
    /// When it was delivered.
    pub time: Timestamp,
    /// Envelope sender in comparable form, empty for the null sender, `?` when not in the log.
    pub sender: String,
    /// Envelope recipient in comparable form.
    pub recipient: String,
    /// What an alias was addressed as.
    pub original: Option<String>,
    /// The MTA's name for the message.
    pub queue_id: String,
    /// The host that took it, as the MTA writes it.
    pub relay: String,
    /// How it came to go there.
    pub way: Way,
    /// Number of its [`super::Suspect`] in the report.
    #[serde(skip)]
    pub suspect: u32,
}

impl Leak {
    pub(super) fn new(
        delivery: &Delivery<'_>,
        sender: &str,
        recipient: &str,
        suspect: u32,
        way: Way,
    ) -> Leak {
        let text = |bytes| Untrusted(bytes).to_string();
        Leak {
            time: Timestamp::from_second(delivery.time).unwrap_or_default(),
            sender: sender.to_owned(),
            recipient: recipient.to_owned(),
            original: (way == Way::Alias)
                .then(|| delivery.original.map(text))
                .flatten(),
            queue_id: text(delivery.queue_id),
            relay: text(delivery.relay),
            way,
            suspect,
        }
    }
}
