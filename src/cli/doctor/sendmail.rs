//! How Sendmail asks straymail, by what sendmail.cf says.
//!
//! sendmail.cf is what counts, sendmail.mc is what people write; the remedies are lines of the
//! latter.

use crate::policy::Role;

use super::door::Door;
use super::finding::{Finding, Report, Severity};
use super::place::Place;
use super::reach::{self, Account, Trust, Way};
use super::sendmail_cf::{Asking, Filter, Sendmail, place};
use super::setup::{definition, for_sendmail};

/// What makes Sendmail work by a changed sendmail.mc.
const REBUILD: &str = "make -C /etc/mail && systemctl restart sendmail";

/// A filter that is one of ours.
struct Ours<'a> {
    filter: &'a Filter,
    door: &'a Door,
    /// The socket is named by a symbolic link.
    is_linked: bool,
}

fn ours<'a>(filter: &'a Filter, doors: &'a [Door]) -> Option<Ours<'a>> {
    let there = place(&filter.socket);
    let door = |place: &Place| doors.iter().find(|door| door.place.is_at(place));
    if let Some(door) = door(&there) {
        let is_linked = matches!(&door.place, Place::Unix { path, .. } if path.is_symlink());
        return Some(Ours {
            filter,
            door,
            is_linked,
        });
    }
    let Place::Unix { path, .. } = &there else {
        return None;
    };
    let target = Place::Unix {
        path: path.canonicalize().ok()?,
        meant: None,
    };
    Some(Ours {
        filter,
        door: door(&target)?,
        is_linked: true,
    })
}

/// Checks everything that sendmail.cf says.
pub(super) fn check(sendmail: &Sendmail, doors: &[Door]) -> Report {
    let mut report = Report::default();
    let own: Vec<Ours<'_>> = (sendmail.filters.iter())
        .filter_map(|filter| ours(filter, doors))
        .collect();
    let asking = sendmail.asking();
    let asked =
        |own: &&Ours<'_>| (asking.iter()).any(|asking| asking.filters.contains(&own.filter.name));
    let Some(first) = own.first() else {
        let lines = for_sendmail(doors).join("\n        ");
        report.find(
            Finding::new(
                "sendmail-milter",
                Severity::Error,
                "no X line of sendmail.cf leads to straymail",
                "No mail is judged.",
            )
            .edit(format!("in sendmail.mc: {lines}"))
            .run(REBUILD),
        );
        return report;
    };
    if own.iter().find(asked).is_none() {
        report.find(not_asked(&asking, &own, &first.filter.name));
        return report;
    }
    let mut is_list_told = false;
    for one in &asking {
        // The list of all is told once.
        let is_told = is_list_told && !one.has_own;
        let found = daemon(one, &own);
        let is_list = (found.iter())
            .any(|finding| ["sendmail-order", "sendmail-twice"].contains(&finding.check));
        is_list_told |= is_list && !one.has_own;
        report
            .findings
            .extend(found.filter(|_| !(is_list && is_told)));
    }
    for own in own.iter().filter(asked) {
        let macro_name = match &sendmail.asked {
            Some(all) if all.contains(&own.filter.name) => "INPUT_MAIL_FILTER",
            _ => "MAIL_FILTER",
        };
        let line = definition(macro_name, &own.filter.name, own.door);
        failure(own.filter, &line, &mut report);
        timeouts(own.filter, &line, &mut report);
        socket(sendmail, own, &line, &mut report);
    }
    macros(sendmail, &mut report);
    report
}

/// Says that no daemon asks straymail, and what each is to ask.
fn not_asked(asking: &[Asking], own: &[Ours<'_>], name: &str) -> Finding {
    let name = best(own, false).map_or(name, |own| &own.filter.name);
    let mut finding = Finding::new(
        "sendmail-milter",
        Severity::Error,
        format!("{name} is defined and not among InputMailFilters"),
        "Sendmail knows the filter and asks it about nothing.",
    );
    let mut edits: Vec<String> = Vec::new();
    for one in asking {
        // A daemon of this host's programs, with a list of its own, is not meant.
        if one.has_own && one.is_loopback && !one.takes_submissions && asking.len() > 1 {
            continue;
        }
        let takes_submissions = one.has_own && one.takes_submissions;
        let edit = best(own, takes_submissions).map(|best| listed(one, own, &best.filter.name));
        edits.extend(edit.filter(|edit| !edits.contains(edit)));
    }
    for edit in edits {
        finding = finding.edit(edit);
    }
    finding.run(REBUILD)
}

/// Returns the filter for a daemon where senders hand in their mail, or where anybody does.
fn best<'a, 'b>(own: &'b [Ours<'a>], takes_submissions: bool) -> Option<&'b Ours<'a>> {
    let role = |role| own.iter().find(|own| own.door.role == role);
    let (first, second) = match takes_submissions {
        true => (Role::Submission, Role::Relay),
        false => (Role::Relay, Role::Submission),
    };
    role(first).or(role(second)).or(own.first())
}

/// Says what is wrong with what one daemon asks.
fn daemon(asking: &Asking, own: &[Ours<'_>]) -> Option<Finding> {
    let Asking {
        daemon, filters, ..
    } = asking;
    let by_name = |name: &String| own.iter().find(|own| own.filter.name == *name);
    if let Some(finding) = twice(asking, own) {
        return Some(finding);
    }
    let Some((at, asked)) =
        (filters.iter().enumerate()).find_map(|(at, name)| Some((at, by_name(name)?)))
    else {
        let found = format!("{daemon}: straymail is not among its InputMailFilters");
        if !asking.takes_submissions {
            return Some(Finding::new(
                "sendmail-unasked",
                Severity::Note,
                found,
                "Mail that comes in there is not judged; fine for mail that was judged before.",
            ));
        }
        let role = |role| own.iter().find(|own| own.door.role == role);
        let best = role(Role::Submission)
            .or(role(Role::Relay))
            .or(own.first())?;
        let why = "Senders hand in their mail here, and none of it is judged.";
        return Some(
            Finding::new("sendmail-unasked", Severity::Error, found, why)
                .edit(listed(asking, own, &best.filter.name))
                .run(REBUILD),
        );
    };
    let name = &asked.filter.name;
    if !filters.iter().skip(at).all(|name| by_name(name).is_some()) {
        return Some(
            Finding::new(
                "sendmail-order",
                Severity::Error,
                format!("{daemon}: {name} is not the last of InputMailFilters"),
                "A filter after it may refuse a message whose recipient straymail has already taken into the quarantine.",
            )
            .edit(listed(asking, own, name))
            .run(REBUILD),
        );
    }
    if asked.door.role != Role::Submission || asking.takes_submissions || asking.is_loopback {
        return None;
    }
    let finding = Finding::new(
        "sendmail-role",
        Severity::Warning,
        format!("{daemon} asks {name}, the listener of role submission"),
        "Mail from the outside that comes in here is judged as if your own senders had sent it.",
    );
    let relay = own.iter().find(|own| own.door.role == Role::Relay);
    Some(match relay {
        Some(relay) => finding.edit(listed(asking, own, &relay.filter.name)).run(REBUILD),
        None => finding.edit(
            "in milter.yaml: role: relay at this listener, which tells your senders by gate.networks and by their login; then `systemctl restart straymail`",
        ),
    })
}

/// Says that a filter is named more than once, which Sendmail does not bear.
fn twice(asking: &Asking, own: &[Ours<'_>]) -> Option<Finding> {
    let filters = &asking.filters;
    let mut again: Vec<&str> = Vec::new();
    for (at, name) in filters.iter().enumerate() {
        if filters.iter().take(at).any(|before| before == name) && !again.contains(&&**name) {
            again.push(name);
        }
    }
    let first = again.first()?;
    let is_own = |name: &&String| own.iter().any(|own| own.filter.name == **name);
    let last = filters.iter().find(is_own).map_or(*first, String::as_str);
    let finding = Finding::new(
        "sendmail-twice",
        Severity::Error,
        format!(
            "{}: InputMailFilters names {} twice",
            asking.daemon,
            again.join(" and ")
        ),
        "Sendmail fails with a filter that it asks twice: every message gets 451 4.3.2.",
    )
    .edit(listed(asking, own, last));
    Some(match asking.has_own {
        true => finding,
        false => finding.edit(format!(
            "or MAIL_FILTER(`{first}', …) instead of INPUT_MAIL_FILTER(`{first}', …), which adds it to the confINPUT_MAIL_FILTERS defined above; or drop that define"
        )),
    }
    .run(REBUILD))
}

/// Returns where in sendmail.mc the list of a daemon is, and what it is to be.
fn listed(asking: &Asking, own: &[Ours<'_>], name: &str) -> String {
    if !asking.has_own {
        return for_all(&asking.filters, own, name);
    }
    // Within DAEMON_OPTIONS a comma ends the list.
    let list = behind(&asking.filters, own, name).join(";");
    format!(
        "in sendmail.mc, in DAEMON_OPTIONS of {}: InputMailFilters={list}",
        asking.daemon
    )
}

/// Returns the line that makes the list of all daemons, whatever other lines say.
fn for_all(filters: &[String], own: &[Ours<'_>], name: &str) -> String {
    let list = behind(filters, own, name).join(", ");
    format!(
        "in sendmail.mc, below every INPUT_MAIL_FILTER: define(`confINPUT_MAIL_FILTERS', `{list}')dnl"
    )
}

/// Returns a list with `name` behind all filters that are not ours, each once.
fn behind(filters: &[String], own: &[Ours<'_>], name: &str) -> Vec<String> {
    let mut list: Vec<String> = Vec::new();
    for filter in filters {
        let is_own = own.iter().any(|own| own.filter.name == *filter);
        if !is_own && !list.contains(filter) {
            list.push(filter.clone());
        }
    }
    if !list.iter().any(|filter| filter == name) {
        list.push(name.to_owned());
    }
    list
}

/// Whether Sendmail may use the socket, and thinks it safe.
fn socket(sendmail: &Sendmail, own: &Ours<'_>, line: &str, report: &mut Report) {
    let Place::Unix { path, .. } = &own.door.place else {
        return;
    };
    if own.is_linked {
        let why = "Sendmail calls that unsafe and does not ask: every message meets F=.";
        let found = format!(
            "{}: {} is a symbolic link",
            own.filter.name, own.filter.socket
        );
        report.find(
            Finding::new("sendmail-socket", Severity::Error, found, why)
                .edit(instead(line))
                .run(REBUILD),
        );
    }
    let user = sendmail.run_as.as_deref().unwrap_or("root");
    let account = match Account::gather(user) {
        Ok(account) => account,
        Err(error) => return report.skip(format!("who may reach the socket: {error}")),
    };
    let way = Way::gather(account, path);
    let lenient = |option: &str| sendmail.lenient.iter().any(|own| own == option);
    let trust = Trust {
        group: lenient("groupwritabledirpathsafe"),
        sticky: lenient("truststickybit"),
    };
    report.findings.extend(reach::is_unsafe(&way, trust));
    // Root is kept out by nothing; that nobody is there is said already.
    if sendmail.run_as.is_some() {
        report.findings.extend(reach::check(&way));
    }
}

/// Says which line of sendmail.mc should be like `line`: one more would be a second filter.
fn instead(line: &str) -> String {
    format!("in sendmail.mc, instead of the line there is: {line}")
}

/// What becomes of mail while straymail is away, and how it is asked.
fn failure(own: &Filter, line: &str, report: &mut Report) {
    if !own.flags.contains(['T', '4']) {
        let (severity, what) = match own.flags.contains('R') {
            true => (Severity::Warning, "refused for good"),
            false => (Severity::Error, "let pass unjudged"),
        };
        report.find(
            Finding::new(
                "sendmail-flags",
                severity,
                format!("{} has F={} and not F=T", own.name, own.flags),
                format!("While straymail is away, restarts or hangs, mail is {what}; with F=T clients keep it and come again."),
            )
            .edit(instead(line))
            .run(REBUILD),
        );
    }
    if let Place::Inet(..) = place(&own.socket) {
        report.find(
            Finding::new(
                "sendmail-tcp",
                Severity::Warning,
                format!("{} is asked over TCP ({})", own.name, own.socket),
                "Every local account can speak to the port, and each message takes longer than over a UNIX socket, where file permissions decide.",
            )
            .edit("in milter.yaml: a listener at unix:/run/straymail/milter.sock; then `straymail setup sendmail`")
            .run(REBUILD),
        );
    }
}

/// The least a timeout should be, as with Postfix: an answer waits for a lock for 5 s, the end
/// of a message for the disk.
fn timeouts(own: &Filter, line: &str, report: &mut Report) {
    // libmilter's own: C 5 min, S 10 s, R 10 s, E 5 min (cf/README, T=).
    for (letter, least, usual, what) in [
        ('R', 10, 10, "an answer"),
        ('E', 60, 300, "the answer to the end of a message"),
    ] {
        let given = own.timeouts.get(&letter).copied().unwrap_or(usual);
        if given >= least {
            continue;
        }
        report.find(
            Finding::new(
                "sendmail-timeout",
                Severity::Warning,
                format!("{} has T={letter}:{given}s", own.name),
                format!("On a busy disk {what} takes longer, and Sendmail then takes straymail for dead."),
            )
            .edit(instead(line))
            .run(REBUILD),
        );
    }
}

fn macros(sendmail: &Sendmail, report: &mut Report) {
    for (step, name, option, why) in [
        (
            "envrcpt",
            "{rcpt_addr}",
            "confMILTER_MACROS_ENVRCPT",
            "Without the address as Sendmail understands it, virtusertable and odd forms are judged by the wrong domain and a held recipient may still get a copy.",
        ),
        (
            "envfrom",
            "{auth_authen}",
            "confMILTER_MACROS_ENVFROM",
            "Without the login, nobody who logs in counts as one of your senders (gate.authenticated) and rules by login never fit.",
        ),
        (
            "envfrom",
            "i",
            "confMILTER_MACROS_ENVFROM",
            "Without the queue id, a line of straymail's log cannot be found in Sendmail's log.",
        ),
    ] {
        let given = sendmail.macros.get(step);
        if given.is_some_and(|given| given.iter().any(|given| given == name)) {
            continue;
        }
        let severity = if name == "i" {
            Severity::Warning
        } else {
            Severity::Error
        };
        report.find(
            Finding::new(
                "sendmail-macros",
                severity,
                format!("Milter.macros.{step} lacks {name}"),
                why,
            )
            .edit(format!(
                "in sendmail.mc: define(`{option}', defn(`{option}')`, {name}')dnl"
            ))
            .run(REBUILD),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::sendmail_cf::parse;

    const SOUND: &str = "\
# a comment
O InputMailFilters=first, straymail
O DaemonPortOptions=Name=MTA-v4, Port=25
O DaemonPortOptions=Port=10026, Addr=127.0.0.1, Name=again, InputMailFilters=
O Milter.macros.connect=j, _, {daemon_name}
O Milter.macros.envfrom=i, {auth_type}, {auth_authen},
\t{mail_addr}
O Milter.macros.envrcpt={rcpt_mailer}, {rcpt_host}, {rcpt_addr}
Xfirst, S=local:/run/first, T=R:2m
Xstraymail, S=unix:/nowhere/m.sock, F=T, T=C:30s;S:30s;R:30s;E:5m
";

    fn found(text: &str) -> Vec<(Severity, String)> {
        let door = Door {
            place: Place::Unix {
                path: "/nowhere/m.sock".into(),
                meant: None,
            },
            role: Role::Relay,
        };
        let report = check(&parse(text), &[door]);
        let findings = report.findings.into_iter();
        (findings.filter(|finding| finding.severity != Severity::Note))
            .map(|finding| (finding.severity, finding.found))
            .collect()
    }

    #[test]
    fn a_sound_sendmail_has_nothing_to_mend() {
        assert_eq!(found(SOUND), []);
        assert_eq!(
            parse(SOUND).macros["envfrom"].last().unwrap(),
            "{mail_addr}"
        );
        // Defaults of libmilter are enough.
        assert_eq!(found(&SOUND.replace(", T=C:30s;S:30s;R:30s;E:5m", "")), []);
        assert_eq!(found(&SOUND.replace("S=unix:", "S=local:")), []);
        assert_eq!(found(&SOUND.replace("S=unix:", "S=")), []);
    }

    #[test]
    fn each_broken_line_is_told() {
        use Severity::{Error, Warning};
        for (from, to, severity, expected) in [
            (
                "/nowhere/m",
                "/nowhere/n",
                Error,
                "no X line of sendmail.cf leads to straymail",
            ),
            (
                "first, straymail",
                "first",
                Error,
                "straymail is defined and not among InputMailFilters",
            ),
            (
                "first, straymail",
                "straymail, first",
                Error,
                "MTA-v4: straymail is not the last of InputMailFilters",
            ),
            (
                "first, straymail",
                "first, straymail, straymail",
                Error,
                "MTA-v4: InputMailFilters names straymail twice",
            ),
            (
                "first, straymail",
                "first, first, straymail",
                Error,
                "MTA-v4: InputMailFilters names first twice",
            ),
            (
                "Name=again, InputMailFilters=",
                "Name=again, InputMailFilters=straymail;straymail",
                Error,
                "again: InputMailFilters names straymail twice",
            ),
            (
                "Port=10026, Addr=127.0.0.1, Name=again",
                "Port=587, Name=MSA, M=E",
                Error,
                "MSA: straymail is not among its InputMailFilters",
            ),
            (
                "Port=10026, Addr=127.0.0.1, Name=again",
                "N=in, P=2525, M=Ea",
                Error,
                "in: straymail is not among its InputMailFilters",
            ),
            ("F=T, T=C", "T=C", Error, "straymail has F= and not F=T"),
            (
                "F=T, T=C",
                "F=R, T=C",
                Warning,
                "straymail has F=R and not F=T",
            ),
            ("E:5m", "E:20s", Warning, "straymail has T=E:20s"),
            ("R:30s", "R:2s", Warning, "straymail has T=R:2s"),
            (
                ", {rcpt_addr}",
                "",
                Error,
                "Milter.macros.envrcpt lacks {rcpt_addr}",
            ),
            (
                ", {auth_authen}",
                "",
                Error,
                "Milter.macros.envfrom lacks {auth_authen}",
            ),
            (
                "envfrom=i, ",
                "envfrom=",
                Warning,
                "Milter.macros.envfrom lacks i",
            ),
        ] {
            let text = SOUND.replace(from, to);
            assert_ne!(text, SOUND, "{from}");
            assert_eq!(
                found(&text),
                [(severity, expected.to_owned())],
                "{from} -> {to}"
            );
        }
    }
}
