//! What Sendmail is told to do: the lines of sendmail.cf about milters.

use std::collections::BTreeMap;
use std::path::Path;

use super::place::{Hosts, Place, is_loopback, real};
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
    /// `O DontBlameSendmail`: what it does not call unsafe.
    pub(super) lenient: Vec<String>,
    /// `O RunAsUser`: the account, when it is another than root.
    pub(super) run_as: Option<String>,
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

pub(super) fn parse(text: &str) -> Sendmail {
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
                "dontblamesendmail" => read.lenient = names(&value.to_ascii_lowercase()),
                "runasuser" => {
                    let user = value.split([':', '.']).next().unwrap_or_default();
                    read.run_as = Some(user.to_owned()).filter(|user| !user.is_empty());
                }
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
pub(super) fn place(socket: &str) -> Place {
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
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Asking {
    /// Whether senders hand in their mail there.
    pub(super) takes_submissions: bool,
    /// Whether only programs on this host reach it.
    pub(super) is_loopback: bool,
    pub(super) daemon: String,
    pub(super) filters: Vec<String>,
    /// Whether the list is its own.
    pub(super) has_own: bool,
}

impl Sendmail {
    /// Returns what each daemon asks: its own list, else that of all.
    pub(super) fn asking(&self) -> Vec<Asking> {
        let all = self.asked.clone().unwrap_or_default();
        if self.daemons.is_empty() {
            let daemon = "sendmail".to_owned();
            return vec![Asking {
                daemon,
                takes_submissions: false,
                is_loopback: false,
                filters: all,
                has_own: false,
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
                is_loopback: value("addr", "a").is_some_and(|addr| is_loopback(addr)),
                has_own: value("inputmailfilters", "i").is_some(),
                filters: match value("inputmailfilters", "i") {
                    Some(own) => names(own),
                    None => all.clone(),
                },
            }
        };
        self.daemons.iter().map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_read_in_sendmails_spelling() {
        let inet = |text| Hosts::default().inet(text).unwrap();
        assert_eq!(place("inet:8891@127.0.0.1"), inet("127.0.0.1:8891"));
        assert_eq!(place("inet:8891@localhost"), inet("localhost:8891"));
        assert_eq!(place("nonsense"), Place::Unknown);
    }

    #[test]
    fn what_it_calls_safe_and_whom_it_runs_as_is_read() {
        let read = parse(
            "O DontBlameSendmail=TrustStickyBit,GroupWritableDirPathSafe\nO RunAsUser=mail:mail\n",
        );
        assert_eq!(read.lenient, ["truststickybit", "groupwritabledirpathsafe"]);
        assert_eq!(read.run_as.as_deref(), Some("mail"));
        assert_eq!(parse("O RunAsUser=\n").run_as, None);
    }

    #[test]
    fn a_daemon_asks_its_own_list_or_that_of_all() {
        let read = parse(
            "O InputMailFilters=a, b\nO DaemonPortOptions=Name=MTA\nO DaemonPortOptions=N=MSA, P=587, A=127.0.0.1, I=c;d\n",
        );
        let asking = read.asking();
        assert_eq!(
            (&*asking[0].filters, asking[0].has_own),
            (&["a", "b"].map(str::to_owned)[..], false)
        );
        assert_eq!(
            (&*asking[1].filters, asking[1].has_own),
            (&["c", "d"].map(str::to_owned)[..], true)
        );
        assert!(asking[1].takes_submissions && asking[1].is_loopback);
    }
}
