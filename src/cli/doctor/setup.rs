//! `straymail setup`: the lines that put straymail in front of an MTA, for this configuration.

use std::io::{self, Write as _};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use clap::Subcommand;

use crate::cli::{EXIT_FINE, Failure, load_config};
use crate::policy::Role;

use super::door::{self, Door};
use super::finding::Report;
use super::place::Place;
use super::plan::{self, Attachment};
use super::postfix::{Postfix, Service};

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
        match print(&lines) {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::Other(error.into()))
            }
            _ => Ok(EXIT_FINE),
        }
    }
}

fn print(lines: &[String]) -> io::Result<()> {
    let mut out = io::stdout().lock();
    lines.iter().try_for_each(|line| writeln!(out, "{line}"))?;
    out.flush()
}

/// Returns the lines for a root shell.
fn for_postfix(postfix: &Postfix, doors: &[Door]) -> Vec<String> {
    let mut lines = Vec::new();
    let by_smtp = plan::by_smtp(postfix, doors);
    for attachment in &by_smtp {
        attach(attachment, doors, &mut lines);
    }
    if !by_smtp.is_empty() {
        lines.push(postfix.set(None, "milter_default_action", "tempfail"));
    }
    if door::of(doors, Role::Relay).is_none() && postfix.receivers().any(is_open) {
        lines.push("# A listener of role submission judges all mail that comes in by it. For a port that takes".to_owned());
        lines.push(
            "# mail from the outside too, port 25 above all, add one of role relay to milter.yaml."
                .to_owned(),
        );
    }
    if let Some(attachment) = plan::by_sendmail(postfix, doors) {
        lines.push("# mail of sendmail(1)".to_owned());
        attach(&attachment, doors, &mut lines);
    }
    lines.push(postfix.reload());
    lines
}

/// Returns whether mail from the outside comes in there.
fn is_open(service: &Service) -> bool {
    !service.is_submission() && !service.is_loopback()
}

/// Adds the line that makes a list ask straymail, and what is to be known of it.
fn attach(attachment: &Attachment<'_>, doors: &[Door], lines: &mut Vec<String>) {
    let spec = placed(attachment, lines);
    let list = &attachment.list;
    let whose = match list.service {
        Some(service) => format!("{} of {service}", list.name),
        None => list.name.to_owned(),
    };
    let left_out = attachment.left_out(doors);
    for silent in &left_out {
        lines.push(format!(
            "# Nobody answers at {silent} of {whose}: left out as a former address of straymail. If it is another milter, start it and write it in front again."
        ));
    }
    for at in list.silent(doors) {
        let Some(milter) = list
            .milters
            .get(at)
            .filter(|milter| !left_out.contains(&&*milter.spec))
        else {
            continue;
        };
        lines.push(format!(
            "# Nobody answers at {} of {whose}: start it, or leave it out of the next line.",
            milter.spec
        ));
    }
    lines.push(attachment.set(doors, &spec));
}

/// Returns how Postfix names the door; says what has to be changed first when a chroot keeps it
/// from there.
fn placed(attachment: &Attachment<'_>, lines: &mut Vec<String>) -> String {
    let postfix = attachment.list.postfix;
    let Some(spec) = attachment.spec() else {
        lines.push("# systemd does not say where the socket is; put its path in here".to_owned());
        return "unix:straymail/milter.sock".to_owned();
    };
    if !attachment.is_out_of_reach() {
        return spec;
    }
    let name = attachment.door.file_name();
    lines.push(format!(
        "# It runs in a chroot: first let straymail listen below it, in milter.yaml at this listener:\n#   socket: unix:{}/straymail/{name}\n#   group: {}",
        postfix.queue_directory().display(),
        postfix.parameter("mail_owner"),
    ));
    format!("unix:straymail/{name}")
}

/// Returns the lines for sendmail.mc; the last filter defined is the last asked.
pub(super) fn for_sendmail(doors: &[Door]) -> Vec<String> {
    let relay = door::of(doors, Role::Relay);
    let submission = door::of(doors, Role::Submission);
    let Some(first) = relay.or(submission).or(doors.first()) else {
        return Vec::new();
    };
    let mut lines = vec![
        "dnl Behind every other INPUT_MAIL_FILTER: no later filter refuses what was held."
            .to_owned(),
        "dnl F=T: clients keep their mail while straymail is away; nothing passes unjudged."
            .to_owned(),
    ];
    match (relay, submission) {
        (Some(_), Some(submission)) => {
            let name = "straymail-submission";
            lines.push(format!(
                "dnl For the submission port: InputMailFilters={name} in its DAEMON_OPTIONS, behind its other"
            ));
            lines.push("dnl filters, with ; between them.".to_owned());
            lines.push(definition("MAIL_FILTER", name, submission));
        }
        (None, Some(_)) => lines.push(
            "dnl A listener of role submission judges all mail that comes in by it; add one of role relay for port 25.".to_owned(),
        ),
        (_, None) => {}
    }
    lines.push(definition("INPUT_MAIL_FILTER", "straymail", first));
    lines
}

/// Returns the line of sendmail.mc that defines a filter.
pub(super) fn definition(with: &str, name: &str, door: &Door) -> String {
    let inet = |hosts: &[IpAddr], port| match hosts.first()? {
        ip if ip.is_ipv6() => Some(format!("inet6:{port}@{ip}")),
        ip => Some(format!("inet:{port}@{ip}")),
    };
    let socket = match &door.place {
        Place::Unix { path, .. } => Some(format!("unix:{}", path.display())),
        Place::Inet(hosts, port) => inet(hosts, port),
        Place::Unknown => None,
    };
    let socket = socket.unwrap_or_else(|| "unix:/run/straymail/milter.sock".to_owned());
    format!("{with}(`{name}', `S={socket}, F=T, T=C:30s;S:30s;R:30s;E:5m')dnl")
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
            parameters: parameters
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            services: vec![
                service("smtp", "smtpd", None),
                service("submission", "smtpd", Some("")),
                service("127.0.0.1:10026", "smtpd", Some("")),
                service("cleanup", "cleanup", None),
            ],
            ..Postfix::default()
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
            place: Place::Inet(vec!["127.0.0.1".parse().unwrap()], 8891),
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
