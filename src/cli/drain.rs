//! `weir drain`: tells a running weir to go, and may wait until it has.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use http::{Method, StatusCode};

use super::print;
use crate::admin::client::{self, ClientError};

/// Between two looks at a weir that is draining.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// Looks in a row that may fail without the port being closed.
const FAILURES_MAX: u32 = 10;

/// Begins the drain. With `wait`, comes back when weir has ended, which closes its admin port last,
/// or fails after so long. Exit code 0 if it drains or is gone, else 1 with the reason.
pub async fn drain(admin: SocketAddr, wait: Option<Duration>) -> ExitCode {
    match request(admin, wait).await {
        Ok(done) => {
            print::out(done);
            ExitCode::SUCCESS
        }
        Err(why) => {
            print::err(format_args!("weir drain: {why}"));
            ExitCode::FAILURE
        }
    }
}

async fn request(admin: SocketAddr, wait: Option<Duration>) -> Result<&'static str, String> {
    let said = |error: ClientError| error.to_string();
    // Whoever else listens there must not see the POST.
    client::request(admin, Method::GET, "/readyz", "")
        .await
        .map_err(said)?;
    let reply = client::request(admin, Method::POST, "/drain", "")
        .await
        .map_err(said)?;
    match reply.status {
        StatusCode::ACCEPTED => {}
        StatusCode::FORBIDDEN => return Err(reply.body.trim_end().to_owned()),
        status => {
            return Err(format!(
                "{admin} answered {status}: is this weir's admin.listen?"
            ));
        }
    }
    let Some(limit) = wait else {
        return Ok("draining");
    };
    match tokio::time::timeout(limit, ended(admin)).await {
        Ok(Ok(())) => Ok("weir has ended"),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!(
            "weir is still draining after {limit:?}; give it longer with --timeout"
        )),
    }
}

/// Waits until the weir that was told has ended. Whether it finished every request, only its own
/// exit code says.
async fn ended(admin: SocketAddr) -> Result<(), ClientError> {
    let mut failures = 0;
    let mut leaving = false;
    loop {
        match client::request(admin, Method::GET, "/readyz", "").await {
            Err(ClientError::Closed(_) | ClientError::Stranger(..)) => return Ok(()),
            // Its successor: no phase comes back.
            Ok(reply) if leaving && reply.status == StatusCode::OK => return Ok(()),
            Ok(reply) => {
                leaving = reply.status != StatusCode::OK;
                failures = 0;
            }
            Err(error) if failures == FAILURES_MAX => return Err(error),
            Err(_) => failures += 1,
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;
    use crate::admin::tests::{Port, within};
    use crate::cli::scripted::{STRANGER, Scripted};
    use crate::lifecycle::Phase;

    const LONG: Duration = Duration::from_secs(60);

    #[tokio::test]
    async fn it_begins_the_drain_and_does_not_wait_unless_told() {
        let port = Port::open().await;
        assert_eq!(request(port.at, None).await, Ok("draining"));
        assert_eq!(port.seen.drains.load(Ordering::Relaxed), 1);
        port.close().await;
    }

    #[tokio::test]
    async fn it_waits_until_the_port_is_closed() {
        let port = Port::open().await;
        let waiting = tokio::spawn(request(port.at, Some(LONG)));
        let drained = async {
            while port.seen.drains.load(Ordering::Relaxed) == 0 {
                tokio::task::yield_now().await;
            }
        };
        within(drained).await;
        assert!(!waiting.is_finished(), "the port is still open");
        port.close().await;
        let done = within(waiting).await.expect("no panic");
        assert_eq!(done, Ok("weir has ended"));
    }

    #[tokio::test]
    async fn it_says_when_there_is_nothing_to_drain() {
        let port = Port::open().await;
        let at = port.at;
        port.close().await;
        let why = request(at, Some(LONG)).await.expect_err("nobody is there");
        assert!(why.contains("nothing listens"), "{why}");
    }

    #[tokio::test]
    async fn it_does_not_wait_longer_than_told() {
        let port = Port::open().await;
        port.phase.send_replace(Phase::Draining);
        let why = within(request(port.at, Some(LOOK_EVERY * 2))).await;
        let why = why.expect_err("it never ends");
        assert!(
            why.contains("still draining") && why.contains("--timeout"),
            "{why}"
        );
        port.close().await;
    }

    #[tokio::test]
    async fn whoever_has_the_port_next_is_not_waited_for() {
        let serving = "HTTP/1.1 200 OK\r\nweir-admin: 1\r\ncontent-length: 0\r\n\r\n";
        let accepted = "HTTP/1.1 202 Accepted\r\nweir-admin: 1\r\ncontent-length: 0\r\n\r\n";
        let leaving = "HTTP/1.1 503 Going\r\nweir-admin: 1\r\ncontent-length: 0\r\n\r\n";
        for next in [serving, STRANGER] {
            // It may take a moment until the phase follows.
            let answers = [serving, accepted, serving, leaving, next];
            let port = Scripted::open(&answers).await;
            let done = within(request(port.at, Some(LONG))).await;
            assert_eq!(done, Ok("weir has ended"));
            assert_eq!(port.close().await.len(), answers.len());
        }
    }

    #[tokio::test]
    async fn another_server_is_not_told() {
        let stranger = Scripted::open(&[STRANGER]).await;
        let why = within(request(stranger.at, Some(LONG))).await;
        let why = why.expect_err("not weir");
        assert!(why.contains("is not weir's admin port"), "{why}");
        let seen = stranger.close().await;
        assert_eq!(seen.len(), 1, "{seen:?}");
        assert!(seen[0].starts_with("GET /readyz "), "{seen:?}");
    }
}
