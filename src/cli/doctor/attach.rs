//! How Postfix is attached: which services ask straymail, in what order, what they do when it
//! is away, and what they tell it.

use std::path::{Path, PathBuf};

use crate::policy::Role;

use super::finding::{Finding, Report, Severity};
use super::postfix::{Milter, Place, Postfix, Service};
use super::setup::{file_name, last};

/// Where straymail listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) place: Place,
    pub(super) role: Role,
}

/// A milter that is one of ours.
struct Ours<'a> {
    door: &'a Door,
    /// Its place in the list, from 0.
    at: usize,
    milter: &'a Milter,
    /// The service would find it outside of its chroot, and so does not.
    out_of_reach: bool,
}

/// Checks everything that Postfix's own settings say.
pub(super) fn check(postfix: &Postfix, doors: &[Door], logins: bool) -> Report {
    let mut report = Report::default();
    receivers(postfix, doors, &mut report);
    local(postfix, doors, &mut report);
    talk(postfix, logins, &mut report);
    report
}

/// Returns the text that Postfix is given for a door, so that it works inside a chroot and
/// outside.
pub(super) fn spec(door: &Door, queue: &Path) -> Option<String> {
    match &door.place {
        Place::Unix { path, .. } => Some(match path.strip_prefix(queue) {
            Ok(below) => format!("unix:{}", below.display()),
            Err(_) => format!("unix:{}", path.display()),
        }),
        Place::Inet(Some(ip), port) if ip.is_ipv6() => Some(format!("inet:[{ip}]:{port}")),
        Place::Inet(Some(ip), port) => Some(format!("inet:{ip}:{port}")),
        Place::Inet(None, _) | Place::Unknown => None,
    }
}

fn ours<'a>(milters: &'a [Milter], doors: &'a [Door]) -> Option<Ours<'a>> {
    let found = |at: usize, milter: &'a Milter| {
        let there = |place: &Place| doors.iter().find(|door| same(&door.place, place));
        if let Some(door) = there(&milter.place) {
            return Some(Ours {
                door,
                at,
                milter,
                out_of_reach: false,
            });
        }
        let Place::Unix {
            meant: Some(meant), ..
        } = &milter.place
        else {
            return None;
        };
        let meant = Place::Unix {
            path: meant.clone(),
            meant: None,
        };
        let door = there(&meant)?;
        Some(Ours {
            door,
            at,
            milter,
            out_of_reach: true,
        })
    };
    (milters.iter().enumerate()).find_map(|(at, milter)| found(at, milter))
}

/// Returns whether a milter of a list is one of ours.
pub(super) fn ours_in(milter: &Milter, doors: &[Door]) -> bool {
    ours(std::slice::from_ref(milter), doors).is_some()
}

/// Returns whether a listener is where a milter of the MTA is.
pub(super) fn same(door: &Place, milter: &Place) -> bool {
    match (door, milter) {
        (Place::Unix { path, .. }, Place::Unix { path: other, .. }) => path == other,
        // A listener at 0.0.0.0 is reached by any address of this host.
        (Place::Inet(Some(ip), port), Place::Inet(Some(other), other_port)) => {
            // `localhost` may be either of the two loopback addresses.
            let loopback = ip.is_loopback() && other.is_loopback();
            port == other_port && (ip == other || ip.is_unspecified() || loopback)
        }
        _ => false,
    }
}

/// The door that mail by SMTP should come in by.
fn front(doors: &[Door]) -> Option<&Door> {
    let by_smtp = doors.iter().find(|door| door.role != Role::Local);
    by_smtp.or(doors.first())
}

fn receivers(postfix: &Postfix, doors: &[Door], report: &mut Report) {
    let services: Vec<&Service> = postfix.receivers().collect();
    let lists: Vec<Vec<Milter>> = (services.iter())
        .map(|service| postfix.milters(Some(service), "smtpd_milters"))
        .collect();
    let asked = |list: &Vec<Milter>| ours(list, doors).is_some();
    let any = lists.iter().any(asked);
    if !any {
        nobody_asks(postfix, &services, doors, report);
    }
    for (service, list) in services.iter().zip(&lists) {
        let Some(ours) = ours(list, doors) else {
            if any {
                not_asked(postfix, service, list, doors, report);
            }
            continue;
        };
        let shown = shown(service);
        if ours.out_of_reach {
            out_of_chroot(postfix, service, ("smtpd_milters", list), &ours, report);
        }
        order(
            postfix,
            Some(service),
            ("smtpd_milters", list),
            &ours,
            report,
        );
        default_action(postfix, service, &ours, report);
        if let Place::Inet(..) = ours.milter.place {
            report.find(
                Finding::new(
                    "postfix-tcp",
                    Severity::Warning,
                    format!("{shown}: straymail is asked over TCP ({})", ours.milter.spec),
                    "Every local account can speak to the port, and each message takes longer than over a UNIX socket, where file permissions decide.",
                )
                .edit(format!(
                    "in milter.yaml: listeners: - socket: unix:{}/straymail/milter.sock, group: {}; then `straymail setup postfix`",
                    postfix.queue_directory().display(),
                    postfix.parameter("mail_owner"),
                )),
            );
        }
        no_milters(postfix, service, report);
    }
    if let Some(service) = (services.iter())
        .find(|service| !postfix.value(Some(service), "smtpd_milter_maps").is_empty())
    {
        report.find(Finding::new(
            "postfix-milter-maps",
            Severity::Note,
            format!("{}: smtpd_milter_maps is set", shown(service)),
            "For clients listed there other milters, or none, are asked than smtpd_milters says.",
        ));
    }
}

fn nobody_asks(postfix: &Postfix, services: &[&Service], doors: &[Door], report: &mut Report) {
    let mut finding = Finding::new(
        "postfix-milter",
        Severity::Error,
        "no service of Postfix asks straymail",
        "No mail is judged.",
    );
    let queue = postfix.queue_directory();
    let door = front(doors).and_then(|door| Some((door, spec(door, queue)?)));
    let Some((door, spec)) = door else {
        report.find(finding);
        return;
    };
    if spec.starts_with("unix:/") && services.iter().any(|service| service.chroot) {
        report.find(finding.edit(move_below("smtpd", door, queue)));
        return;
    }
    let with = |service| last(postfix, service, "smtpd_milters", doors, &spec);
    let mut commands = vec![postfix.set(None, "smtpd_milters", &with(None))];
    // A service that has been given a list of its own on purpose gets one more, one that was
    // given an empty one is for mail that was judged.
    for service in services.iter().filter(|s| s.is_submission()) {
        commands.push(postfix.set(Some(service), "smtpd_milters", &with(Some(service))));
    }
    commands.push(postfix.reload());
    commands.dedup();
    for command in commands {
        finding = finding.run(command);
    }
    report.find(finding);
}

/// Says that the door has to be in the chroot first: inside of it a path outside names nothing, and
/// asking there would defer all mail.
fn move_below(service: &str, door: &Door, queue: &Path) -> String {
    format!(
        "{service} runs in a chroot and cannot reach that socket: in milter.yaml at this listener socket: unix:{}/straymail/{}, then restart straymail and run the lines of straymail setup postfix",
        queue.display(),
        file_name(door),
    )
}

/// Adds what puts straymail's `door` behind the milters of a list, for one service.
fn put_behind(
    finding: Finding,
    postfix: &Postfix,
    service: Option<&Service>,
    list: &str,
    doors: &[Door],
    door: Option<&Door>,
) -> Finding {
    let queue = postfix.queue_directory();
    let Some((door, spec)) = door.and_then(|door| Some((door, spec(door, queue)?))) else {
        return finding;
    };
    if let Some(service) = service.filter(|service| service.chroot)
        && spec.starts_with("unix:/")
    {
        return finding.edit(move_below(&shown(service), door, queue));
    }
    finding
        .run(postfix.set(service, list, &last(postfix, service, list, doors, &spec)))
        .run(postfix.reload())
}

fn not_asked(
    postfix: &Postfix,
    service: &Service,
    list: &[Milter],
    doors: &[Door],
    report: &mut Report,
) {
    let shown = shown(service);
    let found = match list {
        [] => format!("{shown}: smtpd_milters is empty"),
        _ => format!("{shown}: straymail is not among its smtpd_milters"),
    };
    if service.is_loopback() && !service.is_submission() {
        report.find(Finding::new(
            "postfix-unasked",
            Severity::Note,
            found,
            AFTER_A_FILTER,
        ));
        return;
    }
    if !service.is_submission() {
        report.find(Finding::new(
            "postfix-unasked",
            Severity::Note,
            found,
            "Mail from the outside need not be judged, but senders who hand in here are not asked either; a listener of role relay tells the two apart.",
        ));
        return;
    }
    let finding = Finding::new(
        "postfix-unasked",
        Severity::Error,
        found,
        "Senders hand in their mail here, and none of it is judged.",
    );
    let (service, door) = (Some(service), front(doors));
    report.find(put_behind(
        finding,
        postfix,
        service,
        "smtpd_milters",
        doors,
        door,
    ));
}

fn out_of_chroot(
    postfix: &Postfix,
    service: &Service,
    (name, list): (&str, &[Milter]),
    ours: &Ours<'_>,
    report: &mut Report,
) {
    let shown = shown(service);
    let queue = postfix.queue_directory();
    let finding = Finding::new(
        "postfix-chroot",
        Severity::Error,
        format!(
            "{shown} runs in a chroot, where {} is below {}",
            ours.milter.spec,
            queue.display()
        ),
        "Nothing is there, so every message meets milter_default_action.",
    );
    let inside = spec(ours.door, queue).filter(|spec| !spec.starts_with("unix:/"));
    let finding = match inside {
        // The socket is in reach, only its path is written as if there were no chroot.
        Some(inside) => {
            let mut specs: Vec<&str> = list.iter().map(|milter| &*milter.spec).collect();
            if let Some(own) = specs.get_mut(ours.at) {
                *own = &inside;
            }
            finding.run(postfix.set(Some(service), name, &specs.join(", ")))
        }
        None => finding
            .run(postfix.command(
                "postconf",
                &format!("-F {}/{}/chroot=n", service.name, service.kind),
            ))
            .edit(format!(
                "or keep the chroot and let straymail listen below it, in milter.yaml: socket: unix:{}/straymail/{}",
                queue.display(),
                file_name(ours.door),
            )),
    };
    report.find(finding.run(postfix.reload()));
}

fn default_action(postfix: &Postfix, service: &Service, ours: &Ours<'_>, report: &mut Report) {
    let own = ours.milter.default_action.as_deref();
    let action = own.unwrap_or_else(|| postfix.value(Some(service), "milter_default_action"));
    let (severity, why) = match action {
        "accept" => (
            Severity::Error,
            "While straymail is away, restarts or hangs, mail passes unjudged; tempfail lets clients keep it and come again.",
        ),
        "reject" => (
            Severity::Warning,
            "While straymail is away or restarts, mail is refused for good; tempfail lets clients keep it and come again.",
        ),
        _ => return,
    };
    let whose = match own {
        Some(_) => "straymail's own default_action",
        None => "milter_default_action",
    };
    let found = format!("{}: {whose} is {action}", shown(service));
    let finding = Finding::new("postfix-default-action", severity, found, why);
    let finding = match own {
        Some(_) => {
            let list = postfix.milters(Some(service), "smtpd_milters");
            let mut specs: Vec<String> = list.into_iter().map(|milter| milter.spec).collect();
            if let Some(own) = specs.get_mut(ours.at) {
                *own = ours.milter.with("default_action", "tempfail");
            }
            finding.run(postfix.set(Some(service), "smtpd_milters", &specs.join(", ")))
        }
        None => finding.run(postfix.set(Some(service), "milter_default_action", "tempfail")),
    };
    report.find(finding.run(postfix.reload()));
}

/// Straymail is to be the last of a list.
fn order(
    postfix: &Postfix,
    service: Option<&Service>,
    (name, list): (&str, &[Milter]),
    ours: &Ours<'_>,
    report: &mut Report,
) {
    if ours.at + 1 >= list.len() {
        return;
    }
    let mut order: Vec<&str> = list.iter().map(|milter| &*milter.spec).collect();
    let own = order.remove(ours.at);
    order.push(own);
    let whose = service.map_or_else(String::new, |service| format!("{}: ", shown(service)));
    report.find(
        Finding::new(
            "postfix-order",
            Severity::Error,
            format!("{whose}straymail is not the last of {name}"),
            "A milter after it may refuse a message whose recipient straymail has already taken into the quarantine.",
        )
        .run(postfix.set(service, name, &order.join(", ")))
        .run(postfix.reload()),
    );
}

/// What is said of a port that only programs on this host reach.
const AFTER_A_FILTER: &str = "Mail that programs on this host hand in here is not judged; fine for mail that was judged before.";

fn no_milters(postfix: &Postfix, service: &Service, report: &mut Report) {
    let name = "receive_override_options";
    let options = super::postfix::words(postfix.value(Some(service), name));
    if !options.iter().any(|option| option == "no_milters") {
        return;
    }
    if service.is_loopback() && !service.is_submission() {
        report.find(Finding::new(
            "postfix-no-milters",
            Severity::Note,
            format!("{}: {name} has no_milters", shown(service)),
            AFTER_A_FILTER,
        ));
        return;
    }
    let kept: Vec<&str> = (options.iter().map(String::as_str))
        .filter(|option| *option != "no_milters")
        .collect();
    report.find(
        Finding::new(
            "postfix-no-milters",
            Severity::Error,
            format!("{}: {name} has no_milters", shown(service)),
            "It switches off every milter of this service, straymail too.",
        )
        .run(postfix.set(Some(service), name, &kept.join(",")))
        .run(postfix.reload()),
    );
}

/// Mail of sendmail(1).
fn local(postfix: &Postfix, doors: &[Door], report: &mut Report) {
    let cleanup = postfix.service("cleanup", "unix");
    let list = postfix.milters(cleanup, "non_smtpd_milters");
    let pickup = postfix.service("pickup", "unix");
    let filtered = !postfix.value(pickup, "content_filter").is_empty();
    let own = doors.iter().find(|door| door.role == Role::Local);
    let Some(ours) = ours(&list, doors) else {
        if filtered || pickup.is_none() {
            return;
        }
        let finding = Finding::new(
            "postfix-sendmail-mail",
            Severity::Warning,
            "mail of sendmail(1) does not pass straymail",
            "Mail of cron, scripts and web applications on this host is not judged.",
        );
        report.find(match own {
            Some(_) => put_behind(finding, postfix, cleanup, "non_smtpd_milters", doors, own),
            None => finding.edit(format!(
                "{}, then `{}`; PORT is one of smtpd that asks straymail and takes mail from 127.0.0.1 without a login",
                postfix.command("postconf", "-P 'pickup/unix/content_filter=smtp:[127.0.0.1]:PORT'"),
                postfix.reload(),
            )),
        });
        return;
    };
    if ours.out_of_reach
        && let Some(cleanup) = cleanup
    {
        let list = ("non_smtpd_milters", &*list);
        out_of_chroot(postfix, cleanup, list, &ours, report);
    }
    if ours.door.role == Role::Local {
        let list = ("non_smtpd_milters", &*list);
        order(postfix, cleanup, list, &ours, report);
    } else {
        let finding = Finding::new(
            "postfix-local-role",
            Severity::Warning,
            format!(
                "non_smtpd_milters names the listener {} of another role than local",
                ours.milter.spec
            ),
            "Mail of sendmail(1) cannot be refused: a refused recipient would keep it in the maildrop queue for good.",
        );
        report.find(match own {
            Some(_) => put_behind(finding, postfix, cleanup, "non_smtpd_milters", doors, own),
            None => finding.edit("in milter.yaml: a listener of its own with role: local; then `straymail setup postfix`"),
        });
    }
}

/// The least that `milter_content_timeout` should be: a message is stored, with the disk
/// synced, before the end of the message is answered; straymail says that it works on every 5 s.
const CONTENT_TIMEOUT: u64 = 60;
/// The least for an answer to RCPT: one look into the store, which waits for a lock 5 s.
const COMMAND_TIMEOUT: u64 = 10;
/// RFC 5321, 4.5.3.2.3: how long a client waits for the answer to RCPT.
const CLIENT_PATIENCE: u64 = 300;

/// What a parameter says to all services, and to those that take mail and have it of their own:
/// the service, how the parameter is named for it, and its value.
fn readings<'a>(
    postfix: &'a Postfix,
    name: &'a str,
) -> impl Iterator<Item = (Option<&'a Service>, String, &'a str)> {
    let own = (postfix.receivers()).filter_map(move |service| {
        let value = service.overrides.get(name)?;
        Some((
            Some(service),
            format!("{}: {name}", shown(service)),
            &**value,
        ))
    });
    std::iter::once((None, name.to_owned(), postfix.parameter(name))).chain(own)
}

/// What Postfix tells straymail, and how long it waits.
fn talk(postfix: &Postfix, logins: bool, report: &mut Report) {
    for (service, name, protocol) in readings(postfix, "milter_protocol") {
        if !protocol.parse().is_ok_and(|version: u32| version < 6) {
            continue;
        }
        report.find(
            Finding::new(
                "postfix-protocol",
                Severity::Error,
                format!("{name} is {protocol}"),
                "Before version 6 a milter cannot say what it need not be sent, and every header and every part of a body costs a round trip.",
            )
            .run(postfix.set(service, "milter_protocol", "6"))
            .run(postfix.reload()),
        );
    }
    let mut needs = |list: &str, name: &str, severity: Severity, why: &str| {
        let bare = name.trim_matches(['{', '}']);
        for (service, named, value) in readings(postfix, list) {
            let has = super::postfix::words(value)
                .iter()
                .any(|word| word.trim_matches(['{', '}']) == bare);
            if has {
                continue;
            }
            let more = format!("{value} {name}");
            report.find(
                Finding::new(
                    "postfix-macros",
                    severity,
                    format!("{named} lacks {name}"),
                    why,
                )
                .run(postfix.set(service, list, more.trim()))
                .run(postfix.reload()),
            );
        }
    };
    needs(
        "milter_rcpt_macros",
        "{rcpt_addr}",
        Severity::Error,
        "Without the address as Postfix understands it, forms like army.ml!carl@our.host are judged by the wrong domain and a held recipient may still get a copy.",
    );
    let severity = if logins {
        Severity::Error
    } else {
        Severity::Warning
    };
    needs(
        "milter_mail_macros",
        "{auth_authen}",
        severity,
        "Without the login, nobody who logs in counts as one of your senders (gate.authenticated) and rules by login never fit.",
    );
    needs(
        "milter_end_of_data_macros",
        "i",
        Severity::Warning,
        "Without the queue id, a line of straymail's log cannot be found in Postfix's log.",
    );
    for (name, least, why) in [
        (
            "milter_command_timeout",
            COMMAND_TIMEOUT,
            "A busy disk lets straymail answer a recipient later than this, and Postfix then takes it for dead.",
        ),
        (
            "milter_content_timeout",
            CONTENT_TIMEOUT,
            "A held message is on the disk before straymail answers; on a busy disk that takes longer than this, and Postfix then takes it for dead.",
        ),
    ] {
        for (service, named, value) in readings(postfix, name) {
            let Some(seconds) = seconds(value) else {
                continue;
            };
            let (usual, why) = match name {
                "milter_command_timeout" if seconds >= CLIENT_PATIENCE => (
                    "30s",
                    "Clients give up after 300 s: were straymail to hang, they would see a broken connection instead of an answer.",
                ),
                _ if seconds >= least => continue,
                "milter_command_timeout" => ("30s", why),
                _ => ("300s", why),
            };
            report.find(
                Finding::new(
                    "postfix-timeout",
                    Severity::Warning,
                    format!("{named} is {seconds} s"),
                    why,
                )
                .run(postfix.set(service, name, usual))
                .run(postfix.reload()),
            );
        }
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

fn shown(service: &Service) -> String {
    format!("{}/{}", service.name, service.kind)
}

/// Returns the sockets that Postfix connects to and that are ours, each once, with whether it
/// is a chrooted service that does.
pub(super) fn used(postfix: &Postfix, doors: &[Door]) -> Vec<PathBuf> {
    let cleanup = postfix.service("cleanup", "unix");
    let lists = (postfix.receivers())
        .map(|service| postfix.milters(Some(service), "smtpd_milters"))
        .chain([postfix.milters(cleanup, "non_smtpd_milters")]);
    let mut paths = Vec::new();
    for list in lists {
        if let Some(Ours {
            door:
                Door {
                    place: Place::Unix { path, .. },
                    ..
                },
            ..
        }) = ours(&list, doors)
            && !paths.contains(path)
        {
            paths.push(path.clone());
        }
    }
    paths
}
