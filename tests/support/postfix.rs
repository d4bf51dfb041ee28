//! A private Postfix: own directory, own queue, free loopback ports, the system's mail untouched.
//!
//! Everything it accepts goes to the [`Sink`] as its relay host. Clients on loopback may use
//! XCLIENT, so a test can pretend to be a remote or a logged-in client.

use std::collections::BTreeSet;
use std::fs;
use std::net::{Ipv4Addr, TcpListener};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process, kill_process_group, test_kill_process};

use super::guard::Guard;
use super::mta::{MilterPlace, Mta, Queued};
use super::sink::Sink;
use super::smtp_client::SmtpClient;
use super::wait_for;

/// Aliases the tests send to: a list with a doubtful member and one with a good and a doubtful one.
const VIRTUAL: &str = "list@valias.test carl@army.ml
mixed@valias.test bob@navy.mil, carl@army.ml
";

/// An address that Postfix rewrites after the milter has seen it.
const CANONICAL: &str = "gary@old.test gary@army.ml
";

/// What may differ between tests.
#[derive(Clone, Debug)]
pub(crate) struct Options {
    /// `milter_default_action`: what Postfix does without a working milter.
    pub(crate) default_action: &'static str,
    /// Seconds Postfix waits for a milter's answer before it counts as failed.
    pub(crate) milter_timeout: u32,
    /// How mail of sendmail(1) gets to a milter.
    pub(crate) sendmail: Sendmail,
}

/// How mail of sendmail(1) gets to a milter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Sendmail {
    /// `non_smtpd_milters`: cleanup plays the SMTP session.
    NonSmtpdMilters,
    /// `content_filter` of pickup: once more through the submission port.
    SubmissionPort,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            default_action: "tempfail",
            milter_timeout: 20,
            sendmail: Sendmail::NonSmtpdMilters,
        }
    }
}

/// A running private Postfix; dropping it stops it and removes its directory.
#[derive(Debug)]
pub(crate) struct Postfix {
    directory: PathBuf,
    master: Pid,
    /// Where the milter of the submission port is expected.
    pub(crate) milter_socket: PathBuf,
    /// Where the milter for sendmail(1) mail is expected.
    pub(crate) local_socket: PathBuf,
    /// Where the milter of the relay port is expected.
    pub(crate) relay_socket: PathBuf,
    /// Port with `milter_socket` as its milter.
    pub(crate) submission_port: u16,
    /// Port with `relay_socket` as its milter.
    pub(crate) relay_port: u16,
    /// Port without a milter.
    pub(crate) plain_port: u16,
    /// The next hop of all mail.
    pub(crate) sink: Sink,
    guard: Option<Guard>,
}

impl Postfix {
    /// Starts an instance and waits until it greets.
    ///
    /// # Errors
    /// With Postfix's own words when it does not start.
    pub(crate) fn start(options: &Options) -> Result<Postfix> {
        // Between choosing a free port and Postfix binding it somebody else may take it.
        let mut last = None;
        for _ in 0..3 {
            match Postfix::try_start(options) {
                Ok(postfix) => return Ok(postfix),
                Err(error) => last = Some(error),
            }
        }
        Err(last.context("not tried")?)
    }

    fn try_start(options: &Options) -> Result<Postfix> {
        let directory = tempfile::Builder::new()
            .prefix("straymail-postfix-")
            .tempdir()
            .context("cannot create a directory for Postfix")?
            .keep();
        // Until the instance owns it, the directory is removed on the way out.
        let undo = RemoveDirectory::new(&directory);
        fs::set_permissions(&directory, fs::Permissions::from_mode(0o755))?;
        let sink = Sink::start()?;
        let [submission_port, relay_port, plain_port] = free_ports()?;
        for name in ["etc", "queue", "data"] {
            fs::create_dir(directory.join(name))?;
        }
        run(Command::new("chown")
            .arg("postfix")
            .arg(directory.join("data")))?;
        fs::write(
            directory.join("etc/main.cf"),
            main_cf(&directory, sink.port(), options),
        )?;
        fs::write(
            directory.join("etc/master.cf"),
            master_cf(
                &directory,
                [submission_port, relay_port, plain_port],
                options,
            ),
        )?;
        fs::write(directory.join("etc/virtual"), VIRTUAL)?;
        fs::write(directory.join("etc/canonical"), CANONICAL)?;
        let etc = directory.join("etc");
        run(Command::new("/usr/sbin/postfix")
            .arg("-c")
            .arg(&etc)
            .arg("start"))
        .with_context(|| fs::read_to_string(directory.join("maillog")).unwrap_or_default())?;
        let pid_file = directory.join("queue/pid/master.pid");
        let master = wait_for("Postfix's pid file", || {
            Ok(fs::read_to_string(&pid_file)
                .ok()
                .and_then(|text| text.trim().parse().ok())
                .and_then(Pid::from_raw))
        })?;
        undo.disarm();
        let mut postfix = Postfix {
            milter_socket: directory.join("milter.sock"),
            local_socket: directory.join("local.sock"),
            relay_socket: directory.join("relay.sock"),
            directory,
            master,
            submission_port,
            relay_port,
            plain_port,
            sink,
            guard: None,
        };
        postfix.guard = Some(Guard::new(&format!(
            "kill -TERM {pid}; sleep 1; kill -KILL -- -{pid}; rm -rf '{directory}'",
            pid = master.as_raw_nonzero(),
            directory = postfix.directory.display(),
        ))?);
        wait_for("Postfix's greeting", || {
            let Ok((_, greeting)) = SmtpClient::connect(plain_port) else {
                ensure!(
                    test_kill_process(master).is_ok(),
                    "Postfix stopped:\n{}",
                    postfix.log()
                );
                return Ok(None);
            };
            // The banner names the directory: this port is ours and not a neighbour's.
            ensure!(
                greeting.flat().contains(&postfix.name()),
                "port {plain_port} belongs to somebody else: {}",
                greeting.flat()
            );
            Ok(Some(()))
        })?;
        Ok(postfix)
    }

    /// The directory all of it lives in; searchable by everybody.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    fn name(&self) -> String {
        name(&self.directory)
    }

    /// A Postfix command with this instance's configuration.
    pub(crate) fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(Path::new("/usr/sbin").join(program));
        command.arg("-c").arg(self.directory.join("etc"));
        command.stdin(Stdio::null());
        command
    }

    /// The whole maillog so far.
    pub(crate) fn log(&self) -> String {
        let bytes = fs::read(self.directory.join("maillog")).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// What is in the queue now.
    pub(crate) fn queue(&self) -> Result<Vec<Queued>> {
        let output = run(self.tool("postqueue").arg("-j"))?;
        let mut queue = Vec::new();
        for line in output.lines().filter(|line| !line.trim().is_empty()) {
            let entry: serde_json::Value =
                serde_json::from_str(line).with_context(|| line.to_owned())?;
            let text = |value: &serde_json::Value| value.as_str().unwrap_or_default().to_owned();
            queue.push(Queued {
                id: text(&entry["queue_id"]),
                queue: text(&entry["queue_name"]),
                recipients: entry["recipients"]
                    .as_array()
                    .into_iter()
                    .flatten()
                    .map(|recipient| text(&recipient["address"]))
                    .collect(),
            });
        }
        Ok(queue)
    }

    /// Waits until everything accepted so far is delivered, discarded, rejected or on hold.
    ///
    /// `expected` names queue ids that clients were told; the log has to know their fate.
    pub(crate) fn settle(&self, expected: &[String]) -> Result<()> {
        // A message on its way from one queue directory to the next can escape one look.
        let mut quiet_looks = 0;
        wait_for("Postfix to deliver what it has", || {
            let idle = self.queue()?.iter().all(|m| m.queue == "hold");
            let (open, done) = fates(&self.log());
            let told = expected.iter().all(|id| done.contains(id));
            quiet_looks = match idle && open.is_empty() && told {
                true => quiet_looks + 1,
                false => 0,
            };
            Ok((quiet_looks == 2).then_some(()))
        })
        .with_context(|| format!("queue: {:?}", self.queue()))
    }

    /// Hands a message to sendmail(1); returns once Postfix has picked it up.
    pub(crate) fn sendmail(&self, arguments: &[String], message: &[u8]) -> Result<()> {
        use std::io::Write;
        let before = self.picked_up();
        let mut child = Command::new("/usr/sbin/sendmail")
            .arg("-C")
            .arg(self.directory.join("etc"))
            .args(arguments)
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start sendmail(1)")?;
        child
            .stdin
            .take()
            .context("no pipe to sendmail(1)")?
            .write_all(message)?;
        let output = child.wait_with_output()?;
        ensure!(
            output.status.success(),
            "sendmail(1): {}: {}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        );
        wait_for("pickup to take the message of sendmail(1)", || {
            Ok((self.picked_up() > before).then_some(()))
        })
    }

    fn picked_up(&self) -> usize {
        let log = self.log();
        log.lines()
            .filter(|line| line.contains("postfix/pickup["))
            .count()
    }

    /// Moves a message out of the hold queue.
    pub(crate) fn release_held(&self, id: &str) -> Result<()> {
        run(self.tool("postsuper").args(["-H", id]))?;
        run(self.tool("postqueue").args(["-i", id]))?;
        Ok(())
    }

    /// Deletes everything in the queue.
    pub(crate) fn empty_queue(&self) -> Result<()> {
        run(self.tool("postsuper").args(["-d", "ALL"]))?;
        Ok(())
    }
}

impl Mta for Postfix {
    fn name(&self) -> &'static str {
        "postfix"
    }

    fn directory(&self) -> &Path {
        Postfix::directory(self)
    }

    fn milters(&self) -> Vec<MilterPlace> {
        let place = |socket: &Path, role| MilterPlace {
            socket: socket.to_owned(),
            role,
        };
        vec![
            place(&self.milter_socket, "submission"),
            place(&self.local_socket, "local"),
            place(&self.relay_socket, "relay"),
        ]
    }

    fn networks(&self) -> Option<&'static str> {
        None
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
        Postfix::log(self)
    }

    fn settle(&self, expected: &[String]) -> Result<()> {
        Postfix::settle(self, expected)
    }

    fn queue(&self) -> Result<Vec<Queued>> {
        Postfix::queue(self)
    }

    fn let_out(&self) -> Result<()> {
        for message in self.queue()? {
            self.release_held(&message.id)?;
        }
        Ok(())
    }

    fn held_listing(&self) -> Result<String> {
        run(self.tool("postqueue").arg("-p"))
    }

    fn empty_queue(&self) -> Result<()> {
        Postfix::empty_queue(self)
    }

    fn sendmail(&self, arguments: &[String], message: &[u8]) -> Result<()> {
        Postfix::sendmail(self, arguments, message)
    }

    fn connect_as(&self, port: u16, address: &str, login: Option<&str>) -> Result<SmtpClient> {
        let mut client = SmtpClient::open(port)?;
        client.become_client(address, login)?;
        Ok(client)
    }
}

impl Drop for Postfix {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("--- maillog\n{}", self.log());
        }
        // The master ends its children. `postfix stop` would do the same but sleep in between.
        let _ = kill_process(self.master, Signal::TERM);
        let gone = wait_for("Postfix to stop", || {
            Ok(test_kill_process(self.master).is_err().then_some(()))
        });
        if gone.is_err() {
            let _ = kill_process_group(self.master, Signal::KILL);
        }
        let _ = fs::remove_dir_all(&self.directory);
    }
}

/// Queue ids in the log: begun and not finished, and finished or on hold.
fn fates(log: &str) -> (BTreeSet<String>, BTreeSet<String>) {
    let mut open = BTreeSet::new();
    let mut done = BTreeSet::new();
    for line in log.lines() {
        let Some((_, line)) = line.split_once(" postfix/") else {
            continue;
        };
        let mut fields = line.splitn(3, ": ");
        let (Some(process), Some(id), Some(event)) = (fields.next(), fields.next(), fields.next())
        else {
            continue;
        };
        let program = process.split('[').next().unwrap_or_default();
        // Not cleanup's `message-id=`: a client may vanish before the end of its message.
        let begins = (program == "qmgr" && event.starts_with("from="))
            || (program == "pickup" && event.starts_with("uid="));
        let ends = (program == "qmgr" && event.starts_with("removed"))
            || (program == "cleanup" && event.starts_with("milter-"));
        if ends {
            open.remove(id);
            done.insert(id.to_owned());
        } else if begins {
            done.remove(id);
            open.insert(id.to_owned());
        }
    }
    (open, done)
}

/// Runs a command to its end and returns what it printed.
pub(crate) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {command:?}"))?;
    if !output.status.success() {
        bail!(
            "{command:?}: {}\n{}{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Ports of 127.0.0.1 that were free a moment ago, all different.
pub(crate) fn free_ports<const N: usize>() -> Result<[u16; N]> {
    let mut listeners = Vec::new();
    let mut ports = [0; N];
    for port in &mut ports {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?;
        *port = listener.local_addr()?.port();
        listeners.push(listener);
    }
    Ok(ports)
}

fn name(directory: &Path) -> String {
    directory
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

fn main_cf(directory: &Path, sink: u16, options: &Options) -> String {
    let Options {
        default_action,
        milter_timeout,
        sendmail,
    } = options;
    let local_milter = match sendmail {
        Sendmail::NonSmtpdMilters => format!("unix:{}/local.sock", directory.display()),
        Sendmail::SubmissionPort => String::new(),
    };
    let name = name(directory);
    let directory = directory.display();
    format!(
        "compatibility_level = 3.6
command_directory = /usr/sbin
daemon_directory = /usr/lib/postfix/sbin
sendmail_path = /usr/sbin/sendmail
mailq_path = /usr/bin/mailq
newaliases_path = /usr/bin/newaliases
queue_directory = {directory}/queue
data_directory = {directory}/data
maillog_file = {directory}/maillog
maillog_file_prefixes = {directory}
mail_owner = postfix
setgid_group = postdrop
myhostname = mx.test
smtpd_banner = $myhostname ESMTP {name}
mydestination = mx.test
local_recipient_maps =
local_transport = smtp:[127.0.0.1]:{sink}
inet_interfaces = 127.0.0.1
inet_protocols = ipv4
mynetworks = 127.0.0.0/8, 10.0.0.0/8, 192.0.2.0/24
alias_maps =
alias_database =
virtual_alias_domains = valias.test
virtual_alias_maps = texthash:{directory}/etc/virtual
canonical_maps = texthash:{directory}/etc/canonical
smtp_dns_support_level = disabled
smtpd_peername_lookup = no
relayhost = [127.0.0.1]:{sink}
smtpd_relay_restrictions = permit_mynetworks, reject
smtpd_authorized_xclient_hosts = 127.0.0.0/8
smtpd_error_sleep_time = 0s
smtpd_hard_error_limit = 1000
smtpd_timeout = 60s
smtpd_milters = unix:{directory}/milter.sock
non_smtpd_milters = {local_milter}
milter_default_action = {default_action}
milter_connect_timeout = {milter_timeout}s
milter_command_timeout = {milter_timeout}s
milter_content_timeout = {milter_timeout}s
queue_run_delay = 1s
minimal_backoff_time = 1s
maximal_backoff_time = 2s
"
    )
}

fn master_cf(directory: &Path, ports: [u16; 3], options: &Options) -> String {
    let [submission, relay, plain] = ports;
    let pickup = match options.sendmail {
        Sendmail::NonSmtpdMilters => String::new(),
        Sendmail::SubmissionPort => {
            format!("  -o content_filter=smtp:[127.0.0.1]:{submission}\n")
        }
    };
    let directory = directory.display();
    format!(
        "127.0.0.1:{submission} inet n - n - - smtpd
127.0.0.1:{relay} inet n - n - - smtpd
  -o smtpd_milters=unix:{directory}/relay.sock
127.0.0.1:{plain} inet n - n - - smtpd
  -o smtpd_milters=
pickup unix n - n 60 1 pickup
{pickup}cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
rewrite unix - - n - - trivial-rewrite
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
verify unix - - n - 1 verify
flush unix n - n 1000? 0 flush
proxymap unix - - n - - proxymap
proxywrite unix - - n - 1 proxymap
smtp unix - - n - - smtp
relay unix - - n - - smtp
showq unix n - n - - showq
error unix - - n - - error
retry unix - - n - - error
discard unix - - n - - discard
anvil unix - - n - 1 anvil
scache unix - - n - 1 scache
postlog unix-dgram n - n - 1 postlogd
"
    )
}

/// Removes a directory unless told not to.
pub(crate) struct RemoveDirectory<'a>(Option<&'a Path>);

impl<'a> RemoveDirectory<'a> {
    /// Will remove `directory`.
    pub(crate) fn new(directory: &'a Path) -> Self {
        RemoveDirectory(Some(directory))
    }

    /// Leaves the directory alone.
    pub(crate) fn disarm(mut self) {
        self.0 = None;
    }
}

impl Drop for RemoveDirectory<'_> {
    fn drop(&mut self) {
        if let Some(directory) = self.0 {
            let _ = fs::remove_dir_all(directory);
        }
    }
}
