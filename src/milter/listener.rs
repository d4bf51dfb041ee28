//! Sockets the MTA connects to.
//!
//! indymilter takes any listener; this one does what a mail server needs: running out of file
//! descriptors or a client that vanishes never ends the daemon, loopback TCP costs no Nagle or
//! delayed-ACK stall (90 ms a message), and on stop it closes the door while the open sessions
//! finish.

use std::fs;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use listenfd::ListenFd;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, Sleep};

use super::frames::Frames;
use crate::policy::Role;
use crate::socketfile::SocketFile;

/// Pause after the kernel refused to accept (no descriptors, no memory), so that a shortage
/// does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Most connections that wait to be accepted on a TCP port.
const BACKLOG: usize = 1024;

/// How long a new connection may stay silent. MTAs speak first and at once; port scanners and
/// health checks do not.
const FIRST_BYTE: Duration = Duration::from_secs(30);

/// One socket the MTA connects to, and what its mail is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerSettings {
    /// Where.
    pub address: ListenAddress,
    /// What for.
    pub role: Role,
    /// Permission bits of a UNIX socket; the MTA's user needs to write.
    pub mode: u32,
    /// Group that owns a UNIX socket; ours when `None`.
    pub group: Option<String>,
}

/// The address of a listener.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ListenAddress {
    /// A UNIX socket, by absolute path.
    Unix(PathBuf),
    /// A TCP address; the milter protocol knows no authentication, so loopback.
    Inet(SocketAddr),
    /// The nth socket, counted from 1, that systemd opened for us (sd_listen_fds(3)).
    Systemd(usize),
}

impl Default for ListenerSettings {
    fn default() -> Self {
        ListenerSettings {
            address: ListenAddress::Unix(PathBuf::from("/run/straymail/milter.sock")),
            role: Role::default(),
            mode: 0o660,
            group: None,
        }
    }
}

impl std::fmt::Display for ListenAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            ListenAddress::Unix(path) => write!(f, "unix:{}", path.display()),
            ListenAddress::Inet(address) => write!(f, "inet:{address}"),
            ListenAddress::Systemd(nth) => write!(f, "systemd:{nth}"),
        }
    }
}

/// Why a listener could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address or path cannot be bound.
    #[error("cannot listen at {socket}")]
    Bind {
        /// The address or path.
        socket: String,
        /// What the system said.
        source: io::Error,
    },
    /// The configured group does not exist.
    #[error("cannot give {} to group {group:?}: no such group in /etc/group", path.display())]
    NoGroup {
        /// Path of the socket.
        path: PathBuf,
        /// The group as configured.
        group: String,
    },
}

/// How a session of our own comes to a listener.
#[derive(Debug)]
pub enum Way {
    /// Through its door, like an MTA.
    Connect(ListenAddress),
    /// Beside the door: whatever is sent here is served as if it had been accepted.
    Inside(mpsc::Sender<UnixStream>),
}

impl std::fmt::Display for Way {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Way::Connect(address) => address.fmt(f),
            Way::Inside(_) => f.write_str("the socket of systemd"),
        }
    }
}

enum Door {
    Unix(BoundUnix),
    /// A port that is ours and where nobody can come yet.
    Kept(socket2::Socket),
    Inet(TcpListener),
    /// A socket that is systemd's to keep, and its file.
    PassedUnix(UnixListener),
    PassedInet(TcpListener),
    Closed,
}

/// A UNIX socket and its file.
struct BoundUnix {
    listener: UnixListener,
    file: SocketFile,
}

/// One more that is open; one less when dropped.
struct Counted(Arc<watch::Sender<usize>>);

impl Counted {
    fn new(open: &Arc<watch::Sender<usize>>) -> Counted {
        open.send_modify(|open| *open += 1);
        Counted(Arc::clone(open))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.send_modify(|open| *open = open.saturating_sub(1));
    }
}

/// A listener: its address is its own from [`Listener::bind`] on, and whoever comes there comes to
/// it from [`Listener::open`] on.
pub struct Listener {
    door: Door,
    /// Sessions of our own, where the door cannot be reached from here.
    inside: Option<mpsc::Receiver<UnixStream>>,
    /// Connections that were waiting when the door was closed.
    last: Vec<Stream>,
    /// Until the door is closed, more connections may come out of it.
    door_open: Option<Counted>,
    pause: Option<Pin<Box<Sleep>>>,
    stop: Pin<Box<dyn Future<Output = ()> + Send>>,
    open: Arc<watch::Sender<usize>>,
    hears: Hears,
}

/// What is worth a line in the log.
#[derive(Clone, Copy, Debug)]
pub enum Trouble<'t> {
    /// A connection could not be accepted.
    NotAccepted(&'t io::Error),
    /// The library ended a session although the other side went on; the command of the last
    /// frame, if there was one.
    NotUnderstood(Option<u8>),
}

/// Who hears of trouble.
type Hears = Arc<dyn Fn(Trouble<'_>) + Send + Sync>;

impl Listener {
    /// Binds the socket, without an effect on an instance that serves there.
    ///
    /// `passed` holds the sockets of systemd; `stop` ends accepting; `open` counts the doors and
    /// connections not yet closed; `hears` is told of trouble, but not of sessions that end
    /// after `stop`.
    ///
    /// # Errors
    /// When the socket cannot be bound or its file not be set up.
    pub fn bind(
        settings: &ListenerSettings,
        passed: &mut ListenFd,
        mut stop: watch::Receiver<bool>,
        open: Arc<watch::Sender<usize>>,
        hears: impl Fn(Trouble<'_>) + Send + Sync + 'static,
    ) -> Result<Listener, ListenError> {
        let failed = |source| ListenError::Bind {
            socket: settings.address.to_string(),
            source,
        };
        let door = match &settings.address {
            ListenAddress::Unix(path) => {
                let group = settings.group.as_deref();
                let gid = group.map(|group| gid(path, group)).transpose()?;
                Door::Unix(bind_unix(path, settings.mode, gid).map_err(failed)?)
            }
            ListenAddress::Inet(address) => Door::Kept(bind_inet(*address).map_err(failed)?),
            ListenAddress::Systemd(nth) => take_passed(passed, *nth).map_err(failed)?,
        };
        let stopped = stop.clone();
        let hears = Arc::new(move |trouble: Trouble<'_>| {
            if matches!(trouble, Trouble::NotAccepted(_)) || !*stopped.borrow() {
                hears(trouble);
            }
        });
        Ok(Listener {
            door,
            inside: None,
            last: Vec::new(),
            door_open: Some(Counted::new(&open)),
            pause: None,
            stop: Box::pin(async move {
                // An error means the sender is gone, which is a stop as well.
                let _ = stop.wait_for(|stop| *stop).await;
            }),
            open,
            hears,
        })
    }

    /// Opens the door.
    ///
    /// A UNIX socket is renamed to its place, so that a new instance takes over from a running
    /// one without a moment in which connecting fails.
    ///
    /// # Errors
    /// When the system refuses, or another program has come to the place.
    pub fn open(&mut self) -> io::Result<()> {
        match &mut self.door {
            Door::Unix(bound) => bound.file.put_in_place(),
            Door::Kept(socket) => {
                let listening = socket.try_clone()?;
                listening.listen(i32::try_from(BACKLOG).unwrap_or(i32::MAX))?;
                self.door = Door::Inet(TcpListener::from_std(listening.into())?);
                Ok(())
            }
            Door::Inet(_) | Door::PassedUnix(_) | Door::PassedInet(_) | Door::Closed => Ok(()),
        }
    }

    /// Closes the door, and lets in who already stands before it: the kernel would reset those
    /// connections, which an MTA answers with a 451.
    fn close(&mut self) {
        let waiting: Vec<io::Result<Wire>> = match std::mem::replace(&mut self.door, Door::Closed) {
            Door::Unix(bound) => {
                // First the name, so that nobody comes after the last.
                let BoundUnix { listener, file } = bound;
                drop(file);
                waiting_unix(listener)
            }
            Door::Inet(listener) => waiting_inet(listener),
            // systemd keeps the socket, and with it whoever waits there, for the next instance.
            Door::PassedUnix(_) | Door::PassedInet(_) | Door::Kept(_) | Door::Closed => Vec::new(),
        };
        for wire in waiting {
            match wire {
                Ok(wire) => self.last.push(self.stream(wire)),
                Err(error) => (self.hears)(Trouble::NotAccepted(&error)),
            }
        }
        self.door_open = None;
    }

    fn stream(&self, wire: Wire) -> Stream {
        Stream {
            wire,
            silence: Some(Box::pin(tokio::time::sleep_until(
                Instant::now() + FIRST_BYTE,
            ))),
            frames: Frames::default(),
            state: State::Waits,
            hears: Arc::clone(&self.hears),
            _counted: Counted::new(&self.open),
        }
    }

    /// Returns how a session of our own comes to it.
    ///
    /// A TCP socket that systemd passed is one of the host's, and the process may have no
    /// network to reach it by (`PrivateNetwork=`); a UNIX socket may have no name. Then a session
    /// is handed in beside the door.
    pub fn way(&mut self) -> Way {
        let address = match &self.door {
            Door::Unix(bound) => Some(ListenAddress::Unix(bound.file.path().to_owned())),
            Door::PassedUnix(listener) => (listener.local_addr().ok())
                .and_then(|address| Some(ListenAddress::Unix(address.as_pathname()?.to_owned()))),
            Door::Inet(_) | Door::Kept(_) => self.local_addr().map(ListenAddress::Inet),
            Door::PassedInet(_) | Door::Closed => None,
        };
        match address {
            Some(address) => Way::Connect(address),
            None => {
                let (hand_in, inside) = mpsc::channel(1);
                self.inside = Some(inside);
                Way::Inside(hand_in)
            }
        }
    }

    /// Returns the TCP address in use, which tells the port when 0 was asked for.
    pub fn local_addr(&self) -> Option<SocketAddr> {
        match &self.door {
            Door::Inet(listener) | Door::PassedInet(listener) => listener.local_addr().ok(),
            Door::Kept(socket) => socket.local_addr().ok()?.as_socket(),
            Door::Unix(_) | Door::PassedUnix(_) | Door::Closed => None,
        }
    }
}

pub(super) fn gid(socket: &Path, group: &str) -> Result<u32, ListenError> {
    let groups = fs::read_to_string("/etc/group").unwrap_or_default();
    (groups.lines())
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| *name == group)
        .find_map(|(_, rest)| rest.split(':').nth(1)?.parse().ok())
        .ok_or_else(|| ListenError::NoGroup {
            path: socket.to_owned(),
            group: group.to_owned(),
        })
}

fn bind_unix(path: &Path, mode: u32, gid: Option<u32>) -> io::Result<BoundUnix> {
    let (listener, file) = SocketFile::bind(path, mode, gid)?;
    Ok(BoundUnix {
        listener: UnixListener::from_std(listener)?,
        file,
    })
}

/// Accepts whoever waits at this moment, as the kernel knows it and not as the runtime has
/// heard of it so far.
fn waiting_unix(listener: UnixListener) -> Vec<io::Result<Wire>> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    waiting(|| {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        UnixStream::from_std(stream).map(Wire::Unix)
    })
}

/// As [`waiting_unix`].
fn waiting_inet(listener: TcpListener) -> Vec<io::Result<Wire>> {
    let Ok(listener) = listener.into_std() else {
        return Vec::new();
    };
    waiting(|| {
        let (stream, _) = listener.accept()?;
        stream.set_nonblocking(true)?;
        stream.set_nodelay(true)?;
        TcpStream::from_std(stream).map(Wire::Inet)
    })
}

fn waiting(mut accept: impl FnMut() -> io::Result<Wire>) -> Vec<io::Result<Wire>> {
    let mut waiting = Vec::new();
    // On a TCP port that a new instance shares, clients keep coming: no more than fit the queue.
    while waiting.len() < BACKLOG {
        match accept() {
            Ok(wire) => waiting.push(Ok(wire)),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
            // A client that vanished while waiting costs nothing.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                waiting.push(Err(error));
                break;
            }
        }
    }
    waiting
}

fn bind_inet(address: SocketAddr) -> io::Result<socket2::Socket> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    socket.set_reuse_address(true)?;
    // Lets a new instance listen before the old one has drained.
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

fn take_passed(passed: &mut ListenFd, nth: usize) -> io::Result<Door> {
    let missing = || {
        let message = "systemd passed no such socket; see straymail.socket";
        io::Error::new(io::ErrorKind::NotFound, message)
    };
    let at = nth.checked_sub(1).ok_or_else(missing)?;
    // A socket of the other family is an error and stays where it is.
    if let Ok(Some(listener)) = passed.take_unix_listener(at) {
        listener.set_nonblocking(true)?;
        return Ok(Door::PassedUnix(UnixListener::from_std(listener)?));
    }
    let listener = passed.take_tcp_listener(at)?.ok_or_else(missing)?;
    listener.set_nonblocking(true)?;
    Ok(Door::PassedInet(TcpListener::from_std(listener)?))
}

impl indymilter::Listener for Listener {
    type Io = Stream;

    fn poll_accept(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Stream>> {
        loop {
            if !matches!(self.door, Door::Closed) && self.stop.as_mut().poll(cx).is_ready() {
                self.close();
            }
            if let Some(stream) = self.last.pop() {
                return Poll::Ready(Ok(stream));
            }
            if let Some(inside) = &mut self.inside
                && let Poll::Ready(Some(stream)) = inside.poll_recv(cx)
            {
                return Poll::Ready(Ok(self.stream(Wire::Unix(stream))));
            }
            if let Some(pause) = &mut self.pause {
                ready!(pause.as_mut().poll(cx));
                self.pause = None;
            }
            let accepted = match &self.door {
                // Never ready again: the open sessions go on under the caller's time limit.
                Door::Closed | Door::Kept(_) => return Poll::Pending,
                Door::Unix(bound) => {
                    ready!(bound.listener.poll_accept(cx)).map(|(stream, _)| Wire::Unix(stream))
                }
                Door::PassedUnix(listener) => {
                    ready!(listener.poll_accept(cx)).map(|(stream, _)| Wire::Unix(stream))
                }
                Door::Inet(listener) | Door::PassedInet(listener) => {
                    ready!(listener.poll_accept(cx)).map(|(stream, _)| {
                        // Best effort: without the option the session is slower, not wrong.
                        let _ = stream.set_nodelay(true);
                        Wire::Inet(stream)
                    })
                }
            };
            match accepted {
                Ok(wire) => return Poll::Ready(Ok(self.stream(wire))),
                Err(error) => {
                    (self.hears)(Trouble::NotAccepted(&error));
                    // A client that vanished while waiting costs nothing; a shortage of
                    // descriptors or memory needs a moment to pass.
                    if error.kind() != io::ErrorKind::ConnectionAborted {
                        self.pause = Some(Box::pin(tokio::time::sleep(ACCEPT_PAUSE)));
                    }
                }
            }
        }
    }
}

enum Wire {
    Unix(UnixStream),
    Inet(TcpStream),
}

/// One connection of an MTA.
pub struct Stream {
    wire: Wire,
    /// Ends a connection that never says anything; gone with the first byte.
    silence: Option<Pin<Box<Sleep>>>,
    frames: Frames,
    state: State,
    hears: Hears,
    _counted: Counted,
}

/// Whose turn it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The other side is to send something.
    Waits,
    /// It has, and the library works on it.
    Has,
    /// It has closed the connection, or the connection is broken.
    Over,
}

impl Stream {
    fn poll_wire(&mut self, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let read = match &mut self.wire {
            Wire::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Wire::Inet(stream) => {
                let read = Pin::new(&mut *stream).poll_read(cx, buf);
                // The kernel forgets the option, so it is set again around each read: else the
                // MTA's second write waits for our delayed ACK (40 ms).
                let _ = socket2::SockRef::from(&*stream).set_tcp_quickack(true);
                read
            }
        };
        if read.is_ready() {
            self.silence = None;
        } else if let Some(limit) = &mut self.silence {
            ready!(limit.as_mut().poll(cx));
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        read
    }

    /// Notes a write that failed.
    fn written(&mut self, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if matches!(written, Poll::Ready(Err(_))) {
            self.state = State::Over;
        }
        written
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        // The library ends a session by itself over a frame it cannot read, and tells nobody. When
        // its time limit ends one, that waits.
        if self.state == State::Has && self.frames.last() != Some(b'Q') {
            (self.hears)(Trouble::NotUnderstood(self.frames.last()));
        }
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        // Without room, nothing read would not mean the end.
        if buf.remaining() == 0 {
            return Poll::Ready(Ok(()));
        }
        loop {
            if self.frames.give(buf) {
                self.state = State::Has;
                return Poll::Ready(Ok(()));
            }
            let before = buf.filled().len();
            let read = self.poll_wire(cx, buf);
            self.state = match read {
                Poll::Pending => State::Waits,
                Poll::Ready(Ok(())) if buf.filled().len() > before => State::Has,
                Poll::Ready(_) => State::Over,
            };
            ready!(read)?;
            if self.state == State::Over {
                self.frames.end();
                self.frames.give(buf);
                return Poll::Ready(Ok(()));
            }
            let new = buf.filled().get(before..).unwrap_or_default();
            let stands = self.frames.follow(new);
            buf.set_filled(before + stands);
            if stands > 0 {
                return Poll::Ready(Ok(()));
            }
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.wire {
            Wire::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Wire::Inet(stream) => Pin::new(stream).poll_write(cx, buf),
        };
        self.written(written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = match &mut self.wire {
            Wire::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Wire::Inet(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        };
        self.written(written)
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Sockets keep nothing back.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match &mut self.wire {
            Wire::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Wire::Inet(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
