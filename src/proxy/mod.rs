//! The data path.
mod settings;
pub use settings::{
    Forwarded, Limits, Reject, RetryAfter, Settings, Timeouts, Upstream, UpstreamAddress,
    UpstreamProtocol,
};
