//! How Postfix is attached: which services ask straymail, by which door, in what order.

use std::path::{Path, PathBuf};

use crate::policy::Role;

use super::door::{self, Door};
use super::finding::{Finding, Report, Severity};
use super::milter::words;
use super::milters::{self, Milters, Ours};
use super::place::Place;
use super::plan;
use super::postfix::{Postfix, Service};
use super::{local, proxy, terms};

/// Checks everything that Postfix's own settings say.
pub(super) fn check(postfix: &Postfix, doors: &[Door], wanted: terms::Wanted) -> Report {
    let mut report = Report::default();
    receivers(postfix, doors, &mut report);
    report.extend(local::check(postfix, doors));
    silent(postfix, doors, &mut report);
    report.extend(terms::check(postfix, doors, wanted));
    report
}

fn receivers(postfix: &Postfix, doors: &[Door], report: &mut Report) {
    let lists: Vec<(&Service, Milters<'_>)> = (postfix.receivers())
        .map(|service| {
            (
                service,
                Milters::of(postfix, Some(service), "smtpd_milters"),
            )
        })
        .collect();
    let any = lists.iter().any(|(_, list)| list.ours(doors).is_some());
    // The name of a host may be straymail's: two entries for it would ask twice.
    let may_ask = lists.iter().any(|(_, list)| list.may_be_ours(doors));
    if !any && !may_ask {
        nobody_asks(postfix, doors, report);
    }
    let mut is_misplaced = false;
    for (service, list) in &lists {
        let Some(ours) = list.ours(doors) else {
            untold(list, report);
            if any {
                not_asked(service, list, doors, report);
            }
            continue;
        };
        if let Some(finding) = proxy::check(service, list, &ours, doors) {
            report.find(finding);
            continue;
        }
        if ours.is_out_of_reach {
            out_of_chroot(list, &ours, report);
        }
        order(list, &ours, report);
        if !ours.door.fits(service) && !is_misplaced {
            // The remedy is for all services at once.
            is_misplaced = true;
            report.find(misplaced(service, &ours, postfix, doors));
        }
        if let Place::Inet(..) = ours.milter.place {
            report.find(by_tcp(list, &ours, doors));
        }
        no_milters(postfix, service, report);
    }
    if let Some((service, _)) = (lists.iter())
        .find(|(service, _)| !postfix.value(Some(service), "smtpd_milter_maps").is_empty())
    {
        report.find(Finding::new(
            "postfix-milter-maps",
            Severity::Note,
            format!("{service}: smtpd_milter_maps is set"),
            "For clients listed there other milters, or none, are asked than smtpd_milters says.",
        ));
    }
}

/// Says which milters of a list without straymail may be straymail and may be not.
fn untold(list: &Milters<'_>, report: &mut Report) {
    for milter in &list.milters {
        if matches!(&milter.place, Place::Inet(hosts, _) if hosts.is_empty()) {
            report.skip(format!(
                "{}whether {} is straymail: the name is not known here",
                list.whose(),
                milter.spec
            ));
        }
    }
}

fn nobody_asks(postfix: &Postfix, doors: &[Door], report: &mut Report) {
    let finding = Finding::new(
        "postfix-milter",
        Severity::Error,
        "no service of Postfix asks straymail",
        "No mail is judged.",
    );
    report.find(carried_out(finding, postfix, doors));
}

/// Adds what carries out the plan.
fn carried_out(finding: Finding, postfix: &Postfix, doors: &[Door]) -> Finding {
    let plan = plan::by_smtp(postfix, doors);
    if let Some(first) = plan.iter().find(|attachment| attachment.is_out_of_reach()) {
        return finding.edit(move_below("smtpd", first.door, postfix.queue_directory()));
    }
    if plan.is_empty() {
        return finding
            .edit("in milter.yaml: a listener with role: relay; then `straymail setup postfix`");
    }
    let mut finding = finding;
    // What is new comes first: no service is left without straymail meanwhile.
    for attachment in plan.iter().rev() {
        if let Some(spec) = attachment.spec() {
            finding = finding.run(attachment.set(doors, &spec));
        }
    }
    let finding = finding.run(postfix.reload());
    let left_out: Vec<&str> = (plan.iter().flat_map(|one| one.left_out(doors))).collect();
    match left_out.first() {
        Some(first) => finding.edit(format!(
            "nobody answers at {first}, which is left out as a former address of straymail; if it is another milter, start it and put it in front again"
        )),
        None => finding,
    }
}

fn misplaced(service: &Service, ours: &Ours<'_>, postfix: &Postfix, doors: &[Door]) -> Finding {
    let finding = Finding::new(
        "postfix-role",
        Severity::Warning,
        format!(
            "{service} asks {}, the listener of role submission",
            ours.milter.spec
        ),
        "Mail from the outside that comes in here is judged as if your own senders had sent it.",
    );
    match door::of(doors, Role::Relay) {
        Some(_) => carried_out(finding, postfix, doors),
        None => finding.edit(
            "in milter.yaml: role: relay at this listener, which tells your senders by gate.networks and by their login; then `systemctl restart straymail`",
        ),
    }
}

fn by_tcp(list: &Milters<'_>, ours: &Ours<'_>, doors: &[Door]) -> Finding {
    let postfix = list.postfix;
    let place = "straymail/milter.sock";
    let new = list.behind(doors, &format!("unix:{place}"));
    Finding::new(
        "postfix-tcp",
        Severity::Warning,
        format!(
            "{}straymail is asked over TCP ({})",
            list.whose(),
            ours.milter.spec
        ),
        "Every local account can speak to the port, and each message takes longer than over a UNIX socket, where file permissions decide.",
    )
    .edit(format!(
        "in milter.yaml at this listener: socket: unix:{}/{place}, group: {}; then `systemctl restart straymail` and `{} && {}`",
        postfix.queue_directory().display(),
        postfix.parameter("mail_owner"),
        list.set(&new),
        postfix.reload(),
    ))
}

/// Says that the door has to be in the chroot first: inside of it a path outside names nothing, and
/// asking there would defer all mail.
fn move_below(service: &str, door: &Door, queue: &Path) -> String {
    format!(
        "{service} runs in a chroot and cannot reach that socket: in milter.yaml at this listener socket: unix:{}/straymail/{}, then restart straymail and run the lines of straymail setup postfix",
        queue.display(),
        door.file_name(),
    )
}

/// Adds what puts straymail's `door` behind the milters of a list.
pub(super) fn put_behind(
    finding: Finding,
    list: &Milters<'_>,
    doors: &[Door],
    door: Option<&Door>,
) -> Finding {
    let queue = list.postfix.queue_directory();
    let Some((door, spec)) = door.and_then(|door| Some((door, door.spec(queue)?))) else {
        return finding;
    };
    if let Some(service) = list.service.filter(|service| service.chroot)
        && spec.starts_with("unix:/")
    {
        return finding.edit(move_below(&service.to_string(), door, queue));
    }
    finding
        .run(list.set(&list.behind(doors, &spec)))
        .run(list.postfix.reload())
}

fn not_asked(service: &Service, list: &Milters<'_>, doors: &[Door], report: &mut Report) {
    let found = match &*list.milters {
        [] => format!("{service}: smtpd_milters is empty"),
        _ => format!("{service}: straymail is not among its smtpd_milters"),
    };
    let finding = |severity, why| Finding::new("postfix-unasked", severity, found, why);
    if let Some(finding) = proxy::unasked(service, list.postfix, doors) {
        report.find(finding);
        return;
    }
    if service.is_behind_filter() {
        report.find(finding(Severity::Note, AFTER_A_FILTER));
        return;
    }
    if !service.is_submission() {
        let finding = finding(
            Severity::Note,
            "Mail from the outside need not be judged, but senders who hand in here are not asked either; a listener of role relay tells the two apart.",
        );
        let door = door::of(doors, Role::Relay).filter(|_| !list.milters.is_empty());
        report.find(put_behind(finding, list, doors, door));
        return;
    }
    let finding = finding(
        Severity::Error,
        "Senders hand in their mail here, and none of it is judged.",
    );
    let door = door::for_senders(doors);
    // Through main.cf it would come to ports from the outside as well.
    let own = !service.overrides.contains_key(list.name);
    let spec = door.and_then(|door| door.spec(list.postfix.queue_directory()));
    let is_out_of_reach = |spec: &String| service.chroot && spec.starts_with("unix:/");
    report.find(match spec.filter(|spec| own && !is_out_of_reach(spec)) {
        Some(spec) => finding
            .run(
                list.postfix
                    .set_own(service, list.name, &list.behind(doors, &spec)),
            )
            .run(list.postfix.reload()),
        None => put_behind(finding, list, doors, door),
    });
}

/// A milter that is away takes straymail's mail with it.
fn silent(postfix: &Postfix, doors: &[Door], report: &mut Report) {
    let mut told = Vec::new();
    for list in milters::all(postfix) {
        let Some(ours) = list.ours(doors) else {
            continue;
        };
        let former = list.former(doors);
        for at in list.silent(doors) {
            let Some(milter) = list.milters.get(at) else {
                continue;
            };
            let command = list.set(&list.without_and_last(at, ours.at));
            if told.contains(&command) {
                continue;
            }
            let action = (milter.option("default_action"))
                .unwrap_or_else(|| postfix.value(list.service, "milter_default_action"));
            let (severity, why) = match action {
                "accept" => (
                    Severity::Warning,
                    "Mail passes without it. If it is a former address of straymail, take it out; if it is another milter, start it.",
                ),
                "quarantine" => (
                    Severity::Error,
                    "All mail is put on hold until it answers. If it is a former address of straymail, take it out; if it is another milter, start it.",
                ),
                _ => (
                    Severity::Error,
                    "Mail is put off or refused until it answers. If it is a former address of straymail, take it out; if it is another milter, start it.",
                ),
            };
            let found = format!(
                "{}nobody answers at {} of {}",
                list.whose(),
                milter.spec,
                list.name
            );
            let finding = Finding::new("postfix-silent", severity, found, why);
            report.find(match former.contains(&at) {
                true => finding.run(command.clone()).run(postfix.reload()),
                // What signs or scans is to be there again, and not to be forgotten.
                false => finding.edit(format!(
                    "start it, or leave it out: `{command} && {}`",
                    postfix.reload()
                )),
            });
            told.push(command);
        }
    }
}

/// Straymail is in the list, and the text names another place for this service.
pub(super) fn out_of_chroot(list: &Milters<'_>, ours: &Ours<'_>, report: &mut Report) {
    let Some(service) = list.service else { return };
    let (postfix, spec) = (list.postfix, &ours.milter.spec);
    let queue = postfix.queue_directory();
    let found = match service.chroot {
        true => format!(
            "{service} runs in a chroot, where {spec} is below {}",
            queue.display()
        ),
        false => format!(
            "{service} runs in no chroot, where {spec} is not below {}",
            queue.display()
        ),
    };
    let finding = Finding::new(
        "postfix-chroot",
        Severity::Error,
        found,
        "Nothing is there, so every message meets milter_default_action.",
    );
    let inside = (ours.door.spec(queue)).filter(|spec| !spec.starts_with("unix:/"));
    let finding = match inside {
        // The socket is in reach; a path without a slash in front is the same for both.
        Some(inside) => finding.run(list.set(&list.with(ours.at, &inside))),
        None => finding
            .run(postfix.command("postconf", &format!("-F {service}/chroot=n")))
            .edit(format!(
                "or keep the chroot: in milter.yaml at this listener socket: unix:{}/straymail/{}, then restart straymail and run `{} && {}`",
                queue.display(),
                ours.door.file_name(),
                list.set(&list.with(ours.at, &format!("unix:straymail/{}", ours.door.file_name()))),
                postfix.reload(),
            )),
    };
    report.find(finding.run(postfix.reload()));
}

/// Straymail is to be the last of a list.
pub(super) fn order(list: &Milters<'_>, ours: &Ours<'_>, report: &mut Report) {
    if ours.at + 1 >= list.milters.len() {
        return;
    }
    let mut order: Vec<&str> = list.milters.iter().map(|milter| &*milter.spec).collect();
    let own = order.remove(ours.at);
    order.push(own);
    report.find(
        Finding::new(
            "postfix-order",
            Severity::Error,
            format!("{}straymail is not the last of {}", list.whose(), list.name),
            "A milter after it may refuse a message whose recipient straymail has already taken into the quarantine.",
        )
        .run(list.set(&order.join(", ")))
        .run(list.postfix.reload()),
    );
}

/// What is said of a port that only programs on this host reach.
const AFTER_A_FILTER: &str = "Mail that programs on this host hand in here is not judged; fine for mail that was judged before.";

/// Straymail is asked by a service whose milters are all switched off.
pub(super) fn no_milters(postfix: &Postfix, service: &Service, report: &mut Report) {
    if !service.has_no_milters(postfix) {
        return;
    }
    let name = "receive_override_options";
    let found = format!("{service}: {name} has no_milters");
    let finding = |severity, why| Finding::new("postfix-no-milters", severity, found, why);
    if service.command == "smtpd" && service.is_behind_filter() {
        report.find(finding(Severity::Note, AFTER_A_FILTER));
        return;
    }
    let options = words(postfix.value(Some(service), name));
    let kept: Vec<&str> = (options.iter().map(String::as_str))
        .filter(|option| *option != "no_milters")
        .collect();
    report.find(
        finding(
            Severity::Error,
            "It switches off every milter of this service, straymail too.",
        )
        .run(postfix.set(Some(service), name, &kept.join(",")))
        .run(postfix.reload()),
    );
}

/// Returns the sockets of ours that Postfix connects to, each once.
pub(super) fn used(postfix: &Postfix, doors: &[Door]) -> Vec<PathBuf> {
    let mut paths = Vec::new();
    for list in milters::all(postfix) {
        if let Some(ours) = list.ours(doors)
            && let Place::Unix { path, .. } = &ours.door.place
            && !paths.contains(path)
        {
            paths.push(path.clone());
        }
    }
    paths
}
