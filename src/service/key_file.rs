//! Files that hold our secrets, keys and hashes of passwords: in the state directory, for us alone
//! (mode 0600).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

pub(super) use crate::hexadecimal::{decode as unhex, encode as hex};
use crate::owner;

/// Writes the file whole or not at all. One that should be `new` and is there stays as it is.
///
/// # Errors
/// The file system refused.
pub(super) fn write(path: &Path, text: &str, new: bool) -> io::Result<()> {
    let temp = path.with_extension(format!("key.{}", std::process::id()));
    let _ = fs::remove_file(&temp);
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temp)
        .and_then(|mut file| {
            file.write_all(text.as_bytes())?;
            file.sync_all()
        })
        .and_then(|()| {
            path.parent()
                .map_or(Ok(()), |dir| owner::inherit(&temp, dir))
        })?;
    if new {
        // Unlike a rename, a link does not replace what another process made meanwhile.
        let linked = fs::hard_link(&temp, path);
        let _ = fs::remove_file(&temp);
        match linked {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Ok(()),
            other => other?,
        }
    } else {
        fs::rename(&temp, path)?;
    }
    if let Some(dir) = path.parent() {
        File::open(dir)?.sync_all()?;
    }
    Ok(())
}

/// Takes the rights of others away.
///
/// # Errors
/// The file system refused.
pub(super) fn keep_private(path: &Path) -> io::Result<()> {
    let mode = fs::metadata(path)?.permissions().mode();
    if mode & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
    }
    Ok(())
}
