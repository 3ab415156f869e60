//! `weir healthcheck`: for exec probes in an image that has neither shell nor curl.

use std::net::SocketAddr;
use std::process::ExitCode;

use http::{Method, StatusCode};

use crate::admin::client;

/// Asks a running weir whether it is ready, or with `live` whether it works at all. Exit code 0
/// for yes and 1 for no, with the reason on the standard error output.
pub async fn healthcheck(admin: SocketAddr, live: bool) -> ExitCode {
    let (path, what) = if live {
        ("/livez", "live")
    } else {
        ("/readyz", "ready")
    };
    match client::request(admin, Method::GET, path, "").await {
        Ok(reply) if reply.status == StatusCode::OK => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Ok(reply) => {
            eprintln!("weir is not {what}: {}", reply.body.trim_end());
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("weir is not {what}: {error}");
            ExitCode::FAILURE
        }
    }
}
