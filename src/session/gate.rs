//! Which mail is ours to judge: that of our own senders.

use ipnet::IpNet;

use super::Client;
use crate::address::Address;
use crate::policy::Role;

/// Which mail is ours to judge on a [`Role::Relay`] listener.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gate {
    /// Mail of clients in these networks is ours.
    pub networks: Vec<IpNet>,
    /// Mail of authenticated clients is ours.
    pub authenticated: bool,
}

impl Default for Gate {
    fn default() -> Self {
        Gate {
            networks: (["127.0.0.0/8", "::1/128"].iter())
                .filter_map(|net| net.parse().ok())
                .collect(),
            authenticated: true,
        }
    }
}

/// Why the recipients of a message are judged, or not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Passage {
    /// Mail of our own senders: judged.
    Judged,
    /// Mail of others: passes untouched.
    Inbound,
    /// The null sender: bounces and notices pass untouched (RFC 5321, 4.5.5).
    NullSender,
}

impl Gate {
    /// Returns whether mail with this sender and origin is judged.
    ///
    /// Everything that comes by a submission or local listener is ours; on a relay listener,
    /// where inbound mail passes too, the login or the client's network tells.
    pub(super) fn passage(
        &self,
        role: Role,
        sender: &Address,
        client: &Client,
        login: bool,
    ) -> Passage {
        let inside = || {
            (client.ip).is_some_and(|ip| {
                // An IPv4 client of a dual-stack socket is still that IPv4 client.
                let ip = ip.to_canonical();
                self.networks.iter().any(|net| net.contains(&ip))
            })
        };
        match role {
            _ if sender.is_null() => Passage::NullSender,
            Role::Submission | Role::Local => Passage::Judged,
            Role::Relay if login && self.authenticated || inside() => Passage::Judged,
            Role::Relay => Passage::Inbound,
        }
    }
}
