//! What Postfix is told to do: its parameters and services, as postconf(1) prints them.
//!
//! Gathering asks postconf and looks at paths; everything else about Postfix is decided from
//! [`Postfix`] alone.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::ask::ask;
use super::finding::{quoted, quoted_path};

/// Postfix's settings, with `$names` replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Postfix {
    /// The directory of main.cf when it is not the usual one.
    pub(super) config: Option<PathBuf>,
    /// main.cf with the defaults.
    pub(super) parameters: BTreeMap<String, String>,
    /// master.cf.
    pub(super) services: Vec<Service>,
}

/// One line of master.cf.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Service {
    /// First column: a port, a name or both with an address.
    pub(super) name: String,
    /// Second column: `inet`, `unix`, `pass`.
    pub(super) kind: String,
    /// Whether it runs below the queue directory.
    pub(super) chroot: bool,
    /// The program, `smtpd`.
    pub(super) command: String,
    /// What it is told by `-o`.
    pub(super) overrides: BTreeMap<String, String>,
}

/// One milter of a list such as `smtpd_milters`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Milter {
    /// As it is written, for a list of our own.
    pub(super) spec: String,
    /// Where a service that is given it connects to.
    pub(super) place: Place,
    /// The action of `{ …, default_action=… }`.
    pub(super) default_action: Option<String>,
}

/// Where a milter is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// A UNIX socket, seen from outside of any chroot.
    Unix {
        path: PathBuf,
        /// What the same text names where there is no chroot, when that differs.
        meant: Option<PathBuf>,
    },
    /// A TCP port. `None` when the host is a name other than `localhost`.
    Inet(Option<IpAddr>, u16),
    /// What cannot be understood.
    Unknown,
}

impl Postfix {
    /// Asks postconf. `config` is the directory of main.cf, by default the usual one.
    ///
    /// # Errors
    /// Why Postfix cannot be asked, in a sentence.
    pub(super) fn gather(config: Option<&Path>) -> Result<Postfix, String> {
        let dir = config.map(|dir| dir.to_string_lossy().into_owned());
        let place: Vec<&str> = dir.iter().flat_map(|dir| ["-c", dir.as_str()]).collect();
        let postconf = |options: &[&str]| ask("postconf", &[&place[..], options].concat());
        let parameters = parameters(&postconf(&["-x"])?);
        let mut services = services(&postconf(&["-M"])?, &parameters);
        add_overrides(&mut services, &postconf(&["-P", "-x"])?);
        Ok(Postfix {
            config: config.map(Path::to_owned),
            parameters,
            services,
        })
    }

    /// Returns the value of a parameter for all services; empty when it is not set.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters.get(name).map_or("", String::as_str)
    }

    /// Returns the value of a parameter for one service.
    pub(super) fn value<'a>(&'a self, service: Option<&'a Service>, name: &str) -> &'a str {
        let own = service.and_then(|service| service.overrides.get(name));
        own.map_or_else(|| self.parameter(name), String::as_str)
    }

    /// Returns the directory that a chrooted service sees as `/`.
    pub(super) fn queue_directory(&self) -> &Path {
        Path::new(self.parameter("queue_directory"))
    }

    /// Returns the service of this name and kind.
    pub(super) fn service(&self, name: &str, kind: &str) -> Option<&Service> {
        let services = &mut self.services.iter();
        services.find(|service| service.name == name && service.kind == kind)
    }

    /// Returns the services that take mail by SMTP.
    pub(super) fn receivers(&self) -> impl Iterator<Item = &Service> {
        (self.services.iter()).filter(|service| service.command == "smtpd")
    }

    /// Returns the milters of a list, as `service` reads it.
    pub(super) fn milters(&self, service: Option<&Service>, list: &str) -> Vec<Milter> {
        let chroot = service.is_some_and(|service| service.chroot);
        words(self.value(service, list))
            .into_iter()
            .map(|word| milter(&word, self.queue_directory(), chroot))
            .collect()
    }

    /// Returns a shell line that runs one of Postfix's programs on this configuration.
    pub(super) fn command(&self, program: &str, options: &str) -> String {
        match &self.config {
            Some(dir) => format!("{program} -c {} {options}", quoted_path(dir)),
            None => format!("{program} {options}"),
        }
    }

    /// Returns a shell line that sets a parameter where `service` has it from: in master.cf when
    /// it has a value of its own there, else in main.cf.
    pub(super) fn set(&self, service: Option<&Service>, name: &str, value: &str) -> String {
        match service.filter(|service| service.overrides.contains_key(name)) {
            Some(service) => {
                // `postconf -P` takes no white space in a value.
                let value = without_spaces(value);
                let text = format!("{}/{}/{name}={value}", service.name, service.kind);
                self.command("postconf", &format!("-P {}", quoted(&text)))
            }
            None => {
                let text = format!("{name} = {value}");
                self.command("postconf", &format!("-e {}", quoted(&text)))
            }
        }
    }

    /// Returns the shell line that makes Postfix read its files again.
    pub(super) fn reload(&self) -> String {
        self.command("postfix", "reload")
    }
}

impl Milter {
    /// Returns the entry with another value of one of its own options.
    pub(super) fn with(&self, name: &str, value: &str) -> String {
        let parts = inside(&self.spec).map_or_else(Vec::new, words);
        let parts: Vec<String> = (parts.into_iter())
            .map(|part| match option(&part) {
                Some((other, _)) if other == name => format!("{name}={value}"),
                _ => part,
            })
            .collect();
        format!("{{ {} }}", parts.join(", "))
    }
}

impl Service {
    /// Returns whether senders hand their mail in here: a submission port, or one that logs in.
    pub(super) fn is_submission(&self) -> bool {
        let port = self.name.rsplit_once(':').map_or(&*self.name, |(_, p)| p);
        let yes = |name| self.overrides.get(name).is_some_and(|value| value == "yes");
        // The master.cf that comes with Postfix has `-o syslog_name=postfix/submission`.
        let logged = self.overrides.get("syslog_name").map(String::as_str);
        let logged = logged.and_then(|name| name.strip_prefix("postfix/"));
        let names = ["submission", "submissions", "smtps", "587", "465"];
        names.contains(&port)
            || logged.is_some_and(|name| names.contains(&name))
            || yes("smtpd_sasl_auth_enable")
            || yes("smtpd_tls_wrappermode")
    }

    /// Returns whether only programs on this host reach it.
    pub(super) fn is_loopback(&self) -> bool {
        let Some((host, _)) = self.name.rsplit_once(':') else {
            return self.kind == "unix";
        };
        let host = host.trim_start_matches('[').trim_end_matches(']');
        host == "localhost" || host.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
    }
}

fn parameters(text: &str) -> BTreeMap<String, String> {
    (text.lines())
        .filter_map(|line| line.split_once(" ="))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect()
}

fn services(text: &str, parameters: &BTreeMap<String, String>) -> Vec<Service> {
    // COMPATIBILITY_README: until level 1 a service without a word about it runs in a chroot.
    let level = parameters.get("compatibility_level").map(String::as_str);
    let old = level.is_some_and(|level| level == "0");
    let service = |line: &str| {
        let mut columns = line.split_whitespace();
        let (name, kind) = (columns.next()?, columns.next()?);
        let chroot = columns.nth(2)?;
        let command = columns.nth(2)?;
        Some(Service {
            name: name.to_owned(),
            kind: kind.to_owned(),
            chroot: chroot == "y" || (chroot == "-" && old),
            command: command.to_owned(),
            overrides: BTreeMap::new(),
        })
    };
    text.lines().filter_map(service).collect()
}

/// Reads lines like `smtps/inet/smtpd_milters =`.
fn add_overrides(services: &mut [Service], text: &str) {
    for line in text.lines() {
        let Some((path, value)) = line.split_once(" =") else {
            continue;
        };
        // The name of a service may hold a slash, that of a parameter cannot.
        let mut parts = path.rsplitn(3, '/');
        let (Some(name), Some(kind), Some(of)) = (parts.next(), parts.next(), parts.next()) else {
            continue;
        };
        let own = (services.iter_mut()).find(|s| s.name == of && s.kind == kind);
        if let Some(service) = own {
            let value = value.trim().to_owned();
            service.overrides.insert(name.to_owned(), value);
        }
    }
}

/// Returns the words of a list; what stands in braces is one word.
pub(super) fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut depth = 0_u32;
    for c in text.chars() {
        match c {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth == 0 && (c == ',' || c.is_whitespace()) {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
        } else {
            word.push(c);
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// Returns a list with commas for the white space in it, in braces too.
fn without_spaces(text: &str) -> String {
    let word = |word: String| match inside(&word) {
        // MILTER_README: only `{ name = value }` has space around the sign.
        Some(inner) => {
            let inner = without_spaces(inner);
            format!("{{{}}}", inner.replace(",=", "=").replace("=,", "="))
        }
        None => word,
    };
    let words: Vec<String> = words(text).into_iter().map(word).collect();
    words.join(",")
}

/// Returns what stands in the braces around `text`.
fn inside(text: &str) -> Option<&str> {
    text.strip_prefix('{')?.strip_suffix('}').map(str::trim)
}

/// Reads `name=value` and `{ name = value }`.
fn option(part: &str) -> Option<(&str, &str)> {
    let (name, value) = inside(part).unwrap_or(part).split_once('=')?;
    Some((name.trim(), value.trim()))
}

fn milter(spec: &str, queue: &Path, chroot: bool) -> Milter {
    let parts = inside(spec).map_or_else(|| vec![spec.to_owned()], words);
    let mut options = parts.iter().skip(1).filter_map(|part| option(part));
    let default_action = options.find(|(name, _)| *name == "default_action");
    let default_action = default_action.map(|(_, value)| value.to_owned());
    let place = parts.first().map(String::as_str).unwrap_or_default();
    Milter {
        spec: spec.to_owned(),
        place: place_of(place, queue, chroot),
        default_action,
    }
}

fn place_of(text: &str, queue: &Path, chroot: bool) -> Place {
    let (kind, rest) = text.split_once(':').unwrap_or(("", text));
    match kind {
        "unix" | "local" => {
            let below = rest.trim_start_matches('/');
            let meant = match rest.starts_with('/') {
                true => PathBuf::from(rest),
                false => queue.join(rest),
            };
            let path = match chroot {
                true => queue.join(below),
                false => meant.clone(),
            };
            let (path, meant) = (real(&path), real(&meant));
            let meant = Some(meant).filter(|meant| *meant != path);
            Place::Unix { path, meant }
        }
        "inet" | "inet6" => inet(rest).unwrap_or(Place::Unknown),
        _ => Place::Unknown,
    }
}

/// Reads `host:port`, and `port@host` as Sendmail writes it.
pub(super) fn inet(text: &str) -> Option<Place> {
    let (host, port) = match text.split_once('@') {
        Some((port, host)) => (host, port),
        None => text.rsplit_once(':')?,
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let host = match host {
        "localhost" => Some(IpAddr::from([127, 0, 0, 1])),
        host => host.parse().ok(),
    };
    Some(Place::Inet(host, port.parse().ok()?))
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

    #[test]
    fn the_options_of_a_milter_are_read_and_kept() {
        for (spec, action, mended, compact) in [
            (
                "{ unix:s/m.sock command_timeout=60s default_action=accept }",
                Some("accept"),
                "{ unix:s/m.sock, command_timeout=60s, default_action=tempfail }",
                "{unix:s/m.sock,command_timeout=60s,default_action=accept}",
            ),
            (
                "{ unix:s/m.sock, { default_action = accept }, protocol=6 }",
                Some("accept"),
                "{ unix:s/m.sock, default_action=tempfail, protocol=6 }",
                "{unix:s/m.sock,{default_action=accept},protocol=6}",
            ),
            (
                "{ unix:s/m.sock }",
                None,
                "{ unix:s/m.sock }",
                "{unix:s/m.sock}",
            ),
        ] {
            let milter = milter(spec, Path::new("/q"), false);
            assert_eq!(milter.default_action.as_deref(), action, "{spec}");
            assert_eq!(milter.with("default_action", "tempfail"), mended);
            assert_eq!(without_spaces(spec), compact);
        }
        assert_eq!(
            without_spaces("{ x, { a =b } { c= d } }"),
            "{x,{a=b},{c=d}}"
        );
        assert_eq!(without_spaces("inet:a:1, unix:b"), "inet:a:1,unix:b");
    }

    const MASTER: &str = "\
smtp       inet  n       -       -       -       -       smtpd
submission inet  n       -       y       -       -       smtpd -o smtpd_milters=$mua
127.0.0.1:10026 inet  n       -       n       -       -       smtpd -o smtpd_milters=
pickup     unix  n       -       n       60      1       pickup
";

    fn read(master: &str, overrides: &str, main: &str) -> Postfix {
        let parameters = parameters(main);
        let mut services = services(master, &parameters);
        add_overrides(&mut services, overrides);
        Postfix {
            config: None,
            parameters,
            services,
        }
    }

    #[test]
    fn a_service_has_its_own_value_or_that_of_main_cf() {
        let postfix = read(
            MASTER,
            "submission/inet/smtpd_milters = unix:b.sock\n127.0.0.1:10026/inet/smtpd_milters =\n",
            "compatibility_level = 3.6\nqueue_directory = /nowhere/q\nsmtpd_milters = unix:/a.sock\n",
        );
        let of = |at: usize| postfix.milters(Some(&postfix.services[at]), "smtpd_milters");
        let unix = |path: &str, meant: Option<&str>| Place::Unix {
            path: path.into(),
            meant: meant.map(PathBuf::from),
        };
        assert_eq!(of(0)[0].place, unix("/a.sock", None));
        assert_eq!(of(1)[0].place, unix("/nowhere/q/b.sock", None));
        assert_eq!(of(2), []);
        assert_eq!(postfix.receivers().count(), 3);
        assert!(postfix.services[1].is_submission());
        assert!(postfix.services[2].is_loopback() && !postfix.services[0].is_loopback());
        assert_eq!(
            postfix.set(
                Some(&postfix.services[2]),
                "smtpd_milters",
                "unix:a, unix:b"
            ),
            "postconf -P 127.0.0.1:10026/inet/smtpd_milters=unix:a,unix:b"
        );
        assert_eq!(
            postfix.set(
                Some(&postfix.services[0]),
                "smtpd_milters",
                "unix:a, unix:b"
            ),
            "postconf -e 'smtpd_milters = unix:a, unix:b'"
        );
    }

    #[test]
    fn a_chroot_begins_at_the_queue_directory_whatever_the_path_looks_like() {
        let at = |text, chroot| place_of(text, Path::new("/nowhere/q"), chroot);
        let unix = |path: &str, meant: Option<&str>| Place::Unix {
            path: path.into(),
            meant: meant.map(PathBuf::from),
        };
        assert_eq!(at("unix:s/m", false), unix("/nowhere/q/s/m", None));
        assert_eq!(at("unix:s/m", true), unix("/nowhere/q/s/m", None));
        assert_eq!(at("unix:/s/m", false), unix("/s/m", None));
        assert_eq!(at("unix:/s/m", true), unix("/nowhere/q/s/m", Some("/s/m")));
    }

    #[test]
    fn without_a_word_about_it_a_service_is_chrooted_only_at_level_0() {
        for (level, chroot) in [("0", true), ("1", false), ("3.6", false)] {
            let postfix = read(MASTER, "", &format!("compatibility_level = {level}\n"));
            assert_eq!(postfix.services[0].chroot, chroot, "{level}");
            assert!(postfix.services[1].chroot);
        }
    }

    #[test]
    fn braces_are_one_word_with_options() {
        let list = "unix:a.sock, { inet:localhost:11332, default_action=accept }\tinet:[::1]:8891";
        let read = words(list);
        assert_eq!(read.len(), 3, "{read:?}");
        let second = milter(&read[1], Path::new("/q"), false);
        assert_eq!(second.default_action.as_deref(), Some("accept"));
        let ip = |text: &str| text.parse().ok();
        assert_eq!(second.place, Place::Inet(ip("127.0.0.1"), 11332));
        let third = milter(&read[2], Path::new("/q"), false);
        assert_eq!(third.place, Place::Inet(ip("::1"), 8891));
        assert_eq!(words("{ never ends, unix:x"), ["{ never ends, unix:x"]);
    }
}
