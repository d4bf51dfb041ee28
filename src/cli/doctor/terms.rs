//! On what terms Postfix asks straymail: what becomes of mail without an answer, how long it
//! waits for one, and what it tells.
//!
//! A term is written with the milter itself, else with the service in master.cf, else in main.cf:
//! each is looked at where it counts, and mended there.

use std::collections::BTreeSet;
use std::ops::Range;

use crate::config::Config;
use crate::policy::{Mode, Role, Rule};

use super::door::Door;
use super::finding::{Finding, Report, Severity};
use super::milter::words;
use super::milters::{self, Milters, Ours};
use super::postfix::Postfix;

/// The least for an answer to RCPT: one look into the store, which waits for a lock 5 s.
const COMMAND_TIMEOUT: u64 = 10;
/// The least that `milter_content_timeout` should be: a message is stored, with the disk
/// synced, before the end of the message is answered; straymail says that it works on every 5 s.
const CONTENT_TIMEOUT: u64 = 60;
/// The least for a connection: while many come at once it waits for its turn.
const CONNECT_TIMEOUT: u64 = 5;
/// RFC 5321, 4.5.3.2.3: how long a client waits for the answer to RCPT.
const CLIENT_PATIENCE: u64 = 300;

/// What the configuration asks of the terms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// It goes by the login of senders.
    pub(super) logins: bool,
    /// It stops no mail yet, so none need wait for it.
    pub(super) observes: bool,
}

impl Wanted {
    /// Reads what the configuration wants.
    pub(super) fn of(config: &Config) -> Wanted {
        let Config { policy, gate, .. } = config;
        let gated = gate.authenticated && (config.listeners.iter()).any(|l| l.role == Role::Relay);
        let enforces = |rule: &Rule| rule.mode == Some(Mode::Enforce);
        Wanted {
            logins: gated || policy.rules.iter().any(|rule| rule.scope.login.is_some()),
            observes: policy.mode == Mode::Observe && !policy.rules.iter().any(enforces),
        }
    }
}

/// A list that asks straymail, or main.cf where none does.
struct Asked<'a> {
    list: Milters<'a>,
    ours: Option<Ours<'a>>,
    wanted: Wanted,
}

/// One term as it is written in one place.
struct Term {
    /// The place and the name, for the beginning of a sentence.
    named: String,
    value: String,
    /// Where in the list the milter is that has it itself.
    at: Option<usize>,
}

/// Checks the terms of every list that asks straymail.
pub(super) fn check(postfix: &Postfix, doors: &[Door], wanted: Wanted) -> Report {
    let mut asked: Vec<Asked<'_>> = (milters::all(postfix).into_iter())
        .map(|list| Asked {
            ours: list.ours(doors),
            list,
            wanted,
        })
        .filter(|asked| asked.ours.is_some())
        .collect();
    if asked.is_empty() {
        let list = Milters::of(postfix, None, "smtpd_milters");
        asked.push(Asked {
            list,
            ours: None,
            wanted,
        });
    }
    let mut report = Report::default();
    for parameter in TERMS {
        each(&asked, parameter, &mut report, |term| {
            judge(parameter, term, wanted)
        });
    }
    told(&asked, wanted.logins, &mut report);
    report
}

impl Asked<'_> {
    fn term(&self, parameter: &str) -> Term {
        let option = parameter.trim_start_matches("milter_");
        let own = (self.ours.as_ref()).and_then(|ours| Some((ours, ours.milter.option(option)?)));
        if let Some((ours, value)) = own {
            return Term {
                named: format!("{}straymail's own {option}", self.list.whose()),
                value: value.to_owned(),
                at: Some(ours.at),
            };
        }
        let overrides = self.list.service.map(|service| &service.overrides);
        let whose = match overrides.is_some_and(|own| own.contains_key(parameter)) {
            true => self.list.whose(),
            false => String::new(),
        };
        Term {
            named: format!("{whose}{parameter}"),
            value: (self.list.postfix.value(self.list.service, parameter)).to_owned(),
            at: None,
        }
    }

    /// Returns the shell line that gives a term another value where it is written.
    fn set(&self, term: &Term, parameter: &str, value: &str) -> String {
        match term.at.zip(self.ours.as_ref()) {
            // Whatever else is wrong with the milter's options goes with it: it is one text.
            Some((at, ours)) => {
                let mends = TERMS.iter().filter_map(|other| {
                    let term = self.term(other);
                    let (finding, value) =
                        judge(other, &term, self.wanted).filter(|_| term.at.is_some())?;
                    let is_wrong = *other == parameter || finding.severity != Severity::Note;
                    is_wrong.then(|| (other.trim_start_matches("milter_"), value))
                });
                let spec = ours.milter.with(&mends.collect::<Vec<_>>());
                self.list.set(&self.list.with(at, &spec))
            }
            None => (self.list.postfix).set(self.list.service, parameter, value),
        }
    }
}

/// Reports a term, by the value that mends it; once where several services have it from one place.
fn each(
    asked: &[Asked<'_>],
    parameter: &str,
    report: &mut Report,
    judge: impl Fn(&Term) -> Option<(Finding, String)>,
) {
    let mut seen = BTreeSet::new();
    for one in asked {
        let term = one.term(parameter);
        let Some((finding, mended)) = judge(&term) else {
            continue;
        };
        let command = one.set(&term, parameter, &mended);
        if seen.insert(command.clone()) {
            let reload = one.list.postfix.reload();
            report.find(match finding.severity {
                // Right as it is today.
                Severity::Note => finding.edit(format!(
                    "before policy.mode: enforce, run `{command} && {reload}`"
                )),
                _ => finding.run(command).run(reload),
            });
        }
    }
}

/// The terms that a milter may have of its own.
const TERMS: &[&str] = &[
    "milter_default_action",
    "milter_protocol",
    "milter_connect_timeout",
    "milter_command_timeout",
    "milter_content_timeout",
];

/// Returns what is wrong with a term, and the value that mends it.
fn judge(parameter: &str, term: &Term, wanted: Wanted) -> Option<(Finding, String)> {
    match parameter {
        "milter_default_action" => default_action(term, wanted.observes),
        "milter_protocol" => protocol(term),
        "milter_connect_timeout" => patience(
            term,
            CONNECT_TIMEOUT..CLIENT_PATIENCE,
            "30s",
            "While many clients come at once, a connection to straymail may wait longer than this, and Postfix then takes it for dead.",
        ),
        "milter_command_timeout" => patience(
            term,
            COMMAND_TIMEOUT..CLIENT_PATIENCE,
            "30s",
            "A busy disk lets straymail answer a recipient later than this, and Postfix then takes it for dead.",
        ),
        _ => patience(
            term,
            CONTENT_TIMEOUT..u64::MAX,
            "300s",
            "A held message is on the disk before straymail answers; on a busy disk that takes longer than this, and Postfix then takes it for dead.",
        ),
    }
}

fn default_action(term: &Term, observes: bool) -> Option<(Finding, String)> {
    let (severity, why) = match &*term.value {
        "accept" if observes => (
            Severity::Note,
            "Right while policy.mode is observe: no mail waits for a straymail that stops none. Once it enforces, mail would pass unjudged while straymail is away.",
        ),
        "accept" => (
            Severity::Error,
            "While straymail is away, restarts or hangs, mail passes unjudged; tempfail lets clients keep it and come again.",
        ),
        "quarantine" => (
            Severity::Error,
            "While straymail is away, all mail is accepted and put on hold, nobody is told, and what `postsuper -H` sets free goes out unjudged; tempfail lets clients keep it and come again.",
        ),
        "reject" => (
            Severity::Warning,
            "While straymail is away or restarts, mail is refused for good; tempfail lets clients keep it and come again.",
        ),
        _ => return None,
    };
    let found = format!("{} is {}", term.named, term.value);
    let finding = Finding::new("postfix-default-action", severity, found, why);
    Some((finding, "tempfail".to_owned()))
}

fn protocol(term: &Term) -> Option<(Finding, String)> {
    if !(term.value.parse()).is_ok_and(|version: u32| version < 6) {
        return None;
    }
    let finding = Finding::new(
        "postfix-protocol",
        Severity::Error,
        format!("{} is {}", term.named, term.value),
        "Before version 6 a milter cannot say what it need not be sent, and every header and every part of a body costs a round trip.",
    );
    Some((finding, "6".to_owned()))
}

/// How long Postfix waits.
fn patience(term: &Term, fine: Range<u64>, usual: &str, why: &str) -> Option<(Finding, String)> {
    let seconds = seconds(&term.value)?;
    if fine.contains(&seconds) {
        return None;
    }
    let why = match seconds < fine.start {
        true => why,
        false => {
            "Clients give up after 300 s: were straymail to hang, they would see a broken connection instead of an answer."
        }
    };
    let found = format!("{} is {seconds} s", term.named);
    let finding = Finding::new("postfix-timeout", Severity::Warning, found, why);
    Some((finding, usual.to_owned()))
}

/// What Postfix tells straymail.
fn told(asked: &[Asked<'_>], logins: bool, report: &mut Report) {
    let of_login = match logins {
        true => Severity::Error,
        false => Severity::Warning,
    };
    for (list, name, severity, why) in [
        (
            "milter_rcpt_macros",
            "{rcpt_addr}",
            Severity::Error,
            "Without the address as Postfix understands it, forms like army.ml!carl@our.host are judged by the wrong domain and a held recipient may still get a copy.",
        ),
        (
            "milter_mail_macros",
            "{auth_authen}",
            of_login,
            "Without the login, nobody who logs in counts as one of your senders (gate.authenticated) and rules by login never fit.",
        ),
        (
            "milter_end_of_data_macros",
            "i",
            Severity::Warning,
            "Without the queue id, a line of straymail's log cannot be found in Postfix's log.",
        ),
    ] {
        let bare = |word: &str| word.trim_matches(['{', '}']).to_owned();
        each(asked, list, report, |term| {
            if (words(&term.value).iter()).any(|word| bare(word) == bare(name)) {
                return None;
            }
            let found = format!("{} lacks {name}", term.named);
            let finding = Finding::new("postfix-macros", severity, found, why);
            let more = format!("{} {name}", term.value);
            Some((finding, more.trim().to_owned()))
        });
    }
}

/// Reads a time of Postfix or of a milter of Sendmail: `30s`, `5m`, or seconds.
pub(super) fn seconds(text: &str) -> Option<u64> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit = match text.strip_prefix(digits)? {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        "w" => 604_800,
        _ => return None,
    };
    digits.parse::<u64>().ok()?.checked_mul(unit)
}
