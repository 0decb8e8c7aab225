//! Numbers as C's `%g` writes and `strtod` reads them.

/// `%.{digits}g`.
pub(crate) fn write_general(out: &mut Vec<u8>, number: f64, digits: usize) {
    if !number.is_finite() {
        let text = match (number.is_nan(), number.is_sign_negative()) {
            (true, false) => "nan",
            (true, true) => "-nan",
            (false, false) => "inf",
            (false, true) => "-inf",
        };
        return out.extend_from_slice(text.as_bytes());
    }
    let scientific = format!("{:.*e}", digits.max(1) - 1, number);
    let (mantissa, exponent) = scientific.split_once('e').expect("it was asked for");
    let exponent: i32 = exponent.parse().expect("Rust wrote it");
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    let text = if exponent < -4 || exponent >= digits as i32 {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{}e{sign}{:02}", trim(mantissa), exponent.abs())
    } else {
        let decimals = (digits as i32 - 1 - exponent).max(0) as usize;
        trim(&format!("{number:.decimals$}"))
    };
    out.extend_from_slice(text.as_bytes());
}

/// The number at the front of `text` and how many bytes it has; none if there is none.
pub(crate) fn read(text: &[u8]) -> Option<(f64, usize)> {
    let sign_bytes = usize::from(matches!(text.first(), Some(b'-' | b'+')));
    let sign = if text.first() == Some(&b'-') {
        -1.0
    } else {
        1.0
    };
    let rest = &text[sign_bytes..];
    let begins =
        |word: &[u8]| rest.len() >= word.len() && rest[..word.len()].eq_ignore_ascii_case(word);
    if begins(b"infinity") {
        return Some((sign * f64::INFINITY, sign_bytes + 8));
    }
    if begins(b"inf") {
        return Some((sign * f64::INFINITY, sign_bytes + 3));
    }
    if begins(b"nan") {
        return Some((f64::NAN.copysign(sign), sign_bytes + 3));
    }
    if begins(b"0x") && rest.get(2).is_some_and(u8::is_ascii_hexdigit) {
        let digits = rest[2..].iter().take_while(|byte| byte.is_ascii_hexdigit());
        let count = digits.clone().count();
        let value = digits.fold(0.0, |value, digit| {
            value * 16.0 + f64::from(char::from(*digit).to_digit(16).expect("looked at"))
        });
        return Some((sign * value, sign_bytes + 2 + count));
    }
    let digits = |from: usize| {
        rest[from..]
            .iter()
            .take_while(|byte| byte.is_ascii_digit())
            .count()
    };
    let whole = digits(0);
    let mut end = whole;
    let mut count = whole;
    if rest.get(end) == Some(&b'.') {
        let decimals = digits(end + 1);
        count += decimals;
        if count > 0 {
            end += 1 + decimals;
        }
    }
    if count == 0 {
        return None;
    }
    if matches!(rest.get(end), Some(b'e' | b'E')) {
        let sign = usize::from(matches!(rest.get(end + 1), Some(b'-' | b'+')));
        let exponent = digits((end + 1 + sign).min(rest.len()));
        if exponent > 0 {
            end += 1 + sign + exponent;
        }
    }
    let text = std::str::from_utf8(&rest[..end]).expect("ASCII");
    let value: f64 = text.parse().ok()?;
    Some((sign * value, sign_bytes + end))
}
