//! What clients and the proxies between say of a request in its head: how long somebody waits for
//! it, what it will cost, how often it was tried. Pure.
//!
//! **What cannot be believed falls back to what would hold without it**, and is counted.

use std::time::Duration;

/// What kind of statement could not be used: the label of a metric, so a closed set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hint {
    /// A field of `cost.headers`.
    Cost,
    /// A field of `deadline.headers`.
    Deadline,
    /// `grpc-timeout`.
    GrpcTimeout,
    /// A field of `tenant.headers`.
    Tenant,
    /// A field of `retry_budget.headers`.
    Attempt,
}

impl Hint {
    /// Every kind, so that each one's series exists from the start.
    pub const ALL: [Self; 5] = [
        Self::Cost,
        Self::Deadline,
        Self::GrpcTimeout,
        Self::Tenant,
        Self::Attempt,
    ];

    /// The metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Cost => "cost",
            Self::Deadline => "deadline",
            Self::GrpcTimeout => "grpc_timeout",
            Self::Tenant => "tenant",
            Self::Attempt => "attempt",
        }
    }
}

/// A set of kinds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Hints(u8);

impl Hints {
    /// Adds one.
    pub fn insert(&mut self, hint: Hint) {
        self.0 |= 1 << hint as u8;
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Each of them.
    pub fn iter(self) -> impl Iterator<Item = Hint> {
        let all = Hint::ALL.into_iter();
        all.filter(move |hint| self.0 & (1 << *hint as u8) != 0)
    }
}

/// Who waits longer than this does not say so in earnest, and loses nothing by having no deadline.
pub const TIMEOUT_MAX: Duration = Duration::from_secs(24 * 3600);

/// The longest name of a tenant, in bytes.
pub const TENANT_MAX: usize = 256;

/// Units of a number with a unit, in nanoseconds.
const UNITS: [(&str, u64); 5] = [
    ("us", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];

/// What a number without a unit is counted in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Alone {
    /// Milliseconds.
    Millis,
    /// Seconds.
    Seconds,
}

impl Alone {
    /// By the field's name: milliseconds if it ends in `-ms`.
    #[must_use]
    pub fn of(name: &str) -> Self {
        if name.ends_with("-ms") {
            Self::Millis
        } else {
            Self::Seconds
        }
    }
}

/// A time: `250ms`, `1.5s`, `2m`, or a number alone. `None` for what is no time, zero, or more than
/// [`TIMEOUT_MAX`]: no client that asks for an answer gives no time for it.
#[must_use]
pub fn timeout(value: &[u8], alone: Alone) -> Option<Duration> {
    let text = str::from_utf8(value).ok()?;
    let ends = text.find(|c: char| !c.is_ascii_digit() && c != '.');
    let (number, unit) = text.split_at(ends.unwrap_or(text.len()));
    let unit = match (unit, alone) {
        ("", Alone::Millis) => "ms",
        ("", Alone::Seconds) => "s",
        (unit, _) => unit,
    };
    let (_, nanos) = UNITS.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let is_short = |digits: &str| (1..=9).contains(&digits.len());
    if !is_short(whole) || !is_short(fraction) || fraction.contains('.') {
        return None;
    }
    let scale = 10_u128.pow(u32::try_from(fraction.len()).ok()?);
    let digits: u128 = format!("{whole}{fraction}").parse().ok()?;
    let nanos = u64::try_from(digits * u128::from(*nanos) / scale).ok()?;
    let timeout = Duration::from_nanos(nanos);
    (!timeout.is_zero() && timeout <= TIMEOUT_MAX).then_some(timeout)
}

/// Whether a `content-type` is that of a gRPC call.
#[must_use]
pub fn is_grpc(content_type: &[u8]) -> bool {
    content_type.starts_with(b"application/grpc")
}

/// The grammar of `grpc-timeout` has no more digits than these.
const GRPC_DIGITS_MAX: usize = 8;

/// How many nanoseconds each of its units has, finest first.
pub const GRPC_UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// A `grpc-timeout` (gRPC over HTTP/2, "Timeout"). Zero is one, and so is what is very long.
#[must_use]
pub fn grpc_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    let is_number =
        (1..=GRPC_DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let (_, nanos) = GRPC_UNITS.iter().find(|(name, _)| name == unit)?;
    let number: u64 = str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()?;
    let nanos = u128::from(number) * nanos;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).ok()?;
    Some(Duration::new(seconds, rest))
}

/// Bytes: digits and nothing else, at least 1.
#[must_use]
pub fn bytes(value: &[u8]) -> Option<u64> {
    number(value).filter(|bytes| *bytes > 0)
}

/// A whole number: digits and nothing else.
#[must_use]
pub fn number(value: &[u8]) -> Option<u64> {
    if !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    str::from_utf8(value).ok()?.parse().ok()
}

/// The name of a tenant: anything that is not empty and not absurdly long.
#[must_use]
pub fn tenant(value: &[u8]) -> Option<&[u8]> {
    (1..=TENANT_MAX).contains(&value.len()).then_some(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_with_a_unit_or_by_the_name_of_their_field() {
        let millis = |text: &str, name: &str| {
            let timeout = timeout(text.as_bytes(), Alone::of(name));
            timeout.map(|timeout| timeout.as_micros())
        };
        let ms = "x-envoy-expected-rq-timeout-ms";
        for (text, name, micros) in [
            ("250", ms, 250_000),
            ("15000", ms, 15_000_000),
            ("0.5", ms, 500),
            ("2s", ms, 2_000_000),
            ("2", "x-request-timeout", 2_000_000),
            ("1.5", "x-request-timeout", 1_500_000),
            ("250ms", "x-request-timeout", 250_000),
            ("10us", "x-request-timeout", 10),
            ("3m", "x-request-timeout", 180_000_000),
            ("24h", "x-request-timeout", 86_400_000_000),
        ] {
            assert_eq!(millis(text, name), Some(micros), "{text} {name}");
        }
        for wrong in [
            "",
            "0",
            "0.0",
            "0ms",
            "-1",
            "+1",
            "1e3",
            "1.",
            ".5",
            "1.2.3",
            "1 s",
            " 1",
            "1S",
            "5x",
            "ms",
            "25h",
            "86401",
            "9999999999",
            "1.0000000001",
            "infinity",
            "٣",
            "1d",
        ] {
            assert_eq!(millis(wrong, "x-request-timeout"), None, "{wrong:?}");
        }
        assert_eq!(timeout(b"\xff", Alone::Seconds), None);
    }

    #[test]
    fn the_grammar_of_grpc_timeout() {
        let nanos = |text: &str| grpc_timeout(text.as_bytes()).map(|timeout| timeout.as_nanos());
        assert_eq!(nanos("1n"), Some(1));
        assert_eq!(nanos("20u"), Some(20_000));
        assert_eq!(nanos("00000100m"), Some(100_000_000));
        assert_eq!(nanos("3S"), Some(3_000_000_000));
        assert_eq!(nanos("2M"), Some(120_000_000_000));
        assert_eq!(nanos("99999999H"), Some(99_999_999 * 3_600_000_000_000));
        assert_eq!(nanos("0m"), Some(0));
        for wrong in [
            "",
            "m",
            "1",
            "123456789m",
            "1s",
            "1h",
            "-1m",
            "+1m",
            "1.5S",
            " 1m",
            "1m ",
            "1mm",
            "٣m",
        ] {
            assert_eq!(nanos(wrong), None, "{wrong:?}");
        }
    }

    #[test]
    fn numbers_are_digits() {
        assert_eq!(number(b"007"), Some(7));
        assert_eq!(bytes(b"18446744073709551615"), Some(u64::MAX));
        for wrong in [
            "",
            "18446744073709551616",
            "-1",
            "+1",
            "1.0",
            "1Mi",
            " 1",
            "0x1",
        ] {
            assert_eq!(number(wrong.as_bytes()), None, "{wrong:?}");
        }
        assert_eq!((number(b"0"), bytes(b"0")), (Some(0), None));
    }

    #[test]
    fn a_set_has_what_was_put_into_it() {
        let mut hints = Hints::default();
        assert!(hints.is_empty());
        hints.insert(Hint::Attempt);
        hints.insert(Hint::Cost);
        hints.insert(Hint::Cost);
        assert_eq!(
            hints.iter().collect::<Vec<_>>(),
            [Hint::Cost, Hint::Attempt]
        );
    }
}
