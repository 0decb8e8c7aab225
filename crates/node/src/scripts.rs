//! Scripts on this node: the engine, those that are at hand by SHA1, and whether those that run are to be stopped.
//!
//! What all nodes know is in the meta group's state ([`crate::meta::ScriptStore`]). A node keeps what it met of it, ready
//! to run, by its last use; and what it was given to run and has not shared yet (`sharing`).

mod sharing;

use crate::host::Host;
use crate::meta::{ScriptStore, StoreFacts};
use cache::Cache;
use lru::LruCache;
use parking_lot::Mutex;
use script::{Engine, Script, ScriptError, Sha};
pub(crate) use sharing::WishError;
use sharing::Wishes;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Scripts that are at hand.
const KNOWN_MAX: usize = 1000;
/// Bytes of their sources together; the longest unused go first, as by count.
const KNOWN_BYTES_MAX: usize = 4 << 20;
/// How long a script may run where others wait for its end, ms: a leader does nothing else for the shard meanwhile, and a
/// lease lasts 250.
const BRIEF_MS_MAX: u64 = 100;
/// Caches that are kept while no script runs on them; each is a few KiB.
const SCRATCHES_MAX: usize = 4;
/// Scripts that run for longer at a time, each on a thread of its own.
const LONG_MAX: usize = 4;
/// What a script is told whose SHA1 nobody knows.
pub(crate) const NOSCRIPT: &str = "NOSCRIPT No matching script. Please use EVAL.";
/// Between two scripts that are shared because they were run, us, once [`SHARED_AT_ONCE_MAX`] are through: a client that
/// makes a source of its own for each call does not fill the meta group's log.
const SHARE_US: u64 = 50_000;
/// So many at once.
const SHARED_AT_ONCE_MAX: u64 = 200;

/// One SCRIPT KILL in [`Scripts::runs`].
const KILL: u64 = 1 << 32;

/// What a node has of scripts; shared by all that run one.
pub(crate) struct Scripts {
    pub engine: Engine,
    /// Empty caches that scripts may run on; at most [`SCRATCHES_MAX`].
    #[expect(
        clippy::vec_box,
        reason = "each script takes one out and puts it back: a pointer is moved, not a cache"
    )]
    scratches: Mutex<Vec<Box<Cache>>>,
    host: Arc<dyn Host>,
    known: Mutex<Known>,
    wishes: Mutex<Wishes>,
    /// How many run, and from [`KILL`] on how many SCRIPT KILL there were: what began before one of them is to end. In one
    /// number, so that a run is either counted when it is killed or begins after that.
    runs: AtomicU64,
    /// How many of them run long.
    long: AtomicUsize,
    /// `lua-time-limit`, ms; 0 = none.
    limit_ms: AtomicU64,
}

struct Known {
    scripts: LruCache<Sha, KnownScript>,
    bytes: usize,
    /// What this node has applied of the store.
    facts: StoreFacts,
    /// When sharing is paid off, us.
    shared_until_us: u64,
}

/// A script that is at hand.
struct KnownScript {
    script: Script,
    /// Whether EVALSHA finds it here: not if only the log brought it.
    is_named: bool,
    /// When it was loaded into the store, by [`StoreFacts::added`]; none if it never was, as far as this node knows.
    loaded_at: Option<u64>,
    is_being_shared: bool,
}

impl std::fmt::Debug for Scripts {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Scripts").finish_non_exhaustive()
    }
}

/// Where a script runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where others wait for its end: with shards locked, or at a leader.
    Briefly,
    /// With nothing held and on a thread that may take its time.
    Long,
}

impl Scripts {
    pub fn new(host: Arc<dyn Host>) -> Scripts {
        let count = NonZeroUsize::new(KNOWN_MAX).expect("not zero");
        Scripts {
            engine: Engine::default(),
            scratches: Mutex::default(),
            host,
            known: Mutex::new(Known {
                scripts: LruCache::new(count),
                bytes: 0,
                facts: StoreFacts::default(),
                shared_until_us: 0,
            }),
            wishes: Mutex::default(),
            runs: AtomicU64::new(0),
            long: AtomicUsize::new(0),
            limit_ms: AtomicU64::new(5000),
        }
    }

    /// Takes the limit of time over.
    pub fn set_limit_ms(&self, limit_ms: u64) {
        self.limit_ms.store(limit_ms, Ordering::Relaxed);
    }

    /// A script by its name, if it is at hand. One whose loading lies far back is to be shared again.
    pub fn named(&self, sha: &Sha) -> Option<Script> {
        let mut known = self.known.lock();
        known.scripts.get(sha).filter(|known| known.is_named)?;
        Some(self.used(known, sha))
    }

    /// A script of this source that somebody wants run: at hand from now on, and to be shared if it is not.
    ///
    /// # Errors
    /// It is no script.
    pub fn learn(&self, source: &[u8]) -> Result<Script, ScriptError> {
        let script = self.check(source)?;
        let mut known = self.known.lock();
        known.name(&script);
        Ok(self.used(known, script.sha()))
    }

    /// The same of a script that is to be loaded ([`Scripts::load`]), which shares it.
    ///
    /// # Errors
    /// It is no script.
    pub fn learn_for_load(&self, source: &[u8]) -> Result<Script, ScriptError> {
        let script = self.check(source)?;
        self.known.lock().name(&script);
        Ok(script)
    }

    /// A script of this source, known to nobody by its name for that.
    ///
    /// # Errors
    /// It is no script.
    pub fn check(&self, source: &[u8]) -> Result<Script, ScriptError> {
        if source.len() <= script::SCRIPT_BYTES_MAX {
            let sha = script::sha_of(source);
            if let Some(known) = self.known.lock().scripts.get(&sha) {
                return Ok(known.script.clone());
            }
        }
        let script = self.engine.check(source)?;
        let mut known = self.known.lock();
        if let Some(known) = known.scripts.get(script.sha()) {
            // Another thread was faster, and may have named it.
            return Ok(known.script.clone());
        }
        known.keep(KnownScript {
            script: script.clone(),
            is_named: false,
            loaded_at: None,
            is_being_shared: false,
        });
        drop(known);
        Ok(script)
    }

    /// A script came out of the store as it was after so many `flushes`.
    pub fn found(&self, script: &Script, loaded_at: u64, flushes: u64) {
        let mut known = self.known.lock();
        if known.facts.flushes == flushes {
            known.name(script);
            if let Some(known) = known.scripts.get_mut(script.sha()) {
                known.loaded_at = Some(loaded_at);
            }
        }
    }

    /// Has nothing at hand any more.
    pub fn forget(&self) {
        let mut known = self.known.lock();
        known.scripts.clear();
        known.bytes = 0;
    }

    /// The store has changed, or is another.
    pub fn take_facts(&self, facts: StoreFacts) {
        let mut known = self.known.lock();
        if facts.version < known.facts.version {
            return; // a later one was faster, or what a node knew before it joined
        }
        if known.facts.flushes != facts.flushes {
            known.scripts.clear();
            known.bytes = 0;
        }
        known.facts = facts;
    }

    /// How many scripts all nodes know, and their bytes.
    pub fn counts(&self) -> (usize, usize) {
        let facts = self.known.lock().facts;
        (facts.count, facts.bytes)
    }

    /// Stops what runs; whether anything does.
    pub fn kill(&self) -> bool {
        let kill = |runs: u64| (!runs.is_multiple_of(KILL)).then(|| runs.wrapping_add(KILL));
        let killed = self
            .runs
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, kill);
        killed.is_ok()
    }

    /// Whether a script that was stopped after its brief run may run for longer.
    pub fn allows_long(&self) -> bool {
        let limit_ms = self.limit_ms.load(Ordering::Relaxed);
        limit_ms == 0 || limit_ms > BRIEF_MS_MAX
    }

    /// The right to run long, if not too many have it.
    pub fn begin_long(self: &Arc<Self>) -> Option<LongRun> {
        let begun = self
            .long
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |count| {
                (count < LONG_MAX).then_some(count + 1)
            });
        begun.ok().map(|_| LongRun(self.clone()))
    }

    /// Takes the cache back that a script ran on.
    pub fn keep_scratch(&self, mut scratch: Box<Cache>) {
        scratch.reset();
        let mut scratches = self.scratches.lock();
        if scratches.len() < SCRATCHES_MAX {
            scratches.push(scratch);
        }
    }

    /// A run begins.
    pub fn begin(self: &Arc<Self>, place: Place) -> Watchdog {
        let runs = self.runs.fetch_add(1, Ordering::AcqRel);
        let limit_ms = match (self.limit_ms.load(Ordering::Relaxed), place) {
            (0, Place::Long) => None,
            (limit_ms, Place::Long) => Some(limit_ms),
            (0, Place::Briefly) => Some(BRIEF_MS_MAX),
            (limit_ms, Place::Briefly) => Some(limit_ms.min(BRIEF_MS_MAX)),
        };
        let now_us = self.host.monotonic_us();
        Watchdog {
            scripts: self.clone(),
            kills: runs / KILL,
            until_us: limit_ms.map(|limit_ms| now_us + limit_ms * 1000),
        }
    }
}

impl Known {
    /// A script is found by its name from now on.
    fn name(&mut self, script: &Script) {
        match self.scripts.get_mut(script.sha()) {
            Some(known) => known.is_named = true,
            None => self.keep(KnownScript {
                script: script.clone(),
                is_named: true,
                loaded_at: None,
                is_being_shared: false,
            }),
        }
    }

    fn keep(&mut self, known: KnownScript) {
        self.bytes += known.script.source().len();
        let sha = *known.script.sha();
        if let Some((_, old)) = self.scripts.push(sha, known) {
            self.bytes -= old.script.source().len();
        }
        while self.bytes > KNOWN_BYTES_MAX && self.scripts.len() > 1 {
            let Some((_, old)) = self.scripts.pop_lru() else {
                break;
            };
            self.bytes -= old.script.source().len();
        }
    }

    /// Whether a script is to be shared at this time: it is not in the store, or may soon be gone from there.
    fn is_due(&self, known: &KnownScript) -> bool {
        let is_old = |loaded_at| ScriptStore::is_old(loaded_at, self.facts.added);
        !known.is_being_shared && known.loaded_at.is_none_or(is_old)
    }

    /// Whether one more script may be shared because it was run; if so it counts.
    fn may_share(&mut self, now_us: u64) -> bool {
        let paid_us = self.shared_until_us.max(now_us) + SHARE_US;
        let may = paid_us <= now_us + SHARED_AT_ONCE_MAX * SHARE_US;
        if may {
            self.shared_until_us = paid_us;
        }
        may
    }
}

/// The right to run long; given back when it is dropped.
pub(crate) struct LongRun(Arc<Scripts>);

impl Drop for LongRun {
    fn drop(&mut self) {
        self.0.long.fetch_sub(1, Ordering::AcqRel);
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
        if self.scripts.runs.load(Ordering::Acquire) / KILL != self.kills {
            return Some(script::Stop::Killed);
        }
        let until_us = self.until_us?;
        (self.now_us() >= until_us).then_some(script::Stop::Timeout)
    }

    /// An empty cache for the run. [`Scripts::keep_scratch`] takes it back, or it may be dropped.
    pub fn scratch(&self, seed: u64) -> Box<Cache> {
        let kept = self.scripts.scratches.lock().pop();
        kept.filter(|cache| cache.seed() == seed)
            .unwrap_or_else(|| Box::new(Cache::new(seed)))
    }

    /// The clock, us.
    pub fn now_us(&self) -> u64 {
        self.scripts.host.monotonic_us()
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        self.scripts.runs.fetch_sub(1, Ordering::AcqRel);
    }
}
