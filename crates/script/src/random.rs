//! The random numbers of `math.random`: those of POSIX's `lrand48` with a seed of zero at each run, as Redis has them, so
//! that a script gives the same on every node and every day.

/// A generator of 31-bit numbers.
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

const MULTIPLIER: u64 = 0x5_deec_e66d;
const INCREMENT: u64 = 0xb;
const STATE_BITS: u32 = 48;
/// Largest number, exclusive in a fraction.
const NUMBER_MAX: u32 = i32::MAX as u32;

impl Random {
    /// Begins where `srand48` of this seed does.
    pub fn seeded(seed: i32) -> Self {
        Random((u64::from(seed as u32) << 16) + 0x330e)
    }

    /// The next number, at least 0 and below 1.
    pub fn fraction(&mut self) -> f64 {
        let mask = (1u64 << STATE_BITS) - 1;
        self.0 = self.0.wrapping_mul(MULTIPLIER).wrapping_add(INCREMENT) & mask;
        let number = (self.0 >> 17) as u32;
        f64::from(number % NUMBER_MAX) / f64::from(NUMBER_MAX)
    }
}
