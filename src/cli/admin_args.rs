//! Where a running weir is to be found.

use std::net::SocketAddr;
use std::time::Duration;

use clap::Args;
use http::Method;
use tokio::net::lookup_host;

use super::config_args::ConfigArgs;
use crate::admin::client::{self, ClientError};
use crate::config;

/// For the resolver. Probes are not patient.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(2);

/// Where a running weir is to be found: the address given, or `admin.listen` of its configuration.
#[derive(Args, Debug)]
pub(super) struct AdminArgs {
    /// Its admin port, such as 127.0.0.1:9900 or localhost:9900; read from the configuration if
    /// not given
    #[arg(long, value_name = "HOST:PORT", value_parser = host_and_port)]
    admin: Option<String>,
    #[command(flatten)]
    config: ConfigArgs,
}

impl AdminArgs {
    /// The address to ask, or everything that is wrong.
    pub(super) async fn address(&self) -> Result<SocketAddr, String> {
        let Some(admin) = &self.admin else {
            return config::admin_address(&self.config.sources())
                .map_err(|problems| problems.to_string());
        };
        let found = match tokio::time::timeout(LOOKUP_TIMEOUT, lookup_host(admin)).await {
            Ok(Ok(found)) => Ok(found.collect::<Vec<_>>()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(_) => Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())),
        };
        match found {
            Ok(found) if !found.is_empty() => Ok(choose(&found).await),
            Ok(_) => Err(unknown(admin, "it has no address")),
            Err(why) => Err(unknown(admin, &why)),
        }
    }
}

fn unknown(admin: &str, why: &str) -> String {
    format!(
        "--admin {admin}: the name cannot be looked up ({why}); give an address, such as \
         127.0.0.1:9900"
    )
}

/// `localhost` has two addresses, and weir may listen on one of them only: the one where it
/// answers, else the one that has the most to say about why not.
async fn choose(found: &[SocketAddr]) -> SocketAddr {
    let mut telling = found[0];
    if found.len() == 1 {
        return telling;
    }
    for at in found {
        match client::request(*at, Method::GET, "/readyz", "").await {
            Ok(_) => return *at,
            Err(ClientError::Closed(_)) => {}
            Err(_) => telling = *at,
        }
    }
    telling
}

/// A slip in the form is one of usage; whether the name exists is seen when it is asked for.
fn host_and_port(text: &str) -> Result<String, String> {
    let is_name = text.rsplit_once(':').is_some_and(|(host, port)| {
        let plain = |c: char| c.is_alphanumeric() || "-_.".contains(c);
        !host.is_empty() && host.chars().all(plain) && port.parse::<u16>().is_ok()
    });
    if is_name || text.parse::<SocketAddr>().is_ok() {
        Ok(text.to_owned())
    } else {
        Err("write HOST:PORT, such as 127.0.0.1:9900, [::1]:9900 or localhost:9900".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::tests::Port;
    use crate::cli::scripted::{STRANGER, Scripted};

    #[test]
    fn a_host_and_a_port_it_must_be() {
        for good in [
            "127.0.0.1:9900",
            "[::1]:9900",
            "localhost:9900",
            "app-1.ns.svc:9900",
        ] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in [
            "",
            "9900",
            ":9900",
            "localhost",
            "::1",
            "localhost:99000",
            "http://localhost:9900",
            "localhost:9900/",
            "local host:9900",
        ] {
            let why = host_and_port(bad).expect_err(bad);
            assert!(why.contains("HOST:PORT"), "{why}");
        }
    }

    #[tokio::test]
    async fn names_are_looked_up() {
        let port = Port::open().await;
        let args = |admin: String| AdminArgs {
            admin: Some(admin),
            config: ConfigArgs::default(),
        };
        let name = format!("localhost:{}", port.at.port());
        assert_eq!(args(name).address().await, Ok(port.at));
        // No name may have an empty label.
        let why = args("a..b:9900".to_owned()).address().await;
        let why = why.expect_err("nobody's name");
        assert!(
            why.contains("a..b:9900") && why.contains("127.0.0.1:9900"),
            "{why}"
        );
        port.close().await;
    }

    #[tokio::test]
    async fn of_several_addresses_the_one_where_weir_answers_is_taken() {
        let port = Port::open().await;
        let gone = SocketAddr::from(([127, 0, 0, 2], port.at.port()));
        assert_eq!(choose(&[gone, port.at]).await, port.at);
        let stranger = Scripted::open(&[STRANGER]).await;
        assert_eq!(choose(&[stranger.at, port.at]).await, port.at);
        port.close().await;
        let other = Scripted::open(&[STRANGER]).await;
        assert_eq!(choose(&[gone, other.at]).await, other.at);
        assert_eq!(choose(&[gone, gone]).await, gone);
    }
}
