//! The engine: a bounded pool of Lua states that any thread may run a script on.

use crate::host::{Host, Stop};
use crate::script::{Script, ScriptError};
use crate::state::{Fit, State};
use resp::Protocol;
use std::sync::{Mutex, PoisonError};

/// Bounds of a script.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Memory that a script may have at a time, bytes.
    pub memory_bytes_max: usize,
    /// States that are kept while nobody uses them.
    pub states_max: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            memory_bytes_max: 64 << 20,
            states_max: 4,
        }
    }
}

/// One run.
#[derive(Clone, Copy, Debug)]
pub struct Request<'a> {
    /// What to run.
    pub script: &'a Script,
    /// `KEYS`
    pub keys: &'a [&'a [u8]],
    /// `ARGV`
    pub args: &'a [&'a [u8]],
    /// What the reply is to be written in.
    pub protocol: Protocol,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// By itself: its reply.
    Replied(Vec<u8>),
    /// By an error of the script: the reply that says so. What its commands did stays done.
    Failed(Vec<u8>),
    /// It was stopped. What its commands did is to be forgotten.
    Stopped(Stop),
}

/// Runs scripts. Shared between threads; a state is taken out of the pool for a run, and another made if there is none.
#[derive(Default)]
pub struct Engine {
    states: Mutex<Vec<State>>,
    limits: Limits,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        out.debug_struct("Engine")
            .field("limits", &self.limits)
            .finish_non_exhaustive()
    }
}

impl Engine {
    /// An engine with these bounds.
    pub fn new(limits: Limits) -> Engine {
        Engine {
            states: Mutex::default(),
            limits,
        }
    }

    /// Looks whether a source is a script, without running it.
    ///
    /// # Errors
    /// All of [`ScriptError`].
    pub fn check(&self, source: &[u8]) -> Result<Script, ScriptError> {
        let script = Script::new(source)?;
        let mut state = self.take();
        let outcome = state.function(&script).map(drop);
        self.put(state);
        outcome.map(|()| script)
    }

    /// Runs a script on `host`, which is given back. One that is no Lua fails.
    pub fn run<H: Host>(&self, request: &Request<'_>, host: H) -> (Outcome, H) {
        let mut state = self.take();
        let (outcome, host, fit) = state.run(request, host);
        match fit {
            Fit::Yes => self.put(state),
            Fit::No => {}
        }
        (outcome, host)
    }

    fn take(&self) -> State {
        let taken = self
            .states
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .pop();
        taken.unwrap_or_else(|| State::new(self.limits))
    }

    fn put(&self, state: State) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.len() < self.limits.states_max {
            states.push(state);
        }
    }
}
