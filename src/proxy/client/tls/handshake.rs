//! The handshake: bounded in time, and when it fails, told by a closed set of kinds.

use std::future::poll_fn;
use std::io;
use std::time::Duration;

use rustls::{Error, HandshakeKind};
use tokio::net::tcp::OwnedReadHalf;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

use super::Tls;
use super::identity::TlsPeer;
use super::socket::{Socket, TlsStream};
use crate::proxy::client::linger::Linger;
use crate::telemetry::TlsFailure;

/// What a client gets that speaks plain HTTP where TLS is spoken.
const PLAIN_HTTP: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\
    content-type: text/plain; charset=utf-8\r\ncontent-length: 42\r\n\
    proxy-status: weir; error=tls_protocol_error; details=\"plain HTTP\"\r\n\r\n\
    this port speaks HTTPS, and that was HTTP\n";

/// What was agreed on by ALPN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::proxy) enum Protocol {
    Http1,
    Http2,
}

/// A connection whose handshake is done.
#[derive(Debug)]
pub(in crate::proxy) struct Secured {
    pub(in crate::proxy) stream: Box<TlsStream>,
    pub(in crate::proxy) peer: Box<TlsPeer>,
    /// `None` if the client did not say.
    pub(in crate::proxy) protocol: Option<Protocol>,
    /// Whether it took up an earlier session.
    pub(in crate::proxy) is_resumed: bool,
}

/// A handshake that did not succeed.
#[derive(Debug)]
pub(in crate::proxy) struct Failed {
    /// `None` if the client left before it said anything.
    pub(in crate::proxy) kind: Option<TlsFailure>,
    pub(in crate::proxy) detail: String,
    /// To be let go of slowly, so that an alert arrives.
    lingering: Option<Socket>,
}

impl Failed {
    /// Lets the client read why: closing at once would destroy the alert on its way.
    pub(in crate::proxy) async fn linger(self) {
        let Some(mut socket) = self.lingering else {
            return;
        };
        if socket
            .foreign()
            .is_some_and(|first| first.is_ascii_uppercase())
        {
            // What does not fit is lost.
            let _ = socket.raw().as_ref().try_write(PLAIN_HTTP);
        }
        let raw = socket2::SockRef::from(socket.raw().as_ref()).shutdown(std::net::Shutdown::Write);
        if raw.is_ok() {
            let mut linger = Linger::new();
            poll_fn(|cx| linger.poll(socket.raw(), cx)).await;
        }
    }
}

/// Shakes hands within the limit.
pub(in crate::proxy) async fn accept(
    tls: &Tls,
    read: OwnedReadHalf,
    limit: Duration,
) -> Result<Secured, Failed> {
    let acceptor = TlsAcceptor::from(tls.config.clone());
    let accepting = acceptor.accept(Socket::new(read)).into_fallible();
    let stream = match timeout(limit, accepting).await {
        Ok(Ok(stream)) => stream,
        Ok(Err((error, socket))) => return Err(failed(&error, socket)),
        Err(_) => {
            return Err(Failed {
                kind: Some(TlsFailure::Timeout),
                detail: "no handshake within timeouts.tls_handshake".to_owned(),
                lingering: None,
            });
        }
    };
    let (_, session) = stream.get_ref();
    let shown = session.peer_certificates().and_then(<[_]>::first);
    let peer = shown.map_or_else(TlsPeer::default, |leaf| TlsPeer::verified(leaf));
    let protocol = session.alpn_protocol().map(|name| match name {
        b"h2" => Protocol::Http2,
        _ => Protocol::Http1,
    });
    let is_resumed = session.handshake_kind() == Some(HandshakeKind::Resumed);
    Ok(Secured {
        stream: Box::new(stream),
        peer: Box::new(peer),
        protocol,
        is_resumed,
    })
}

fn failed(error: &io::Error, socket: Socket) -> Failed {
    let by_tls = error
        .get_ref()
        .and_then(|inner| inner.downcast_ref::<Error>());
    let kind = match by_tls {
        None if !socket.has_read() => None,
        None => Some(TlsFailure::Closed),
        Some(_) if socket.foreign().is_some() => Some(TlsFailure::NotTls),
        Some(error) => Some(kind_of(error)),
    };
    let detail = match by_tls {
        _ if kind == Some(TlsFailure::NotTls) => "what came is not TLS".to_owned(),
        Some(error) => error.to_string(),
        None => error.to_string(),
    };
    Failed {
        kind,
        detail,
        lingering: by_tls.map(|_| socket),
    }
}

fn kind_of(error: &Error) -> TlsFailure {
    match error {
        Error::NoCertificatesPresented | Error::InvalidCertificate(_) => {
            TlsFailure::ClientCertificate
        }
        Error::AlertReceived(_) => TlsFailure::Alert,
        Error::PeerIncompatible(_) | Error::NoApplicationProtocol => TlsFailure::Incompatible,
        _ => TlsFailure::Protocol,
    }
}
