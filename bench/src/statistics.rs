//! Medians and ranges over rounds.

/// The median; of an even count the mean of the middle two.
///
/// # Panics
/// If `values` is empty or holds a NaN: a row without rounds is our own bug.
pub fn median(values: &[f64]) -> f64 {
    assert!(!values.is_empty(), "a median needs a value");
    let mut sorted = values.to_vec();
    sorted.sort_by(|a, b| a.partial_cmp(b).expect("measurements are numbers"));
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// The ratio of two servers over interleaved rounds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ratio {
    /// Ratio of the two medians: what the tables' own numbers give when divided.
    pub of_medians: f64,
    /// Lowest ratio of one round.
    pub low: f64,
    /// Highest ratio of one round.
    pub high: f64,
}

impl Ratio {
    /// `measured` to `base`, whose nth values come from the same round.
    pub fn of_rounds(measured: &[f64], base: &[f64]) -> Self {
        let mut low = f64::INFINITY;
        let mut high = f64::NEG_INFINITY;
        for (measured, base) in measured.iter().zip(base) {
            low = low.min(measured / base);
            high = high.max(measured / base);
        }
        Self {
            of_medians: median(measured) / median(base),
            low,
            high,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_does_not_depend_on_order_nor_on_one_outlier() {
        // One round that a neighbour disturbed must not move the table.
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[1.0, 2.0, 900.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0, 3.0, 2.0]), 2.5);
        assert_eq!(median(&[5.0]), 5.0);
    }

    #[test]
    fn ratio_pairs_the_rounds() {
        // Rounds compared across each other would show the machine's drift as a difference of servers.
        let ratio = Ratio::of_rounds(&[1.0, 4.0, 3.0], &[2.0, 4.0, 4.0]);
        assert_eq!(ratio.of_medians, 0.75);
        assert_eq!((ratio.low, ratio.high), (0.5, 1.0));
    }

    #[test]
    #[should_panic(expected = "a median needs a value")]
    fn median_of_nothing_is_a_bug() {
        // A silent zero would read as the fastest server of all.
        median(&[]);
    }
}
