//! Files that hold our secret keys: in the state directory, for us alone (mode 0600).

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::Path;

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
        .and_then(|()| like_directory(&temp))?;
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

/// Gives the file to the owner of its directory when we are root.
fn like_directory(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(dir) if rustix::process::geteuid().is_root() => {
            let owner = fs::metadata(dir)?;
            std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
        }
        _ => Ok(()),
    }
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

/// Returns the octets in hexadecimal digits.
pub(super) fn hex(octets: &[u8]) -> String {
    octets.iter().map(|octet| format!("{octet:02x}")).collect()
}

/// Returns the octets of exactly so many hexadecimal digits.
pub(super) fn unhex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let mut octets = [0; N];
    if text.len() != 2 * N {
        return None;
    }
    for (octet, pair) in octets.iter_mut().zip(text.as_bytes().chunks(2)) {
        let digits = std::str::from_utf8(pair).ok()?;
        *octet = u8::from_str_radix(digits, 16).ok()?;
    }
    Some(octets)
}
