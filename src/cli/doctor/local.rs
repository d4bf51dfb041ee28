//! Mail of sendmail(1): whether straymail sees it, and by the right door.

use crate::policy::Role;

use super::attach::{no_milters, order, out_of_chroot, put_behind};
use super::door::{self, Door};
use super::finding::{Finding, Report, Severity};
use super::milters::{Milters, Ours};
use super::postfix::{Postfix, Service};

/// Checks the way of such mail through pickup and cleanup.
pub(super) fn check(postfix: &Postfix, doors: &[Door]) -> Report {
    let mut report = Report::default();
    let Some(pickup) = postfix.pickup() else {
        return report;
    };
    let list = Milters::of(postfix, postfix.cleanup(), "non_smtpd_milters");
    let passes_a_port = passes_a_port(postfix, pickup, doors);
    match list.ours(doors) {
        Some(ours) => asked(&list, &ours, doors, &mut report),
        None if passes_a_port => {}
        None => report.find(unasked(&list, pickup, doors)),
    }
    if list.ours(doors).is_some() && !passes_a_port {
        no_milters(postfix, pickup, &mut report);
    }
    report
}

/// Returns whether the content filter of such mail is a port of this Postfix that asks straymail:
/// any other filter may hand the mail in again without straymail hearing of it.
fn passes_a_port(postfix: &Postfix, pickup: &Service, doors: &[Door]) -> bool {
    let port = postfix.receiver_at(postfix.value(Some(pickup), "content_filter"));
    port.is_some_and(|port| {
        let list = Milters::of(postfix, Some(port), "smtpd_milters");
        list.ours(doors).is_some() && !port.has_no_milters(postfix)
    })
}

fn unasked(list: &Milters<'_>, pickup: &Service, doors: &[Door]) -> Finding {
    let postfix = list.postfix;
    let finding = Finding::new(
        "postfix-sendmail-mail",
        Severity::Warning,
        "mail of sendmail(1) does not pass straymail",
        "Mail of cron, scripts and web applications on this host is not judged.",
    );
    let own = door::of(doors, Role::Local);
    if own.is_some() {
        return put_behind(finding, list, doors, own);
    }
    if !postfix.value(Some(pickup), "content_filter").is_empty() {
        return finding.edit(
            "in milter.yaml: a listener of its own with role: local; then `straymail setup postfix`",
        );
    }
    let filter = format!("-P '{pickup}/content_filter=smtp:[127.0.0.1]:PORT'");
    finding.edit(format!(
        "{}, then `{}`; PORT is one of smtpd that asks straymail and takes mail from 127.0.0.1 without a login",
        postfix.command("postconf", &filter),
        postfix.reload(),
    ))
}

fn asked(list: &Milters<'_>, ours: &Ours<'_>, doors: &[Door], report: &mut Report) {
    if ours.is_out_of_reach {
        out_of_chroot(list, ours, report);
    }
    if ours.door.role == Role::Local {
        order(list, ours, report);
        return;
    }
    let finding = Finding::new(
        "postfix-local-role",
        Severity::Warning,
        format!(
            "non_smtpd_milters names the listener {} of another role than local",
            ours.milter.spec
        ),
        "Mail of sendmail(1) cannot be refused: a refused recipient would keep it in the maildrop queue for good.",
    );
    let own = door::of(doors, Role::Local);
    report.find(match own {
        Some(_) => put_behind(finding, list, doors, own),
        None => finding.edit(
            "in milter.yaml: a listener of its own with role: local; then `straymail setup postfix`",
        ),
    });
}
