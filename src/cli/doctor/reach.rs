//! Whether the MTA's user can connect to a socket: every directory on the way, and the socket.
//!
//! The mistake behind more questions about milters than any other: the file is there and root
//! can use it, but one directory on the way is not searchable for `postfix`.

use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};

use super::ask::ask;
use super::finding::{Finding, Severity, quoted_path};

/// An account of the system.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) name: String,
    pub(super) uid: u32,
    /// The first is its own.
    pub(super) gids: Vec<u32>,
}

/// One directory on the way, or the socket at its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) path: PathBuf,
    pub(super) kind: Kind,
    /// Permission bits.
    pub(super) mode: u32,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

/// What is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Directory,
    Socket,
    Other,
    Nothing,
}

/// The way to a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Way {
    pub(super) account: Account,
    /// From `/` to the socket; ends where something is missing.
    pub(super) steps: Vec<Step>,
    /// What access(2) says as this account, which knows of ACLs too; `None` when it could not
    /// be asked.
    pub(super) passable: Option<bool>,
}

impl Account {
    /// Asks the system for an account.
    ///
    /// # Errors
    /// There is none of this name.
    pub(super) fn gather(name: &str) -> Result<Account, String> {
        let numbers = |option: &str| -> Result<Vec<u32>, String> {
            let text = ask("id", &[option, "--", name]).map_err(|error| error.to_string())?;
            Ok(text
                .split_whitespace()
                .filter_map(|n| n.parse().ok())
                .collect())
        };
        let uid = numbers("-u")?.first().copied();
        Ok(Account {
            name: name.to_owned(),
            uid: uid.ok_or_else(|| format!("id(1) knows no number of {name}"))?,
            gids: numbers("-G")?,
        })
    }

    /// Returns whether the account has the permission `bit` (4, 2 or 1) on what `step` says.
    pub(super) fn may(&self, step: &Step, bit: u32) -> bool {
        let shift = if self.uid == 0 {
            return true;
        } else if self.uid == step.uid {
            6
        } else if self.gids.contains(&step.gid) {
            3
        } else {
            0
        };
        step.mode >> shift & bit != 0
    }
}

impl Step {
    /// Looks at a path.
    pub(super) fn gather(path: &Path) -> Step {
        let meta = std::fs::metadata(path).ok();
        let kind = match &meta {
            None => Kind::Nothing,
            Some(meta) if meta.is_dir() => Kind::Directory,
            Some(meta) if meta.file_type().is_socket() => Kind::Socket,
            Some(_) => Kind::Other,
        };
        Step {
            path: path.to_owned(),
            kind,
            mode: meta.as_ref().map_or(0, |meta| meta.mode() & 0o7777),
            uid: meta.as_ref().map_or(0, |meta| meta.uid()),
            gid: meta.as_ref().map_or(0, |meta| meta.gid()),
        }
    }
}

impl Way {
    /// Looks at every step of the way to `socket`.
    pub(super) fn gather(account: Account, socket: &Path) -> Way {
        let mut steps: Vec<Step> = Vec::new();
        let mut ancestors: Vec<&Path> = socket.ancestors().collect();
        ancestors.reverse();
        for path in ancestors {
            let step = Step::gather(path);
            let last = step.kind == Kind::Nothing;
            steps.push(step);
            if last {
                break;
            }
        }
        let passable = passable(&account, socket);
        Way {
            account,
            steps,
            passable,
        }
    }
}

/// Asks access(2) as the account; only root may become it.
fn passable(account: &Account, socket: &Path) -> Option<bool> {
    if !rustix::process::geteuid().is_root() {
        return None;
    }
    let [uid, gid] = [Some(account.uid), account.gids.first().copied()]
        .map(|id| id.map(|id| id.to_string()).unwrap_or_default());
    let options = [format!("--reuid={uid}"), format!("--regid={gid}")];
    let test = |operator: &str, path: &str| {
        let arguments = [
            &*options[0],
            &*options[1],
            "--init-groups",
            "test",
            operator,
            path,
        ];
        ask("setpriv", &arguments)
    };
    // Without a yes to something that is surely so, a no means nothing.
    test("-d", "/").ok()?;
    Some(test("-w", &socket.to_string_lossy()).is_ok())
}

/// What Sendmail is told not to call unsafe (`DontBlameSendmail`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Trust {
    /// `GroupWritableDirPathSafe`
    pub(super) group: bool,
    /// `TrustStickyBit`
    pub(super) sticky: bool,
}

/// Returns what makes Sendmail call the socket unsafe: a directory on the way that others may
/// write to (safedirpath of Sendmail's safefile.c).
pub(super) fn is_unsafe(way: &Way, trust: Trust) -> Option<Finding> {
    let bits = if trust.group { 0o002 } else { 0o022 };
    let open = (way.steps.iter()).find(|step| {
        let is_trusted = trust.sticky && step.mode & 0o1000 != 0;
        step.kind == Kind::Directory && step.mode & bits != 0 && !is_trusted
    })?;
    let finding = Finding::new(
        "sendmail-socket",
        Severity::Error,
        format!(
            "{} on the way to the socket is writable by others than its owner (mode {:04o})",
            open.path.display(),
            open.mode
        ),
        "Sendmail calls the socket unsafe and does not ask: every message meets F=.",
    );
    Some(match open.mode & 0o1000 {
        0 => finding.run(format!("chmod go-w {}", quoted_path(&open.path))),
        // Such as /tmp, which is for everybody.
        _ => finding.edit("in milter.yaml at this listener: socket: unix:/run/straymail/milter.sock; then `straymail setup sendmail`"),
    })
}

/// Returns what keeps the account from connecting.
pub(super) fn check(way: &Way) -> Option<Finding> {
    let name = &way.account.name;
    let (last, before) = way.steps.split_last()?;
    let finding = |found: String| {
        Finding::new(
            "socket-reach",
            Severity::Error,
            found,
            "The MTA cannot connect, so every message meets its default action.",
        )
    };
    if way.passable == Some(true) && last.kind == Kind::Socket {
        return None;
    }
    if let Some(closed) = before.iter().find(|step| !way.account.may(step, 1)) {
        let path = closed.path.display();
        let class = if way.account.gids.contains(&closed.gid) {
            'g'
        } else {
            'o'
        };
        return Some(
            finding(format!(
                "{path} is not searchable for {name} (mode {:04o}, owner {}:{})",
                closed.mode, closed.uid, closed.gid
            ))
            .run(format!("chmod {class}+x {}", quoted_path(&closed.path))),
        );
    }
    let path = last.path.display();
    match last.kind {
        Kind::Nothing => Some(
            finding(format!("{path} does not exist"))
                .run("systemctl start straymail")
                .edit("without systemd: start `straymail run`"),
        ),
        Kind::Directory | Kind::Other => Some({
            let remove = match last.kind {
                Kind::Directory => "rmdir",
                _ => "rm",
            };
            finding(format!("{path} is no socket"))
                // An empty directory at most: what is in it is somebody's.
                .run(format!("{remove} {}", quoted_path(&last.path)))
                .run("systemctl restart straymail")
        }),
        Kind::Socket if !way.account.may(last, 2) || way.passable == Some(false) => {
            let socket = quoted_path(&last.path);
            Some(
                finding(format!(
                    "{path} is not writable for {name} (mode {:04o}, owner {}:{})",
                    last.mode, last.uid, last.gid
                ))
                .run(format!("chgrp {name} {socket} && chmod g+w {socket}"))
                .edit(format!(
                    "so that it stays, in milter.yaml at this listener: group: {name}, mode: \"0660\""
                )),
            )
        }
        Kind::Socket => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(path: &str, kind: Kind, mode: u32, gid: u32) -> Step {
        Step {
            path: path.into(),
            kind,
            mode,
            uid: 900,
            gid,
        }
    }

    fn way(steps: Vec<Step>) -> Way {
        let account = Account {
            name: "postfix".into(),
            uid: 104,
            gids: vec![110, 111],
        };
        Way {
            account,
            steps,
            passable: None,
        }
    }

    fn commands(way: &Way) -> Vec<String> {
        let finding = check(way);
        let mend = finding.into_iter().flat_map(|finding| finding.mend);
        mend.filter_map(|mend| match mend {
            super::super::finding::Mend::Run(command) => Some(command),
            super::super::finding::Mend::Edit(_) => None,
        })
        .collect()
    }

    #[test]
    fn the_first_closed_directory_is_named_with_the_class_that_opens_it() {
        let root = || step("/", Kind::Directory, 0o755, 0);
        let closed = step("/run/s", Kind::Directory, 0o700, 0);
        let socket = || step("/run/s/m", Kind::Socket, 0o666, 0);
        assert_eq!(
            commands(&way(vec![root(), closed, socket()])),
            ["chmod o+x /run/s"]
        );
        let closed = step("/run/s", Kind::Directory, 0o700, 111);
        assert_eq!(
            commands(&way(vec![root(), closed, socket()])),
            ["chmod g+x /run/s"]
        );
        assert_eq!(check(&way(vec![root(), socket()])), None);
    }

    #[test]
    fn a_socket_must_be_writable_by_a_class_the_account_is_in() {
        for (mode, gid, reaches) in [
            (0o660, 110, true),
            (0o660, 111, true),
            (0o660, 900, false),
            (0o666, 900, true),
            (0o606, 110, false),
        ] {
            let way = way(vec![step("/m", Kind::Socket, mode, gid)]);
            assert_eq!(check(&way).is_none(), reaches, "{mode:o} {gid}");
        }
    }

    #[test]
    fn an_acl_that_lets_the_account_in_is_believed() {
        let steps = vec![step("/m", Kind::Socket, 0o600, 0)];
        let open = Way {
            passable: Some(true),
            ..way(steps.clone())
        };
        assert_eq!(check(&open), None);
        let closed = Way {
            passable: Some(false),
            ..way(steps)
        };
        assert!(check(&closed).is_some());
    }

    #[test]
    fn what_is_missing_is_said() {
        let found = check(&way(vec![step("/m", Kind::Nothing, 0, 0)])).map(|f| f.found);
        assert_eq!(found.as_deref(), Some("/m does not exist"));
        let found = check(&way(vec![step("/m", Kind::Other, 0o666, 0)])).map(|f| f.found);
        assert_eq!(found.as_deref(), Some("/m is no socket"));
    }

    #[test]
    fn sendmail_trusts_no_directory_that_others_write_to() {
        let found = |mode, trust| {
            let steps = vec![
                step("/d", Kind::Directory, mode, 0),
                step("/d/m", Kind::Socket, 0o666, 0),
            ];
            is_unsafe(&way(steps), trust).is_some()
        };
        let (strict, group) = (
            Trust::default(),
            Trust {
                group: true,
                sticky: false,
            },
        );
        let sticky = Trust {
            group: false,
            sticky: true,
        };
        assert!(!found(0o755, strict));
        assert!(found(0o775, strict) && !found(0o775, group));
        assert!(found(0o757, group));
        assert!(found(0o1777, strict) && !found(0o1777, sticky));
    }
}
