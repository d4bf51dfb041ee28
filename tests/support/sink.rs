//! The next hop: an SMTP server that accepts everything and remembers it exactly.

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// One message as it was delivered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Delivery {
    /// The reverse-path between `<` and `>`.
    pub(crate) sender: String,
    /// What followed it: `SIZE=…`, `SMTPUTF8`, `ENVID=…`.
    pub(crate) sender_args: String,
    /// Each forward-path with what followed it.
    pub(crate) recipients: Vec<(String, String)>,
    /// Headers and body with CRLF, dot-stuffing undone.
    pub(crate) data: Vec<u8>,
}

impl Delivery {
    /// The message as text, for looking at headers.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.data).replace("\r\n", "\n")
    }
}

/// A running sink.
#[derive(Debug)]
pub(crate) struct Sink {
    address: SocketAddr,
    state: Arc<State>,
}

#[derive(Debug, Default)]
struct State {
    deliveries: Mutex<Vec<Delivery>>,
    arrived: Condvar,
}

impl Sink {
    /// Starts a sink on a free port of 127.0.0.1; it lives as long as the process.
    pub(crate) fn start() -> Result<Sink> {
        let listener =
            TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("cannot bind the sink")?;
        let address = listener.local_addr()?;
        let state = Arc::new(State::default());
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(Sink { address, state })
    }

    /// Where it listens.
    pub(crate) fn port(&self) -> u16 {
        self.address.port()
    }

    /// Everything delivered so far, in order.
    pub(crate) fn deliveries(&self) -> Vec<Delivery> {
        self.lock().clone()
    }

    /// Everything delivered after the first `seen` messages, once those name at least `wanted`
    /// recipients or `limit` is over.
    pub(crate) fn wait(&self, seen: usize, wanted: usize, limit: Duration) -> Vec<Delivery> {
        let deadline = Instant::now() + limit;
        let mut deliveries = self.lock();
        loop {
            let new = deliveries.get(seen..).unwrap_or_default();
            let left = deadline.saturating_duration_since(Instant::now());
            if new.iter().map(|d| d.recipients.len()).sum::<usize>() >= wanted || left.is_zero() {
                return new.to_vec();
            }
            deliveries = self
                .state
                .arrived
                .wait_timeout(deliveries, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Delivery>> {
        self.state
            .deliveries
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// How recipients begin that are refused.
const NOBODY: &str = "no-such-user@";

/// How recipients begin that are to be tried later.
const BUSY: &str = "busy@";

/// Speaks SMTP with one client until it leaves.
fn serve(stream: TcpStream, state: &State) -> std::io::Result<()> {
    let mut input = BufReader::new(stream.try_clone()?);
    let mut output = stream;
    let mut current: Option<Delivery> = None;
    output.write_all(b"220 sink.test ESMTP\r\n")?;
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Ok(());
        }
        let line = String::from_utf8_lossy(&line).trim_end().to_owned();
        let verb = line
            .split([' ', ':'])
            .next()
            .unwrap_or_default()
            .to_ascii_uppercase();
        let reply: &[u8] = match verb.as_str() {
            "EHLO" => {
                b"250-sink.test\r\n250-PIPELINING\r\n250-8BITMIME\r\n250-SMTPUTF8\r\n250 DSN\r\n"
            }
            "MAIL" => {
                let (sender, sender_args) = path_and_args(&line);
                current = Some(Delivery {
                    sender,
                    sender_args,
                    recipients: Vec::new(),
                    data: Vec::new(),
                });
                b"250 ok\r\n"
            }
            "RCPT" => {
                let recipient = path_and_args(&line);
                if recipient.0.starts_with(NOBODY) {
                    b"550 5.1.1 no such user\r\n"
                } else if recipient.0.starts_with(BUSY) {
                    b"450 4.2.1 mailbox busy\r\n"
                } else {
                    if let Some(delivery) = &mut current {
                        delivery.recipients.push(recipient);
                    }
                    b"250 ok\r\n"
                }
            }
            "DATA" => {
                output.write_all(b"354 go on\r\n")?;
                let data = read_data(&mut input)?;
                if let Some(mut delivery) = current.take() {
                    delivery.data = data;
                    state
                        .deliveries
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push(delivery);
                    state.arrived.notify_all();
                }
                b"250 ok\r\n"
            }
            "QUIT" => {
                output.write_all(b"221 bye\r\n")?;
                return Ok(());
            }
            _ => b"250 ok\r\n",
        };
        output.write_all(reply)?;
    }
}

/// Splits `RCPT TO:<path> args`; a quoted local part may hold `>`.
fn path_and_args(line: &str) -> (String, String) {
    let after = line.split_once('<').map_or("", |(_, after)| after);
    let mut quoted = false;
    let mut escaped = false;
    for (at, c) in after.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => quoted = !quoted,
            '>' if !quoted => {
                let (path, rest) = after.split_at(at);
                return (
                    path.to_owned(),
                    rest.trim_start_matches('>').trim().to_owned(),
                );
            }
            _ => {}
        }
    }
    (after.to_owned(), String::new())
}

fn read_data(input: &mut impl BufRead) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut line = Vec::new();
        if input.read_until(b'\n', &mut line)? == 0 {
            return Err(std::io::ErrorKind::UnexpectedEof.into());
        }
        if line == b".\r\n" {
            return Ok(data);
        }
        data.extend_from_slice(line.strip_prefix(b".").unwrap_or(&line));
    }
}
