//! Deliveries to doubtful domains, as the log tells them.

use foldhash::HashMap;
use jiff::Timestamp;
use serde::Serialize;

use crate::maillog::Delivery;
use crate::untrusted::Untrusted;

/// Most leaks that are listed one by one, of one domain and in all; the newest. The others are
/// counted. A real neighbour with much mail must not crowd out the typos.
const MOST_EACH: usize = 200;
const MOST: usize = 20_000;
/// How many more wait until the oldest are left out.
const SLACK: usize = 5000;

/// The newest leaks of a log.
#[derive(Debug, Default)]
pub(super) struct Leaks(Vec<Leak>);

impl Leaks {
    pub(super) fn add(&mut self, leak: Leak) {
        self.0.push(leak);
        if self.0.len() >= MOST + SLACK {
            self.leave_out();
        }
    }

    /// Returns those that are listed, oldest first.
    pub(super) fn finish(mut self) -> Vec<Leak> {
        self.leave_out();
        self.0
    }

    fn leave_out(&mut self) {
        self.0.sort_by_key(|leak| leak.time);
        let mut of_domain: HashMap<u32, usize> = HashMap::default();
        let mut listed: Vec<Leak> = (self.0.drain(..).rev())
            .filter(|leak| {
                let count = of_domain.entry(leak.suspect).or_default();
                *count += 1;
                *count <= MOST_EACH
            })
            .take(MOST)
            .collect();
        listed.reverse();
        self.0 = listed;
    }
}

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
