//! SLOWLOG: the commands that took longest, newest first.

use parking_lot::Mutex;
use resp::Args;
use std::collections::VecDeque;
use std::sync::Arc;

/// Most arguments kept of a command, and most bytes of one: as Redis.
const ARGUMENTS_MAX: usize = 32;
const ARGUMENT_BYTES_MAX: usize = 128;

/// One slow command.
#[derive(Clone, Debug)]
pub struct SlowEntry {
    /// Counts from 0 since the start.
    pub id: u64,
    /// Wall time, seconds.
    pub wall_s: u64,
    /// How long it ran, microseconds.
    pub took_us: u64,
    /// Its arguments, shortened.
    pub args: Vec<Vec<u8>>,
    /// `ip:port`.
    pub addr: String,
    /// Name of the connection.
    pub name: Vec<u8>,
}

/// The log.
#[derive(Debug, Default)]
pub struct Slowlog {
    inner: Mutex<Inner>,
}

#[derive(Debug, Default)]
struct Inner {
    next_id: u64,
    entries_max: usize,
    entries: VecDeque<Arc<SlowEntry>>,
}

impl Slowlog {
    /// Keeps at most `entries_max` from now on.
    pub fn resize(&self, entries_max: usize) {
        let mut inner = self.inner.lock();
        inner.entries_max = entries_max;
        inner.entries.truncate(entries_max);
    }

    /// Adds a command.
    pub fn add(&self, args: Args<'_>, took_us: u64, wall_s: u64, addr: &str, name: &[u8]) {
        let shown = args.len().min(ARGUMENTS_MAX);
        let mut kept: Vec<Vec<u8>> = args.iter().take(shown).map(shorten).collect();
        if args.len() > ARGUMENTS_MAX {
            let rest = args.len() - ARGUMENTS_MAX + 1;
            *kept.last_mut().expect("32 arguments were kept") =
                format!("... ({rest} more arguments)").into_bytes();
        }
        let mut inner = self.inner.lock();
        let id = inner.next_id;
        inner.next_id += 1;
        let entry = SlowEntry {
            id,
            wall_s,
            took_us,
            args: kept,
            addr: addr.into(),
            name: name.into(),
        };
        inner.entries.push_front(Arc::new(entry));
        let entries_max = inner.entries_max;
        inner.entries.truncate(entries_max);
    }

    /// The newest `count` entries (all, if none is given).
    pub fn newest(&self, count: Option<usize>) -> Vec<Arc<SlowEntry>> {
        let inner = self.inner.lock();
        inner
            .entries
            .iter()
            .take(count.unwrap_or(usize::MAX))
            .cloned()
            .collect()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.inner.lock().entries.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Forgets all.
    pub fn reset(&self) {
        self.inner.lock().entries.clear();
    }
}

fn shorten(argument: &[u8]) -> Vec<u8> {
    if argument.len() <= ARGUMENT_BYTES_MAX {
        return argument.to_vec();
    }
    let mut kept = argument[..ARGUMENT_BYTES_MAX].to_vec();
    kept.extend_from_slice(
        format!("... ({} more bytes)", argument.len() - ARGUMENT_BYTES_MAX).as_bytes(),
    );
    kept
}
