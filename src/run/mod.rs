//! The sidecar as a whole: everything is put together here, and taken apart in the right order.
//!
//! Workers have threads and runtimes of their own. One more runtime, on the calling thread,
//! accepts connections, answers on the admin port and follows signals; what may block, the reading
//! of the configuration, is done off it.

mod reload;

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::{self, Admin, Hooks};
use crate::config::{self, Config, Loaded, Machine, Problems, Sources, Watched};
use crate::gate::Gate;
use crate::lifecycle::{Lifecycle, Phase, Signals, Told};
use crate::proxy::{self, Proxy};
use crate::telemetry::log::{self, LastLines, LogControl};
use crate::telemetry::{Labels, PolicyFigures, Telemetry, events};
use reload::{Applied, Current};

/// How often the configuration is looked at. By content, so that the link swaps of a `ConfigMap`
/// are seen as well as edits.
const CONFIG_POLL: Duration = Duration::from_secs(1);

/// How often the gate is reminded that time passes, even if nobody comes.
const GATE_TICK: Duration = Duration::from_millis(250);

/// How often demand and overload are followed.
const TICK: Duration = Duration::from_secs(1);

/// How a run ended.
#[derive(Debug)]
pub enum Ended {
    /// As it was asked to, with nothing left over.
    Clean,
    /// The configuration cannot be used.
    InvalidConfig(Problems),
    /// Something that it needs could not be had.
    NotStarted(NotStarted),
    /// The drain ended with so many requests left over.
    LeftOver(u64),
    /// A second signal cut the drain short.
    Insisted,
}

/// What could not be had at the start.
#[derive(Debug)]
pub struct NotStarted {
    what: String,
    error: io::Error,
    remedy: &'static str,
}

impl fmt::Display for NotStarted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            what,
            error,
            remedy,
        } = self;
        write!(f, "{what}: {error}\n    Remedy: {remedy}")
    }
}

/// Runs the sidecar until it has drained. Blocks the calling thread.
#[must_use]
pub fn run(sources: Sources) -> Ended {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            return Ended::NotStarted(NotStarted {
                what: "the runtime of the control thread".to_owned(),
                error,
                remedy: "raise the limit on processes and descriptors",
            });
        }
    };
    let (ended, last_lines) = runtime.block_on(start(sources));
    // A file that hangs must not keep the process: what still reads one is left behind.
    runtime.shutdown_background();
    // Only now: what was logged to the end comes out.
    drop(last_lines);
    ended
}

async fn start(sources: Sources) -> (Ended, Option<LastLines>) {
    // Before anything else: a signal that comes early must not have its default effect.
    let signals = match Signals::listen() {
        Ok(signals) => signals,
        Err(error) => {
            let not_started = NotStarted {
                what: "signals".to_owned(),
                error,
                remedy: "raise the limit on descriptors",
            };
            return (Ended::NotStarted(not_started), None);
        }
    };
    let (watched, loaded) = config::load_watched(&sources, &Machine::this());
    let loaded = match loaded {
        Ok(loaded) => loaded,
        Err(problems) => return (Ended::InvalidConfig(problems), None),
    };
    let (log, last_lines) = match log::install(&loaded.config.log) {
        Ok(installed) => installed,
        Err(problem) => {
            let not_started = NotStarted {
                what: "log".to_owned(),
                error: io::Error::other(problem),
                remedy: "this is a bug of weir; please report it",
            };
            return (Ended::NotStarted(not_started), None);
        }
    };
    log_warnings(&loaded);
    let ended = serve(sources, loaded, watched, signals, log)
        .await
        .unwrap_or_else(Ended::NotStarted);
    (ended, Some(last_lines))
}

/// What the parts of a running sidecar share.
struct Sidecar {
    gate: Gate,
    telemetry: Arc<Telemetry>,
    proxy: Proxy,
    lifecycle: Lifecycle,
    current: Current,
    log: LogControl,
    /// One configuration is put into effect after the other.
    applying: Mutex<()>,
    /// Somebody asked for a drain by the admin port.
    asked_to_drain: Notify,
    /// Somebody asked for a reload by a signal.
    asked_to_reload: Notify,
}

async fn serve(
    sources: Sources,
    loaded: Loaded,
    watched: Watched,
    mut signals: Signals,
    log: LogControl,
) -> Result<Ended, NotStarted> {
    let config = &loaded.config;
    let admin_settings = config.admin.clone();
    let data_port = bind("listen", config.listen)?;
    let admin_port = bind("admin.listen", admin_settings.listen)?;

    let telemetry = Arc::new(Telemetry::new());
    telemetry.set_access_log(config.log.access);
    let gate = Gate::new(config.budget, config.rules.clone());
    telemetry.set_labels(&labels(config), &PolicyFigures::default());
    let proxy = Proxy::start(
        gate.clone(),
        telemetry.clone(),
        config.proxy.clone(),
        config.workers,
        Instant::now,
    )
    .map_err(|error| NotStarted {
        what: format!("workers = {}", config.workers),
        error,
        remedy: "lower workers, or raise the limit on processes and descriptors",
    })?;
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        listen = %data_port.local_addr().unwrap_or(config.listen),
        admin = %admin_port.local_addr().unwrap_or(admin_settings.listen),
        workers = config.workers,
        permits = config.budget.permit_limit(),
        "serving"
    );
    let sidecar = Arc::new(Sidecar {
        gate,
        telemetry,
        proxy,
        lifecycle: Lifecycle::default(),
        current: Current::new(sources, loaded, watched),
        log,
        applying: Mutex::new(()),
        asked_to_drain: Notify::new(),
        asked_to_reload: Notify::new(),
    });
    tokio::spawn(accept(sidecar.clone(), data_port));
    tokio::spawn(keep_up(sidecar.clone()));
    tokio::spawn(watch_config(sidecar.clone()));
    let admin = Arc::new(admin_of(&sidecar, admin_settings.remote_control));
    let served = tokio::spawn({
        let sidecar = sidecar.clone();
        async move {
            let over = async move { sidecar.lifecycle.reached(Phase::Stopped).await };
            admin::serve(admin_port, admin, over).await;
        }
    });
    let ended = live(&sidecar, &mut signals).await;
    served.abort();
    Ok(ended)
}

fn bind(key: &str, address: SocketAddr) -> Result<TcpListener, NotStarted> {
    proxy::bind(address).map_err(|error| NotStarted {
        what: format!("{key} = {address}"),
        remedy: match error.kind() {
            io::ErrorKind::AddrInUse => {
                "another process listens there; stop it, or choose another port"
            }
            io::ErrorKind::PermissionDenied => "choose a port above 1023",
            io::ErrorKind::AddrNotAvailable => "choose an address of this host, such as 0.0.0.0",
            _ => "choose another address or port",
        },
        error,
    })
}

/// Serves until told to go, then drains. A second word ends it at once.
async fn live(sidecar: &Arc<Sidecar>, signals: &mut Signals) -> Ended {
    let mut signalled = false;
    loop {
        tokio::select! {
            told = signals.next() => match told {
                Told::Terminate => {
                    signalled = true;
                    break;
                }
                Told::Reload => sidecar.asked_to_reload.notify_one(),
            },
            () = sidecar.asked_to_drain.notified() => break,
        }
    }
    let settings = sidecar.current.drain_settings();
    let mut draining = std::pin::pin!(sidecar.proxy.drain(&sidecar.lifecycle, &settings));
    loop {
        tokio::select! {
            left = &mut draining => {
                if left == 0 {
                    return Ended::Clean;
                }
                tracing::error!(requests = left, "requests were left over at the end of the drain");
                return Ended::LeftOver(left);
            }
            told = signals.next() => match told {
                Told::Terminate if signalled => {
                    tracing::error!("ended at once by a second signal");
                    return Ended::Insisted;
                }
                Told::Terminate => signalled = true,
                Told::Reload => sidecar.asked_to_reload.notify_one(),
            },
        }
    }
}

/// Takes connections until the drain has no more use for them.
async fn accept(sidecar: Arc<Sidecar>, listener: TcpListener) {
    let draining = sidecar.lifecycle.reached(Phase::Draining);
    sidecar.proxy.accept(listener, draining).await;
}

/// What has to be done now and then.
async fn keep_up(sidecar: Arc<Sidecar>) {
    let phases = sidecar.lifecycle.subscribe();
    let mut phase = *phases.borrow();
    let (mut gate_tick, mut tick) = (interval(GATE_TICK), interval(TICK));
    let mut entered = sidecar.lifecycle.subscribe();
    loop {
        tokio::select! {
            _ = gate_tick.tick() => sidecar.gate.tick(),
            now = tick.tick() => {
                let figures = admin::figures(&sidecar.gate, phase);
                sidecar.telemetry.tick(now.into_std(), &figures);
            }
            changed = entered.changed() => {
                if changed.is_err() {
                    return;
                }
                phase = *entered.borrow_and_update();
                events::phase_entered(phase.label());
            }
        }
    }
}

/// Reads the configuration again when its files change, or when told to. Off this thread: a file
/// may hang, and then nothing else must.
async fn watch_config(sidecar: Arc<Sidecar>) {
    let mut poll = interval(CONFIG_POLL);
    poll.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let is_told = tokio::select! {
            _ = poll.tick() => false,
            () = sidecar.asked_to_reload.notified() => true,
        };
        let sidecar = sidecar.clone();
        let looked = spawn_blocking(move || {
            if is_told || sidecar.current.has_changed() {
                // The log has what came of it.
                let _ = sidecar.reload();
            }
        });
        if let Err(error) = looked.await {
            tracing::error!(%error, "the configuration could not be looked at");
        }
    }
}

/// What metrics name classes and tenants by.
fn labels(config: &Config) -> Labels {
    let classes = config.policy.classes.iter();
    let tenants = config.policy.tenants;
    Labels {
        classes: classes.map(|class| class.name.clone()).collect(),
        tenants: tenants.map(|tenants| tenants.top),
    }
}

fn log_warnings(loaded: &Loaded) {
    for warning in &loaded.warnings {
        tracing::warn!(key = warning.key, "configuration: {}", warning.one_line());
    }
}

impl Sidecar {
    /// Reads the configuration again and puts into effect what can be. An invalid one changes
    /// nothing.
    fn reload(&self) -> Result<Value, Problems> {
        // Until all of it is in effect: what two reloads left behind would be of both.
        let _one_at_a_time = self.applying.lock().unwrap_or_else(PoisonError::into_inner);
        let applied = match self.current.reload() {
            Ok(applied) => applied,
            Err(problems) => {
                events::reload_failed(&self.telemetry, &problems.lines());
                return Err(problems);
            }
        };
        let Applied { loaded, changes } = applied;
        let config = &loaded.config;
        let phase = *self.lifecycle.subscribe().borrow();
        let before = admin::figures(&self.gate, phase).policy;
        self.telemetry.set_labels(&labels(config), &before);
        self.gate.set_rules(config.rules.clone());
        self.gate.resize(config.budget);
        self.proxy.reconfigure(config.proxy.clone());
        self.proxy.follow_gate();
        self.telemetry.set_access_log(config.log.access);
        // Not otherwise: a level set by the admin port is to outlive other changes.
        if changes.applied.iter().any(|key| key == "log.level")
            && let Err(problem) = self.log.set_level(&config.log.level)
        {
            tracing::warn!(problem, "log.level stays as it was");
        }
        let permits = config.budget.permit_limit();
        events::reloaded(
            &self.telemetry,
            &changes.applied,
            &changes.needs_restart,
            permits,
        );
        log_warnings(&loaded);
        Ok(json!({
            "applied": changes.applied,
            "needs_restart": changes.needs_restart,
            "permits": permits,
        }))
    }
}

fn admin_of(sidecar: &Arc<Sidecar>, remote_control: bool) -> Admin {
    let (reloads, drains, levels) = (sidecar.clone(), sidecar.clone(), sidecar.clone());
    let (health, shown) = (sidecar.clone(), sidecar.clone());
    let started = Instant::now();
    Admin {
        gate: sidecar.gate.clone(),
        telemetry: sidecar.telemetry.clone(),
        phase: sidecar.lifecycle.subscribe(),
        started,
        remote_control,
        hooks: Hooks {
            status_extra: Box::new(|| json!({})),
            config: Box::new(move || shown.current.to_json()),
            reload: Box::new(move || reloads.reload().map_err(|problems| problems.to_string())),
            drain: Box::new(move || drains.asked_to_drain.notify_one()),
            set_level: Box::new(move |level| levels.log.set_level(level)),
            healthy: Box::new(move || health.proxy.health()),
        },
    }
}
