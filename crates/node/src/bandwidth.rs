//! How fast a node sends the states of moving shards: a token bucket over bytes.

use parking_lot::Mutex;

/// What may be saved up while nothing is sent, as time at the full rate, us.
const SAVED_US: u64 = 50_000;

/// Bytes that may be sent now. Below zero after a piece that was larger than what was left.
#[derive(Debug, Default)]
pub(crate) struct Bandwidth(Mutex<Bucket>);

#[derive(Debug, Default)]
struct Bucket {
    bytes: i64,
    filled_us: u64,
}

impl Bandwidth {
    /// Whether anything may be sent at this time under a limit of `bytes_per_s`.
    pub fn has_room(&self, bytes_per_s: u64, now_us: u64) -> bool {
        let mut bucket = self.0.lock();
        let passed_us = now_us.saturating_sub(bucket.filled_us);
        let bytes_in = |us: u64| (u128::from(bytes_per_s) * u128::from(us) / 1_000_000) as i64;
        let gained = bytes_in(passed_us);
        if gained > 0 {
            bucket.bytes = bucket
                .bytes
                .saturating_add(gained)
                .min(bytes_in(SAVED_US).max(1));
            bucket.filled_us = now_us;
        }
        bucket.bytes > 0
    }

    /// So much was sent.
    pub fn take(&self, bytes: usize) {
        self.0.lock().bytes -= bytes as i64;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_holds_whatever_the_pieces() {
        // Breaks if moving shards takes more of a link than the operator gave it, or stops.
        let (bandwidth, per_s) = (Bandwidth::default(), 1_000_000);
        let mut sent = 0;
        for ms in 0..10_000u64 {
            while bandwidth.has_room(per_s, ms * 1000) {
                let piece = 1 + (ms as usize * 7919) % 300_000;
                bandwidth.take(piece);
                sent += piece;
            }
        }
        assert!(
            (9_600_000..10_400_000).contains(&sent),
            "{sent} bytes in 10 s"
        );
    }
}
