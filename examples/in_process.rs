//! The gate without the proxy: a service that limits its own work by memory.
//!
//! Run it with `cargo run --example in_process`.
//!
//! Twenty jobs arrive at once where memory allows three at a time. Each holds its permit **to the
//! end of its work**: a permit that is dropped earlier, say when a response begins, limits nothing.

use std::time::Duration;

use tokio::task::JoinSet;
use weir::admission::{Budget, Decimal, Discipline, RejectReason};
use weir::gate::{Cost, Gate, Rejected, Rules};

const MIB: u64 = 1 << 20;

/// Renders a page, say. What it allocates is what the permit stands for.
async fn work(gate: &Gate) -> Result<usize, Rejected> {
    let permit = gate.admit(Cost::Task).await?;
    let page = vec![1_u8; 16 << 20];
    tokio::time::sleep(Duration::from_millis(100)).await;
    let len = page.len();
    // In this order: first the memory goes, then the right to it.
    drop(page);
    drop(permit);
    Ok(len)
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let safety_factor = "0.8".parse::<Decimal>().expect("a decimal");
    let budget = Budget::new(64 * MIB, 16 * MIB, safety_factor).expect("at least one permit");
    let rules = Rules::of_one_class(Duration::from_millis(250), Discipline::Fifo);
    let gate = Gate::new(budget, rules);
    println!("permits: {}", gate.snapshot().permit_limit);

    let mut jobs = JoinSet::new();
    for _ in 0..20 {
        let gate = gate.clone();
        jobs.spawn(async move { work(&gate).await });
    }
    let (mut served, mut rejected) = (0, 0);
    let mut most_at_once = 0;
    while let Some(job) = jobs.join_next().await {
        match job.expect("no job panics") {
            Ok(_) => served += 1,
            Err(no) => {
                assert_eq!(no.reason, RejectReason::QueueWait);
                rejected += 1;
            }
        }
        most_at_once = most_at_once.max(gate.snapshot().in_flight);
    }
    println!("served: {served}, rejected: {rejected}, most seen at once: {most_at_once}");
    assert_eq!(served + rejected, 20);
    assert!(most_at_once <= gate.snapshot().permit_limit);
    assert_eq!(gate.snapshot().in_flight, 0);
}
