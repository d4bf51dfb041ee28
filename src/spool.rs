//! Held messages on disk: the truth the index is rebuilt from.
//!
//! One file per held message, named by its key:
//!
//! ```text
//! <the message, octet for octet as the MTA gave it>
//! <envelope as one line of JSON>
//! straymail-spool 1 <message length> <envelope length> <SHA-256 of message and envelope>
//! ```
//!
//! The envelope comes last because it is complete only at the end of the message, and a large
//! message is then written once. A file appears under its name only when whole and synced:
//! temporary file, fsync, rename, fsync of the directory.

mod brought;
mod draft;
mod envelope;
mod head;
mod record;

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, Permissions};
use std::io::{self, Read as _, Seek as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use sha2::{Digest as _, Sha256};

use crate::fault;
use crate::hexadecimal;
use crate::octets::Octets;
use crate::owner;

pub use brought::Brought;
pub use draft::Draft;
pub use envelope::{Envelope, HeldRecipient};
pub use record::{Held, MessageKey, Record};

use draft::TempFile;
use record::{MAX_ENVELOPE, read_trailer};

/// A temporary file this old belongs to no living session (an MTA gives the end of a message
/// minutes, not hours).
const STALE_AFTER: Duration = Duration::from_secs(60 * 60);

/// Where the spool is and what it may use.
#[derive(Clone, Debug)]
pub struct SpoolSettings {
    /// The spool directory; created with mode 0700.
    pub dir: PathBuf,
    /// Bytes that must stay free on its file system; below, nothing is written.
    pub min_free_bytes: u64,
    /// Octets of a message kept in memory before it goes to a temporary file.
    pub memory_bytes: usize,
}

impl Default for SpoolSettings {
    fn default() -> Self {
        SpoolSettings {
            dir: PathBuf::from("/var/lib/straymail/spool"),
            min_free_bytes: 512 * 1024 * 1024,
            memory_bytes: 256 * 1024,
        }
    }
}

/// Why the spool did not do it.
#[derive(Debug, thiserror::Error)]
pub enum SpoolError {
    /// Too little space is left, so nothing was written.
    #[error("{} has {free} bytes free, below the minimum of {min_free}; nothing was written, free some space", dir.display())]
    LowSpace {
        /// The spool directory.
        dir: PathBuf,
        /// Bytes free.
        free: u64,
        /// Bytes that must stay free.
        min_free: u64,
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
    /// An earlier write of this message failed.
    #[error(
        "an earlier part of this message could not be written; nothing can be made of the rest"
    )]
    BrokenDraft,
    /// The file of a held message is not there.
    #[error("the message file {} is gone; it cannot be released, drop the entry", path.display())]
    Vanished {
        /// Where it should be.
        path: PathBuf,
    },
    /// The file of a held message is not what was written.
    #[error("the message file {} was altered or cut: {what}; look at it by hand, then drop the entry", path.display())]
    Altered {
        /// The file.
        path: PathBuf,
        /// The difference found.
        what: String,
    },
    /// The envelope could not be read back.
    #[error(
        "the envelope with all held recipients has {length} octets, more than {MAX_ENVELOPE}; the message has too many recipients"
    )]
    EnvelopeTooLarge {
        /// Its length.
        length: usize,
    },
    /// The envelope does not fit into JSON.
    #[error("cannot write the envelope of the message")]
    Envelope(#[source] serde_json::Error),
}

impl SpoolError {
    fn io(action: &'static str, path: &Path, source: io::Error) -> SpoolError {
        SpoolError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }

    fn altered(path: &Path, what: impl Into<String>) -> SpoolError {
        SpoolError::Altered {
            path: path.to_owned(),
            what: what.into(),
        }
    }
}

/// The directory of held messages. Clones share it.
#[derive(Clone, Debug)]
pub struct Spool {
    settings: Arc<SpoolSettings>,
}

impl Spool {
    /// Opens the spool, creating its directories (mode 0700) where they are missing.
    ///
    /// # Errors
    /// A directory cannot be created or is not ours to use.
    pub fn open(settings: SpoolSettings) -> Result<Spool, SpoolError> {
        let spool = Spool {
            settings: Arc::new(settings),
        };
        for dir in [&spool.settings.dir, &spool.temp_dir()] {
            private_dir(dir)?;
        }
        Ok(spool)
    }

    /// Returns the settings it was opened with.
    pub fn settings(&self) -> &SpoolSettings {
        &self.settings
    }

    /// Returns an empty message to write to.
    pub fn draft(&self) -> Draft {
        Draft::new(self.clone())
    }

    /// Checks that the file system has the minimum free.
    ///
    /// # Errors
    /// [`SpoolError::LowSpace`], or the file system cannot be asked.
    pub fn check_space(&self) -> Result<(), SpoolError> {
        let dir = &self.settings.dir;
        let stat = rustix::fs::statvfs(dir)
            .map_err(|error| SpoolError::io("ask the free space of", dir, error.into()))?;
        let free = stat.f_bavail.saturating_mul(stat.f_frsize);
        if free < self.settings.min_free_bytes {
            return Err(SpoolError::LowSpace {
                dir: dir.clone(),
                free,
                min_free: self.settings.min_free_bytes,
            });
        }
        Ok(())
    }

    /// Puts the message and its envelope together, which tells its key; writes nothing.
    pub fn complete(&self, draft: Draft, envelope: Envelope) -> Complete {
        let head = draft.head.head();
        let octets = |name| head::field(head, name).map(Octets::from);
        let record = Record {
            message_id: octets("message-id"),
            subject: octets("subject"),
            body_sha256: hexadecimal::encode(&draft.body.clone().finalize()),
            head_sha256: hexadecimal::encode(&Sha256::digest(head)),
            envelope,
        };
        Complete {
            spool: self.clone(),
            key: record.key(),
            record,
            draft,
        }
    }

    /// Writes the message with its envelope to a synced temporary file.
    ///
    /// # Errors
    /// As [`Complete::seal`].
    pub fn seal(&self, draft: Draft, envelope: Envelope) -> Result<Sealed, SpoolError> {
        self.complete(draft, envelope).seal()
    }

    /// Returns what the file of `key` says, without reading the message.
    ///
    /// # Errors
    /// The file is gone, cut, or not a spool file.
    pub fn read(&self, key: &MessageKey) -> Result<Held, SpoolError> {
        let path = self.path(key);
        let mut file = open_file(&path)?;
        read_trailer(&mut file, &path, key).map(|(held, _)| held)
    }

    /// Returns the message of `key` after checking every octet of its file.
    ///
    /// # Errors
    /// The file is gone or not what was written.
    pub fn message(&self, key: &MessageKey) -> Result<StoredMessage, SpoolError> {
        read_message(&self.path(key), key)
    }

    /// Returns the keys of all files.
    ///
    /// # Errors
    /// The directory cannot be read.
    pub fn keys(&self) -> Result<Vec<MessageKey>, SpoolError> {
        let dir = &self.settings.dir;
        let io = |error| SpoolError::io("list", dir, error);
        let mut keys = Vec::new();
        for entry in fs::read_dir(dir).map_err(io)? {
            let name = entry.map_err(io)?.file_name();
            keys.extend(name.to_str().and_then(MessageKey::from_hex));
        }
        keys.sort_unstable();
        Ok(keys)
    }

    /// Returns whether a file of that name exists.
    pub fn contains(&self, key: &MessageKey) -> bool {
        self.path(key).exists()
    }

    /// Removes the file of `key`; a file already gone is fine.
    ///
    /// # Errors
    /// The file system refused.
    pub fn remove(&self, key: &MessageKey) -> Result<(), SpoolError> {
        let path = self.path(key);
        match fs::remove_file(&path) {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(SpoolError::io("remove", &path, error)),
        }
    }

    /// Removes temporary files older than an hour and returns how many. One that is in place as
    /// well stays: its name here tells that it was brought.
    ///
    /// # Errors
    /// The directory cannot be read or a file cannot be removed.
    pub fn remove_stale(&self, now: Timestamp) -> Result<usize, SpoolError> {
        let dir = self.temp_dir();
        let io = |error| SpoolError::io("clean", &dir, error);
        let mut removed = 0;
        for entry in fs::read_dir(&dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let Ok(metadata) = entry.metadata() else {
                continue;
            };
            let age = now.as_second().saturating_sub(metadata.mtime());
            let alone = metadata.is_file() && metadata.nlink() == 1;
            if alone && age > STALE_AFTER.as_secs().cast_signed() {
                fs::remove_file(entry.path()).map_err(io)?;
                removed += 1;
            }
        }
        Ok(removed)
    }

    /// Returns the path of the file of `key`.
    pub fn path(&self, key: &MessageKey) -> PathBuf {
        self.settings.dir.join(key.to_string())
    }

    fn temp_dir(&self) -> PathBuf {
        self.settings.dir.join("tmp")
    }

    /// Makes sure that files put into place are there after a loss of power.
    ///
    /// # Errors
    /// The file system refused.
    pub fn sync(&self) -> Result<(), SpoolError> {
        sync_dir(&self.settings.dir)
    }
}

fn open_file(path: &Path) -> Result<File, SpoolError> {
    File::open(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => SpoolError::Vanished {
            path: path.to_owned(),
        },
        _ => SpoolError::io("open", path, error),
    })
}

/// Returns the message in the file at `path` after checking every octet of it.
fn read_message(path: &Path, key: &MessageKey) -> Result<StoredMessage, SpoolError> {
    let mut file = open_file(path)?;
    let (held, json) = read_trailer(&mut file, path, key)?;
    let io = |error| SpoolError::io("read", path, error);
    file.rewind().map_err(io)?;
    let mut hash = Sha256::new();
    io::copy(&mut (&mut file).take(held.size), &mut HashWriter(&mut hash)).map_err(io)?;
    hash.update(&json);
    if hexadecimal::encode(&hash.finalize()) != held.digest {
        return Err(SpoolError::altered(path, "its checksum does not fit"));
    }
    file.rewind().map_err(io)?;
    let size = held.size;
    Ok(StoredMessage {
        held,
        reader: file.take(size),
    })
}

fn sync_dir(dir: &Path) -> Result<(), SpoolError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| SpoolError::io("sync", dir, error))
}

/// A message with its envelope, of which nothing is written but what did not fit into memory.
#[derive(Debug)]
pub struct Complete {
    spool: Spool,
    key: MessageKey,
    record: Record,
    draft: Draft,
}

impl Complete {
    /// Returns the name its file would have.
    pub fn key(&self) -> &MessageKey {
        &self.key
    }

    /// Returns the octets of the message.
    pub fn size(&self) -> u64 {
        self.draft.len()
    }

    /// Returns the envelope.
    pub fn envelope(&self) -> &Envelope {
        &self.record.envelope
    }

    /// Writes everything to a synced temporary file.
    ///
    /// It is not part of the spool before [`Sealed::publish`].
    ///
    /// # Errors
    /// Low space (nothing written), or the file system refused (the temporary file is removed).
    pub fn seal(self) -> Result<Sealed, SpoolError> {
        let Complete {
            spool,
            key,
            record,
            draft,
        } = self;
        spool.check_space()?;
        let size = draft.len();
        let json = serde_json::to_vec(&record).map_err(SpoolError::Envelope)?;
        if json.len() as u64 > MAX_ENVELOPE {
            return Err(SpoolError::EnvelopeTooLarge { length: json.len() });
        }
        let mut whole = draft.whole.clone();
        whole.update(&json);
        let digest = hexadecimal::encode(&whole.finalize());
        let footer = format!(
            "\nstraymail-spool 1 {size:020} {:010} {digest}\n",
            json.len()
        );
        let mut file = draft.into_file()?;
        file.write(b"\n")?;
        file.write(&json)?;
        file.write(footer.as_bytes())?;
        file.sync()?;
        inherit_owner(file.path(), &spool.settings.dir)?;
        fault::point("hold.synced");
        Ok(Sealed {
            spool,
            file,
            held: Held {
                key,
                record,
                size,
                digest,
            },
        })
    }
}

/// A message written and synced, but not yet in the spool. Dropping it removes it.
#[derive(Debug)]
pub struct Sealed {
    spool: Spool,
    file: TempFile,
    held: Held,
}

impl Sealed {
    /// Returns what the file says.
    pub fn held(&self) -> &Held {
        &self.held
    }

    /// Renames the file into place and syncs the directory; from then on it survives a crash.
    ///
    /// # Errors
    /// The file system refused. After a failed sync the file may be in place: an orphan that
    /// the next start takes up, never a loss.
    pub fn publish(self) -> Result<Held, SpoolError> {
        self.file.rename(&self.spool.path(&self.held.key))?;
        self.spool.sync()?;
        fault::point("hold.renamed");
        Ok(self.held)
    }
}

/// A checked message, to be read from its first octet.
#[derive(Debug)]
pub struct StoredMessage {
    /// What its file says.
    pub held: Held,
    reader: io::Take<File>,
}

impl io::Read for StoredMessage {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read(buffer)
    }
}

struct HashWriter<'a>(&'a mut Sha256);

impl io::Write for HashWriter<'_> {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        self.0.update(octets);
        Ok(octets.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Creates `dir` with mode 0700; one that exists is left as it is.
///
/// # Errors
/// It cannot be created.
pub fn ensure_dir(dir: &Path) -> Result<(), SpoolError> {
    match DirBuilder::new().mode(0o700).create(dir) {
        Ok(()) => {
            let parent = dir
                .parent()
                .filter(|path| path.as_os_str() != OsStr::new(""));
            inherit_owner(dir, parent.unwrap_or(Path::new(".")))
        }
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(SpoolError::io("create directory", dir, error)),
    }
}

/// Creates `dir` with mode 0700, or gives it that mode: what is in it is nobody else's.
fn private_dir(dir: &Path) -> Result<(), SpoolError> {
    ensure_dir(dir)?;
    let io = |error| SpoolError::io("make private the directory", dir, error);
    let mode = fs::metadata(dir).map_err(io)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(dir, Permissions::from_mode(0o700)).map_err(io)?;
    }
    Ok(())
}

/// Gives `path` to the owner of `dir` when we are root.
fn inherit_owner(path: &Path, dir: &Path) -> Result<(), SpoolError> {
    owner::inherit(path, dir).map_err(|error| SpoolError::io("give to its owner", path, error))
}

#[cfg(test)]
mod tests {
    use super::record::FOOTER_LENGTH;
    use super::*;
    use crate::octets::Octets;
    use crate::policy::Role;
    use crate::score::Assessment;
    use proptest::prelude::*;

    fn envelope(sender: Vec<u8>, path: Vec<u8>, arg: Vec<u8>) -> Envelope {
        Envelope {
            sender: Octets::from(sender),
            sender_address: "a@b.example".to_owned(),
            sender_args: vec![Octets::from(arg)],
            session: "s1".to_owned(),
            queue_id: None,
            client_ip: None,
            client_name: None,
            login: None,
            role: Role::Local,
            received_at: Timestamp::UNIX_EPOCH,
            recipients: vec![HeldRecipient {
                path: Octets::from(path),
                rcpt_addr: None,
                args: Vec::new(),
                address: "c@d.example".to_owned(),
                assessment: Assessment::unrelated(),
                rule: "default".to_owned(),
                suggestion: None,
            }],
        }
    }

    fn spool(dir: &Path) -> Spool {
        let settings = SpoolSettings {
            dir: dir.join("spool"),
            min_free_bytes: 0,
            memory_bytes: 100,
        };
        Spool::open(settings).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn any_octets_come_back_from_a_file_as_they_went_in(
            message in proptest::collection::vec(any::<u8>(), 0..300),
            sender: Vec<u8>, path: Vec<u8>, arg: Vec<u8>, step in 1_usize..50,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let spool = spool(dir.path());
            let mut draft = spool.draft();
            message.chunks(step).for_each(|piece| draft.write(piece).unwrap());
            let held = spool.seal(draft, envelope(sender, path, arg)).unwrap().publish().unwrap();
            prop_assert_eq!(spool.read(&held.key).unwrap(), held.clone());
            let mut stored = spool.message(&held.key).unwrap();
            let mut read = Vec::new();
            stored.read_to_end(&mut read).unwrap();
            prop_assert_eq!(read, message);
            prop_assert_eq!(spool.keys().unwrap(), vec![held.key]);
        }

        #[test]
        fn no_file_content_is_taken_for_a_message_or_makes_it_panic(
            mut content: Vec<u8>, size: u64, length: u32, with_footer: bool,
        ) {
            let dir = tempfile::tempdir().unwrap();
            let spool = spool(dir.path());
            let key = MessageKey::from_hex(&"07".repeat(32)).unwrap();
            if with_footer {
                let footer = format!("\nstraymail-spool 1 {size:020} {length:010} {}\n", "0".repeat(64));
                content.extend_from_slice(footer.as_bytes());
            }
            fs::write(spool.path(&key), content).unwrap();
            let is_altered = |error| matches!(error, SpoolError::Altered { .. });
            prop_assert!(spool.read(&key).is_err_and(is_altered));
            prop_assert!(spool.message(&key).is_err_and(is_altered));
        }

        #[test]
        fn one_changed_octet_is_noticed(at: proptest::sample::Index, bit in 0_u8..8) {
            let dir = tempfile::tempdir().unwrap();
            let spool = spool(dir.path());
            let mut draft = spool.draft();
            draft.write(b"Subject: x\r\n\r\nbody\r\n").unwrap();
            let envelope = envelope(b"<a@b>".to_vec(), b"<c@d>".to_vec(), Vec::new());
            let held = spool.seal(draft, envelope).unwrap().publish().unwrap();
            let path = spool.path(&held.key);
            let mut content = fs::read(&path).unwrap();
            let at = at.index(content.len());
            content[at] ^= 1_u8 << bit;
            // Two newlines only separate; everything else is covered.
            let separators = [usize::try_from(held.size).unwrap(), content.len() - usize::try_from(FOOTER_LENGTH).unwrap() - 1];
            fs::write(&path, &content).unwrap();
            prop_assert!(separators.contains(&at) || spool.message(&held.key).is_err(), "octet {at}");
        }
    }

    #[test]
    fn the_footer_has_its_length() {
        let dir = tempfile::tempdir().unwrap();
        let spool = spool(dir.path());
        let held = spool
            .seal(spool.draft(), envelope(Vec::new(), Vec::new(), Vec::new()))
            .unwrap()
            .publish()
            .unwrap();
        let content = fs::read_to_string(spool.path(&held.key)).unwrap();
        let last = content.lines().last().unwrap();
        assert_eq!(last.len() as u64 + 1, FOOTER_LENGTH);
        assert_eq!(
            last,
            format!(
                "straymail-spool 1 {:020} {:010} {}",
                0,
                content.len() as u64 - FOOTER_LENGTH - 2,
                held.digest
            )
        );
    }
}
