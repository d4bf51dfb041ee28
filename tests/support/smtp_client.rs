//! An SMTP client that sends exactly the bytes it is told to.

use std::io::{BufRead, BufReader, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

use super::PATIENCE;

/// A reply of the server: one code, one or more lines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Reply {
    /// 250, 550, …
    pub(crate) code: u16,
    /// The text of each line, without the code.
    pub(crate) lines: Vec<String>,
}

impl Reply {
    /// Code and text on one line.
    pub(crate) fn flat(&self) -> String {
        format!("{} {}", self.code, self.lines.join(" "))
    }

    /// The queue id in Postfix's `250 2.0.0 Ok: queued as …` and in Sendmail's
    /// `250 2.0.0 … Message accepted for delivery`.
    pub(crate) fn queue_id(&self) -> Option<&str> {
        let line = self.lines.first()?;
        if let Some((_, id)) = line.split_once("queued as ") {
            return Some(id);
        }
        let (before, _) = line.split_once(" Message accepted for delivery")?;
        before.rsplit(' ').next()
    }
}

/// One connection.
#[derive(Debug)]
pub(crate) struct SmtpClient {
    input: BufReader<TcpStream>,
    output: TcpStream,
}

impl SmtpClient {
    /// Connects to a port of 127.0.0.1 and reads the greeting.
    pub(crate) fn connect(port: u16) -> Result<(SmtpClient, Reply)> {
        SmtpClient::connect_from(Ipv4Addr::LOCALHOST.into(), port)
    }

    fn connect_from(address: IpAddr, port: u16) -> Result<(SmtpClient, Reply)> {
        let (domain, server): (Domain, IpAddr) = match address {
            IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::LOCALHOST.into()),
            IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::LOCALHOST.into()),
        };
        let connect = || -> std::io::Result<TcpStream> {
            let socket = Socket::new(domain, Type::STREAM, None)?;
            socket.bind(&SocketAddr::from((address, 0)).into())?;
            socket.connect(&SocketAddr::from((server, port)).into())?;
            Ok(socket.into())
        };
        let stream =
            connect().with_context(|| format!("cannot connect from {address} to port {port}"))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_nodelay(true)?;
        let mut client = SmtpClient {
            input: BufReader::new(stream.try_clone()?),
            output: stream,
        };
        let greeting = client.reply()?;
        Ok((client, greeting))
    }

    /// Connects and says EHLO.
    pub(crate) fn open(port: u16) -> Result<SmtpClient> {
        SmtpClient::open_from("127.0.0.1", port)
    }

    /// Connects from `address`, which is one of 127.0.0.0/8 or ::1, and says EHLO.
    pub(crate) fn open_from(address: &str, port: u16) -> Result<SmtpClient> {
        let (mut client, greeting) = SmtpClient::connect_from(address.parse()?, port)?;
        ensure!(greeting.code == 220, "greeted with {}", greeting.flat());
        client.command("EHLO client.test")?;
        Ok(client)
    }

    /// Pretends to be a client at `address` that logged in as `login` (Postfix's XCLIENT).
    pub(crate) fn become_client(&mut self, address: &str, login: Option<&str>) -> Result<()> {
        let login = login.unwrap_or("[UNAVAILABLE]");
        let reply = self.command(&format!(
            "XCLIENT ADDR={address} NAME=client.example LOGIN={login}"
        ))?;
        ensure!(reply.code == 220, "XCLIENT: {}", reply.flat());
        let reply = self.command("EHLO client.test")?;
        ensure!(reply.code == 250, "EHLO after XCLIENT: {}", reply.flat());
        Ok(())
    }

    /// Sends bytes as they are.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> Result<()> {
        self.output
            .write_all(bytes)
            .context("the server has closed the connection")
    }

    /// Reads one reply.
    pub(crate) fn reply(&mut self) -> Result<Reply> {
        let mut lines = Vec::new();
        loop {
            let mut raw = Vec::new();
            let read = self.input.read_until(b'\n', &mut raw);
            if read.context("no reply")? == 0 {
                bail!("the server closed the connection instead of a reply; so far: {lines:?}");
            }
            let line = String::from_utf8_lossy(&raw).trim_end().to_owned();
            let (code, rest) = line
                .split_at_checked(3)
                .with_context(|| format!("not a reply: {line:?}"))?;
            let code: u16 = code
                .parse()
                .with_context(|| format!("not a reply: {line:?}"))?;
            let more = rest.starts_with('-');
            lines.push(rest.get(1..).unwrap_or_default().to_owned());
            if !more {
                return Ok(Reply { code, lines });
            }
        }
    }

    /// Sends one line and reads the reply.
    pub(crate) fn command(&mut self, line: &str) -> Result<Reply> {
        self.send(format!("{line}\r\n").as_bytes())?;
        self.reply()
    }

    /// Sends a whole message; stops at the first step that is not a success.
    ///
    /// Returns the replies to MAIL, each RCPT, DATA and the final dot as far as they were given.
    pub(crate) fn message(
        &mut self,
        sender: &str,
        recipients: &[&str],
        data: &str,
    ) -> Result<Transaction> {
        let mut transaction = Transaction::default();
        let mail = self.command(&format!("MAIL FROM:<{sender}>"))?;
        let go_on = mail.code == 250;
        transaction.mail = Some(mail);
        if !go_on {
            return Ok(transaction);
        }
        for recipient in recipients {
            let reply = self.command(&format!("RCPT TO:<{recipient}>"))?;
            transaction.recipients.push(reply);
        }
        if transaction.recipients.iter().all(|r| r.code != 250) {
            self.command("RSET")?;
            return Ok(transaction);
        }
        let reply = self.command("DATA")?;
        if reply.code != 354 {
            transaction.end = Some(reply);
            return Ok(transaction);
        }
        let mut bytes = Vec::new();
        for line in data.lines() {
            if line.starts_with('.') {
                bytes.push(b'.');
            }
            bytes.extend_from_slice(line.as_bytes());
            bytes.extend_from_slice(b"\r\n");
        }
        bytes.extend_from_slice(b".\r\n");
        self.send(&bytes)?;
        transaction.end = Some(self.reply()?);
        Ok(transaction)
    }
}

/// The replies to one message.
#[derive(Clone, Debug, Default)]
pub(crate) struct Transaction {
    /// To MAIL.
    pub(crate) mail: Option<Reply>,
    /// To each RCPT.
    pub(crate) recipients: Vec<Reply>,
    /// To the final dot, or to a refused DATA.
    pub(crate) end: Option<Reply>,
}

impl Transaction {
    /// Says whether the server took responsibility for the message.
    pub(crate) fn accepted(&self) -> bool {
        self.end.as_ref().is_some_and(|end| end.code == 250)
    }

    /// The last reply, flat, for messages to people.
    pub(crate) fn last(&self) -> String {
        self.end
            .as_ref()
            .or(self.recipients.last())
            .or(self.mail.as_ref())
            .map(Reply::flat)
            .unwrap_or_default()
    }
}
