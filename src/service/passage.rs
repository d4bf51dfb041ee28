//! How a message of a log would have passed the milter: judged, inbound, or with the null sender.

use std::net::IpAddr;

use crate::maillog::{Delivery, Entrance};
use crate::policy::Role;
use crate::service::Snapshot;
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

/// The message of the delivery looked at last: most often the next is of the same one.
#[derive(Debug)]
pub struct Origin {
    number: u64,
    passage: Passage,
    role: Role,
    sender: String,
}

impl Default for Origin {
    fn default() -> Self {
        Origin {
            number: 0,
            passage: Passage::Judged,
            role: Role::Local,
            sender: String::new(),
        }
    }
}

impl Origin {
    /// Looks at the message of `delivery`, unless it is the same as before.
    pub fn look(&mut self, delivery: &Delivery<'_>, snapshot: &Snapshot, roles: &Roles) {
        if delivery.message != 0 && delivery.message == self.number {
            return;
        }
        let role = match delivery.entrance {
            Entrance::Smtp => roles.smtp,
            Entrance::Submission => roles.submission,
            Entrance::Local | Entrance::Unknown => roles.local,
        };
        let mut session = Session::new(role);
        session.connect(client(delivery.client));
        // An unknown sender is not the null sender.
        let path = delivery.sender.unwrap_or(b"unknown");
        let mail = Mail {
            path,
            login: delivery.login,
            ..Mail::default()
        };
        let message = session.mail(mail, &snapshot.gate, &snapshot.suffixes);
        *self = Origin {
            number: delivery.message,
            passage: message.passage,
            role,
            sender: message.sender.canonical(),
        };
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
        &self.sender
    }
}

fn client(ip: Option<IpAddr>) -> Client {
    Client {
        name: Vec::new(),
        ip,
        // Not 0: that is how Postfix shows mail of sendmail(1).
        port: 1,
    }
}
