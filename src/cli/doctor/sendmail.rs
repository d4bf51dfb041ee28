//! What Sendmail is told to do: the lines of sendmail.cf about milters.
//!
//! sendmail.cf is what counts, sendmail.mc is what people write; the remedies are lines of the
//! latter.

use std::collections::BTreeMap;
use std::path::Path;

use super::door::Door;
use super::finding::{Finding, Report, Severity};
use super::place::{Hosts, Place, real};
use super::terms::seconds;

/// sendmail.cf has some 2,000 lines; more than this is another file.
const LONGEST: u64 = 8 << 20;

/// The part of sendmail.cf that is about milters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sendmail {
    /// `X` lines in order.
    pub(super) filters: Vec<Filter>,
    /// `O InputMailFilters`: who is asked, in order. `None` when there is no such line.
    pub(super) asked: Option<Vec<String>>,
    /// `O Milter.macros.envrcpt` and its like, by the last word.
    pub(super) macros: BTreeMap<String, Vec<String>>,
    /// `O DaemonPortOptions` lines.
    pub(super) daemons: Vec<BTreeMap<String, String>>,
}

/// One `X` line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    pub(super) name: String,
    /// `S=`, as written.
    pub(super) socket: String,
    /// `F=`: `T` puts off, `R` refuses, `4` closes; empty lets mail pass.
    pub(super) flags: String,
    /// `T=`: C(onnect), S(end), R(eply), E(nd of message), in seconds.
    pub(super) timeouts: BTreeMap<char, u64>,
}

/// Reads sendmail.cf.
///
/// # Errors
/// Why it cannot be read, in a sentence.
pub(super) fn gather(path: &Path) -> Result<Sendmail, String> {
    let cannot = |error: std::io::Error| format!("cannot read {}: {error}", path.display());
    let length = std::fs::metadata(path).map_err(cannot)?.len();
    if length > LONGEST {
        return Err(format!("{} is too long for a sendmail.cf", path.display()));
    }
    let bytes = std::fs::read(path).map_err(cannot)?;
    Ok(parse(&String::from_utf8_lossy(&bytes)))
}

fn parse(text: &str) -> Sendmail {
    let mut read = Sendmail::default();
    for line in unfolded(text) {
        if let Some(rest) = line.strip_prefix('X') {
            read.filters.extend(filter(rest));
        } else if let Some(rest) = line.strip_prefix("O ") {
            let Some((name, value)) = rest.split_once('=') else {
                continue;
            };
            let (name, value) = (name.trim().to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "inputmailfilters" => read.asked = Some(names(value)),
                "daemonportoptions" => read.daemons.push(options(value)),
                name => {
                    if let Some(step) = name.strip_prefix("milter.macros.") {
                        read.macros.insert(step.to_owned(), names(value));
                    }
                }
            }
        }
    }
    read
}

/// Returns the lines without comments, each with those that continue it.
fn unfolded(text: &str) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for line in text.lines() {
        match lines.last_mut() {
            Some(last) if line.starts_with([' ', '\t']) => last.push_str(line),
            _ if line.starts_with('#') || line.is_empty() => {}
            _ => lines.push(line.to_owned()),
        }
    }
    lines
}

fn names(text: &str) -> Vec<String> {
    (text.split([',', ';', ' ', '\t']))
        .filter(|word| !word.is_empty())
        .map(str::to_owned)
        .collect()
}

/// Reads `Name=MTA, Port=25`.
fn options(text: &str) -> BTreeMap<String, String> {
    (text.split(','))
        .filter_map(|part| part.split_once('='))
        .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()))
        .collect()
}

/// Reads `straymail, S=unix:/s, F=T, T=C:30s;R:30s`.
fn filter(text: &str) -> Option<Filter> {
    let (name, rest) = text.split_once(',')?;
    let options = options(rest);
    let option = |name: &str| options.get(name).cloned().unwrap_or_default();
    let timeouts = option("t");
    let timeout = |part: &str| {
        let (letter, time) = part.split_once(':')?;
        Some((letter.trim().chars().next()?, seconds(time.trim())?))
    };
    Some(Filter {
        name: name.trim().to_owned(),
        socket: option("s"),
        flags: option("f"),
        timeouts: timeouts.split(';').filter_map(timeout).collect(),
    })
}

/// Returns where a filter is.
fn place(socket: &str) -> Place {
    let (kind, rest) = socket.split_once(':').unwrap_or(("", socket));
    match kind {
        "unix" | "local" => Place::Unix {
            path: real(Path::new(rest)),
            meant: None,
        },
        "inet" | "inet6" => {
            (Hosts::gather(std::iter::once(socket)).inet(rest)).unwrap_or(Place::Unknown)
        }
        // A path alone is a UNIX socket (mi_connect of Sendmail's milter.c).
        _ if rest.starts_with('/') => Place::Unix {
            path: real(Path::new(rest)),
            meant: None,
        },
        _ => Place::Unknown,
    }
}

/// One daemon, and the filters it asks in order.
struct Asking {
    /// Whether senders hand in their mail there.
    takes_submissions: bool,
    daemon: String,
    filters: Vec<String>,
}

impl Sendmail {
    /// Returns what each daemon asks: its own list, else that of all.
    fn asking(&self) -> Vec<Asking> {
        let all = self.asked.clone().unwrap_or_default();
        if self.daemons.is_empty() {
            let daemon = "sendmail".to_owned();
            return vec![Asking {
                daemon,
                takes_submissions: false,
                filters: all,
            }];
        }
        let of = |daemon: &BTreeMap<String, String>| {
            // Sendmail goes by the first letter of a key.
            let value = |long: &str, short: &str| daemon.get(long).or(daemon.get(short));
            let is =
                |value: Option<&String>, of: &[&str]| value.is_some_and(|v| of.contains(&&**v));
            let ports = ["587", "465", "submission", "submissions", "smtps"];
            Asking {
                daemon: value("name", "n").map_or("?", String::as_str).to_owned(),
                takes_submissions: is(value("port", "p"), &ports)
                    || is(value("name", "n"), &["MSA"])
                    || value("modify", "m").is_some_and(|letters| letters.contains('a')),
                filters: match value("inputmailfilters", "i") {
                    Some(own) => names(own),
                    None => all.clone(),
                },
            }
        };
        self.daemons.iter().map(of).collect()
    }
}

/// What makes Sendmail work by a changed sendmail.mc.
const REBUILD: &str = "make -C /etc/mail && systemctl restart sendmail";

/// Checks everything that sendmail.cf says; `line` is what belongs into sendmail.mc.
pub(super) fn check(sendmail: &Sendmail, doors: &[Door], line: &str) -> Report {
    let mut report = Report::default();
    let ours = |filter: &&Filter| {
        let there = place(&filter.socket);
        doors.iter().any(|door| door.place.is_at(&there))
    };
    let own: Vec<&Filter> = sendmail.filters.iter().filter(ours).collect();
    let is_own = |name: &String| own.iter().any(|filter| filter.name == *name);
    let asking = sendmail.asking();
    let asked =
        |filter: &&&Filter| (asking.iter()).any(|asking| asking.filters.contains(&filter.name));
    let Some(first) = own.first() else {
        report.find(
            Finding::new(
                "sendmail-milter",
                Severity::Error,
                "no X line of sendmail.cf leads to straymail",
                "No mail is judged.",
            )
            .edit(format!("in sendmail.mc: {line}"))
            .run(REBUILD),
        );
        return report;
    };
    if own.iter().find(asked).is_none() {
        report.find(
            Finding::new(
                "sendmail-milter",
                Severity::Error,
                format!("{} is defined and not among InputMailFilters", first.name),
                "Sendmail knows the filter and asks it about nothing.",
            )
            .edit("in sendmail.mc: INPUT_MAIL_FILTER instead of MAIL_FILTER, or its name in confINPUT_MAIL_FILTERS")
            .run(REBUILD),
        );
        return report;
    }
    for Asking {
        daemon,
        takes_submissions,
        filters,
    } in &asking
    {
        match filters.iter().position(is_own) {
            Some(at) if !filters.iter().skip(at).all(is_own) => report.find(
                Finding::new(
                    "sendmail-order",
                    Severity::Error,
                    format!("{daemon}: {} is not the last of InputMailFilters", filters[at]),
                    "A filter after it may refuse a message whose recipient straymail has already taken into the quarantine.",
                )
                .edit("in sendmail.mc: its INPUT_MAIL_FILTER behind all others")
                .run(REBUILD),
            ),
            Some(_) => {}
            None if *takes_submissions => report.find(
                Finding::new(
                    "sendmail-unasked",
                    Severity::Error,
                    format!("{daemon}: straymail is not among its InputMailFilters"),
                    "Senders hand in their mail here, and none of it is judged.",
                )
                .edit(format!("in sendmail.mc: DAEMON_OPTIONS of {daemon} without InputMailFilters=, or with {} as the last of them", first.name))
                .run(REBUILD),
            ),
            None => report.find(Finding::new(
                "sendmail-unasked",
                Severity::Note,
                format!("{daemon}: straymail is not among its InputMailFilters"),
                "Mail that comes in there is not judged; fine for mail that was judged before.",
            )),
        }
    }
    for filter in own.iter().filter(asked) {
        failure(filter, line, &mut report);
        timeouts(filter, line, &mut report);
    }
    macros(sendmail, &mut report);
    report
}

/// Says which line of sendmail.mc should be like `line`: one more would be a second filter.
fn instead(own: &Filter, line: &str) -> String {
    let line = line.replacen("`straymail'", &format!("`{}'", own.name), 1);
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
            .edit(instead(own, line))
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
            .edit(instead(own, line))
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
    use crate::policy::Role;

    const LINE: &str = "INPUT_MAIL_FILTER(...)";
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
        let report = check(&parse(text), &[door], LINE);
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

    #[test]
    fn a_port_is_read_in_sendmails_spelling() {
        let inet = |text| Hosts::default().inet(text).unwrap();
        assert_eq!(place("inet:8891@127.0.0.1"), inet("127.0.0.1:8891"));
        assert_eq!(place("inet:8891@localhost"), inet("localhost:8891"));
        assert_eq!(place("nonsense"), Place::Unknown);
    }
}
