//! The closed sets that labels are taken from, where no other room owns them.

/// Whose response it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Source {
    /// The upstream's.
    Upstream,
    /// weir's own.
    Weir,
}

impl Source {
    /// Every source.
    pub const ALL: [Self; 2] = [Self::Upstream, Self::Weir];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Upstream => "upstream",
            Self::Weir => "weir",
        }
    }
}

/// How a wait for a permit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum WaitEnd {
    /// With a permit.
    Granted,
    /// With a reject.
    Rejected,
    /// The client left.
    Abandoned,
}

impl WaitEnd {
    /// Every end.
    pub const ALL: [Self; 3] = [Self::Granted, Self::Rejected, Self::Abandoned];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Granted => "granted",
            Self::Rejected => "rejected",
            Self::Abandoned => "abandoned",
        }
    }
}

/// What went wrong on the client's side of a connection, outside any request that was counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ConnectionError {
    /// No known protocol was recognised in time.
    Sniff,
    /// A request head did not arrive in time.
    Head,
    /// A request head that is not HTTP.
    Parse,
    /// A request head with too many bytes or fields.
    TooLarge,
    /// The peer broke the rules of HTTP/2.
    H2,
    /// The peer sent too many HTTP/2 frames beside messages.
    Flood,
    /// A request body stopped arriving.
    BodyIdle,
    /// A request body broke its framing, or broke off.
    Body,
    /// The client did not read what was sent to it.
    WriteStall,
    /// The connection broke.
    Io,
    /// A connection could not be accepted.
    Accept,
}

impl ConnectionError {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Sniff,
        Self::Head,
        Self::Parse,
        Self::TooLarge,
        Self::H2,
        Self::Flood,
        Self::BodyIdle,
        Self::Body,
        Self::WriteStall,
        Self::Io,
        Self::Accept,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Sniff => "sniff",
            Self::Head => "head",
            Self::Parse => "parse",
            Self::TooLarge => "too_large",
            Self::H2 => "h2",
            Self::Flood => "flood",
            Self::BodyIdle => "body_idle",
            Self::Body => "body",
            Self::WriteStall => "write_stall",
            Self::Io => "io",
            Self::Accept => "accept",
        }
    }
}

/// How a TLS handshake failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TlsFailure {
    /// It was not done in time.
    Timeout,
    /// The client left in the middle of it.
    Closed,
    /// What came is not TLS: plain HTTP, or a scan.
    NotTls,
    /// The client broke the rules of TLS.
    Protocol,
    /// The client speaks TLS, but no version, cipher or application protocol that weir does.
    Incompatible,
    /// The client's certificate is missing or not good.
    ClientCertificate,
    /// The client refused: most often it does not trust weir's certificate.
    Alert,
}

impl TlsFailure {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Timeout,
        Self::Closed,
        Self::NotTls,
        Self::Protocol,
        Self::Incompatible,
        Self::ClientCertificate,
        Self::Alert,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Timeout => "timeout",
            Self::Closed => "closed",
            Self::NotTls => "not_tls",
            Self::Protocol => "protocol",
            Self::Incompatible => "incompatible",
            Self::ClientCertificate => "client_certificate",
            Self::Alert => "alert",
        }
    }
}

/// The rule that a refused request broke. Each has a row in the README's table of refusals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Rule {
    /// `CONNECT`.
    Connect,
    /// More fields than `limits.header_fields`.
    HeaderFields,
    /// A target longer than `limits.target_bytes`.
    TargetLength,
    /// A target that is neither a path, nor a whole URI, nor the `*` of `OPTIONS`.
    TargetForm,
    /// A target with a fragment.
    TargetFragment,
    /// A scheme other than `http` and `https`.
    Scheme,
    /// No `Host`.
    HostMissing,
    /// More than one `Host`.
    HostRepeated,
    /// A `Host` or an authority that is no host with an optional port.
    HostInvalid,
    /// A transfer coding other than one `chunked`.
    TransferCoding,
    /// `Content-Length` beside `Transfer-Encoding`.
    LengthBesideCoding,
    /// More than one `Content-Length`.
    LengthRepeated,
}

impl Rule {
    /// Every rule.
    pub const ALL: [Self; 12] = [
        Self::Connect,
        Self::HeaderFields,
        Self::TargetLength,
        Self::TargetForm,
        Self::TargetFragment,
        Self::Scheme,
        Self::HostMissing,
        Self::HostRepeated,
        Self::HostInvalid,
        Self::TransferCoding,
        Self::LengthBesideCoding,
        Self::LengthRepeated,
    ];

    /// Its name, in the log and in `proxy-status`.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::HeaderFields => "header_fields",
            Self::TargetLength => "target_length",
            Self::TargetForm => "target_form",
            Self::TargetFragment => "target_fragment",
            Self::Scheme => "scheme",
            Self::HostMissing => "host_missing",
            Self::HostRepeated => "host_repeated",
            Self::HostInvalid => "host_invalid",
            Self::TransferCoding => "transfer_coding",
            Self::LengthBesideCoding => "length_beside_coding",
            Self::LengthRepeated => "length_repeated",
        }
    }
}

/// How the upstream failed an exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum UpstreamError {
    /// The connection was refused, or there is no way to it.
    Connect,
    /// The connection did not come about in time.
    ConnectTimeout,
    /// It broke before a response.
    Reset,
    /// No response head in time.
    ResponseHeadTimeout,
    /// A response body stopped arriving.
    ResponseIdle,
    /// It broke in the middle of a response.
    Body,
    /// What came is not HTTP, or not the version that was agreed.
    Protocol,
}

impl UpstreamError {
    /// Every kind.
    pub const ALL: [Self; 7] = [
        Self::Connect,
        Self::ConnectTimeout,
        Self::Reset,
        Self::ResponseHeadTimeout,
        Self::ResponseIdle,
        Self::Body,
        Self::Protocol,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Connect => "connect",
            Self::ConnectTimeout => "connect_timeout",
            Self::Reset => "reset",
            Self::ResponseHeadTimeout => "response_head_timeout",
            Self::ResponseIdle => "response_idle",
            Self::Body => "body",
            Self::Protocol => "protocol",
        }
    }
}

/// The values of the `code` label.
pub(super) const CODES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The values of the `kind` label of TLS handshakes that succeeded.
pub(super) const HANDSHAKES: [&str; 2] = ["full", "resumed"];

/// The values of the `result` label of reloads: failed and succeeded.
pub(super) const RESULTS: [&str; 2] = ["failed", "ok"];
