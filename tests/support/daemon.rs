//! The daemon under test: started with a configuration of its own, stopped by process id.

use std::fs::{self, File};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::guard::Guard;
use super::mta::Mta;
use super::postfix::Postfix;
use super::wait_for;

/// How a daemon is to be started.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// The program.
    pub(crate) program: PathBuf,
    /// Holds the configuration, the log and the store.
    pub(crate) directory: PathBuf,
    /// The configuration, written as JSON: every JSON text is YAML.
    pub(crate) config: Value,
    /// Crash point (`STRAYMAIL_FAULT`), for builds with `fault-injection`.
    pub(crate) fault: Option<String>,
    /// The most file descriptors it may have open; as many as we, if absent.
    pub(crate) descriptors: Option<u32>,
    /// The milter library it is to serve with.
    pub(crate) library: Library,
    /// Further environment variables, as an init system sets them.
    pub(crate) environment: Vec<(&'static str, String)>,
}

/// A milter library, that is one of the two adapters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// The default.
    Indymilter,
    /// The system's; in builds with the feature `libmilter`. It serves one listener in a process,
    /// so that the daemon is as many processes as it has listeners.
    Libmilter,
}

impl Library {
    /// Those of this build: what holds for one must hold for each.
    pub(crate) const ALL: &[Library] = match cfg!(feature = "libmilter") {
        true => &[Library::Indymilter, Library::Libmilter],
        false => &[Library::Indymilter],
    };

    /// The name that stands in brackets in a dialog.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Library::Indymilter => "indymilter",
            Library::Libmilter => "libmilter",
        }
    }
}

/// Runs a test on each library of this build.
pub(crate) fn on_each(test: impl Fn(Library) -> Result<()>) -> Result<()> {
    (Library::ALL.iter())
        .try_for_each(|library| test(*library).with_context(|| format!("on {library:?}")))
}

impl Settings {
    /// A daemon for all milter ports of `mta`, with a fresh store.
    pub(crate) fn for_mta(mta: &dyn Mta) -> Settings {
        let directory = mta.directory().join("straymail");
        let _ = fs::remove_dir_all(&directory);
        let mut settings = Settings::in_directory(&directory);
        let listeners: Vec<Value> = (mta.milters().iter())
            .map(|place| {
                json!({
                    "socket": format!("unix:{}", place.socket.display()),
                    "role": place.role,
                    "mode": "0666",
                })
            })
            .collect();
        settings.config["listeners"] = json!(listeners);
        if let Some(network) = mta.networks() {
            settings.config["gate"]["networks"] = json!([network]);
        }
        let port = mta.port("submission").unwrap_or_default();
        settings.config["quarantine"]["release_to"] = json!(format!("127.0.0.1:{port}"));
        settings
    }

    /// A daemon for all three milter ports of `postfix`, with a fresh store.
    pub(crate) fn for_postfix(postfix: &Postfix) -> Settings {
        Settings::for_mta(postfix)
    }

    /// A daemon with one submission listener, a UNIX socket in `directory`.
    ///
    /// It trusts `.mil` and a few names and refuses whatever is suspect or worse.
    pub(crate) fn in_directory(directory: &Path) -> Settings {
        let socket = directory.join("milter.sock");
        Settings {
            program: program(),
            directory: directory.to_owned(),
            config: json!({
                "listeners": [{
                    "socket": format!("unix:{}", socket.display()),
                    "role": "submission",
                    "mode": "0666",
                }],
                "trusted": {
                    "domains": ["army.mil", "navy.mil", "hospital.org"],
                    "suffixes": [".mil"],
                },
                "policy": {"suspect": "reject", "certain": "reject"},
                "public_suffix_list": "built-in",
                "quarantine": {
                    "directory": directory.join("store"),
                    "min_free": "1MiB",
                },
            }),
            fault: None,
            descriptors: None,
            library: Library::Indymilter,
            environment: Vec::new(),
        }
    }

    /// Serves with this library.
    pub(crate) fn on(mut self, library: Library) -> Settings {
        self.library = library;
        self
    }

    /// Lays `changes` over the configuration; a list replaces a list.
    pub(crate) fn with(mut self, changes: Value) -> Settings {
        overlay(&mut self.config, changes);
        self
    }

    /// Where the configuration is written.
    pub(crate) fn config_path(&self) -> PathBuf {
        self.directory.join("milter.yaml")
    }

    /// Writes the configuration without starting anything.
    pub(crate) fn write(&self) -> Result<()> {
        fs::create_dir_all(self.directory.join("store"))?;
        let text = serde_json::to_string_pretty(&self.config)?;
        fs::write(self.config_path(), text)?;
        for (number, path) in self.processes().iter().enumerate() {
            let mut config = self.config.clone();
            config["listeners"] = json!([self.config["listeners"][number]]);
            fs::write(path, serde_json::to_string_pretty(&config)?)?;
        }
        Ok(())
    }

    /// The configurations of the processes where there is one for each listener.
    fn processes(&self) -> Vec<PathBuf> {
        let listeners = match self.library {
            Library::Indymilter => 0,
            Library::Libmilter => self.config["listeners"].as_array().map_or(0, Vec::len),
        };
        (0..listeners)
            .map(|number| self.directory.join(format!("listener-{number}.yaml")))
            .collect()
    }

    /// The command that starts a daemon with this configuration.
    fn start(&self, duty: &str, config: &Path) -> Result<Child> {
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.directory.join("log"))?;
        let mut command = match self.descriptors {
            None => Command::new(&self.program),
            Some(limit) => {
                let mut shell = Command::new("/bin/sh");
                shell.args(["-c", &format!("ulimit -n {limit}; exec \"$0\" \"$@\"")]);
                shell.arg(&self.program);
                shell
            }
        };
        command.arg(duty).arg("--config").arg(config);
        if self.library == Library::Libmilter {
            command.args(["--library", "libmilter"]);
        }
        command
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .envs(self.environment.iter().map(|(name, value)| (name, value)))
            .env_remove("STRAYMAIL_FAULT");
        if let Some(fault) = &self.fault {
            command.env("STRAYMAIL_FAULT", fault);
        }
        (command.spawn()).with_context(|| format!("cannot start {}", self.program.display()))
    }

    fn sockets(&self) -> Vec<String> {
        let listeners = self.config["listeners"].as_array();
        listeners
            .into_iter()
            .flatten()
            .filter_map(|listener| listener["socket"].as_str())
            .map(str::to_owned)
            .collect()
    }
}

fn overlay(base: &mut Value, changes: Value) {
    match (base, changes) {
        (_, Value::Null) => {}
        (Value::Object(base), Value::Object(changes)) => {
            for (key, value) in changes {
                overlay(base.entry(key).or_insert(Value::Null), value);
            }
        }
        (base, changes) => *base = changes,
    }
}

/// Where cargo has put the program: beside the running test or example.
fn program() -> PathBuf {
    if let Some(path) = option_env!("CARGO_BIN_EXE_straymail") {
        return path.into();
    }
    let own = std::env::current_exe().unwrap_or_default();
    let profile = own.ancestors().nth(2).unwrap_or(Path::new("."));
    profile.join("straymail")
}

/// A running daemon. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Daemon {
    child: Child,
    /// The processes of further listeners.
    others: Vec<(Child, Guard)>,
    settings: Settings,
    _guard: Guard,
}

/// A held recipient, from `straymail quarantine list --json`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What an admin types.
    pub(crate) id: String,
    /// The envelope recipient.
    pub(crate) recipient: String,
    /// `pending`, `held`, `released`, …
    pub(crate) state: String,
}

impl Entry {
    /// Says whether the entry waits for a decision.
    pub(crate) fn waits(&self) -> bool {
        matches!(self.state.as_str(), "pending" | "held")
    }
}

/// What a command printed, both streams in one text, and its exit code.
#[derive(Clone, Debug)]
pub(crate) struct Output {
    /// The exit code; -1 when a signal ended it.
    pub(crate) code: i32,
    /// Standard output, then standard error.
    pub(crate) text: String,
}

impl Daemon {
    /// Starts the daemon and waits until every listener answers.
    ///
    /// # Errors
    /// With its log when it ends instead.
    pub(crate) fn start(settings: &Settings) -> Result<Daemon> {
        let mut daemon = Daemon::spawn(settings)?;
        for socket in settings.sockets() {
            wait_for(&format!("straymail at {socket}"), || {
                if connects(&socket) {
                    return Ok(Some(()));
                }
                if let Some(status) = daemon.child.try_wait()? {
                    bail!("straymail ended with {status}:\n{}", daemon.log());
                }
                Ok(None)
            })?;
        }
        Ok(daemon)
    }

    /// Starts the daemon without waiting.
    pub(crate) fn spawn(settings: &Settings) -> Result<Daemon> {
        settings.write()?;
        let processes = settings.processes();
        let first = processes.first().cloned();
        let child = settings.start("run", &first.unwrap_or(settings.config_path()))?;
        let mut daemon = Daemon {
            _guard: Guard::new(&format!("kill -KILL {}", child.id()))?,
            child,
            others: Vec::new(),
            settings: settings.clone(),
        };
        for config in processes.iter().skip(1) {
            let other = settings.start("milter", config)?;
            let guard = Guard::new(&format!("kill -KILL {}", other.id()))?;
            daemon.others.push((other, guard));
        }
        Ok(daemon)
    }

    /// Everything it has logged, over all its starts in this directory.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.settings.directory.join("log")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// The configuration it was started with.
    pub(crate) fn settings(&self) -> &Settings {
        &self.settings
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        for child in std::iter::once(&self.child).chain(self.others.iter().map(|o| &o.0)) {
            let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
            kill_process(pid.context("no process id")?, signal)?;
        }
        Ok(())
    }

    /// Says whether the process still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.child.try_wait(), Ok(None))
    }

    /// Waits for its end; an end that was no success comes before one that was.
    pub(crate) fn wait(&mut self) -> Result<ExitStatus> {
        let others = self.others.iter_mut().map(|other| &mut other.0);
        let mut ends = Vec::new();
        for child in std::iter::once(&mut self.child).chain(others) {
            ends.push(wait_for("straymail to end", || {
                if self.settings.library == Library::Libmilter {
                    // It looks every 5 s whether it is to stop, and whenever somebody knocks.
                    self.settings.sockets().iter().for_each(|socket| {
                        let _ = connects(socket);
                    });
                }
                Ok(child.try_wait()?)
            })?);
        }
        ends.sort_by_key(ExitStatus::success);
        ends.first().copied().context("no process")
    }

    /// Stops it like an init system does and expects a clean end.
    pub(crate) fn stop(mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("straymail had ended before with {status}:\n{}", self.log());
        }
        self.signal(Signal::TERM)?;
        let status = self.wait()?;
        ensure!(
            status.success(),
            "straymail ended with {status} (signal {:?}):\n{}",
            status.signal(),
            self.log()
        );
        Ok(())
    }

    /// What its file descriptors point at.
    pub(crate) fn open_descriptors(&self) -> Result<Vec<PathBuf>> {
        let directory = fs::read_dir(format!("/proc/{}/fd", self.child.id()))?;
        // One that was closed in between does not count.
        Ok(directory
            .flatten()
            .filter_map(|entry| fs::read_link(entry.path()).ok())
            .collect())
    }

    /// How many sockets it has open. (Its database connections come and go as needed.)
    pub(crate) fn open_sockets(&self) -> Result<usize> {
        let all = self.open_descriptors()?;
        Ok(all
            .iter()
            .filter(|target| target.to_string_lossy().starts_with("socket:"))
            .count())
    }

    /// Resident memory in KiB.
    pub(crate) fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let kib = line.and_then(|line| line.split_whitespace().next());
        Ok(kib.context("no VmRSS")?.parse()?)
    }

    /// Runs an admin's command with this daemon's configuration.
    pub(crate) fn command(&self, arguments: &[&str]) -> Result<Output> {
        command(&self.settings, arguments)
    }

    /// Every entry of the quarantine.
    pub(crate) fn entries(&self) -> Result<Vec<Entry>> {
        entries(&self.settings)
    }

    /// The entries that wait for a decision.
    pub(crate) fn held(&self) -> Result<Vec<Entry>> {
        let mut entries = self.entries()?;
        entries.retain(Entry::waits);
        Ok(entries)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- straymail\n{}", self.log());
        }
        for child in
            std::iter::once(&mut self.child).chain(self.others.iter_mut().map(|o| &mut o.0))
        {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Runs an admin's command, with the crash point of `settings`; the daemon need not run.
pub(crate) fn command(settings: &Settings, arguments: &[&str]) -> Result<Output> {
    let mut command = Command::new(&settings.program);
    command
        .args(arguments)
        .arg("--config")
        .arg(settings.config_path())
        .stdin(Stdio::null())
        .env_remove("STRAYMAIL_FAULT");
    if let Some(fault) = &settings.fault {
        command.env("STRAYMAIL_FAULT", fault);
    }
    let output = command.output().context("cannot start straymail")?;
    let mut text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stderr));
    Ok(Output {
        code: output.status.code().unwrap_or(-1),
        text,
    })
}

/// Every entry of the quarantine below `settings`.
pub(crate) fn entries(settings: &Settings) -> Result<Vec<Entry>> {
    let output = command(
        settings,
        &["quarantine", "list", "--state", "all", "--json"],
    )?;
    ensure!(output.code == 0, "quarantine list: {}", output.text);
    (output.text.lines())
        .map(|line| {
            let entry: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
            let text = |key: &str| -> Result<String> {
                let value = entry[key].as_str();
                Ok(value
                    .with_context(|| format!("no {key}: {line}"))?
                    .to_owned())
            };
            Ok(Entry {
                id: text("id")?,
                recipient: text("address")?,
                state: text("state")?,
            })
        })
        .collect()
}

fn connects(socket: &str) -> bool {
    match socket.strip_prefix("unix:") {
        Some(path) => UnixStream::connect(path).is_ok(),
        None => TcpStream::connect(socket.trim_start_matches("inet:")).is_ok(),
    }
}
