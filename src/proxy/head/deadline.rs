//! The deadline that a gRPC call brings with it (gRPC over HTTP/2, "Timeout"): how long its client
//! waits, and what of that is left for the backend. Pure.

use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::admission::classify::{GRPC_UNITS, grpc_timeout};

const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");

/// When the client of a call that arrived then gives up. `None` if it does not say so, or not so
/// that it could be understood: then the backend sees what it said.
pub(in crate::proxy) fn of(headers: &HeaderMap, arrived: Instant) -> Option<Instant> {
    let mut values = headers.get_all(GRPC_TIMEOUT).iter();
    let timeout = grpc_timeout(values.next()?.as_bytes())?;
    if values.next().is_some() {
        return None;
    }
    arrived.checked_add(timeout)
}

/// Tells the backend what is left.
pub(in crate::proxy) fn forward(headers: &mut HeaderMap, left: Duration) {
    headers.insert(GRPC_TIMEOUT, show(left));
}

/// In the finest unit whose digits suffice, rounded down: never more than is left.
fn show(left: Duration) -> HeaderValue {
    let nanos = left.as_nanos();
    let most = 10_u128.pow(8) - 1;
    let (unit, number) = GRPC_UNITS
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
            let read = grpc_timeout(show(left).as_bytes()).expect("our own words");
            prop_assert!(read <= left);
            prop_assert!(left.saturating_sub(read) <= left / 99_999);
        }
    }
}
