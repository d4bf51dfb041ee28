//! Serving with the vendor's libmilter: one listener in a process, the library's own socket, and
//! its own way to stop. What it cannot do is in `docs/libmilter.md`.

use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::chown;
use std::panic::resume_unwind;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use nix::sys::signal::{SigSet, Signal};
use rustix::fs::Mode;
use rustix::process::umask;
use tokio::sync::oneshot;

use super::libmilter::{self, Failed};
use super::listener::{ListenAddress, ListenError, ListenerSettings, gid};
use super::{MilterSettings, PROGRESS};
use crate::service::Service;
use crate::socketfile;

/// Pause between two looks whether the library listens.
const LOOK: Duration = Duration::from_millis(10);

/// Why libmilter does not serve.
#[derive(Debug, thiserror::Error)]
pub enum LibmilterError {
    /// More listeners than the library has.
    #[error("libmilter serves one listener in a process, not {0}; run one process for each")]
    Listeners(usize),
    /// A socket that was opened by systemd.
    #[error("libmilter opens its socket itself; write unix: or inet: instead of systemd:")]
    Passed,
    /// The signals cannot be kept for the library.
    #[error("cannot block signals")]
    Signals(#[source] nix::errno::Errno),
    /// The socket cannot be opened or set up.
    #[error(transparent)]
    Socket(#[from] ListenError),
    /// The library gave up.
    #[error("libmilter does not serve at {0}; the system's log may say more")]
    Ended(String, #[source] Failed),
}

/// Keeps SIGTERM, SIGINT and SIGHUP for the library, all of which stop it. To be called before
/// the first thread is started: in any other thread they would end the process at once.
///
/// # Errors
/// When the system refuses.
pub fn block_signals() -> Result<(), LibmilterError> {
    let kept: SigSet = [Signal::SIGTERM, Signal::SIGINT, Signal::SIGHUP]
        .into_iter()
        .collect();
    kept.thread_block().map_err(LibmilterError::Signals)
}

/// The library, serving.
pub struct Vendor {
    address: String,
    door: ListenAddress,
    ended: oneshot::Receiver<Result<usize, Failed>>,
}

impl Vendor {
    /// Lets the library serve `wanted`, which is one listener; returns once it takes connections.
    ///
    /// # Errors
    /// When it cannot serve there.
    pub async fn open(
        wanted: &[ListenerSettings],
        settings: MilterSettings,
        service: Arc<Service>,
    ) -> Result<Vendor, LibmilterError> {
        let [listener] = wanted else {
            return Err(LibmilterError::Listeners(wanted.len()));
        };
        let address = listener.address.to_string();
        let failed = |source| ListenError::Bind {
            socket: address.clone(),
            source,
        };
        let place = match &listener.address {
            ListenAddress::Unix(path) => {
                // What can fail comes before another instance loses its socket.
                let group = listener.group.as_deref();
                group.map(|group| gid(path, group)).transpose()?;
                // An old file must not be mistaken for the new one.
                socketfile::remove_ours(path).map_err(failed)?;
                format!("unix:{}", path.display())
            }
            ListenAddress::Inet(SocketAddr::V4(at)) => format!("inet:{}@{}", at.port(), at.ip()),
            ListenAddress::Inet(SocketAddr::V6(at)) => format!("inet6:{}@{}", at.port(), at.ip()),
            ListenAddress::Systemd(_) => return Err(LibmilterError::Passed),
        };
        let (end, mut ended) = oneshot::channel();
        // The socket has its mode from the first moment: who finds it may connect.
        let _mask = Mask::for_mode(listener.mode);
        let role = listener.role;
        // Not a task of the runtime: it cannot be ended while the library serves.
        let serve = move || end.send(libmilter::run(&place, settings, service, role));
        let thread = thread::Builder::new().name("libmilter".into());
        thread.spawn(serve).map_err(failed)?;
        while !listens(&listener.address) {
            match ended.try_recv() {
                Err(oneshot::error::TryRecvError::Empty) => tokio::time::sleep(LOOK).await,
                ended => return Err(LibmilterError::Ended(address, why(ended))),
            }
        }
        hand_over(listener)?;
        Ok(Vendor {
            address,
            door: listener.address.clone(),
            ended,
        })
    }

    /// Returns where a client of this host reaches it.
    pub fn door(&self) -> ListenAddress {
        self.door.clone()
    }

    /// Returns where it listens, for the log.
    pub fn address(&self) -> String {
        self.address.clone()
    }

    /// Waits until a signal has stopped the library, which takes it up to 5 s. Returns how many
    /// sessions were cut off.
    ///
    /// # Errors
    /// When the library gave up.
    pub async fn wait(self) -> Result<usize, LibmilterError> {
        match self.ended.await {
            Ok(Ok(cut_off)) => Ok(cut_off),
            ended => Err(LibmilterError::Ended(self.address, why(ended))),
        }
    }
}

/// Why it ended. Without an error it was a signal, before it served.
fn why<E>(ended: Result<Result<usize, Failed>, E>) -> Failed {
    match ended {
        Ok(Err(failed)) => failed,
        Ok(Ok(_)) | Err(_) => "stopped".into(),
    }
}

fn listens(address: &ListenAddress) -> bool {
    match address {
        ListenAddress::Unix(path) => path.exists(),
        ListenAddress::Inet(address) => TcpStream::connect(address).is_ok(),
        ListenAddress::Systemd(_) => false,
    }
}

/// Gives the new socket to the group of those who may connect.
fn hand_over(listener: &ListenerSettings) -> Result<(), ListenError> {
    let (ListenAddress::Unix(path), Some(group)) = (&listener.address, &listener.group) else {
        return Ok(());
    };
    let failed = |source| ListenError::Bind {
        socket: listener.address.to_string(),
        source,
    };
    chown(path, None, Some(gid(path, group)?)).map_err(failed)
}

/// The umask of the process while the library makes its socket; nothing else makes files then.
struct Mask(Mode);

impl Mask {
    fn for_mode(mode: u32) -> Mask {
        Mask(umask(Mode::from_raw_mode(!mode & 0o777)))
    }
}

impl Drop for Mask {
    fn drop(&mut self) {
        umask(self.0);
    }
}

/// Does `work` and calls `progress` from time to time until it is done; panics when it does.
pub(super) fn with_progress<R: Send>(progress: impl Fn(), work: impl FnOnce() -> R + Send) -> R {
    thread::scope(|scope| {
        let (done, end) = mpsc::channel::<()>();
        let working = scope.spawn(move || {
            let result = work();
            drop(done);
            result
        });
        while end.recv_timeout(PROGRESS) == Err(mpsc::RecvTimeoutError::Timeout) {
            progress();
        }
        (working.join()).unwrap_or_else(|panic| resume_unwind(panic))
    })
}
