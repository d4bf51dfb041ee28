//! Backup of the state directory while it is used, and the way back.
//!
//! A backup is a directory: the database, the held messages, the keys and accounts, and a
//! `MANIFEST` of checksums in the format of sha256sum(1). The database is copied first: a message
//! held after that is a file the copied database does not know, which the next start takes up;
//! one released meanwhile is an entry without a file. So nothing that was held when the backup
//! began is missing, and nothing is sent by a restore.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufRead as _, BufReader, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use jiff::Timestamp;
use rustix::fs::FlockOperation;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::quarantine::{BATCH, Quarantine, QuarantineError, Recovery, WithoutRows};
use crate::fault;
use crate::hexadecimal;
use crate::owner;
use crate::spool::{self, Brought, MessageKey, SpoolError};
use crate::store::{self, AuditEvent, DATABASE, Durability, EventKind, Store, StoreError};

/// Name of the list of checksums.
const MANIFEST: &str = "MANIFEST";
/// Stands in a state directory while a backup is put there: what is half there must not be used.
const UNFINISHED: &str = "restore-unfinished";
/// A copy of a database that a dead `restore --missing` left is removed at this age, in seconds.
const ABANDONED: i64 = 24 * 60 * 60;
/// What nobody needs back: locks, and what SQLite keeps beside an open database.
const LEFT_OUT: [&str; 3] = ["quarantine.lock", "quarantine.db-wal", "quarantine.db-shm"];

/// Why a backup or a restore was not made.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The place of the new backup is taken.
    #[error("{} exists; name a directory that does not exist yet", path.display())]
    Exists {
        /// The place.
        path: PathBuf,
    },
    /// No backup, or half of one.
    #[error("{} is not a whole backup: it has no {MANIFEST}", dir.display())]
    NoBackup {
        /// The directory.
        dir: PathBuf,
    },
    /// The backup was changed after it was made.
    #[error("{} is not what was backed up: {what}; nothing was restored", path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// Something is there that a restore would replace.
    #[error("{} is not empty; --replace sets what is there aside, --missing adds to it what it does not know", dir.display())]
    NotEmpty {
        /// The state directory.
        dir: PathBuf,
    },
    /// The state directory is used by another process.
    #[error("{} is used by another process; stop straymail first, or use --missing", dir.display())]
    InUse {
        /// The state directory.
        dir: PathBuf,
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
    /// The quarantine refused.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
}

impl From<StoreError> for BackupError {
    fn from(error: StoreError) -> Self {
        BackupError::Quarantine(error.into())
    }
}

/// What a backup holds.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Contents {
    /// Files, the manifest not counted.
    pub files: usize,
    /// Held messages among them.
    pub messages: usize,
    /// Octets of all files.
    pub octets: u64,
    /// Held messages whose file is not what was once written; they were copied as they are.
    pub damaged: Vec<String>,
}

/// What a restore put back.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Restored {
    /// Held recipients that wait again (with `--missing`), or files put back (else).
    pub restored: usize,
    /// Approvals added to those that were there.
    pub approvals: usize,
    /// Entries whose decisions were not carried out when the backup was made: they wait for new
    /// ones (not with `--missing`, which brings no decisions).
    pub undecided: usize,
    /// Where what was there before is now.
    pub kept_as: Option<PathBuf>,
    /// Messages that wait by the index of the backup, but whose files in it are damaged or absent.
    pub left_out: Vec<String>,
}

/// Copies everything that `quarantine` keeps into the new directory `target`. Straymail goes on
/// meanwhile. The directory appears under its name only when it is whole and synced.
///
/// # Errors
/// The place is taken, or the file system refused. Half a backup is left, as `target.partial`, only
/// by a process that died.
pub fn backup(quarantine: &Quarantine, target: &Path) -> Result<Contents, BackupError> {
    let partial = with_suffix(target, ".partial");
    for path in [target, &partial] {
        if path.symlink_metadata().is_ok() {
            let path = path.to_owned();
            return Err(BackupError::Exists { path });
        }
    }
    (DirBuilder::new().mode(0o700).create(&partial)).map_err(io_error("create", &partial))?;
    let done = fill(quarantine, &partial).and_then(|contents| {
        fs::rename(&partial, target).map_err(io_error("rename into place", target))?;
        sync_dir(parent(target))?;
        Ok(contents)
    });
    if done.is_err() {
        // It would only be in the way of the next one.
        let _ = fs::remove_dir_all(&partial);
    }
    done
}

/// Copies everything into the empty directory `partial`, and syncs it.
fn fill(quarantine: &Quarantine, partial: &Path) -> Result<Contents, BackupError> {
    let spool = partial.join("spool");
    (DirBuilder::new().mode(0o700).create(&spool)).map_err(io_error("create", &spool))?;
    let mut copy = Copy {
        root: partial.to_owned(),
        manifest: String::new(),
        contents: Contents::default(),
    };
    let database = partial.join(DATABASE);
    quarantine.store.copy_to(&database)?;
    // A file without rows would be taken up for everybody when it is restored, also for whom it
    // was decided: what came after the copy belongs to the next backup.
    let known = Store::keys_in(&database)?;
    copy.note(DATABASE)?;
    for key in quarantine.spool.keys().map_err(QuarantineError::from)? {
        if !known.contains(&key.to_string()) {
            continue;
        }
        // Not one that was released or dropped meanwhile.
        if copy.take(&quarantine.spool.path(&key), &format!("spool/{key}"))? {
            copy.contents.messages += 1;
            if quarantine.spool.message(&key).is_err() && quarantine.spool.contains(&key) {
                copy.contents.damaged.push(key.to_string());
            }
        }
    }
    for name in other_files(&quarantine.settings.dir)? {
        copy.take(&quarantine.settings.dir.join(&name), &name)?;
    }
    let manifest = partial.join(MANIFEST);
    write_new(&manifest, copy.manifest.as_bytes())?;
    sync_dir(&spool)?;
    sync_dir(partial)?;
    Ok(copy.contents)
}

/// Checks every file of the backup in `dir` against its manifest.
///
/// # Errors
/// There is no whole backup, or a file was changed.
pub fn check(dir: &Path) -> Result<Contents, BackupError> {
    let mut contents = Contents::default();
    for (name, expected) in manifest(dir)? {
        let path = dir.join(&name);
        let changed = |what: String| BackupError::Changed {
            path: path.clone(),
            what,
        };
        let mut file = File::open(&path).map_err(|error| changed(error.to_string()))?;
        let (digest, octets) = digest(&mut file).map_err(io_error("read", &path))?;
        if digest != expected {
            return Err(changed("its checksum does not fit".to_owned()));
        }
        contents.files += 1;
        contents.octets += octets;
        contents.messages += usize::from(name.starts_with("spool/"));
    }
    Ok(contents)
}

/// What a restore does with a state directory in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    /// Refuses.
    Refuse,
    /// Sets it aside.
    SetAside,
}

/// Puts the backup in `from` into the state directory `dir`, which no process may be using.
///
/// # Errors
/// The backup is not whole, the directory is used or not empty, or the file system refused. What
/// is half restored is not used by anybody before it was restored whole.
pub fn restore(
    from: &Path,
    dir: &Path,
    existing: Existing,
    now: Timestamp,
) -> Result<Restored, BackupError> {
    check(from)?;
    spool::ensure_dir(dir).map_err(QuarantineError::from)?;
    let _alone = alone(dir)?;
    let mut restored = Restored::default();
    let there: Vec<String> = occupants(dir)?;
    if !there.is_empty() && existing == Existing::Refuse {
        let dir = dir.to_owned();
        return Err(BackupError::NotEmpty { dir });
    }
    let unfinished = dir.join(UNFINISHED);
    if !unfinished.exists() {
        write_new(&unfinished, b"")?;
        own(&unfinished, dir)?;
        sync_dir(dir)?;
    }
    fault::point("restore.begun");
    if !there.is_empty() {
        let aside = dir.join(format!("replaced-{}", now.as_millisecond()));
        (DirBuilder::new().mode(0o700).create(&aside)).map_err(io_error("create", &aside))?;
        for name in there {
            let path = dir.join(&name);
            fs::rename(&path, aside.join(&name)).map_err(io_error("set aside", &path))?;
        }
        sync_dir(&aside)?;
        sync_dir(dir)?;
        own(&aside, dir)?;
        restored.kept_as = Some(aside);
    }
    fault::point("restore.aside");
    let spool = dir.join("spool");
    spool::ensure_dir(&spool).map_err(QuarantineError::from)?;
    let mut files = manifest(from)?;
    files.sort_by_key(|(name, _)| name == DATABASE);
    for (name, _) in &files {
        if name == DATABASE {
            fault::point("restore.filled");
        }
        place(&from.join(name), &dir.join(name), dir)?;
        restored.restored += 1;
    }
    restored.undecided = Store::silence(&dir.join(DATABASE), now)?;
    sync_dir(&spool)?;
    sync_dir(dir)?;
    fault::point("restore.whole");
    fs::remove_file(&unfinished).map_err(io_error("remove", &unfinished))?;
    sync_dir(dir)?;
    Ok(restored)
}

/// Returns whether a restore into `dir` was broken off: without its database, everything in its
/// spool would be taken up for everybody.
pub fn is_unfinished(dir: &Path) -> bool {
    dir.join(UNFINISHED).exists()
}

/// Removes what a `restore --missing` that died left of the backup's database.
pub(super) fn remove_abandoned(dir: &Path, now: Timestamp) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        let is_copy = (entry.file_name().to_str())
            .is_some_and(|name| name.starts_with("restore-") && name.contains(".db"));
        let written = entry.metadata().map_or(i64::MAX, |file| file.mtime());
        if is_copy && now.as_second().saturating_sub(written) > ABANDONED {
            let _ = fs::remove_file(entry.path());
        }
    }
}

impl Quarantine {
    /// Adds from the backup in `from` what is unknown here: waiting messages, and approvals that
    /// have not expired. Straymail may go on meanwhile. Whatever was decided since the backup
    /// stays decided.
    ///
    /// # Errors
    /// The backup is not whole, or the store is not usable.
    pub fn add_missing(
        &self,
        from: &Path,
        actor: &str,
        now: Timestamp,
    ) -> Result<Restored, BackupError> {
        check(from)?;
        let copy = (self.settings.dir).join(format!("restore-{}.db", now.as_millisecond()));
        place(&from.join(DATABASE), &copy, &self.settings.dir)?;
        let mut restored = Restored::default();
        let audit = |what: String| {
            let event = AuditEvent {
                detail: Some(format!("{what} the backup {}", from.display())),
                ..AuditEvent::new(EventKind::Rebuilt, actor)
            };
            (self.store).write(Durability::Synced, |ledger| {
                ledger.append_audit(&event, now)
            })
        };
        // Whoever is killed half way does not come to say what was added.
        let merged = audit("begins to add what is unknown here from".to_owned())
            .map_err(BackupError::from)
            .and_then(|()| self.merge(from, &copy, now, &mut restored));
        remove_database(&copy);
        if merged.is_err() && restored.restored == 0 {
            return merged.map(|()| restored);
        }
        // Also what came back before something failed.
        let audited = audit(format!(
            "{} entries and {} approvals added from",
            restored.restored, restored.approvals
        ));
        // What failed first says more.
        merged?;
        audited?;
        Ok(restored)
    }

    /// Takes over what is unknown here from the backup in `from`, whose database was copied to
    /// `copy`, and adds to `restored` what came back.
    fn merge(
        &self,
        from: &Path,
        copy: &Path,
        now: Timestamp,
        restored: &mut Restored,
    ) -> Result<(), BackupError> {
        let mut merge = self.store.merge(copy)?;
        for keys in merge.unknown()?.chunks(BATCH) {
            let mut brought = Vec::new();
            // What is left is for the MTA and for mail that is held meanwhile.
            self.spool.check_space().map_err(QuarantineError::from)?;
            // Outside the transaction: others must not wait for files.
            for key in keys {
                let source = from.join("spool").join(key);
                let Some(name) = MessageKey::from_hex(key).filter(|_| source.is_file()) else {
                    restored.left_out.push(key.clone());
                    continue;
                };
                match self.spool.bring(&name, &source) {
                    Ok(one) => brought.push(one),
                    // Only what can be released is worth waiting for.
                    Err(SpoolError::Altered { .. }) => restored.left_out.push(key.clone()),
                    Err(error) => return Err(QuarantineError::from(error).into()),
                }
            }
            fault::point("restore.brought");
            let keys: Vec<String> = brought.iter().map(|one| one.key().to_string()).collect();
            let waiting = merge.messages(&keys, |wanted| self.place_brought(&brought, wanted));
            match waiting {
                Ok(waiting) => restored.restored += waiting,
                Err(error) => {
                    // Some may be in place without their rows.
                    brought.into_iter().for_each(Brought::leave);
                    let _ =
                        self.take_up_unknown(WithoutRows::TakeBack, &mut Recovery::default(), now);
                    return Err(error);
                }
            }
            fault::point("restore.entered");
        }
        restored.approvals = merge.approvals(now)?;
        fault::point("restore.approved");
        Ok(())
    }

    /// Puts the files `wanted` into the spool, and returns the keys of those that are now there.
    fn place_brought(
        &self,
        brought: &[Brought],
        wanted: &[String],
    ) -> Result<Vec<String>, BackupError> {
        let mut placed = Vec::new();
        for one in brought {
            let key = one.key().to_string();
            if wanted.contains(&key) && one.place().map_err(QuarantineError::from)? {
                placed.push(key);
            }
        }
        self.spool.sync().map_err(QuarantineError::from)?;
        fault::point("restore.placed");
        Ok(placed)
    }
}

/// Removes a database and what SQLite keeps beside it, as far as the file system allows.
fn remove_database(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        let _ = fs::remove_file(with_suffix(path, suffix));
    }
}

/// A backup being made.
struct Copy {
    root: PathBuf,
    manifest: String,
    contents: Contents,
}

impl Copy {
    /// Copies a file into the backup; returns whether it was still there.
    fn take(&mut self, source: &Path, name: &str) -> Result<bool, BackupError> {
        let mut file = match File::open(source) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
            Err(error) => return Err(io_error("read", source)(error)),
        };
        let target = self.root.join(name);
        let mut to = create_new(&target)?;
        io::copy(&mut file, &mut to).map_err(io_error("write", &target))?;
        self.note(name)?;
        Ok(true)
    }

    /// Syncs a file of the backup and puts it into the manifest.
    fn note(&mut self, name: &str) -> Result<(), BackupError> {
        let path = self.root.join(name);
        let mut file = File::open(&path).map_err(io_error("read", &path))?;
        let (digest, octets) = digest(&mut file).map_err(io_error("read", &path))?;
        file.sync_all().map_err(io_error("sync", &path))?;
        self.manifest.push_str(&format!("{digest}  {name}\n"));
        self.contents.files += 1;
        self.contents.octets += octets;
        Ok(())
    }
}

/// Returns name and checksum of every file of a backup.
fn manifest(dir: &Path) -> Result<Vec<(String, String)>, BackupError> {
    let path = dir.join(MANIFEST);
    let file = File::open(&path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => BackupError::NoBackup {
            dir: dir.to_owned(),
        },
        _ => io_error("read", &path)(error),
    })?;
    let mut files = Vec::new();
    for (at, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(io_error("read", &path))?;
        let (digest, name) = (line.split_once("  "))
            .filter(|(_, name)| is_inside(name))
            .ok_or_else(|| BackupError::Changed {
                path: path.clone(),
                what: format!("line {} names no file of a backup", at + 1),
            })?;
        files.push((name.to_owned(), digest.to_owned()));
    }
    if !files.iter().any(|(name, _)| name == DATABASE) {
        return Err(BackupError::Changed {
            path,
            what: format!("it does not name {DATABASE}"),
        });
    }
    Ok(files)
}

/// A name in the backup itself or in its spool, and nowhere else.
fn is_inside(name: &str) -> bool {
    let file = name.strip_prefix("spool/").unwrap_or(name);
    !file.is_empty() && !file.contains('/') && file != "." && file != ".."
}

/// Returns the names of files of the state directory beside the database and the spool.
fn other_files(dir: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("list", dir))? {
        let entry = entry.map_err(io_error("list", dir))?;
        let Ok(name) = entry.file_name().into_string() else {
            continue;
        };
        let kept = name != DATABASE
            && !LEFT_OUT.contains(&name.as_str())
            && !name.starts_with("quarantine.db.damaged-")
            && !name.starts_with("restore-")
            && !name.contains('\n');
        if kept && entry.file_type().is_ok_and(|kind| kind.is_file()) {
            names.push(name);
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Returns what of the state directory a restore would replace.
fn occupants(dir: &Path) -> Result<Vec<String>, BackupError> {
    let mut names = other_files(dir)?;
    for name in [DATABASE, "quarantine.db-wal", "quarantine.db-shm"] {
        if dir.join(name).exists() {
            names.push(name.to_owned());
        }
    }
    let spool = dir.join("spool");
    let held = fs::read_dir(&spool).into_iter().flatten().flatten();
    if held
        .map(|entry| entry.file_name())
        .any(|name| name != "tmp")
    {
        names.push("spool".to_owned());
    }
    Ok(names)
}

/// Makes sure that no other process uses the state directory, for as long as the file lives.
fn alone(dir: &Path) -> Result<File, BackupError> {
    let file = store::lock_file(dir)?;
    rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive).map_err(|_| {
        BackupError::InUse {
            dir: dir.to_owned(),
        }
    })?;
    Ok(file)
}

/// Copies a file into place: under another name, synced, renamed.
fn place(source: &Path, target: &Path, dir: &Path) -> Result<(), BackupError> {
    let temporary = with_suffix(target, ".restoring");
    let mut from = File::open(source).map_err(io_error("read", source))?;
    let _ = fs::remove_file(&temporary);
    let mut to = create_new(&temporary)?;
    io::copy(&mut from, &mut to).map_err(io_error("write", &temporary))?;
    to.sync_all().map_err(io_error("sync", &temporary))?;
    own(&temporary, dir)?;
    fs::rename(&temporary, target).map_err(io_error("rename into place", target))
}

/// Gives `path` to the owner of `dir` when we are root.
fn own(path: &Path, dir: &Path) -> Result<(), BackupError> {
    owner::inherit(path, dir).map_err(io_error("change the owner of", path))
}

fn create_new(path: &Path) -> Result<File, BackupError> {
    OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)
        .map_err(io_error("create", path))
}

fn write_new(path: &Path, octets: &[u8]) -> Result<(), BackupError> {
    let mut file = create_new(path)?;
    file.write_all(octets)
        .and_then(|()| file.sync_all())
        .map_err(io_error("write", path))
}

/// Returns the SHA-256 of all that is left to read, and how many octets that were.
fn digest(file: &mut impl Read) -> io::Result<(String, u64)> {
    let mut hash = Sha256::new();
    let mut octets = 0;
    let mut buffer = [0; 64 * 1024];
    loop {
        let read = file.read(&mut buffer)?;
        let Some(part) = buffer.get(..read).filter(|part| !part.is_empty()) else {
            break;
        };
        hash.update(part);
        octets += part.len() as u64;
    }
    Ok((hexadecimal::encode(&hash.finalize()), octets))
}

fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(io_error("sync", dir))
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if parent != Path::new("") => parent,
        _ => Path::new("."),
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |source| BackupError::Io {
        action,
        path,
        source,
    }
}
