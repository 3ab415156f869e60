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
    match request(admin, wait).await {
        Ok(done) => {
            println!("{done}");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("weir drain: {why}");
            ExitCode::FAILURE
        }
    }
}

async fn request(admin: SocketAddr, wait: bool) -> Result<&'static str, String> {
    let reply = client::request(admin, Method::POST, "/drain", "")
        .await
        .map_err(|error| error.to_string())?;
    match reply.status {
        status if status.is_success() => {}
        StatusCode::FORBIDDEN => return Err(reply.body.trim_end().to_owned()),
        status => {
            return Err(format!(
                "{admin} answered {status}: is this weir's admin.listen?"
            ));
        }
    }
    if !wait {
        return Ok("draining");
    }
    gone(admin).await.map_err(|error| error.to_string())?;
    Ok("drained")
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

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::tests::{Port, within};

    #[tokio::test]
    async fn it_begins_the_drain_and_does_not_wait_unless_told() {
        let port = Port::open().await;
        assert_eq!(request(port.at, false).await, Ok("draining"));
        assert_eq!(port.seen.drains.load(Ordering::Relaxed), 1);
        port.close().await;
    }

    #[tokio::test]
    async fn it_waits_until_the_port_is_closed() {
        let port = Port::open().await;
        let waiting = tokio::spawn(request(port.at, true));
        let drained = async {
            while port.seen.drains.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        within(drained).await;
        assert!(!waiting.is_finished(), "the port is still open");
        port.close().await;
        let done = within(waiting).await.expect("no panic");
        assert_eq!(done, Ok("drained"));
    }

    #[tokio::test]
    async fn it_says_when_there_is_nothing_to_drain() {
        let port = Port::open().await;
        let at = port.at;
        port.close().await;
        let why = request(at, true).await.expect_err("nobody is there");
        assert!(why.contains("nothing listens"), "{why}");
    }
}
