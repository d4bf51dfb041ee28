//! A private Sendmail beside the system's mail: unpacked, not installed, own directory and ports.
//!
//! `.ci/setup` unpacks Debian's packages below `target/sendmail`, because they conflict with
//! Postfix. Everything the server accepts goes to the [`Sink`]. It has no XCLIENT: another client
//! is another address of 127.0.0.0/8, and a login is a real one (SASL PLAIN, checked by a thread
//! of the test in place of saslauthd).

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixDatagram, UnixListener};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process_group, test_kill_process_group};

use super::guard::Guard;
use super::mta::{MilterPlace, Mta, Queued};
use super::postfix::{RemoveDirectory, free_ports, run};
use super::sink::Sink;
use super::smtp_client::SmtpClient;
use super::wait_for;

/// The host name it believes in. It has a dot: Sendmail waits a minute for one without.
const HOST: &str = "mx.test";

/// Addresses that virtusertable rewrites, before the milter sees `{rcpt_addr}`.
const VIRTUAL: &str = "list@valias.test\tcarl@army.ml
mixed@valias.test\tmixed
gary@old.test\tgary@army.ml
";

/// A local alias: Sendmail expands it at RCPT, and shows the milter the alias.
const ALIASES: &str = "postmaster: root
mixed: bob@navy.mil, carl@army.ml
";

/// What may differ between tests.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `F=T, ` of the filter, or nothing: what Sendmail does without a working milter.
    pub(crate) on_failure: &'static str,
    /// Seconds Sendmail waits for a milter's answer before it counts as failed.
    pub(crate) milter_timeout: u32,
    /// Who writes the log.
    pub(crate) log: Log,
    /// Whether the same ports are open at ::1 as well.
    pub(crate) ipv6: bool,
}

/// Who writes the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Log {
    /// Sendmail itself, line by line into a file, as its debugging does.
    Debug,
    /// syslog(3), with a thread of the test in place of the syslog daemon: the log as it is on a
    /// real host. Needs a mount namespace.
    Syslog,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            on_failure: "F=T, ",
            milter_timeout: 20,
            log: Log::Debug,
            ipv6: false,
        }
    }
}

/// A running private Sendmail; dropping it stops it and removes its directory.
#[derive(Debug)]
pub(crate) struct Sendmail {
    directory: PathBuf,
    daemon: Child,
    group: Pid,
    submission_port: u16,
    relay_port: u16,
    plain_port: u16,
    sink: Sink,
    log: Log,
    _guard: Guard,
}

/// Where `.ci/setup` has unpacked the packages.
fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("target/sendmail/root")
}

fn program(name: &str) -> PathBuf {
    root().join("usr/libexec/sendmail").join(name)
}

/// Returns why a private Sendmail cannot be started here, if so.
pub(crate) fn why_not() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root for a private Sendmail".to_owned());
    }
    if !program("sendmail").exists() {
        return Some(
            "Sendmail is not unpacked below target/sendmail (.ci/setup does that on Debian)"
                .to_owned(),
        );
    }
    if run(Command::new("m4").arg("--version")).is_err() {
        return Some("m4 is not installed (.ci/setup installs it)".to_owned());
    }
    if run(&mut in_own_host("true")).is_err() {
        return Some("may not set a host name (unshare --uts)".to_owned());
    }
    None
}

/// What m4 makes of a file like sendmail.mc.
pub(crate) fn made_of(mc: &Path) -> Result<String> {
    let cf = root().join("usr/share/sendmail/cf");
    run(Command::new("m4")
        .arg(format!("-D_CF_DIR_={}/", cf.display()))
        .arg(cf.join("m4/cf.m4"))
        .arg(mc))
}

/// A command that believes to be on [`HOST`].
fn in_own_host(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--uts", "/bin/sh", "-c"]);
    command.arg(format!("hostname {HOST} && exec \"$0\" \"$@\""));
    command.arg(program);
    command
}

/// The same with the devices of `directory` alone, where [`serve_syslog`] listens; the log of
/// the host hears nothing of it.
fn in_own_devices(program: impl AsRef<std::ffi::OsStr>, directory: &Path) -> Command {
    let mut command = Command::new("unshare");
    command.args(["--uts", "--mount", "/bin/sh", "-c"]);
    let mount: String = DEVICES
        .iter()
        .map(|name| format!("mount --bind /dev/{name} \"$DEVICES/{name}\" && "))
        .collect();
    command.arg(format!(
        "{mount}mount --rbind \"$DEVICES\" /dev && hostname {HOST} && exec \"$0\" \"$@\""
    ));
    command.arg(program);
    command.env("DEVICES", directory.join("dev"));
    command
}

/// sendmail(8), whose log goes to `maillog` in `directory`.
fn logged(log: Log, directory: &Path) -> Command {
    match log {
        Log::Debug => {
            let mut command = in_own_host(program("sendmail"));
            command.arg("-D").arg(directory.join("maillog"));
            command.arg("-d89.8");
            command
        }
        Log::Syslog => in_own_devices(program("sendmail"), directory),
    }
}

/// The devices that Sendmail opens.
const DEVICES: [&str; 3] = ["null", "random", "urandom"];

/// Listens at `dev/log` and writes `maillog`, both in `directory`, as syslog daemons do in the
/// classic form: without the priority, and with the host behind the time.
fn serve_syslog(directory: &Path) -> Result<()> {
    let devices = directory.join("dev");
    fs::create_dir(&devices)?;
    for name in DEVICES {
        File::create(devices.join(name))?;
    }
    let socket = devices.join("log");
    let heard = UnixDatagram::bind(&socket)?;
    // The mail submission program is not root.
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o666))?;
    let mut log = File::create(directory.join("maillog"))?;
    thread::spawn(move || {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = heard.recv(&mut buffer) {
            let text = String::from_utf8_lossy(&buffer[..length]);
            let text = text.trim_end_matches(['\n', '\0']);
            let behind = text.split_once('>').map_or(text, |(_, text)| text);
            // `Nov 25 00:37:51 sm-mta[123]: …`
            let (time, rest) = behind.split_at_checked(15).unwrap_or((behind, ""));
            if log
                .write_all(format!("{time} mx{rest}\n").as_bytes())
                .is_err()
            {
                break;
            }
        }
    });
    Ok(())
}

impl Sendmail {
    /// Starts a server and waits until it greets.
    ///
    /// # Errors
    /// With Sendmail's own words when it does not start.
    pub(crate) fn start(options: &Options) -> Result<Sendmail> {
        // Between choosing a free port and Sendmail binding it somebody else may take it.
        let mut last = None;
        for _ in 0..3 {
            match Sendmail::try_start(options) {
                Ok(sendmail) => return Ok(sendmail),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("not tried")?)
    }

    fn try_start(options: &Options) -> Result<Sendmail> {
        let directory = tempfile::Builder::new()
            .prefix("straymail-sendmail-")
            .tempdir()
            .context("cannot create a directory for Sendmail")?
            .keep();
        let undo = RemoveDirectory::new(&directory);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let sink = Sink::start()?;
        let ports = free_ports()?;
        for name in ["mqueue", "clientmqueue", "sasl"] {
            let path = directory.join(name);
            fs::create_dir(&path)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(0o700))?;
        }
        // The mail submission program insists on a user that is not root.
        run(Command::new("chown")
            .arg("mail:mail")
            .arg(directory.join("clientmqueue")))?;
        let file = |name: &str, text: &str| fs::write(directory.join(name), text);
        file(
            "sendmail.mc",
            &sendmail_mc(&directory, ports, sink.port(), options),
        )?;
        file("submit.mc", &submit_mc(&directory, ports[0]))?;
        file("aliases", ALIASES)?;
        file("service.switch", "hosts files\naliases files\n")?;
        let saslauthd = directory.join("saslauthd");
        file(
            "sasl/Sendmail.conf",
            &format!(
                "pwcheck_method: saslauthd\nsaslauthd_path: {}\nmech_list: PLAIN\n",
                saslauthd.display()
            ),
        )?;
        let logins = UnixListener::bind(&saslauthd)?;
        thread::spawn(move || let_everybody_in(&logins));
        for name in ["sendmail", "submit"] {
            let text = made_of(&directory.join(format!("{name}.mc")))?;
            file(&format!("{name}.cf"), &text)?;
        }
        let config = directory.join("sendmail.cf");
        pipe(
            &[0],
            Command::new(program("makemap"))
                .arg("-C")
                .arg(&config)
                .arg("hash")
                .arg(directory.join("virtusertable")),
            VIRTUAL.as_bytes(),
        )?;
        run(in_own_host(program("sendmail"))
            .arg("-C")
            .arg(&config)
            .arg("-bi"))?;
        let output = File::create(directory.join("output"))?;
        if options.log == Log::Syslog {
            serve_syslog(&directory)?;
        }
        let daemon = logged(options.log, &directory)
            .arg("-C")
            .arg(&config)
            .args(match options.log {
                Log::Debug => &[][..],
                // As Debian starts it.
                Log::Syslog => &["-L", "sm-mta"],
            })
            .args(["-bD", "-q1s"])
            .stdin(Stdio::null())
            .stdout(output.try_clone()?)
            .stderr(output)
            .process_group(0)
            .spawn()
            .context("cannot start sendmail")?;
        let group = i32::try_from(daemon.id()).ok().and_then(Pid::from_raw);
        let group = group.context("no process id")?;
        undo.disarm();
        let guard = Guard::new(&format!(
            "kill -TERM -- -{pid}; sleep 1; kill -KILL -- -{pid}; rm -rf '{directory}'",
            pid = group.as_raw_nonzero(),
            directory = directory.display(),
        ))?;
        let [submission_port, relay_port, plain_port] = ports;
        let mut sendmail = Sendmail {
            directory,
            daemon,
            group,
            submission_port,
            relay_port,
            plain_port,
            sink,
            log: options.log,
            _guard: guard,
        };
        wait_for("Sendmail's greeting", || {
            let Ok((_, greeting)) = SmtpClient::connect(plain_port) else {
                if let Some(status) = sendmail.daemon.try_wait()? {
                    let output = fs::read_to_string(sendmail.directory.join("output"));
                    bail!(
                        "sendmail ended with {status}:\n{}",
                        output.unwrap_or_default()
                    );
                }
                return Ok(None);
            };
            // The banner names the directory: this port is ours and not a neighbour's.
            ensure!(
                greeting.flat().contains(&name(&sendmail.directory)),
                "port {plain_port} belongs to somebody else: {}",
                greeting.flat()
            );
            Ok(Some(()))
        })?;
        Ok(sendmail)
    }

    /// sendmail(8) with this instance's configuration.
    pub(crate) fn command(&self) -> Command {
        let mut command = in_own_host(program("sendmail"));
        command.arg("-C").arg(self.directory.join("sendmail.cf"));
        command.stdin(Stdio::null());
        command
    }

    /// Names in the queue directory.
    fn queue_files(&self) -> Result<Vec<String>> {
        let directory = fs::read_dir(self.directory.join("mqueue"))?;
        Ok(directory
            .flatten()
            .map(|entry| entry.file_name().to_string_lossy().into_owned())
            .collect())
    }
}

impl Mta for Sendmail {
    fn name(&self) -> &'static str {
        "sendmail"
    }

    fn directory(&self) -> &Path {
        &self.directory
    }

    fn milters(&self) -> Vec<MilterPlace> {
        let place = |name: &str, role| MilterPlace {
            socket: self.directory.join(name),
            role,
        };
        vec![
            place("milter.sock", "submission"),
            place("relay.sock", "relay"),
        ]
    }

    /// Without XCLIENT, clients from outside are 127.0.0.7 and the like.
    fn networks(&self) -> Option<&'static str> {
        Some("127.0.0.1/32")
    }

    fn port(&self, name: &str) -> Option<u16> {
        match name {
            "submission" => Some(self.submission_port),
            "relay" => Some(self.relay_port),
            "plain" => Some(self.plain_port),
            _ => None,
        }
    }

    fn sink(&self) -> &Sink {
        &self.sink
    }

    fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("maillog")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Sendmail answers 250 when the control file is in the queue, and removes it after the
    /// delivery: nothing but quarantined (`hf`) files left is the end.
    fn settle(&self, _expected: &[String]) -> Result<()> {
        let mut quiet_looks = 0;
        wait_for("Sendmail to deliver what it has", || {
            let files = self.queue_files()?;
            let held = |id: &str| files.iter().any(|name| name.strip_prefix("hf") == Some(id));
            let idle = files.iter().all(|name| {
                let (kind, id) = name.split_at_checked(2).unwrap_or_default();
                kind == "hf" || (kind == "df" && held(id))
            });
            quiet_looks = if idle { quiet_looks + 1 } else { 0 };
            Ok((quiet_looks == 2).then_some(()))
        })
        .with_context(|| format!("queue: {:?}", self.queue()))
    }

    fn queue(&self) -> Result<Vec<Queued>> {
        let mut queue = Vec::new();
        for name in self.queue_files()? {
            let (kind, id) = name.split_at_checked(2).unwrap_or_default();
            let queue_name = match kind {
                "qf" => "deferred",
                "hf" => "hold",
                _ => continue,
            };
            let path = self.directory.join("mqueue").join(&name);
            // Delivered in between.
            let Ok(text) = fs::read(&path) else { continue };
            let text = String::from_utf8_lossy(&text).into_owned();
            // `RPFD:<bob@navy.mil>`: flags, then the address.
            let recipients = text
                .lines()
                .filter_map(|line| line.strip_prefix('R')?.split_once(':'))
                .map(|(_, address)| {
                    let address = address.strip_prefix('<').unwrap_or(address);
                    address.strip_suffix('>').unwrap_or(address).to_owned()
                })
                .collect();
            queue.push(Queued {
                id: id.to_owned(),
                queue: queue_name.to_owned(),
                recipients,
            });
        }
        Ok(queue)
    }

    fn let_out(&self) -> Result<()> {
        run(self.command().args(["-qQ", "-Q"]))?;
        Ok(())
    }

    fn held_listing(&self) -> Result<String> {
        run(self.command().args(["-bp", "-qQ"]))
    }

    fn empty_queue(&self) -> Result<()> {
        for name in self.queue_files()? {
            let _ = fs::remove_file(self.directory.join("mqueue").join(name));
        }
        Ok(())
    }

    /// By the mail submission program, as `sendmail` is installed: submit.cf, SMTP to the
    /// submission port, and the queue of its own when that does not answer.
    fn sendmail(&self, arguments: &[String], message: &[u8]) -> Result<()> {
        // 67: a recipient was refused, and the sender gets a bounce.
        pipe(
            &[0, 67],
            logged(self.log, &self.directory)
                .arg("-C")
                .arg(self.directory.join("submit.cf"))
                .args(["-Ac", "-oi"])
                .args(arguments),
            message,
        )
    }

    fn connect_as(&self, port: u16, address: &str, login: Option<&str>) -> Result<SmtpClient> {
        let mut client = SmtpClient::open_from(address, port)?;
        if let Some(login) = login {
            let reply = client.command(&format!(
                "AUTH PLAIN {}",
                base64(format!("\0{login}\0secret").as_bytes())
            ))?;
            ensure!(reply.code == 235, "AUTH: {}", reply.flat());
        }
        Ok(client)
    }
}

impl Drop for Sendmail {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- maillog\n{}", self.log());
        }
        let _ = kill_process_group(self.group, Signal::TERM);
        let gone = wait_for("Sendmail to stop", || {
            let _ = self.daemon.try_wait();
            Ok(test_kill_process_group(self.group).is_err().then_some(()))
        });
        if gone.is_err() {
            let _ = kill_process_group(self.group, Signal::KILL);
        }
        let _ = self.daemon.wait();
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Runs a command that reads `input` and ends with one of these codes.
fn pipe(codes: &[i32], command: &mut Command, input: &[u8]) -> Result<()> {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("cannot run {command:?}"))?;
    child.stdin.take().context("no pipe")?.write_all(input)?;
    let output = child.wait_with_output()?;
    ensure!(
        output
            .status
            .code()
            .is_some_and(|code| codes.contains(&code)),
        "{command:?}: {}\n{}{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(())
}

/// Answers as saslauthd does: every login with every password is right.
fn let_everybody_in(logins: &UnixListener) {
    for mut stream in logins.incoming().flatten() {
        // Login, password, service and realm, each with its length before it.
        let mut asked = || -> std::io::Result<()> {
            for _ in 0..4 {
                let mut length = [0; 2];
                stream.read_exact(&mut length)?;
                let mut text = vec![0; usize::from(u16::from_be_bytes(length))];
                stream.read_exact(&mut text)?;
            }
            stream.write_all(b"\0\x02OK")
        };
        let _ = asked();
    }
}

fn name(directory: &Path) -> String {
    let name = directory.file_name().unwrap_or_default();
    name.to_string_lossy().into_owned()
}

fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for at in 0..4 {
            let index = (bits >> (18 - 6 * at)) as usize & 63;
            let sign = if at <= chunk.len() {
                ALPHABET[index]
            } else {
                b'='
            };
            let _ = write!(text, "{}", char::from(sign));
        }
    }
    text
}

fn sendmail_mc(directory: &Path, ports: [u16; 3], sink: u16, options: &Options) -> String {
    let Options {
        on_failure,
        milter_timeout: t,
        ..
    } = options;
    let [submission, relay, plain] = ports;
    let ipv6: String = [("submission", submission), ("relay", relay)]
        .iter()
        .filter(|_| options.ipv6)
        .map(|(name, port)| {
            format!(
                "DAEMON_OPTIONS(`Port={port}, Addr=::1, Family=inet6, Name={name}6, \
                 InputMailFilters={name}')dnl\n"
            )
        })
        .collect();
    let banner = name(directory);
    let directory = directory.display();
    format!(
        "OSTYPE(`linux')dnl
define(`QUEUE_DIR', `{directory}/mqueue')dnl
define(`confPID_FILE', `{directory}/sm.pid')dnl
define(`STATUS_FILE', `{directory}/statistics')dnl
define(`HELP_FILE', `')dnl
define(`ALIAS_FILE', `{directory}/aliases')dnl
define(`confDOMAIN_NAME', `{HOST}')dnl
define(`confSMTP_LOGIN_MSG', `$j ESMTP {banner}')dnl
define(`confCW_FILE', `-o {directory}/local-host-names')dnl
define(`confCT_FILE', `-o {directory}/trusted-users')dnl
define(`confCONTROL_SOCKET_NAME', `')dnl
define(`confSERVICE_SWITCH_FILE', `{directory}/service.switch')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,WorldWritableAliasFile,TrustStickyBit')dnl
define(`confDONT_PROBE_INTERFACES', `true')dnl
define(`confTO_IDENT', `0')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`confAUTH_OPTIONS', `A')dnl
define(`confAUTH_MECHANISMS', `PLAIN')dnl
TRUST_AUTH_MECH(`PLAIN')dnl
define(`SMART_HOST', `esmtp:[127.0.0.1]')dnl
define(`ESMTP_MAILER_ARGS', `TCP $h {sink}')dnl
define(`LOCAL_MAILER_PATH', `[IPC]')dnl
define(`LOCAL_MAILER_FLAGS', `AmDFMuXkS@')dnl
define(`LOCAL_MAILER_ARGS', `TCP [127.0.0.1] {sink}')dnl
define(`LOCAL_MAILER_DSN_DIAGNOSTIC_CODE', `SMTP')dnl
FEATURE(`no_default_msa')dnl
FEATURE(`nocanonify')dnl
FEATURE(`accept_unresolvable_domains')dnl
FEATURE(`accept_unqualified_senders')dnl
FEATURE(`promiscuous_relay')dnl
FEATURE(`virtusertable', `hash -o {directory}/virtusertable')dnl
VIRTUSER_DOMAIN(`valias.test')dnl
VIRTUSER_DOMAIN(`old.test')dnl
DAEMON_OPTIONS(`Port={submission}, Addr=127.0.0.1, Name=submission, InputMailFilters=submission')dnl
DAEMON_OPTIONS(`Port={relay}, Addr=127.0.0.1, Name=relay, InputMailFilters=relay')dnl
DAEMON_OPTIONS(`Port={plain}, Addr=127.0.0.1, Name=plain, InputMailFilters=')dnl
{ipv6}MAIL_FILTER(`submission', `S=unix:{directory}/milter.sock, {on_failure}T=C:{t}s;S:{t}s;R:{t}s;E:{t}s')dnl
MAIL_FILTER(`relay', `S=unix:{directory}/relay.sock, {on_failure}T=C:{t}s;S:{t}s;R:{t}s;E:{t}s')dnl
MAILER(`local')dnl
MAILER(`smtp')dnl
LOCAL_CONFIG
ESASL_CONF_PATH={directory}/sasl
"
    )
}

fn submit_mc(directory: &Path, submission: u16) -> String {
    let directory = directory.display();
    format!(
        "define(`confCF_VERSION', `Submit')dnl
define(`__OSTYPE__',`')dnl
define(`confTIME_ZONE', `USE_TZ')dnl
define(`confDONT_INIT_GROUPS', `True')dnl
define(`confRUN_AS_USER', `mail:mail')dnl
define(`confDOMAIN_NAME', `{HOST}')dnl
define(`MSP_QUEUE_DIR', `{directory}/clientmqueue')dnl
define(`confPID_FILE', `{directory}/msp.pid')dnl
define(`STATUS_FILE', `{directory}/msp-statistics')dnl
define(`confCT_FILE', `-o {directory}/trusted-users')dnl
define(`confSERVICE_SWITCH_FILE', `{directory}/service.switch')dnl
define(`confDONT_BLAME_SENDMAIL', `GroupWritableDirPathSafe,TrustStickyBit')dnl
define(`confQUEUE_LA', `1000')dnl
define(`confREFUSE_LA', `1000')dnl
define(`RELAY_MAILER_ARGS', `TCP $h {submission}')dnl
FEATURE(`msp', `[127.0.0.1]')dnl
"
    )
}
