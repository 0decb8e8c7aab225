//! A browser or another program that was made to speak HTTP to a client port. Its request line and headers would be
//! refused one by one, but the body behind them could hold commands. So, as in Redis, `POST` and `Host:` end the
//! connection, and nothing behind them is run. https://redis.io/docs/latest/operate/oss_and_stack/management/security/

use super::{Session, Turn};
use resp::Args;
use std::sync::atomic::{AtomicU64, Ordering};

/// Between two lines in the log, microseconds: whoever tries this tries it often.
const TOLD_EVERY_US: u64 = 60_000_000;

/// When the log was last told. Monotonic microseconds plus one; 0 is never.
#[derive(Debug, Default)]
pub(crate) struct Told(AtomicU64);

impl Told {
    /// Whether the log is to be told now; the next time is a minute later.
    fn is_due(&self, now_us: u64) -> bool {
        let told = self.0.load(Ordering::Relaxed);
        let due = told == 0 || now_us >= told - 1 + TOLD_EVERY_US;
        due && self
            .0
            .compare_exchange(told, now_us + 1, Ordering::Relaxed, Ordering::Relaxed)
            .is_ok()
    }
}

/// Whether a request is a line of HTTP that no client of Redis sends.
pub(super) fn is_http(args: Args<'_>) -> bool {
    let name = args.get(0);
    name.eq_ignore_ascii_case(b"post") || name.eq_ignore_ascii_case(b"host:")
}

impl Session {
    /// Tells the log that this connection spoke HTTP and is closed.
    pub(super) fn tell_cross_protocol(&self, turn: Turn<'_>) {
        if turn.node.stats.http.is_due(turn.node.host.monotonic_us()) {
            tracing::warn!(
                addr = self.client.addr,
                "possible attack by cross protocol scripting: a connection that sent POST or Host: is closed"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A log that is told of each attempt is filled by whoever attacks; one that is told once hides the next.
    #[test]
    fn the_log_is_told_once_a_minute() {
        let told = Told::default();
        assert!(told.is_due(0), "the first, even at the clock's start");
        assert!(!told.is_due(1));
        assert!(!told.is_due(TOLD_EVERY_US - 1));
        assert!(told.is_due(TOLD_EVERY_US));
        assert!(!told.is_due(TOLD_EVERY_US + 1));
    }
}
