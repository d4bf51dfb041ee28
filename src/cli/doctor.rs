//! `straymail doctor`: looks at the whole installation for what really bites, and says what
//! mends it.
//!
//! Each area gathers facts, which is where the I/O is, and decides about them in a function of
//! the facts alone. The doctor changes nothing: no file, no row, no setting.

mod ask;
mod attach;
mod door;
mod expansion;
mod finding;
mod lists;
mod local;
mod milter;
mod milters;
mod place;
mod plan;
mod postfix;
mod probe;
mod proxy;
mod reach;
mod relay;
mod running;
mod sendmail;
mod sendmail_cf;
mod setup;
mod state;
mod terms;
mod unit;
mod walls;

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;

use crate::config::{Config, DEFAULT_PATH};
use crate::daemon::AT_START;
use crate::metrics::Figures;
use crate::milter::listener::{ListenAddress, ListenerSettings};
use crate::score::Scorer;
use crate::smtp::SmtpError;
use crate::trusted::Cover;

use ask::AskError;
use door::Door;
use finding::{Finding, Report, Severity, quoted_path};
use lists::Read;
use place::{Place, real};
use postfix::Postfix;
use probe::Answer;
use reach::{Account, Way};
use sendmail_cf::Sendmail;
use state::State;
use terms::Wanted;

use super::{EXIT_FINE, EXIT_FOUND, Failure};

pub(super) use setup::Setup;

/// Looks at the whole installation and says what is wrong, why it matters and what mends it
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Lines with # are commands for a root shell, lines with -> are for a person. \
                  Nothing is changed. Exit status: 0 nothing to mend (notes may be), 1 something is."
)]
pub(super) struct Doctor {
    /// Directory of Postfix's main.cf [default: the usual one]
    #[arg(long, value_name = "DIR")]
    postfix_config: Option<PathBuf>,
    /// Sendmail's sendmail.cf [default: /etc/mail/sendmail.cf where there is no Postfix]
    #[arg(long, value_name = "FILE")]
    sendmail_cf: Option<PathBuf>,
    /// One JSON object
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let path = config.unwrap_or(Path::new(DEFAULT_PATH));
        #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
        let now = Timestamp::now();
        let mut report = examine(path, self, now);
        report.findings.sort_by_key(|finding| finding.severity);
        let errors = report.count(Severity::Error);
        let warnings = report.count(Severity::Warning);
        let printed = self.print(&report);
        match printed {
            Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                return Err(Failure::Other(error.into()));
            }
            _ => {}
        }
        Ok(if errors + warnings == 0 {
            EXIT_FINE
        } else {
            EXIT_FOUND
        })
    }

    fn print(&self, report: &Report) -> io::Result<()> {
        let mut out = io::stdout().lock();
        if self.json {
            serde_json::to_writer(&mut out, report)?;
            return writeln!(out);
        }
        for finding in &report.findings {
            writeln!(out, "{finding}\n")?;
        }
        for why in &report.skipped {
            writeln!(out, "skipped: {why}")?;
        }
        let count = |severity: Severity| match report.count(severity) {
            1 => format!("1 {}", severity.name()),
            n => format!("{n} {}s", severity.name()),
        };
        match report.findings.len() {
            0 if report.skipped.is_empty() => writeln!(out, "everything is as it should be"),
            0 => writeln!(out, "nothing to mend in what was looked at"),
            _ => writeln!(
                out,
                "{}, {}, {}",
                count(Severity::Error),
                count(Severity::Warning),
                count(Severity::Note)
            ),
        }
    }
}

/// Gathers and checks every area.
fn examine(path: &Path, asked: &Doctor, now: Timestamp) -> Report {
    let mut report = Report::default();
    let Some(config) = configuration(path, &mut report) else {
        report.skip("everything that depends on the configuration");
        return report;
    };
    let doors = doors(&config.listeners, &mut report);
    let settings = &config.quarantine;
    if is_closed(&settings.dir) {
        report.skip("the store: only root may look, run it as root");
    } else {
        let state = State::gather(&config, now);
        if let Some(account) = &state.account {
            report.findings.extend(state::readable(account, path));
        }
        report.extend(state::check(&state));
    }
    let files = trust(&config, now, &mut report);
    if let Ok(Some(figures)) = Figures::read(&settings.dir) {
        let own = Read::gather(path.to_owned());
        let files: Vec<Read> = std::iter::once(own).chain(files).collect();
        report.extend(running::check(&figures, &files, now));
    }
    match unit::gather() {
        Some(units) => {
            report.extend(unit::check(&units));
            let milter = walls::gather("straymail");
            let worker = walls::gather("straymail-worker");
            let findings = milter.map(|walls| walls::milter(&walls, &config));
            report.findings.extend(findings.into_iter().flatten());
            let findings = worker.map(|walls| walls::worker(&walls, &config));
            report.findings.extend(findings.into_iter().flatten());
        }
        None => report.skip("systemd does not run this machine"),
    }
    let recipient = recipient(&config);
    let mut is_silent = false;
    for (listener, door) in config.listeners.iter().zip(&doors) {
        let Some(answer) = probe::ask(&door.place, &recipient) else {
            continue;
        };
        let name = listener.address.to_string();
        if answer.is_forbidden() && !is_root() {
            report.skip(format!(
                "whether {name} answers: only root may connect, run it as root"
            ));
            continue;
        }
        is_silent |= matches!(answer, Answer::Silent(_));
        report.findings.extend(probe::check(&name, &answer));
    }
    let (postfix, sendmail) = mta(asked, &mut report);
    if let Some(sendmail) = sendmail {
        report.extend(sendmail::check(&sendmail, &doors));
    }
    if let Some(postfix) = postfix {
        attached(&config, &postfix, &doors, &mut report);
        released(&config, Some(&postfix), &recipient, is_silent, &mut report);
        aliases(config, &postfix, &mut report);
    } else {
        released(&config, None, &recipient, is_silent, &mut report);
    }
    report
}

/// Asks the MTA whether it would take released mail. While straymail is away it puts off all mail,
/// and what it says of this tells nothing.
fn released(
    config: &Config,
    postfix: Option<&Postfix>,
    recipient: &str,
    is_silent: bool,
    report: &mut Report,
) {
    let settings = &config.quarantine;
    let target = &settings.release_target;
    match relay::ask(target, &settings.helo, &sender(config), recipient) {
        Ok(()) => {}
        Err(SmtpError::Refused { .. }) if is_silent => report.skip(format!(
            "whether {target} takes released mail: straymail does not answer, mend that first"
        )),
        Err(error) => report.find(relay::check(target, &error, postfix)),
    }
}

/// Returns whether it is we who may not open a file or directory, and not root.
fn is_closed(path: &Path) -> bool {
    let error = std::fs::File::open(path).err();
    !is_root() && error.is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Finds the mail server: the one that was named, else Postfix, else Sendmail.
fn mta(asked: &Doctor, report: &mut Report) -> (Option<Postfix>, Option<Sendmail>) {
    let usual = Path::new("/etc/mail/sendmail.cf");
    let (mut postfix, mut sendmail) = (None, None);
    if asked.postfix_config.is_some() || asked.sendmail_cf.is_none() {
        match Postfix::gather(asked.postfix_config.as_deref()) {
            Ok(found) => postfix = Some(found),
            Err(_) if asked.postfix_config.is_none() && usual.exists() => {}
            Err(error @ AskError::NotInstalled { .. }) if asked.postfix_config.is_none() => {
                report.skip(format!("Postfix: {error}"));
            }
            Err(error) => unread("Postfix", &error.to_string(), report),
        }
    }
    let named = asked.sendmail_cf.as_deref();
    let instead =
        (postfix.is_none() && asked.postfix_config.is_none() && usual.exists()).then_some(usual);
    if let Some(file) = named.or(instead) {
        match sendmail_cf::gather(file) {
            Ok(found) => sendmail = Some(found),
            Err(error) => unread("Sendmail", &error, report),
        }
    }
    (postfix, sendmail)
}

/// Says that the settings of a mail server are there and cannot be looked at.
fn unread(server: &str, error: &str, report: &mut Report) {
    report.find(Finding::new(
        "mail-server",
        Severity::Error,
        format!("the configuration of {server} cannot be read: {error}"),
        "Nothing is known of how it asks straymail, and it may not start itself.",
    ));
}

/// Reads the configuration; what is wrong with it goes to the report.
fn configuration(path: &Path, report: &mut Report) -> Option<Config> {
    if is_closed(path) {
        report.skip(format!(
            "{}: only root may read it, run it as root",
            path.display()
        ));
        return None;
    }
    let why = "The service does not start with it, and a reload keeps the old rules.";
    let config = match Config::load(path) {
        Ok(config) => config,
        Err(errors) => {
            let command = format!("straymail check-config {}", quoted_path(path));
            for problem in &errors.problems {
                let finding =
                    Finding::new("configuration", Severity::Error, problem.to_string(), why);
                report.find(finding.run(command.clone()));
            }
            return None;
        }
    };
    // Of these two there are findings of their own.
    let found = |key: &str| ["trusted", "notice.from"].contains(&key);
    for warning in config
        .warnings
        .iter()
        .filter(|w| !found(&w.key) || w.line > 0)
    {
        report.find(
            Finding::new(
                "configuration",
                Severity::Warning,
                warning.to_string(),
                "It is allowed, and most likely not what you mean.",
            )
            .edit(format!("correct it, then `{}`", in_force(&warning.key))),
        );
    }
    Some(config)
}

/// Returns the command by which a changed key comes into force.
fn in_force(key: &str) -> &'static str {
    let section = key.split(['.', '[']).next().unwrap_or_default();
    match AT_START.contains(&section) {
        true => "systemctl restart straymail straymail-worker",
        false => "systemctl reload straymail",
    }
}

/// Checks the lists; returns the files they were read from.
fn trust(config: &Config, now: Timestamp, report: &mut Report) -> Vec<Read> {
    let trust = &config.trust;
    let suffixes = Path::new(&trust.suffixes_from);
    let suffixes = (suffixes.is_absolute()).then(|| Read::gather(suffixes.to_owned()));
    let files: Vec<Read> = (lists::files(&trust.list).into_iter())
        .map(Read::gather)
        .collect();
    report.extend(lists::check(&trust.list, suffixes.as_ref(), &files, now));
    files
}

fn attached(config: &Config, postfix: &Postfix, doors: &[Door], report: &mut Report) {
    report.extend(attach::check(postfix, doors, Wanted::of(config)));
    let owner = postfix.parameter("mail_owner");
    let account = match Account::gather(owner) {
        Ok(account) => account,
        Err(error) => return report.skip(format!("who may reach the socket: {error}")),
    };
    if !is_root() {
        report.skip("access(2) as the MTA's user: only root can ask, so only permission bits were looked at");
    }
    for socket in attach::used(postfix, doors) {
        report
            .findings
            .extend(reach::check(&Way::gather(account.clone(), &socket)));
    }
}

fn aliases(config: Config, postfix: &Postfix, report: &mut Report) {
    let leads = expansion::gather(postfix, &mut report.skipped);
    let own = config.trust.list.entries().iter().filter(|entry| entry.own);
    let mut inside = expansion::inside(postfix);
    inside.extend(own.map(|entry| entry.domain.ascii().to_owned()));
    let names = expansion::Names {
        scorer: &Scorer::new(config.trust.list, config.scoring),
        suffixes: &config.trust.suffixes,
        inside,
        hold_at: config.policy.thresholds.hold_at,
    };
    report.extend(expansion::check(postfix, &leads, &names));
}

/// Returns where each listener is, in the order of the configuration.
fn doors(listeners: &[ListenerSettings], report: &mut Report) -> Vec<Door> {
    let place = |address: &ListenAddress| match address {
        ListenAddress::Unix(path) => Place::Unix {
            path: real(path),
            meant: None,
        },
        ListenAddress::Inet(address) => Place::Inet(vec![address.ip()], address.port()),
        ListenAddress::Systemd(nth) => unit::socket(*nth).unwrap_or(Place::Unknown),
    };
    let door = |listener: &ListenerSettings| Door {
        place: place(&listener.address),
        role: listener.role,
    };
    let doors: Vec<Door> = listeners.iter().map(door).collect();
    for (listener, door) in listeners.iter().zip(&doors) {
        if door.place == Place::Unknown {
            report.skip(format!(
                "{}: systemd does not say where it is",
                listener.address
            ));
        }
    }
    doors
}

/// Returns an address that straymail lets pass without a look into the store.
fn recipient(config: &Config) -> String {
    let entries = config.trust.list.entries();
    let domain = entries.iter().find(|entry| entry.cover == Cover::Domain);
    match (domain, entries.first()) {
        (Some(entry), _) => format!("postmaster@{}", entry.domain.ascii()),
        (None, Some(ending)) => format!("postmaster@straymail-doctor.{}", ending.domain.ascii()),
        (None, None) => "postmaster@example.org".to_owned(),
    }
}

/// Returns an address that released mail may come from.
fn sender(config: &Config) -> String {
    let own = config.trust.list.entries().iter().find(|entry| entry.own);
    match (&config.notice.from, own) {
        (Some(from), _) => from.clone(),
        (None, Some(own)) => format!("postmaster@{}", own.domain.ascii()),
        (None, None) => "<>".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_read_at_the_start_alone_needs_a_restart() {
        let restart = "systemctl restart straymail straymail-worker";
        for (key, command) in [
            ("listeners[0].group", restart),
            ("quarantine.directory", restart),
            ("metrics", restart),
            ("policy.rules[2].reason", "systemctl reload straymail"),
            ("trusted.own", "systemctl reload straymail"),
        ] {
            assert_eq!(in_force(key), command, "{key}");
        }
    }
}
