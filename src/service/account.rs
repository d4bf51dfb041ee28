//! Who may use the review page: local accounts with argon2id passwords.
//!
//! One file, `reviewers` in the state directory, one account a line: name, role, hash. It is
//! read at every request, so a removed account or a changed role counts at once, and written
//! whole or not at all. An account without a password can only come through a reverse proxy
//! that vouches for it.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use argon2::Argon2;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher as _, PasswordVerifier as _};
use rustix::fs::FlockOperation;
use serde::{Deserialize, Serialize};

use super::key_file;
use crate::untrusted::Untrusted;

/// Shortest password accepted: long enough that ten guesses a quarter of an hour lead nowhere.
pub const SHORTEST_PASSWORD: usize = 12;
/// Longest password accepted, so that nobody makes us hash megabytes.
pub const LONGEST_PASSWORD: usize = 1024;

/// Accounts of one site; a bound for the file.
const MOST_ACCOUNTS: usize = 1000;

/// What an account may do; each role includes those before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AccountRole {
    /// Sees the log, the entries with their headers, approvals and the audit record.
    Viewer,
    /// Releases, drops, and downloads messages.
    Reviewer,
    /// Adds and removes approvals.
    Admin,
}

impl AccountRole {
    /// All roles.
    pub const ALL: [AccountRole; 3] = [
        AccountRole::Viewer,
        AccountRole::Reviewer,
        AccountRole::Admin,
    ];

    /// Returns the stable name.
    pub fn name(self) -> &'static str {
        match self {
            AccountRole::Viewer => "viewer",
            AccountRole::Reviewer => "reviewer",
            AccountRole::Admin => "admin",
        }
    }

    /// Returns the role of this name.
    pub fn named(name: &str) -> Option<AccountRole> {
        AccountRole::ALL
            .into_iter()
            .find(|role| role.name() == name)
    }
}

impl fmt::Display for AccountRole {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

/// One account.
#[derive(Clone, PartialEq, Eq)]
pub struct Account {
    /// 1 to 64 of `a-z 0-9 . _ - @`.
    pub name: String,
    /// What it may do.
    pub role: AccountRole,
    /// The argon2id hash in PHC form; `None` when only a reverse proxy can vouch for it.
    hash: Option<String>,
}

impl Account {
    /// Returns whether it has a password.
    pub fn has_password(&self) -> bool {
        self.hash.is_some()
    }

    /// Returns a text that changes with the password, for sessions to notice.
    pub fn stamp(&self) -> &str {
        self.hash.as_deref().unwrap_or_default()
    }
}

impl fmt::Debug for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name, self.role)
    }
}

/// Why an account was not read or changed.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
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
    /// A line is no account.
    #[error("{}: line {line} is not `name role hash`; correct or delete it", path.display())]
    Line {
        /// The file.
        path: PathBuf,
        /// Which, from 1.
        line: usize,
    },
    /// Not a name.
    #[error("{0} is not a name; use 1 to 64 of a-z, 0-9, . _ - and @")]
    Name(String),
    /// The name is taken.
    #[error("there is an account {0} already; `straymail reviewer password` changes its password")]
    Exists(String),
    /// No such account.
    #[error("there is no account {0}; `straymail reviewer list` shows them")]
    None(String),
    /// The password is too short or too long.
    #[error(
        "a password has {SHORTEST_PASSWORD} to {LONGEST_PASSWORD} characters, this one has {0}"
    )]
    Length(usize),
    /// The password could not be hashed.
    #[error("cannot hash the password: {0}")]
    Hash(String),
    /// There are too many.
    #[error("there are {MOST_ACCOUNTS} accounts, and no more are possible")]
    TooMany,
}

/// The accounts of one state directory.
#[derive(Clone, Debug)]
pub struct Accounts {
    path: PathBuf,
}

impl Accounts {
    /// Returns the accounts kept in `dir`. Nothing is read yet.
    pub fn new(dir: &Path) -> Accounts {
        Accounts {
            path: dir.join("reviewers"),
        }
    }

    /// Returns all accounts in the order they were added.
    ///
    /// # Errors
    /// The file does not read. A missing one means that there are none.
    pub fn list(&self) -> Result<Vec<Account>, AccountError> {
        match fs::read_to_string(&self.path) {
            Ok(text) => self.parse(&text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(source) => Err(self.io("read", source)),
        }
    }

    /// Returns the account of this name.
    ///
    /// # Errors
    /// The file does not read.
    pub fn find(&self, name: &str) -> Result<Option<Account>, AccountError> {
        let accounts = self.list()?;
        Ok(accounts.into_iter().find(|account| account.name == name))
    }

    /// Returns the account when the password is its password.
    ///
    /// Takes as long for an account that does not exist, so that names cannot be found out;
    /// some 20 ms and 19 MiB, so call it off the async threads and a few at a time.
    ///
    /// # Errors
    /// The file does not read.
    pub fn check(&self, name: &str, password: &str) -> Result<Option<Account>, AccountError> {
        // A hash of nothing anybody knows: what a wrong name is compared with.
        const NOBODY: &str = "$argon2id$v=19$m=19456,t=2,p=1$c3RyYXltYWlsbm9ib2R5$UXrDlDWhXZGYw2bQwmmHwPqQAfvMEtcnSYwRI3YNhJM";
        let account = self.find(name)?.filter(Account::has_password);
        let hash = (account.as_ref()).map_or(NOBODY, Account::stamp);
        let matches = password.len() <= LONGEST_PASSWORD
            && PasswordHash::new(hash).is_ok_and(|hash| {
                let argon2 = Argon2::default();
                argon2.verify_password(password.as_bytes(), &hash).is_ok()
            });
        Ok(account.filter(|_| matches))
    }

    /// Adds an account; without a password only a reverse proxy can vouch for it.
    ///
    /// # Errors
    /// The name is taken or not a name, the password too short, the file not writable.
    pub fn add(
        &self,
        name: &str,
        role: AccountRole,
        password: Option<&str>,
    ) -> Result<Account, AccountError> {
        let fine = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || ".-_@".contains(c);
        if !(1..=64).contains(&name.len()) || !name.chars().all(fine) {
            return Err(AccountError::Name(format!("{:?}", Untrusted::text(name))));
        }
        let account = Account {
            name: name.to_owned(),
            role,
            hash: password.map(hash).transpose()?,
        };
        self.change(|accounts| {
            if accounts.iter().any(|account| account.name == name) {
                return Err(AccountError::Exists(name.to_owned()));
            }
            if accounts.len() >= MOST_ACCOUNTS {
                return Err(AccountError::TooMany);
            }
            accounts.push(account.clone());
            Ok(())
        })?;
        Ok(account)
    }

    /// Removes an account; its sessions end at once.
    ///
    /// # Errors
    /// There is none of this name, or the file is not writable.
    pub fn remove(&self, name: &str) -> Result<(), AccountError> {
        self.change(|accounts| {
            let before = accounts.len();
            accounts.retain(|account| account.name != name);
            if accounts.len() == before {
                return Err(AccountError::None(Untrusted::text(name).to_string()));
            }
            Ok(())
        })
    }

    /// Changes the password; sessions of the account end at once.
    ///
    /// # Errors
    /// There is none of this name, the password too short, the file not writable.
    pub fn set_password(&self, name: &str, password: &str) -> Result<(), AccountError> {
        let hash = hash(password)?;
        self.change(|accounts| {
            let account = accounts.iter_mut().find(|account| account.name == name);
            let account =
                account.ok_or_else(|| AccountError::None(Untrusted::text(name).to_string()))?;
            account.hash = Some(hash);
            Ok(())
        })
    }

    fn parse(&self, text: &str) -> Result<Vec<Account>, AccountError> {
        let mut accounts = Vec::new();
        for (at, line) in text.lines().enumerate() {
            let mut words = line.split(' ');
            let account = match (words.next(), words.next(), words.next(), words.next()) {
                (Some(name), Some(role), Some(hash), None) => {
                    AccountRole::named(role).map(|role| Account {
                        name: name.to_owned(),
                        role,
                        hash: (hash != "-").then(|| hash.to_owned()),
                    })
                }
                _ => None,
            };
            accounts.push(account.ok_or_else(|| AccountError::Line {
                path: self.path.clone(),
                line: at + 1,
            })?);
        }
        Ok(accounts)
    }

    /// Reads, changes and writes the file while nobody else does.
    fn change(
        &self,
        change: impl FnOnce(&mut Vec<Account>) -> Result<(), AccountError>,
    ) -> Result<(), AccountError> {
        let dir = self.path.parent().unwrap_or(Path::new("/"));
        let dir = File::open(dir).map_err(|error| self.io("open the directory of", error))?;
        rustix::fs::flock(&dir, FlockOperation::LockExclusive)
            .map_err(|error| self.io("lock the directory of", error.into()))?;
        let mut accounts = self.list()?;
        change(&mut accounts)?;
        let mut text = String::new();
        for account in &accounts {
            let hash = account.hash.as_deref().unwrap_or("-");
            text.push_str(&format!("{} {} {hash}\n", account.name, account.role));
        }
        key_file::write(&self.path, &text, false).map_err(|error| self.io("write", error))
    }

    fn io(&self, action: &'static str, source: io::Error) -> AccountError {
        AccountError::Io {
            action,
            path: self.path.clone(),
            source,
        }
    }
}

fn hash(password: &str) -> Result<String, AccountError> {
    let length = password.chars().count();
    if length < SHORTEST_PASSWORD || password.len() > LONGEST_PASSWORD {
        return Err(AccountError::Length(length));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| AccountError::Hash(error.to_string()))?;
    // argon2id with 19 MiB, two passes, one lane: OWASP's recommendation and the crate's default.
    let hash = Argon2::default()
        .hash_password_with_salt(password.as_bytes(), &salt)
        .map_err(|error| AccountError::Hash(error.to_string()))?;
    Ok(hash.to_string())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    const PASSWORD: &str = "correct horse battery";

    #[test]
    fn only_the_right_password_of_the_right_account_counts() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(dir.path());
        assert_eq!(accounts.list().unwrap(), []);
        accounts
            .add("anna", AccountRole::Admin, Some(PASSWORD))
            .unwrap();
        accounts.add("proxy", AccountRole::Viewer, None).unwrap();
        let found = accounts.check("anna", PASSWORD).unwrap().unwrap();
        assert_eq!(
            (found.name.as_str(), found.role),
            ("anna", AccountRole::Admin)
        );
        for (name, password) in [
            ("anna", "correct horse"),
            ("anna", ""),
            ("berta", PASSWORD),
            ("proxy", PASSWORD),
            ("proxy", ""),
            ("proxy", "-"),
        ] {
            assert_eq!(accounts.check(name, password).unwrap(), None, "{name}");
        }
        let text = fs::read_to_string(dir.path().join("reviewers")).unwrap();
        assert!(
            text.starts_with("anna admin $argon2id$v=19$m=19456,t=2,p=1$"),
            "{text}"
        );
        let mode = fs::metadata(dir.path().join("reviewers"))
            .unwrap()
            .permissions()
            .mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn the_hash_that_a_wrong_name_is_compared_with_costs_what_a_real_one_costs() {
        let nobody = "$argon2id$v=19$m=19456,t=2,p=1$c3RyYXltYWlsbm9ib2R5$UXrDlDWhXZGYw2bQwmmHwPqQAfvMEtcnSYwRI3YNhJM";
        assert!(PasswordHash::new(nobody).is_ok());
        let real = hash(PASSWORD).unwrap();
        let cost = |hash: &str| hash.split('$').nth(3).unwrap().to_owned();
        assert_eq!(cost(&real), cost(nobody));
    }

    #[test]
    fn a_changed_password_changes_the_stamp_and_a_removed_account_is_gone() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(dir.path());
        let before = accounts
            .add("anna", AccountRole::Reviewer, Some(PASSWORD))
            .unwrap();
        accounts
            .set_password("anna", "another long password")
            .unwrap();
        let after = accounts.find("anna").unwrap().unwrap();
        assert_ne!(before.stamp(), after.stamp());
        assert_eq!(after.role, AccountRole::Reviewer);
        accounts.remove("anna").unwrap();
        assert_eq!(accounts.find("anna").unwrap(), None);
    }

    #[test]
    fn mistakes_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let accounts = Accounts::new(dir.path());
        let role = AccountRole::Viewer;
        accounts.add("anna", role, Some(PASSWORD)).unwrap();
        for (error, expected) in [
            (
                accounts.add("anna", role, None).unwrap_err(),
                "there is an account anna already; `straymail reviewer password` changes its password",
            ),
            (
                accounts.add("An na\u{1b}", role, None).unwrap_err(),
                "\"An na\\u{1b}\" is not a name; use 1 to 64 of a-z, 0-9, . _ - and @",
            ),
            (
                accounts.add("berta", role, Some("short")).unwrap_err(),
                "a password has 12 to 1024 characters, this one has 5",
            ),
            (
                accounts.remove("berta").unwrap_err(),
                "there is no account berta; `straymail reviewer list` shows them",
            ),
        ] {
            assert_eq!(error.to_string(), expected);
        }
        fs::write(dir.path().join("reviewers"), "anna boss -\n").unwrap();
        let error = accounts.list().unwrap_err().to_string();
        assert!(
            error.ends_with("line 1 is not `name role hash`; correct or delete it"),
            "{error}"
        );
    }
}
