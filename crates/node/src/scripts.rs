//! Scripts on this node: the engine, the cache by SHA1, and whether those that run are to be stopped.

use crate::host::Host;
use lru::LruCache;
use parking_lot::Mutex;
use script::{Engine, Script, ScriptError, Sha};
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Scripts that are kept.
pub(crate) const SCRIPTS_MAX: usize = 1000;
/// Bytes of their sources together; the longest unused go first, as by count.
pub(crate) const SCRIPTS_BYTES_MAX: usize = 4 << 20;
/// How long a script may run on a shard with replicas, ms: its leader does nothing else for the shard meanwhile, and a
/// lease lasts 250.
const GROUPED_MS_MAX: u64 = 100;
/// What a script is told whose SHA1 nobody knows.
pub(crate) const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";

/// What a node has of scripts; shared by all that run one.
pub(crate) struct Scripts {
    pub engine: Engine,
    host: Arc<dyn Host>,
    known: Mutex<Known>,
    /// How many run.
    running: AtomicUsize,
    /// Rises with each SCRIPT KILL: what began before is to end.
    kills: AtomicU64,
    /// `lua-time-limit`, ms; 0 = none.
    limit_ms: AtomicU64,
}

struct Known {
    scripts: LruCache<Sha, Script>,
    bytes: usize,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scripts").finish_non_exhaustive()
    }
}

/// Where a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// On shards that nobody else holds.
    Solo,
    /// At a leader, ahead of its log.
    Grouped,
}

impl Scripts {
    pub fn new(host: Arc<dyn Host>) -> Scripts {
        let count = NonZeroUsize::new(SCRIPTS_MAX).expect("not zero");
        Scripts {
            engine: Engine::default(),
            host,
            known: Mutex::new(Known {
                scripts: LruCache::new(count),
                bytes: 0,
            }),
            running: AtomicUsize::new(0),
            kills: AtomicU64::new(0),
            limit_ms: AtomicU64::new(5000),
        }
    }

    /// Takes the limit of time over.
    pub fn set_limit_ms(&self, limit_ms: u64) {
        self.limit_ms.store(limit_ms, Ordering::Relaxed);
    }

    /// A script by its name, whatever the case of its digits.
    pub fn get(&self, name: &[u8]) -> Option<Script> {
        let mut sha: Sha = name.try_into().ok()?;
        sha.make_ascii_lowercase();
        self.known.lock().scripts.get(&sha).cloned()
    }

    /// A script of this source: from the cache, or looked at and put there.
    ///
    /// # Errors
    /// It is no script.
    pub fn learn(&self, source: &[u8]) -> Result<Script, ScriptError> {
        if source.len() <= script::SCRIPT_BYTES_MAX
            && let Some(known) = self.get(&script::sha_of(source))
        {
            return Ok(known);
        }
        let script = self.engine.check(source)?;
        self.keep(script.clone());
        Ok(script)
    }

    fn keep(&self, script: Script) {
        let mut known = self.known.lock();
        known.bytes += script.source().len();
        if let Some((_, old)) = known.scripts.push(*script.sha(), script) {
            known.bytes -= old.source().len();
        }
        while known.bytes > SCRIPTS_BYTES_MAX && known.scripts.len() > 1 {
            let Some((_, old)) = known.scripts.pop_lru() else {
                break;
            };
            known.bytes -= old.source().len();
        }
    }

    /// Forgets all.
    pub fn flush(&self) {
        let mut known = self.known.lock();
        known.scripts.clear();
        known.bytes = 0;
    }

    /// How many are known, and their bytes.
    pub fn counts(&self) -> (usize, usize) {
        let known = self.known.lock();
        (known.scripts.len(), known.bytes)
    }

    /// Stops what runs; whether anything does.
    pub fn kill(&self) -> bool {
        let runs = self.running.load(Ordering::Acquire) > 0;
        if runs {
            self.kills.fetch_add(1, Ordering::AcqRel);
        }
        runs
    }

    /// A run begins.
    pub fn begin(self: &Arc<Self>, place: Place) -> Watchdog {
        self.running.fetch_add(1, Ordering::AcqRel);
        let limit_ms = match (self.limit_ms.load(Ordering::Relaxed), place) {
            (0, Place::Solo) => None,
            (limit_ms, Place::Solo) => Some(limit_ms),
            (0, Place::Grouped) => Some(GROUPED_MS_MAX),
            (limit_ms, Place::Grouped) => Some(limit_ms.min(GROUPED_MS_MAX)),
        };
        let now_us = self.host.monotonic_us();
        Watchdog {
            scripts: self.clone(),
            kills: self.kills.load(Ordering::Acquire),
            until_us: limit_ms.map(|limit_ms| now_us + limit_ms * 1000),
        }
    }
}

/// Looks after one run.
pub(crate) struct Watchdog {
    scripts: Arc<Scripts>,
    kills: u64,
    until_us: Option<u64>,
}

impl Watchdog {
    /// Whether the run is to end, and why.
    pub fn stop(&self) -> Option<script::Stop> {
        if self.scripts.kills.load(Ordering::Acquire) != self.kills {
            return Some(script::Stop::Killed);
        }
        let until_us = self.until_us?;
        (self.now_us() >= until_us).then_some(script::Stop::Timeout)
    }

    /// The clock, us.
    pub fn now_us(&self) -> u64 {
        self.scripts.host.monotonic_us()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.scripts.running.fetch_sub(1, Ordering::AcqRel);
    }
}
