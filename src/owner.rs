//! Who owns the files we make: what root's command line makes must stay usable for the daemon's
//! user.

use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Gives the file at `path` to the owner of `dir` when we are root; else it is ours, as it
/// should be.
///
/// # Errors
/// The file system refused.
pub(crate) fn inherit(path: &Path, dir: &Path) -> io::Result<()> {
    if !rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let owner = std::fs::metadata(dir)?;
    std::os::unix::fs::chown(path, Some(owner.uid()), Some(owner.gid()))
}
