//! The keys of `milter.yaml`: which exist, what they may hold, how they hang together.

use std::path::{Path, PathBuf};

use crate::logging::{LogFormat, LogLevel, LogSettings};
use crate::milter::MilterSettings;
use crate::milter::listener::{ListenAddress, ListenerSettings};
use crate::notice::{NoticeSettings, Templates};
use crate::policy::{
    Action, AddressPattern, BandActions, Mode, OnError, Policy, Role, Rule, Scope, Thresholds,
};
use crate::public_suffix::PublicSuffixes;
use crate::score::{Keyboard, ScoreSettings};
use crate::service::learning::LearningSettings;
use crate::service::quarantine::QuarantineSettings;
use crate::service::token::ROTATE_AFTER;
use crate::service::worker::{AtEnd, WorkerSettings};
use crate::session::Gate;

use super::Config;
use super::outcome::Outcome;
use super::problem::meant;
use super::reader::{Field, Reader, Section};
use super::socket::{self, Sockets};
use super::trust::{Located, SuffixList, Trust, TrustedSources};
use super::value;
use super::yaml::Node;

const ROLES: &[(&str, Role)] = &[
    ("submission", Role::Submission),
    ("local", Role::Local),
    ("relay", Role::Relay),
];
const KEYBOARDS: &[(&str, Keyboard)] = &[
    ("qwerty", Keyboard::Qwerty),
    ("qwertz", Keyboard::Qwertz),
    ("azerty", Keyboard::Azerty),
    ("dvorak", Keyboard::Dvorak),
];
const MODES: &[(&str, Mode)] = &[("observe", Mode::Observe), ("enforce", Mode::Enforce)];
/// Tempfail is for our own faults only, so no band has it.
const ACTIONS: &[(&str, Action)] = &[
    ("accept", Action::Accept),
    ("tag", Action::Tag),
    ("hold", Action::Hold),
    ("hold-message", Action::HoldMessage),
    ("reject", Action::Reject),
];
const ON_ERROR: &[(&str, OnError)] = &[
    ("tempfail", OnError::Tempfail),
    ("hold-message", OnError::HoldMessage),
    ("accept", OnError::Accept),
];
const AT_END: &[(&str, AtEnd)] = &[
    ("drop", AtEnd::Drop),
    ("release", AtEnd::Release),
    ("bounce", AtEnd::Bounce),
];
/// Whether recipient domains are kept in plain.
const NAMES: &[(&str, bool)] = &[("hashed", false), ("plain", true)];
const LEVELS: &[(&str, LogLevel)] = &[
    ("error", LogLevel::Error),
    ("warn", LogLevel::Warn),
    ("info", LogLevel::Info),
    ("debug", LogLevel::Debug),
];
const FORMATS: &[(&str, LogFormat)] = &[
    ("text", LogFormat::Text),
    ("json", LogFormat::Json),
    ("journal", LogFormat::Journal),
];

/// Reads the whole file.
pub(super) fn config(r: &mut Reader, root: &Node) -> Config {
    let default = Config::default();
    let mut top = r.section("", root);
    let mut sockets = Sockets::default();
    let listeners = listeners(r, &mut top, &mut sockets, default.listeners);
    let trusted = trusted(r, &mut top);
    let field = r.field(&mut top, "public_suffix_list");
    let public_suffix_list = r
        .value(field, |text| match text {
            "auto" => Ok(SuffixList::Auto),
            "built-in" => Ok(SuffixList::BuiltIn),
            path if path.starts_with('/') => Ok(SuffixList::File(PathBuf::from(path))),
            _ => Err("is unknown; use auto, built-in or the whole path of a list".to_owned()),
        })
        .unwrap_or_default();
    let trust = Trust::load(r, &trusted, &public_suffix_list);
    let mut section = r.sub(&mut top, "scoring");
    let field = r.field(&mut section, "keyboard");
    let keyboard = r.choice(field, KEYBOARDS).unwrap_or_default();
    r.end(section);
    let gate = gate(r, &mut top);
    let policy = policy(r, &mut top);
    let mut section = r.sub(&mut top, "reply");
    let field = r.field(&mut section, "help");
    let help = r.value(field, help).unwrap_or(default.help);
    r.end(section);
    let quarantine = quarantine(r, &mut top);
    let mut worker = worker(r, &mut top, &trust);
    let notice = notice(r, &mut top, &trust);
    let review = super::review::review(r, &mut top, &mut sockets);
    // A link leads somewhere only where the pages are served.
    let served = review
        .public_url
        .as_ref()
        .filter(|_| review.listen.is_some());
    worker.confirm_url = served.map(|url| url.link(""));
    let learning = learning(r, &mut top);
    let metrics = super::metrics::metrics(r, &mut top, &mut sockets);
    let limits = limits(r, &mut top);
    let log = log(r, &mut top);
    r.end(top);
    r.finish();
    let outcome = Outcome {
        listeners: &listeners,
        gate: &gate,
        policy: &policy,
        worker: &worker,
        notice: &notice,
    };
    outcome.look(r);
    Config {
        listeners,
        trust,
        scoring: ScoreSettings { keyboard },
        gate,
        policy,
        help,
        quarantine,
        worker,
        notice,
        review,
        learning,
        metrics,
        limits,
        log,
        warnings: Vec::new(),
    }
}

fn listeners(
    r: &mut Reader,
    top: &mut Section<'_>,
    sockets: &mut Sockets,
    default: Vec<ListenerSettings>,
) -> Vec<ListenerSettings> {
    let Some(field) = r.field(top, "listeners") else {
        return default;
    };
    let (at, path) = (field.at(), field.path.clone());
    let problems = r.problems.len();
    let mut listeners: Vec<ListenerSettings> = Vec::new();
    for item in r.list(Some(field)) {
        let mut section = r.item(&item);
        let field = r.field(&mut section, "socket");
        let socket_field = field.clone();
        let address = r.value(field, value::listen_address);
        let field = r.field(&mut section, "role");
        let role = r.choice(field, ROLES).unwrap_or_default();
        let field = r.field(&mut section, "mode");
        let mode_field = field.clone();
        let mode = r.value(field, value::permissions);
        if let (Some(mode), Some(field)) = (mode, &mode_field)
            && mode & 0o002 != 0
        {
            r.warning(
                field.at(),
                &field.path,
                format!("{mode:04o} lets every local account speak to the milter; 0660 with a group is enough"),
            );
        }
        let field = r.field(&mut section, "group");
        let group_field = field.clone();
        let group = r.value(field, |text| Ok(text.to_owned()));
        if let (Some(field), Some(group)) = (&group_field, &group) {
            socket::group_exists(r, field, group);
        }
        r.end(section);
        let Some(address) = address else {
            if socket_field.is_none() {
                let message =
                    "is missing; write unix:/run/straymail/milter.sock or inet:127.0.0.1:8891";
                r.problem(item.at(), &format!("{}.socket", item.path), message);
            }
            continue;
        };
        if let Some(field) = &socket_field {
            sockets.take(r, field, &address);
            if let ListenAddress::Unix(file) = &address {
                socket::path_fits(r, field, file);
            }
            if let ListenAddress::Inet(inet) = &address {
                for field in [&mode_field, &group_field].into_iter().flatten() {
                    let message = "is for UNIX sockets only; delete it or use unix:/path";
                    r.problem(field.at(), &field.path, message);
                }
                if !inet.ip().is_loopback() {
                    let message = format!(
                        "{address} can be reached from other hosts and the milter protocol knows no authentication; use 127.0.0.1 or a firewall"
                    );
                    r.warning(field.at(), &field.path, message);
                }
            }
        }
        listeners.push(ListenerSettings {
            address,
            role,
            mode: mode.unwrap_or(ListenerSettings::default().mode),
            group,
        });
    }
    if listeners.is_empty() && r.problems.len() == problems {
        r.problem(at, &path, "is empty; an MTA could not reach us");
    }
    listeners
}

fn trusted(r: &mut Reader, top: &mut Section<'_>) -> TrustedSources {
    let mut section = r.sub(top, "trusted");
    let mut texts = |r: &mut Reader, key| {
        let field = r.field(&mut section, key);
        let mut found: Vec<Located> = Vec::new();
        for item in r.list(field) {
            let Some(text) = r.text(&item) else { continue };
            found.push(Located {
                text: text.to_owned(),
                at: item.at(),
                key: item.path.clone(),
            });
        }
        found
    };
    let sources = TrustedSources {
        own: texts(r, "own"),
        domains: texts(r, "domains"),
        suffixes: texts(r, "suffixes"),
        files: texts(r, "files"),
        presets: texts(r, "presets"),
        known_names: texts(r, "known_names"),
    };
    r.end(section);
    sources
}

fn gate(r: &mut Reader, top: &mut Section<'_>) -> Gate {
    let default = super::Gate::default();
    let mut section = r.sub(top, "gate");
    let field = r.field(&mut section, "networks");
    let given = field.is_some();
    let mut networks = Vec::new();
    for item in r.list(field) {
        networks.extend(r.value(Some(item), value::network));
    }
    let field = r.field(&mut section, "authenticated");
    let authenticated = r.yes_no(field);
    r.end(section);
    Gate {
        networks: if given { networks } else { default.networks },
        authenticated: authenticated.unwrap_or(default.authenticated),
    }
}

/// The keys that the policy and each of its rules share.
struct Decision<'n> {
    at: Option<Field<'n>>,
    mode: Option<Mode>,
    note_at: Option<u8>,
    hold_at: Option<u8>,
    reject_at: Option<u8>,
    note: Option<Action>,
    suspect: Option<Action>,
    certain: Option<Action>,
    on_error: Option<OnError>,
}

impl<'n> Decision<'n> {
    fn read(r: &mut Reader, section: &mut Section<'n>) -> Decision<'n> {
        let field = r.field(section, "mode");
        let mode = r.choice(field, MODES);
        let mut at = None;
        let mut score = |r: &mut Reader, key| {
            let field = r.field(section, key);
            let number = r.number(field.clone(), "a score", 1..=100);
            at = field.or(at.take());
            number.and_then(|n| u8::try_from(n).ok())
        };
        let note_at = score(r, "note_at");
        let hold_at = score(r, "hold_at");
        let reject_at = score(r, "reject_at");
        let mut action = |r: &mut Reader, key| {
            let field = r.field(section, key);
            r.choice(field, ACTIONS)
        };
        let note = action(r, "note");
        let suspect = action(r, "suspect");
        let certain = action(r, "certain");
        let field = r.field(section, "on_error");
        let on_error_field = field.clone();
        let on_error = r.choice(field, ON_ERROR);
        if let (Some(OnError::Accept), Some(field)) = (on_error, on_error_field) {
            let message = "accept delivers unjudged mail when straymail itself fails; tempfail leaks nothing and loses nothing";
            r.warning(field.at(), &field.path, message);
        }
        Decision {
            at,
            mode,
            note_at,
            hold_at,
            reject_at,
            note,
            suspect,
            certain,
            on_error,
        }
    }

    /// Reports thresholds that do not ascend, with what is inherited from `base`.
    fn thresholds(&self, r: &mut Reader, base: Thresholds) -> Thresholds {
        let thresholds = Thresholds {
            note_at: self.note_at.unwrap_or(base.note_at),
            hold_at: self.hold_at.unwrap_or(base.hold_at),
            reject_at: self.reject_at.unwrap_or(base.reject_at),
        };
        let Thresholds {
            note_at,
            hold_at,
            reject_at,
        } = thresholds;
        if let Some(field) = &self.at
            && !(note_at <= hold_at && hold_at <= reject_at)
        {
            let message = format!(
                "thresholds must ascend, but note_at is {note_at}, hold_at {hold_at}, reject_at {reject_at}"
            );
            r.problem(field.at(), &field.path, message);
        }
        thresholds
    }

    fn changes_something(&self) -> bool {
        self.mode.is_some()
            || self.at.is_some()
            || self.note.is_some()
            || self.suspect.is_some()
            || self.certain.is_some()
            || self.on_error.is_some()
    }
}

/// Returns whether the rule lets through what the defaults would stop, or mark.
fn relaxes(rule: &Rule, policy: &Policy) -> bool {
    (rule.mode == Some(Mode::Observe) && policy.mode == Mode::Enforce)
        || rule.on_error == Some(OnError::Accept)
        || (policy.terms(Some(rule))).let_more_through_than(&policy.terms(None))
}

fn policy(r: &mut Reader, top: &mut Section<'_>) -> Policy {
    let mut section = r.sub(top, "policy");
    let decision = Decision::read(r, &mut section);
    let base = BandActions::default();
    let mut policy = Policy {
        mode: decision.mode.unwrap_or_default(),
        thresholds: decision.thresholds(r, Thresholds::default()),
        actions: BandActions {
            note: decision.note.unwrap_or(base.note),
            suspect: decision.suspect.unwrap_or(base.suspect),
            certain: decision.certain.unwrap_or(base.certain),
        },
        on_error: decision.on_error.unwrap_or_default(),
        rules: Vec::new(),
    };
    let field = r.field(&mut section, "rules");
    for item in r.list(field) {
        if let Some(rule) = rule(r, &item, &policy) {
            policy.rules.push(rule);
        }
    }
    r.end(section);
    policy
}

fn rule(r: &mut Reader, item: &Field<'_>, policy: &Policy) -> Option<Rule> {
    let mut section = r.item(item);
    if section.is_empty() {
        if r.problems.is_empty() {
            r.problem(item.at(), &item.path, "is empty; write a rule or delete it");
        }
        return None;
    }
    let missing = |r: &mut Reader, key: &str, why: &str| {
        r.problem(
            item.at(),
            &format!("{}.{key}", item.path),
            format!("is missing; {why}"),
        );
    };
    let field = r.field(&mut section, "name");
    let name_field = field.clone();
    let name = r.value(field, rule_name);
    match (&name_field, &name) {
        (None, _) => missing(r, "name", "logs and `straymail check` print it"),
        (Some(field), Some(name)) if policy.rules.iter().any(|rule| rule.name == *name) => {
            let message = format!("{name:?} is the name of an earlier rule; names are unique");
            r.problem(field.at(), &field.path, message);
        }
        _ => {}
    }
    let problems = r.problems.len();
    let mut when = r.sub(&mut section, "when");
    let everybody = when.is_empty();
    let scope = scope(r, &mut when);
    r.end(when);
    let everybody = everybody && r.problems.len() == problems;
    let decision = Decision::read(r, &mut section);
    decision.thresholds(r, policy.thresholds);
    let mut words = |r: &mut Reader, key| {
        let field = r.field(&mut section, key);
        r.value(field, |text| Ok(text.trim().to_owned()))
            .filter(|text| !text.is_empty())
    };
    let owner = words(r, "owner");
    let reason = words(r, "reason");
    let field = r.field(&mut section, "expires");
    let expires = r.value(field, value::moment);
    r.end(section);
    if everybody {
        missing(
            r,
            "when",
            "a rule for everybody is a default; change `policy` itself",
        );
    }
    if !decision.changes_something() {
        let message = "changes nothing; set mode, a threshold, an action or on_error";
        r.problem(item.at(), &item.path, message);
    }
    let rule = Rule {
        name: name.clone().unwrap_or_default(),
        scope,
        mode: decision.mode,
        note_at: decision.note_at,
        hold_at: decision.hold_at,
        reject_at: decision.reject_at,
        note: decision.note,
        suspect: decision.suspect,
        certain: decision.certain,
        on_error: decision.on_error,
        owner,
        reason,
        expires,
    };
    if rule.reason.is_none() && relaxes(&rule, policy) {
        missing(
            r,
            "reason",
            "this rule lets more through, so the next admin must know why",
        );
    }
    name.map(|_| rule)
}

fn scope(r: &mut Reader, when: &mut Section<'_>) -> Scope {
    let field = r.field(when, "sender");
    let sender = r.value(field, address_pattern);
    let field = r.field(when, "login");
    let login = r.value(field, |text| match text {
        "" => Err("is no login; name one or delete the key".to_owned()),
        login => Ok(login.to_owned()),
    });
    let field = r.field(when, "client");
    let client = r.value(field, value::network);
    let field = r.field(when, "role");
    let role = r.choice(field, ROLES);
    let field = r.field(when, "recipient");
    let recipient = r.value(field, address_pattern);
    Scope {
        sender,
        login,
        client,
        role,
        recipient,
    }
}

fn quarantine(r: &mut Reader, top: &mut Section<'_>) -> QuarantineSettings {
    let default = QuarantineSettings::default();
    let mut section = r.sub(top, "quarantine");
    let field = r.field(&mut section, "directory");
    let directory_field = field.clone();
    let directory = r.value(field, |text| match PathBuf::from(text) {
        path if path.is_absolute() => Ok(path),
        _ => Err("is not absolute; write the whole path, like /var/lib/straymail".to_owned()),
    });
    if let (Some(field), Some(directory)) = (directory_field, &directory)
        && let Some(message) = unusable(directory)
    {
        r.warning(field.at(), &field.path, message);
    }
    let field = r.field(&mut section, "min_free");
    let min_free = r.value(field, value::size);
    let field = r.field(&mut section, "max_total");
    let max_total = r.value(field, some_room);
    let field = r.field(&mut section, "max_per_sender");
    let max_per_sender = r.value(field, some_room);
    let field = r.field(&mut section, "grace");
    let grace = span(r, field, 0, 3600);
    let field = r.field(&mut section, "release_to");
    let release_to = r.value(field, value::smtp_target);
    let field = r.field(&mut section, "helo");
    let helo = r.value(field, |text| {
        let name = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '[' | ']' | ':');
        if (1..=253).contains(&text.len()) && text.chars().all(name) {
            Ok(text.to_owned())
        } else {
            Err("is not a host name; write one like mail.example.org".to_owned())
        }
    });
    let field = r.field(&mut section, "approval_for");
    let approval_for = span(r, field, 60, 86_400);
    let field = r.field(&mut section, "remember_for");
    let remember_for = span(r, field, 86_400, 10 * 365 * 86_400);
    let field = r.field(&mut section, "lease");
    let lease = span(r, field, 10, 3600);
    let field = r.field(&mut section, "keep_record");
    let keep_record = span(r, field, 86_400, 10 * 365 * 86_400);
    r.end(section);
    QuarantineSettings {
        dir: directory.unwrap_or(default.dir),
        min_free_bytes: min_free.unwrap_or(default.min_free_bytes),
        max_total_bytes: max_total.unwrap_or(default.max_total_bytes),
        max_sender_bytes: max_per_sender.unwrap_or(default.max_sender_bytes),
        grace: grace.unwrap_or(default.grace),
        release_target: release_to.unwrap_or(default.release_target),
        helo: helo.unwrap_or(default.helo),
        approval_for: approval_for.unwrap_or(default.approval_for),
        remember_for: remember_for.unwrap_or(default.remember_for),
        lease: lease.unwrap_or(default.lease),
        keep_record: keep_record.unwrap_or(default.keep_record),
    }
}

/// Returns why a directory cannot be made or used: the daemon makes the last part of its path.
fn unusable(directory: &Path) -> Option<String> {
    let shown = directory.display();
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => None,
        Ok(_) => Some(format!(
            "{shown} is no directory, so straymail does not start; name another, or move the file away"
        )),
        Err(_) => {
            let parent = directory.parent().filter(|parent| !parent.is_dir())?;
            let parent = parent.display();
            Some(format!(
                "{shown} cannot be made, because {parent} is not there; make that first (mkdir -p {parent})"
            ))
        }
    }
}

/// A size of held mail.
fn some_room(text: &str) -> Result<u64, String> {
    match value::size(text)? {
        0 => Err(
            "is no room: whatever is to be held would be refused for now; write one like 1GiB"
                .to_owned(),
        ),
        size => Ok(size),
    }
}

fn worker(r: &mut Reader, top: &mut Section<'_>, trust: &Trust) -> WorkerSettings {
    let default = WorkerSettings::default();
    let mut section = r.sub(top, "worker");
    let field = r.field(&mut section, "keep_for");
    // A notice promises an answer until then; the key of its link lives no longer for sure.
    let keep_for = span(r, field, 3600, ROTATE_AFTER.as_secs());
    let field = r.field(&mut section, "at_end");
    let at_end = r.choice(field, AT_END);
    r.end(section);
    let own = trust.list.entries().iter().filter(|entry| entry.own);
    WorkerSettings {
        keep_for: keep_for.unwrap_or(default.keep_for),
        at_end: at_end.unwrap_or(default.at_end),
        own: own.map(|entry| entry.domain.ascii().to_owned()).collect(),
        confirm_url: None,
    }
}

fn notice(r: &mut Reader, top: &mut Section<'_>, trust: &Trust) -> NoticeSettings {
    let default = NoticeSettings::default();
    let mut section = r.sub(top, "notice");
    let field = r.field(&mut section, "from");
    let given = field.clone();
    let from = r.value(field, value::mailbox);
    if let (Some(field), Some(from)) = (&given, &from) {
        let host = crate::notice::host(from);
        let own = trust.list.entries().iter().filter(|entry| entry.own);
        if !own.clone().any(|entry| entry.domain.ascii() == host) {
            let message = format!("{host} is not in trusted.own; replies must reach this server");
            r.warning(field.at(), &field.path, message);
        }
    }
    let field = r.field(&mut section, "templates");
    let templates = r.value(field, |text| match PathBuf::from(text) {
        path if !path.is_absolute() => {
            Err("is not absolute; write the whole path of a directory".to_owned())
        }
        path => Templates::load(&path)
            .map(|_| path)
            .map_err(|error| crate::logging::event::chain(&error)),
    });
    let field = r.field(&mut section, "per_hour");
    let per_hour = r.number(field, "a number", 1..=10_000);
    r.end(section);
    NoticeSettings {
        from,
        templates,
        per_hour: (per_hour.and_then(|n| u32::try_from(n).ok())).unwrap_or(default.per_hour),
    }
}

fn learning(r: &mut Reader, top: &mut Section<'_>) -> LearningSettings {
    const DAY: u64 = 86_400;
    let default = LearningSettings::default();
    let mut section = r.sub(top, "learning");
    let field = r.field(&mut section, "from_mail");
    let from_mail = r.yes_no(field);
    let field = r.field(&mut section, "names");
    let plain_names = r.choice(field, NAMES);
    // The store remembers no more.
    let most = crate::store::MOST_DAYS as u64;
    let mut number = |r: &mut Reader, key, least| {
        let field = r.field(&mut section, key);
        let number = r.number(field, "a number of days", least..=most);
        number.and_then(|n| u32::try_from(n).ok())
    };
    let days = number(r, "days", 1);
    let answers = number(r, "answers", 0);
    let field = r.field(&mut section, "half_life");
    let half_life = span(r, field, DAY, 3650 * DAY);
    let field = r.field(&mut section, "keep_for");
    let keep_for = span(r, field, 7 * DAY, 3650 * DAY);
    r.end(section);
    LearningSettings {
        from_mail: from_mail.unwrap_or(default.from_mail),
        plain_names: plain_names.unwrap_or(default.plain_names),
        half_life: half_life.unwrap_or(default.half_life),
        days: days.unwrap_or(default.days),
        answers: answers.unwrap_or(default.answers),
        keep_for: keep_for.unwrap_or(default.keep_for),
    }
}

fn limits(r: &mut Reader, top: &mut Section<'_>) -> MilterSettings {
    let default = MilterSettings::default();
    let mut section = r.sub(top, "limits");
    let field = r.field(&mut section, "connections");
    let connections = r.number(field, "a number", 1..=100_000);
    let field = r.field(&mut section, "idle_timeout");
    let idle_timeout = span(r, field, 10, 86_400);
    let field = r.field(&mut section, "drain");
    let drain = span(r, field, 0, 600);
    r.end(section);
    let count = |n: Option<u64>| n.and_then(|n| usize::try_from(n).ok());
    MilterSettings {
        connections: count(connections).unwrap_or(default.connections),
        idle_timeout: idle_timeout.unwrap_or(default.idle_timeout),
        drain: drain.unwrap_or(default.drain),
    }
}

fn log(r: &mut Reader, top: &mut Section<'_>) -> LogSettings {
    let default = LogSettings::default();
    let mut section = r.sub(top, "log");
    let field = r.field(&mut section, "level");
    let level = r.choice(field, LEVELS);
    let field = r.field(&mut section, "format");
    let format = r.choice(field, FORMATS);
    r.end(section);
    LogSettings {
        level: level.unwrap_or(default.level),
        format: format.unwrap_or(default.format),
    }
}

/// A duration from `low` to `high` seconds.
fn span(
    r: &mut Reader,
    field: Option<Field<'_>>,
    low: u64,
    high: u64,
) -> Option<std::time::Duration> {
    let (low, high) = (
        std::time::Duration::from_secs(low),
        std::time::Duration::from_secs(high),
    );
    let range = || {
        let (low, high) = (value::duration_text(low), value::duration_text(high));
        format!("{low} to {high}")
    };
    r.allow(field.as_ref(), range);
    r.value(field, |text| {
        let read = value::duration(text)?;
        if read < low || read > high {
            return Err(format!("is out of range; use {}", range()));
        }
        Ok(read)
    })
}

fn help(text: &str) -> Result<String, String> {
    // One SMTP reply line holds 512 octets (RFC 5321, 4.5.3.1.5); the recipient needs its part.
    const LONGEST: usize = 160;
    if text.len() > LONGEST {
        return Err(format!("is longer than {LONGEST} characters"));
    }
    if !text.chars().all(|c| c == ' ' || c.is_ascii_graphic()) {
        return Err("has characters that an SMTP reply cannot carry; use plain ASCII".to_owned());
    }
    if text.contains('%') {
        return Err(
            "has a %, which some milter libraries take for a format; leave it out".to_owned(),
        );
    }
    let mut rest = text;
    while let Some((_, from)) = rest.split_once('{') {
        let Some((name, behind)) = from.split_once('}') else {
            break;
        };
        if name != "domain" {
            let hint = meant(name, ["domain"]).map_or("", |_| " (did you mean {domain}?)");
            return Err(format!(
                "has {{{name}}}, which stands for nothing; {{domain}} stands for the recipient's domain{hint}"
            ));
        }
        rest = behind;
    }
    Ok(text.trim().to_owned())
}

fn rule_name(text: &str) -> Result<String, String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text == crate::policy::DEFAULT_RULE {
        return Err("is the name of the policy itself; choose another".to_owned());
    }
    if (1..=64).contains(&text.len()) && text.chars().all(fine) {
        Ok(text.to_owned())
    } else {
        Err("is not a rule name; use letters, digits, - _ . (at most 64)".to_owned())
    }
}

/// Returns the pattern of `carl@army.ml`, `army.ml` or `.ml`, its domain in A-labels.
pub(crate) fn address_pattern(text: &str) -> Result<AddressPattern, String> {
    AddressPattern::parse(text, &PublicSuffixes::built_in()).map_err(|error| error.to_string())
}
