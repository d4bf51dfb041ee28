//! Stands between an MTA and the filter and writes down every frame of both.

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::Shutdown;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread;

use anyhow::{Context, Result};

/// Who said a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    /// The MTA.
    Mta,
    /// The filter.
    Filter,
}

/// Frames (command byte and data) of one connection, in the order they passed.
pub(crate) type Transcript = Vec<(From, Vec<u8>)>;

/// The recorder; it listens until the process ends.
#[derive(Clone, Debug)]
pub(crate) struct Recorder {
    connections: Arc<Mutex<Vec<Arc<Mutex<Transcript>>>>>,
}

impl Recorder {
    /// Listens at `socket` for the MTA and passes everything on to `filter`.
    pub(crate) fn start(socket: &Path, filter: &Path) -> Result<Recorder> {
        let listener = UnixListener::bind(socket)?;
        std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o666))?;
        let recorder = Recorder {
            connections: Arc::default(),
        };
        let (own, filter) = (recorder.clone(), PathBuf::from(filter));
        thread::spawn(move || {
            for mta in listener.incoming().flatten() {
                if own.connect(mta, &filter).is_err() {
                    return;
                }
            }
        });
        Ok(recorder)
    }

    fn connect(&self, mta: UnixStream, filter: &Path) -> Result<()> {
        let filter = UnixStream::connect(filter)?;
        let transcript = Arc::new(Mutex::new(Transcript::new()));
        if let Ok(mut all) = self.connections.lock() {
            all.push(Arc::clone(&transcript));
        }
        for (who, from, to) in [
            (From::Mta, mta.try_clone()?, filter.try_clone()?),
            (From::Filter, filter, mta),
        ] {
            let transcript = Arc::clone(&transcript);
            thread::spawn(move || pass(who, from, to, &transcript));
        }
        Ok(())
    }

    /// What was said so far, connection by connection.
    pub(crate) fn transcripts(&self) -> Vec<Transcript> {
        let all = self.connections.lock().map(|all| all.clone());
        (all.unwrap_or_default().iter())
            .filter_map(|one| one.lock().ok().map(|one| one.clone()))
            .collect()
    }
}

fn pass(who: From, mut from: UnixStream, mut to: UnixStream, transcript: &Mutex<Transcript>) {
    while let Ok(frame) = read(&mut from) {
        if let Ok(mut transcript) = transcript.lock() {
            transcript.push((who, frame.clone()));
        }
        if write(&mut to, &frame).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Both);
}

/// Reads one frame: command byte and data.
pub(crate) fn read(stream: &mut UnixStream) -> std::io::Result<Vec<u8>> {
    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let mut frame = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut frame)?;
    Ok(frame)
}

/// Writes one frame.
pub(crate) fn write(stream: &mut UnixStream, frame: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(frame.len()).unwrap_or(u32::MAX).to_be_bytes();
    stream.write_all(&[&length, frame].concat())
}

/// Transcripts as text: `> ` the MTA, `< ` the filter, an empty line between connections.
pub(crate) fn to_text(transcripts: &[Transcript]) -> String {
    let mut text = String::new();
    for transcript in transcripts {
        for (who, frame) in transcript {
            let mark = if *who == From::Mta { '>' } else { '<' };
            let _ = writeln!(text, "{mark} {}", escape(frame));
        }
        text.push('\n');
    }
    text
}

/// Reads what [`to_text`] wrote.
pub(crate) fn from_text(text: &str) -> Result<Vec<Transcript>> {
    let blocks = text.split("\n\n").filter(|block| !block.trim().is_empty());
    blocks
        .map(|block| {
            (block.lines().filter(|line| !line.starts_with('#')))
                .map(|line| {
                    let (mark, frame) = line.split_at_checked(2).context("a short line")?;
                    let who = if mark == "> " {
                        From::Mta
                    } else {
                        From::Filter
                    };
                    Ok((who, unescape(frame).with_context(|| line.to_owned())?))
                })
                .collect()
        })
        .collect()
}

/// Least equal lines in a row that are written once, as `\[times]line\[]`.
const RUN: usize = 4;

fn escape(frame: &[u8]) -> String {
    let mut text = String::new();
    let lines: Vec<&[u8]> = frame.split_inclusive(|byte| *byte == b'\n').collect();
    for run in lines.chunk_by(|a, b| a == b) {
        let line = run.first().map(|line| line.escape_ascii().to_string());
        let line = line.unwrap_or_default();
        if run.len() < RUN {
            text.extend(std::iter::repeat_n(line, run.len()));
        } else {
            let _ = write!(text, "\\[{}]{line}\\[]", run.len());
        }
    }
    text
}

fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    // Where a line begins that comes more than once, and how often.
    let mut run = None;
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'\\' {
            bytes.push(byte);
            continue;
        }
        bytes.push(match rest.next().context("an escape without an end")? {
            b'[' => {
                let digits: Vec<u8> = rest.by_ref().take_while(|byte| *byte != b']').collect();
                match run.take() {
                    None => run = Some((bytes.len(), std::str::from_utf8(&digits)?.parse()?)),
                    Some((start, times)) => {
                        let line = bytes.split_off(start);
                        bytes.extend(line.repeat(times));
                    }
                }
                continue;
            }
            b'n' => b'\n',
            b'r' => b'\r',
            b't' => b'\t',
            b'x' => {
                let digits: Vec<u8> = rest.by_ref().take(2).collect();
                u8::from_str_radix(std::str::from_utf8(&digits)?, 16)?
            }
            other => other,
        });
    }
    Ok(bytes)
}
