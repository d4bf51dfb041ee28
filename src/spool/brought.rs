//! A message file brought from a backup: it counts once the rows that say who still waits do.
//!
//! A file in the spool that the index does not know is taken up for all of its recipients. That
//! is right for a hold that died before its rows were written, and wrong for a restore: some of
//! the recipients may be finished. So a brought file has a second name in `tmp/` until its rows
//! are written. Whoever finds both names and no rows takes the file away again.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use super::draft::TempFile;
use super::{MessageKey, Spool, SpoolError, inherit_owner, read_message, sync_dir};

/// Hexadecimal digits of a key.
const KEY_DIGITS: usize = 64;

/// A checked, synced copy of a message file beside the spool. Dropping it removes the name in
/// `tmp/`, and with that the file, unless it was placed.
#[derive(Debug)]
pub struct Brought {
    spool: Spool,
    key: MessageKey,
    file: TempFile,
}

impl Spool {
    /// Copies the message file at `source` beside the spool. It is not part of it before
    /// [`Brought::place`].
    ///
    /// # Errors
    /// It is not the whole file of `key`, or the file system refused.
    pub fn bring(&self, key: &MessageKey, source: &Path) -> Result<Brought, SpoolError> {
        let mut from = File::open(source).map_err(|error| SpoolError::io("open", source, error))?;
        let mut file = TempFile::create_for(&self.temp_dir(), &key.to_string())?;
        file.copy(&mut from)?;
        file.sync()?;
        inherit_owner(file.path(), &self.settings.dir)?;
        read_message(file.path(), key)?;
        sync_dir(&self.temp_dir())?;
        Ok(Brought {
            spool: self.clone(),
            key: *key,
            file,
        })
    }

    /// Takes the file of `key` away if it was brought, and returns whether it was. Only for one
    /// without rows, inside a write transaction: whoever brought it then died.
    ///
    /// # Errors
    /// The file system refused.
    pub fn take_back(&self, key: &MessageKey) -> Result<bool, SpoolError> {
        let path = self.path(key);
        let Some(file) = identity(&path)? else {
            return Ok(false);
        };
        for (of, name) in self.brought()? {
            if of == *key && identity(&name)? == Some(file) {
                self.remove(key)?;
                // Were the name gone and the file back after a loss of power, it would be taken up.
                sync_dir(&self.settings.dir)?;
                remove(&name)?;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Removes the second names of brought files whose rows `has_rows` knows.
    ///
    /// # Errors
    /// The file system refused.
    pub fn settle_brought(&self, has_rows: impl Fn(&MessageKey) -> bool) -> Result<(), SpoolError> {
        for (key, name) in self.brought()? {
            if has_rows(&key) && identity(&name)? == identity(&self.path(&key))? {
                remove(&name)?;
            }
        }
        Ok(())
    }

    fn brought(&self) -> Result<Vec<(MessageKey, PathBuf)>, SpoolError> {
        let dir = self.temp_dir();
        let io = |error| SpoolError::io("list", &dir, error);
        let mut names = Vec::new();
        for entry in fs::read_dir(&dir).map_err(io)? {
            let entry = entry.map_err(io)?;
            let key = (entry.file_name().to_str())
                .and_then(|name| name.split_at_checked(KEY_DIGITS))
                .filter(|(_, rest)| rest.starts_with('.'))
                .and_then(|(key, _)| MessageKey::from_hex(key));
            names.extend(key.map(|key| (key, entry.path())));
        }
        Ok(names)
    }
}

impl Brought {
    /// Returns whose file it is.
    pub fn key(&self) -> &MessageKey {
        &self.key
    }

    /// Puts the file into the spool, and returns whether: one that is there already stays. Call
    /// it inside a write transaction that writes the rows, and sync the spool before that ends.
    ///
    /// # Errors
    /// The file system refused.
    pub fn place(&self) -> Result<bool, SpoolError> {
        let target = self.spool.path(&self.key);
        match fs::hard_link(self.file.path(), &target) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
            Err(error) => Err(SpoolError::io("link into place", &target, error)),
        }
    }

    /// Leaves everything as a process would that dies now: the next start puts it right.
    pub fn leave(self) {
        self.file.keep();
    }
}

/// Returns device and inode of a file, if there is one.
fn identity(path: &Path) -> Result<Option<(u64, u64)>, SpoolError> {
    match fs::metadata(path) {
        Ok(file) => Ok(Some((file.dev(), file.ino()))),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(SpoolError::io("look at", path, error)),
    }
}

fn remove(path: &Path) -> Result<(), SpoolError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(SpoolError::io("remove", path, error))
        }
        _ => Ok(()),
    }
}
