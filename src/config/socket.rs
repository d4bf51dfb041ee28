//! Where the program listens: each place once, and such that it can be bound.

use std::net::SocketAddr;
use std::path::Path;

use crate::milter::listener::ListenAddress;
use crate::review::Listen;

use super::reader::{Field, Reader};

/// A listener's socket is bound beside its place, under a name with the process id at its end, and
/// renamed: `.4194304` is the longest (PID_MAX_LIMIT, proc(5)).
const SUFFIX: usize = 8;
/// sockaddr_un holds 108 bytes with the final NUL (unix(7)).
const LONGEST: usize = 107 - SUFFIX;

/// The sockets named so far, each with its key.
#[derive(Default)]
pub(super) struct Sockets(Vec<(ListenAddress, String)>);

impl Sockets {
    /// Notes a socket, and reports it when it is somebody else's already.
    pub(super) fn take(&mut self, r: &mut Reader, field: &Field<'_>, address: &ListenAddress) {
        let taken = self.0.iter().find(|(other, _)| clash(address, other));
        if let Some((_, key)) = taken {
            let message = format!("{address} is the socket of {key} already; give each its own");
            r.problem(field.at(), &field.path, message);
        }
        self.0.push((address.clone(), field.path.clone()));
    }

    /// As [`Sockets::take`], for what is served to browsers.
    pub(super) fn take_page(&mut self, r: &mut Reader, field: &Field<'_>, listen: &Listen) {
        let address = match listen {
            Listen::Inet(address) => ListenAddress::Inet(*address),
            Listen::Unix(path) => ListenAddress::Unix(path.clone()),
        };
        self.take(r, field, &address);
    }
}

/// Returns whether only one of both can be had.
fn clash(one: &ListenAddress, other: &ListenAddress) -> bool {
    match (one, other) {
        (ListenAddress::Inet(one), ListenAddress::Inet(other)) => {
            one.port() == other.port() && (covers(one, other) || covers(other, one))
        }
        _ => one == other,
    }
}

fn covers(one: &SocketAddr, other: &SocketAddr) -> bool {
    // [::] takes IPv4 as well (net.ipv6.bindv6only is 0 nearly everywhere).
    let all = one.ip().is_unspecified() && (one.is_ipv6() || other.is_ipv4());
    all || one.ip() == other.ip()
}

/// Reports the path of a listener that cannot be bound.
pub(super) fn path_fits(r: &mut Reader, field: &Field<'_>, path: &Path) {
    let length = path.as_os_str().len();
    if length > LONGEST {
        let message = format!(
            "has {length} bytes, and a listener may have {LONGEST}: it is bound under a name that is {SUFFIX} longer, then renamed; use a shorter path"
        );
        r.problem(field.at(), &field.path, message);
    }
}

/// Looks for a group where the milter does: in `/etc/group`.
pub(super) fn group_exists(r: &mut Reader, field: &Field<'_>, group: &str) {
    if !group.is_empty() && group.bytes().all(|byte| byte.is_ascii_digit()) {
        let message = format!("{group} is a number; write the name of the group");
        r.problem(field.at(), &field.path, message);
        return;
    }
    // A process that may not read it (or a system without) does not know.
    let Ok(groups) = std::fs::read("/etc/group") else {
        return;
    };
    let names = (groups.split(|byte| *byte == b'\n'))
        .filter_map(|line| line.split(|byte| *byte == b':').next());
    if !names.into_iter().any(|name| name == group.as_bytes()) {
        let message = format!(
            "{group:?} is no group in /etc/group, and the milter does not start without it; create it or name another"
        );
        r.warning(field.at(), &field.path, message);
    }
}
