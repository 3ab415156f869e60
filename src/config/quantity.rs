//! Kubernetes quantities, exactly: `512Mi`, `1.5Gi`, `128974848`, `100m`, `12e6`.
//!
//! A quantity is a fraction of two integers until somebody says which way to round it. Nothing
//! here is a float, and the case of a suffix matters, as it does to Kubernetes: `m` is a
//! thousandth, `M` a million.

/// More digits than this are refused; with them, no suffix can overflow the arithmetic.
const MAX_DIGITS: usize = 20;

/// An exact amount that is not negative.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quantity {
    numerator: u128,
    denominator: u128,
}

impl Quantity {
    /// Rounded down; `None` beyond 2^64 − 1.
    #[must_use]
    pub fn floor(self) -> Option<u64> {
        u64::try_from(self.numerator / self.denominator).ok()
    }

    /// Rounded up; `None` beyond 2^64 − 1.
    #[must_use]
    pub fn ceil(self) -> Option<u64> {
        u64::try_from(self.numerator.div_ceil(self.denominator)).ok()
    }

    /// Reads a quantity; the error says what is wrong in plain words.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text.starts_with('-') {
            return Err("it is negative".to_owned());
        }
        let text = text.strip_prefix('+').unwrap_or(text);
        let end = text
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .unwrap_or(text.len());
        let (number, suffix) = text.split_at(end);
        let (digits, scale) = digits_and_scale(number)?;
        let (times, over) = factor(suffix)?;
        let too_large = || "it is too large".to_owned();
        Ok(Self {
            numerator: digits.checked_mul(times).ok_or_else(too_large)?,
            denominator: 10_u128
                .pow(scale)
                .checked_mul(over)
                .ok_or_else(|| "it has too many digits".to_owned())?,
        })
    }
}

/// `1.50` is 15 and a scale of 1.
fn digits_and_scale(number: &str) -> Result<(u128, u32), String> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if fraction.contains('.') || (whole.is_empty() && fraction.is_empty()) {
        return Err("it is not a number with a suffix".to_owned());
    }
    let fraction = fraction.trim_end_matches('0');
    let whole = whole.trim_start_matches('0');
    if whole.len() + fraction.len() > MAX_DIGITS {
        return Err(format!("it has more than {MAX_DIGITS} digits"));
    }
    let joined = format!("0{whole}{fraction}");
    let digits = joined.parse().expect("at most 21 ASCII digits");
    let scale = u32::try_from(fraction.len()).expect("at most 20");
    Ok((digits, scale))
}

/// What a suffix multiplies by, and what it divides by.
fn factor(suffix: &str) -> Result<(u128, u128), String> {
    let decimal = |power: u32| Ok((10_u128.pow(power), 1));
    let binary = |power: u32| Ok((1_u128 << power, 1));
    match suffix {
        "" => Ok((1, 1)),
        "n" => Ok((1, 1_000_000_000)),
        "u" => Ok((1, 1_000_000)),
        "m" => Ok((1, 1000)),
        "k" => decimal(3),
        "M" => decimal(6),
        "G" => decimal(9),
        "T" => decimal(12),
        "P" => decimal(15),
        "E" => decimal(18),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => exponent(suffix),
    }
}

/// `e6`, `E-3`.
fn exponent(suffix: &str) -> Result<(u128, u128), String> {
    let Some(power) = suffix.strip_prefix(['e', 'E']) else {
        return Err(unknown_suffix(suffix));
    };
    let (negative, power) = match power.strip_prefix('-') {
        Some(power) => (true, power),
        None => (false, power.strip_prefix('+').unwrap_or(power)),
    };
    if power.is_empty() || !power.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(unknown_suffix(suffix));
    }
    let power = power
        .parse()
        .ok()
        .and_then(|power| 10_u128.checked_pow(power))
        .ok_or_else(|| "its exponent is out of range".to_owned())?;
    Ok(if negative { (1, power) } else { (power, 1) })
}

fn unknown_suffix(suffix: &str) -> String {
    let meant = match suffix.trim().to_ascii_lowercase().as_str() {
        "k" | "kb" | "kib" => " (did you mean Ki, or k for 1000?)",
        "mb" | "mib" | "mi" => " (did you mean Mi, or M for 1000000?)",
        "g" | "gb" | "gib" | "gi" => " (did you mean Gi, or G for 1000000000?)",
        "t" | "tb" | "tib" | "ti" => " (did you mean Ti, or T?)",
        "b" | "bytes" => " (plain bytes have no suffix)",
        _ => "",
    };
    format!("its suffix {suffix:?} is unknown{meant}")
}

/// The shortest exact way to write so many bytes: `512Mi`, `1500M`, `12345`.
#[must_use]
pub fn show(bytes: u64) -> String {
    const BINARY: [(&str, u32); 4] = [("Ti", 40), ("Gi", 30), ("Mi", 20), ("Ki", 10)];
    const DECIMAL: [(&str, u64); 3] = [("G", 1_000_000_000), ("M", 1_000_000), ("k", 1000)];
    for (suffix, power) in BINARY {
        if bytes > 0 && bytes.trailing_zeros() >= power {
            return format!("{}{suffix}", bytes >> power);
        }
    }
    for (suffix, size) in DECIMAL {
        if bytes > 0 && bytes.is_multiple_of(size) {
            return format!("{}{suffix}", bytes / size);
        }
    }
    bytes.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn both(text: &str) -> Option<(u64, u64)> {
        let quantity = Quantity::parse(text).ok()?;
        Some((quantity.floor()?, quantity.ceil()?))
    }

    #[test]
    fn quantities_are_those_of_kubernetes() {
        let exact = [
            ("0", 0),
            ("512Mi", 536_870_912),
            ("1.5Gi", 1_610_612_736),
            ("128974848", 128_974_848),
            ("129e6", 129_000_000),
            ("129M", 129_000_000),
            ("123Mi", 128_974_848),
            ("128974848000m", 128_974_848),
            ("12E6", 12_000_000),
            ("12e+6", 12_000_000),
            ("5000e-3", 5),
            ("1E", 1_000_000_000_000_000_000),
            ("1Ei", 1 << 60),
            ("15Ei", 15 << 60),
            ("+1k", 1000),
            (".5Ki", 512),
            ("1.Ki", 1024),
            ("007", 7),
            ("1.000", 1),
            ("3000000000n", 3),
            ("2000000u", 2),
            ("2P", 2_000_000_000_000_000),
            ("2Pi", 2 << 50),
            ("1Ti", 1 << 40),
            ("1T", 1_000_000_000_000),
            ("18446744073709551615", u64::MAX),
        ];
        for (text, bytes) in exact {
            assert_eq!(both(text), Some((bytes, bytes)), "{text}");
        }
        let rounded = [
            ("100m", (0, 1)),
            ("1.1", (1, 2)),
            ("0.1Ki", (102, 103)),
            ("1n", (0, 1)),
        ];
        for (text, bytes) in rounded {
            assert_eq!(both(text), Some(bytes), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_quantity_is_refused() {
        for text in [
            "",
            ".",
            "Mi",
            "-1",
            "-0.5Gi",
            "1 Mi",
            " 1Mi",
            "1Mi ",
            "512MB",
            "512mb",
            "512K",
            "512mi",
            "512MI",
            "1e",
            "1e1.5",
            "1eMi",
            "1e3Ki",
            "1.2.3",
            "1,5Gi",
            "0x10",
            "1_000",
            "inf",
            "NaN",
            "٣Mi",
            "16Ei",
            "18446744073709551616",
            "123456789012345678901",
            "1e39",
            "1e99999999999",
            "1Mi2",
        ] {
            assert_eq!(both(text), None, "{text}");
        }
    }

    #[test]
    fn a_size_is_shown_in_its_largest_exact_unit() {
        for (bytes, shown) in [
            (0, "0"),
            (1 << 29, "512Mi"),
            (3 << 29, "1536Mi"),
            (1 << 30, "1Gi"),
            (1_000_000, "1M"),
            (1_000_001, "1000001"),
        ] {
            assert_eq!(show(bytes), shown);
        }
    }

    /// The same by long multiplication on decimal digit strings, which shares no code and no
    /// number type with the parser: whole part and whether anything is left of the point.
    fn naive(whole: u64, fraction: &str, suffix: &str) -> (u128, bool) {
        let mut digits: Vec<u8> = format!("{whole}{fraction}")
            .bytes()
            .rev()
            .map(|byte| byte - b'0')
            .collect();
        let mut point = fraction.len();
        let mut times = |factor: u32| {
            let mut carry = 0_u32;
            for digit in &mut digits {
                let product = u32::from(*digit) * factor + carry;
                *digit = u8::try_from(product % 10).expect("a digit");
                carry = product / 10;
            }
            while carry > 0 {
                digits.push(u8::try_from(carry % 10).expect("a digit"));
                carry /= 10;
            }
        };
        let order = "kMGTPE";
        match (suffix.chars().next(), suffix.ends_with('i')) {
            (None, _) => {}
            (Some('n'), _) => point += 9,
            (Some('u'), _) => point += 6,
            (Some('m'), _) => point += 3,
            (Some(letter), binary) => {
                let letter = if letter == 'K' { 'k' } else { letter };
                for _ in 0..=order.find(letter).expect("a known suffix") {
                    times(if binary { 1024 } else { 1000 });
                }
            }
        }
        let mut value = 0_u128;
        for digit in digits.iter().skip(point).rev() {
            value = value * 10 + u128::from(*digit);
        }
        (value, digits.iter().take(point).any(|digit| *digit != 0))
    }

    proptest! {
        #[test]
        fn parsing_agrees_with_long_multiplication(
            whole in 0_u64..1 << 40,
            fraction in "[0-9]{0,6}",
            suffix in prop::sample::select(vec![
                "", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei",
            ]),
        ) {
            let text = format!("{whole}.{fraction}{suffix}");
            let (floor, rest) = naive(whole, &fraction, suffix);
            let quantity = Quantity::parse(&text).map_err(TestCaseError::fail)?;
            prop_assert_eq!(quantity.floor(), u64::try_from(floor).ok());
            prop_assert_eq!(quantity.ceil(), u64::try_from(floor + u128::from(rest)).ok());
        }

        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,24}") {
            let _ = Quantity::parse(&text).map(|quantity| (quantity.floor(), quantity.ceil()));
        }

        #[test]
        fn what_is_shown_is_read_back(bytes in 0_u64..) {
            let read = Quantity::parse(&show(bytes)).map_err(TestCaseError::fail)?;
            prop_assert_eq!(read.floor(), Some(bytes));
            prop_assert_eq!(read.ceil(), Some(bytes));
        }
    }
}
