//! The process around a simulated node: its clocks and its draws. Sometimes it stands still in the middle of a turn.

use crate::clock::Clock;
use crate::random::Random;
use node::{Host, Process};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// What all wall clocks show about at the beginning: 2023-11-14 22:13:20 UTC, us.
const WALL_US: u64 = 1_700_000_000_000_000;

/// A process. Clones are the same process.
#[derive(Clone, Debug)]
pub struct SimHost(Arc<State>);

#[derive(Debug)]
struct State {
    clock: Clock,
    /// True time, us, as the world last told.
    true_us: AtomicU64,
    /// How far the wall clock is off, us.
    wall_off_us: AtomicI64,
    draws: Mutex<Random>,
    /// Looks at the clock until the process stands still; 0: it does not.
    looks_left: AtomicU64,
    /// For how long it will, us.
    stall_us: AtomicU64,
    /// For how long it has in this turn, us.
    stalled_us: AtomicU64,
}

impl SimHost {
    /// A process with this clock, whose wall clock is off by so much.
    pub fn new(clock: Clock, wall_off_us: i64, draws: Random) -> SimHost {
        SimHost(Arc::new(State {
            clock,
            true_us: AtomicU64::new(0),
            wall_off_us: AtomicI64::new(wall_off_us),
            draws: Mutex::new(draws),
            looks_left: AtomicU64::new(0),
            stall_us: AtomicU64::new(0),
            stalled_us: AtomicU64::new(0),
        }))
    }

    /// A turn begins at this true time, us.
    pub fn begin(&self, true_us: u64) {
        self.0.true_us.store(true_us, Ordering::Relaxed);
    }

    /// Has the process stand still for so long, us, just before it looks at the clock for the `looks`th time.
    pub fn stall(&self, looks: u64, for_us: u64) {
        self.0.stall_us.store(for_us, Ordering::Relaxed);
        self.0.looks_left.store(looks, Ordering::Relaxed);
    }

    /// A turn ends. For how long the process stood still in it, us: its clock runs on from there only after that time.
    pub fn end(&self) -> u64 {
        self.0.stalled_us.swap(0, Ordering::Relaxed)
    }

    /// Somebody sets the wall clock, by so much.
    pub fn step_wall(&self, by_us: i64) {
        self.0.wall_off_us.fetch_add(by_us, Ordering::Relaxed);
    }

    fn now_us(&self) -> u64 {
        self.0.true_us.load(Ordering::Relaxed) + self.0.stalled_us.load(Ordering::Relaxed)
    }
}

impl Host for SimHost {
    fn monotonic_us(&self) -> u64 {
        let looks = self.0.looks_left.load(Ordering::Relaxed);
        if looks > 0 {
            self.0.looks_left.store(looks - 1, Ordering::Relaxed);
            if looks == 1 {
                let for_us = self.0.stall_us.load(Ordering::Relaxed);
                self.0.stalled_us.fetch_add(for_us, Ordering::Relaxed);
            }
        }
        self.0.clock.at(self.now_us())
    }

    fn wall_us(&self) -> u64 {
        let off_us = self.0.wall_off_us.load(Ordering::Relaxed);
        (WALL_US + self.now_us()).saturating_add_signed(off_us)
    }

    fn random(&self) -> u64 {
        self.0.draws.lock().expect("one thread").bits()
    }

    fn process(&self) -> Process {
        Process::default()
    }
}
