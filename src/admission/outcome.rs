//! How a request ended: a closed set, counted exactly once per request.

/// How a request that was handed to weir's service ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The upstream's response, of any status, was relayed to its end.
    Served,
    /// A 4xx or 5xx of weir's own that is not a reject, or broken off by the upstream.
    Failed,
    /// Answered with a reject reason.
    Rejected,
    /// The client left before it got a permit.
    Abandoned,
    /// The client left after it got a permit.
    Cancelled,
    /// Passed on without a permit.
    Bypassed,
}

impl Outcome {
    /// Every outcome, so that each one's series exists from the start.
    pub const ALL: [Self; 6] = [
        Self::Served,
        Self::Failed,
        Self::Rejected,
        Self::Abandoned,
        Self::Cancelled,
        Self::Bypassed,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Served => "served",
            Self::Failed => "failed",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
            Self::Cancelled => "cancelled",
            Self::Bypassed => "bypassed",
        }
    }
}
