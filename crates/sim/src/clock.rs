//! A node's clock: monotonic, with an offset of its own and a rate that is off by up to what leases assume.

/// Reads true time as one node sees it.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    /// What it shows at the start, us.
    pub offset_us: u64,
    /// How much faster than true time it runs, parts per million; below 0: slower.
    pub rate_error_ppm: i64,
}

impl Clock {
    /// What it shows at this true time, us.
    pub fn at(&self, true_us: u64) -> u64 {
        self.offset_us + self.scaled(true_us)
    }

    /// The first true time, us, at which it shows `shown_us` or more; 0 if it does from the start.
    pub fn true_us(&self, shown_us: u64) -> u64 {
        let since = shown_us.saturating_sub(self.offset_us);
        let rate = (1_000_000 + self.rate_error_ppm) as u64;
        let about = (u128::from(since) * 1_000_000 / u128::from(rate)) as u64;
        // Rounding may leave it one short.
        about + u64::from(self.scaled(about) < since)
    }

    fn scaled(&self, true_us: u64) -> u64 {
        let rate = (1_000_000 + self.rate_error_ppm) as u64;
        (u128::from(true_us) * u128::from(rate) / 1_000_000) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn true_time_of_a_reading_is_the_first_that_shows_it() {
        // Fails when rounding wakes a node one microsecond early, for ever at the same instant.
        for rate_error_ppm in [-10_000, -3, 0, 7, 10_000] {
            let clock = Clock {
                offset_us: 77,
                rate_error_ppm,
            };
            for shown_us in 78..2_000 {
                let at = clock.true_us(shown_us);
                assert!(
                    clock.at(at) >= shown_us && clock.at(at - 1) < shown_us,
                    "{shown_us}"
                );
            }
        }
    }
}
