//! A list of milters, as one service of Postfix reads it, and which of them is straymail.

use super::door::Door;
use super::milter::Milter;
use super::place::Place;
use super::postfix::{Postfix, Service};

/// The list of milters of one service, or of main.cf.
#[derive(Clone, Debug)]
pub(super) struct Milters<'a> {
    pub(super) postfix: &'a Postfix,
    /// `None` for main.cf.
    pub(super) service: Option<&'a Service>,
    /// `smtpd_milters` or `non_smtpd_milters`.
    pub(super) name: &'static str,
    pub(super) milters: Vec<Milter>,
}

/// The milter of a list that is one of ours.
#[derive(Clone, Debug)]
pub(super) struct Ours<'a> {
    pub(super) door: &'a Door,
    /// Its place in the list, from 0.
    pub(super) at: usize,
    pub(super) milter: Milter,
    /// The service would find it on the other side of the chroot, and so does not.
    pub(super) is_out_of_reach: bool,
}

/// Names of programs that are milters, as they stand in the paths of their sockets.
const OTHERS: &[&str] = &[
    "amavis", "arc", "clam", "dkim", "dmarc", "grey", "rspamd", "sid", "spam", "spf",
];
/// Ports that other milters come with, or are given in most instructions: rspamd, OpenDKIM (two),
/// OpenDMARC (two), clamav-milter.
const OTHER_PORTS: &[u16] = &[11332, 8891, 12301, 8893, 54321, 7357];

/// Returns the lists of all services that take mail, that of sendmail(1) last.
pub(super) fn all(postfix: &Postfix) -> Vec<Milters<'_>> {
    (postfix.receivers())
        .map(|service| Milters::of(postfix, Some(service), "smtpd_milters"))
        .chain([Milters::of(postfix, postfix.cleanup(), "non_smtpd_milters")])
        .collect()
}

impl<'a> Milters<'a> {
    pub(super) fn of(
        postfix: &'a Postfix,
        service: Option<&'a Service>,
        name: &'static str,
    ) -> Milters<'a> {
        Milters {
            postfix,
            service,
            name,
            milters: postfix.milters(service, name),
        }
    }

    /// Returns the service with a colon, for the beginning of a sentence.
    pub(super) fn whose(&self) -> String {
        (self.service).map_or_else(String::new, |service| format!("{service}: "))
    }

    /// Returns the milter that is one of ours.
    pub(super) fn ours<'d>(&self, doors: &'d [Door]) -> Option<Ours<'d>> {
        (self.milters.iter().enumerate()).find_map(|(at, milter)| ours(at, milter, doors))
    }

    /// Returns whether one of the milters has the port of a door, at a host that is not known here.
    pub(super) fn may_be_ours(&self, doors: &[Door]) -> bool {
        let has = |of: u16| {
            doors
                .iter()
                .any(|d| matches!(d.place, Place::Inet(_, port) if port == of))
        };
        (self.milters.iter())
            .any(|m| matches!(&m.place, Place::Inet(hosts, port) if hosts.is_empty() && has(*port)))
    }

    /// Returns the places in the list at which nobody answers, and that are not ours.
    pub(super) fn silent(&self, doors: &[Door]) -> Vec<usize> {
        let silent = |(_, milter): &(usize, &Milter)| {
            ours(0, milter, doors).is_none() && self.postfix.silent.contains(&milter.place)
        };
        let milters = self.milters.iter().enumerate();
        milters.filter(silent).map(|(at, _)| at).collect()
    }

    /// Returns those at which nobody answers and that straymail has most likely listened at
    /// before: its name is in the path, or it stands where straymail does, at the end of a list
    /// that does not ask straymail elsewhere, and is not known as another.
    pub(super) fn former(&self, doors: &[Door]) -> Vec<usize> {
        let is_asked = self.ours(doors).is_some();
        let mut former = self.silent(doors);
        former.retain(|&at| {
            let Some(milter) = self.milters.get(at) else {
                return false;
            };
            let is_last = at + 1 == self.milters.len() && !is_asked;
            let is_named = milter.spec.contains("straymail");
            is_named || (is_last && !is_another(milter))
        });
        former
    }

    /// Returns the list with `spec` behind all others, and without what straymail was before.
    pub(super) fn behind(&self, doors: &[Door], spec: &str) -> String {
        let former = self.former(doors);
        let mut specs: Vec<&str> = (self.milters.iter().enumerate())
            .filter(|(at, milter)| {
                let ours = ours(0, milter, doors).is_some();
                !ours && milter.spec != spec && !former.contains(at)
            })
            .map(|(_, milter)| &*milter.spec)
            .collect();
        specs.push(spec);
        specs.join(", ")
    }

    /// Returns the list with another text at a place.
    pub(super) fn with(&self, at: usize, spec: &str) -> String {
        let specs = self.milters.iter().enumerate();
        let specs = specs.map(|(own, milter)| if own == at { spec } else { &milter.spec });
        specs.collect::<Vec<_>>().join(", ")
    }

    /// Returns the list without what stands at a place.
    pub(super) fn without(&self, at: usize) -> String {
        let specs = self.milters.iter().enumerate();
        let specs = specs.filter(|(own, _)| *own != at);
        specs.map(|(_, m)| &*m.spec).collect::<Vec<_>>().join(", ")
    }

    /// Returns the list without what stands at a place, and with what stands at `last` as its
    /// last.
    pub(super) fn without_and_last(&self, at: usize, last: usize) -> String {
        let specs = self.milters.iter().enumerate();
        let specs = specs.filter(|(own, _)| *own != at && *own != last);
        let specs = specs.map(|(_, milter)| &*milter.spec);
        let last = self.milters.get(last).map(|milter| &*milter.spec);
        specs.chain(last).collect::<Vec<_>>().join(", ")
    }

    /// Returns the shell line that makes the list this one.
    pub(super) fn set(&self, list: &str) -> String {
        self.postfix.set(self.service, self.name, list)
    }
}

/// Returns whether it is known as somebody else's.
fn is_another(milter: &Milter) -> bool {
    match &milter.place {
        Place::Inet(_, port) => OTHER_PORTS.contains(port),
        Place::Unix { .. } => {
            let spec = milter.spec.to_ascii_lowercase();
            OTHERS.iter().any(|name| spec.contains(name))
        }
        Place::Unknown => true,
    }
}

fn ours<'d>(at: usize, milter: &Milter, doors: &'d [Door]) -> Option<Ours<'d>> {
    let there = |place: &Place| doors.iter().find(|door| door.place.is_at(place));
    let found = |door, is_out_of_reach| Ours {
        door,
        at,
        milter: milter.clone(),
        is_out_of_reach,
    };
    if let Some(door) = there(&milter.place) {
        return Some(found(door, false));
    }
    let Place::Unix {
        meant: Some(meant), ..
    } = &milter.place
    else {
        return None;
    };
    let door = there(&Place::Unix {
        path: meant.clone(),
        meant: None,
    })?;
    Some(found(door, true))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::Role;

    /// What becomes of a list of which nobody but straymail answers.
    fn behind(list: &str) -> String {
        let mut postfix = Postfix {
            parameters: [("smtpd_milters", list), ("queue_directory", "/nowhere/q")]
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .into(),
            ..Postfix::default()
        };
        let door = Door {
            place: Place::Unix {
                path: "/nowhere/q/s/m.sock".into(),
                meant: None,
            },
            role: Role::Relay,
        };
        let milters = postfix.milters(None, "smtpd_milters");
        postfix.silent = milters.into_iter().map(|milter| milter.place).collect();
        Milters::of(&postfix, None, "smtpd_milters").behind(&[door], "unix:s/m.sock")
    }

    #[test]
    fn what_straymail_was_before_is_left_out_and_what_others_are_stays() {
        for (list, expected) in [
            ("inet:127.0.0.1:26891", "unix:s/m.sock"),
            (
                "{ inet:127.0.0.1:26891, default_action=accept }",
                "unix:s/m.sock",
            ),
            ("unix:/run/straymail/m.sock, unix:s/m.sock", "unix:s/m.sock"),
            ("unix:/run/straymail/m.sock, unix:a", "unix:s/m.sock"),
            (
                "inet:localhost:11332",
                "inet:localhost:11332, unix:s/m.sock",
            ),
            (
                "unix:/run/opendkim/o.sock",
                "unix:/run/opendkim/o.sock, unix:s/m.sock",
            ),
            (
                "inet:127.0.0.1:1, unix:s/m.sock",
                "inet:127.0.0.1:1, unix:s/m.sock",
            ),
            (
                "inet:127.0.0.1:1, inet:127.0.0.1:2",
                "inet:127.0.0.1:1, unix:s/m.sock",
            ),
            ("", "unix:s/m.sock"),
        ] {
            assert_eq!(behind(list), expected, "{list}");
        }
    }
}
