//! The file of a UNIX socket, which other instances and other programs may want as well.
//!
//! A socket is bound beside its place, while a start may still fail, and put there last, in one
//! step: connecting never fails in between. Whatever ends, nothing is removed but our own, and an
//! instance that is still alive gets its place back from one that came after it and went first.
//! Where another program answers, nothing is put at all.

use std::fs;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use socket2::{Domain, SockAddr, Socket, Type};

/// The name of our processes; a build beside the installed one may have a longer one.
const NAME: &str = "straymail";

/// The file of a socket of ours, removed on drop.
#[derive(Debug)]
pub(crate) struct SocketFile {
    path: PathBuf,
    /// Where it is until it is put in its place.
    beside: Option<PathBuf>,
    inode: u64,
}

/// Who answers at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answers {
    Nobody,
    /// An instance of straymail, as far as can be seen.
    Us,
    /// Another program, in words.
    Other(String),
}

impl SocketFile {
    /// Binds a socket beside `path`, and listens. Call it inside of a Tokio runtime.
    ///
    /// # Errors
    /// When another program answers at `path`, or something is there that is no socket; and when
    /// the system refuses.
    pub(crate) fn bind(
        path: &Path,
        mode: u32,
        gid: Option<u32>,
    ) -> io::Result<(UnixListener, SocketFile)> {
        refuse_others(path)?;
        let beside = with_suffix(path, &std::process::id().to_string());
        let _ = fs::remove_file(&beside);
        let listener = UnixListener::bind(&beside)?;
        let inode = fs::symlink_metadata(&beside).map(|meta| meta.ino());
        let file = SocketFile {
            path: path.to_owned(),
            beside: Some(beside.clone()),
            // 0 is no inode, so nothing is removed by it.
            inode: *inode.as_ref().unwrap_or(&0),
        };
        inode?;
        if let Some(gid) = gid {
            std::os::unix::fs::chown(&beside, None, Some(gid))?;
        }
        fs::set_permissions(&beside, fs::Permissions::from_mode(mode))?;
        listener.set_nonblocking(true)?;
        Ok((listener, file))
    }

    /// Puts the socket in its place. A straymail that answers there keeps a second name, by which
    /// it gets the place back.
    ///
    /// # Errors
    /// As [`SocketFile::bind`].
    pub(crate) fn put_in_place(&mut self) -> io::Result<()> {
        let Some(beside) = &self.beside else {
            return Ok(());
        };
        if refuse_others(&self.path)? == Answers::Us {
            let before = self.before();
            let _ = fs::remove_file(&before);
            // Without that name all goes well but for the case that it is for.
            let _ = fs::hard_link(&self.path, &before);
        }
        fs::rename(beside, &self.path)?;
        self.beside = None;
        Ok(())
    }

    /// Returns the place.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The name of the socket that was in our place.
    fn before(&self) -> PathBuf {
        with_suffix(&self.path, "before")
    }

    fn is_ours(&self, path: &Path) -> bool {
        fs::symlink_metadata(path).is_ok_and(|meta| meta.ino() == self.inode)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            let _ = fs::remove_file(beside);
            return;
        }
        let before = self.before();
        // Another instance is in our place, or is there for one that has gone.
        if !self.is_ours(&self.path) {
            if self.is_ours(&before) {
                let _ = fs::remove_file(&before);
            }
            return;
        }
        let alive = answers(&before) == Answers::Us;
        if alive && fs::rename(&before, &self.path).is_ok() {
            return;
        }
        let _ = fs::remove_file(&self.path);
        let _ = fs::remove_file(&before);
    }
}

/// Removes a socket at `path`, if there is one, for a library that makes its own there.
///
/// # Errors
/// As [`SocketFile::bind`].
#[cfg(feature = "libmilter")]
pub(crate) fn remove_ours(path: &Path) -> io::Result<()> {
    refuse_others(path)?;
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn refuse_others(path: &Path) -> io::Result<Answers> {
    if fs::symlink_metadata(path).is_ok_and(|meta| !meta.file_type().is_socket()) {
        return Err(io::Error::new(
            io::ErrorKind::AlreadyExists,
            "the path exists and is no socket",
        ));
    }
    match answers(path) {
        Answers::Other(who) => Err(io::Error::new(
            io::ErrorKind::AddrInUse,
            format!("{who} listens there; stop it, or use another path"),
        )),
        answers => Ok(answers),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

/// Finds out who answers at `path`, by the process that listens there.
///
/// A process that cannot be seen from here (another PID namespace, `ProtectProc=invisible`) counts
/// as an instance of ours when it runs as our user. A socket that we may not connect to tells
/// nothing, and counts as left behind.
fn answers(path: &Path) -> Answers {
    let connected = || -> io::Result<UnixStream> {
        let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
        // A full queue is an answer as well, and no reason to wait.
        socket.set_nonblocking(true)?;
        socket.connect(&SockAddr::unix(path)?)?;
        Ok(OwnedFd::from(socket).into())
    };
    let stream = match connected() {
        Ok(stream) => stream,
        Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
            let owner = fs::symlink_metadata(path).map(|meta| meta.uid());
            return match owner {
                Ok(owner) if owner != rustix::process::geteuid().as_raw() => {
                    Answers::Other(format!("a busy program of user {owner}"))
                }
                _ => Answers::Us,
            };
        }
        Err(_) => return Answers::Nobody,
    };
    // Outside of a runtime there is no way to ask; nothing is bound there.
    let peer = (tokio::runtime::Handle::try_current().ok())
        .and_then(|_| tokio::net::UnixStream::from_std(stream).ok())
        .and_then(|stream| stream.peer_cred().ok());
    let Some(peer) = peer else {
        return Answers::Us;
    };
    let seen = peer
        .pid()
        .and_then(|pid| Some((pid, command(&pid.to_string())?)));
    match seen {
        Some((_, name)) if name.starts_with(NAME) || Some(&name) == command("self").as_ref() => {
            Answers::Us
        }
        Some((pid, name)) => Answers::Other(format!("another program ({name:?}, process {pid})")),
        None if peer.uid() == rustix::process::geteuid().as_raw() => Answers::Us,
        None => Answers::Other(format!("a program of user {}", peer.uid())),
    }
}

/// Returns the name of a process.
fn command(process: &str) -> Option<String> {
    let name = fs::read_to_string(format!("/proc/{process}/comm")).ok()?;
    Some(name.trim_end_matches('\n').to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bound(path: &Path) -> (UnixListener, SocketFile) {
        SocketFile::bind(path, 0o600, None).unwrap()
    }

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = (fs::read_dir(dir).unwrap())
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort_unstable();
        names
    }

    /// Says whether it is `listener` that answers at `path`.
    fn answered_by(path: &Path, listener: &UnixListener) -> bool {
        while listener.accept().is_ok() {}
        UnixStream::connect(path).is_ok() && listener.accept().is_ok()
    }

    #[tokio::test]
    async fn a_start_that_fails_leaves_the_living_instance_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("milter.sock");
        let (listener, mut file) = bound(&path);
        file.put_in_place().unwrap();
        let second = bound(&path);
        assert!(answered_by(&path, &listener));
        drop(second);
        assert!(answered_by(&path, &listener));
        drop((listener, file));
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[tokio::test]
    async fn the_place_goes_back_to_an_instance_that_lives_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("milter.sock");
        let (first, mut first_file) = bound(&path);
        first_file.put_in_place().unwrap();
        let (second, mut second_file) = bound(&path);
        second_file.put_in_place().unwrap();
        assert!(answered_by(&path, &second));
        drop((second, second_file));
        assert!(answered_by(&path, &first));
        assert_eq!(names(dir.path()), ["milter.sock"]);
        drop((first, first_file));
        assert_eq!(names(dir.path()), [""; 0]);
    }

    #[tokio::test]
    async fn the_new_instance_keeps_the_place_when_the_old_one_goes() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("milter.sock");
        for killed in [false, true] {
            let (first, mut first_file) = bound(&path);
            first_file.put_in_place().unwrap();
            let (second, mut second_file) = bound(&path);
            second_file.put_in_place().unwrap();
            drop(first);
            match killed {
                true => std::mem::forget(first_file),
                false => drop(first_file),
            }
            assert!(answered_by(&path, &second));
            drop((second, second_file));
            assert_eq!(names(dir.path()), [""; 0], "{killed}");
        }
    }

    #[tokio::test]
    async fn a_socket_left_behind_is_replaced_and_a_file_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("milter.sock");
        drop(UnixListener::bind(&path).unwrap());
        let (listener, mut file) = bound(&path);
        file.put_in_place().unwrap();
        assert!(answered_by(&path, &listener));
        assert_eq!(names(dir.path()), ["milter.sock"]);
        drop((listener, file));
        fs::write(&path, "precious").unwrap();
        let error = SocketFile::bind(&path, 0o600, None).unwrap_err();
        assert_eq!(error.to_string(), "the path exists and is no socket");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
