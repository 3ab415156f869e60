//! A log that nobody reads: it costs lines of the log, and nothing else.

use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tokio::time::timeout;
use weir::load::backend::Backend;

use super::support::client::Client;
use super::support::raw::Raw;
use super::support::{SOON, Setup, Weir, backend, eventually};

/// More than a pipe and the lines that may wait for it have room for: a line of these has half a
/// KiB, and 2300 fit.
const REQUESTS: u64 = 3000;

const DROPPED: &str = "weir_log_lines_dropped_total";

fn setup(backend: &Backend) -> Setup {
    Setup::new(backend, 10)
        .set("log.access", "true")
        .set("drain.lame_duck", "0s")
        .set("drain.timeout", "20s")
}

/// Fails when a line is written by whoever logs it: then no request is answered once the pipe is
/// full.
async fn fill(weir: &Weir) {
    let path = format!("/{}", "x".repeat(240));
    let mut client = Client::http1(weir.data).await;
    for at in 0..REQUESTS {
        let answer = timeout(SOON, client.get(&path)).await;
        let answer = answer.unwrap_or_else(|_| panic!("no answer to request {at}"));
        assert_eq!(answer.expect("an answer").status, 200);
    }
    weir.assert_at_rest(REQUESTS).await;
}

/// Ends it by two signals while a request is in flight.
async fn insist(weir: &Weir) {
    let holder = Raw::get(weir.data, "/?sleep_ms=600000").await;
    weir.until_at(1, 0).await;
    weir.signal("TERM");
    weir.until("draining", SOON, async |weir| {
        weir.metrics().await.with("weir_phase", "\"draining\"") > 0
    })
    .await;
    weir.signal("TERM");
    assert_eq!(weir.exit_code(SOON).await, 5);
    drop(holder);
}

/// Every line, of which each is one JSON object.
fn parsed(log: &str) -> Vec<Value> {
    let parse = |line| serde_json::from_str(line).unwrap_or_else(|_| panic!("not whole: {line}"));
    log.lines().map(parse).collect()
}

#[tokio::test]
async fn nobody_waits_for_a_log_that_nobody_reads() {
    let backend = backend().await;
    let (weir, mut pipe) = setup(&backend).start_with_piped_log().await;
    fill(&weir).await;
    assert_eq!(weir.get("/livez").await.0, 200);
    assert!(weir.metrics().await.sum(DROPPED) > 0);

    weir.signal("TERM");
    assert_eq!(weir.exit_code(SOON).await, 0);

    let mut log = String::new();
    pipe.read_to_string(&mut log).expect("UTF-8");
    let lines = parsed(&log);
    assert!(log.ends_with('\n') && lines.len() > 10, "{}", lines.len());
    assert!(lines.iter().any(|line| line["message"] == "serving"));
}

/// Fails when a drain's bad end is told by a write that blocks.
#[tokio::test]
async fn a_second_signal_ends_it_though_nobody_reads_the_log() {
    let backend = backend().await;
    let (weir, _pipe) = setup(&backend).start_with_piped_log().await;
    fill(&weir).await;
    insist(&weir).await;
}

#[tokio::test]
async fn a_log_that_is_read_again_tells_what_it_lost() {
    let backend = backend().await;
    let (weir, pipe) = setup(&backend).start_with_piped_log().await;
    fill(&weir).await;
    let dropped = weir.metrics().await.sum(DROPPED);
    assert!(dropped > 0);

    let log = Arc::new(Mutex::new(String::new()));
    let reading = std::thread::spawn({
        let log = log.clone();
        move || {
            for line in BufReader::new(pipe).lines() {
                let mut log = log.lock().expect("not poisoned");
                log.push_str(&line.expect("UTF-8"));
                log.push('\n');
            }
        }
    });
    let has = |what| log.lock().expect("not poisoned").contains(what);
    eventually("it tells of the gap", SOON, || has("log lines dropped")).await;
    let mut client = Client::http1(weir.data).await;
    client.get("/after").await.expect("an answer");
    eventually("it goes on", SOON, || has("/after")).await;
    insist(&weir).await;
    reading.join().expect("the pipe was read");

    let log = log.lock().expect("not poisoned");
    let lines = parsed(&log);
    let gaps = lines.iter().filter(|line| {
        let message = line["message"].as_str().expect("each has one");
        message.starts_with("log lines dropped")
    });
    let told: Vec<u64> = gaps.filter_map(|line| line["count"].as_u64()).collect();
    assert_eq!(told.len(), 1, "once");
    assert_eq!(told[0].to_string(), dropped.to_string(), "the number");
    let served = lines.iter().filter(|line| line["status"] == 200).count();
    assert_eq!(served as u64 + told[0], REQUESTS + 1, "no other is missing");
    let has = |message| lines.iter().any(|line| line["message"] == message);
    assert!(has("ended at once by a second signal"), "the end came out");
}
