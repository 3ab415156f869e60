//! Why a request was refused: a closed set, one metric label and one header value each.

/// Why weir answered in the backend's place. Every reject has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// No permit was free, and the strategy is to reject at once.
    NoPermit,
    /// As many requests are queued as `queue.max_depth` allows.
    QueueDepth,
    /// The queue holds as many bytes of weir's own memory as `queue.max_bytes` allows.
    QueueBytes,
    /// No permit came free within `queue.max_wait`.
    QueueWait,
    /// The client's own deadline passed while it waited.
    Expired,
    /// weir is shutting down and takes on nothing new.
    Draining,
    /// The gate is closed by a bug of weir's own.
    Internal,
}

impl RejectReason {
    /// Every reason, so that each one's series exists from the start.
    pub const ALL: [Self; 7] = [
        Self::NoPermit,
        Self::QueueDepth,
        Self::QueueBytes,
        Self::QueueWait,
        Self::Expired,
        Self::Draining,
        Self::Internal,
    ];

    /// The metric label and the value of the `weir-reject-reason` header.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NoPermit => "no_permit",
            Self::QueueDepth => "queue_depth",
            Self::QueueBytes => "queue_bytes",
            Self::QueueWait => "queue_wait",
            Self::Expired => "expired",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    /// Whether more capacity would have prevented it: what overload is measured by.
    #[must_use]
    pub const fn is_capacity(self) -> bool {
        match self {
            Self::NoPermit
            | Self::QueueDepth
            | Self::QueueBytes
            | Self::QueueWait
            | Self::Expired => true,
            Self::Draining | Self::Internal => false,
        }
    }
}
