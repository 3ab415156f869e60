//! What weir answers itself: refusals and errors, in the client's own words.

pub(in crate::proxy) mod error;
mod numbers;
pub(in crate::proxy) mod reject_words;
pub(in crate::proxy) mod respond;
mod words;
