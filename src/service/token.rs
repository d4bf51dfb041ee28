//! Tokens of the links in notices: who holds one may decide about one held recipient, once.
//!
//! A token names the entry, the moment its message came, and an end, and carries an HMAC-SHA-256
//! over all of it, cut to 128 bits. Nothing about it is stored: it is used up when the entry it
//! names is decided, and void when the message was handed in again. Only keeping the key file
//! secret matters; it belongs to us alone (mode 0600).
//!
//! Two keys are alive at a time. After [`ROTATE_AFTER`] the worker makes a new one, which signs
//! from then on, and the one before still verifies until the next rotation, so no link dies
//! early. Milter and worker are two processes on one key file: whoever finds that it was
//! replaced reads it again, so a key is known everywhere as soon as it is written.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding as _};
use hmac::{Hmac, KeyInit as _, Mac as _};
use jiff::Timestamp;
use sha2::Sha256;

use super::key_file;
use crate::store::{Entry, EntryId};

/// Age at which a new key takes over. Longer than any link lives.
pub const ROTATE_AFTER: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Octets of a key: one block of the hash, which HMAC takes as it is (RFC 2104, 2).
const KEY: usize = 64;
/// Octets of the code: half of the hash (RFC 2104, 5, allows no less).
const CODE: usize = 16;
/// Octets of each of the two times: seconds until beyond the year 9999.
const TIME: usize = 5;
/// Characters of a token: the id, then 26 octets in base64.
const LENGTH: usize = EntryId::LENGTH + (2 * TIME + CODE) * 4 / 3 + 1;

/// Why a token does not count, or the key file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// Not what [`Tokens::sign`] returns: cut by a mail program, or made up.
    #[error("this is not a whole link; copy all of it from the notice")]
    Malformed,
    /// Signed by no key of ours, or changed after signing.
    #[error("this link was not made here, or was changed")]
    Forged,
    /// Its time is over.
    #[error("this link expired at {at:.0}")]
    Expired {
        /// When.
        at: Timestamp,
    },
    /// It belongs to another entry.
    #[error("this link belongs to another message")]
    OtherEntry,
    /// The message was handed in again since.
    #[error(
        "the message was sent again after this link was made; use the link of the newest notice"
    )]
    Outdated,
    /// The key file does not read.
    #[error("{}: line {line} is not a key; delete the file, links sent so far then stop working", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Which line, from 1.
        line: usize,
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

/// A genuine token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// The entry it is about.
    pub entry: EntryId,
    /// When the message had come, to the second.
    pub received_at: Timestamp,
    /// From this moment on it does not count.
    pub expires_at: Timestamp,
}

impl Token {
    /// Checks that the token is about `entry` as it is now.
    ///
    /// # Errors
    /// [`TokenError::OtherEntry`], or [`TokenError::Outdated`] when its message came again.
    pub fn fits(&self, entry: &Entry) -> Result<(), TokenError> {
        if self.entry != entry.id {
            return Err(TokenError::OtherEntry);
        }
        if self.received_at.as_second() != entry.message.received_at.as_second() {
            return Err(TokenError::Outdated);
        }
        Ok(())
    }
}

/// The keys of one state directory. Shared by threads; every call may block on the disk.
pub struct Tokens {
    path: PathBuf,
    ring: Mutex<Ring>,
}

/// What becomes of the links sent so far when a new key is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Links {
    /// They live on: the key that signed last still verifies.
    Keep,
    /// They stop working, because their key may be known to others.
    Revoke,
}

/// The keys as they were read.
struct Ring {
    /// The signing key first; two at most.
    keys: Vec<Key>,
    /// Which file they were read from: device, inode, change time in seconds and nanoseconds.
    file: Option<(u64, u64, i64, i64)>,
}

#[derive(Clone)]
struct Key {
    made_at: Timestamp,
    secret: [u8; KEY],
}

impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list()
            .entries(self.keys().iter().map(|key| key.made_at))
            .finish()
    }
}

impl Tokens {
    /// Reads `confirm.key` in `dir`, and makes it when it is missing.
    ///
    /// # Errors
    /// The file does not read or cannot be written.
    pub fn open(dir: &Path, now: Timestamp) -> Result<Tokens, TokenError> {
        let path = dir.join("confirm.key");
        let keys = match read_file(&path)? {
            Some(keys) => keys,
            None => {
                // Another process may make the file between our look and our write: then its
                // keys count.
                write_keys(&path, &[Key::random(now)?], true)?;
                read_file(&path)?.unwrap_or_default()
            }
        };
        let ring = Mutex::new(Ring {
            keys,
            file: identity(&path),
        });
        Ok(Tokens { path, ring })
    }

    /// Makes a new key when the newest is older than [`ROTATE_AFTER`], and returns whether.
    ///
    /// # Errors
    /// The file does not read or cannot be written; the keys stay as they are.
    pub fn renew(&self, now: Timestamp) -> Result<bool, TokenError> {
        let newest = self.keys().first().map(|key| key.made_at);
        let old = newest.is_none_or(|made_at| now.duration_since(made_at) >= jiff_span());
        if old {
            self.rotate(Links::Keep, now)?;
        }
        Ok(old)
    }

    /// Makes a new key, which signs from now on, in this and all other processes.
    ///
    /// # Errors
    /// The file does not read or cannot be written; the keys stay as they are.
    pub fn rotate(&self, links: Links, now: Timestamp) -> Result<(), TokenError> {
        let mut keys = vec![Key::random(now)?];
        if links == Links::Keep {
            keys.extend(
                read_file(&self.path)?
                    .unwrap_or_default()
                    .into_iter()
                    .take(1),
            );
        }
        write_keys(&self.path, &keys, false)?;
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        ring.keys = keys;
        ring.file = identity(&self.path);
        Ok(())
    }

    /// Returns the keys that count now: those of the file, or the last known ones while it does
    /// not read.
    fn keys(&self) -> Vec<Key> {
        let file = identity(&self.path);
        let mut ring = self.ring.lock().unwrap_or_else(PoisonError::into_inner);
        if file.is_some()
            && file != ring.file
            && let Ok(Some(keys)) = read_file(&self.path)
        {
            ring.keys = keys;
            ring.file = file;
        }
        ring.keys.clone()
    }

    /// Returns a token for `entry` that counts until `expires_at`: 46 characters, letters,
    /// digits, `-` and `_`.
    pub fn sign(&self, entry: &Entry, expires_at: Timestamp) -> String {
        let mut octets = Vec::with_capacity(2 * TIME + CODE);
        octets.extend(seconds(entry.message.received_at));
        octets.extend(seconds(expires_at));
        if let Some(key) = self.keys().first() {
            let code = key.mac(&entry.id, &octets).finalize().into_bytes();
            octets.extend(code.iter().take(CODE));
        }
        format!("{}{}", entry.id, Base64UrlUnpadded::encode_string(&octets))
    }

    /// Returns what the token says, when it is genuine and not expired. Whether it was used is
    /// for the entry to say; ask [`Token::fits`] too.
    ///
    /// # Errors
    /// [`TokenError::Malformed`], [`TokenError::Forged`] or [`TokenError::Expired`].
    pub fn verify(&self, text: &str, now: Timestamp) -> Result<Token, TokenError> {
        if text.len() != LENGTH {
            return Err(TokenError::Malformed);
        }
        let (id, rest) = text
            .split_at_checked(EntryId::LENGTH)
            .ok_or(TokenError::Malformed)?;
        let entry = EntryId::parse(id).ok_or(TokenError::Malformed)?;
        let octets = Base64UrlUnpadded::decode_vec(rest).map_err(|_| TokenError::Malformed)?;
        let (times, code) = octets
            .split_at_checked(2 * TIME)
            .ok_or(TokenError::Malformed)?;
        // `verify_truncated_left` compares in constant time.
        let genuine = code.len() == CODE
            && (self.keys().iter())
                .any(|key| key.mac(&entry, times).verify_truncated_left(code).is_ok());
        if !genuine {
            return Err(TokenError::Forged);
        }
        let (received_at, expires_at) =
            times.split_at_checked(TIME).ok_or(TokenError::Malformed)?;
        let token = Token {
            entry,
            received_at: moment(received_at)?,
            expires_at: moment(expires_at)?,
        };
        if token.expires_at <= now {
            return Err(TokenError::Expired {
                at: token.expires_at,
            });
        }
        Ok(token)
    }
}

impl Key {
    fn random(now: Timestamp) -> Result<Key, TokenError> {
        let mut secret = [0; KEY];
        getrandom::fill(&mut secret).map_err(|error| TokenError::Random(error.to_string()))?;
        Ok(Key {
            made_at: now,
            secret,
        })
    }

    fn mac(&self, entry: &EntryId, times: &[u8]) -> Hmac<Sha256> {
        // The type fixes the length of the key, so this cannot fail; a code over nothing would
        // verify nothing.
        let mut mac = Hmac::<Sha256>::new(&self.secret.into());
        mac.update(b"straymail confirm 1");
        mac.update(entry.as_str().as_bytes());
        mac.update(times);
        mac
    }
}

fn jiff_span() -> jiff::SignedDuration {
    jiff::SignedDuration::try_from(ROTATE_AFTER).unwrap_or(jiff::SignedDuration::MAX)
}

/// The seconds since 1970 in five octets; earlier is 0.
fn seconds(at: Timestamp) -> [u8; TIME] {
    let seconds = u64::try_from(at.as_second()).unwrap_or(0);
    let [_, _, _, octets @ ..] = seconds.to_be_bytes();
    octets
}

fn moment(octets: &[u8]) -> Result<Timestamp, TokenError> {
    let seconds = octets.iter().fold(0, |n, octet| n << 8 | i64::from(*octet));
    Timestamp::from_second(seconds).map_err(|_| TokenError::Malformed)
}

/// Returns what tells a replaced file from the one before.
fn identity(path: &Path) -> Option<(u64, u64, i64, i64)> {
    let file = fs::metadata(path).ok()?;
    Some((file.dev(), file.ino(), file.ctime(), file.ctime_nsec()))
}

/// Returns the keys of the file, or `None` when there is no file.
fn read_file(path: &Path) -> Result<Option<Vec<Key>>, TokenError> {
    match fs::read_to_string(path) {
        Ok(text) => {
            keep_private(path)?;
            read_keys(path, &text).map(Some)
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(io_error("read", path, source)),
    }
}

/// One key a line: the second it was made, and its hexadecimal digits.
fn read_keys(path: &Path, text: &str) -> Result<Vec<Key>, TokenError> {
    let mut keys = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let key = line.split_once(' ').and_then(|(made_at, secret)| {
            Some(Key {
                made_at: Timestamp::from_second(made_at.parse().ok()?).ok()?,
                secret: key_file::unhex(secret)?,
            })
        });
        keys.push(key.ok_or_else(|| TokenError::Key {
            path: path.to_owned(),
            line: at + 1,
        })?);
    }
    keys.truncate(2);
    Ok(keys)
}

/// Writes the file whole or not at all. One that should be `new` and is there stays as it is.
fn write_keys(path: &Path, keys: &[Key], new: bool) -> Result<(), TokenError> {
    let mut text = String::new();
    for key in keys {
        let secret = key_file::hex(&key.secret);
        text.push_str(&format!("{} {secret}\n", key.made_at.as_second()));
    }
    key_file::write(path, &text, new).map_err(|source| io_error("write", path, source))
}

fn keep_private(path: &Path) -> Result<(), TokenError> {
    key_file::keep_private(path).map_err(|source| io_error("protect", path, source))
}

fn io_error(action: &'static str, path: &Path, source: io::Error) -> TokenError {
    TokenError::Io {
        action,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::octets::Octets;
    use crate::store::{EntryState, Message};

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn entry(path: &str, received_at: Timestamp) -> Entry {
        Entry {
            id: EntryId::derive(&[7; 32], path.as_bytes()),
            state: EntryState::Held,
            path: Octets::from(path),
            address: path.to_owned(),
            domain: "army.ml".to_owned(),
            score: 95,
            suggestion: None,
            rule: "default".to_owned(),
            attempts: 1,
            held_at: received_at,
            changed_at: received_at,
            grace_until: received_at,
            lease_until: None,
            last_error: None,
            message: Message {
                key: String::new(),
                digest: String::new(),
                size: 0,
                sender: Octets::default(),
                sender_address: String::new(),
                subject: None,
                session: String::new(),
                queue_id: None,
                received_at,
            },
        }
    }

    #[test]
    fn a_token_is_for_one_entry_as_it_came_and_ends() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), at(0)).unwrap();
        let held = entry("carl@army.ml", at(0));
        let text = tokens.sign(&held, at(100));
        assert_eq!(text.len(), LENGTH);
        assert!(
            text.bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_')
        );
        let token = tokens.verify(&text, at(99)).unwrap();
        assert_eq!(
            (&token.entry, token.expires_at, token.received_at),
            (&held.id, at(100), at(0))
        );
        assert!(token.fits(&held).is_ok());
        assert!(matches!(
            token.fits(&entry("dora@army.ml", at(0))),
            Err(TokenError::OtherEntry)
        ));
        assert!(matches!(
            token.fits(&entry("carl@army.ml", at(5))),
            Err(TokenError::Outdated)
        ));
        assert!(matches!(
            tokens.verify(&text, at(100)),
            Err(TokenError::Expired { .. })
        ));
    }

    #[test]
    fn no_character_of_a_token_can_be_changed() {
        let dir = tempfile::tempdir().unwrap();
        let tokens = Tokens::open(dir.path(), at(0)).unwrap();
        let text = tokens.sign(&entry("carl@army.ml", at(0)), at(100));
        for place in 0..text.len() {
            for with in ["A", "B", "7", "_", "é", "", "AA"] {
                let mut changed = text.clone();
                changed.replace_range(place..=place, with);
                if changed != text {
                    assert!(
                        matches!(
                            tokens.verify(&changed, at(1)),
                            Err(TokenError::Forged | TokenError::Malformed)
                        ),
                        "{changed}"
                    );
                }
            }
        }
        let elsewhere = tempfile::tempdir().unwrap();
        let others = Tokens::open(elsewhere.path(), at(0)).unwrap();
        assert!(matches!(
            others.verify(&text, at(1)),
            Err(TokenError::Forged)
        ));
    }

    #[test]
    fn a_link_outlives_one_rotation_and_not_two() {
        let dir = tempfile::tempdir().unwrap();
        let day = 24 * 60 * 60;
        let tokens = Tokens::open(dir.path(), at(0)).unwrap();
        let text = tokens.sign(&entry("carl@army.ml", at(0)), at(1000 * day));
        for (then, renewed, lives) in [
            (89, false, true),
            (90, true, true),
            (179, false, true),
            (180, true, false),
        ] {
            let now = at(then * day);
            assert_eq!(tokens.renew(now).unwrap(), renewed, "after {then} days");
            assert_eq!(
                tokens.verify(&text, now).is_ok(),
                lives,
                "after {then} days"
            );
        }
    }

    #[test]
    fn a_key_made_by_one_process_is_known_to_all_at_once() {
        let dir = tempfile::tempdir().unwrap();
        let [milter, worker] = [(); 2].map(|()| Tokens::open(dir.path(), at(0)).unwrap());
        let held = entry("carl@army.ml", at(0));
        let before = worker.sign(&held, at(100));
        worker.rotate(Links::Keep, at(1)).unwrap();
        let after = worker.sign(&held, at(100));
        assert_ne!(before, after);
        for link in [&before, &after] {
            assert!(milter.verify(link, at(2)).is_ok());
        }
        worker.rotate(Links::Revoke, at(3)).unwrap();
        for link in [&before, &after] {
            assert!(matches!(
                milter.verify(link, at(4)),
                Err(TokenError::Forged)
            ));
        }
        // A file that does not read costs nobody the keys they know.
        let link = worker.sign(&held, at(100));
        fs::write(dir.path().join("confirm.key"), "beef").unwrap();
        assert!(worker.verify(&link, at(5)).is_ok());
    }

    #[test]
    fn the_key_file_is_ours_alone_and_a_damaged_one_is_named() {
        let dir = tempfile::tempdir().unwrap();
        Tokens::open(dir.path(), at(0)).unwrap();
        let path = dir.path().join("confirm.key");
        let mode = || fs::metadata(&path).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o600);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        Tokens::open(dir.path(), at(0)).unwrap();
        assert_eq!(mode(), 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
        fs::write(&path, "1 beef\n").unwrap();
        let error = Tokens::open(dir.path(), at(0)).unwrap_err().to_string();
        assert!(error.contains("line 1 is not a key"), "{error}");
    }
}
