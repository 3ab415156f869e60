//! What can be set about the admin port.

use std::net::SocketAddr;

/// What can be set about the admin port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Whether `POST` is taken from other addresses than loopback.
    pub remote_control: bool,
}
