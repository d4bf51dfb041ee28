//! How a message of a log would have passed the milter: judged, inbound, or with the null sender.

use std::hash::BuildHasher as _;
use std::net::IpAddr;

use foldhash::HashMap;
use foldhash::fast::RandomState;

use crate::address::{self, Address};
use crate::maillog::{Delivery, Destination, Entrance};
use crate::policy::Role;
use crate::service::Snapshot;
use crate::service::numbered::Numbers;
use crate::session::{Client, Mail, Passage, Session};

/// The role of the listener that mail came by, judged from how it came into the MTA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Roles {
    /// By SMTP.
    pub smtp: Role,
    /// By a service for senders.
    pub submission: Role,
    /// By sendmail(1), and what has no known origin.
    pub local: Role,
}

impl Default for Roles {
    fn default() -> Self {
        Roles {
            smtp: Role::Relay,
            submission: Role::Submission,
            local: Role::Local,
        }
    }
}

impl Roles {
    /// Returns the roles that a milter with listeners of these roles gives.
    pub fn of(listeners: impl Iterator<Item = Role>) -> Roles {
        let listeners: Vec<Role> = listeners.collect();
        let smtp = [Role::Relay, Role::Submission, Role::Local]
            .into_iter()
            .find(|role| listeners.contains(role))
            .unwrap_or_default();
        Roles {
            smtp,
            submission: if listeners.contains(&Role::Submission) {
                Role::Submission
            } else {
                smtp
            },
            local: Role::Local,
        }
    }
}

/// The delivery looked at last, and its message: most often the next is of the same one.
///
/// The names in it are looked up here, once for all who keep something of them by number.
#[derive(Debug)]
pub struct Origin {
    number: u64,
    /// Whether the log had not told its sender yet.
    sender_unknown: bool,
    passage: Passage,
    role: Role,
    sender: Sender,
    correspondent: Option<u32>,
    recipient: Option<u32>,
    written: Option<u32>,
    /// The length of the local part of the latter, when that is in comparable form.
    written_local: Option<usize>,
    /// What the gate said before.
    asked: HashMap<Asked, Passage>,
    /// Senders of judged messages as the log spells them, and in comparable form.
    senders: Numbers,
    canonical: Vec<Box<str>>,
    /// Domains of recipients as the log spells them.
    domains: Numbers,
    /// Domains that wrote to this site, as hashes.
    correspondents: HashMap<u64, u32>,
    hasher: RandomState,
}

/// An envelope sender.
#[derive(Debug)]
enum Sender {
    /// One of those that come again.
    Numbered(u32),
    /// Another, in comparable form.
    Other(String),
}

/// All that the gate asks about a message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Asked {
    role: Role,
    client: Option<IpAddr>,
    login: bool,
    null_sender: bool,
}

/// Most answers of the gate that are kept; there is one for each client.
const MOST_ASKED: usize = 65_536;
/// Most senders of judged messages that are numbered; some 150 bytes each.
const MOST_SENDERS: usize = 100_000;
/// Most domains of recipients that are numbered; some 80 bytes each.
const MOST_DOMAINS: usize = 500_000;
/// Most domains that wrote to this site that are numbered; 24 bytes each.
const MOST_CORRESPONDENTS: usize = 1_000_000;

impl Default for Origin {
    fn default() -> Self {
        Origin {
            number: 0,
            sender_unknown: false,
            passage: Passage::Judged,
            role: Role::Local,
            sender: Sender::Other(String::new()),
            correspondent: None,
            recipient: None,
            written: None,
            written_local: None,
            asked: HashMap::default(),
            senders: Numbers::new(MOST_SENDERS),
            canonical: Vec::new(),
            domains: Numbers::new(MOST_DOMAINS),
            correspondents: HashMap::default(),
            hasher: RandomState::default(),
        }
    }
}

impl Origin {
    /// Looks at `delivery`. `snapshot` and `roles` are the same each time.
    pub fn look(&mut self, delivery: &Delivery<'_>, snapshot: &Snapshot, roles: &Roles) {
        let told_now = self.sender_unknown && delivery.sender.is_some();
        if delivery.message == 0 || delivery.message != self.number || told_now {
            self.look_at_message(delivery, snapshot, roles);
        }
        (self.recipient, self.written, self.written_local) = (None, None, None);
        let leads_outside = match self.passage {
            Passage::Judged => true,
            Passage::Inbound => delivery.destination == Destination::Outside,
            Passage::NullSender => false,
        };
        if leads_outside {
            let local;
            (self.recipient, local) = self.place(delivery.recipient);
            (self.written, self.written_local) = match delivery.original {
                Some(original) if original != delivery.recipient => self.place(original),
                _ => (self.recipient, local),
            };
        }
    }

    fn look_at_message(&mut self, delivery: &Delivery<'_>, snapshot: &Snapshot, roles: &Roles) {
        let role = match delivery.entrance {
            Entrance::Smtp => roles.smtp,
            Entrance::Submission => roles.submission,
            Entrance::Local | Entrance::Unknown => roles.local,
        };
        // An unknown sender is not the null sender.
        let sender = delivery.sender.unwrap_or(b"unknown");
        let asked = Asked {
            role,
            client: delivery.client,
            login: delivery.login.is_some(),
            null_sender: sender.trim_ascii().is_empty(),
        };
        self.number = delivery.message;
        self.sender_unknown = delivery.sender.is_none();
        self.role = role;
        self.passage = match self.asked.get(&asked) {
            Some(passage) => *passage,
            None => {
                if self.asked.len() >= MOST_ASKED {
                    self.asked.clear();
                }
                let passage = ask(asked, snapshot);
                self.asked.insert(asked, passage);
                passage
            }
        };
        let number = match self.passage {
            Passage::Judged => self.senders.number(sender),
            // Strangers are many, and what they write may be new each time (VERP).
            Passage::Inbound | Passage::NullSender => None,
        };
        self.sender = match number {
            Some(number) => {
                if number as usize >= self.canonical.len() {
                    let mut canonical = String::new();
                    write_canonical(sender, snapshot, &mut canonical);
                    self.canonical.push(canonical.into());
                }
                Sender::Numbered(number)
            }
            None => {
                let mut canonical = match &mut self.sender {
                    Sender::Other(before) => std::mem::take(before),
                    Sender::Numbered(_) => String::new(),
                };
                write_canonical(sender, snapshot, &mut canonical);
                Sender::Other(canonical)
            }
        };
        self.correspondent = match self.passage {
            Passage::Inbound => self.number_correspondent(),
            Passage::Judged | Passage::NullSender => None,
        };
    }

    /// Returns the number of the domain of an address that cannot be read in two ways, and the
    /// length of its local part when that is in comparable form.
    fn place(&mut self, address: &[u8]) -> (Option<u32>, Option<usize>) {
        let Some(parts) = address::split(address) else {
            return (None, None);
        };
        let domain = self.domains.number(parts.domain);
        let canonical = domain.is_some() && parts.local_is_canonical;
        (domain, canonical.then_some(parts.local.len()))
    }

    fn number_correspondent(&mut self) -> Option<u32> {
        let (_, domain) = self.sender().rsplit_once('@')?;
        let hash = self.hash(domain.as_bytes());
        let number = u32::try_from(self.correspondents.len()).ok()?;
        match self.correspondents.get(&hash) {
            Some(number) => Some(*number),
            None if self.correspondents.len() >= MOST_CORRESPONDENTS => None,
            None => {
                self.correspondents.insert(hash, number);
                Some(number)
            }
        }
    }

    /// Returns whether its recipients would have been judged.
    pub fn passage(&self) -> Passage {
        self.passage
    }

    /// Returns the role of the listener it would have come by.
    pub fn role(&self) -> Role {
        self.role
    }

    /// Returns its envelope sender in comparable form.
    pub fn sender(&self) -> &str {
        match &self.sender {
            Sender::Numbered(number) => {
                (self.canonical.get(*number as usize)).map_or("", |sender| sender)
            }
            Sender::Other(sender) => sender,
        }
    }

    /// Returns the number of the sender of a judged message.
    pub fn sender_number(&self) -> Option<u32> {
        match &self.sender {
            Sender::Numbered(number) => Some(*number),
            Sender::Other(_) => None,
        }
    }

    /// Returns the number of the domain an inbound message comes from.
    pub fn correspondent(&self) -> Option<u32> {
        self.correspondent
    }

    /// Returns the number of a domain that some inbound message came from, by its hash.
    pub fn correspondent_of(&self, hash: u64) -> Option<u32> {
        self.correspondents.get(&hash).copied()
    }

    /// Returns the number of the recipient's domain, where mail may go outside.
    pub fn recipient(&self) -> Option<u32> {
        self.recipient
    }

    /// Returns the number of the domain that the sender wrote, before aliases; likewise.
    pub fn written(&self) -> Option<u32> {
        self.written
    }

    /// Returns the local part before that domain, when it is in comparable form as it stands.
    /// `address` is what the sender wrote.
    pub fn written_local<'a>(&self, address: &'a [u8]) -> Option<&'a [u8]> {
        address.get(..self.written_local?)
    }

    /// Returns the hash of a domain, as it is within this run.
    pub fn hash(&self, domain: &[u8]) -> u64 {
        self.hasher.hash_one(domain)
    }
}

/// Writes the comparable form of a sender over `canonical`.
fn write_canonical(sender: &[u8], snapshot: &Snapshot, canonical: &mut String) {
    if address::plain(sender).is_some() {
        canonical.clear();
        let letters = sender.iter().map(u8::to_ascii_lowercase);
        canonical.extend(letters.map(char::from));
    } else {
        *canonical = Address::parse(sender, &snapshot.suffixes).canonical();
    }
}

/// Asks the gate as the milter does.
fn ask(asked: Asked, snapshot: &Snapshot) -> Passage {
    let mut session = Session::new(asked.role);
    session.connect(client(asked.client));
    let path: &[u8] = if asked.null_sender { b"<>" } else { b"<a@b>" };
    let mail = Mail {
        path,
        login: asked.login.then_some(b"a"),
        ..Mail::default()
    };
    (session.mail(mail, &snapshot.gate, &snapshot.suffixes)).passage
}

fn client(ip: Option<IpAddr>) -> Client {
    Client {
        name: Vec::new(),
        ip,
        // Not 0: that is how Postfix shows mail of sendmail(1).
        port: 1,
    }
}
