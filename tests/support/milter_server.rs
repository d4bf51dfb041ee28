//! A filter that says yes to everything and removes recipients by one spelling: what an MTA tells
//! a milter, and what it does with the answer, without straymail in between.

use std::io::{Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result};

/// Which spelling recipients are removed by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Removal {
    /// The RCPT argument.
    Argument,
    /// The macro `{rcpt_addr}`.
    Macro,
}

/// A recipient as the MTA told it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// The RCPT argument.
    pub(crate) argument: Vec<u8>,
    /// The macro `{rcpt_addr}`.
    pub(crate) rewritten: Vec<u8>,
}

/// A running filter; it lives as long as the process, or until its socket is replaced.
#[derive(Debug)]
pub(crate) struct MilterServer {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    removal: Removal,
    keep: Vec<u8>,
    told: Vec<Told>,
}

impl MilterServer {
    /// Listens at `socket` and removes every recipient but `keep`.
    pub(crate) fn start(socket: &Path, keep: &str) -> Result<MilterServer> {
        let listener = UnixListener::bind(socket).context("cannot bind the filter")?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
        let state = Arc::new(Mutex::new(State {
            removal: Removal::Argument,
            keep: format!("<{keep}>").into_bytes(),
            told: Vec::new(),
        }));
        let shared = Arc::clone(&state);
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                thread::spawn(move || drop(serve(stream, &shared)));
            }
        });
        Ok(MilterServer { state })
    }

    /// From here on recipients are removed so; what was told is forgotten.
    pub(crate) fn remove_by(&self, removal: Removal) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.removal = removal;
        state.told.clear();
    }

    /// The recipients to be removed that the MTA has told since.
    pub(crate) fn told(&self) -> Vec<Told> {
        let state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        state.told.clone()
    }
}

fn serve(mut stream: UnixStream, state: &Mutex<State>) -> std::io::Result<()> {
    let mut rewritten = Vec::new();
    let mut recipients = Vec::new();
    loop {
        let mut length = [0; 4];
        stream.read_exact(&mut length)?;
        let mut frame = vec![0; u32::from_be_bytes(length) as usize];
        stream.read_exact(&mut frame)?;
        let (command, data) = frame.split_first().unwrap_or((&b'Q', &[]));
        let mut words = data.split(|byte| *byte == 0);
        match command {
            b'O' => {
                // Version 6, add header and delete recipient, every step.
                let numbers = [6_u32, 0x9, 0];
                let data: Vec<u8> = numbers.iter().flat_map(|n| n.to_be_bytes()).collect();
                send(&mut stream, b'O', &data)?;
                continue;
            }
            b'D' => {
                if data.first() == Some(&b'R') {
                    let words: Vec<&[u8]> = data
                        .get(1..)
                        .unwrap_or_default()
                        .split(|byte| *byte == 0)
                        .collect();
                    rewritten = words
                        .chunks(2)
                        .find(|pair| pair.first() == Some(&&b"{rcpt_addr}"[..]))
                        .and_then(|pair| pair.get(1))
                        .map(|value| value.to_vec())
                        .unwrap_or_default();
                }
                continue;
            }
            b'R' => {
                let argument = words.next().unwrap_or_default().to_vec();
                let mut state = state.lock().unwrap_or_else(PoisonError::into_inner);
                if argument != state.keep {
                    let told = Told {
                        argument,
                        rewritten: rewritten.clone(),
                    };
                    state.told.push(told.clone());
                    recipients.push(told);
                }
            }
            b'E' => {
                let removal = state.lock().unwrap_or_else(PoisonError::into_inner).removal;
                for told in recipients.drain(..) {
                    let mut path = match removal {
                        Removal::Argument => told.argument,
                        Removal::Macro => told.rewritten,
                    };
                    path.push(0);
                    send(&mut stream, b'-', &path)?;
                }
            }
            b'A' | b'K' => {
                recipients.clear();
                continue;
            }
            b'Q' => return Ok(()),
            _ => {}
        }
        send(&mut stream, b'c', b"")?;
    }
}

fn send(stream: &mut UnixStream, command: u8, data: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(data.len() + 1).map_err(std::io::Error::other)?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.push(command);
    frame.extend_from_slice(data);
    stream.write_all(&frame)
}
