//! The exchange with the backend: what occupies it, both bodies on their way, and when it is over.

pub(in crate::proxy) mod exchange;
pub(in crate::proxy) mod held_body;
pub(in crate::proxy) mod patience;
pub(in crate::proxy) mod pipe;
pub(in crate::proxy) mod relay;
mod retries;
mod tunnel;
pub(in crate::proxy) mod upload;
