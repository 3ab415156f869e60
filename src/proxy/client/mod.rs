//! The client's side: one connection of a client, what is known of it, its timers and its end.

pub(in crate::proxy) mod connection;
mod ended;
mod frame_budget;
mod frame_watch;
mod frames;
mod io;
mod linger;
mod parting;
pub(in crate::proxy) mod place;
mod sniff;
pub(in crate::proxy) mod stall;
mod state;
pub(in crate::proxy) mod tls;
mod watch;
mod wire;

pub(in crate::proxy) use state::Client;
