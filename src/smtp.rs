//! A small SMTP client that re-injects a held message through the MTA, byte for byte.
//!
//! Our own because a mail library would re-encode: the envelope goes out as it came in
//! (paths, `NOTIFY=`, `ORCPT=`, `ENVID=`, `RET=`, `BODY=`, `SMTPUTF8`), the message octet for
//! octet but for line ends: a bare CR or LF becomes CRLF and a leading dot is doubled, so no
//! message can end itself early (SMTP smuggling, CVE-2023-51764).
//!
//! `SIZE=` and `AUTH=` are not passed on: the first is the MTA's to measure, the second says
//! who authenticated to *us*. Meant for the MTA on this host: no TLS, no login.

mod reply;
mod transparency;

use std::fmt;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use socket2::{Domain, SockAddr, Socket, Type};

use crate::fault;
use crate::octets::Octets;

pub use reply::Reply;

use reply::ReplyReader;
use transparency::Transparency;

/// Octets of the message sent at a time.
const CHUNK: usize = 64 * 1024;

/// Where the MTA listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// `host:port`, normally loopback.
    Tcp(String),
    /// A UNIX socket.
    Unix(PathBuf),
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Target::Tcp(address) => f.write_str(address),
            Target::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// How to talk to the MTA.
#[derive(Clone, Debug)]
pub struct SmtpSettings {
    /// Where it listens.
    pub target: Target,
    /// Our name in EHLO.
    pub helo: String,
    /// For connecting, and for each command's reply.
    pub command_timeout: Duration,
    /// For the whole transaction. Shorter than the lease of the claim, so that a slow MTA
    /// cannot still be taking the message when another process begins to send it.
    pub total_timeout: Duration,
}

impl Default for SmtpSettings {
    fn default() -> Self {
        SmtpSettings {
            target: Target::Tcp("127.0.0.1:25".to_owned()),
            helo: "localhost".to_owned(),
            command_timeout: Duration::from_secs(60),
            total_timeout: Duration::from_secs(240),
        }
    }
}

/// One message for one recipient.
#[derive(Clone, Copy, Debug)]
pub struct Delivery<'a> {
    /// Reverse-path as received, with or without angle brackets.
    pub sender: &'a [u8],
    /// ESMTP arguments of MAIL as received.
    pub sender_args: &'a [Octets],
    /// Forward-path as received, with or without angle brackets.
    pub recipient: &'a [u8],
    /// ESMTP arguments of RCPT as received.
    pub recipient_args: &'a [Octets],
}

/// The MTA took the message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// Its reply after the final dot, usually with its queue id.
    pub reply: Reply,
    /// Arguments left out because the MTA does not offer what they need.
    pub left_out: Vec<Octets>,
}

/// Where in the dialog something happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// The first line of the server.
    Greeting,
    /// EHLO.
    Ehlo,
    /// MAIL FROM.
    Mail,
    /// RCPT TO.
    Rcpt,
    /// DATA.
    Data,
    /// After the final dot.
    EndOfData,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Greeting => "the greeting",
            Stage::Ehlo => "EHLO",
            Stage::Mail => "MAIL FROM",
            Stage::Rcpt => "RCPT TO",
            Stage::Data => "DATA",
            Stage::EndOfData => "the end of the message",
        })
    }
}

/// Why the MTA did not take the message.
#[derive(Debug, thiserror::Error)]
pub enum SmtpError {
    /// Nobody listens there.
    #[error("cannot connect to the MTA at {target}")]
    Connect {
        /// Where.
        target: Target,
        /// What the system said.
        source: io::Error,
    },
    /// The MTA said no.
    #[error("the MTA answered {stage} with: {reply}")]
    Refused {
        /// To what.
        stage: Stage,
        /// Its words.
        reply: Reply,
    },
    /// What came back is not SMTP.
    #[error("the MTA's answer to {stage} is not SMTP: {what}")]
    NotSmtp {
        /// To what.
        stage: Stage,
        /// What is wrong with it.
        what: String,
    },
    /// The connection broke or a deadline passed before the message was complete.
    #[error("no answer from the MTA to {stage}")]
    NoAnswer {
        /// To what.
        stage: Stage,
        /// What the system said.
        source: io::Error,
    },
    /// The message was sent completely, but no answer came that says what became of it.
    #[error(
        "the MTA did not answer after the whole message was sent; it may have taken it, look into its log before the next try"
    )]
    Unknown {
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The message needs an extension that the MTA does not offer.
    #[error("the message needs {needs}, which the MTA at {target} does not offer")]
    NotOffered {
        /// Keyword of the extension.
        needs: &'static str,
        /// Where.
        target: Target,
    },
    /// A path or argument would break the command line.
    #[error("{0} holds a line end or NUL and cannot be sent in a command")]
    Unsendable(Octets),
    /// The held message could not be read.
    #[error("cannot read the held message")]
    Message(#[source] io::Error),
}

impl SmtpError {
    /// Returns whether the same try may succeed later.
    pub fn is_temporary(&self) -> bool {
        match self {
            SmtpError::Refused { reply, .. } => reply.code() < 500,
            SmtpError::Connect { .. } | SmtpError::NoAnswer { .. } | SmtpError::Unknown { .. } => {
                true
            }
            SmtpError::NotSmtp { .. }
            | SmtpError::NotOffered { .. }
            | SmtpError::Unsendable(_)
            | SmtpError::Message(_) => false,
        }
    }
}

/// Hands `message` to the MTA for one recipient.
///
/// # Errors
/// Nothing was delivered, but for [`SmtpError::Unknown`], where nobody can tell.
pub fn inject(
    settings: &SmtpSettings,
    delivery: &Delivery<'_>,
    message: impl Read,
) -> Result<Accepted, SmtpError> {
    let mut session = Session::connect(settings)?;
    session.read(Stage::Greeting)?.expect(Stage::Greeting, 2)?;
    let ehlo = sendable(format!("EHLO {}", settings.helo).into_bytes())?;
    let offers = session.command(Stage::Ehlo, &ehlo, 2)?;
    fault::point("smtp.ehlo");
    let mut left_out = Vec::new();
    let mail_args = offered_args(
        &offers,
        delivery.sender_args,
        &settings.target,
        &mut left_out,
    )?;
    let rcpt_args = offered_args(
        &offers,
        delivery.recipient_args,
        &settings.target,
        &mut left_out,
    )?;
    session.command(
        Stage::Mail,
        &line(b"MAIL FROM:", delivery.sender, &mail_args)?,
        2,
    )?;
    session.command(
        Stage::Rcpt,
        &line(b"RCPT TO:", delivery.recipient, &rcpt_args)?,
        2,
    )?;
    session.command(Stage::Data, b"DATA", 3)?;
    session.send_message(message)?;
    fault::point("smtp.sent");
    let reply = session.end_of_data()?;
    fault::point("smtp.accepted");
    session.quit();
    Ok(Accepted { reply, left_out })
}

/// Asks the MTA whether it would take a message, up to RCPT, and takes the question back.
/// Nothing is sent.
///
/// # Errors
/// It would not, or cannot be asked.
pub fn rehearse(settings: &SmtpSettings, sender: &[u8], recipient: &[u8]) -> Result<(), SmtpError> {
    let mut session = Session::connect(settings)?;
    session.read(Stage::Greeting)?.expect(Stage::Greeting, 2)?;
    let ehlo = sendable(format!("EHLO {}", settings.helo).into_bytes())?;
    session.command(Stage::Ehlo, &ehlo, 2)?;
    session.command(Stage::Mail, &line(b"MAIL FROM:", sender, &[])?, 2)?;
    session.command(Stage::Rcpt, &line(b"RCPT TO:", recipient, &[])?, 2)?;
    session.command(Stage::Rcpt, b"RSET", 2)?;
    session.quit();
    Ok(())
}

/// Returns the arguments the MTA can take; those it need not know go to `left_out`.
fn offered_args<'a>(
    offers: &Reply,
    args: &'a [Octets],
    target: &Target,
    left_out: &mut Vec<Octets>,
) -> Result<Vec<&'a [u8]>, SmtpError> {
    let mut kept = Vec::new();
    for arg in args {
        let (keyword, value) = split_arg(arg.as_bytes());
        // RFC 1870, RFC 4954: not ours to repeat.
        if keyword == "SIZE" || keyword == "AUTH" {
            continue;
        }
        let extension = match keyword.as_str() {
            "BODY" if value.eq_ignore_ascii_case(b"7BIT") && !offers.offers("8BITMIME") => continue,
            // RFC 3030, 3: such a message can only go by BDAT, which may hold anything.
            "BODY" if value.eq_ignore_ascii_case(b"BINARYMIME") => "BINARYMIME by DATA",
            "BODY" => "8BITMIME",
            "SMTPUTF8" => "SMTPUTF8",
            "REQUIRETLS" => "REQUIRETLS",
            // RFC 3461, 4.
            "RET" | "ENVID" | "NOTIFY" | "ORCPT" => "DSN",
            "BY" => "DELIVERBY",
            other if offers.offers(other) => {
                kept.push(arg.as_bytes());
                continue;
            }
            _ => "",
        };
        if offers.offers(extension) {
            kept.push(arg.as_bytes());
            continue;
        }
        // Without these the message itself would be damaged or exposed.
        let needs = match extension {
            "BINARYMIME by DATA" => Some("BINARYMIME by DATA"),
            "8BITMIME" => Some("8BITMIME"),
            "SMTPUTF8" => Some("SMTPUTF8"),
            "REQUIRETLS" => Some("REQUIRETLS"),
            _ => None,
        };
        if let Some(needs) = needs {
            return Err(SmtpError::NotOffered {
                needs,
                target: target.clone(),
            });
        }
        left_out.push(arg.clone());
    }
    Ok(kept)
}

fn split_arg(arg: &[u8]) -> (String, &[u8]) {
    let end = arg
        .iter()
        .position(|&byte| byte == b'=')
        .unwrap_or(arg.len());
    let keyword = String::from_utf8_lossy(&arg[..end]).to_ascii_uppercase();
    (keyword, arg.get(end + 1..).unwrap_or(&[]))
}

fn line(verb: &[u8], path: &[u8], args: &[&[u8]]) -> Result<Vec<u8>, SmtpError> {
    let mut line = verb.to_vec();
    let bracketed = path.starts_with(b"<");
    if !bracketed {
        line.push(b'<');
    }
    line.extend_from_slice(path);
    if !bracketed {
        line.push(b'>');
    }
    for arg in args {
        line.push(b' ');
        line.extend_from_slice(arg);
    }
    sendable(line)
}

/// Returns the line if it stays one command.
fn sendable(line: Vec<u8>) -> Result<Vec<u8>, SmtpError> {
    if line.iter().any(|byte| matches!(byte, b'\r' | b'\n' | 0)) {
        return Err(SmtpError::Unsendable(Octets::from(line)));
    }
    Ok(line)
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Makes the next read or write fail at `deadline`.
    fn limit(&self, deadline: Instant) -> io::Result<()> {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        match self {
            Stream::Tcp(stream) => stream
                .set_read_timeout(Some(left))
                .and_then(|()| stream.set_write_timeout(Some(left))),
            Stream::Unix(stream) => stream
                .set_read_timeout(Some(left))
                .and_then(|()| stream.set_write_timeout(Some(left))),
        }
    }
}

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.read(buffer),
            Stream::Unix(stream) => stream.read(buffer),
        }
    }
}

impl Write for Stream {
    fn write(&mut self, octets: &[u8]) -> io::Result<usize> {
        match self {
            Stream::Tcp(stream) => stream.write(octets),
            Stream::Unix(stream) => stream.write(octets),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[derive(Debug)]
struct Session {
    stream: Stream,
    replies: ReplyReader,
    command_timeout: Duration,
    deadline: Instant,
}

impl Session {
    fn connect(settings: &SmtpSettings) -> Result<Session, SmtpError> {
        let started = Instant::now();
        let timeout = settings.command_timeout.min(settings.total_timeout);
        let stream = match &settings.target {
            Target::Tcp(address) => connect_tcp(address, timeout).map(Stream::Tcp),
            Target::Unix(path) => connect_unix(path, timeout).map(Stream::Unix),
        };
        let stream = stream.map_err(|source| SmtpError::Connect {
            target: settings.target.clone(),
            source,
        })?;
        Ok(Session {
            stream,
            replies: ReplyReader::default(),
            command_timeout: settings.command_timeout,
            deadline: started + settings.total_timeout,
        })
    }

    fn next_deadline(&self) -> Instant {
        (Instant::now() + self.command_timeout).min(self.deadline)
    }

    fn read(&mut self, stage: Stage) -> Result<Reply, SmtpError> {
        let deadline = self.next_deadline();
        self.read_until(stage, deadline)
    }

    fn read_until(&mut self, stage: Stage, deadline: Instant) -> Result<Reply, SmtpError> {
        let mut buffer = [0; 4096];
        loop {
            let reply = self.replies.next().map_err(|error| SmtpError::NotSmtp {
                stage,
                what: error.to_string(),
            })?;
            if let Some(reply) = reply {
                return Ok(reply);
            }
            let read = self
                .stream
                .limit(deadline)
                .and_then(|()| self.stream.read(&mut buffer));
            match read {
                Ok(0) => {
                    return Err(SmtpError::NoAnswer {
                        stage,
                        source: io::ErrorKind::UnexpectedEof.into(),
                    });
                }
                Ok(count) => self.replies.push(&buffer[..count]),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(source) => return Err(SmtpError::NoAnswer { stage, source }),
            }
        }
    }

    fn command(&mut self, stage: Stage, line: &[u8], expected: u16) -> Result<Reply, SmtpError> {
        let deadline = self.next_deadline();
        let sent = self.send(&[line, b"\r\n"].concat(), deadline);
        sent.map_err(|source| SmtpError::NoAnswer { stage, source })?;
        let reply = self.read(stage)?;
        reply.expect(stage, expected)?;
        Ok(reply)
    }

    fn send(&mut self, mut octets: &[u8], deadline: Instant) -> io::Result<()> {
        while !octets.is_empty() {
            self.stream.limit(deadline)?;
            match self.stream.write(octets) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => octets = &octets[count..],
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Sends everything but the final dot.
    fn send_message(&mut self, mut message: impl Read) -> Result<(), SmtpError> {
        let mut transparency = Transparency::default();
        let mut buffer = vec![0; CHUNK];
        let mut wire = Vec::with_capacity(CHUNK + CHUNK / 8);
        loop {
            let count = match message.read(&mut buffer) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                // Closing without the final dot makes the MTA forget what it got.
                Err(error) => return Err(SmtpError::Message(error)),
            };
            wire.clear();
            if count == 0 {
                transparency.finish(&mut wire);
            } else {
                transparency.push(&buffer[..count], &mut wire);
            }
            let deadline = self.next_deadline();
            if let Err(source) = self.send(&wire, deadline) {
                // A server that refuses in the middle says why before it closes.
                let reply = self.read(Stage::Data);
                return Err(match reply {
                    Ok(reply) if reply.code() >= 400 => SmtpError::Refused {
                        stage: Stage::Data,
                        reply,
                    },
                    _ => SmtpError::NoAnswer {
                        stage: Stage::Data,
                        source,
                    },
                });
            }
            if count == 0 {
                return Ok(());
            }
        }
    }

    /// Sends the final dot and waits for the MTA to take responsibility.
    fn end_of_data(&mut self) -> Result<Reply, SmtpError> {
        // Not begun when the time is up: from here on the message may be delivered.
        let no_time = |source| SmtpError::NoAnswer {
            stage: Stage::Data,
            source,
        };
        self.stream.limit(self.deadline).map_err(no_time)?;
        let deadline = self.deadline;
        self.send(b".\r\n", deadline)
            .map_err(|source| SmtpError::Unknown { source })?;
        // RFC 5321, 4.5.3.2.6 gives the server ten minutes; we wait as long as our lease allows.
        let reply = self.read_until(Stage::EndOfData, deadline);
        let reply = reply.and_then(|reply| reply.expect(Stage::EndOfData, 2).map(|()| reply));
        reply.map_err(|error| match error {
            SmtpError::NoAnswer { source, .. } => SmtpError::Unknown { source },
            SmtpError::NotSmtp { what, .. } => SmtpError::Unknown {
                source: io::Error::other(what),
            },
            other => other,
        })
    }

    /// Says goodbye; the message is already the MTA's, so nothing here can fail it.
    fn quit(mut self) {
        let deadline = Instant::now() + Duration::from_secs(1);
        if self.send(b"QUIT\r\n", deadline).is_ok() {
            let _ = self.read_until(Stage::EndOfData, deadline);
        }
    }
}

fn connect_tcp(address: &str, timeout: Duration) -> io::Result<TcpStream> {
    let mut last = io::Error::new(io::ErrorKind::NotFound, "the name has no address");
    for address in address.to_socket_addrs()? {
        match TcpStream::connect_timeout(&address, timeout) {
            Ok(stream) => {
                stream.set_nodelay(true)?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Connects with a limit, which the standard library has for TCP only: a server that takes no
/// more connections would keep us for ever.
fn connect_unix(path: &Path, timeout: Duration) -> io::Result<UnixStream> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.connect_timeout(&SockAddr::unix(path)?, timeout)?;
    Ok(UnixStream::from(socket))
}
