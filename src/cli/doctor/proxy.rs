//! Mail that passes a proxy filter: there a milter sees the commands and changes nothing.
//!
//! MILTER_README: with `smtpd_proxy_filter` a milter cannot modify the message or its envelope.
//! What straymail holds would be delivered all the same, so it belongs behind the filter.

use super::door::Door;
use super::finding::{Finding, Severity};
use super::milters::{Milters, Ours};
use super::postfix::{Postfix, Service};

const LIST: &str = "smtpd_milters";

/// Says that straymail is asked in front of the filter.
pub(super) fn check(
    service: &Service,
    list: &Milters<'_>,
    ours: &Ours<'_>,
    doors: &[Door],
) -> Option<Finding> {
    let postfix = list.postfix;
    let filter = filter(postfix, service)?;
    let finding = Finding::new(
        "postfix-proxy-filter",
        Severity::Error,
        format!("{service} asks straymail in front of smtpd_proxy_filter = {filter}"),
        "There a milter can remove no recipient: what is held is delivered all the same.",
    );
    let after = behind(postfix, filter);
    let finding = after_filter(finding, after, ours.door, doors, postfix);
    Some(match after {
        Some(_) => finding
            .run(postfix.set_own(service, LIST, &list.without(ours.at)))
            .run(postfix.reload()),
        None => finding,
    })
}

/// Says what becomes of mail whose service does not ask straymail, when it passes a filter.
pub(super) fn unasked(service: &Service, postfix: &Postfix, doors: &[Door]) -> Option<Finding> {
    let filter = filter(postfix, service)?;
    let after = behind(postfix, filter);
    let asks = after.is_some_and(|after| {
        Milters::of(postfix, Some(after), LIST)
            .ours(doors)
            .is_some()
    });
    let found =
        format!("{service} does not ask straymail in front of smtpd_proxy_filter = {filter}");
    if asks {
        let why = "As it should be: the service behind the filter asks.";
        return Some(Finding::new(
            "postfix-proxy-filter",
            Severity::Note,
            found,
            why,
        ));
    }
    let door = super::door::for_senders(doors).filter(|_| service.is_submission())?;
    let finding = Finding::new(
        "postfix-proxy-filter",
        Severity::Error,
        format!("{found}, and nothing behind it does"),
        "Senders hand in their mail here, and none of it is judged.",
    );
    let finding = after_filter(finding, after, door, doors, postfix);
    Some(match after {
        Some(_) => finding.run(postfix.reload()),
        None => finding,
    })
}

fn filter<'a>(postfix: &'a Postfix, service: &'a Service) -> Option<&'a str> {
    let filter = postfix.value(Some(service), "smtpd_proxy_filter");
    (!filter.is_empty()).then_some(filter)
}

/// Returns the service that the filter hands its mail to, if there is only one that it may be.
fn behind<'a>(postfix: &'a Postfix, of: &str) -> Option<&'a Service> {
    if let Some(service) = postfix.receiver_at(of) {
        return Some(service);
    }
    // SMTPD_PROXY_README: the service behind may be told the client by XFORWARD.
    let told = ["smtpd_authorized_xforward_hosts", "smtpd_proxy_filter"];
    let mut may = postfix.receivers().filter(|service| {
        service.is_behind_filter()
            && filter(postfix, service).is_none()
            && told
                .iter()
                .any(|name| service.overrides.contains_key(*name))
    });
    may.next().filter(|_| may.next().is_none())
}

/// Adds what makes the service behind the filter ask.
fn after_filter(
    finding: Finding,
    after: Option<&Service>,
    door: &Door,
    doors: &[Door],
    postfix: &Postfix,
) -> Finding {
    let spec = door.spec(postfix.queue_directory());
    let Some((after, spec)) = after.zip(spec) else {
        return finding.edit(
            "in master.cf: straymail in smtpd_milters of the smtpd that takes the mail back from the filter, and not in front of it",
        );
    };
    let list = Milters::of(postfix, Some(after), LIST);
    let finding = finding.run(postfix.set_own(after, LIST, &list.behind(doors, &spec)));
    if !after.has_no_milters(postfix) {
        return finding;
    }
    let name = "receive_override_options";
    let mut kept = super::milter::words(postfix.value(Some(after), name));
    kept.retain(|option| option != "no_milters");
    finding.run(postfix.set_own(after, name, &kept.join(",")))
}
