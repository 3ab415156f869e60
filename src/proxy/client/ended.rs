//! What a connection ended with, as it is counted and told.

use std::error::Error;
use std::fmt;

use crate::proxy::answer::error::ClientGone;
use crate::proxy::client::frame_watch::FLOOD;
use crate::proxy::client::io::WRITE_STALL;
use crate::telemetry::ConnectionError;

/// A client that left while its request was waited for has been counted with the request.
pub(super) fn is_client_gone(error: &hyper::Error) -> bool {
    error.source().is_some_and(<dyn Error>::is::<ClientGone>)
}

pub(super) fn kind_of(error: &hyper::Error, is_h2: bool) -> ConnectionError {
    let source = error.source();
    let io = source.and_then(|source| source.downcast_ref::<std::io::Error>());
    if io.is_some_and(|io| io.to_string() == WRITE_STALL) {
        ConnectionError::WriteStall
    } else if io.is_some_and(|io| io.to_string() == FLOOD) {
        ConnectionError::Flood
    } else if error.is_parse_too_large() {
        ConnectionError::TooLarge
    } else if error.is_parse() {
        ConnectionError::Parse
    } else if is_h2 && io.is_none() {
        ConnectionError::H2
    } else {
        ConnectionError::Io
    }
}

/// An error and what it comes from, in weir's or the kernel's words: never in the client's, as an HTTP/2
/// error may say with what text it was told to go.
pub(super) struct WithCause<'a>(pub(super) &'a hyper::Error);

impl fmt::Display for WithCause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)?;
        let cause = self.0.source();
        match cause.and_then(|cause| cause.downcast_ref::<std::io::Error>()) {
            Some(cause) => write!(f, ": {cause}"),
            None => Ok(()),
        }
    }
}
