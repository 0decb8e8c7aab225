//! A generator of numbers that costs a nanosecond: the load loop shares two cores with the server it measures.

/// Xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled").
///
/// Equal seeds give equal sequences, so every server of a round meets the same keys.
#[derive(Debug, Clone)]
pub struct Xorshift {
    /// Never zero: zero is the generator's one fixed point.
    state: u64,
}

impl Xorshift {
    /// A generator for `seed`; any value will do.
    pub fn new(seed: u64) -> Self {
        // A step of splitmix64 keeps seeds that differ in one bit from starting alike.
        let mut mixed = seed.wrapping_add(0x9E37_79B9_7F4A_7C15);
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        Self {
            state: (mixed ^ (mixed >> 31)) | 1,
        }
    }

    /// The next number, uniform over all but zero.
    pub fn next_u64(&mut self) -> u64 {
        self.state ^= self.state >> 12;
        self.state ^= self.state << 25;
        self.state ^= self.state >> 27;
        self.state.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// A number in `0..bound`, by a multiplication in place of a division.
    pub fn below(&mut self, bound: u64) -> u64 {
        ((u128::from(self.next_u64()) * u128::from(bound)) >> 64) as u64
    }

    /// A number in `0.0..1.0`.
    pub fn unit(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stays_below_the_bound_and_reaches_every_part_of_it() {
        // A skewed generator would leave part of the keyspace cold and flatter every cache.
        let mut random = Xorshift::new(7);
        let mut tenths = [0u32; 10];
        for _ in 0..100_000 {
            let number = random.below(1_000);
            assert!(number < 1_000);
            tenths[number as usize / 100] += 1;
        }
        for count in tenths {
            assert!((9_500..10_500).contains(&count), "{tenths:?}");
        }
    }

    #[test]
    fn equal_seeds_give_equal_keys_and_others_do_not() {
        // Servers of one round must meet the same requests, or their ratio compares two workloads.
        let draw = |seed| {
            let mut random = Xorshift::new(seed);
            [random.next_u64(), random.next_u64()]
        };
        assert_eq!(draw(0), draw(0));
        assert_ne!(draw(0), draw(1));
    }
}
