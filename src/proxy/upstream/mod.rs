//! Connections to the backend: how they are made, what a request borrows of them, how they end.

mod bell;
mod http1;
mod http2;
pub(in crate::proxy) mod pool;
mod socket;

pub(in crate::proxy) use http1::{Http1, connect as connect_http1};
pub(in crate::proxy) use http2::{Http2, Stream, connect as connect_http2, pong_timeout};
