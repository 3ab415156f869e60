//! Why weir could not relay a response: a closed set, mapped to an answer in one place.

use std::io;

use http::StatusCode;

use crate::telemetry::{ConnectionError, UpstreamError};

/// There is nobody to answer: the connection is closed without a word, since whatever it said
/// could be taken for the answer.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("the client left")]
pub(in crate::proxy) struct ClientGone;

/// What went wrong on HTTP/2, if it was HTTP/2 that it went wrong on.
pub(in crate::proxy) fn http2_error(error: &hyper::Error) -> Option<&h2::Error> {
    std::error::Error::source(error)?.downcast_ref()
}

/// A request that failed after it was admitted.
#[derive(Debug, thiserror::Error)]
pub(in crate::proxy) enum ProxyError {
    /// The backend refused the connection, or there is no way to it.
    #[error("cannot connect to the upstream: {0}")]
    Connect(io::Error),
    /// No connection within `timeouts.connect`.
    #[error("no connection to the upstream within timeouts.connect")]
    ConnectTimeout,
    /// Connecting, or waiting for a connection, took longer than the client waits.
    #[error("no connection to the upstream before the client's deadline")]
    Expired,
    /// The backend closed the connection before it answered.
    #[error("the upstream broke the connection before its response: {0}")]
    Broken(hyper::Error),
    /// What the backend sent is no response.
    #[error("the upstream's response is not valid HTTP: {0}")]
    Protocol(hyper::Error),
    /// The response is coded in a way that cannot be passed on.
    #[error("the upstream's response has a transfer coding other than chunked")]
    TransferCoding,
    /// The backend switched protocols without being asked to.
    #[error("the upstream switched protocols unasked")]
    UnaskedUpgrade,
    /// No response head within `timeouts.response_head`.
    #[error("no response head from the upstream within timeouts.response_head")]
    ResponseHeadTimeout,
    /// The client's body stalled for `timeouts.body_idle`.
    #[error("the client sent nothing of its body for timeouts.body_idle")]
    UploadStalled,
    /// The client's body broke off or was malformed.
    #[error("the client's body broke off or is malformed")]
    UploadBroken,
    /// The client left while the backend was at work.
    #[error("the client left")]
    ClientGone,
}

impl ProxyError {
    /// The status that the client gets.
    pub(in crate::proxy) fn status(&self) -> StatusCode {
        match self {
            Self::Connect(_)
            | Self::Broken(_)
            | Self::Protocol(_)
            | Self::TransferCoding
            | Self::UnaskedUpgrade => StatusCode::BAD_GATEWAY,
            Self::ConnectTimeout | Self::Expired | Self::ResponseHeadTimeout => {
                StatusCode::GATEWAY_TIMEOUT
            }
            Self::UploadStalled => StatusCode::REQUEST_TIMEOUT,
            Self::UploadBroken | Self::ClientGone => StatusCode::BAD_REQUEST,
        }
    }

    /// The gRPC status that goes with it.
    pub(in crate::proxy) fn grpc_status(&self) -> &'static str {
        match self {
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Broken(_)
            | Self::Protocol(_)
            | Self::TransferCoding
            | Self::UnaskedUpgrade => "14",
            Self::Expired | Self::ResponseHeadTimeout | Self::UploadStalled => "4",
            Self::UploadBroken | Self::ClientGone => "1",
        }
    }

    /// What it counts as, if it is the upstream's.
    pub(in crate::proxy) fn upstream_kind(&self) -> Option<UpstreamError> {
        match self {
            Self::Connect(_) => Some(UpstreamError::Connect),
            Self::ConnectTimeout => Some(UpstreamError::ConnectTimeout),
            Self::Broken(_) => Some(UpstreamError::Reset),
            Self::Protocol(_) | Self::TransferCoding | Self::UnaskedUpgrade => {
                Some(UpstreamError::Protocol)
            }
            Self::ResponseHeadTimeout => Some(UpstreamError::ResponseHeadTimeout),
            // Whose fault it is that it took so long, nobody knows: any client could say so little time.
            Self::Expired | Self::UploadStalled | Self::UploadBroken | Self::ClientGone => None,
        }
    }

    /// Whether it is the upstream that did not answer, and not the request's body that did not come.
    pub(in crate::proxy) fn is_of_the_upstream(&self) -> bool {
        !matches!(
            self,
            Self::UploadStalled | Self::UploadBroken | Self::ClientGone
        )
    }

    /// What it counts as, if it is the client's and the client is still there.
    pub(in crate::proxy) fn client_kind(&self) -> Option<ConnectionError> {
        match self {
            Self::UploadStalled => Some(ConnectionError::BodyIdle),
            Self::UploadBroken => Some(ConnectionError::Body),
            Self::Connect(_)
            | Self::ConnectTimeout
            | Self::Expired
            | Self::Broken(_)
            | Self::Protocol(_)
            | Self::TransferCoding
            | Self::UnaskedUpgrade
            | Self::ResponseHeadTimeout
            | Self::ClientGone => None,
        }
    }

    /// The RFC 9209 error type.
    pub(in crate::proxy) fn proxy_status(&self) -> &'static str {
        match self {
            Self::Connect(_) => "weir; error=connection_refused",
            Self::ConnectTimeout | Self::Expired => "weir; error=connection_timeout",
            Self::Broken(_) => "weir; error=connection_terminated",
            Self::Protocol(_) | Self::TransferCoding => "weir; error=http_protocol_error",
            Self::UnaskedUpgrade => "weir; error=http_upgrade_failed",
            Self::ResponseHeadTimeout => "weir; error=http_response_timeout",
            Self::UploadStalled => "weir; error=http_request_error; details=\"body_idle\"",
            Self::UploadBroken | Self::ClientGone => {
                "weir; error=http_request_error; details=\"body\""
            }
        }
    }
}
