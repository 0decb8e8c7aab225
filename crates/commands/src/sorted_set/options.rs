//! Arguments that several commands of the family take.

use crate::errors::{ErrorText, NOT_FLOAT};
use resp::{parse_f64, parse_i64};

/// A score.
///
/// # Errors
/// `NOT_FLOAT`, for NaN too.
pub(super) fn score(text: &[u8]) -> Result<f64, ErrorText> {
    let score = parse_f64(text).filter(|score| !score.is_nan());
    score.ok_or(NOT_FLOAT)
}

/// A number that is at least `min`, or else the error is `text`.
///
/// # Errors
/// `text`.
pub(super) fn at_least(min: usize, argument: &[u8], text: ErrorText) -> Result<usize, ErrorText> {
    let number = parse_i64(argument).and_then(|number| usize::try_from(number).ok());
    number.filter(|number| *number >= min).ok_or(text)
}

/// A count of 0 or more.
///
/// # Errors
/// Redis's text.
pub(super) fn count(argument: &[u8]) -> Result<usize, ErrorText> {
    at_least(0, argument, "ERR value is out of range, must be positive")
}
