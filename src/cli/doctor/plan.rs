//! Where straymail belongs in the lists of Postfix: by which door, at which service.
//!
//! `setup` prints the plan, the doctor runs the part of it that mends. What was emptied on
//! purpose stays empty, and a service that asks a door that fits it keeps that door.

use crate::policy::Role;

use super::door::{self, Door};
use super::milters::{Milters, Ours};
use super::postfix::{Postfix, Service};

/// One list that straymail belongs into.
pub(super) struct Attachment<'a> {
    pub(super) list: Milters<'a>,
    pub(super) door: &'a Door,
    /// Whether a service that reads it runs in a chroot.
    pub(super) is_chrooted: bool,
    /// Gives the service a list of its own, where it reads that of main.cf today.
    is_new: bool,
}

impl Attachment<'_> {
    /// Returns how Postfix names the door; `None` when systemd does not say where it is.
    pub(super) fn spec(&self) -> Option<String> {
        self.door.spec(self.list.postfix.queue_directory())
    }

    /// Returns whether the chroot keeps a service from the door.
    pub(super) fn is_out_of_reach(&self) -> bool {
        let spec = self.spec();
        self.is_chrooted && spec.is_some_and(|spec| spec.starts_with("unix:/"))
    }

    /// Returns the list with the door as its last; the rest of it stays.
    pub(super) fn set(&self, doors: &[Door], spec: &str) -> String {
        let list = self.list.behind(doors, spec);
        match self.list.service {
            Some(service) if self.is_new => {
                (self.list.postfix).set_own(service, self.list.name, &list)
            }
            _ => self.list.set(&list),
        }
    }

    /// Returns those of its milters that are left out, for straymail was most likely there
    /// before.
    pub(super) fn left_out(&self, doors: &[Door]) -> Vec<&str> {
        let former = self.list.former(doors).into_iter();
        let spec = |at: usize| Some(&*self.list.milters.get(at)?.spec);
        former.filter_map(spec).collect()
    }
}

/// Returns the lists of SMTP services that straymail belongs into.
pub(super) fn by_smtp<'a>(postfix: &'a Postfix, doors: &'a [Door]) -> Vec<Attachment<'a>> {
    let (own, inherit): (Vec<&Service>, Vec<&Service>) =
        (postfix.receivers()).partition(|service| service.overrides.contains_key("smtpd_milters"));
    let attach = |service: &'a Service, door, is_new| Attachment {
        list: Milters::of(postfix, Some(service), "smtpd_milters"),
        door,
        is_chrooted: service.chroot,
        is_new,
    };
    let mut plan = Vec::new();
    let shared = for_all(postfix, doors, &inherit);
    if let Some(door) = shared {
        plan.push(Attachment {
            list: Milters::of(postfix, None, "smtpd_milters"),
            door,
            is_chrooted: inherit.iter().any(|service| service.chroot),
            is_new: false,
        });
    }
    for service in inherit.iter().filter(|service| service.is_submission()) {
        let door = kept(postfix, service, doors).or(door::for_senders(doors));
        if let Some(door) = door.filter(|door| shared != Some(door)) {
            plan.push(attach(service, door, true));
        }
    }
    // For a port that is open to the outside only a list that is not empty was meant to be asked.
    let emptied = |service: &Service| postfix.milters(Some(service), "smtpd_milters").is_empty();
    let is_meant = |service: &&&Service| {
        service.is_submission() || !(service.is_behind_filter() || emptied(service))
    };
    let mut meant: Vec<&Service> = own.iter().filter(is_meant).copied().collect();
    if meant.is_empty() && plan.is_empty() {
        meant = (own.into_iter())
            .filter(|service| !service.is_behind_filter())
            .collect();
    }
    for service in meant {
        let door = kept(postfix, service, doors).or_else(|| match service.is_submission() {
            true => door::for_senders(doors),
            false => door::of(doors, Role::Relay),
        });
        plan.extend(door.map(|door| attach(service, door, false)));
    }
    plan
}

/// Returns the list of sendmail(1) that straymail belongs into.
pub(super) fn by_sendmail<'a>(postfix: &'a Postfix, doors: &'a [Door]) -> Option<Attachment<'a>> {
    let cleanup = postfix.cleanup();
    Some(Attachment {
        list: Milters::of(postfix, cleanup, "non_smtpd_milters"),
        door: door::of(doors, Role::Local)?,
        is_chrooted: cleanup.is_some_and(|service| service.chroot),
        is_new: false,
    })
}

/// Returns the door that `service` asks already, if it fits.
fn kept<'a>(postfix: &'a Postfix, service: &Service, doors: &'a [Door]) -> Option<&'a Door> {
    let Ours { door, .. } = Milters::of(postfix, Some(service), "smtpd_milters").ours(doors)?;
    Some(door).filter(|door| door.fits(service) && door.role != Role::Local)
}

/// Returns the door of main.cf, for the services that have no list of their own.
fn for_all<'a>(postfix: &Postfix, doors: &'a [Door], inherit: &[&Service]) -> Option<&'a Door> {
    let relay = door::of(doors, Role::Relay);
    let asked = Milters::of(postfix, None, "smtpd_milters").ours(doors);
    let asked = asked
        .map(|ours| ours.door)
        .filter(|door| door.role != Role::Local);
    if inherit.iter().all(|service| service.is_submission()) {
        let first = inherit.first()?;
        return asked
            .filter(|door| door.fits(first))
            .or(door::for_senders(doors));
    }
    let relay = asked.filter(|door| door.role == Role::Relay).or(relay);
    // One port for everything, and one listener.
    let alone = || !postfix.receivers().any(Service::is_submission);
    relay.or_else(|| door::of(doors, Role::Submission).filter(|_| alone()))
}
