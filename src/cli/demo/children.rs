//! The child processes: the backend, and weir itself.
//!
//! **No child outlives the demo.** An orderly end closes the child's standard input, a dropped
//! handle kills it, and when the demo itself is killed, the kernel closes that pipe, which each
//! child watches.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io::{self, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::{ExitCode, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use clap::Args;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::setup::Setup;
use crate::cli::print;
use crate::load::backend;

/// How long a child may take to begin.
const START_LIMIT: Duration = Duration::from_secs(10);
/// How long it may take to end before it is killed.
const END_LIMIT: Duration = Duration::from_secs(2);
/// How many of its last lines are kept, to be shown if it fails.
const LINES_KEPT: usize = 12;

/// Makes the allocator return each block to the kernel when it is freed. Left to itself it keeps
/// blocks for a while, and the memory of the process says less about its requests.
const GIVE_BACK: (&str, &str) = ("_RJEM_MALLOC_CONF", "dirty_decay_ms:0,muzzy_decay_ms:0");

/// Arguments of the hidden `weir demo-backend`.
#[derive(Args, Clone, Copy, Debug)]
pub struct BackendArgs {
    /// How long one request takes
    #[arg(long)]
    pub service_ms: u64,
    /// How much memory it occupies meanwhile
    #[arg(long)]
    pub memory_bytes: u64,
}

/// The backend of the demo: serves a free loopback port, prints its address as the first line, and
/// ends when its standard input is closed.
pub async fn demo_backend(args: BackendArgs) -> ExitCode {
    exit_with_parent();
    let settings = backend::BackendSettings {
        service: Duration::from_millis(args.service_ms),
        memory_bytes: args.memory_bytes,
        ..backend::BackendSettings::default()
    };
    let backend = match backend::Backend::on_loopback(settings).await {
        Ok(backend) => backend,
        Err(error) => {
            print::err(format_args!(
                "weir demo-backend: no port of 127.0.0.1 can be opened: {error}"
            ));
            return ExitCode::from(super::EXIT_NOT_STARTED);
        }
    };
    let mut stdout = io::stdout();
    if writeln!(stdout, "{}", backend.address())
        .and_then(|()| stdout.flush())
        .is_err()
    {
        return ExitCode::from(super::EXIT_NOT_STARTED);
    }
    // Served until the thread of `exit_with_parent` ends the process.
    std::future::pending().await
}

/// Ends this process as soon as its standard input is closed. The demo holds the other end, and the
/// kernel closes that even when the demo is killed. To be called first by its children.
pub fn exit_with_parent() {
    std::thread::spawn(|| {
        // An error is an end as well.
        let _ = io::copy(&mut io::stdin().lock(), &mut io::sink());
        std::process::exit(0);
    });
}

/// A child that ends with its parent, and its last words.
struct Process {
    name: &'static str,
    child: Child,
    last_lines: Arc<Mutex<VecDeque<String>>>,
}

impl Process {
    fn start(
        name: &'static str,
        arguments: &[OsString],
        environment: &[(&str, &str)],
    ) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{name} could not be started: {error}");
        let mut command = Command::new(std::env::current_exe().map_err(failed)?);
        command.args(arguments);
        for (key, _) in std::env::vars_os() {
            if key.as_encoded_bytes().starts_with(b"WEIR_") {
                command.env_remove(key);
            }
        }
        let mut child = command
            .envs(environment.iter().copied())
            // Ctrl-C is for the demo alone, which then ends its children itself.
            .process_group(0)
            .kill_on_drop(true)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let last_lines = Arc::default();
        if let Some(stderr) = child.stderr.take() {
            keep_last_lines(stderr, Arc::clone(&last_lines));
        }
        Ok(Self {
            name,
            child,
            last_lines,
        })
    }

    fn pid(&self) -> u32 {
        // A child that ended and was waited for has no id; 0 is nobody's.
        self.child.id().unwrap_or(0)
    }

    /// Says that the child did not do what it should, with its last words.
    fn failure(&mut self, what: &str) -> String {
        let ended = match self.child.try_wait() {
            Ok(Some(status)) => format!(" ({status})"),
            _ => String::new(),
        };
        let lines = self
            .last_lines
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let mut text = format!("{} {what}{ended}", self.name);
        for line in lines.iter() {
            text.push_str("\n  ");
            text.push_str(line);
        }
        text
    }

    async fn end(mut self) {
        drop(self.child.stdin.take());
        // What has not ended by then is killed by being dropped.
        let _ = timeout(END_LIMIT, self.child.wait()).await;
    }
}

/// Reads what a child says until it ends, so that it never blocks on a full pipe.
fn keep_last_lines<R>(stream: R, last_lines: Arc<Mutex<VecDeque<String>>>)
where
    R: tokio::io::AsyncRead + Unpin + Send + 'static,
{
    tokio::spawn(async move {
        let mut lines = BufReader::new(stream).lines();
        while let Ok(Some(line)) = lines.next_line().await {
            let mut kept = last_lines.lock().unwrap_or_else(PoisonError::into_inner);
            if kept.len() == LINES_KEPT {
                kept.pop_front();
            }
            kept.push_back(line);
        }
    });
}

/// A fresh backend.
pub(super) struct Backend {
    process: Process,
    pub(super) address: SocketAddr,
}

impl Backend {
    pub(super) async fn start(setup: &Setup) -> Result<Self, String> {
        let arguments = [
            "demo-backend".into(),
            "--service-ms".into(),
            setup.service.as_millis().to_string().into(),
            "--memory-bytes".into(),
            setup.per_task_bytes.to_string().into(),
        ];
        let mut process = Process::start("the backend", &arguments, &[GIVE_BACK])?;
        let mut line = String::new();
        if let Some(stdout) = process.child.stdout.take() {
            let mut stdout = BufReader::new(stdout);
            // Nothing, or half a line, is no address, and said below.
            let _ = timeout(START_LIMIT, stdout.read_line(&mut line)).await;
        }
        match line.trim().parse() {
            Ok(address) => Ok(Self { process, address }),
            Err(_) => Err(process.failure("did not say where it listens")),
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.process.pid()
    }

    pub(super) async fn end(self) {
        self.process.end().await;
    }
}

/// weir, as anyone would run it.
pub(super) struct Weir {
    process: Process,
    pub(super) listen: SocketAddr,
    pub(super) admin: SocketAddr,
    settings: Vec<String>,
}

impl Weir {
    pub(super) async fn start(setup: &Setup, backend: &Backend) -> Result<Self, String> {
        let [listen, admin] = free_ports().map_err(|error| format!("no free port: {error}"))?;
        let mut settings = vec![
            format!("listen={listen}"),
            format!("upstream=http://{}", backend.address),
            format!("admin.listen={admin}"),
        ];
        settings.extend(setup.settings());
        let mut arguments = vec![OsString::from("demo-proxy")];
        for setting in &settings {
            arguments.extend([OsString::from("--set"), setting.into()]);
        }
        let mut process = Process::start("weir", &arguments, &[])?;
        if let Some(stdout) = process.child.stdout.take() {
            keep_last_lines(stdout, Arc::clone(&process.last_lines));
        }
        let mut weir = Self {
            process,
            listen,
            admin,
            settings,
        };
        weir.ready().await?;
        Ok(weir)
    }

    async fn ready(&mut self) -> Result<(), String> {
        let limit = Instant::now() + START_LIMIT;
        while super::half::get(self.admin, "/readyz").await.is_none() {
            let ended = !matches!(self.process.child.try_wait(), Ok(None));
            if ended || Instant::now() > limit {
                return Err(self.process.failure("did not become ready"));
            }
            sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// What to try while it is left running.
    pub(super) fn invitation(&self) -> String {
        let Self { listen, admin, .. } = self;
        format!(
            "weir and its backend stay until Ctrl-C. It runs as\n\n  weir run {}\n\nTry:\n\n  \
             curl -i http://{listen}/                     # one request\n  \
             seq 200 | xargs -P 200 -I{{}} curl -s -o /dev/null -w '%{{http_code}}\\n' \
             http://{listen}/ | sort | uniq -c\n  \
             curl -s http://{admin}/status               # permits, queue, rejects\n  \
             curl -s http://{admin}/metrics | grep ^weir_\n  \
             open http://{admin}/ in a browser",
            self.settings
                .iter()
                .map(|setting| format!("--set {setting}"))
                .collect::<Vec<_>>()
                .join(" "),
        )
    }

    pub(super) async fn end(self) {
        self.process.end().await;
    }
}

/// Two ports that were free a moment ago; held together, so that they differ.
fn free_ports() -> io::Result<[SocketAddr; 2]> {
    let bind = || std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0));
    let (one, two) = (bind()?, bind()?);
    Ok([one.local_addr()?, two.local_addr()?])
}
