//! LATENCY's monitor: spikes above `latency-monitor-threshold`, by kind of event, the last 160 of each.

use parking_lot::Mutex;
use std::collections::BTreeMap;

/// Spikes kept for an event: as Redis.
const SPIKES_MAX: usize = 160;

/// A kind of event; the names are Redis's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LatencyEvent {
    /// A command.
    Command,
    /// A command of the fast kind.
    FastCommand,
    /// A turn of background expiry.
    ExpireCycle,
    /// A turn of eviction.
    EvictionCycle,
}

impl LatencyEvent {
    /// All, in order of their names.
    pub const ALL: [LatencyEvent; 4] = [
        LatencyEvent::Command,
        LatencyEvent::EvictionCycle,
        LatencyEvent::ExpireCycle,
        LatencyEvent::FastCommand,
    ];

    /// As LATENCY names it.
    pub fn name(self) -> &'static str {
        match self {
            LatencyEvent::Command => "command",
            LatencyEvent::FastCommand => "fast-command",
            LatencyEvent::ExpireCycle => "expire-cycle",
            LatencyEvent::EvictionCycle => "eviction-cycle",
        }
    }
}

/// The spikes of one event: (wall time in seconds, milliseconds), oldest first, one a second at most.
#[derive(Clone, Debug, Default)]
pub struct Spikes {
    /// Oldest first.
    pub samples: Vec<(u64, u64)>,
    /// The highest since the last reset, ms.
    pub max_ms: u64,
}

/// The monitor.
#[derive(Debug, Default)]
pub struct LatencyMonitor {
    events: Mutex<BTreeMap<LatencyEvent, Spikes>>,
}

impl LatencyMonitor {
    /// Takes note of a spike; the caller compared it with the threshold.
    pub fn add(&self, event: LatencyEvent, took_ms: u64, wall_s: u64) {
        let mut events = self.events.lock();
        let spikes = events.entry(event).or_default();
        spikes.max_ms = spikes.max_ms.max(took_ms);
        match spikes.samples.last_mut() {
            Some((at, highest)) if *at == wall_s => *highest = took_ms.max(*highest),
            _ => {
                if spikes.samples.len() == SPIKES_MAX {
                    spikes.samples.remove(0);
                }
                spikes.samples.push((wall_s, took_ms));
            }
        }
    }

    /// A copy of all events' spikes, in order of the enum.
    pub fn all(&self) -> BTreeMap<LatencyEvent, Spikes> {
        self.events.lock().clone()
    }

    /// Forgets the spikes of `events` (of all, if empty); returns how many events had any.
    pub fn reset(&self, events: &[LatencyEvent]) -> usize {
        let mut all = self.events.lock();
        let before = all.len();
        all.retain(|event, _| !events.is_empty() && !events.contains(event));
        before - all.len()
    }
}
