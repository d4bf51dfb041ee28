//! Start, reload and stop of the daemon.
//!
//! SIGTERM and SIGINT stop it: no new connections, and the open ones finish within the drain
//! time; a second signal cuts them off. SIGHUP reloads: the new configuration is checked as a
//! whole first, and when anything is wrong with it the old one stays.

mod sandbox;
mod watchdog;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use sd_notify::NotifyState;
use slog::Logger;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Notify, watch};

use crate::config::Config;
use crate::logging::{self, LogSettings, event};
use crate::metrics::{self, Loaded};
use crate::milter::listener::{ListenAddress, ListenerSettings, Way};
#[cfg(feature = "libmilter")]
use crate::milter::vendor::{self, Vendor};
use crate::milter::{Milter, MilterSettings, Probe};
use crate::notice::{NoticeError, NoticeSettings, Templates};
use crate::review::{Listen, Metrics, MetricsSettings, Review, ReviewSettings};
use crate::service::desk::Desk;
use crate::service::figures::Sources;
use crate::service::learning::{Learning, LearningSettings};
use crate::service::quarantine::{Quarantine, QuarantineSettings, Recovery};

use crate::service::token::Tokens;
use crate::service::worker::{Worker, WorkerSettings};
use crate::service::{Service, Snapshot};
use crate::smtp::Target;

use sandbox::Needs;

/// Pause between two looks at what is due: short enough that a confirmed mail seems to go at
/// once, and two indexed queries a second are nothing.
const TICK: Duration = Duration::from_secs(1);

/// The sections of the configuration that are read at the start and not at a reload.
pub const AT_START: &[&str] = &[
    "listeners",
    "limits",
    "quarantine",
    "worker",
    "notice",
    "review",
    "learning",
    "metrics",
    "log",
];

/// What stopping takes beside the open sessions: the last figures, what was learned.
const STOP_SLACK: Duration = Duration::from_secs(15);

/// Pause between two writes of what was learned: a crash loses so much at most.
const LEARN_TICK: Duration = Duration::from_secs(5);

/// So many of them make an hour, after which habits are looked at anew.
const LEARN_TICKS_OF_HABITS: u64 = 720;

/// Which processes run in this one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Duty {
    /// Judge mail. The process mail depends on.
    Milter,
    /// Everything that may wait.
    Worker,
    /// Both.
    Both,
}

/// Which library speaks the milter protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Library {
    /// indymilter, with listeners of our own.
    Indymilter,
    /// The system's libmilter, under the limits of `docs/libmilter.md`: SIGHUP stops it like
    /// SIGTERM, and SIGUSR1 reloads.
    #[cfg(feature = "libmilter")]
    Libmilter,
}

/// Runs until it is told to stop.
///
/// `path` is where `config` was read from and where a reload reads it again; without one, the
/// embedded default runs and there is nothing to reload.
///
/// # Errors
/// What keeps the daemon from starting: a socket, the quarantine, a template, the runtime.
pub fn run(
    path: Option<&Path>,
    config: Config,
    duty: Duty,
    library: Library,
) -> anyhow::Result<()> {
    #[cfg(feature = "libmilter")]
    if library == Library::Libmilter {
        vendor::block_signals()?;
    }
    let log = logging::logger(&config.log);
    log_panics(log.clone());
    let files = config.trust.files.clone();
    let (fixed, snapshot, loaded) = parts(config, &log);
    let quarantine =
        Quarantine::open(fixed.quarantine.clone(), now()).context("cannot open the quarantine")?;
    report_recovery(&log, quarantine.recovery());
    let quarantine = Arc::new(quarantine);
    let tokens = Tokens::open(&fixed.quarantine.dir, now()).context("cannot open the keys")?;
    let tokens = Arc::new(tokens);
    let desk = (fixed.notice.from.clone()).map(|from| Desk {
        from,
        tokens: Arc::clone(&tokens),
    });
    let worker = match duty {
        Duty::Milter => None,
        Duty::Worker | Duty::Both => Some(Arc::new(Worker::new(
            Arc::clone(&quarantine),
            fixed.worker.clone(),
            fixed.notice.clone(),
            templates(&fixed.notice).context("cannot use the templates")?,
            Arc::clone(&tokens),
            log.clone(),
        ))),
    };
    let learning = Learning::open(Arc::clone(&quarantine), fixed.learning.clone())
        .context("cannot open what was learned")?;
    let first_session = getrandom::u64().context("cannot draw a random number")?;
    let service = Service::new(snapshot, quarantine, desk, log, now, first_session)
        .with_learning(Arc::new(learning));
    service.counters.loaded(loaded);
    look_at_habits(&service);
    // Before the first thread: walls are around a thread and those it starts.
    let walls =
        sandbox::enter(&needs(path, &fixed, &files, duty)).context("cannot build the walls")?;
    event::walled(service.log(), walls.text());
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?;
    let milter = duty != Duty::Worker;
    let path = path.map(Path::to_owned);
    runtime.block_on(serve(
        path,
        fixed,
        Arc::new(service),
        tokens,
        milter.then_some(library),
        worker,
    ))
}

/// Returns what the processes of `duty` need of this host.
fn needs(path: Option<&Path>, fixed: &Fixed, files: &[PathBuf], duty: Duty) -> Needs {
    let mut needs = Needs {
        reads: path
            .map(Path::to_owned)
            .into_iter()
            .chain(files.iter().cloned())
            .collect(),
        own: fixed.quarantine.dir.clone(),
        ..Needs::default()
    };
    // A directory; reads are files.
    needs
        .reads
        .extend(fixed.notice.templates.iter().map(|dir| dir.join("notice")));
    if duty != Duty::Worker {
        for listener in &fixed.listeners {
            match &listener.address {
                ListenAddress::Unix(path) => needs.sockets.push(path.clone()),
                ListenAddress::Inet(address) => needs.listens.push(address.port()),
                // It is bound already, and the watchdog needs no network to reach it.
                ListenAddress::Systemd(_) => {}
            }
        }
    }
    if duty != Duty::Milter {
        if let Target::Tcp(target) = &fixed.quarantine.release_target {
            needs.connects = Some(target.clone());
        }
        let served = [&fixed.review.listen, &fixed.metrics.listen];
        for listen in served.into_iter().flatten() {
            match listen {
                Listen::Unix(path) => needs.sockets.push(path.clone()),
                Listen::Inet(address) => needs.listens.push(address.port()),
            }
        }
    }
    needs
}

async fn serve(
    path: Option<PathBuf>,
    fixed: Fixed,
    service: Arc<Service>,
    tokens: Arc<Tokens>,
    milter: Option<Library>,
    worker: Option<Arc<Worker>>,
) -> anyhow::Result<()> {
    let log = service.log().clone();
    // Before READY: a reload or stop right after it must find its handler.
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let reload = signal(match milter {
        #[cfg(feature = "libmilter")]
        Some(Library::Libmilter) => SignalKind::user_defined1(),
        Some(Library::Indymilter) | None => SignalKind::hangup(),
    })?;
    let judges = milter.is_some();
    let drain = fixed.limits.drain;
    // All that a start may fail at comes before the first door is opened: until then another
    // instance serves undisturbed.
    let mut ours = match milter {
        Some(Library::Indymilter) => Milter::bind(&fixed.listeners, fixed.limits, &log)?,
        #[cfg(feature = "libmilter")]
        Some(Library::Libmilter) => Milter::bind(&[], fixed.limits, &log)?,
        None => Milter::bind(&[], fixed.limits, &log)?,
    };
    // The pages belong to the worker: mail must not depend on them.
    let review = match (&fixed.review.listen, &worker) {
        (Some(_), Some(_)) => {
            let settings = fixed.review.clone();
            Some(Review::open(settings, Arc::clone(&service), tokens).await?)
        }
        _ => None,
    };
    let figures = match (&fixed.metrics.listen, &worker) {
        (Some(listen), Some(_)) => {
            let quarantine = Arc::clone(service.quarantine());
            let sources = Sources::new(quarantine, fixed.worker.keep_for);
            let metrics = Metrics::open(listen, sources, now).await;
            Some(metrics.with_context(|| format!("cannot listen on {listen} (metrics.listen)"))?)
        }
        _ => None,
    };
    ours.open()?;
    let mut milter = match milter {
        #[cfg(feature = "libmilter")]
        Some(Library::Libmilter) => {
            let (wanted, service) = (&fixed.listeners, Arc::clone(&service));
            Serving::Theirs(Vendor::open(wanted, fixed.limits, service).await?)
        }
        Some(Library::Indymilter) | None => Serving::Ours(ours),
    };
    if let Some(review) = &review {
        event::review_started(&log, &review.address());
    }
    if let Some(metrics) = &figures {
        event::metrics_started(&log, &metrics.address());
    }
    match &milter {
        Serving::Ours(milter) => event::started(&log, milter.addresses()),
        #[cfg(feature = "libmilter")]
        Serving::Theirs(vendor) => event::started(&log, std::iter::once(vendor.address())),
    }
    let probe = judges
        .then(|| {
            let probe = Probe::new(&service, milter.ways());
            probe.map(|probe| match &milter {
                Serving::Ours(milter) => probe.unless_full(milter.sessions()),
                #[cfg(feature = "libmilter")]
                Serving::Theirs(_) => probe,
            })
        })
        .transpose()?;
    notify(&[NotifyState::Ready]);
    let watchdog = tokio::spawn(watchdog::run(probe, worker.clone(), log.clone()));

    let changed = Arc::new(Notify::new());
    let reloads = tokio::spawn(reload_on(
        reload,
        path,
        fixed,
        Arc::clone(&service),
        worker.clone(),
        Arc::clone(&changed),
    ));
    let (stop, mut stopped) = watch::channel(0_u32);
    let mut cut = stop.subscribe();
    let working = worker.map(|worker| tokio::spawn(work(worker, log.clone(), stop.subscribe())));
    let learns = judges.then(|| tokio::spawn(learn(Arc::clone(&service), stop.subscribe())));
    #[cfg(feature = "libmilter")]
    let ended = stop.clone();
    let mut leave = stop.subscribe();
    let pages = review.map(|review| {
        tokio::spawn(review.serve(async move {
            let _ = leave.wait_for(|count| *count >= 1).await;
        }))
    });
    let mut leave = stop.subscribe();
    let figures = figures.map(|metrics| {
        tokio::spawn(metrics.serve(log.clone(), async move {
            let _ = leave.wait_for(|count| *count >= 1).await;
        }))
    });
    let publishing = judges.then(|| tokio::spawn(publish(Arc::clone(&service), changed)));
    let stops = tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            stop.send_modify(|count| *count += 1);
        }
    });
    // systemd would kill the open sessions after TimeoutStopSec, which knows nothing of ours.
    let stops_within = drain.saturating_add(STOP_SLACK).as_micros();
    let stopping = async {
        // An error would mean that nobody listens for signals any more: a stop as well.
        let _ = stopped.wait_for(|count| *count >= 1).await;
        notify(&[
            NotifyState::Stopping,
            NotifyState::ExtendTimeoutUsec(stops_within.try_into().unwrap_or(u32::MAX)),
        ]);
        watchdog.abort();
        event::stopping(&log);
    };
    let cut = async {
        let _ = cut.wait_for(|count| *count >= 2).await;
    };
    let cut_off: anyhow::Result<usize> = match milter {
        Serving::Ours(milter) => Ok(milter.serve(Arc::clone(&service), stopping, cut).await),
        #[cfg(feature = "libmilter")]
        Serving::Theirs(vendor) => {
            // The library has taken the signal.
            let served = vendor.wait().await;
            ended.send_modify(|count| *count += 1);
            stopping.await;
            served.map_err(Into::into)
        }
    };
    reloads.abort();
    if let Some(working) = working {
        // It ends by itself after what it is doing; a delivery is not cut in two.
        let _ = working.await;
    }
    for serving in [pages, figures].into_iter().flatten() {
        let _ = serving.await;
    }
    if let Some(publishing) = publishing {
        publishing.abort();
        // What was counted last; that it cannot be written was logged before.
        let _ = service.publish();
    }
    if let Some(learns) = learns {
        let _ = learns.await;
        // What the last sessions taught.
        write_learned(&service);
    }
    stops.abort();
    event::stopped(&log, &service.counts(), cut_off?);
    Ok(())
}

/// Who speaks with the MTA.
enum Serving {
    Ours(Milter),
    #[cfg(feature = "libmilter")]
    Theirs(Vendor),
}

impl Serving {
    /// Returns how a session of our own comes to each listener.
    fn ways(&mut self) -> Vec<Way> {
        match self {
            Serving::Ours(milter) => milter.ways(),
            #[cfg(feature = "libmilter")]
            Serving::Theirs(vendor) => vec![Way::Connect(vendor.door())],
        }
    }
}

/// Lets the worker do what is due, every second, until the first stop.
async fn work(worker: Arc<Worker>, log: Logger, mut stop: watch::Receiver<u32>) {
    loop {
        let ticking = Arc::clone(&worker);
        match tokio::task::spawn_blocking(move || ticking.tick(now())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => event::worker_failed(&log, &error),
            Err(panic) => event::worker_failed(&log, &panic),
        }
        tokio::select! {
            () = tokio::time::sleep(TICK) => {}
            _ = stop.wait_for(|count| *count >= 1) => return,
        }
    }
}

/// Writes what passing mail taught, every few seconds, until the first stop; once an hour looks
/// what it comes to.
async fn learn(service: Arc<Service>, mut stop: watch::Receiver<u32>) {
    for tick in 1_u64.. {
        tokio::select! {
            () = tokio::time::sleep(LEARN_TICK) => {}
            _ = stop.wait_for(|count| *count >= 1) => return,
        }
        let working = Arc::clone(&service);
        let done = tokio::task::spawn_blocking(move || {
            write_learned(&working);
            if tick % LEARN_TICKS_OF_HABITS == 0 {
                look_at_habits(&working);
            }
        });
        if let Err(panic) = done.await {
            event::not_learned(service.log(), &panic);
        }
    }
}

fn write_learned(service: &Service) {
    if let Err(error) = service.write_learned() {
        event::not_learned(service.log(), &error);
    }
}

/// Forgets what is too old and tells the scorer which names are in use.
fn look_at_habits(service: &Service) {
    let Some(learning) = service.learning() else {
        return;
    };
    let looked = learning
        .prune(service.now())
        .and_then(|()| learning.refresh());
    match looked {
        Ok(()) => service.inform(),
        Err(error) => event::not_learned(service.log(), &error),
    }
}

/// Writes what the milter counted, every few seconds, beside the work and never in its way.
async fn publish(service: Arc<Service>, changed: Arc<Notify>) {
    loop {
        let counting = Arc::clone(&service);
        match tokio::task::spawn_blocking(move || counting.publish()).await {
            Ok(Ok(())) | Err(_) => {}
            Ok(Err(error)) => event::not_published(service.log(), &error),
        }
        // At once after a reload, which somebody waits for.
        let _ = tokio::time::timeout(metrics::EVERY, changed.notified()).await;
    }
}

fn templates(settings: &NoticeSettings) -> Result<Templates, NoticeError> {
    match &settings.templates {
        Some(dir) => Templates::load(dir),
        None => Templates::built_in(),
    }
}

/// What is read only at the start.
#[derive(Debug, PartialEq)]
struct Fixed {
    listeners: Vec<ListenerSettings>,
    limits: MilterSettings,
    quarantine: QuarantineSettings,
    worker: WorkerSettings,
    notice: NoticeSettings,
    review: ReviewSettings,
    learning: LearningSettings,
    metrics: MetricsSettings,
    log: LogSettings,
}

impl Fixed {
    /// Returns the sections that differ in `new` and so need a restart to take effect.
    fn changed(&self, new: &Fixed) -> Vec<&'static str> {
        // The site's own domains belong to `trusted`, and are handed on to the worker.
        let worker = WorkerSettings {
            own: self.worker.own.clone(),
            ..new.worker.clone()
        };
        let differs = [
            self.listeners != new.listeners,
            self.limits != new.limits,
            self.quarantine != new.quarantine,
            self.worker != worker,
            self.notice != new.notice,
            self.review != new.review,
            self.learning != new.learning,
            self.metrics != new.metrics,
            self.log != new.log,
        ];
        (AT_START.iter().zip(differs))
            .filter_map(|(section, differs)| differs.then_some(*section))
            .collect()
    }
}

/// Takes a configuration apart: what stays until the next start, and the rules.
fn parts(config: Config, log: &Logger) -> (Fixed, Snapshot, Loaded) {
    for warning in &config.warnings {
        event::config_warning(log, warning);
    }
    let fixed = Fixed {
        listeners: config.listeners.clone(),
        limits: config.limits,
        quarantine: config.quarantine.clone(),
        worker: config.worker.clone(),
        notice: config.notice.clone(),
        review: config.review.clone(),
        learning: config.learning.clone(),
        metrics: config.metrics.clone(),
        log: config.log,
    };
    let suffixes = std::fs::metadata(&config.trust.suffixes_from).and_then(|meta| meta.modified());
    let loaded = Loaded {
        trusted: config
            .trust
            .list
            .entries()
            .len()
            .try_into()
            .unwrap_or(u64::MAX),
        suffixes_written_at: suffixes.ok().and_then(|at| Timestamp::try_from(at).ok()),
        ..Loaded::at(now())
    };
    (fixed, config.into_rules(), loaded)
}

fn report_recovery(log: &Logger, recovery: &Recovery) {
    if let Some(kept_as) = &recovery.index_kept_as {
        event::index_replaced(log, kept_as);
    }
    for damaged in &recovery.damaged {
        event::damaged(log, damaged);
    }
    if recovery.entries_rebuilt > 0 {
        event::rebuilt(log, recovery.entries_rebuilt);
    }
}

/// Reloads on every SIGHUP (SIGUSR1 with libmilter).
async fn reload_on(
    mut asked: Signal,
    path: Option<PathBuf>,
    running: Fixed,
    service: Arc<Service>,
    worker: Option<Arc<Worker>>,
    changed: Arc<Notify>,
) {
    while asked.recv().await.is_some() {
        let Some(path) = path.clone() else {
            event::nothing_to_reload(service.log());
            continue;
        };
        if let Ok(since) = NotifyState::monotonic_usec_now() {
            notify(&[NotifyState::Reloading, since]);
        }
        let log = service.log().clone();
        let load = move || Config::load(&path).map(|config| parts(config, &log));
        match tokio::task::spawn_blocking(load).await {
            Ok(Ok((fixed, snapshot, loaded))) => {
                service.reload(snapshot);
                service.counters.reloaded(loaded);
                let restart = running.changed(&fixed);
                if let Some(worker) = &worker {
                    worker.set_own(fixed.worker.own);
                }
                event::reloaded(service.log(), &service.counts(), &restart);
            }
            Ok(Err(errors)) => {
                service.counters.not_reloaded();
                event::not_reloaded(service.log(), &errors);
                if errors.to_string().contains("Permission denied") {
                    event::walls_in_the_way(service.log());
                }
            }
            Err(panic) => {
                service.counters.not_reloaded();
                event::not_reloaded(service.log(), &panic);
            }
        }
        changed.notify_one();
        notify(&[NotifyState::Ready]);
    }
}

/// Tells systemd, when it started us and wants to know.
fn notify(state: &[NotifyState<'_>]) {
    // Not being heard changes nothing for the mail.
    let _ = sd_notify::notify(state);
}

/// Sends panic messages to the log instead of raw to standard error: they may quote foreign
/// bytes.
fn log_panics(log: Logger) {
    std::panic::set_hook(Box::new(move |info| {
        let place = info.location().map(ToString::to_string);
        let payload = info.payload();
        let message = (payload.downcast_ref::<&str>().copied())
            .or(payload.downcast_ref::<String>().map(String::as_str));
        event::panic_at(
            &log,
            place.as_deref().unwrap_or("?"),
            message.unwrap_or("?"),
        );
    }));
}

#[expect(
    clippy::disallowed_methods,
    reason = "the daemon is where the time comes from"
)]
fn now() -> Timestamp {
    Timestamp::now()
}
