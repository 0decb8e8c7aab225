//! Numbers with 64 bits of mantissa and 15 of exponent: what C calls `long double` on x86, in which
//! Redis keeps INCRBYFLOAT's sums. With a double, 0.1 + 0.2 would print as 0.30000000000000004.
//!
//! Done in integers, so that all replicas reach the same bytes on every machine. Reading, adding and
//! printing round once each, to nearest, ties to even, as the x87 and glibc do.

/// Lowest exponent of a mantissa's unit: numbers below 2^63 × 2^this have fewer bits.
const EXPONENT_MIN: i64 = -16_445;

/// Highest exponent of a mantissa's unit.
const EXPONENT_MAX: i64 = 16_320;

/// No number has its first decimal digit at or above this power of ten.
const DECIMAL_EXPONENT_MAX: i64 = 4_933;

/// A number whose first decimal digit stands below this power of ten rounds to zero.
const DECIMAL_EXPONENT_MIN: i64 = -4_952;

/// Redis refuses longer texts (its buffer holds 5 KiB with a zero byte).
const TEXT_BYTES_MAX: usize = 5 * 1024 - 1;

/// Decimals that are printed (`%.17Lf`).
const DECIMALS: usize = 17;
const DECIMALS_POWER: u128 = 10u128.pow(DECIMALS as u32);

/// A number: `mantissa × 2^exponent`, or infinite.
///
/// - The mantissa's top bit is set, unless the exponent is the lowest one or the number is zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Extended {
    is_negative: bool,
    magnitude: Magnitude,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Magnitude {
    Finite { mantissa: u64, exponent: i64 },
    Infinite,
}

const ZERO: Magnitude = Magnitude::Finite {
    mantissa: 0,
    exponent: EXPONENT_MIN,
};

impl Extended {
    /// Nothing.
    pub const ZERO: Extended = Extended {
        is_negative: false,
        magnitude: ZERO,
    };

    /// The number that `text` spells as C's `strtold` reads it: decimal or hexadecimal, with an
    /// exponent or without, or `inf`; the whole text and no space. None for anything else, for NaN,
    /// and where the number overflows or vanishes to zero.
    pub fn parse(text: &[u8]) -> Option<Extended> {
        if text.len() > TEXT_BYTES_MAX {
            return None;
        }
        let (is_negative, unsigned) = match text {
            [b'-', rest @ ..] => (true, rest),
            [b'+', rest @ ..] => (false, rest),
            _ => (false, text),
        };
        let magnitude = match unsigned {
            [b'0', b'x' | b'X', rest @ ..] => parse_hexadecimal(rest)?,
            [b'0'..=b'9' | b'.', ..] => parse_decimal(unsigned)?,
            _ => {
                let is = |word: &[u8]| unsigned.eq_ignore_ascii_case(word);
                (is(b"inf") || is(b"infinity")).then_some(Magnitude::Infinite)?
            }
        };
        Some(Extended {
            is_negative,
            magnitude,
        })
    }

    /// Whether it is not infinite.
    pub fn is_finite(self) -> bool {
        match self.magnitude {
            Magnitude::Finite { .. } => true,
            Magnitude::Infinite => false,
        }
    }

    /// The sum, or none if it is not finite.
    pub fn add(self, other: Extended) -> Option<Extended> {
        let (larger, smaller) = if self.order() >= other.order() {
            (self, other)
        } else {
            (other, self)
        };
        let (
            Magnitude::Finite {
                mantissa: high,
                exponent,
            },
            Magnitude::Finite {
                mantissa: low,
                exponent: low_exponent,
            },
        ) = (larger.magnitude, smaller.magnitude)
        else {
            return None;
        };
        // 62 bits below the mantissa's unit: a sum keeps room for its carry, a difference more bits
        // than rounding looks at; what falls off below is one sticky bit.
        const SPARE_BITS: i64 = 62;
        let high = u128::from(high) << SPARE_BITS;
        let low = u128::from(low) << SPARE_BITS;
        let distance = exponent - low_exponent;
        let (aligned, is_inexact) = if distance < 128 {
            let aligned = low >> distance;
            (aligned, aligned << distance != low)
        } else {
            (0, low != 0)
        };
        let sum = if larger.is_negative == smaller.is_negative {
            high + aligned
        } else {
            high - aligned - u128::from(is_inexact)
        };
        let magnitude = if sum == 0 && !is_inexact {
            ZERO
        } else {
            round(&limbs_of(sum), is_inexact, exponent - SPARE_BITS)?
        };
        let is_negative = larger.is_negative && (magnitude != ZERO || smaller.is_negative);
        Some(Extended {
            is_negative,
            magnitude,
        })
    }

    /// Orders by magnitude: the exponent decides, since mantissas use their top bit.
    fn order(self) -> (i64, u64) {
        match self.magnitude {
            Magnitude::Finite { mantissa: 0, .. } => (i64::MIN, 0),
            Magnitude::Finite { mantissa, exponent } => (exponent, mantissa),
            Magnitude::Infinite => (i64::MAX, 0),
        }
    }

    /// The number with up to 17 decimals, without zeros at their end. Panics if it is infinite, which
    /// no sum is.
    pub fn to_text(self) -> Vec<u8> {
        let Magnitude::Finite { mantissa, exponent } = self.magnitude else {
            panic!("an infinite number is never stored");
        };
        let mut text = Vec::with_capacity(32);
        if self.is_negative {
            text.push(b'-');
        }
        if exponent >= 0 {
            let mut limbs = limbs_of(u128::from(mantissa));
            shift_left(&mut limbs, exponent as usize);
            push_decimal(&mut text, limbs);
        } else {
            push_fixed(&mut text, mantissa, exponent.unsigned_abs());
        }
        if text == b"-0" {
            text.remove(0);
        }
        text
    }
}

/// Appends `mantissa / 2^shift`, rounded to 17 decimals.
fn push_fixed(text: &mut Vec<u8>, mantissa: u64, shift: u64) {
    // Below 2^121, so that half a unit fits where there is anything but zero to print.
    let scaled = u128::from(mantissa) * DECIMALS_POWER;
    let rounded = if shift >= 127 {
        0
    } else {
        let unit = 1u128 << shift;
        let (whole, rest) = (scaled >> shift, scaled & (unit - 1));
        let is_up = rest > unit / 2 || rest == unit / 2 && whole % 2 == 1;
        whole + u128::from(is_up)
    };
    let mut digits = itoa::Buffer::new();
    text.extend_from_slice(digits.format(rounded / DECIMALS_POWER).as_bytes());
    let mut decimals = [b'0'; DECIMALS];
    let mut rest = (rounded % DECIMALS_POWER) as u64;
    for digit in decimals.iter_mut().rev() {
        *digit = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    let kept = decimals.iter().rposition(|digit| *digit != b'0');
    if let Some(last) = kept {
        text.push(b'.');
        text.extend_from_slice(&decimals[..=last]);
    }
}

/// Digits with an optional point among them, and what follows them.
struct Digits<'a> {
    /// Values of the digits, the point left out.
    values: Vec<u8>,
    /// How many of them stand behind the point.
    decimals: i64,
    rest: &'a [u8],
}

/// None if there is no digit at all.
fn split_digits(text: &[u8], radix: u32) -> Option<Digits<'_>> {
    let mut values = Vec::with_capacity(text.len());
    let mut point_at = None;
    let mut read = 0;
    for &byte in text {
        match char::from(byte).to_digit(radix) {
            Some(value) => values.push(value as u8),
            None if byte == b'.' && point_at.is_none() => point_at = Some(values.len()),
            None => break,
        }
        read += 1;
    }
    (!values.is_empty()).then(|| Digits {
        decimals: point_at.map_or(0, |at| values.len() - at) as i64,
        values,
        rest: &text[read..],
    })
}

/// The exponent behind the digits; 0 if there is nothing there, none if there is anything else.
/// Beyond what any number needs it is cut off.
fn parse_exponent(text: &[u8], letter: u8) -> Option<i64> {
    let [first, rest @ ..] = text else {
        return Some(0);
    };
    let (is_negative, digits) = match rest {
        [b'-', digits @ ..] => (true, digits),
        [b'+', digits @ ..] => (false, digits),
        digits => (false, digits),
    };
    let is_exponent = first.eq_ignore_ascii_case(&letter)
        && !digits.is_empty()
        && digits.iter().all(u8::is_ascii_digit);
    let magnitude = digits.iter().fold(0i64, |value, digit| {
        (value * 10 + i64::from(digit.wrapping_sub(b'0'))).min(1_000_000)
    });
    is_exponent.then_some(if is_negative { -magnitude } else { magnitude })
}

fn parse_decimal(text: &[u8]) -> Option<Magnitude> {
    let digits = split_digits(text, 10)?;
    let mut exponent = parse_exponent(digits.rest, b'e')? - digits.decimals;
    let Some(last) = digits.values.iter().rposition(|value| *value != 0) else {
        return Some(ZERO);
    };
    let first = digits.values.iter().position(|value| *value != 0)?;
    exponent += (digits.values.len() - 1 - last) as i64;
    let values = &digits.values[first..=last];
    let top = exponent + values.len() as i64 - 1;
    if !(DECIMAL_EXPONENT_MIN..DECIMAL_EXPONENT_MAX).contains(&top) {
        return None;
    }
    let mut limbs = limbs_of_digits(values, 10, 9);
    if exponent >= 0 {
        multiply_power_of_5(&mut limbs, exponent as u64);
        return round(&limbs, false, exponent);
    }
    // 10^n = 5^n × 2^n: shifted so far up that the quotient by 5^n has more than 64 bits, the
    // remainders being no more than sticky.
    let power = exponent.unsigned_abs();
    let shift = (power * 7 / 3 + 96) as usize;
    shift_left(&mut limbs, shift);
    let is_inexact = divide_power_of_5(&mut limbs, power);
    round(&limbs, is_inexact, exponent - shift as i64)
}

fn parse_hexadecimal(text: &[u8]) -> Option<Magnitude> {
    let digits = split_digits(text, 16)?;
    let exponent = parse_exponent(digits.rest, b'p')? - 4 * digits.decimals;
    let limbs = limbs_of_digits(&digits.values, 16, 7);
    if bits_count(&limbs) == 0 {
        return Some(ZERO);
    }
    round(&limbs, false, exponent)
}

/// `value × 2^exponent`, plus less than a unit if `is_inexact`, rounded to a number. The value is not
/// zero. None if it overflows or vanishes.
fn round(value: &[u32], is_inexact: bool, exponent: i64) -> Option<Magnitude> {
    let bits = bits_count(value) as i64;
    // Bits that do not fit the mantissa, or stand below the lowest exponent; below 0: room to spare.
    let dropped = (bits - 64).max(EXPONENT_MIN - exponent);
    let exponent = exponent + dropped;
    if dropped <= 0 {
        assert!(!is_inexact, "an inexact value has more bits than are kept");
        let mantissa = take_bits(value, 0) << -dropped;
        return in_range(mantissa, exponent);
    }
    if dropped > bits {
        return None;
    }
    let dropped = dropped as usize;
    let mantissa = take_bits(value, dropped);
    let is_half = bit(value, dropped - 1);
    let is_beyond = is_inexact || trailing_zeros(value) < dropped - 1;
    if is_half && (is_beyond || mantissa % 2 == 1) {
        match mantissa.checked_add(1) {
            Some(mantissa) => in_range(mantissa, exponent),
            None => in_range(1 << 63, exponent + 1),
        }
    } else {
        in_range(mantissa, exponent)
    }
}

fn in_range(mantissa: u64, exponent: i64) -> Option<Magnitude> {
    (mantissa != 0 && exponent <= EXPONENT_MAX).then_some(Magnitude::Finite { mantissa, exponent })
}

// Whole numbers of any size: limbs of 32 bits, the lowest first.

fn limbs_of(mut value: u128) -> Vec<u32> {
    let mut limbs = Vec::with_capacity(4);
    while value > 0 {
        limbs.push(value as u32);
        value >>= 32;
    }
    limbs
}

/// The number of these digits, taken `chunk_len` at a time: so many as 32 bits hold.
fn limbs_of_digits(values: &[u8], radix: u32, chunk_len: usize) -> Vec<u32> {
    let mut limbs = Vec::with_capacity(values.len() / 7 + 1);
    for values in values.chunks(chunk_len) {
        let chunk = values
            .iter()
            .fold(0, |sum, value| sum * radix + u32::from(*value));
        multiply_add(&mut limbs, radix.pow(values.len() as u32), chunk);
    }
    limbs
}

fn bits_count(limbs: &[u32]) -> usize {
    limbs
        .iter()
        .rposition(|limb| *limb != 0)
        .map_or(0, |top| top * 32 + 32 - limbs[top].leading_zeros() as usize)
}

/// Of a number that is not zero.
fn trailing_zeros(limbs: &[u32]) -> usize {
    let lowest = limbs.iter().take_while(|limb| **limb == 0).count();
    lowest * 32 + limbs[lowest].trailing_zeros() as usize
}

fn bit(limbs: &[u32], index: usize) -> bool {
    limbs
        .get(index / 32)
        .is_some_and(|limb| limb >> (index % 32) & 1 == 1)
}

/// 64 bits from bit `from` on.
fn take_bits(limbs: &[u32], from: usize) -> u64 {
    let limb = |place: usize| u128::from(limbs.get(from / 32 + place).copied().unwrap_or(0));
    let wide = limb(0) | limb(1) << 32 | limb(2) << 64;
    (wide >> (from % 32)) as u64
}

fn shift_left(limbs: &mut Vec<u32>, bits: usize) {
    multiply_add(limbs, 1 << (bits % 32), 0);
    limbs.splice(0..0, std::iter::repeat_n(0, bits / 32));
}

fn multiply_add(limbs: &mut Vec<u32>, factor: u32, summand: u32) {
    let mut carry = u64::from(summand);
    for limb in limbs.iter_mut() {
        let product = u64::from(*limb) * u64::from(factor) + carry;
        *limb = product as u32;
        carry = product >> 32;
    }
    if carry > 0 {
        limbs.push(carry as u32);
    }
}

/// The highest power of 5 in 32 bits, and its exponent.
const FIVES: u32 = 5u32.pow(FIVES_EXPONENT);
const FIVES_EXPONENT: u32 = 13;

fn multiply_power_of_5(limbs: &mut Vec<u32>, exponent: u64) {
    for _ in 0..exponent / u64::from(FIVES_EXPONENT) {
        multiply_add(limbs, FIVES, 0);
    }
    multiply_add(
        limbs,
        5u32.pow((exponent % u64::from(FIVES_EXPONENT)) as u32),
        0,
    );
}

/// Divides by 5^exponent; whether there was a remainder.
fn divide_power_of_5(limbs: &mut Vec<u32>, exponent: u64) -> bool {
    let mut remainders = 0;
    for _ in 0..exponent / u64::from(FIVES_EXPONENT) {
        remainders |= divide(limbs, FIVES);
    }
    remainders |= divide(
        limbs,
        5u32.pow((exponent % u64::from(FIVES_EXPONENT)) as u32),
    );
    remainders != 0
}

/// Divides in place; returns the remainder.
#[inline(always)] // So that a constant divisor becomes a multiplication.
fn divide(limbs: &mut Vec<u32>, divisor: u32) -> u32 {
    let mut remainder = 0u64;
    for limb in limbs.iter_mut().rev() {
        let wide = remainder << 32 | u64::from(*limb);
        *limb = (wide / u64::from(divisor)) as u32;
        remainder = wide % u64::from(divisor);
    }
    while limbs.last() == Some(&0) {
        limbs.pop();
    }
    remainder as u32
}

fn push_decimal(text: &mut Vec<u8>, mut limbs: Vec<u32>) {
    const NINE_DIGITS: u32 = 1_000_000_000;
    let mut chunks = Vec::new();
    while !limbs.is_empty() {
        chunks.push(divide(&mut limbs, NINE_DIGITS));
    }
    let mut digits = itoa::Buffer::new();
    let top = chunks.pop().unwrap_or(0);
    text.extend_from_slice(digits.format(top).as_bytes());
    for chunk in chunks.iter().rev() {
        let digits = digits.format(*chunk).as_bytes();
        text.extend(std::iter::repeat_n(b'0', 9 - digits.len()));
        text.extend_from_slice(digits);
    }
}

#[cfg(test)]
mod tests;
