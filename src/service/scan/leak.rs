//! Deliveries to doubtful domains, as the log tells them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

use crate::maillog::Delivery;
use crate::untrusted::Untrusted;

/// Most leaks that are listed one by one, of one domain and in all; the newest. The others are
/// counted. A real neighbour with much mail must not crowd out the typos.
const MOST_EACH: usize = 200;
const MOST: usize = 20_000;
/// How many more of one domain, and in all, wait until the oldest are left out.
const SLACK_EACH: usize = 100;
const SLACK: usize = 5000;

/// The newest leaks of a log.
#[derive(Debug, Default)]
pub(super) struct Leaks {
    /// By the number of the domain.
    of_domain: BTreeMap<u32, Vec<Leak>>,
    count: usize,
}

impl Leaks {
    pub(super) fn add(&mut self, leak: Leak) {
        let of_domain = self.of_domain.entry(leak.suspect).or_default();
        of_domain.push(leak);
        self.count += 1;
        if of_domain.len() >= MOST_EACH + SLACK_EACH {
            self.count -= of_domain.len();
            keep_newest(of_domain, MOST_EACH);
            self.count += of_domain.len();
        }
        if self.count >= MOST + SLACK {
            for leak in std::mem::take(self).finish() {
                self.count += 1;
                (self.of_domain.entry(leak.suspect).or_default()).push(leak);
            }
        }
    }

    /// Returns those that are listed, oldest first.
    pub(super) fn finish(self) -> Vec<Leak> {
        let mut listed = Vec::with_capacity(self.count);
        for mut of_domain in self.of_domain.into_values() {
            keep_newest(&mut of_domain, MOST_EACH);
            listed.append(&mut of_domain);
        }
        keep_newest(&mut listed, MOST);
        listed
    }
}

/// Leaves out all but the newest `most`, and puts them in order.
fn keep_newest(leaks: &mut Vec<Leak>, most: usize) {
    leaks.sort_by_key(|leak| leak.time);
    leaks.drain(..leaks.len().saturating_sub(most));
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
