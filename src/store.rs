//! The local SQLite file: quarantine index, approvals, audit record.
//!
//! Daemon and command line are different processes on the same file: WAL, short immediate
//! transactions, and a wait of at most [`BUSY_TIMEOUT`] before a clear error. Whatever a held
//! message depends on is committed with `synchronous=FULL`; the spool files stay the truth
//! the index can be rebuilt from.

mod approval;
mod audit;
mod claim;
mod contact;
mod copy;
mod day_total;
mod days;
mod decision;
mod entry;
mod figures;
mod forget;
mod forgotten;
mod id;
mod inspect;
mod letter;
mod mark;
mod meaning;
mod notice;
mod overdue;
mod schema;
mod status;

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use jiff::Timestamp;
use rusqlite::{Connection, ErrorCode, OpenFlags, TransactionBehavior};
use rustix::fs::FlockOperation;

use crate::owner;

pub use approval::{Approval, NewApproval, Origin};
pub use audit::{AuditEvent, AuditFilter, AuditRecord, EventKind, Verified};
pub use contact::{Contact, Correspondents, Extent, Pseudonym, Sent, Standing};
pub use copy::Merge;
pub use day_total::DayTotal;
pub use days::{Day, Days, MOST_DAYS};
pub use decision::{NOBODY, PendingDecision};
pub use entry::{Claim, Entry, EntryFilter, EntryState, Message, NewEntry, Stored};
pub use figures::EventTally;
pub use forgotten::Erased;
pub use id::{ApprovalId, EntryId, IdPrefix, IdPrefixError};
pub use inspect::Inspection;
pub use letter::{Letter, NewLetter};
pub use mark::LogMark;
pub use meaning::{Ending, Endings, Meaning};
pub use overdue::Passage;
pub use status::Counts;

/// Name of the database in the state directory.
pub const DATABASE: &str = "quarantine.db";

/// How long a statement waits for another process's lock before it fails.
pub const BUSY_TIMEOUT: Duration = Duration::from_secs(5);

/// Connections kept open for the next caller; more are opened when needed and closed after.
const IDLE_CONNECTIONS: usize = 4;

/// Why the store did not do it.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process kept its lock for all of [`BUSY_TIMEOUT`].
    #[error("{} is locked by another process for more than {} s; try again, or look who holds it with fuser(1)", path.display(), BUSY_TIMEOUT.as_secs())]
    Locked {
        /// The database.
        path: PathBuf,
    },
    /// The file is not a database or damaged.
    #[error("{} is damaged: {detail}; stop straymail and start it again, it then rebuilds the index from the spool", path.display())]
    Damaged {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// The file is damaged, but cannot be replaced while others have it open.
    #[error("{} is damaged and open in another process, so it was not replaced; stop straymail and start it again", path.display())]
    DamagedInUse {
        /// The database.
        path: PathBuf,
    },
    /// The file is gone, but others still write to what it was: what they do would be lost.
    #[error("{} was removed while a process has it open; stop straymail and its worker and start them again, they then build the index from the spool", path.display())]
    MissingInUse {
        /// The database.
        path: PathBuf,
    },
    /// A later straymail wrote it.
    #[error("{} has schema version {found}, this straymail knows up to {known}; use the newer straymail", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its `PRAGMA user_version`.
        found: i64,
        /// The last version known here.
        known: i64,
    },
    /// The disk is full.
    #[error("the disk with {} is full; free some space", path.display())]
    Full {
        /// The database.
        path: PathBuf,
    },
    /// SQLite refused for another reason.
    #[error("cannot use {}", path.display())]
    Sqlite {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        source: rusqlite::Error,
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
    /// A row holds what this program never writes.
    #[error("{table} row {row}: {what}; the database was changed by hand or by a newer straymail")]
    Row {
        /// The table.
        table: &'static str,
        /// Which row.
        row: String,
        /// What does not read.
        what: String,
    },
    /// Two recipients have the same id (chance of 1 in 10^15 for each pair).
    #[error(
        "the new entry would have the id {0} of another entry; let the client try again with a changed message"
    )]
    IdCollision(EntryId),
    /// A random number could not be drawn.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// How sure a commit must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// On the disk when the call returns (`synchronous=FULL`): holds, releases, drops,
    /// approvals, and every audit row of one.
    Synced,
    /// In the write-ahead log when the call returns (`synchronous=NORMAL`): survives a killed
    /// process, and a power loss once the next synced commit happened. About 30 times
    /// cheaper; for audit rows of verdicts that keep nothing (reject, note, tempfail).
    Written,
}

/// The database of one state directory. Shared by threads; each call uses its own connection.
#[derive(Debug)]
pub struct Store {
    path: PathBuf,
    /// Which file that was when it was opened.
    file: Option<(u64, u64)>,
    idle: Mutex<Vec<Connection>>,
    /// Held shared while the store is open, so that nobody replaces the file under us.
    _in_use: File,
}

/// How [`Store::open`] found the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opened {
    /// It was there and whole.
    Existing,
    /// There was none.
    Created,
    /// It was damaged; the old file is kept under this name.
    Replaced {
        /// Where the damaged file is now.
        kept_as: PathBuf,
        /// What SQLite said about it.
        detail: String,
    },
}

impl Store {
    /// Opens `quarantine.db` in `dir`, creating and migrating it as needed.
    ///
    /// A damaged file is moved aside and replaced, unless another process has it open.
    ///
    /// # Errors
    /// The file is locked, newer than this program, damaged while in use, or not accessible.
    pub fn open(dir: &Path, now: Timestamp) -> Result<(Store, Opened), StoreError> {
        let path = dir.join(DATABASE);
        let lock = lock_file(dir)?;
        let shared = || flock(&lock, FlockOperation::LockShared, dir);
        let exclusive =
            || rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive).is_ok();
        // Only who is alone may replace the file, so only they look at all of it.
        let check = if exclusive() {
            Check::Whole
        } else {
            shared()?;
            Check::Header
        };
        let existed = path.exists();
        if !existed && check == Check::Header {
            return Err(StoreError::MissingInUse { path });
        }
        let (connection, opened) = match open_checked(&path, check) {
            Ok(connection) if existed => (connection, Opened::Existing),
            Ok(connection) => (connection, Opened::Created),
            Err(StoreError::Damaged { detail, .. }) => {
                if !exclusive() {
                    return Err(StoreError::DamagedInUse { path });
                }
                let kept_as = set_aside(&path, now)?;
                (
                    open_checked(&path, Check::Header)?,
                    Opened::Replaced { kept_as, detail },
                )
            }
            Err(error) => return Err(error),
        };
        shared()?;
        let store = Store {
            file: file(&path),
            path,
            idle: Mutex::new(vec![connection]),
            _in_use: lock,
        };
        Ok((store, opened))
    }

    /// Runs `work` in one transaction that holds the write lock from its beginning.
    ///
    /// Committed when `work` returns `Ok`, otherwise nothing of it happened.
    ///
    /// # Errors
    /// What `work` returned, or the store could not begin or commit.
    pub fn write<T, E: From<StoreError>>(
        &self,
        durability: Durability,
        work: impl FnOnce(&Ledger<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        if file(&self.path) != self.file {
            // What is written now nobody would ever read.
            let path = self.path.clone();
            return Err(StoreError::MissingInUse { path }.into());
        }
        let mut connection = self.connection()?;
        let synchronous = match durability {
            Durability::Synced => "FULL",
            Durability::Written => "NORMAL",
        };
        connection
            .pragma_update(None, "synchronous", synchronous)
            .map_err(|error| self.error(error))?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Immediate)
            .map_err(|error| self.error(error))?;
        let value = work(&Ledger {
            connection: &transaction,
            path: &self.path,
        })?;
        transaction.commit().map_err(|error| self.error(error))?;
        self.keep(connection);
        Ok(value)
    }

    /// Runs `work` on one unchanging view of the store.
    ///
    /// # Errors
    /// What `work` returned, or the store could not be read.
    pub fn read<T, E: From<StoreError>>(
        &self,
        work: impl FnOnce(&Ledger<'_>) -> Result<T, E>,
    ) -> Result<T, E> {
        let mut connection = self.connection()?;
        let transaction = connection
            .transaction_with_behavior(TransactionBehavior::Deferred)
            .map_err(|error| self.error(error))?;
        let value = work(&Ledger {
            connection: &transaction,
            path: &self.path,
        })?;
        drop(transaction);
        self.keep(connection);
        Ok(value)
    }

    /// Returns the path of the database.
    pub fn path(&self) -> &Path {
        &self.path
    }

    // A pool rather than one connection behind a mutex: waiting for the lock then happens in
    // SQLite, where each caller has its own deadline.
    fn connection(&self) -> Result<Connection, StoreError> {
        let idle = self
            .idle
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        match idle {
            Some(connection) => Ok(connection),
            None => connect(&self.path),
        }
    }

    fn keep(&self, connection: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        if idle.len() < IDLE_CONNECTIONS {
            idle.push(connection);
        }
    }

    fn error(&self, error: rusqlite::Error) -> StoreError {
        classify(&self.path, error)
    }
}

/// The tables inside one transaction.
#[derive(Debug)]
pub struct Ledger<'a> {
    connection: &'a Connection,
    path: &'a Path,
}

impl Ledger<'_> {
    fn error(&self, error: rusqlite::Error) -> StoreError {
        classify(self.path, error)
    }
}

/// Returns the millisecond from which on a planned time is not believed: no pause is longer than
/// an hour, so it was planned under a clock that was put back since.
fn too_late(now: Timestamp) -> i64 {
    now.as_millisecond().saturating_add(2 * 60 * 60 * 1000)
}

/// Returns which file is at `path`: device and number; `None` when there is none.
fn file(path: &Path) -> Option<(u64, u64)> {
    let stat = rustix::fs::stat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

fn classify(path: &Path, error: rusqlite::Error) -> StoreError {
    let path = path.to_owned();
    match error.sqlite_error_code() {
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Locked { path },
        Some(ErrorCode::NotADatabase | ErrorCode::DatabaseCorrupt) => StoreError::Damaged {
            path,
            detail: error.to_string(),
        },
        Some(ErrorCode::DiskFull) => StoreError::Full { path },
        _ => StoreError::Sqlite {
            path,
            source: error,
        },
    }
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let error = |error| classify(path, error);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags).map_err(error)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(error)?;
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .map_err(error)?;
    connection
        .pragma_update(None, "foreign_keys", true)
        .map_err(error)?;
    // What is sorted must not lie about in a directory for everybody's temporary files.
    connection
        .pragma_update(None, "temp_store", "MEMORY")
        .map_err(error)?;
    // Addresses that were dropped should not stay readable in free pages.
    connection
        .pragma_update(None, "secure_delete", true)
        .map_err(error)?;
    Ok(connection)
}

/// How much of the file is looked at before it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Check {
    /// What every use reads.
    Header,
    /// Every page (`PRAGMA quick_check`): damage in the middle would else be met at a hold.
    Whole,
}

fn open_checked(path: &Path, check: Check) -> Result<Connection, StoreError> {
    create_private(path)?;
    let mut connection = connect(path)?;
    if check == Check::Whole {
        let found: String = connection
            .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
            .map_err(|error| classify(path, error))?;
        if found != "ok" {
            return Err(StoreError::Damaged {
                path: path.to_owned(),
                detail: found,
            });
        }
    }
    schema::migrate(&mut connection, path)?;
    Ok(connection)
}

/// Creates the file with mode 0600 before SQLite does with the process's umask.
fn create_private(path: &Path) -> Result<(), StoreError> {
    let io = |source| StoreError::Io {
        action: "create",
        path: path.to_owned(),
        source,
    };
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Ok(_) => inherit_owner(path).map_err(io),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            let permissions = std::fs::metadata(path).map_err(io)?.permissions();
            if permissions.mode() & 0o077 != 0 {
                std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
                    .map_err(io)?;
            }
            Ok(())
        }
        Err(error) => Err(io(error)),
    }
}

/// Gives `path` to the owner of its directory when we are root (SQLite itself does so for the
/// `-wal` and `-shm` files).
fn inherit_owner(path: &Path) -> io::Result<()> {
    path.parent()
        .map_or(Ok(()), |dir| owner::inherit(path, dir))
}

/// Opens the file whose lock everybody who uses the database of `dir` holds.
///
/// # Errors
/// The file system refused.
pub(crate) fn lock_file(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("quarantine.lock");
    let io = |source| StoreError::Io {
        action: "open",
        path: path.clone(),
        source,
    };
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .open(&path)
        .map_err(io)?;
    inherit_owner(&path).map_err(io)?;
    Ok(file)
}

/// Takes the lock, waiting at most [`BUSY_TIMEOUT`] for someone who replaces the file.
fn flock(file: &File, operation: FlockOperation, dir: &Path) -> Result<(), StoreError> {
    let nonblocking = match operation {
        FlockOperation::LockShared => FlockOperation::NonBlockingLockShared,
        other => other,
    };
    let step = Duration::from_millis(20);
    for _ in 0..BUSY_TIMEOUT.as_millis() / step.as_millis() {
        if rustix::fs::flock(file, nonblocking).is_ok() {
            return Ok(());
        }
        std::thread::sleep(step);
    }
    Err(StoreError::Locked {
        path: dir.join("quarantine.lock"),
    })
}

/// Renames the damaged file and its WAL, and returns the new name.
fn set_aside(path: &Path, now: Timestamp) -> Result<PathBuf, StoreError> {
    let name = |suffix: &str| {
        let mut name = path.as_os_str().to_owned();
        name.push(suffix);
        PathBuf::from(name)
    };
    let kept_as = name(&format!(".damaged-{}", now.as_millisecond()));
    std::fs::rename(path, &kept_as).map_err(|source| StoreError::Io {
        action: "move aside",
        path: path.to_owned(),
        source,
    })?;
    for suffix in ["-wal", "-shm"] {
        let from = name(suffix);
        let mut to = kept_as.as_os_str().to_owned();
        to.push(suffix);
        match std::fs::rename(&from, PathBuf::from(to)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StoreError::Io {
                    action: "move aside",
                    path: from,
                    source,
                });
            }
        }
    }
    Ok(kept_as)
}
