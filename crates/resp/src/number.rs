//! Numbers in text, with Redis's own idea of what a number is and how it is printed.

use std::io::Write as _;
use std::ops::Deref;

/// The integer that `text` spells, as Redis's `string2ll`: digits with at most a minus before
/// them. No plus, no space, no leading zero, no `-0`, nothing beyond 64 bits.
#[inline]
pub fn parse_i64(text: &[u8]) -> Option<i64> {
    match text {
        [b'-', magnitude @ ..] => {
            let magnitude = parse_u64(magnitude)?;
            // `-0` is refused, so the lowest value is the only one whose magnitude is no i64.
            match magnitude {
                0 => None,
                _ => 0i64.checked_sub_unsigned(magnitude),
            }
        }
        _ => i64::try_from(parse_u64(text)?).ok(),
    }
}

/// The unsigned integer that `text` spells, as strictly as [`parse_i64`].
#[inline]
pub fn parse_u64(text: &[u8]) -> Option<u64> {
    match text {
        [b'0'] => return Some(0),
        [b'1'..=b'9', ..] if text.len() <= 20 => {}
        _ => return None,
    }
    let mut value = 0u64;
    for byte in text {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value.checked_mul(10)?.checked_add(u64::from(digit))?;
    }
    Some(value)
}

/// The double that `text` spells, as Redis reads one with `strtod`: the whole text, no space at
/// either end, a plus or minus, `inf`, `infinity` and `nan` in any case. What overflows to
/// infinity or vanishes to zero is refused; hexadecimal floats are too. Callers refuse NaN.
pub fn parse_f64(text: &[u8]) -> Option<f64> {
    let text = std::str::from_utf8(text).ok()?;
    let value: f64 = text.parse().ok()?;
    let overflowed = value.is_infinite() && text.bytes().any(|byte| byte.is_ascii_digit());
    let vanished = value == 0.0 && mantissa(text).any(|byte| matches!(byte, b'1'..=b'9'));
    (!overflowed && !vanished).then_some(value)
}

/// The bytes before the exponent.
fn mantissa(text: &str) -> impl Iterator<Item = u8> {
    text.bytes().take_while(|byte| !matches!(byte, b'e' | b'E'))
}

/// Appends the number in decimal.
#[inline]
pub fn write_u64(out: &mut Vec<u8>, value: u64) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(value).as_bytes());
}

/// Appends the number in decimal.
#[inline]
pub fn write_i64(out: &mut Vec<u8>, value: i64) {
    let mut digits = itoa::Buffer::new();
    out.extend_from_slice(digits.format(value).as_bytes());
}

/// A double in text, on the stack.
#[derive(Clone, Copy, Debug)]
pub struct DoubleText {
    bytes: [u8; DOUBLE_BYTES_MAX],
    len: usize,
}

/// Room for the longest form of a double, `-1.7976931348623157e+308`, and then some.
const DOUBLE_BYTES_MAX: usize = 32;

/// Whole doubles up to this one are printed in full by Redis from 7.2 on: 2^62.
const WHOLE_MAX: f64 = 4_611_686_018_427_387_904.0;

impl DoubleText {
    const EMPTY: Self = DoubleText {
        bytes: [0; DOUBLE_BYTES_MAX],
        len: 0,
    };

    /// The double with 17 significant digits, as C's `%.17g` and Redis up to 7.0 print it: 0.1 is
    /// `0.10000000000000001`. Infinities are `inf` and `-inf`, NaN is `nan`.
    pub fn with_17_digits(value: f64) -> Self {
        let mut text = Self::EMPTY;
        if !text.push_special(value) {
            // Rust has no %g, but its exponent form is rounded as exactly.
            let mut scientific = [0; DOUBLE_BYTES_MAX];
            let mut rest = &mut scientific[..];
            write!(rest, "{value:.16e}").expect("17 digits and an exponent fit");
            let unused = rest.len();
            let decimal = Decimal::parse(&scientific[..DOUBLE_BYTES_MAX - unused]);
            text.push_general(&decimal);
        }
        text
    }

    /// The double with the fewest digits that read back equal, as Redis from 7.2 on prints it:
    /// 0.1 is `0.1`, 1e21 is `1e+21`.
    pub fn shortest(value: f64) -> Self {
        let mut text = Self::EMPTY;
        if text.push_special(value) {
            return text;
        }
        if value.abs() <= WHOLE_MAX && value.trunc() == value {
            let mut digits = itoa::Buffer::new();
            text.push(digits.format(value as i64).as_bytes());
        } else {
            let mut buffer = zmij::Buffer::new();
            let decimal = Decimal::parse(buffer.format_finite(value).as_bytes());
            text.push_shortest(&decimal);
        }
        text
    }

    fn push(&mut self, bytes: &[u8]) {
        self.bytes[self.len..][..bytes.len()].copy_from_slice(bytes);
        self.len += bytes.len();
    }

    fn push_zeros(&mut self, count: usize) {
        for _ in 0..count {
            self.push(b"0");
        }
    }

    /// Values without digits of their own; returns whether this was one.
    fn push_special(&mut self, value: f64) -> bool {
        let special: &[u8] = if value.is_nan() {
            b"nan"
        } else if value == f64::INFINITY {
            b"inf"
        } else if value == f64::NEG_INFINITY {
            b"-inf"
        } else if value == 0.0 && value.is_sign_negative() {
            b"-0"
        } else if value == 0.0 {
            b"0"
        } else {
            return false;
        };
        self.push(special);
        true
    }

    /// C's `%g`: fixed notation from 1e-4 to below 1e17, no trailing zeros, an exponent of at
    /// least two digits.
    fn push_general(&mut self, decimal: &Decimal) {
        self.push_sign(decimal);
        if decimal.exponent < -4 || decimal.exponent >= 17 {
            self.push_scientific(decimal, 2);
        } else {
            self.push_fixed(decimal);
        }
    }

    /// The notation of Redis's `fpconv_dtoa`.
    fn push_shortest(&mut self, decimal: &Decimal) {
        self.push_sign(decimal);
        let digits_count = decimal.digits().len() as i32;
        let zeros_after = decimal.exponent + 1 - digits_count;
        let exponent = decimal.exponent.abs();
        let fixed = if zeros_after >= 0 {
            exponent < digits_count + 7
        } else {
            zeros_after > -7 || exponent < 4
        };
        if fixed {
            self.push_fixed(decimal);
        } else {
            self.push_scientific(decimal, 1);
        }
    }

    fn push_sign(&mut self, decimal: &Decimal) {
        if decimal.is_negative {
            self.push(b"-");
        }
    }

    fn push_fixed(&mut self, decimal: &Decimal) {
        let digits = decimal.digits();
        if decimal.exponent < 0 {
            self.push(b"0.");
            self.push_zeros((-1 - decimal.exponent) as usize);
            self.push(digits);
            return;
        }
        let whole = decimal.exponent as usize + 1;
        if digits.len() <= whole {
            self.push(digits);
            self.push_zeros(whole - digits.len());
        } else {
            self.push(&digits[..whole]);
            self.push(b".");
            self.push(&digits[whole..]);
        }
    }

    fn push_scientific(&mut self, decimal: &Decimal, exponent_digits_min: usize) {
        let digits = decimal.digits();
        self.push(&digits[..1]);
        if digits.len() > 1 {
            self.push(b".");
            self.push(&digits[1..]);
        }
        self.push(if decimal.exponent < 0 { b"e-" } else { b"e+" });
        let mut buffer = itoa::Buffer::new();
        let exponent = buffer.format(decimal.exponent.unsigned_abs()).as_bytes();
        self.push_zeros(exponent_digits_min.saturating_sub(exponent.len()));
        self.push(exponent);
    }
}

impl Deref for DoubleText {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// A finite number other than zero, as digits and a power of ten.
struct Decimal {
    is_negative: bool,
    /// First and last are not zero.
    digits: [u8; 17],
    digits_count: usize,
    /// The power of ten of the first digit.
    exponent: i32,
}

impl Decimal {
    /// Takes apart a number that was printed by a formatter, in fixed or in exponent form.
    fn parse(text: &[u8]) -> Self {
        let (is_negative, text) = match text {
            [b'-', rest @ ..] => (true, rest),
            _ => (false, text),
        };
        let mut decimal = Decimal {
            is_negative,
            digits: [0; 17],
            digits_count: 0,
            exponent: 0,
        };
        let mut whole_digits = 0;
        let mut leading_zeros = 0;
        let mut seen = 0;
        let mut pending_zeros = 0;
        let mut exponent = 0;
        let mut has_point = false;
        for (i, byte) in text.iter().enumerate() {
            match byte {
                b'.' => {
                    whole_digits = seen;
                    has_point = true;
                }
                b'e' => {
                    let shown = &text[i + 1..];
                    let shown = shown.strip_prefix(b"+").unwrap_or(shown);
                    exponent = parse_i64(shown).expect("a formatter's exponent") as i32;
                    break;
                }
                b'0' if decimal.digits_count == 0 => {
                    seen += 1;
                    leading_zeros += 1;
                }
                b'0' => {
                    seen += 1;
                    pending_zeros += 1;
                }
                digit => {
                    seen += 1;
                    // Zeros are digits only once another digit follows.
                    decimal.digits[decimal.digits_count..][..pending_zeros].fill(b'0');
                    decimal.digits_count += pending_zeros;
                    pending_zeros = 0;
                    decimal.digits[decimal.digits_count] = *digit;
                    decimal.digits_count += 1;
                }
            }
        }
        if !has_point {
            whole_digits = seen;
        }
        decimal.exponent = exponent + whole_digits - 1 - leading_zeros;
        decimal
    }

    fn digits(&self) -> &[u8] {
        &self.digits[..self.digits_count]
    }
}

#[cfg(test)]
mod tests;
