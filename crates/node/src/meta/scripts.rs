//! The scripts that all nodes know by their SHA1: a part of the meta group's state, bounded, so that EVALSHA finds
//! anywhere, over failovers and restarts, what was loaded somewhere.
//!
//! The least recently *loaded* go first: who uses a script is known where it is used alone. A node that runs one whose
//! loading lies far back has it loaded again ([`ScriptStore::is_old`]), so what is in use stays.

use super::command::{MetaAnswer, RequestId, ScriptChange};
use super::state::Answered;
use lru::LruCache;
use script::{SCRIPT_BYTES_MAX, Sha, sha_of};
use serde::{Deserialize, Serialize};
use std::fmt;
use std::sync::Arc;

/// Scripts that are kept.
pub(crate) const SCRIPTS_MAX: usize = 1000;
/// Bytes of their sources together. A short script counts as if it had its share of them, so this bounds both.
pub(crate) const SCRIPTS_BYTES_MAX: usize = 4 << 20;

/// What a script takes of [`SCRIPTS_BYTES_MAX`].
fn weight_of(source: &[u8]) -> usize {
    source.len().max(SCRIPTS_BYTES_MAX / SCRIPTS_MAX)
}

/// The scripts, as all nodes agree on them.
///
/// - `weight` is the sum of the scripts' weights, at most [`SCRIPTS_BYTES_MAX`];
/// - `added`, `flushes` and `version` rise only.
#[derive(Clone, Serialize, Deserialize)]
#[serde(into = "Image", from = "Image")]
pub(crate) struct ScriptStore {
    scripts: LruCache<Sha, Stored>,
    weight: usize,
    /// The weights of all scripts that ever came: a clock by which loadings grow old.
    added: u64,
    flushes: u64,
    version: u64,
    /// Apart from the cluster's other requests, which must not be forgotten because scripts are many.
    pub(super) answered: Answered,
}

/// A script and when it was loaded last, by [`ScriptStore::added`].
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Stored {
    pub source: Arc<[u8]>,
    pub loaded_at: u64,
}

/// What nodes keep of the store outside the meta group's lock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct StoreFacts {
    /// Rises with every change.
    pub version: u64,
    /// How often it was emptied.
    pub flushes: u64,
    /// The clock of loadings.
    pub added: u64,
    /// How many scripts there are.
    pub count: usize,
    /// Bytes of their sources, the short ones' rounded up.
    pub bytes: usize,
}

/// As it is written: the scripts from the first to go to the last.
#[derive(Serialize, Deserialize)]
struct Image {
    scripts: Vec<(u64, Vec<u8>)>,
    added: u64,
    flushes: u64,
    version: u64,
    answered: Answered,
}

impl ScriptStore {
    /// Does what a request says, in order. A source that is too long for a script is left out: nobody asks for that.
    pub(super) fn change(&mut self, id: RequestId, changes: &[ScriptChange], answer: &MetaAnswer) {
        if changes.is_empty() {
            return; // only where it stands in the log counts
        }
        for change in changes {
            match change {
                ScriptChange::Load(source) if source.len() > SCRIPT_BYTES_MAX => {}
                ScriptChange::Load(source) => self.load(source),
                ScriptChange::Flush => {
                    self.scripts.clear();
                    self.weight = 0;
                    self.flushes += 1;
                }
            }
        }
        self.version += 1;
        self.answered.keep(id, answer);
    }

    fn load(&mut self, source: &[u8]) {
        let sha = sha_of(source);
        if let Some(known) = self.scripts.get_mut(&sha) {
            known.loaded_at = self.added;
            return;
        }
        self.weight += weight_of(source);
        self.added += weight_of(source) as u64;
        let stored = Stored {
            source: source.into(),
            loaded_at: self.added,
        };
        self.scripts.put(sha, stored);
        while self.weight > SCRIPTS_BYTES_MAX
            && let Some((_, oldest)) = self.scripts.pop_lru()
        {
            self.weight -= weight_of(&oldest.source);
        }
    }

    /// A script by its name.
    pub fn get(&self, sha: &Sha) -> Option<&Stored> {
        self.scripts.peek(sha)
    }

    /// What nodes keep of it.
    pub fn facts(&self) -> StoreFacts {
        StoreFacts {
            version: self.version,
            flushes: self.flushes,
            added: self.added,
            count: self.scripts.len(),
            bytes: self.weight,
        }
    }

    /// Whether so much came since a script was loaded, by [`StoreFacts::added`], that it may soon be gone.
    pub fn is_old(loaded_at: u64, added: u64) -> bool {
        added.saturating_sub(loaded_at) > SCRIPTS_BYTES_MAX as u64 / 2
    }
}

impl Default for ScriptStore {
    fn default() -> Self {
        ScriptStore {
            // Its bound is that of weights: one by count would take its memory at once.
            scripts: LruCache::unbounded(),
            weight: 0,
            added: 0,
            flushes: 0,
            version: 0,
            answered: Answered::default(),
        }
    }
}

impl PartialEq for ScriptStore {
    fn eq(&self, other: &Self) -> bool {
        self.facts() == other.facts()
            && self.answered == other.answered
            && self.scripts.iter().eq(other.scripts.iter())
    }
}

impl Eq for ScriptStore {}

impl fmt::Debug for ScriptStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ScriptStore").field(&self.facts()).finish()
    }
}

impl From<ScriptStore> for Image {
    fn from(store: ScriptStore) -> Self {
        let oldest_first = store.scripts.iter().rev();
        Image {
            scripts: oldest_first
                .map(|(_, stored)| (stored.loaded_at, stored.source.to_vec()))
                .collect(),
            added: store.added,
            flushes: store.flushes,
            version: store.version,
            answered: store.answered,
        }
    }
}

impl From<Image> for ScriptStore {
    fn from(image: Image) -> Self {
        let mut store = ScriptStore {
            added: image.added,
            flushes: image.flushes,
            version: image.version,
            answered: image.answered,
            ..ScriptStore::default()
        };
        for (loaded_at, source) in image.scripts {
            store.weight += weight_of(&source);
            let sha = sha_of(&source);
            let source = source.into();
            store.scripts.put(sha, Stored { source, loaded_at });
        }
        store
    }
}

#[cfg(test)]
mod tests {
    use super::super::command::{MetaCommand, MetaRequest, decode, encode};
    use super::super::testing::state_of;
    use super::*;

    fn apply(state: &mut super::super::MetaState, id: u128, changes: Vec<ScriptChange>) {
        let command = MetaCommand::Scripts { changes };
        let id = RequestId(id);
        let answer = state.apply(&MetaRequest { id, command });
        assert_eq!(answer, MetaAnswer::Done { epoch: state.epoch });
    }

    fn load(text: &str) -> ScriptChange {
        ScriptChange::Load(text.as_bytes().to_vec())
    }

    fn has(state: &super::super::MetaState, text: &str) -> bool {
        state.scripts.get(&sha_of(text.as_bytes())).is_some()
    }

    #[test]
    fn the_longest_not_loaded_go_first() {
        // Breaks if replicas keep different scripts, more than the bound, or drop one that was loaded just now.
        let mut state = state_of(3);
        let (epoch, facts) = (state.epoch, state.scripts.facts());
        for n in 0..SCRIPTS_MAX as u128 {
            apply(&mut state, 1000 + n, vec![load(&format!("return {n}"))]);
        }
        apply(&mut state, 5000, vec![load("return 0")]);
        assert_eq!(state.scripts.facts().count, SCRIPTS_MAX);
        apply(&mut state, 5001, vec![load("one more")]);
        assert_eq!(state.scripts.facts().count, SCRIPTS_MAX);
        assert!(has(&state, "return 0") && has(&state, "one more"));
        assert!(!has(&state, "return 1"));
        let long = "x".repeat(SCRIPT_BYTES_MAX);
        apply(&mut state, 5002, vec![load(&long)]);
        assert!(state.scripts.facts().bytes <= SCRIPTS_BYTES_MAX);
        assert!(has(&state, &long) && has(&state, "one more"));
        apply(
            &mut state,
            5003,
            vec![load(&"x".repeat(SCRIPT_BYTES_MAX + 1))],
        );
        assert!(has(&state, &long));
        assert_eq!(state.epoch, epoch, "scripts are no change of the cluster");
        assert!(state.scripts.facts().version > facts.version);
    }

    #[test]
    fn what_is_written_is_read_with_its_order() {
        // Breaks if a node that was sent the state drops other scripts than the rest, which began alike.
        let mut state = state_of(1);
        for n in 0..10 {
            apply(&mut state, 1000 + n, vec![load(&format!("return {n}"))]);
        }
        apply(&mut state, 2000, vec![load("return 3"), load("return 1")]);
        let mut read: super::super::MetaState = decode(&encode(&state)).expect("written just now");
        assert_eq!(read, state);
        for n in 0..SCRIPTS_MAX as u128 - 2 {
            apply(&mut state, 3000 + n, vec![load(&format!("more {n}"))]);
            apply(&mut read, 3000 + n, vec![load(&format!("more {n}"))]);
        }
        assert!(has(&read, "return 3") && has(&read, "return 1") && !has(&read, "return 9"));
        assert_eq!(read, state);
    }

    #[test]
    fn changes_are_done_in_order_and_once() {
        // Breaks if a load that is asked again brings back what was emptied since.
        let mut state = state_of(1);
        apply(
            &mut state,
            1000,
            vec![load("a"), ScriptChange::Flush, load("b")],
        );
        assert!(!has(&state, "a") && has(&state, "b"));
        apply(&mut state, 1001, vec![ScriptChange::Flush]);
        apply(
            &mut state,
            1000,
            vec![load("a"), ScriptChange::Flush, load("b")],
        );
        assert!(!has(&state, "b"));
        assert_eq!(state.scripts.facts().flushes, 2);
    }

    #[test]
    fn scripts_do_not_push_out_answers_of_the_cluster() {
        // Breaks if a join that is asked again after a flood of scripts counts as another.
        let mut state = state_of(2);
        let joined = state.answer_of(RequestId(2)).cloned();
        assert!(joined.is_some());
        for n in 0..3000 {
            apply(&mut state, 1000 + n, vec![ScriptChange::Flush]);
        }
        assert_eq!(state.answer_of(RequestId(2)).cloned(), joined);
    }
}
