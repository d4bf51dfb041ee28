//! A name prepared for comparison: its ASCII look, split in the ways it may have been meant.

use std::borrow::Cow;

use crate::domain::{Domain, MAX_DOMAIN};

use super::skeleton::{Look, look};
use super::words::{SECOND_LEVEL_NAMES, second_level};

/// One way to split a name into label and suffix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reading<'n> {
    /// What stands in front of the label, without the dot between.
    pub below: &'n str,
    pub label: &'n str,
    pub suffix: &'n str,
    /// Whether mail to the suffix can be delivered.
    pub listed: bool,
}

/// A name in its ASCII look.
#[derive(Clone, Debug)]
pub(super) struct Name<'d> {
    /// The whole name; international labels in front of the suffix as they look in ASCII.
    pub text: Cow<'d, str>,
    /// What the look left out.
    pub look: Look,
    suffix_start: usize,
    label_start: usize,
    listed: bool,
}

impl<'d> Name<'d> {
    pub(super) fn of(domain: &'d Domain) -> Name<'d> {
        let ascii = domain.ascii();
        if !domain.is_international() {
            return Name::plain(domain);
        }
        let suffix_labels = domain.public_suffix().split('.').count();
        let labels: Vec<&str> = domain.unicode().split('.').collect();
        let front = labels.len().saturating_sub(suffix_labels);
        let mut text = String::with_capacity(ascii.len());
        let mut how = Look::default();
        let mut label_start = 0;
        for label in labels.iter().take(front) {
            label_start = text.len();
            let (look, label_how) = look(label);
            text.push_str(&look);
            text.push('.');
            how.accent |= label_how.accent;
            how.foreign |= label_how.foreign;
            how.latin |= label_how.latin;
        }
        let suffix_start = text.len();
        text.push_str(domain.public_suffix());
        if text.len() > MAX_DOMAIN {
            // Some letters look like two; a name that grows out of bounds is compared as it is.
            return Name::plain(domain);
        }
        Name {
            text: Cow::Owned(text),
            look: how,
            suffix_start,
            label_start,
            listed: domain.suffix_is_listed(),
        }
    }

    /// A name that is its own look.
    fn plain(domain: &'d Domain) -> Name<'d> {
        let ascii = domain.ascii();
        let suffix_start = ascii.len() - domain.public_suffix().len();
        Name {
            text: Cow::Borrowed(ascii),
            look: Look::default(),
            suffix_start,
            label_start: suffix_start.saturating_sub(domain.label().len() + 1),
            listed: domain.suffix_is_listed(),
        }
    }

    /// Returns the split of the public suffix list.
    pub(super) fn reading(&self) -> Reading<'_> {
        self.split(self.label_start, self.suffix_start, self.listed)
    }

    /// Returns the other way to split the name, if there is one.
    ///
    /// `hsbc.com.bp` may be `hsbc` + `com.bp`, because `bp` is no top-level domain; so may
    /// `hsbc.co.au`, because `co` is what a company has elsewhere, and `hsbc.ocm.au`.
    pub(super) fn second_reading(&self) -> Option<Reading<'_>> {
        let (start, _) = self.second_span()?;
        Some(self.split(start, self.label_start, self.listed))
    }

    /// Returns where the label of [`Name::second_reading`] begins and ends.
    pub(super) fn second_span(&self) -> Option<(usize, usize)> {
        if self.label_start == 0 {
            return None;
        }
        let first = self.reading();
        if first.listed && !nearly_second_level(&first) {
            return None;
        }
        let before = first.below.rsplit('.').next().filter(|l| !l.is_empty())?;
        let end = self.label_start.checked_sub(1)?;
        Some((end.checked_sub(before.len())?, end))
    }

    fn split(&self, label_start: usize, suffix_start: usize, listed: bool) -> Reading<'_> {
        let text: &str = &self.text;
        Reading {
            below: text
                .get(..label_start.saturating_sub(1))
                .unwrap_or_default(),
            label: text
                .get(label_start..suffix_start.saturating_sub(1))
                .unwrap_or_default(),
            suffix: text.get(suffix_start..).unwrap_or_default(),
            listed,
        }
    }

    /// Returns the name and each of its tails that begins after a dot, longest first.
    pub(super) fn tails(&self) -> impl Iterator<Item = &str> {
        let text: &str = &self.text;
        std::iter::once(text).chain(
            text.match_indices('.')
                .filter_map(move |(dot, _)| text.get(dot + 1..)),
        )
    }

    /// Returns where the registrable label begins.
    pub(super) fn label_start(&self) -> usize {
        self.label_start
    }

    /// Returns where the registrable label ends.
    pub(super) fn label_end(&self) -> usize {
        self.suffix_start.saturating_sub(1).max(self.label_start)
    }
}

/// Calls nothing, allocates nothing: the bytes of a name without dots and hyphens.
pub(super) fn folded(text: &str) -> impl Iterator<Item = u8> + '_ {
    text.bytes().filter(|byte| *byte != b'.' && *byte != b'-')
}

/// Returns whether the label is what countries have in front of their own ending, or a typo of it.
fn nearly_second_level(reading: &Reading<'_>) -> bool {
    if second_level(reading.label).is_some() {
        return true;
    }
    let country = reading.suffix.len() == 2;
    country
        && (2..=5).contains(&reading.label.len())
        && SECOND_LEVEL_NAMES
            .iter()
            .any(|name| strsim::osa_distance(reading.label, name) == 1)
}
