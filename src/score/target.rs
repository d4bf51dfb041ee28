//! A trusted name prepared for comparison.

use crate::domain::Domain;

use super::label_slip::{Letters, letters};
use super::name::Name;
use super::skeleton::Look;
use super::words;

/// Why a name is a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TargetKind {
    /// An entry of the trusted list.
    Entry,
    /// One of the site's own domains.
    Own,
    /// A known name below a trusted suffix.
    Known,
}

/// A trusted name prepared for comparison.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// A-labels.
    ascii: Box<str>,
    /// The ASCII look, where it differs from the A-labels.
    text: Option<Box<str>>,
    pub look: Look,
    pub kind: TargetKind,
    /// Whether it is one of the domains most mail goes to.
    pub frequent: bool,
    /// Whether it is so large, or its ending so small, that two slips are most likely meant for it.
    pub largest: bool,
    /// Whether such a domain is known with this ending only: there is no `gmail.fr`.
    pub one_ending: bool,
    /// The letters of the label, which prove most other labels far.
    pub letters: Letters,
    label_start: u8,
    suffix_start: u8,
}

impl Target {
    pub(super) fn of(domain: &Domain, kind: TargetKind, frequent: bool) -> Target {
        let name = Name::of(domain);
        let suffix_start = name.text.len() - domain.public_suffix().len();
        // Names are at most 253 bytes long, and a look is no longer than twice its A-labels; what
        // does not fit compares as a name without a label, which resembles nothing.
        let small = |offset: usize| u8::try_from(offset).unwrap_or(0);
        Target {
            ascii: domain.ascii().into(),
            text: (name.text != domain.ascii()).then(|| name.text.as_ref().into()),
            look: name.look,
            kind,
            frequent,
            largest: frequent
                && (domain.public_suffix() != "com"
                    || words::LARGEST.contains(&name.reading().label)),
            one_ending: false,
            letters: letters(name.reading().label.as_bytes()),
            label_start: small(name.label_start()),
            suffix_start: small(suffix_start),
        }
    }

    /// The organisation of a known name: `army.mil` of `jagcnet.army.mil`.
    pub(super) fn known(domain: &Domain) -> Target {
        let host = Target::of(domain, TargetKind::Known, false);
        let below = domain.below();
        if below.is_empty() {
            return host;
        }
        let cut = |text: &str, front: usize| Box::from(text.get(front..).unwrap_or(text));
        let front = host.label_start;
        Target {
            ascii: cut(&host.ascii, below.len() + 1),
            text: host.text.as_ref().map(|text| cut(text, usize::from(front))),
            label_start: 0,
            suffix_start: host.suffix_start - front,
            ..host
        }
    }

    /// The name in A-labels.
    pub(super) fn ascii(&self) -> &str {
        &self.ascii
    }

    /// The name in its ASCII look.
    pub(super) fn text(&self) -> &str {
        self.text.as_deref().unwrap_or(&self.ascii)
    }

    /// The registrable label.
    pub(super) fn label(&self) -> &str {
        self.text()
            .get(usize::from(self.label_start)..usize::from(self.suffix_start).saturating_sub(1))
            .unwrap_or_default()
    }

    /// The number of bytes of [`Target::label`].
    pub(super) fn label_length(&self) -> usize {
        let end = usize::from(self.suffix_start).saturating_sub(1);
        end.saturating_sub(usize::from(self.label_start))
    }

    /// The public suffix.
    pub(super) fn suffix(&self) -> &str {
        self.text()
            .get(usize::from(self.suffix_start)..)
            .unwrap_or_default()
    }

    /// What stands in front of the registrable domain.
    pub(super) fn below(&self) -> &str {
        self.text()
            .get(..usize::from(self.label_start).saturating_sub(1))
            .unwrap_or_default()
    }
}
