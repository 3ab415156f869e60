//! Durations as people write them: `250ms`, `1s`, `1m30s`, `2h`, `1.5s`.

use std::time::Duration;

/// Units, largest first, in nanoseconds.
const UNITS: [(&str, u128); 6] = [
    ("d", 86_400_000_000_000),
    ("h", 3_600_000_000_000),
    ("m", 60_000_000_000),
    ("s", 1_000_000_000),
    ("ms", 1_000_000),
    ("us", 1000),
];

/// Reads a duration; the error says what is wrong in plain words.
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    if text.starts_with('-') {
        return Err("it is negative".to_owned());
    }
    if text.parse::<f64>().is_ok_and(f64::is_finite) {
        return Err("it has no unit".to_owned());
    }
    let mut rest = text;
    let mut total = 0_u128;
    // Each unit once, larger ones first: `1s1m` is more likely a slip than a sum.
    let mut units = UNITS.as_slice();
    while !rest.is_empty() {
        let number_ends = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(rest.len());
        let (number, tail) = rest.split_at(number_ends);
        let unit_ends = tail
            .find(|c: char| !c.is_ascii_alphabetic())
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit_ends);
        if number.is_empty() {
            return Err("it is not a number with a unit".to_owned());
        }
        if unit.is_empty() {
            return Err(format!("{number:?} in it has no unit"));
        }
        let Some(at) = units.iter().position(|(name, _)| *name == unit) else {
            return Err(if UNITS.iter().any(|(name, _)| *name == unit) {
                format!("its unit {unit:?} comes twice or after a smaller one")
            } else {
                format!("its unit {unit:?} is unknown")
            });
        };
        total = total.saturating_add(nanoseconds(number, units[at].1)?);
        units = &units[at + 1..];
        rest = tail;
    }
    if text.is_empty() {
        return Err("it is empty".to_owned());
    }
    let seconds = u64::try_from(total / 1_000_000_000).map_err(|_| "it is too long".to_owned())?;
    let nanos = u32::try_from(total % 1_000_000_000).expect("less than a second");
    Ok(Duration::new(seconds, nanos))
}

/// `number × unit`, exact; what is finer than a nanosecond is dropped.
fn nanoseconds(number: &str, unit: u128) -> Result<u128, String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err(format!("{number:?} in it is not a number"));
    }
    if whole.len() + fraction.len() > 18 {
        return Err("it has more than 18 digits".to_owned());
    }
    let digits: u128 = format!("0{whole}{fraction}")
        .parse()
        .expect("at most 19 ASCII digits");
    let scale = u32::try_from(fraction.len()).expect("at most 18");
    Ok(digits * unit / 10_u128.pow(scale))
}

/// The shortest exact way to write it: `1m30s`.
pub(crate) fn show(duration: Duration) -> String {
    let mut rest = duration.as_nanos();
    let mut text = String::new();
    for (name, size) in UNITS {
        if rest >= size {
            text += &(rest / size).to_string();
            text += name;
            rest %= size;
        }
    }
    if text.is_empty() {
        "0s".to_owned()
    } else {
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn durations_are_read_as_written() {
        for (text, micros) in [
            ("0", 0),
            ("0s", 0),
            ("250ms", 250_000),
            ("1s", 1_000_000),
            ("1.5s", 1_500_000),
            (".5s", 500_000),
            ("1m30s", 90_000_000),
            ("2h", 7_200_000_000),
            ("1d", 86_400_000_000),
            ("1h0.5m", 3_630_000_000),
            ("10us", 10),
        ] {
            assert_eq!(parse(text), Ok(Duration::from_micros(micros)), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_duration_is_refused_with_the_reason() {
        for (text, reason) in [
            ("", "empty"),
            ("10", "no unit"),
            ("1.5", "no unit"),
            ("1e3", "no unit"),
            ("-1s", "negative"),
            ("-5", "negative"),
            ("1x", "\"x\" is unknown"),
            ("1S", "\"S\" is unknown"),
            ("1min", "\"min\" is unknown"),
            ("1s1m", "after a smaller one"),
            ("1s1s", "comes twice"),
            ("1m30", "\"30\" in it has no unit"),
            ("s", "not a number"),
            ("1 s", "no unit"),
            (" 1s", "not a number"),
            ("1..5s", "not a number"),
            (".s", "not a number"),
            ("99999999999999999999s", "digits"),
            ("1s ", "not a number"),
            ("inf", "not a number"),
        ] {
            let refusal = parse(text).expect_err(text);
            assert!(refusal.contains(reason), "{text}: {refusal}");
        }
    }

    proptest! {
        #[test]
        fn what_is_shown_is_read_back(micros in 0_u64..1 << 50) {
            let duration = Duration::from_micros(micros);
            prop_assert_eq!(parse(&show(duration)), Ok(duration));
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}") {
            let _ = parse(&text);
        }
    }
}
