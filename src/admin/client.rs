//! A client for the admin port, for `weir healthcheck` and `weir drain`.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use super::WEIR_ADMIN;

/// For the connection, and again for the answer.
const TIMEOUT: Duration = Duration::from_secs(1);

/// The longest answer that is read.
const ANSWER_BYTES_MAX: usize = 1 << 20;

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its body.
    pub body: String,
}

/// Why nothing came back.
#[derive(Debug)]
pub enum ClientError {
    /// Nobody listens there.
    Closed(SocketAddr),
    /// No connection, for another reason.
    Connect(SocketAddr, std::io::Error),
    /// No connection or no answer in time.
    Timeout(SocketAddr),
    /// What came is not an answer.
    Broken(SocketAddr, String),
    /// What answered is not an admin port of weir's.
    Stranger(SocketAddr, StatusCode),
}

impl fmt::Display for ClientError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed(at) => write!(
                f,
                "nothing listens on {at}: is weir running, and is this its admin.listen?"
            ),
            Self::Connect(at, error) => write!(f, "cannot connect to {at}: {error}"),
            Self::Timeout(at) => {
                write!(f, "no answer from {at} within {} s", TIMEOUT.as_secs())
            }
            Self::Broken(at, why) => write!(
                f,
                "the answer from {at} cannot be read ({why}): is this weir's admin.listen?"
            ),
            Self::Stranger(at, status) => write!(
                f,
                "what answered on {at} (with {status}) is not weir's admin port: is this weir's \
                 admin.listen?"
            ),
        }
    }
}

impl std::error::Error for ClientError {}

/// Asks weir for one thing on a connection of its own. Whatever else answers is an error; what must
/// not reach a stranger at all is to be asked after something harmless.
pub async fn request(
    admin: SocketAddr,
    method: Method,
    path: &str,
    body: &str,
) -> Result<Reply, ClientError> {
    let admin = reachable(admin);
    let stream = match tokio::time::timeout(TIMEOUT, TcpStream::connect(admin)).await {
        Err(_) => return Err(ClientError::Timeout(admin)),
        Ok(Err(error)) if error.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Err(ClientError::Closed(admin));
        }
        Ok(Err(error)) => return Err(ClientError::Connect(admin, error)),
        Ok(Ok(stream)) => stream,
    };
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, admin.to_string())
        .header(header::CONNECTION, "close")
        .body(Full::new(Bytes::copy_from_slice(body.as_bytes())))
        .map_err(|error| ClientError::Broken(admin, error.to_string()))?;
    match tokio::time::timeout(TIMEOUT, exchange(stream, request)).await {
        Err(_) => Err(ClientError::Timeout(admin)),
        Ok(Err(why)) => Err(ClientError::Broken(admin, why.to_string())),
        Ok(Ok((reply, true))) => Ok(reply),
        Ok(Ok((reply, false))) => Err(ClientError::Stranger(admin, reply.status)),
    }
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// The answer, and whether it says that it is weir's.
async fn exchange(
    stream: TcpStream,
    request: Request<Full<Bytes>>,
) -> Result<(Reply, bool), BoxError> {
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await?;
    let answer = async move {
        let response = sender.send_request(request).await?;
        let status = response.status();
        let is_weir = response.headers().contains_key(WEIR_ADMIN);
        let body = Limited::new(response.into_body(), ANSWER_BYTES_MAX)
            .collect()
            .await?
            .to_bytes();
        let body = String::from_utf8_lossy(&body).into_owned();
        Ok((Reply { status, body }, is_weir))
    };
    // The connection is driven beside the answer, and dropped with it. When it ends first it has
    // handed everything over, so the answer is still to be awaited.
    let mut answer = std::pin::pin!(answer);
    tokio::select! {
        biased;
        answer = &mut answer => answer,
        _ = connection => answer.await,
    }
}

/// An address that can be connected to: "any" means this machine.
fn reachable(listen: SocketAddr) -> SocketAddr {
    let ip = match listen.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(ip, listen.port())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_address_means_this_machine() {
        for (listen, expected) in [
            ("0.0.0.0:9900", "127.0.0.1:9900"),
            ("[::]:9900", "[::1]:9900"),
            ("10.0.0.1:9900", "10.0.0.1:9900"),
        ] {
            let listen = listen.parse().expect("an address");
            assert_eq!(reachable(listen).to_string(), expected);
        }
    }
}
