//! Reload: a new target memory is in effect at once and exactly, whoever is in flight, and what
//! cannot be used changes nothing.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;

use super::support::client::Client;
use super::support::{SOON, Setup, Weir, backend};

/// What is promised.
const IN_EFFECT: Duration = Duration::from_secs(2);

/// As editors and deployment tools do it: never half a file.
fn write(file: &Path, text: &str) {
    let new = file.with_extension("new");
    fs::write(&new, text).expect("a writable directory");
    fs::rename(new, file).expect("the same directory");
}

fn permits(count: u64) -> String {
    format!("[memory]\ntarget_memory = \"{count}Mi\"\n")
}

async fn weir_with(file: &Path, upstream: &str) -> Weir {
    Setup::bare(upstream)
        .set("memory.memory_per_task", "1Mi")
        .set("memory.safety_factor", "1")
        .set("queue.max_wait", "60s")
        .set("drain.timeout", "60s")
        .set("drain.grace", "90s")
        .config(file)
        .start()
        .await
}

async fn until_limit(weir: &Weir, limit: u64, bound: Duration) {
    weir.until(&format!("a limit of {limit}"), bound, async |weir| {
        weir.metrics().await.sum("weir_permit_limit") == limit
    })
    .await;
}

/// Clients that ask again and again until they are told to stop.
struct Load {
    clients: JoinSet<()>,
    stop: Arc<AtomicBool>,
    served: Arc<AtomicU64>,
}

impl Load {
    async fn start(weir: &Weir) -> Self {
        let mut load = Self {
            clients: JoinSet::new(),
            stop: Arc::default(),
            served: Arc::default(),
        };
        for number in 0..16 {
            let mut client = Client::of(number % 2 == 0, weir.data).await;
            let (stop, served) = (load.stop.clone(), load.served.clone());
            load.clients.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let answer = client.get("/?sleep_ms=5").await.expect("an answer");
                    assert_eq!(answer.status, 200);
                    served.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        load
    }

    /// How many were served; a failed one fails the test.
    async fn stop(mut self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("every request was served");
        }
        self.served.load(Ordering::Relaxed)
    }
}

/// Fails when a shrink does not count what is in flight as debt (tried): then more are let through
/// than there are connections for.
#[tokio::test]
async fn fifty_new_targets_under_load() {
    let backend = backend().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("weir.toml");
    write(&file, &permits(8));
    let weir = weir_with(&file, &format!("http://{}", backend.address())).await;
    let load = Load::start(&weir).await;
    for round in 0..50 {
        // Up and down between 1 and 23, never twice the same.
        let limit = 1 + (round * 7 + 3) % 23;
        write(&file, &permits(limit));
        if round % 5 != 0 {
            weir.signal("HUP");
        }
        until_limit(&weir, limit, IN_EFFECT).await;
        if round == 25 {
            // What is in flight above a new limit ends by itself.
            weir.until("at most the limit in flight", SOON, async |weir| {
                let now = weir.figures().await;
                now.in_flight <= limit
            })
            .await;
        }
    }
    let served = load.stop().await;
    assert!(served > 500, "hardly any load: {served}");
    weir.assert_at_rest(served).await;
    assert_eq!(weir.outcome("served").await, served);
    let status = weir.status().await;
    assert_eq!(status["reload"]["failed"], 0);
    // A file that its hash has given away before the signal came is read a second time.
    let succeeded = status["reload"]["succeeded"].as_u64();
    assert!(
        succeeded.is_some_and(|times| (50..=100).contains(&times)),
        "{succeeded:?}"
    );
}

/// As the kubelet does it: the file is a link through `..data`, and that link is swapped.
#[tokio::test]
async fn the_swap_of_a_config_map_is_seen() {
    let backend = backend().await;
    let directory = tempfile::tempdir().expect("a directory");
    let root = directory.path();
    let swap = |version: u64| {
        let dated = root.join(format!("..{version}"));
        fs::create_dir(&dated).expect("a new directory");
        fs::write(dated.join("weir.toml"), permits(version)).expect("a file");
        symlink(&dated, root.join("..data_tmp")).expect("a link");
        fs::rename(root.join("..data_tmp"), root.join("..data")).expect("swapped");
    };
    swap(3);
    let file = root.join("weir.toml");
    symlink("..data/weir.toml", &file).expect("a link");
    let weir = weir_with(&file, &format!("http://{}", backend.address())).await;
    let load = Load::start(&weir).await;
    for version in [9, 2, 14] {
        swap(version);
        until_limit(&weir, version, IN_EFFECT).await;
    }
    let served = load.stop().await;
    weir.assert_at_rest(served).await;
}

#[tokio::test]
async fn a_broken_file_changes_nothing_and_is_explained() {
    let backend = backend().await;
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("weir.toml");
    write(&file, &permits(5));
    let weir = weir_with(&file, &format!("http://{}", backend.address())).await;
    let load = Load::start(&weir).await;
    let success = async |value: u64| {
        weir.until("weir_config_reload_success", IN_EFFECT, async |weir| {
            weir.metrics().await.sum("weir_config_reload_success") == value
        })
        .await;
    };
    success(1).await;

    write(
        &file,
        "[memory]\ntarget_memory = \"7Mb\"\n[queue]\nmax_wiat = \"1s\"\nmax_depth = -1\n",
    );
    success(0).await;
    let metrics = weir.metrics().await;
    assert_eq!(metrics.sum("weir_permit_limit"), 5);
    let log = weir.log();
    for key in ["memory.target_memory", "queue.max_wiat", "queue.max_depth"] {
        assert!(log.contains(key), "the log does not name {key}:\n{log}");
    }

    write(&file, &permits(6));
    success(1).await;
    until_limit(&weir, 6, IN_EFFECT).await;

    let text = format!("{}[limits]\nmax_connections = 77\n", permits(7));
    write(&file, &text);
    until_limit(&weir, 7, IN_EFFECT).await;
    weir.until("a warning that names the key", IN_EFFECT, async |weir| {
        let log = weir.log();
        log.lines()
            .any(|line| line.contains("WARN") && line.contains("limits.max_connections"))
    })
    .await;
    let served = load.stop().await;
    weir.assert_at_rest(served).await;
}
