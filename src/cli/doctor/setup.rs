//! `straymail setup`: the lines that put straymail in front of an MTA, for this configuration.

use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::cli::{EXIT_FINE, Failure, load_config};
use crate::policy::Role;

use super::attach::{Door, ours_in, spec};
use super::finding::Report;
use super::postfix::{Place, Postfix, Service};

/// Prints the lines that put straymail in front of the MTA, for this configuration
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Nothing is changed: read the lines, then run them. `straymail doctor` checks the result."
)]
pub(in crate::cli) struct Setup {
    #[command(subcommand)]
    mta: Mta,
}

#[derive(Debug, Subcommand)]
enum Mta {
    /// Lines for a root shell: straymail behind the milters there are, with a path that works
    /// in a chroot
    Postfix {
        /// Directory of Postfix's main.cf [default: the usual one]
        #[arg(long, value_name = "DIR")]
        postfix_config: Option<PathBuf>,
    },
    /// Lines for sendmail.mc
    Sendmail,
}

impl Setup {
    pub(in crate::cli) fn run(&self, path: Option<&Path>) -> Result<u8, Failure> {
        let config = load_config(path)?;
        let doors = super::doors(&config.listeners, &mut Report::default());
        let lines = match &self.mta {
            Mta::Postfix { postfix_config } => {
                let postfix = Postfix::gather(postfix_config.as_deref()).map_err(|error| {
                    anyhow::anyhow!("{error}; name its directory with --postfix-config")
                })?;
                for_postfix(&postfix, &doors)
            }
            Mta::Sendmail => for_sendmail(&doors),
        };
        for line in lines {
            println!("{line}");
        }
        Ok(EXIT_FINE)
    }
}

/// Returns the lines for a root shell.
fn for_postfix(postfix: &Postfix, doors: &[Door]) -> Vec<String> {
    let mut lines = Vec::new();
    let by_smtp = doors.iter().find(|door| door.role != Role::Local);
    if let Some(door) = by_smtp {
        // A service whose list was emptied on purpose keeps it: mail there was judged before.
        let own = |service: &&Service| {
            let list = service.overrides.get("smtpd_milters");
            service.is_submission() && list.is_some()
        };
        let services = std::iter::once(None).chain(postfix.receivers().filter(own).map(Some));
        for service in services {
            let chroot = match service {
                Some(service) => service.chroot,
                None => postfix.receivers().any(|service| service.chroot),
            };
            let spec = placed(postfix, door, chroot, &mut lines);
            let list = last(postfix, service, "smtpd_milters", doors, &spec);
            lines.push(postfix.set(service, "smtpd_milters", &list));
        }
        lines.push(postfix.set(None, "milter_default_action", "tempfail"));
    }
    if let Some(door) = doors.iter().find(|door| door.role == Role::Local) {
        lines.push("# mail of sendmail(1)".to_owned());
        let cleanup = postfix.service("cleanup", "unix");
        let chroot = cleanup.is_some_and(|service| service.chroot);
        let spec = placed(postfix, door, chroot, &mut lines);
        let list = last(postfix, cleanup, "non_smtpd_milters", doors, &spec);
        lines.push(postfix.set(cleanup, "non_smtpd_milters", &list));
    }
    lines.push(postfix.reload());
    lines
}

/// Returns the list of milters with ours behind all others.
pub(super) fn last(
    postfix: &Postfix,
    service: Option<&Service>,
    list: &str,
    doors: &[Door],
    spec: &str,
) -> String {
    let milters = postfix.milters(service, list);
    let mut specs: Vec<&str> = (milters.iter())
        .filter(|milter| !ours_in(milter, doors) && milter.spec != spec)
        .map(|milter| &*milter.spec)
        .collect();
    specs.push(spec);
    specs.join(", ")
}

/// Returns how Postfix names the door; says what has to be changed first when a chroot keeps it
/// from there.
fn placed(postfix: &Postfix, door: &Door, chroot: bool, lines: &mut Vec<String>) -> String {
    let queue = postfix.queue_directory();
    let Some(spec) = spec(door, queue) else {
        lines.push("# systemd does not say where the socket is; put its path in here".to_owned());
        return "unix:straymail/milter.sock".to_owned();
    };
    if !chroot || !spec.starts_with("unix:/") {
        return spec;
    }
    let name = file_name(door);
    lines.push(format!(
        "# It runs in a chroot: first let straymail listen below it, in milter.yaml at this listener:\n#   socket: unix:{}/straymail/{name}\n#   group: {}",
        queue.display(),
        postfix.parameter("mail_owner"),
    ));
    format!("unix:straymail/{name}")
}

/// Returns the name of the door's socket within its directory.
pub(super) fn file_name(door: &Door) -> String {
    match &door.place {
        Place::Unix { path, .. } => path
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
        _ => String::new(),
    }
}

/// Returns the lines for sendmail.mc; the last filter defined is the last asked.
pub(super) fn for_sendmail(doors: &[Door]) -> Vec<String> {
    let by_smtp = doors.iter().find(|door| door.role != Role::Local);
    let socket = match by_smtp.or(doors.first()).map(|door| &door.place) {
        Some(Place::Unix { path, .. }) => format!("unix:{}", path.display()),
        Some(Place::Inet(Some(ip), port)) if ip.is_ipv6() => format!("inet6:{port}@{ip}"),
        Some(Place::Inet(Some(ip), port)) => format!("inet:{port}@{ip}"),
        _ => "unix:/run/straymail/milter.sock".to_owned(),
    };
    vec![
        "dnl Behind every other INPUT_MAIL_FILTER: no later filter refuses what was held."
            .to_owned(),
        "dnl F=T: clients keep their mail while straymail is away; nothing passes unjudged."
            .to_owned(),
        format!("INPUT_MAIL_FILTER(`straymail', `S={socket}, F=T, T=C:30s;S:30s;R:30s;E:5m')dnl"),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn door(path: &str, role: Role) -> Door {
        Door {
            place: Place::Unix {
                path: path.into(),
                meant: None,
            },
            role,
        }
    }

    fn postfix(chroot: bool) -> Postfix {
        let service = |name: &str, command: &str, milters: Option<&str>| Service {
            name: name.into(),
            kind: if command == "smtpd" { "inet" } else { "unix" }.into(),
            chroot,
            command: command.into(),
            overrides: (milters.iter())
                .map(|value| ("smtpd_milters".to_owned(), (*value).to_owned()))
                .collect(),
        };
        let parameters = [
            ("queue_directory", "/nowhere/q"),
            ("smtpd_milters", "inet:127.0.0.1:11332"),
            ("mail_owner", "postfix"),
        ];
        Postfix {
            config: None,
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            services: vec![
                service("smtp", "smtpd", None),
                service("submission", "smtpd", Some("")),
                service("127.0.0.1:10026", "smtpd", Some("")),
                service("cleanup", "cleanup", None),
            ],
        }
    }

    #[test]
    fn straymail_is_put_behind_the_milters_there_are() {
        let doors = [
            door("/nowhere/q/s/m.sock", Role::Relay),
            door("/nowhere/q/s/local.sock", Role::Local),
        ];
        assert_eq!(
            for_postfix(&postfix(true), &doors),
            [
                "postconf -e 'smtpd_milters = inet:127.0.0.1:11332, unix:s/m.sock'",
                "postconf -P submission/inet/smtpd_milters=unix:s/m.sock",
                "postconf -e 'milter_default_action = tempfail'",
                "# mail of sendmail(1)",
                "postconf -e 'non_smtpd_milters = unix:s/local.sock'",
                "postfix reload",
            ]
        );
    }

    #[test]
    fn a_chroot_asks_for_a_socket_below_it() {
        let doors = [door("/nowhere/run/m.sock", Role::Relay)];
        let lines = for_postfix(&postfix(true), &doors);
        assert!(
            lines[0].contains("#   socket: unix:/nowhere/q/straymail/m.sock\n#   group: postfix"),
            "{lines:?}"
        );
        assert_eq!(
            lines[1],
            "postconf -e 'smtpd_milters = inet:127.0.0.1:11332, unix:straymail/m.sock'"
        );
        let lines = for_postfix(&postfix(false), &doors);
        assert_eq!(
            lines[0],
            "postconf -e 'smtpd_milters = inet:127.0.0.1:11332, unix:/nowhere/run/m.sock'"
        );
    }

    #[test]
    fn sendmail_reads_its_own_spelling_of_a_port() {
        let inet = Door {
            place: Place::Inet("127.0.0.1".parse().ok(), 8891),
            role: Role::Relay,
        };
        let line = for_sendmail(&[inet]).pop();
        assert_eq!(
            line.as_deref(),
            Some(
                "INPUT_MAIL_FILTER(`straymail', `S=inet:8891@127.0.0.1, F=T, T=C:30s;S:30s;R:30s;E:5m')dnl"
            )
        );
    }
}
