//! What a log is known by: how it begins, how long it is, and what stands last.
//!
//! Logs only grow at their end, and a block of one holds times and queue ids that no other log has.
//! So its first and last octets tell a log as well as all of it would, and cost a reading next to
//! nothing. Pure: octets in, marks out, in bounded memory.

use sha2::{Digest as _, Sha256};

use crate::store::LogMark;

/// Octets by which a log's beginning is known, some twenty lines; its first line if that is as
/// long.
pub(super) const HEAD: usize = 4096;

/// Octets by which a log's last lines are known.
pub(super) const ENDING: usize = 16 * 1024;

/// The octets of a log that passed by, as far as a [`LogMark`] needs them.
#[derive(Debug, Default)]
pub struct Trail {
    length: u64,
    head: Vec<u8>,
    /// The last octets; at most twice [`ENDING`], so that they need not move each time.
    ending: Vec<u8>,
}

impl Trail {
    /// Notes the next octets of the log.
    pub fn pass(&mut self, octets: &[u8]) {
        self.length += octets.len() as u64;
        let missing = HEAD.saturating_sub(self.head.len()).min(octets.len());
        (self.head).extend_from_slice(octets.get(..missing).unwrap_or_default());
        let last = octets.len().saturating_sub(ENDING);
        let last = octets.get(last..).unwrap_or_default();
        if self.ending.len() + last.len() > 2 * ENDING {
            let kept = ENDING.saturating_sub(last.len());
            self.ending.drain(..self.ending.len().saturating_sub(kept));
        }
        self.ending.extend_from_slice(last);
    }

    /// Notes that so many octets were left out; at least [`ENDING`] are to pass before the next
    /// mark.
    pub fn skip(&mut self, octets: u64) {
        self.length += octets;
        self.ending.clear();
    }

    /// Returns how many octets passed.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Returns the first octets.
    pub fn head(&self) -> &[u8] {
        &self.head
    }

    /// Returns the hash of the first line, as far as it passed; `None` at the very beginning.
    pub fn beginning(&self) -> Option<[u8; 32]> {
        let first = self.head.split_inclusive(|octet| *octet == b'\n').next();
        first.map(|line| Sha256::digest(line).into())
    }

    /// Returns the hash of the head.
    pub fn head_hash(&self) -> [u8; 32] {
        Sha256::digest(&self.head).into()
    }

    /// Returns the mark of this place; `None` at the very beginning.
    pub fn mark(&self) -> Option<LogMark> {
        let last = self.ending.len().saturating_sub(ENDING);
        Some(LogMark {
            beginning: self.beginning()?,
            length: self.length,
            head: self.head_hash(),
            ending: Sha256::digest(self.ending.get(last..).unwrap_or_default()).into(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_does_not_depend_on_the_pieces_in_which_the_log_passed() {
        let log: Vec<u8> = (0..100_000_u32)
            .map(|n| (n % 251 * n % 257) as u8)
            .collect();
        let mut whole = Trail::default();
        whole.pass(&log);
        assert_eq!(whole.length(), 100_000);
        for piece in [1, 7, 4096, ENDING - 1, ENDING, ENDING + 1, 40_000] {
            let mut trail = Trail::default();
            for piece in log.chunks(piece) {
                trail.pass(piece);
                assert!(trail.ending.len() <= 2 * ENDING);
            }
            assert_eq!(trail.mark(), whole.mark(), "{piece}");
        }
        let mut trail = Trail::default();
        trail.pass(&log[..HEAD]);
        trail.skip(50_000);
        trail.pass(&log[HEAD + 50_000..]);
        assert_eq!(trail.mark(), whole.mark());
        assert_eq!(Trail::default().mark(), None);
    }

    #[test]
    fn one_octet_more_or_another_one_is_another_mark() {
        let mark = |log: &[u8]| {
            let mut trail = Trail::default();
            trail.pass(log);
            trail.mark().unwrap()
        };
        let log = mark(b"one\ntwo\n");
        assert_ne!(log, mark(b"one\ntwo\n\n"));
        assert_ne!(log, mark(b"one\ntvo\n"));
        assert_eq!(log.beginning, mark(b"one\ntvo\n").beginning);
    }
}
