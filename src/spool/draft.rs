//! A message that is still arriving: in memory while small, then in a temporary file.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};

use super::head::HeadScanner;
use super::{Spool, SpoolError};
use crate::hexadecimal;

/// A message on its way into the spool. Dropping it leaves nothing behind.
#[derive(Debug)]
pub struct Draft {
    spool: Spool,
    content: Content,
    length: u64,
    pub(super) head: HeadScanner,
    pub(super) whole: Sha256,
    pub(super) body: Sha256,
}

#[derive(Debug)]
enum Content {
    Memory(Vec<u8>),
    File(TempFile),
    /// A write failed: octets are missing, so nothing may be made of the rest.
    Broken,
}

impl Draft {
    pub(super) fn new(spool: Spool) -> Draft {
        Draft {
            spool,
            content: Content::Memory(Vec::new()),
            length: 0,
            head: HeadScanner::default(),
            whole: Sha256::new(),
            body: Sha256::new(),
        }
    }

    /// Returns the number of octets written.
    pub fn len(&self) -> u64 {
        self.length
    }

    /// Returns whether nothing was written.
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    /// Appends octets of the message: header block, empty line, body, as the MTA gave them.
    ///
    /// # Errors
    /// The disk is below its minimum, full or broken. The draft is then unusable: every later
    /// call fails, and its temporary file is gone.
    pub fn write(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        let written = self.append(octets);
        if written.is_err() {
            self.content = Content::Broken;
        }
        written
    }

    fn append(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        match &mut self.content {
            Content::Memory(held)
                if held.len() + octets.len() <= self.spool.settings().memory_bytes =>
            {
                held.extend_from_slice(octets);
            }
            Content::Memory(held) => {
                let held = std::mem::take(held);
                self.spool.check_space()?;
                let mut file = TempFile::create(&self.spool.temp_dir())?;
                file.write(&held)?;
                file.write(octets)?;
                self.content = Content::File(file);
            }
            Content::File(file) => file.write(octets)?,
            Content::Broken => return Err(SpoolError::BrokenDraft),
        }
        self.length += octets.len() as u64;
        self.whole.update(octets);
        let body = self.head.take(octets);
        self.body.update(body);
        Ok(())
    }

    /// Puts the message into a temporary file, if it is not in one yet, and returns that.
    pub(super) fn into_file(self) -> Result<TempFile, SpoolError> {
        match self.content {
            Content::Memory(held) => {
                let mut file = TempFile::create(&self.spool.temp_dir())?;
                file.write(&held)?;
                Ok(file)
            }
            Content::File(file) => Ok(file),
            Content::Broken => Err(SpoolError::BrokenDraft),
        }
    }
}

/// A file in the spool's `tmp/` that is removed unless it was renamed into place.
#[derive(Debug)]
pub(super) struct TempFile {
    path: PathBuf,
    file: File,
    keep: bool,
}

impl TempFile {
    pub(super) fn create(dir: &Path) -> Result<TempFile, SpoolError> {
        TempFile::create_for(dir, "")
    }

    /// Returns a file whose name tells what it is for.
    pub(super) fn create_for(dir: &Path, what: &str) -> Result<TempFile, SpoolError> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            SpoolError::io(
                "draw a name for a file in",
                dir,
                std::io::Error::other(error),
            )
        })?;
        let mut name = hexadecimal::encode(&random);
        if !what.is_empty() {
            name = format!("{what}.{name}");
        }
        let path = dir.join(name);
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(&path)
            .map_err(|error| SpoolError::io("create", &path, error))?;
        Ok(TempFile {
            path,
            file,
            keep: false,
        })
    }

    pub(super) fn write(&mut self, octets: &[u8]) -> Result<(), SpoolError> {
        self.file
            .write_all(octets)
            .map_err(|error| SpoolError::io("write", &self.path, error))
    }

    /// Writes all that is left to read of `from`.
    pub(super) fn copy(&mut self, from: &mut impl Read) -> Result<(), SpoolError> {
        std::io::copy(from, &mut self.file)
            .map_err(|error| SpoolError::io("write", &self.path, error))?;
        Ok(())
    }

    /// Leaves the file where it is.
    pub(super) fn keep(mut self) {
        self.keep = true;
    }

    pub(super) fn sync(&self) -> Result<(), SpoolError> {
        self.file
            .sync_all()
            .map_err(|error| SpoolError::io("sync", &self.path, error))
    }

    pub(super) fn rename(mut self, target: &Path) -> Result<(), SpoolError> {
        std::fs::rename(&self.path, target)
            .map_err(|error| SpoolError::io("rename into place", target, error))?;
        self.keep = true;
        Ok(())
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for TempFile {
    fn drop(&mut self) {
        if !self.keep {
            // Nothing can be done here; the next start removes what stays behind.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}
