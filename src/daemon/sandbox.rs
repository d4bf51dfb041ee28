//! Walls around the running daemon, by Landlock: it reads the system's files and what the
//! configuration names, writes below its own directory, and keeps its sockets; all else is
//! closed. They hold without systemd too, and cannot be taken down again.
//!
//! Files that are open and UNIX sockets that exist are not behind the walls: logging, the
//! watchdog and the MTA's socket work as before. Where the kernel has less than is asked for, the
//! walls are as high as it builds them; the log says how high.

use std::path::{Path, PathBuf};

use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, NetPort, Ruleset, RulesetAttr, RulesetCreatedAttr,
    RulesetError, RulesetStatus, Scope, path_beneath_rules,
};

/// `off` in this environment variable builds no walls.
const SWITCH: &str = "STRAYMAIL_SANDBOX";

/// What the system keeps for every program: name services, time zones, the public suffix list,
/// the configuration. What of it is secret, file modes keep from us.
const SYSTEM: &[&str] = &[
    "/etc",
    "/usr",
    "/lib",
    "/lib64",
    "/proc",
    "/sys/fs/cgroup",
    "/dev/null",
    "/dev/urandom",
    "/run/systemd/resolve",
];

/// Where names are looked up when an answer is too long for UDP.
const DNS: u16 = 53;

/// What the daemon needs.
#[derive(Debug, Default)]
pub(super) struct Needs {
    /// Files it reads again at a reload; their directories, because editors replace files.
    pub(super) reads: Vec<PathBuf>,
    /// A directory it has for itself.
    pub(super) own: PathBuf,
    /// UNIX sockets it makes, and removes at its end.
    pub(super) sockets: Vec<PathBuf>,
    /// TCP ports it listens at.
    pub(super) listens: Vec<u16>,
    /// Where it connects to by TCP, as `host:port`.
    pub(super) connects: Option<String>,
}

/// How high the walls are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Walls {
    /// As asked for.
    Whole,
    /// The kernel knows only some of it.
    Partial,
    /// The kernel has no Landlock.
    None,
    /// An admin does not want them.
    Off,
}

impl Walls {
    /// Returns what the log says.
    pub(super) fn text(self) -> &'static str {
        match self {
            Walls::Whole => "landlock",
            Walls::Partial => "landlock, as far as this kernel has it",
            Walls::None => "none: this kernel has no landlock",
            Walls::Off => "none: STRAYMAIL_SANDBOX=off",
        }
    }
}

/// Builds the walls around this thread and all that it will start.
///
/// # Errors
/// When the kernel has Landlock and refuses the rules.
pub(super) fn enter(needs: &Needs) -> Result<Walls, RulesetError> {
    if std::env::var_os(SWITCH).is_some_and(|value| value == "off") {
        return Ok(Walls::Off);
    }
    let files = AccessFs::from_all(ABI::V5);
    let read = AccessFs::ReadFile | AccessFs::ReadDir;
    let own: BitFlags<AccessFs> = read
        | AccessFs::WriteFile
        | AccessFs::Truncate
        | AccessFs::MakeReg
        | AccessFs::MakeDir
        | AccessFs::RemoveFile
        | AccessFs::RemoveDir
        | AccessFs::Refer;
    let sockets = AccessFs::ReadDir | AccessFs::MakeSock | AccessFs::RemoveFile;
    let (reads, places) = (directories(&needs.reads), directories(&needs.sockets));
    let connects = needs.connects.as_deref().map(ports).unwrap_or_default();
    let port =
        |access: AccessNet| move |port: &u16| Ok::<_, RulesetError>(NetPort::new(*port, access));
    let status = Ruleset::default()
        .handle_access(files)?
        .scope(Scope::Signal)?
        .handle_access(AccessNet::from_all(ABI::V4))?
        .create()?
        .add_rules(path_beneath_rules(SYSTEM, read))?
        .add_rules(path_beneath_rules(&reads, read))?
        .add_rules(path_beneath_rules([&needs.own], own))?
        .add_rules(path_beneath_rules(&places, sockets))?
        .add_rules(needs.listens.iter().map(port(AccessNet::BindTcp)))?
        // The watchdog's own session.
        .add_rules(needs.listens.iter().map(port(AccessNet::ConnectTcp)))?
        .add_rules(connects.iter().map(port(AccessNet::ConnectTcp)))?
        .restrict_self()?;
    Ok(match status.ruleset {
        RulesetStatus::FullyEnforced => Walls::Whole,
        RulesetStatus::PartiallyEnforced => Walls::Partial,
        RulesetStatus::NotEnforced => Walls::None,
    })
}

/// Returns the directories of `files`, and of what they are links to.
fn directories(files: &[PathBuf]) -> Vec<PathBuf> {
    let parent = |path: &Path| match path.parent() {
        Some(parent) if parent != Path::new("") => parent.to_owned(),
        _ => PathBuf::from("."),
    };
    (files.iter())
        .flat_map(|file| {
            [
                Some(parent(file)),
                file.canonicalize().ok().map(|real| parent(&real)),
            ]
        })
        .flatten()
        .collect()
}

/// Returns the ports that reaching `target` (`host:port`) needs.
fn ports(target: &str) -> Vec<u16> {
    let port = target.rsplit(':').next().and_then(|port| port.parse().ok());
    [port, Some(DNS)].into_iter().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_directories_of_links_and_of_what_they_lead_to_are_both_read() {
        let (etc, srv) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let (link, file) = (etc.path().join("milter.yaml"), srv.path().join("real.yaml"));
        std::fs::write(&file, "").unwrap();
        std::os::unix::fs::symlink(&file, &link).unwrap();
        let real = |dir: &tempfile::TempDir| dir.path().canonicalize().unwrap();
        assert_eq!(directories(&[link]), [etc.path().to_owned(), real(&srv)]);
        assert_eq!(
            directories(&["milter.yaml".into()]).first(),
            Some(&".".into())
        );
    }

    #[test]
    fn a_released_message_finds_its_way() {
        assert_eq!(ports("127.0.0.1:25"), [25, DNS]);
        assert_eq!(ports("[::1]:10026"), [10_026, DNS]);
    }
}
