//! `weir drain`: tells a running weir to go, and may wait until it has.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};

use crate::admin::client::{self, ClientError};

/// Between two looks at a weir that is draining.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks in a row that may fail without the port being closed.
const FAILURES_MAX: u32 = 10;

/// Begins the drain. With `wait`, comes back when the admin port is closed, which is the last
/// thing that weir does. Exit code 0 if it drains or is gone, else 1 with the reason.
pub async fn drain(admin: SocketAddr, wait: bool) -> ExitCode {
    match client::request(admin, Method::POST, "/drain", "").await {
        Ok(reply) if reply.status.is_success() => {}
        Ok(reply) if reply.status == StatusCode::FORBIDDEN => {
            return failed(&reply.body);
        }
        Ok(reply) => {
            return failed(&format!(
                "{} answered {}: is this weir's admin.listen?",
                admin, reply.status
            ));
        }
        Err(error) => return failed(&error.to_string()),
    }
    if !wait {
        println!("draining");
        return ExitCode::SUCCESS;
    }
    match gone(admin).await {
        Ok(()) => {
            println!("drained");
            ExitCode::SUCCESS
        }
        Err(error) => failed(&error.to_string()),
    }
}

/// Waits until nobody listens any more. How long that may take, weir's own `drain.timeout` says.
async fn gone(admin: SocketAddr) -> Result<(), ClientError> {
    let mut failures = 0;
    loop {
        match client::request(admin, Method::GET, "/readyz", "").await {
            Err(ClientError::Closed(_)) => return Ok(()),
            Err(error) if failures == FAILURES_MAX => return Err(error),
            Err(_) => failures += 1,
            Ok(_) => failures = 0,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

fn failed(why: &str) -> ExitCode {
    eprintln!("weir drain: {}", why.trim_end());
    ExitCode::FAILURE
}
