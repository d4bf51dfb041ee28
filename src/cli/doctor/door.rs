//! Where straymail listens, and which door is for which mail.

use std::path::Path;

use crate::policy::Role;

use super::place::Place;
use super::postfix::Service;

/// Where straymail listens, and for what.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Door {
    pub(super) place: Place,
    pub(super) role: Role,
}

impl Door {
    /// Returns the text that Postfix is given for it, so that it works inside a chroot and
    /// outside.
    pub(super) fn spec(&self, queue: &Path) -> Option<String> {
        match &self.place {
            Place::Unix { path, .. } => Some(match path.strip_prefix(queue) {
                Ok(below) => format!("unix:{}", below.display()),
                Err(_) => format!("unix:{}", path.display()),
            }),
            Place::Inet(hosts, port) => Some(match hosts.first()? {
                ip if ip.is_ipv6() => format!("inet:[{ip}]:{port}"),
                ip => format!("inet:{ip}:{port}"),
            }),
            Place::Unknown => None,
        }
    }

    /// Returns the name of its socket within its directory.
    pub(super) fn file_name(&self) -> String {
        match &self.place {
            Place::Unix { path, .. } => path.file_name().unwrap_or_default().to_string_lossy(),
            _ => "milter.sock".into(),
        }
        .into_owned()
    }

    /// Returns whether mail of this service may come in by it: a listener of role submission
    /// judges mail from the outside as if it were of the site's senders.
    pub(super) fn fits(&self, service: &Service) -> bool {
        self.role != Role::Submission || service.is_submission() || service.is_loopback()
    }
}

/// Returns the first door of a role.
pub(super) fn of(doors: &[Door], role: Role) -> Option<&Door> {
    doors.iter().find(|door| door.role == role)
}

/// Returns the door for a port where senders hand in their mail.
pub(super) fn for_senders(doors: &[Door]) -> Option<&Door> {
    of(doors, Role::Submission).or_else(|| of(doors, Role::Relay))
}
