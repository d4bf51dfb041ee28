//! A daemon with one listener in a directory of its own, for tests that speak the milter protocol
//! without an MTA.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::Value;
use tempfile::TempDir;

use super::daemon::{Daemon, Library, Settings};
use super::milter_client::MilterClient;

/// The daemon and where it listens.
pub(crate) struct Bench {
    /// The daemon.
    pub(crate) daemon: Daemon,
    /// Its submission listener.
    pub(crate) socket: PathBuf,
    _directory: TempDir,
}

impl Bench {
    /// Starts one on `library` with `changes` to the configuration.
    pub(crate) fn start(library: Library, changes: Value) -> Result<Bench> {
        raise_descriptor_limit();
        Bench::start_with(|settings| settings.on(library).with(changes))
    }

    /// Starts one with settings of its own.
    pub(crate) fn start_with(change: impl FnOnce(Settings) -> Settings) -> Result<Bench> {
        let directory = tempfile::Builder::new()
            .prefix("straymail-wire-")
            .tempdir()?;
        let settings = change(Settings::in_directory(directory.path()));
        Ok(Bench {
            daemon: Daemon::start(&settings)?,
            socket: directory.path().join("milter.sock"),
            _directory: directory,
        })
    }

    /// The daemon answers a session as it should: the clean recipient passes, the other not.
    pub(crate) fn serves(&mut self) -> Result<()> {
        ensure!(self.daemon.is_running(), "died:\n{}", self.daemon.log());
        let (rcpt, end) = MilterClient::session(
            &self.socket,
            "alice@army.mil",
            &["bob@navy.mil", "c@army.ml"],
        )
        .with_context(|| self.daemon.log())?;
        ensure!(rcpt[0] == "c", "{rcpt:?}");
        ensure!(
            rcpt[1].starts_with("y550 5.7.1 <c@army.ml> not sent"),
            "{rcpt:?}"
        );
        ensure!(end.last().is_some_and(|last| last == "c"), "{end:?}");
        Ok(())
    }
}

/// The tests open thousands of connections, and the daemon inherits the limit.
fn raise_descriptor_limit() {
    let limit = getrlimit(Resource::Nofile);
    let wanted = limit.maximum.map_or(65_536, |maximum| maximum.min(65_536));
    let _ = setrlimit(
        Resource::Nofile,
        Rlimit {
            current: Some(wanted),
            maximum: limit.maximum,
        },
    );
}

/// A session that is already in the middle of a message.
pub(crate) fn half_way(socket: &Path) -> Result<MilterClient> {
    let mut client = MilterClient::open(socket)?;
    client.connect_from("127.0.0.1", 40_000)?;
    client.helo()?;
    client.mail("alice@army.mil")?;
    let frame = client.rcpt("bob@navy.mil")?.context("no answer")?;
    ensure!(frame.text() == "c", "{}", frame.text());
    Ok(client)
}
