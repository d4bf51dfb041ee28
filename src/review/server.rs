//! The HTTP server: sockets, bounds on what a client may do to it, and its end.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router};
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinSet;

use crate::logging::event;
use crate::service::Service;
use crate::service::account::Accounts;
use crate::service::token::Tokens;
use crate::socketfile::SocketFile;

use super::access::{Peer, Seal};
use super::fields::LONGEST_FORM;
use super::session::Sessions;
use super::settings::{Listen, ReviewSettings};
use super::throttle::Throttle;
use super::{
    HASHES_AT_ONCE, LINK_FAILURES, LINK_WINDOW, LOGIN_FAILURES, LOGIN_WINDOW, Site, routes,
};

/// Connections at a time; the next ones wait in the queue of the socket.
const CONNECTIONS: usize = 256;
/// For browsers: a person reads, then clicks, and the slowest download is over in ten minutes.
const FOR_BROWSERS: Bounds = Bounds {
    keep_alive: true,
    header: Duration::from_secs(15),
    connection: Duration::from_secs(10 * 60),
};
/// Browsers send some twenty headers.
const HEADERS: usize = 64;
/// Octets of a request's header.
const HEADER_OCTETS: usize = 32 * 1024;
/// Requests under way may end for so long when we stop.
const DRAIN: Duration = Duration::from_secs(10);

/// Why the pages are not served.
#[derive(Debug, thiserror::Error)]
pub enum ReviewError {
    /// The address cannot be used.
    #[error("cannot listen on {listen} (review.listen)")]
    Listen {
        /// Where.
        listen: String,
        /// What the system said.
        source: io::Error,
    },
    /// Beyond this host, anybody could come without encryption.
    #[error(
        "review.listen {0} can be reached from other hosts; list the proxies that may in review.trusted_proxies"
    )]
    Open(String),
    /// There is nowhere to listen.
    #[error("review.listen is not set")]
    Off,
    /// The system gives no random numbers.
    #[error("the system gives no random numbers: {0}")]
    Random(String),
}

/// The pages, listening and not yet serving.
pub struct Review {
    site: Arc<Site>,
    server: Server,
}

/// A socket that HTTP is spoken at, before and while it is.
pub(super) struct Server {
    socket: Socket,
    listen: Listen,
    bounds: Bounds,
}

/// What one client may take of us.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    /// Whether one connection may ask more than once.
    pub(super) keep_alive: bool,
    /// A request's header must be there after so long; an idle connection ends after it.
    pub(super) header: Duration,
    /// No connection lives longer.
    pub(super) connection: Duration,
}

enum Socket {
    Inet(TcpListener),
    Unix {
        listener: UnixListener,
        _file: SocketFile,
    },
}

impl Review {
    /// Opens the socket. Call it inside of a Tokio runtime.
    ///
    /// # Errors
    /// The socket cannot be opened, or would be open to everybody.
    pub async fn open(
        mut settings: ReviewSettings,
        service: Arc<Service>,
        tokens: Arc<Tokens>,
    ) -> Result<Review, ReviewError> {
        let listen = settings.listen.clone().ok_or(ReviewError::Off)?;
        if let Listen::Inet(address) = &listen
            && !address.ip().is_loopback()
            && settings.trusted_proxies.is_empty()
        {
            return Err(ReviewError::Open(listen.to_string()));
        }
        let error = |source| ReviewError::Listen {
            listen: listen.to_string(),
            source,
        };
        let server = Server::open(&listen, FOR_BROWSERS).await.map_err(error)?;
        // Port 0 became a real one.
        settings.listen = Some(server.address().clone());
        let seal = Seal::random().map_err(|error| ReviewError::Random(error.to_string()))?;
        let site = Site {
            accounts: Accounts::new(&service.quarantine().settings().dir),
            settings,
            service,
            tokens,
            sessions: Sessions::default(),
            seal,
            hashing: Semaphore::new(HASHES_AT_ONCE),
            logins: Throttle::new(LOGIN_FAILURES, LOGIN_WINDOW),
            links: Throttle::new(LINK_FAILURES, LINK_WINDOW),
        };
        Ok(Review {
            site: Arc::new(site),
            server,
        })
    }

    /// Returns where it listens, with the port that was found for port 0.
    pub fn address(&self) -> String {
        self.site
            .settings
            .listen
            .as_ref()
            .map_or(String::new(), ToString::to_string)
    }

    /// Serves until `stop` ends; requests under way then have ten seconds.
    pub async fn serve(self, stop: impl Future<Output = ()>) {
        let log = self.site.service.log().clone();
        let app = routes(Arc::clone(&self.site)).layer(DefaultBodyLimit::max(LONGEST_FORM));
        self.server.serve(app, &log, stop).await;
    }
}

impl Server {
    /// Opens the socket.
    pub(super) async fn open(listen: &Listen, bounds: Bounds) -> io::Result<Server> {
        let (socket, listen) = match listen {
            Listen::Inet(address) => {
                let listener = TcpListener::bind(address).await?;
                let address = listener.local_addr()?;
                (Socket::Inet(listener), Listen::Inet(address))
            }
            Listen::Unix(path) => {
                let (listener, _file) = bind(path)?;
                (Socket::Unix { listener, _file }, listen.clone())
            }
        };
        Ok(Server {
            socket,
            listen,
            bounds,
        })
    }

    /// Returns where it listens, with the port that was found for port 0.
    pub(super) fn address(&self) -> &Listen {
        &self.listen
    }

    /// Serves `app` until `stop` ends; requests under way then have ten seconds.
    pub(super) async fn serve(
        self,
        app: Router,
        log: &slog::Logger,
        stop: impl Future<Output = ()>,
    ) {
        let (end, ending) = watch::channel(());
        let room = Arc::new(Semaphore::new(CONNECTIONS));
        let mut connections = JoinSet::new();
        let mut stop = pin!(stop);
        loop {
            let Ok(place) = Arc::clone(&room).acquire_owned().await else {
                break;
            };
            while connections.try_join_next().is_some() {}
            let accepted = tokio::select! {
                accepted = self.socket.accept() => accepted,
                () = &mut stop => break,
            };
            let app = app.clone();
            let ending = ending.clone();
            let bounds = self.bounds;
            match accepted {
                Ok(Accepted::Inet(stream, peer)) => connections.spawn(async move {
                    serve(stream, app, peer, bounds, ending).await;
                    drop(place);
                }),
                Ok(Accepted::Unix(stream)) => connections.spawn(async move {
                    serve(stream, app, Peer::Unix, bounds, ending).await;
                    drop(place);
                }),
                Err(error) => {
                    event::not_accepted(log, &self.listen.to_string(), &error);
                    // Out of file descriptors, mostly: trying again at once would only burn time.
                    tokio::time::sleep(Duration::from_millis(200)).await;
                    continue;
                }
            };
        }
        drop(end);
        let all = async { while connections.join_next().await.is_some() {} };
        let _ = tokio::time::timeout(DRAIN, all).await;
    }
}

enum Accepted {
    Inet(tokio::net::TcpStream, Peer),
    Unix(tokio::net::UnixStream),
}

impl Socket {
    async fn accept(&self) -> io::Result<Accepted> {
        match self {
            Socket::Inet(listener) => {
                let (stream, peer) = listener.accept().await?;
                Ok(Accepted::Inet(stream, Peer::Inet(peer.ip().to_canonical())))
            }
            Socket::Unix { listener, .. } => Ok(Accepted::Unix(listener.accept().await?.0)),
        }
    }
}

/// Serves one connection to its end, or to ours.
async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    app: Router,
    peer: Peer,
    bounds: Bounds,
    mut ending: watch::Receiver<()>,
) {
    let app = app.layer(Extension(peer));
    let service = TowerToHyperService::new(app);
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(bounds.keep_alive)
        .header_read_timeout(bounds.header)
        .max_headers(HEADERS)
        .max_buf_size(HEADER_OCTETS)
        .serve_connection(TokioIo::new(stream), service);
    let mut connection = pin!(connection);
    let whole = async {
        tokio::select! {
            // How a connection failed is the client's business.
            _ = connection.as_mut() => return,
            _ = ending.changed() => {}
        }
        connection.as_mut().graceful_shutdown();
        let _ = connection.await;
    };
    let _ = tokio::time::timeout(bounds.connection, whole).await;
}

/// Opens a UNIX socket for us and our group, over one that nobody listens on any more.
fn bind(path: &std::path::Path) -> io::Result<(UnixListener, SocketFile)> {
    if std::os::unix::net::UnixStream::connect(path).is_ok() {
        return Err(io::ErrorKind::AddrInUse.into());
    }
    let (listener, mut file) = SocketFile::bind(path, 0o660, None)?;
    file.put_in_place()?;
    Ok((UnixListener::from_std(listener)?, file))
}
