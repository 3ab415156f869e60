//! `weir healthcheck`: for exec probes in an image that has neither shell nor curl.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::{Method, StatusCode};

use super::print;
use crate::admin::client;

/// Asks a running weir whether it is ready, or with `live` whether it works at all. Exit code 0
/// for yes and 1 for no, with the reason on the standard error output.
pub async fn healthcheck(admin: SocketAddr, live: bool) -> ExitCode {
    match check(admin, live).await {
        Ok(what) => {
            print::out(what);
            ExitCode::SUCCESS
        }
        Err(why) => {
            print::err(why);
            ExitCode::FAILURE
        }
    }
}

async fn check(admin: SocketAddr, live: bool) -> Result<&'static str, String> {
    let (path, what) = if live {
        ("/livez", "live")
    } else {
        ("/readyz", "ready")
    };
    match client::request(admin, Method::GET, path, "").await {
        Ok(reply) if reply.status == StatusCode::OK => Ok(what),
        Ok(reply) => Err(format!("weir is not {what}: {}", reply.body.trim_end())),
        Err(error) => Err(format!("weir is not {what}: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::AsyncWriteExt;
    use tokio::net::TcpListener;

    use super::*;
    use crate::admin::tests::Port;
    use crate::cli::scripted::{STRANGER, Scripted};
    use crate::lifecycle::Phase;

    #[tokio::test]
    async fn another_server_that_says_yes_is_not_believed() {
        let stranger = Scripted::open(&[STRANGER, STRANGER]).await;
        for live in [false, true] {
            let why = check(stranger.at, live).await.expect_err("not weir");
            assert!(
                why.contains("is not weir's admin port") && why.contains("admin.listen"),
                "{why}"
            );
        }
        assert_eq!(stranger.close().await.len(), 2);
    }

    #[tokio::test]
    async fn it_says_what_weir_says() {
        let port = Port::open().await;
        assert_eq!(check(port.at, false).await, Ok("ready"));
        let any = SocketAddr::from(([0, 0, 0, 0], port.at.port()));
        assert_eq!(check(any, true).await, Ok("live"));
        port.phase.send_replace(Phase::Draining);
        let why = check(port.at, false).await.expect_err("not ready");
        assert_eq!(why, "weir is not ready: draining");
        assert_eq!(check(port.at, true).await, Ok("live"));
        let at = port.at;
        port.close().await;
        let why = check(at, true).await.expect_err("gone");
        assert!(
            why.contains("nothing listens") && why.contains("admin.listen"),
            "{why}"
        );
    }

    #[tokio::test]
    async fn whoever_does_not_answer_is_not_ready() {
        let listener = TcpListener::bind("127.0.0.1:0").await;
        let listener = listener.expect("a port");
        let at = listener.local_addr().expect("bound");
        let why = check(at, false).await.expect_err("it never accepts");
        assert!(why.contains("no answer"), "{why}");

        let other = tokio::spawn(async move {
            // The one that was given up above, and the next.
            for _ in 0..2 {
                let (mut stream, _) = listener.accept().await.expect("accepted");
                let _ = stream.write_all(b"220 mail.example ready\r\n").await;
            }
        });
        let why = check(at, false).await.expect_err("not HTTP");
        assert!(why.contains("cannot be read"), "{why}");
        other.await.expect("no panic");
    }
}
