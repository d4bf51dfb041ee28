//! A milter client: the MTA's side of the protocol, by hand, so that it can also be broken.
//!
//! A frame is a 32-bit length (network order), one command byte and its data; the length counts
//! the command byte. Names follow Sendmail's `mfdef.h`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use super::PATIENCE;

/// All actions a filter may take, as Postfix 3.7 and Sendmail 8.17 offer them.
pub(crate) const ACTIONS: u32 = 0x1ff;
/// All steps a filter may leave out, as both offer them.
pub(crate) const STEPS: u32 = 0x1f_ffff;

/// One frame from the filter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Frame {
    /// The command byte: `c` continue, `y` replycode, `-` delrcpt, …
    pub(crate) command: u8,
    /// What follows it.
    pub(crate) data: Vec<u8>,
}

impl Frame {
    /// Command and data as text, NUL shown as `|`.
    pub(crate) fn text(&self) -> String {
        let data = String::from_utf8_lossy(&self.data).replace('\0', "|");
        format!("{}{}", char::from(self.command), data)
    }
}

/// What was agreed at the start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Negotiated {
    /// Protocol version.
    pub(crate) version: u32,
    /// Actions the filter asks for.
    pub(crate) actions: u32,
    /// Steps the filter does not want, or does not answer.
    pub(crate) steps: u32,
}

/// A byte stream to the filter.
trait Stream: Read + Write + std::fmt::Debug + Send {}
impl<T: Read + Write + std::fmt::Debug + Send> Stream for T {}

/// One milter connection.
#[derive(Debug)]
pub(crate) struct MilterClient {
    stream: Box<dyn Stream>,
    steps: u32,
    /// Octets written at a time.
    piece: usize,
}

/// Steps a filter may ask not to be sent, and those it does not answer, by command.
const NOT_SENT: [(u8, u32); 7] = [
    (b'C', 0x1),
    (b'H', 0x2),
    (b'M', 0x4),
    (b'R', 0x8),
    (b'B', 0x10),
    (b'L', 0x20),
    (b'N', 0x40),
];
const NOT_ANSWERED: [(u8, u32); 9] = [
    (b'L', 0x80),
    (b'C', 0x1000),
    (b'H', 0x2000),
    (b'M', 0x4000),
    (b'R', 0x8000),
    (b'T', 0x1_0000),
    (b'U', 0x2_0000),
    (b'N', 0x4_0000),
    (b'B', 0x8_0000),
];

impl MilterClient {
    /// Connects without saying anything.
    pub(crate) fn connect(socket: &Path) -> Result<MilterClient> {
        let stream = UnixStream::connect(socket)
            .with_context(|| format!("cannot connect to {}", socket.display()))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.set_write_timeout(Some(PATIENCE))?;
        Ok(MilterClient {
            stream: Box::new(stream),
            steps: 0,
            piece: usize::MAX,
        })
    }

    /// Connects over TCP and negotiates like Postfix 3.7.
    pub(crate) fn open_tcp(address: SocketAddr) -> Result<MilterClient> {
        let stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut client = MilterClient {
            stream: Box::new(stream),
            steps: 0,
            piece: usize::MAX,
        };
        client.negotiate(6, ACTIONS, STEPS)?;
        Ok(client)
    }

    /// Connects and negotiates like Postfix 3.7.
    pub(crate) fn open(socket: &Path) -> Result<MilterClient> {
        let mut client = MilterClient::connect(socket)?;
        client.negotiate(6, ACTIONS, STEPS)?;
        Ok(client)
    }

    /// Offers a version, actions and steps; returns what the filter wants of them.
    pub(crate) fn negotiate(
        &mut self,
        version: u32,
        actions: u32,
        steps: u32,
    ) -> Result<Negotiated> {
        let mut data = Vec::new();
        for word in [version, actions, steps] {
            data.extend_from_slice(&word.to_be_bytes());
        }
        self.send(b'O', &data)?;
        let frame = self.read()?;
        ensure!(frame.command == b'O', "negotiation: {}", frame.text());
        let word = |at: usize| -> Result<u32> {
            let bytes = frame.data.get(at..at + 4).context("short negotiation")?;
            Ok(u32::from_be_bytes(bytes.try_into()?))
        };
        let answer = Negotiated {
            version: word(0)?,
            actions: word(4)?,
            steps: word(8)?,
        };
        ensure!(
            answer.actions & !actions == 0 && answer.steps & !steps == 0,
            "the filter wants what was not offered: {answer:x?} of {actions:x} {steps:x}"
        );
        self.steps = answer.steps;
        Ok(answer)
    }

    /// Sends a frame and does not wait for an answer.
    pub(crate) fn send(&mut self, command: u8, data: &[u8]) -> Result<()> {
        let length = u32::try_from(data.len() + 1)?;
        let mut frame = length.to_be_bytes().to_vec();
        frame.push(command);
        frame.extend_from_slice(data);
        self.raw(&frame)
    }

    /// Sends bytes that need not be a frame.
    pub(crate) fn raw(&mut self, bytes: &[u8]) -> Result<()> {
        (bytes
            .chunks(self.piece)
            .try_for_each(|piece| self.stream.write_all(piece)))
        .context("the filter has closed the connection")
    }

    /// From now on, writes so many octets at a time.
    pub(crate) fn cut_into(&mut self, octets: usize) {
        self.piece = octets;
    }

    /// Reads one frame.
    pub(crate) fn read(&mut self) -> Result<Frame> {
        let mut length = [0; 4];
        self.stream
            .read_exact(&mut length)
            .context("the filter sent no answer")?;
        let length = u32::from_be_bytes(length) as usize;
        ensure!((1..=1 << 20).contains(&length), "a frame of {length} bytes");
        let mut frame = vec![0; length];
        self.stream.read_exact(&mut frame)?;
        Ok(Frame {
            command: frame.remove(0),
            data: frame,
        })
    }

    /// Sends one step and reads its answer, or `None` when it was agreed to leave either out.
    pub(crate) fn step(&mut self, command: u8, data: &[u8]) -> Result<Option<Frame>> {
        let asked_for = |table: &[(u8, u32)]| {
            table
                .iter()
                .any(|(c, bit)| *c == command && self.steps & bit != 0)
        };
        if asked_for(&NOT_SENT) {
            return Ok(None);
        }
        let answered = !asked_for(&NOT_ANSWERED);
        self.send(command, data)?;
        if !answered {
            return Ok(None);
        }
        Ok(Some(self.read()?))
    }

    /// Sends the macros that go with the next command.
    pub(crate) fn macros(&mut self, command: u8, pairs: &[(&str, &str)]) -> Result<()> {
        let mut data = vec![command];
        for (name, value) in pairs {
            data.extend_from_slice(name.as_bytes());
            data.push(0);
            data.extend_from_slice(value.as_bytes());
            data.push(0);
        }
        self.send(b'D', &data)
    }

    /// CONNECT from an IPv4 address.
    pub(crate) fn connect_from(&mut self, address: &str, port: u16) -> Result<Option<Frame>> {
        let mut data = b"client.test\0".to_vec();
        data.push(b'4');
        data.extend_from_slice(&port.to_be_bytes());
        data.extend_from_slice(address.as_bytes());
        data.push(0);
        self.step(b'C', &data)
    }

    /// CONNECT from an IPv6 address, as it is written.
    pub(crate) fn connect_from_inet6(&mut self, address: &str) -> Result<Option<Frame>> {
        let data = [
            b"client.test\0",
            &b"6\x9c\x40"[..],
            address.as_bytes(),
            b"\0",
        ];
        self.step(b'C', &data.concat())
    }

    /// HELO.
    pub(crate) fn helo(&mut self) -> Result<Option<Frame>> {
        self.step(b'H', b"client.test\0")
    }

    /// MAIL with the path in brackets.
    pub(crate) fn mail(&mut self, sender: &str) -> Result<Option<Frame>> {
        self.step(b'M', format!("<{sender}>\0").as_bytes())
    }

    /// RCPT with the path in brackets.
    pub(crate) fn rcpt(&mut self, recipient: &str) -> Result<Option<Frame>> {
        self.step(b'R', format!("<{recipient}>\0").as_bytes())
    }

    /// DATA, two headers, end of headers and one chunk of body.
    pub(crate) fn content(&mut self) -> Result<()> {
        self.step(b'T', b"")?;
        self.step(b'L', b"From\0alice@army.mil\0")?;
        self.step(b'L', b"Message-ID\0<1@client.test>\0")?;
        self.step(b'N', b"")?;
        self.step(b'B', b"one line\r\n")?;
        Ok(())
    }

    /// End of message: every frame up to and with the final answer.
    pub(crate) fn end(&mut self) -> Result<Vec<Frame>> {
        self.send(b'E', b"")?;
        let mut frames = Vec::new();
        loop {
            let frame = self.read()?;
            let last = b"cardty".contains(&frame.command);
            frames.push(frame);
            if last {
                return Ok(frames);
            }
            ensure!(frames.len() < 10_000, "no end of answers");
        }
    }

    /// A whole session with one message to `recipients`; returns the answers to RCPT and to
    /// the end of message (empty if no recipient was accepted).
    pub(crate) fn session(
        socket: &Path,
        sender: &str,
        recipients: &[&str],
    ) -> Result<(Vec<String>, Vec<String>)> {
        let mut client = MilterClient::open(socket)?;
        client.connect_from("127.0.0.1", 40_000)?;
        client.helo()?;
        let answers = client.message(sender, recipients)?;
        client.send(b'Q', b"")?;
        Ok(answers)
    }

    /// One message in an open session.
    pub(crate) fn message(
        &mut self,
        sender: &str,
        recipients: &[&str],
    ) -> Result<(Vec<String>, Vec<String>)> {
        self.mail(sender)?;
        let mut answers = Vec::new();
        for recipient in recipients {
            match self.rcpt(recipient)? {
                Some(frame) => answers.push(frame.text()),
                None => bail!("the filter does not answer RCPT"),
            }
        }
        if answers.iter().all(|answer| answer != "c") {
            self.send(b'A', b"")?;
            return Ok((answers, Vec::new()));
        }
        self.content()?;
        let end = self.end()?;
        Ok((answers, end.iter().map(Frame::text).collect()))
    }
}
