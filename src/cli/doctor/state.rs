//! The state directory, the disk below it, the store in it, and the clock.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use rustix::fs::StatVfsMountFlags;

use crate::config::Config;
use crate::logging::event;
use crate::service::backup;
use crate::service::quarantine::QuarantineSettings;
use crate::store::{Inspection, Store};
use crate::untrusted::Untrusted;

use super::ask::ask;
use super::finding::{Finding, Report, Severity, quoted_path};
use super::reach::{Account, Kind, Step};

/// The worker writes down every minute that it works; some minutes more are no fault.
const WORKER_MAY_BE_SILENT: Duration = Duration::from_secs(5 * 60);
/// A clock that differs by so much is no rounding.
const CLOCK_MAY_DIFFER: Duration = Duration::from_secs(5 * 60);
/// When this was written: no honest clock is before it.
const WRITTEN_AT: i64 = 1_793_491_200; // 2026-11-01T00:00:00Z
/// Most files of the state directory that are looked at.
const FILES: usize = 100_000;

/// What was found of the state directory.
#[derive(Debug)]
pub(super) struct State {
    pub(super) dir: Step,
    /// The file system below it takes no writing.
    pub(super) read_only: bool,
    /// Files in it that belong to somebody else than the directory.
    pub(super) foreign: Vec<PathBuf>,
    /// Bytes free for us, and how many must be.
    pub(super) free: Option<u64>,
    pub(super) min_free: u64,
    /// As whom the daemon runs, when that is known.
    pub(super) account: Option<Account>,
    pub(super) store: Result<Option<Inspection>, String>,
    /// Whether a restore into it was broken off.
    pub(super) half_restored: bool,
    pub(super) now: Timestamp,
    /// Whether senders are to be told.
    pub(super) notices: bool,
    /// Whether mail may come to be held.
    pub(super) holds: bool,
}

impl State {
    /// Looks at the directory.
    pub(super) fn gather(config: &Config, now: Timestamp) -> State {
        let dir = &config.quarantine.dir;
        let roles = config.listeners.iter().map(|listener| listener.role);
        let step = Step::gather(dir);
        let stat = rustix::fs::statvfs(dir).ok();
        let store = match step.kind {
            Kind::Directory => Store::inspect(dir).map_err(|error| event::chain(&error)),
            _ => Ok(None),
        };
        State {
            account: account(&step),
            foreign: foreign(dir, step.uid),
            dir: step,
            read_only: (stat.as_ref())
                .is_some_and(|stat| stat.f_flag.contains(StatVfsMountFlags::RDONLY)),
            free: stat.map(|stat| stat.f_bavail.saturating_mul(stat.f_frsize)),
            min_free: config.quarantine.min_free_bytes,
            store,
            half_restored: backup::is_unfinished(dir),
            now,
            notices: config.notice.from.is_some(),
            holds: config.policy.may_hold(roles),
        }
    }
}

/// Returns as whom the daemon runs: in the usual place the user of the shipped units, elsewhere
/// whoever owns the directory.
fn account(dir: &Step) -> Option<Account> {
    if dir.path == QuarantineSettings::default().dir
        && let Ok(account) = Account::gather("straymail")
    {
        return Some(account);
    }
    let name = ask("id", &["-un", "--", &dir.uid.to_string()]).ok()?;
    Account::gather(name.trim()).ok()
}

/// Returns the files below `dir` that `owner` does not own.
fn foreign(dir: &Path, owner: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut seen = 0;
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            seen += 1;
            if seen > FILES {
                return found;
            }
            let Ok(meta) = entry.metadata() else { continue };
            if meta.uid() != owner {
                found.push(entry.path());
            }
            if meta.is_dir() {
                folders.push(entry.path());
            }
        }
    }
    found
}

/// Checks all of it.
pub(super) fn check(state: &State) -> Report {
    let mut report = Report::default();
    if state.read_only && state.dir.kind == Kind::Directory {
        // What else there is to say comes from this, and nothing of it can be mended before.
        report.find(read_only(&state.dir.path));
        return report;
    }
    directory(state, &mut report);
    disk(state, &mut report);
    if state.half_restored {
        report.find(
            Finding::new(
                "store",
                Severity::Error,
                "the state directory holds half of a backup: its restore was broken off",
                "Who waits for what is only known once all of it is there, so nothing is used before.",
            )
            .run("systemctl stop straymail straymail-worker")
            .edit("run `straymail restore --replace DIRECTORY` once more, then start both again"),
        );
        return report;
    }
    match &state.store {
        Ok(Some(inspection)) => store(state, inspection, &mut report),
        Ok(None) => {}
        Err(error) => report.find(
            Finding::new(
                "store",
                Severity::Error,
                error.clone(),
                "Nothing can be held, released or looked up.",
            )
            .run("systemctl restart straymail straymail-worker"),
        ),
    }
    report
}

fn read_only(dir: &Path) -> Finding {
    Finding::new(
        "state-directory",
        Severity::Error,
        format!("the file system of {} is mounted read-only", dir.display()),
        "Nothing can be held, released or noted; policy.on_error decides about what should be held.",
    )
    .edit("look first why (dmesg): after an error of the disk it needs fsck before")
    .run(format!(
        "mount -o remount,rw \"$(findmnt -n -o TARGET -T {})\"",
        quoted_path(dir)
    ))
    .edit("so that it stays, take ro out of its line in /etc/fstab")
}

fn directory(state: &State, report: &mut Report) {
    let dir = &state.dir;
    let (shown, word) = (dir.path.display(), quoted_path(&dir.path));
    let user = state.account.as_ref().map_or("root", |a| &a.name);
    match dir.kind {
        Kind::Directory => {}
        _ => {
            report.find(
                Finding::new(
                    "state-directory",
                    Severity::Error,
                    format!("{shown} is no directory"),
                    "There is nowhere to hold mail: straymail does not start.",
                )
                .run(format!("install -d -m 0700 -o {user} -g {user} {word}")),
            );
            return;
        }
    }
    if let Some(account) = &state.account
        && dir.uid != account.uid
    {
        report.find(
            Finding::new(
                "state-directory",
                Severity::Error,
                format!("{shown} does not belong to {user}, as whom the service runs"),
                "The daemon cannot write there: no mail can be held.",
            )
            .run(format!("chown -R {user}: {word}")),
        );
    } else if let Some(first) = state.foreign.first() {
        report.find(
            Finding::new(
                "state-directory",
                Severity::Error,
                format!(
                    "{} of the files in {shown} belong to somebody else than the directory, such as {}",
                    state.foreign.len(),
                    Untrusted::text(&first.to_string_lossy())
                ),
                "The daemon cannot use them: held mail is stuck.",
            )
            .run(format!("chown -R --reference={word} {word}")),
        );
    }
    if dir.mode & 0o077 != 0 {
        report.find(
            Finding::new(
                "state-directory",
                Severity::Warning,
                format!("{shown} has mode {:04o}", dir.mode),
                "Held mail is private, and other accounts of this host may look at what is there.",
            )
            .run(format!("chmod 0700 {word}")),
        );
    }
}

fn disk(state: &State, report: &mut Report) {
    let Some(free) = state.free else { return };
    let word = quoted_path(&state.dir.path);
    let (severity, why) = if free < state.min_free {
        (
            Severity::Error,
            "Nothing is held any more; policy.on_error decides about what should be.",
        )
    } else if free < state.min_free.saturating_mul(2) {
        (
            Severity::Warning,
            "Below quarantine.min_free nothing is held any more, and that is near.",
        )
    } else {
        return;
    };
    report.find(
        Finding::new(
            "disk",
            severity,
            format!(
                "{} MiB are free for {}, quarantine.min_free is {} MiB",
                free >> 20,
                state.dir.path.display(),
                state.min_free >> 20
            ),
            why,
        )
        .run(format!("df -h {word}"))
        .edit("make room, or in milter.yaml: quarantine.min_free: less"),
    );
}

fn store(state: &State, inspection: &Inspection, report: &mut Report) {
    let Inspection {
        version,
        known,
        counts,
        last_event,
    } = inspection;
    if version > known {
        report.find(
            Finding::new(
                "store",
                Severity::Error,
                format!(
                    "the store has schema version {version}, this straymail knows up to {known}"
                ),
                "A newer straymail has used it; this one refuses to start rather than to guess.",
            )
            .edit("install the newer straymail again"),
        );
    } else if version < known {
        report.find(
            Finding::new(
                "store",
                Severity::Note,
                format!("the store has schema version {version}, this straymail writes {known}"),
                "The next start brings it up; an older straymail then refuses it, so keep a copy.",
            )
            .run("systemctl restart straymail straymail-worker"),
        );
    }
    let Some(counts) = counts else { return };
    clock(
        state,
        counts.worker_seen_at.into_iter().chain(*last_event).max(),
        report,
    );
    let waits = counts.oldest.is_some() || counts.decisions > 0 || counts.letters > 0;
    let silent = match counts.worker_seen_at {
        None => Some("the worker has never run".to_owned()),
        Some(seen) if older(state.now, seen, WORKER_MAY_BE_SILENT) => {
            Some(format!("the worker was last seen at {seen:.0}"))
        }
        Some(_) => None,
    };
    if let Some(found) = silent {
        let severity = if waits || state.notices {
            Severity::Error
        } else {
            Severity::Warning
        };
        report.find(
            Finding::new(
                "worker",
                severity,
                found,
                "Nobody is told what is held, no decision is carried out, and nothing ever ends.",
            )
            .run("systemctl enable --now straymail-worker")
            .edit("without systemd: start `straymail worker`, or `straymail run` in place of `straymail milter`"),
        );
    }
    if counts.decisions_failing > 0 || counts.notices_failing > 0 {
        let last = counts.last_error.as_deref().unwrap_or("?");
        report.find(
            Finding::new(
                "worker",
                Severity::Warning,
                format!(
                    "{} decisions and {} notices failed and are tried again; the last error: {}",
                    counts.decisions_failing,
                    counts.notices_failing,
                    Untrusted::text(last)
                ),
                "Mail that senders have confirmed does not go out, or they are not told.",
            )
            .run("straymail status"),
        );
    }
    if !state.notices {
        let matters = state.holds || counts.oldest.is_some();
        report.find(notices_off(match matters {
            true => Severity::Warning,
            false => Severity::Note,
        }));
    }
}

/// Returns whether `then` lies more than `by` before `now`.
fn older(now: Timestamp, then: Timestamp, by: Duration) -> bool {
    now.saturating_sub(by).is_ok_and(|limit| then < limit)
}

fn notices_off(severity: Severity) -> Finding {
    Finding::new(
        "notices",
        severity,
        "notice.from is not set",
        "Senders are not told what is held: an admin has to decide about everything, and what nobody decided on in time ends untold.",
    )
    .edit("in milter.yaml: notice: from: straymail@ one of your own domains")
}

fn clock(state: &State, latest: Option<Timestamp>, report: &mut Report) {
    let behind = state.now.as_second() < WRITTEN_AT;
    let ahead = latest.filter(|at| older(*at, state.now, CLOCK_MAY_DIFFER));
    let found = match ahead {
        Some(at) => format!(
            "the clock says {:.0}, but the store was written at {at:.0}",
            state.now
        ),
        None if behind => format!(
            "the clock says {:.0}, before this program was written",
            state.now
        ),
        None => return,
    };
    report.find(
        Finding::new(
            "clock",
            Severity::Error,
            found,
            "Approvals, retries and the end of held mail go by the clock; a wrong one ends them early or never.",
        )
        .run("timedatectl set-ntp true"),
    );
}

/// Says when the daemon's user cannot read the configuration.
pub(super) fn readable(account: &Account, file: &Path) -> Option<Finding> {
    let mut steps: Vec<Step> = file.ancestors().map(Step::gather).collect();
    let last = steps.remove(0);
    // A relative path begins where we are; its ancestors are those of the directory.
    let closed = steps
        .iter()
        .filter(|step| step.kind == Kind::Directory)
        .find(|step| !account.may(step, 1));
    let finding = |found: String| {
        Finding::new(
            "configuration",
            Severity::Error,
            found,
            "The service does not start, or keeps its old rules at a reload.",
        )
    };
    let name = &account.name;
    if let Some(closed) = closed {
        return Some(
            finding(format!(
                "{} is not searchable for {name}",
                closed.path.display()
            ))
            .run(format!("chmod o+x {}", quoted_path(&closed.path))),
        );
    }
    (!account.may(&last, 4)).then(|| {
        let word = quoted_path(file);
        finding(format!("{} is not readable for {name}", file.display()))
            .run(format!("chgrp {name} {word} && chmod g+r {word}"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Counts, EntryState};

    fn now() -> Timestamp {
        "2026-11-25T12:00:00Z".parse().unwrap()
    }

    fn counts() -> Counts {
        Counts {
            entries: vec![(EntryState::Held, 0)],
            oldest: None,
            decisions: 0,
            decisions_failing: 0,
            notices_failing: 0,
            notices_waiting: 0,
            letters: 0,
            worker_seen_at: Some(now()),
            last_error: None,
        }
    }

    fn state(counts: Counts) -> State {
        State {
            dir: Step {
                path: "/var/lib/straymail".into(),
                kind: Kind::Directory,
                mode: 0o700,
                uid: 900,
                gid: 900,
            },
            read_only: false,
            foreign: Vec::new(),
            free: Some(10 << 30),
            min_free: 512 << 20,
            account: None,
            store: Ok(Some(Inspection {
                version: 3,
                known: 3,
                counts: Some(counts),
                last_event: None,
            })),
            half_restored: false,
            now: now(),
            notices: true,
            holds: true,
        }
    }

    fn found(state: &State) -> Vec<(&'static str, Severity)> {
        let findings = check(state).findings;
        findings.iter().map(|f| (f.check, f.severity)).collect()
    }

    #[test]
    fn a_sound_state_has_no_findings() {
        assert_eq!(found(&state(counts())), []);
    }

    #[test]
    fn a_full_disk_is_an_error_and_a_nearly_full_one_a_warning() {
        let with = |free| State {
            free: Some(free),
            ..state(counts())
        };
        assert_eq!(found(&with(511 << 20)), [("disk", Severity::Error)]);
        assert_eq!(found(&with(1023 << 20)), [("disk", Severity::Warning)]);
        assert_eq!(found(&with(1024 << 20)), []);
    }

    #[test]
    fn a_silent_worker_matters_most_when_something_waits_for_it() {
        let gone = Counts {
            worker_seen_at: None,
            ..counts()
        };
        let quiet = State {
            notices: false,
            ..state(gone.clone())
        };
        assert_eq!(
            found(&quiet),
            [
                ("worker", Severity::Warning),
                ("notices", Severity::Warning)
            ]
        );
        let observing = State {
            holds: false,
            ..quiet
        };
        assert_eq!(
            found(&observing),
            [("worker", Severity::Warning), ("notices", Severity::Note)]
        );
        assert_eq!(found(&state(gone)), [("worker", Severity::Error)]);
        let old = "2026-11-25T11:54:00Z".parse().ok();
        let late = Counts {
            worker_seen_at: old,
            ..counts()
        };
        assert_eq!(found(&state(late)), [("worker", Severity::Error)]);
    }

    #[test]
    fn a_store_written_in_the_future_means_a_wrong_clock() {
        let at = "2026-11-25T13:00:00Z".parse().ok();
        let state = state(Counts {
            worker_seen_at: at,
            ..counts()
        });
        assert_eq!(found(&state), [("clock", Severity::Error)]);
    }

    #[test]
    fn the_directory_belongs_to_the_daemon_alone() {
        let open = Step {
            mode: 0o755,
            ..state(counts()).dir
        };
        let state_open = State {
            dir: open,
            ..state(counts())
        };
        assert_eq!(found(&state_open), [("state-directory", Severity::Warning)]);
        let foreign = State {
            foreign: vec!["/x".into()],
            ..state(counts())
        };
        assert_eq!(found(&foreign), [("state-directory", Severity::Error)]);
        let account = Account {
            name: "straymail".into(),
            uid: 1,
            gids: vec![1],
        };
        let others = State {
            account: Some(account),
            ..state(counts())
        };
        assert_eq!(found(&others), [("state-directory", Severity::Error)]);
        let gone = Step {
            kind: Kind::Nothing,
            ..state(counts()).dir
        };
        let gone = State {
            dir: gone,
            store: Ok(None),
            ..state(counts())
        };
        assert_eq!(found(&gone), [("state-directory", Severity::Error)]);
    }

    #[test]
    fn a_read_only_file_system_is_the_cause_of_all_else() {
        let state = State {
            read_only: true,
            store: Err("unable to open database file".to_owned()),
            ..state(counts())
        };
        let findings = check(&state).findings;
        let shown: Vec<String> = findings.iter().map(ToString::to_string).collect();
        assert_eq!(shown.len(), 1, "{shown:?}");
        for part in [
            "error   state-directory: the file system of /var/lib/straymail is mounted read-only\n",
            "# mount -o remount,rw \"$(findmnt -n -o TARGET -T /var/lib/straymail)\"\n",
        ] {
            assert!(shown[0].contains(part), "{shown:?}");
        }
    }

    #[test]
    fn half_a_backup_is_an_error_whatever_else_is_there() {
        let state = State {
            half_restored: true,
            store: Ok(None),
            ..state(counts())
        };
        assert_eq!(found(&state), [("store", Severity::Error)]);
    }

    #[test]
    fn a_store_of_a_newer_straymail_is_an_error() {
        let newer = Inspection {
            version: 9,
            known: 3,
            counts: None,
            last_event: None,
        };
        let state = State {
            store: Ok(Some(newer)),
            ..state(counts())
        };
        assert_eq!(found(&state), [("store", Severity::Error)]);
    }
}
