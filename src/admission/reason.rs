//! Why a request was refused: a closed set, one metric label and one header value each.

/// Why weir answered in the backend's place. Every reject has exactly one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RejectReason {
    /// No permit was free, and the strategy is to reject at once.
    NoPermit,
    /// As many requests are queued as `queue.max_depth` allows, or its class has as much work
    /// queued as it may.
    QueueDepth,
    /// The queue holds as many bytes of weir's own memory as `queue.max_bytes` allows.
    QueueBytes,
    /// No permit came free within `queue.max_wait`.
    QueueWait,
    /// The client's own deadline has passed.
    Expired,
    /// The client's own deadline would pass before it could be served.
    Doomed,
    /// It stood in a queue that does not empty, longer than others had to.
    Codel,
    /// Under this pressure its class is not important enough.
    ClassShare,
    /// Its tenant has more than its share of a queue in which others wait, too.
    TenantShare,
    /// Its tenant sends more per second than it may.
    TenantRate,
    /// It is a retry, and there have been enough of them.
    RetryBudget,
    /// It costs more than the whole budget, and such requests are not to run alone.
    Oversize,
    /// weir is shutting down and takes on nothing new.
    Draining,
    /// The gate is closed by a bug of weir's own.
    Internal,
}

impl RejectReason {
    /// Every reason, in the order of the variants, so that each one's series exists from the start.
    pub const ALL: [Self; 14] = [
        Self::NoPermit,
        Self::QueueDepth,
        Self::QueueBytes,
        Self::QueueWait,
        Self::Expired,
        Self::Doomed,
        Self::Codel,
        Self::ClassShare,
        Self::TenantShare,
        Self::TenantRate,
        Self::RetryBudget,
        Self::Oversize,
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
            Self::Doomed => "doomed",
            Self::Codel => "codel",
            Self::ClassShare => "class_share",
            Self::TenantShare => "tenant_share",
            Self::TenantRate => "tenant_rate",
            Self::RetryBudget => "retry_budget",
            Self::Oversize => "oversize",
            Self::Draining => "draining",
            Self::Internal => "internal",
        }
    }

    /// The HTTP status that it always has; `None` where the configuration decides.
    #[must_use]
    pub const fn http_status(self) -> Option<u16> {
        match self {
            Self::TenantRate => Some(429),
            Self::Oversize => Some(413),
            Self::Draining | Self::Internal => Some(503),
            _ => None,
        }
    }

    /// The `grpc-status` that it always has; `None` where the configuration decides.
    #[must_use]
    pub const fn grpc_status(self) -> Option<u16> {
        match self {
            Self::Expired => Some(4),
            Self::Internal => Some(13),
            Self::Draining => Some(14),
            _ => None,
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
            | Self::Expired
            | Self::Doomed
            | Self::Codel
            | Self::ClassShare
            | Self::TenantShare
            | Self::RetryBudget => true,
            Self::TenantRate | Self::Oversize | Self::Draining | Self::Internal => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configured_status_is_that_of_overload_and_of_nothing_else() {
        for reason in RejectReason::ALL {
            assert_eq!(reason.http_status().is_none(), reason.is_capacity());
        }
    }
}
