//! Small numbers as field values, without formatting and without an allocation.

use bytes::Bytes;
use http::HeaderValue;

/// The digits of each number and of its thousandfold, `042000`.
static DIGITS: [[u8; 6]; 256] = digits();

const fn digits() -> [[u8; 6]; 256] {
    let mut all = [*b"000000"; 256];
    let mut number = u8::MAX;
    while number > 0 {
        let digits = &mut all[number as usize];
        digits[0] += number / 100;
        digits[1] += number / 10 % 10;
        digits[2] += number % 10;
        number -= 1;
    }
    all
}

/// The number as a value.
pub(in crate::proxy) fn value(number: u64) -> HeaderValue {
    ready(number, 3).unwrap_or_else(|| HeaderValue::from(number))
}

/// A thousand times the number as a value.
pub(in crate::proxy) fn thousands(number: u64) -> HeaderValue {
    let many = number.saturating_mul(1000);
    if number == 0 { None } else { ready(number, 6) }.unwrap_or_else(|| HeaderValue::from(many))
}

fn ready(number: u64, end: usize) -> Option<HeaderValue> {
    let digits = DIGITS.get(usize::try_from(number).ok()?)?;
    let zeros = usize::from(number < 100) + usize::from(number < 10);
    HeaderValue::from_maybe_shared(Bytes::from_static(&digits[zeros..end])).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_is_what_formatting_makes_of_it() {
        for number in (0..1001).chain([u64::MAX / 1000, u64::MAX]) {
            assert_eq!(value(number), number.to_string());
            assert_eq!(thousands(number), number.saturating_mul(1000).to_string());
        }
    }
}
