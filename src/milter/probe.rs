//! The watchdog's own session: asks through a listener, like an MTA, whether a recipient is judged.
//!
//! It goes through the socket, the library, the session and the rules, so it fails when any of
//! them does. A name only we know marks it; it is not counted, logged or kept, and to another
//! instance that has taken over the socket it looks like a bounce, which passes.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::sync::watch;

use super::listener::{ListenAddress, Way};
use crate::reply::Reply;
use crate::service::Service;

/// How long one session may take. A recipient is judged within microseconds; the rest is for a
/// host that has no time for us.
const PATIENCE: Duration = Duration::from_secs(10);

/// Longest answer that is read; ours are far shorter.
const MAX_ANSWER: usize = 4096;

/// Why a session was not judged.
#[derive(Debug, thiserror::Error)]
pub enum ProbeError {
    /// The listener cannot be reached, or ended the session.
    #[error("no session at {door}")]
    Broken {
        /// The listener.
        door: String,
        /// What the system said.
        source: io::Error,
    },
    /// No answer in time.
    #[error("no answer at {door} within {} s", PATIENCE.as_secs())]
    Late {
        /// The listener.
        door: String,
    },
    /// The recipient was answered in another way.
    #[error("another answer than expected at {door}: {answer:?}")]
    NotJudged {
        /// The listener.
        door: String,
        /// The answer, its first byte the command of the milter protocol.
        answer: String,
    },
}

/// Asks whether sessions are judged.
pub struct Probe {
    ways: Vec<Way>,
    name: String,
    service: Arc<Service>,
    /// Sessions now open, and the most there may be.
    sessions: Option<(watch::Receiver<usize>, usize)>,
}

impl Probe {
    /// Returns what asks by these `ways`, and lets `service` know by which name.
    ///
    /// # Errors
    /// When the system has no randomness.
    pub fn new(service: &Arc<Service>, ways: Vec<Way>) -> Result<Probe, getrandom::Error> {
        // A name that nobody else can give.
        let name = format!("probe-{:016x}{:016x}", getrandom::u64()?, getrandom::u64()?);
        service.expect_probe(name.clone());
        Ok(Probe {
            ways,
            name,
            service: Arc::clone(service),
            sessions: None,
        })
    }

    /// Asks nothing while as many sessions are open as there may be.
    #[must_use]
    pub fn unless_full(self, sessions: (watch::Receiver<usize>, usize)) -> Probe {
        Probe {
            sessions: Some(sessions),
            ..self
        }
    }

    /// Asks through every listener.
    ///
    /// With as many sessions open as may be, one more would have to wait for its turn; then the
    /// open ones are the sign of life, and nothing is asked.
    ///
    /// # Errors
    /// The first listener where a recipient was not judged.
    pub async fn ask(&self) -> Result<(), ProbeError> {
        if (self.sessions.as_ref()).is_some_and(|(open, most)| *open.borrow() >= *most) {
            return Ok(());
        }
        for way in &self.ways {
            let name = || way.to_string();
            let answered = tokio::time::timeout(PATIENCE, self.ask_by(way)).await;
            let answer = answered
                .map_err(|_| ProbeError::Late { door: name() })?
                .map_err(|source| ProbeError::Broken {
                    door: name(),
                    source,
                })?;
            let Reply {
                code,
                enhanced,
                text,
            } = Reply::probe_judged();
            let answer = String::from_utf8_lossy(&answer);
            if answer.trim_end_matches('\0') != format!("y{code} {enhanced} {text}") {
                let answer = answer.chars().take(200).collect();
                return Err(ProbeError::NotJudged {
                    door: name(),
                    answer,
                });
            }
        }
        Ok(())
    }

    async fn ask_by(&self, way: &Way) -> io::Result<Vec<u8>> {
        match way {
            Way::Connect(ListenAddress::Unix(path)) => {
                self.converse(UnixStream::connect(path).await?).await
            }
            Way::Connect(ListenAddress::Inet(address)) => {
                self.converse(TcpStream::connect(address).await?).await
            }
            // An address is where a socket is, not how it came to us.
            Way::Connect(ListenAddress::Systemd(_)) => Err(io::ErrorKind::Unsupported.into()),
            Way::Inside(hand_in) => {
                let (ours, theirs) = UnixStream::pair()?;
                let gone = |_| io::Error::from(io::ErrorKind::ConnectionRefused);
                hand_in.send(theirs).await.map_err(gone)?;
                self.converse(ours).await
            }
        }
    }

    /// Returns the answer to the recipient.
    async fn converse(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
    ) -> io::Result<Vec<u8>> {
        // Version 6, every action, and no step left out: so every step is answered.
        let offer: Vec<u8> = [6_u32, 0x1ff, 0]
            .iter()
            .flat_map(|n| n.to_be_bytes())
            .collect();
        // No address, as for a client that is a program.
        let client = [self.name.as_bytes(), b"\0U"].concat();
        let recipient = format!("<{}>\0", self.service.probe_recipient());
        let steps: [(u8, &[u8]); 4] = [
            (b'O', &offer),
            (b'C', &client),
            (b'M', b"<>\0"),
            (b'R', recipient.as_bytes()),
        ];
        let mut answer = Vec::new();
        for (command, data) in steps {
            send(&mut stream, command, data).await?;
            answer = receive(&mut stream).await?;
        }
        send(&mut stream, b'Q', b"").await?;
        Ok(answer)
    }
}

async fn send(stream: &mut (impl AsyncWrite + Unpin), command: u8, data: &[u8]) -> io::Result<()> {
    let length = u32::try_from(data.len() + 1).unwrap_or(u32::MAX);
    let frame = [&length.to_be_bytes()[..], &[command], data].concat();
    stream.write_all(&frame).await
}

async fn receive(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let length = usize::try_from(stream.read_u32().await?).unwrap_or(usize::MAX);
    if length > MAX_ANSWER {
        return Err(io::ErrorKind::InvalidData.into());
    }
    let mut frame = vec![0; length];
    stream.read_exact(&mut frame).await?;
    Ok(frame)
}
