//! The deadline that a gRPC call brings with it (gRPC over HTTP/2, "Timeout"): how long its client
//! waits, and what of that is left for the backend. Pure.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// The grammar has no more digits than these.
const DIGITS_MAX: usize = 8;

/// How many nanoseconds each unit has, finest first.
const UNITS: [(u8, u128); 6] = [
    (b'n', 1),
    (b'u', 1_000),
    (b'm', 1_000_000),
    (b'S', 1_000_000_000),
    (b'M', 60_000_000_000),
    (b'H', 3_600_000_000_000),
];

/// When the client of a call that arrived then gives up. `None` if it does not say so, or not so
/// that it could be understood: then the backend sees what it said.
pub(in crate::proxy) fn of(headers: &HeaderMap, arrived: Instant) -> Option<Instant> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    let timeout = parse(values.next()?.as_bytes())?;
    if values.next().is_some() {
        return None;
    }
    arrived.checked_add(timeout)
}

/// Tells the backend what is left.
pub(in crate::proxy) fn forward(headers: &mut HeaderMap, left: Duration) {
    headers.insert(GRPC_TIMEOUT, show(left));
}

fn parse(text: &[u8]) -> Option<Duration> {
    let (unit, digits) = text.split_last()?;
    let is_number =
        (1..=DIGITS_MAX).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let (_, nanos) = UNITS.iter().find(|(name, _)| name == unit)?;
    let number: u64 = str::from_utf8(digits)
        .ok()
        .filter(|_| is_number)?
        .parse()
        .ok()?;
    let nanos = u128::from(number) * nanos;
    let seconds = u64::try_from(nanos / 1_000_000_000).ok()?;
    let rest = u32::try_from(nanos % 1_000_000_000).expect("less than a second");
    Some(Duration::new(seconds, rest))
}

/// In the finest unit whose digits suffice, rounded down: never more than is left.
fn show(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let most = 10_u128.pow(8) - 1;
    let (unit, number) = UNITS
        .iter()
        .map(|(unit, each)| (*unit, nanos / each))
        .find(|(_, number)| *number <= most)
        .unwrap_or((b'H', most));
    let text = format!("{number}{}", char::from(unit));
    HeaderValue::try_from(text).expect("digits and a letter")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_grammar() {
        let nanos = |text: &str| parse(text.as_bytes()).map(|timeout| timeout.as_nanos());
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
    fn a_deadline_is_taken_from_one_field_only() {
        let now = Instant::now();
        let mut headers = HeaderMap::new();
        assert_eq!(of(&headers, now), None);
        headers.append(GRPC_TIMEOUT, HeaderValue::from_static("250m"));
        assert_eq!(of(&headers, now), Some(now + Duration::from_millis(250)));
        headers.append(GRPC_TIMEOUT, HeaderValue::from_static("1S"));
        assert_eq!(of(&headers, now), None);
    }

    #[test]
    fn what_is_left_is_said_as_finely_as_eight_digits_allow() {
        let shown = |left| show(left).to_str().expect("text").to_owned();
        assert_eq!(shown(Duration::from_nanos(99_999_999)), "99999999n");
        assert_eq!(shown(Duration::from_millis(100)), "100000u");
        assert_eq!(shown(Duration::from_millis(99_999)), "99999000u");
        assert_eq!(shown(Duration::from_secs(100)), "100000m");
        assert_eq!(shown(Duration::from_secs(99_999_999)), "99999999S");
        assert_eq!(shown(Duration::MAX), "99999999H");
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back_and_never_more(nanos in 0_u64..) {
            let left = Duration::from_nanos(nanos);
            let read = parse(show(left).as_bytes()).expect("our own words");
            prop_assert!(read <= left);
            prop_assert!(left.saturating_sub(read) <= left / 99_999);
        }
    }
}
