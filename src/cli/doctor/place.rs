//! Where a milter is, as a list of the MTA names it, and whether that is where straymail is.

use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::ask::ask;

/// How long somebody who is there may take to answer the telephone.
const PATIENCE: Duration = Duration::from_secs(5);

/// Where a milter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A UNIX socket, seen from outside of any chroot.
    Unix {
        path: PathBuf,
        /// What the same text names on the other side of a chroot, when that differs.
        meant: Option<PathBuf>,
    },
    /// A TCP port at any of these addresses; without one when the name is not known here.
    Inet(Vec<IpAddr>, u16),
    /// What cannot be understood.
    Unknown,
}

impl Place {
    /// Returns whether a listener here is where a milter of the MTA is.
    pub(super) fn is_at(&self, milter: &Place) -> bool {
        match (self, milter) {
            (Place::Unix { path, .. }, Place::Unix { path: other, .. }) => path == other,
            (Place::Inet(own, port), Place::Inet(others, other_port)) => {
                // A listener at 0.0.0.0 is reached by any address of this host, one at `::` by
                // those of both families.
                let reached = |ip: &IpAddr| {
                    (own.iter()).any(|own| {
                        let any = own.is_unspecified() && (own.is_ipv6() || ip.is_ipv4());
                        own == ip || any
                    })
                };
                port == other_port && others.iter().any(reached)
            }
            _ => false,
        }
    }

    /// Returns whether it is surely so that nobody listens here.
    pub(super) fn is_silent(&self) -> bool {
        let error = match self {
            Place::Unix { path, .. } => UnixStream::connect(path).err(),
            Place::Inet(hosts, port) => {
                let connect = |ip: &IpAddr| {
                    TcpStream::connect_timeout(&SocketAddr::new(*ip, *port), PATIENCE).err()
                };
                let mut errors = Vec::new();
                for ip in hosts {
                    match connect(ip) {
                        Some(error) => errors.push(error),
                        None => return false,
                    }
                }
                errors.into_iter().next()
            }
            Place::Unknown => None,
        };
        error.is_some_and(|error| {
            use ErrorKind::{ConnectionRefused, NotADirectory, NotFound, TimedOut};
            let kinds = [ConnectionRefused, NotFound, NotADirectory, TimedOut];
            kinds.contains(&error.kind())
        })
    }
}

/// The names of hosts that stand in lists of milters, with their addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Hosts(BTreeMap<String, Vec<IpAddr>>);

impl Hosts {
    /// Asks the system for every name in `specs`, such as `inet:milter.example.org:8891`.
    pub(super) fn gather<'a>(specs: impl Iterator<Item = &'a str>) -> Hosts {
        let mut known = Hosts::default();
        for spec in specs {
            let Some((host, _)) = spec
                .strip_prefix("inet:")
                .or_else(|| spec.strip_prefix("inet6:"))
                .and_then(host_and_port)
            else {
                continue;
            };
            if known.addresses(host).is_empty() && !known.0.contains_key(host) {
                // getent(1) and not a call: it has a deadline.
                let answer = ask("getent", &["ahosts", "--", host]).unwrap_or_default();
                let mut ips: Vec<IpAddr> = (answer.lines())
                    .filter_map(|line| line.split_whitespace().next()?.parse().ok())
                    .collect();
                ips.sort_unstable();
                ips.dedup();
                known.0.insert(host.to_owned(), ips);
            }
        }
        known
    }

    fn addresses(&self, host: &str) -> Vec<IpAddr> {
        if let Ok(ip) = host.parse() {
            return vec![ip];
        }
        match host {
            // Either of the two, and both are tried.
            "localhost" => vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()],
            name => self.0.get(name).cloned().unwrap_or_default(),
        }
    }

    /// Reads `host:port`, and `port@host` as Sendmail writes it.
    pub(super) fn inet(&self, text: &str) -> Option<Place> {
        let (host, port) = host_and_port(text)?;
        Some(Place::Inet(self.addresses(host), port))
    }
}

/// Reads `host:port`, `[host]:port` and `port@host`.
pub(super) fn host_and_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = match text.split_once('@') {
        Some((port, host)) => (host, port),
        None => text.rsplit_once(':')?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    Some((host, port.parse().ok()?))
}

/// Returns whether a host is this one, reached by no other.
pub(super) fn is_loopback(host: &str) -> bool {
    host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

/// Returns the path with the links in its directory followed: `/var/run` is `/run`.
pub(super) fn real(path: &Path) -> PathBuf {
    match (path.parent().map(std::fs::canonicalize), path.file_name()) {
        (Some(Ok(parent)), Some(name)) => parent.join(name),
        _ => path.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn inet(text: &str) -> Place {
        Hosts::default().inet(text).unwrap()
    }

    #[test]
    fn only_the_name_localhost_is_of_both_families() {
        let v4 = inet("127.0.0.1:26891");
        for (milter, same) in [
            ("127.0.0.1:26891", true),
            ("[127.0.0.1]:26891", true),
            ("26891@127.0.0.1", true),
            ("localhost:26891", true),
            ("26891@localhost", true),
            ("[::1]:26891", false),
            ("127.0.0.2:26891", false),
            ("127.0.0.1:26892", false),
        ] {
            assert_eq!(v4.is_at(&inet(milter)), same, "{milter}");
        }
        assert!(inet("[::1]:1").is_at(&inet("localhost:1")));
        assert!(inet("0.0.0.0:1").is_at(&inet("192.0.2.7:1")));
        assert!(!inet("0.0.0.0:1").is_at(&inet("[::1]:1")));
        assert!(inet("[::]:1").is_at(&inet("192.0.2.7:1")));
    }

    #[test]
    fn a_name_that_is_not_known_is_nowhere() {
        let unknown = inet("milter.invalid:1");
        assert_eq!(unknown, Place::Inet(vec![], 1));
        assert!(!inet("0.0.0.0:1").is_at(&unknown) && !unknown.is_silent());
        assert!(Hosts::default().inet("nonsense").is_none());
    }
}
