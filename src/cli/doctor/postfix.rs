//! What Postfix is told to do: its parameters and services, as postconf(1) prints them.
//!
//! Gathering asks postconf and looks at paths; everything else about Postfix is decided from
//! [`Postfix`] alone.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use super::ask::{AskError, ask};
use super::finding::{quoted, quoted_path};
use super::milter::{Milter, without_spaces, words};
use super::milters;
use super::place::{Hosts, Place, is_loopback};

/// Postfix's settings, with `$names` replaced.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Postfix {
    /// The directory of main.cf when it is not the usual one.
    pub(super) config: Option<PathBuf>,
    /// main.cf with the defaults.
    pub(super) parameters: BTreeMap<String, String>,
    /// master.cf.
    pub(super) services: Vec<Service>,
    /// The names of hosts in the lists of milters.
    pub(super) hosts: Hosts,
    /// The milters at which nobody answers.
    pub(super) silent: Vec<Place>,
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

impl Postfix {
    /// Asks postconf. `config` is the directory of main.cf, by default the usual one.
    ///
    /// # Errors
    /// Postfix cannot be asked.
    pub(super) fn gather(config: Option<&Path>) -> Result<Postfix, AskError> {
        // postconf(1) and postfix(1) refuse a relative directory, also in the commands we print.
        let config = config.map(|dir| std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()));
        let dir = (config.as_ref()).map(|dir| dir.to_string_lossy().into_owned());
        let place: Vec<&str> = dir.iter().flat_map(|dir| ["-c", dir.as_str()]).collect();
        let postconf = |options: &[&str]| ask("postconf", &[&place[..], options].concat());
        let parameters = parameters(&postconf(&["-x"])?);
        let mut services = services(&postconf(&["-M"])?, &parameters);
        add_overrides(&mut services, &postconf(&["-P", "-x"])?);
        let mut read = Postfix {
            config,
            parameters,
            services,
            hosts: Hosts::default(),
            silent: Vec::new(),
        };
        let specs: Vec<String> = (milters::all(&read).into_iter())
            .flat_map(|list| list.milters)
            .map(|milter| milter.address())
            .collect();
        read.hosts = Hosts::gather(specs.iter().map(String::as_str));
        let mut places: Vec<Place> = Vec::new();
        for milter in (milters::all(&read).into_iter()).flat_map(|list| list.milters) {
            if !places.contains(&milter.place) {
                places.push(milter.place);
            }
        }
        places.retain(Place::is_silent);
        read.silent = places;
        Ok(read)
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

    /// Returns the service that takes the mail of sendmail(1).
    pub(super) fn pickup(&self) -> Option<&Service> {
        (self.services.iter()).find(|service| service.command == "pickup")
    }

    /// Returns the service that asks milters about the mail of sendmail(1).
    pub(super) fn cleanup(&self) -> Option<&Service> {
        match self.value(self.pickup(), "cleanup_service_name") {
            "" => self.service("cleanup", "unix"),
            name => self.service(name, "unix"),
        }
    }

    /// Returns the service that takes mail at a place such as `[127.0.0.1]:10025`, or
    /// `smtp:[127.0.0.1]:10025` as a filter is named.
    pub(super) fn receiver_at(&self, place: &str) -> Option<&Service> {
        let (rest, port) = place.rsplit_once(':').unwrap_or(("", place));
        let host = rest.rsplit_once(":[").map_or(rest, |(_, host)| host);
        let host = match host.contains("::") {
            true => host,
            false => host.rsplit(':').next().unwrap_or(host),
        };
        let host = host.trim_matches(['[', ']']);
        let is_local = is_loopback(host) || host.is_empty() || host == self.parameter("myhostname");
        let of_port =
            |service: &&Service| service.kind == "inet" && number(service.port()) == number(port);
        let at = |service: &&Service| match service.host() {
            Some(own) => own == host || (is_local && is_loopback(own)),
            None => true,
        };
        let mut there = (self.receivers()).filter(of_port).filter(at);
        let first = there.next()?;
        // One of this address is nearer than one of all.
        there
            .find(|service| service.host() == Some(host))
            .or(Some(first))
    }

    /// Returns the milters of a list, as `service` reads it.
    pub(super) fn milters(&self, service: Option<&Service>, list: &str) -> Vec<Milter> {
        let chroot = service.is_some_and(|service| service.chroot);
        words(self.value(service, list))
            .into_iter()
            .map(|word| Milter::read(&word, self.queue_directory(), chroot, &self.hosts))
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
            Some(service) => self.set_own(service, name, value),
            None => {
                let text = format!("{name} = {value}");
                self.command("postconf", &format!("-e {}", quoted(&text)))
            }
        }
    }

    /// Returns a shell line that gives `service` a value of its own in master.cf.
    pub(super) fn set_own(&self, service: &Service, name: &str, value: &str) -> String {
        // `postconf -P` takes no white space in a value.
        let value = without_spaces(value);
        let text = format!("{service}/{name}={value}");
        self.command("postconf", &format!("-P {}", quoted(&text)))
    }

    /// Returns the shell line that makes Postfix read its files again.
    pub(super) fn reload(&self) -> String {
        self.command("postfix", "reload")
    }
}

impl Service {
    fn port(&self) -> &str {
        self.name.rsplit_once(':').map_or(&*self.name, |(_, p)| p)
    }

    fn host(&self) -> Option<&str> {
        let (host, _) = self.name.rsplit_once(':')?;
        Some(host.trim_matches(['[', ']']))
    }

    /// Returns whether senders hand their mail in here: a submission port, or one that logs in.
    pub(super) fn is_submission(&self) -> bool {
        let port = self.port();
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
        match self.host() {
            Some(host) => is_loopback(host),
            None => self.kind == "unix",
        }
    }

    /// Returns whether the milters of its mail are switched off.
    pub(super) fn has_no_milters(&self, postfix: &Postfix) -> bool {
        let options = postfix.value(Some(self), "receive_override_options");
        words(options).iter().any(|option| option == "no_milters")
    }

    /// Returns whether a content filter hands its mail back here, judged before: only programs
    /// on this host reach it, or it is told that no filter follows.
    pub(super) fn is_behind_filter(&self) -> bool {
        let filter = self.overrides.get("content_filter");
        !self.is_submission() && (self.is_loopback() || filter.is_some_and(String::is_empty))
    }
}

/// As a sentence and `postconf -P` name it: `submission/inet`.
impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.name, self.kind)
    }
}

/// Returns the number of a port that has a name in master.cf.
fn number(port: &str) -> &str {
    match port {
        "smtp" => "25",
        "submission" => "587",
        "submissions" | "smtps" => "465",
        other => other,
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

#[cfg(test)]
mod tests {
    use super::*;

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
            parameters,
            services,
            ..Postfix::default()
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
        assert_eq!(of(0)[0].place, unix("/a.sock", Some("/nowhere/q/a.sock")));
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
    fn without_a_word_about_it_a_service_is_chrooted_only_at_level_0() {
        for (level, chroot) in [("0", true), ("1", false), ("3.6", false)] {
            let postfix = read(MASTER, "", &format!("compatibility_level = {level}\n"));
            assert_eq!(postfix.services[0].chroot, chroot, "{level}");
            assert!(postfix.services[1].chroot);
        }
    }

    #[test]
    fn a_filter_leads_to_the_service_at_its_port() {
        let postfix = read(MASTER, "", "myhostname = mx.test\n");
        for (place, service) in [
            ("smtp:[127.0.0.1]:587", Some("submission/inet")),
            ("smtp:127.0.0.1:10026", Some("127.0.0.1:10026/inet")),
            ("smtp:[localhost]:10026", Some("127.0.0.1:10026/inet")),
            ("127.0.0.1:25", Some("smtp/inet")),
            ("smtp:[192.0.2.1]:10026", None),
            ("smtp-amavis:[127.0.0.1]:10024", None),
            ("lmtp:unix:/run/filter", None),
            ("", None),
        ] {
            let found = postfix.receiver_at(place).map(ToString::to_string);
            assert_eq!(found.as_deref(), service, "{place}");
        }
    }
}
