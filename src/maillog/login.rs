//! Who is logged in to which process of Sendmail, until its first message names a queue id.
//!
//! Each connection has a process of its own, and a queue id ends with the number of the process
//! that gave it. Numbers come again, so the client's address must fit, too. Memory is bounded.

use std::net::IpAddr;

use foldhash::HashMap;

/// Most logins at a time; beyond that all are forgotten. Ten times the processes of a busy host.
const MOST: usize = 65_536;

/// The logins.
#[derive(Debug, Default)]
pub(crate) struct Logins {
    /// By the hash of host and process.
    known: HashMap<u64, (Option<IpAddr>, Box<[u8]>)>,
}

impl Logins {
    /// Notes who logged in, from where.
    pub(crate) fn add(&mut self, process: u64, ip: Option<IpAddr>, login: &[u8]) {
        if self.known.len() >= MOST {
            self.known.clear();
        }
        self.known.insert(process, (ip, login.into()));
    }

    /// Returns who logged in to this process from there.
    pub(crate) fn of(&self, process: u64, ip: Option<IpAddr>) -> Option<&[u8]> {
        let (from, login) = self.known.get(&process)?;
        (*from == ip).then_some(login)
    }
}
