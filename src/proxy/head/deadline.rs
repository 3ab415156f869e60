//! The deadlines that a request brings with it, passed on with what is left of them. Pure.
//!
//! Each field that states a time says after a wait how much less it is, in the way that its client
//! wrote it. What could not be read stays as it is: the backend may understand it.

use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue};

use super::classify::{HeadClassifier, is_grpc};
use crate::admission::classify::{Alone, GRPC_UNITS, grpc_timeout, timeout};

/// Takes the wait off every time that a head states.
pub(in crate::proxy) fn pass_on(
    headers: &mut HeaderMap,
    classifier: &HeadClassifier,
    waited: Duration,
) {
    let hints = classifier.classifier().hints();
    if let Some(field) = hints.grpc_timeout.filter(|_| is_grpc(headers)) {
        shorten(headers, classifier.name(field), |value| {
            let left = grpc_timeout(value)?.saturating_sub(waited);
            Some(show(left))
        });
    }
    for (field, alone) in &hints.deadline {
        shorten(headers, classifier.name(*field), |value| {
            let left = timeout(value, *alone)?.saturating_sub(waited);
            let has_unit = value.last().is_some_and(u8::is_ascii_alphabetic);
            Some(show_plainly(
                left,
                if has_unit { None } else { Some(*alone) },
            ))
        });
    }
}

/// Replaces a field that is there once and can be read.
fn shorten(
    headers: &mut HeaderMap,
    name: &HeaderName,
    shorter: impl Fn(&[u8]) -> Option<HeaderValue>,
) {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return;
    };
    if let Some(value) = shorter(value.as_bytes()) {
        headers.insert(name.clone(), value);
    }
}

/// Rounded down, and never nothing: a millisecond, or whole seconds where more than one is left.
fn show_plainly(left: Duration, alone: Option<Alone>) -> HeaderValue {
    let millis = left.as_millis().max(1);
    let text = match alone {
        None => format!("{millis}ms"),
        Some(Alone::Millis) => millis.to_string(),
        Some(Alone::Seconds) if millis >= 1000 => (millis / 1000).to_string(),
        Some(Alone::Seconds) => format!("0.{millis:03}"),
    };
    HeaderValue::try_from(text).expect("digits, a point and letters")
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
    fn what_a_client_wrote_keeps_its_form() {
        let shown = |millis, alone| {
            let value = show_plainly(Duration::from_millis(millis), alone);
            value.to_str().expect("text").to_owned()
        };
        assert_eq!(shown(250, None), "250ms");
        assert_eq!(shown(250, Some(Alone::Millis)), "250");
        assert_eq!(shown(2999, Some(Alone::Seconds)), "2");
        assert_eq!(shown(250, Some(Alone::Seconds)), "0.250");
        assert_eq!(shown(0, Some(Alone::Millis)), "1");
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
