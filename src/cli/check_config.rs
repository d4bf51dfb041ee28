//! `straymail check-config`: every mistake at once, or what the configuration means.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::config::{Config, DEFAULT_PATH, Problem};
use crate::policy::{Action, Mode, Policy, Rule};
use crate::trusted::Cover;

use super::desk::printing;
use super::{EXIT_CONFIG, EXIT_FINE, Failure};

/// Checks a configuration and every file it names
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Prints every problem with file:line:column, the key, what was read and what is allowed, \
                  and exits with 78. A fine configuration is summed up in one paragraph."
)]
pub(super) struct CheckConfig {
    /// The file to check; by default the one in use
    file: Option<PathBuf>,
}

impl CheckConfig {
    pub(super) fn run(&self, config: Option<&Path>) -> Result<u8, Failure> {
        let path = (self.file.as_deref())
            .or(config)
            .unwrap_or(Path::new(DEFAULT_PATH));
        let loaded = Config::load(path);
        let status = match &loaded {
            Ok(_) => EXIT_FINE,
            Err(_) => EXIT_CONFIG,
        };
        printing(|out| match &loaded {
            Ok(config) => fine(path, config, out),
            Err(errors) => Ok(writeln!(out, "{errors}")?),
        })?;
        Ok(status)
    }
}

fn fine(path: &Path, config: &Config, out: &mut dyn Write) -> anyhow::Result<()> {
    let warnings = warnings(path, config);
    let but = match warnings.len() {
        0 => String::new(),
        n => format!(", but {}", count(n, "warning", "warnings")),
    };
    writeln!(out, "{}: fine{but}\n{}", path.display(), summary(config))?;
    for warning in &warnings {
        writeln!(out, "warning: {warning}")?;
    }
    Ok(())
}

/// Returns what `config` means, in one paragraph.
fn summary(config: &Config) -> String {
    let listeners: Vec<String> = (config.listeners.iter())
        .map(|l| format!("{} ({})", l.address, role_name(l.role)))
        .collect();
    let entries = config.trust.list.entries();
    let of = |cover| entries.iter().filter(|e| e.cover == cover).count();
    let own = entries.iter().filter(|e| e.own).count();
    format!(
        "Listens on {}. Trusts {} ({own} own) and {}, with {} from files; public suffix list: {}. \
         {}; {}. Held mail in {}, released to {}.",
        listeners.join(", "),
        count(of(Cover::Domain), "domain", "domains"),
        count(of(Cover::Suffix), "suffix", "suffixes"),
        count(config.trust.known_names, "known name", "known names"),
        config.trust.suffixes_from,
        deeds(&config.policy),
        rules(&config.policy),
        config.quarantine.dir.display(),
        config.quarantine.release_target,
    )
}

/// Returns what is done at which score.
fn deeds(policy: &Policy) -> String {
    let (at, actions) = (&policy.thresholds, &policy.actions);
    let deeds = |deed: fn(Action) -> Option<&'static str>| {
        let bands = [
            (at.note_at, actions.note, at.hold_at),
            (at.hold_at, actions.suspect, at.reject_at),
            (at.reject_at, actions.certain, u8::MAX),
        ];
        (bands.into_iter())
            .filter(|(from, _, next)| from < next)
            .filter_map(|(from, action, _)| Some(format!("{} from {from}", deed(action)?)))
            .collect::<Vec<_>>()
            .join(", ")
    };
    match policy.mode {
        Mode::Enforce => {
            let deed = |action| Some(done(action).unwrap_or("delivered and noted in the log"));
            format!("By score, a recipient is {}", deeds(deed))
        }
        Mode::Observe => {
            let would = match deeds(done) {
                nothing if nothing.is_empty() => nothing,
                would => format!("; in mode enforce it would be {would}"),
            };
            format!(
                "Only observes: every recipient is delivered, and noted in the log from score {}{would}",
                at.note_at.min(at.hold_at).min(at.reject_at)
            )
        }
    }
}

/// Returns what becomes of a recipient that is not just delivered.
fn done(action: Action) -> Option<&'static str> {
    match action {
        Action::Accept => None,
        Action::Tag => Some("tagged"),
        Action::Hold => Some("held"),
        Action::HoldMessage => Some("held with its whole message by the MTA"),
        Action::Reject => Some("rejected"),
        Action::Tempfail => Some("put off"),
    }
}

/// Returns how many rules there are, and how many of them turn the mode around.
fn rules(policy: &Policy) -> String {
    let others = |mode| {
        let other = |rule: &&Rule| rule.mode.is_some_and(|own| own == mode);
        policy.rules.iter().filter(other).count()
    };
    let (others, what) = match policy.mode {
        Mode::Enforce => (others(Mode::Observe), "only observing"),
        Mode::Observe => (others(Mode::Enforce), "enforcing"),
    };
    let all = count(policy.rules.len(), "rule", "rules");
    match others {
        0 => all,
        others => format!("{all}, {others} of them {what}"),
    }
}

/// Returns the warnings of the file, and those that depend on today.
fn warnings(path: &Path, config: &Config) -> Vec<Problem> {
    #[expect(clippy::disallowed_methods, reason = "a command may ask for the time")]
    let now = jiff::Timestamp::now();
    let expired = (config.policy.rules.iter())
        .filter_map(|rule| Some((rule, rule.expires.filter(|end| *end <= now)?)))
        .map(|(rule, end)| Problem {
            file: path.to_owned(),
            line: 0,
            column: 0,
            key: "policy.rules".to_owned(),
            message: format!("{:?} expired on {end}; delete it or renew it", rule.name),
        });
    config.warnings.iter().cloned().chain(expired).collect()
}

fn count(n: usize, one: &str, many: &str) -> String {
    match n {
        0 => format!("no {many}"),
        1 => format!("1 {one}"),
        n => format!("{n} {many}"),
    }
}

fn role_name(role: crate::policy::Role) -> &'static str {
    use crate::policy::Role;
    match role {
        Role::Submission => "submission",
        Role::Local => "local",
        Role::Relay => "relay",
    }
}
