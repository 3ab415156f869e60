//! Why the policy tells a request no: a closed set.
//!
//! These are the reject reasons that the policy adds to the gate's own
//! ([`RejectReason`](super::RejectReason)); the labels of the two never differ for the same thing.

/// What the policy says to a request that it does not let wait, or wait any longer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// The queue of its class holds as much work as it may.
    QueueFull,
    /// Its wait ended before a permit came free.
    QueueWait,
    /// The client's own deadline has passed.
    Expired,
    /// The client's own deadline would pass before it could be served.
    Doomed,
    /// It stood in a queue that does not empty, longer than others had to.
    Codel,
    /// Under this pressure its class is not important enough.
    ClassShare,
    /// Its tenant has half of a queue in which others wait, too.
    TenantShare,
    /// Its tenant sends more per second than it may.
    TenantRate,
    /// It is a retry, and there have been enough of them.
    RetryBudget,
}

impl Refusal {
    /// Every one, in the order of the variants.
    pub const ALL: [Self; 9] = [
        Self::QueueFull,
        Self::QueueWait,
        Self::Expired,
        Self::Doomed,
        Self::Codel,
        Self::ClassShare,
        Self::TenantShare,
        Self::TenantRate,
        Self::RetryBudget,
    ];

    /// The metric label and the value of the `weir-reject-reason` header.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::QueueFull => "queue_depth",
            Self::QueueWait => "queue_wait",
            Self::Expired => "expired",
            Self::Doomed => "doomed",
            Self::Codel => "codel",
            Self::ClassShare => "class_share",
            Self::TenantShare => "tenant_share",
            Self::TenantRate => "tenant_rate",
            Self::RetryBudget => "retry_budget",
        }
    }

    /// Whether more capacity would have prevented it: what overload is measured by.
    #[must_use]
    pub const fn is_capacity(self) -> bool {
        !matches!(self, Self::TenantRate)
    }
}
