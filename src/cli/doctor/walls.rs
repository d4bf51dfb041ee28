//! What the configuration wants and a unit of systemd does not let happen.
//!
//! The shipped units allow what the shipped configuration needs. Some settings need a drop-in
//! besides (docs/operations.md), and without it the start fails with a riddle, or goes well and
//! nobody reaches the port.

use std::net::IpAddr;
use std::path::{Path, PathBuf};

use ipnet::IpNet;

use crate::config::Config;
use crate::milter::listener::ListenAddress;
use crate::review::Listen;
use crate::smtp::Target;

use super::ask::ask;
use super::finding::{Finding, Severity};

/// What a unit in force, with its drop-ins, allows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Walls {
    unit: &'static str,
    private_network: bool,
    /// Families that sockets may have; `None`: every one, or a list of those that may not.
    families: Option<Vec<String>>,
    /// Whether every address is denied that is not allowed.
    denies_all: bool,
    allowed: Vec<IpNet>,
    /// Whether all but `writable` is read-only.
    strict: bool,
    writable: Vec<PathBuf>,
    /// Whether /home, /root and /run/user are not there, or read-only.
    home: Home,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Home {
    #[default]
    Open,
    ReadOnly,
    Hidden,
}

/// What systemd tells.
const PROPERTIES: &[&str] = &[
    "LoadState",
    "PrivateNetwork",
    "RestrictAddressFamilies",
    "IPAddressDeny",
    "IPAddressAllow",
    "ProtectSystem",
    "ProtectHome",
    "ReadWritePaths",
    "StateDirectory",
    "RuntimeDirectory",
    "CacheDirectory",
    "LogsDirectory",
];

/// Where the directories that systemd makes for a unit are.
const DIRECTORIES: &[(&str, &str)] = &[
    ("StateDirectory", "/var/lib"),
    ("RuntimeDirectory", "/run"),
    ("CacheDirectory", "/var/cache"),
    ("LogsDirectory", "/var/log"),
];

/// What `ProtectHome=` is about (systemd.exec(5)).
const HOMES: &[&str] = &["/home", "/root", "/run/user"];

/// Asks systemd about the unit; `None` when it knows none.
pub(super) fn gather(unit: &'static str) -> Option<Walls> {
    let mut arguments = vec!["show"];
    arguments.extend(PROPERTIES.iter().flat_map(|name| ["-p", name]));
    arguments.push(unit);
    Walls::read(unit, &ask("systemctl", &arguments).ok()?)
}

impl Walls {
    /// Reads what `systemctl show` prints.
    fn read(unit: &'static str, text: &str) -> Option<Walls> {
        let value = |key: &str| {
            let mut lines = text.lines();
            let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.unwrap_or_default()
        };
        if value("LoadState") != "loaded" {
            return None;
        }
        let families = value("RestrictAddressFamilies");
        let nets = |key: &str| -> Vec<IpNet> {
            let words = value(key).split_whitespace();
            words.filter_map(|word| word.parse().ok()).collect()
        };
        let own = DIRECTORIES.iter().flat_map(|(key, below)| {
            let names = value(key).split_whitespace();
            // `name:link` in newer versions.
            names.map(move |name| Path::new(below).join(name.split(':').next().unwrap_or(name)))
        });
        let listed = value("ReadWritePaths").split_whitespace();
        let listed = listed.map(|path| PathBuf::from(path.trim_start_matches(['-', '+'])));
        Some(Walls {
            unit,
            private_network: value("PrivateNetwork") == "yes",
            families: (!families.is_empty() && !families.starts_with('~'))
                .then(|| families.split_whitespace().map(str::to_owned).collect()),
            denies_all: nets("IPAddressDeny")
                .iter()
                .any(|net| net.prefix_len() == 0),
            allowed: nets("IPAddressAllow"),
            strict: value("ProtectSystem") == "strict",
            writable: own.chain(listed).collect(),
            home: match value("ProtectHome") {
                "yes" | "tmpfs" => Home::Hidden,
                "read-only" => Home::ReadOnly,
                _ => Home::Open,
            },
        })
    }

    /// Returns why nothing can be written below `path`, if so.
    fn closes(&self, path: &Path) -> Option<&'static str> {
        let path = resolved(path);
        let at_home = HOMES.iter().any(|home| path.starts_with(home));
        match self.home {
            Home::Hidden if at_home => return Some("ProtectHome=yes"),
            Home::ReadOnly if at_home => return Some("ProtectHome=read-only"),
            _ => {}
        }
        let open = self.writable.iter().any(|open| path.starts_with(open));
        (self.strict && !open).then_some("ProtectSystem=strict")
    }

    /// Says whether packets from and to `address` are dropped.
    fn drops(&self, address: IpAddr) -> bool {
        self.denies_all && !self.allowed.iter().any(|net| net.contains(&address))
    }

    /// Says whether only this host comes through.
    fn drops_other_hosts(&self) -> bool {
        self.denies_all && (self.allowed.iter()).all(|net| net.addr().is_loopback())
    }

    fn finding(&self, found: String, why: &str, lines: &[String]) -> Finding {
        let finding = Finding::new("systemd", Severity::Error, found, why);
        let unit = self.unit;
        let lines = lines.iter().map(|line| format!("`{line}`"));
        let lines = lines.collect::<Vec<_>>().join(", ");
        finding
            .run(format!("systemctl edit {unit}"))
            .edit(format!("below [Service]: {lines}"))
            .run(format!("systemctl restart {unit}"))
    }

    fn written(&self, what: &str, path: &Path, directory: &Path) -> Option<Finding> {
        let by = self.closes(directory)?;
        let mut lines = vec![format!("ReadWritePaths={}", directory.display())];
        if by != "ProtectSystem=strict" {
            lines.insert(0, "ProtectHome=no".to_owned());
        }
        Some(self.finding(
            format!(
                "{what} is {path:?}, where the unit {} may not write ({by})",
                self.unit
            ),
            "The service does not start.",
            &lines,
        ))
    }

    /// A UNIX socket is made in its directory.
    fn socket(&self, what: &str, path: &Path) -> Option<Finding> {
        self.written(what, path, path.parent()?)
    }
}

/// Says what of `config` the unit of the milter does not let happen.
pub(super) fn milter(walls: &Walls, config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for listener in &config.listeners {
        let name = listener.address.to_string();
        match &listener.address {
            ListenAddress::Unix(path) => {
                findings.extend(walls.socket("listeners.socket", path));
            }
            ListenAddress::Inet(address) => {
                let family = if address.is_ipv4() {
                    "AF_INET"
                } else {
                    "AF_INET6"
                };
                let barred = (walls.families.as_ref())
                    .is_some_and(|families| families.iter().all(|known| known != family));
                let lines = [
                    "PrivateNetwork=no".to_owned(),
                    "RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6".to_owned(),
                    "IPAddressAllow=localhost".to_owned(),
                ];
                let (by, why) = if barred {
                    (
                        "may not use TCP (RestrictAddressFamilies=)",
                        "The service does not start.",
                    )
                } else if walls.private_network {
                    (
                        "has no network (PrivateNetwork=yes)",
                        "The service listens where nobody can come, and the MTA puts off all mail.",
                    )
                } else if walls.drops(address.ip()) {
                    (
                        "may not speak to that address (IPAddressDeny=)",
                        "The MTA gets no answer, and puts off all mail.",
                    )
                } else {
                    continue;
                };
                let found = format!(
                    "listeners.socket is {name}, and the unit {} {by}",
                    walls.unit
                );
                findings.push(walls.finding(found, why, &lines));
            }
            ListenAddress::Systemd(_) => {}
        }
    }
    findings.extend(store(walls, config));
    findings
}

/// Says what of `config` the unit of the worker does not let happen.
pub(super) fn worker(walls: &Walls, config: &Config) -> Vec<Finding> {
    let mut findings: Vec<Finding> = store(walls, config).into_iter().collect();
    let served = [
        ("review.listen", &config.review.listen),
        ("metrics.listen", &config.metrics.listen),
    ];
    for (what, listen) in served {
        match listen {
            Some(Listen::Unix(path)) => findings.extend(walls.socket(what, path)),
            Some(Listen::Inet(address))
                if !address.ip().is_loopback() && walls.drops_other_hosts() =>
            {
                findings.push(walls.finding(
                    format!(
                        "{what} is inet:{address}, and the unit {} speaks to this host only \
                         (IPAddressDeny=)",
                        walls.unit
                    ),
                    "Browsers and proxies elsewhere get no answer.",
                    &["IPAddressAllow=ADDRESSES OF THE PROXIES".to_owned()],
                ));
            }
            Some(Listen::Inet(_)) | None => {}
        }
    }
    if let Target::Tcp(target) = &config.quarantine.release_target
        && let Some(address) = address(target)
        && walls.drops(address)
    {
        findings.push(walls.finding(
            format!(
                "quarantine.release_to is {target}, and the unit {} may not speak to that address \
                 (IPAddressDeny=)",
                walls.unit
            ),
            "No notice is sent, and nothing that a sender decides is carried out.",
            &[format!("IPAddressAllow={address}")],
        ));
    }
    findings
}

fn store(walls: &Walls, config: &Config) -> Option<Finding> {
    let directory = &config.quarantine.dir;
    walls.written("quarantine.directory", directory, directory)
}

/// Returns the path with links followed as far as it is there: systemd knows `/run` and no
/// `/var/run`.
fn resolved(path: &Path) -> PathBuf {
    let real = |part: &Path| {
        let rest = path.strip_prefix(part).ok()?;
        Some(part.canonicalize().ok()?.join(rest))
    };
    path.ancestors().find_map(real).unwrap_or(path.to_owned())
}

/// Returns the address in `host:port`, when it is one and no name.
fn address(target: &str) -> Option<IpAddr> {
    let (host, _) = target.rsplit_once(':')?;
    host.trim_matches(['[', ']']).parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The properties as `systemctl show` prints them, from a unit that we ship.
    fn shipped(unit: &'static str) -> Walls {
        let text = std::fs::read_to_string(format!("systemd/{unit}.service")).unwrap();
        let mut show = "LoadState=loaded\n".to_owned();
        for line in text.lines() {
            let (key, value) = line.split_once('=').unwrap_or((line, ""));
            let value = match value {
                "any" => "::/0 0.0.0.0/0",
                "localhost" => "127.0.0.0/8 ::1/128",
                value => value,
            };
            if PROPERTIES.contains(&key) {
                show.push_str(&format!("{key}={value}\n"));
            }
        }
        Walls::read(unit, &show).unwrap()
    }

    fn config(yaml: &str) -> Config {
        let text = format!("trusted: {{domains: [army.mil]}}\n{yaml}");
        Config::parse(Path::new("milter.yaml"), &text).unwrap()
    }

    fn found(findings: Vec<Finding>) -> Vec<String> {
        findings.into_iter().map(|f| f.found).collect()
    }

    #[test]
    fn the_shipped_units_let_the_shipped_configuration_work() {
        let shipped_config = Config::parse(Path::new("m"), crate::config::SHIPPED).unwrap();
        let debian = config("listeners: [{socket: unix:/var/spool/postfix/straymail/milter.sock}]");
        for config in [shipped_config, debian] {
            assert_eq!(milter(&shipped("straymail"), &config), []);
            assert_eq!(worker(&shipped("straymail-worker"), &config), []);
        }
        let pages = config(
            "review: {listen: unix:/run/straymail-worker/review.sock}\n\
             metrics: {listen: inet:127.0.0.1:8892}",
        );
        assert_eq!(worker(&shipped("straymail-worker"), &pages), []);
    }

    #[test]
    fn a_listener_without_a_network_is_told_with_the_drop_in_that_mends_it() {
        let config = config("listeners: [{socket: inet:127.0.0.1:8891}]");
        let walls = shipped("straymail");
        let findings = milter(&walls, &config);
        assert_eq!(
            findings.first().unwrap().to_string(),
            "error   systemd: listeners.socket is inet:127.0.0.1:8891, and the unit straymail may \
             not use TCP (RestrictAddressFamilies=)\n        The service does not start.\n      \
             # systemctl edit straymail\n     -> below [Service]: `PrivateNetwork=no`, \
             `RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6`, `IPAddressAllow=localhost`\n      \
             # systemctl restart straymail"
        );
        let halfway = Walls {
            families: None,
            ..walls.clone()
        };
        assert_eq!(
            found(milter(&halfway, &config)),
            [
                "listeners.socket is inet:127.0.0.1:8891, and the unit straymail has no network \
              (PrivateNetwork=yes)"
            ]
        );
        let further = Walls {
            private_network: false,
            ..halfway
        };
        assert_eq!(
            found(milter(&further, &config)),
            [
                "listeners.socket is inet:127.0.0.1:8891, and the unit straymail may not speak to \
              that address (IPAddressDeny=)"
            ]
        );
        let open = Walls {
            allowed: vec!["127.0.0.0/8".parse().unwrap(), "::1/128".parse().unwrap()],
            ..further
        };
        assert_eq!(milter(&open, &config), []);
    }

    #[test]
    fn places_that_may_not_be_written_are_told() {
        let config = config(
            "listeners: [{socket: unix:/var/spool/postfix/private/straymail}]\n\
             quarantine: {directory: /home/mail/store}",
        );
        assert_eq!(
            found(milter(&shipped("straymail"), &config)),
            [
                "listeners.socket is \"/var/spool/postfix/private/straymail\", where the unit \
                 straymail may not write (ProtectSystem=strict)",
                "quarantine.directory is \"/home/mail/store\", where the unit straymail may not \
                 write (ProtectHome=yes)",
            ]
        );
        let open = Walls {
            home: Home::Open,
            writable: vec!["/home/mail".into(), "/var/spool/postfix/private".into()],
            ..shipped("straymail")
        };
        assert_eq!(milter(&open, &config), []);
    }

    #[test]
    fn other_hosts_that_the_worker_may_not_speak_to_are_told() {
        let config = config(
            "review: {listen: inet:192.0.2.1:8890, trusted_proxies: [192.0.2.0/24]}\n\
             quarantine: {release_to: \"192.0.2.25:25\"}",
        );
        let walls = shipped("straymail-worker");
        assert_eq!(
            found(worker(&walls, &config)),
            [
                "review.listen is inet:192.0.2.1:8890, and the unit straymail-worker speaks to \
                 this host only (IPAddressDeny=)",
                "quarantine.release_to is 192.0.2.25:25, and the unit straymail-worker may not \
                 speak to that address (IPAddressDeny=)",
            ]
        );
        let mut open = walls;
        open.allowed.push("192.0.2.0/24".parse().unwrap());
        assert_eq!(worker(&open, &config), []);
    }

    #[test]
    fn a_link_is_where_it_leads() {
        let dir = tempfile::tempdir().unwrap();
        std::os::unix::fs::symlink("/run", dir.path().join("link")).unwrap();
        let socket = dir.path().join("link/straymail/milter.sock");
        let listener = format!("listeners: [{{socket: \"unix:{}\"}}]", socket.display());
        assert_eq!(milter(&shipped("straymail"), &config(&listener)), []);
    }

    #[test]
    fn a_unit_that_systemd_does_not_know_tells_nothing() {
        assert_eq!(Walls::read("straymail", "LoadState=not-found\n"), None);
        let bare = Walls::read("straymail", "LoadState=loaded\nRestrictAddressFamilies=~\n");
        let inet = config("listeners: [{socket: inet:127.0.0.1:8891}]");
        assert_eq!(milter(&bare.unwrap(), &inet), []);
    }
}
