//! The key that turns names into pseudonyms.
//!
//! Whoever has the database without `learn.key` cannot tell whom anybody wrote to, nor try names
//! out. A lost key makes what was learned unreadable, and learning begins anew.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use super::super::key_file;
use crate::store::Pseudonym;

/// Octets of the key (RFC 2104, 3: no shorter than the hash).
const KEY: usize = 32;

/// What a name is, so that a domain and a sender of the same spelling differ.
#[derive(Clone, Copy, Debug)]
pub(super) enum Kind {
    /// A recipient domain.
    Domain,
    /// The address of a person, sender or recipient.
    Person,
}

/// Why there are no pseudonyms.
#[derive(Debug, thiserror::Error)]
pub enum LearnKeyError {
    /// The file holds something else.
    #[error("{} holds no key; delete the file, what was learned so far is then forgotten", path.display())]
    NotAKey {
        /// The file.
        path: PathBuf,
    },
    /// The file system refused.
    #[error("cannot {action} {}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A random number could not be drawn.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// The key of one state directory.
pub(super) struct LearnKey(Hmac<Sha256>);

impl std::fmt::Debug for LearnKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LearnKey")
    }
}

impl LearnKey {
    /// Reads `learn.key` in `dir`, or makes it.
    pub(super) fn open(dir: &Path) -> Result<LearnKey, LearnKeyError> {
        let path = dir.join("learn.key");
        let io = |action| {
            let path = path.clone();
            move |source| LearnKeyError::Io {
                action,
                path,
                source,
            }
        };
        match fs::read_to_string(&path) {
            Ok(text) => {
                key_file::keep_private(&path).map_err(io("protect"))?;
                return LearnKey::read(&path, &text);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(io("read")(error)),
        }
        let mut secret = [0; KEY];
        getrandom::fill(&mut secret).map_err(|error| LearnKeyError::Random(error.to_string()))?;
        let text = format!("{}\n", key_file::hex(&secret));
        key_file::write(&path, &text, true).map_err(io("write"))?;
        // Another process may have made it between our look and our write: then its key counts.
        let text = fs::read_to_string(&path).map_err(io("read"))?;
        LearnKey::read(&path, &text)
    }

    fn read(path: &Path, text: &str) -> Result<LearnKey, LearnKeyError> {
        let not_a_key = || LearnKeyError::NotAKey {
            path: path.to_owned(),
        };
        let secret: [u8; KEY] = key_file::unhex(text.trim_end()).ok_or_else(not_a_key)?;
        Ok(LearnKey(
            Hmac::new_from_slice(&secret).map_err(|_| not_a_key())?,
        ))
    }

    /// Returns what stands for `name`, whatever its case.
    pub(super) fn pseudonym(&self, kind: Kind, name: &str) -> Pseudonym {
        let mut mac = self.0.clone();
        mac.update(match kind {
            Kind::Domain => b"domain\0",
            Kind::Person => b"person\0",
        });
        mac.update(name.to_lowercase().as_bytes());
        let code = mac.finalize().into_bytes();
        let mut short = [0; 16];
        for (short, octet) in short.iter_mut().zip(code) {
            *short = octet;
        }
        Pseudonym(short)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pseudonyms_need_the_key_and_outlive_the_process() {
        let (here, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let key = LearnKey::open(here.path()).unwrap();
        let name = key.pseudonym(Kind::Domain, "Army.mil");
        let again = LearnKey::open(here.path()).unwrap();
        assert_eq!(again.pseudonym(Kind::Domain, "army.mil"), name);
        assert_ne!(again.pseudonym(Kind::Person, "army.mil"), name);
        let other = LearnKey::open(elsewhere.path()).unwrap();
        assert_ne!(other.pseudonym(Kind::Domain, "army.mil"), name);
    }

    #[test]
    fn a_damaged_key_is_not_replaced_silently() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("learn.key");
        std::fs::write(&path, "abc\n").unwrap();
        let error = LearnKey::open(dir.path()).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "{} holds no key; delete the file, what was learned so far is then forgotten",
                path.display()
            )
        );
    }
}
