//! The order that SORT puts elements into.
//!
//! It is a total order of elements that differ, so that what STORE leaves is the same on every replica: equal numbers are ordered by
//! the elements' bytes; where weights that are compared as bytes are equal, elements stay in the order of their collection.

use super::pattern::Pattern;
use super::{Comparison, Direction};
use crate::{Context, errors::ErrorText};
use resp::parse_f64;
use std::cmp::Ordering;

/// What an element weighs.
#[derive(Clone, Copy)]
pub(super) enum Weighing<'a> {
    /// What it is itself.
    Themselves(Comparison),
    /// What is at the key that it makes.
    By(Pattern<'a>, Comparison),
}

const NOT_NUMBERS: ErrorText = "ERR One or more scores can't be converted into double";

/// The elements in their order.
///
/// # Errors
/// Weights are to be numbers and one is not.
pub(super) fn sort_elements<'c>(
    ctx: &mut Context<'_>,
    mut elements: Vec<&'c [u8]>,
    weighing: Weighing<'_>,
    direction: Direction,
) -> Result<Vec<&'c [u8]>, ErrorText> {
    match weighing {
        Weighing::Themselves(Comparison::Bytes) => {
            elements.sort_by(|one, other| directed(direction, one.cmp(other)));
            Ok(elements)
        }
        Weighing::Themselves(Comparison::Numbers) => sort_by_number(elements, direction, number),
        Weighing::By(pattern, Comparison::Numbers) => {
            sort_by_number(elements, direction, |element| {
                // What weighs nothing weighs 0.
                pattern.look_up(ctx, element, |found| found.map_or(Some(0.0), number))
            })
        }
        Weighing::By(pattern, Comparison::Bytes) => {
            let weigh = |element: &'c [u8]| {
                let weight = pattern.look_up(ctx, element, |found| found.map(<[u8]>::to_vec));
                (weight, element)
            };
            let mut weighed: Vec<(Option<Vec<u8>>, &[u8])> =
                elements.into_iter().map(weigh).collect();
            // What weighs nothing comes before all that weighs something.
            weighed.sort_by(|one, other| directed(direction, one.0.cmp(&other.0)));
            Ok(weighed.into_iter().map(|(_, element)| element).collect())
        }
    }
}

fn sort_by_number<'c>(
    elements: Vec<&'c [u8]>,
    direction: Direction,
    mut weight: impl FnMut(&'c [u8]) -> Option<f64>,
) -> Result<Vec<&'c [u8]>, ErrorText> {
    let mut weighed = Vec::with_capacity(elements.len());
    for element in elements {
        weighed.push((weight(element).ok_or(NOT_NUMBERS)?, element));
    }
    weighed.sort_by(|one, other| {
        let by_number = one.0.partial_cmp(&other.0).expect("no weight is NaN");
        directed(direction, by_number.then_with(|| one.1.cmp(other.1)))
    });
    Ok(weighed.into_iter().map(|(_, element)| element).collect())
}

fn directed(direction: Direction, ordering: Ordering) -> Ordering {
    match direction {
        Direction::Ascending => ordering,
        Direction::Descending => ordering.reverse(),
    }
}

/// The number that an element or a weight spells, as C's `strtod` reads it: space may stand before it, and nothing at all is 0.
fn number(text: &[u8]) -> Option<f64> {
    if text.is_empty() {
        return Some(0.0);
    }
    let is_space = |byte: &u8| matches!(byte, b' ' | b'\t'..=b'\r');
    let begin = text.iter().position(|byte| !is_space(byte))?;
    parse_f64(&text[begin..]).filter(|number| !number.is_nan())
}
