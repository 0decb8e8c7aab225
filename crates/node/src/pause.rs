//! CLIENT PAUSE: for a while all commands, or the writes alone, wait.

use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// What waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PauseMode {
    /// Every command.
    All,
    /// Commands that may write.
    Write,
}

/// The pause in force.
#[derive(Debug, Default)]
pub struct Pause {
    /// End, monotonic microseconds; 0 = none. One load on the way of a command.
    until_us: AtomicU64,
    mode: Mutex<Option<PauseMode>>,
}

impl Pause {
    /// Starts a pause or prolongs the one in force; the stricter mode and the later end win.
    pub fn start(&self, mode: PauseMode, until_us: u64, now_us: u64) {
        let mut current = self.mode.lock();
        let running = self.until_us.load(Ordering::Relaxed) > now_us;
        *current = match (*current, running) {
            (Some(PauseMode::All), true) => Some(PauseMode::All),
            _ => Some(mode),
        };
        let until_us = if running {
            until_us.max(self.until_us.load(Ordering::Relaxed))
        } else {
            until_us
        };
        self.until_us.store(until_us, Ordering::Release);
    }

    /// Ends it.
    pub fn end(&self) {
        *self.mode.lock() = None;
        self.until_us.store(0, Ordering::Release);
    }

    /// Whether a pause may be in force: a cheap first look.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.until_us.load(Ordering::Acquire) != 0
    }

    /// Mode and end of the pause in force at `now_us`.
    pub fn current(&self, now_us: u64) -> Option<(PauseMode, u64)> {
        let mut mode = self.mode.lock();
        let until_us = self.until_us.load(Ordering::Acquire);
        if until_us <= now_us {
            *mode = None;
            self.until_us.store(0, Ordering::Release);
        }
        mode.map(|mode| (mode, until_us))
    }
}
