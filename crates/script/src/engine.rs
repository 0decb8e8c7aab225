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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::host::LogLevel;
    use resp::{Args, Reply};

    /// Stops a script behind its first command.
    struct Stopping {
        why: Stop,
        calls: usize,
    }

    impl Host for Stopping {
        fn call(&mut self, _: Args<'_>, reply: &mut Reply<'_>) {
            self.calls += 1;
            reply.error("ERR not here");
        }

        fn knows(&self, _: &[u8]) -> bool {
            true
        }

        fn stop(&mut self) -> Option<Stop> {
            (self.calls > 0).then_some(self.why)
        }

        fn clock_s(&self) -> f64 {
            0.0
        }

        fn log(&mut self, _: LogLevel, _: &[u8]) {}
    }

    fn states_after(why: Stop) -> usize {
        let engine = Engine::default();
        let sources: [&[u8]; 3] = [
            b"redis.call('get', 'a') return 1",
            b"redis.pcall('get', 'a') while true do end",
            b"return coroutine.wrap(function() pcall(redis.call, 'get', 'a') while true do end end)()",
        ];
        for source in sources {
            let script = engine.check(source).expect("it is Lua");
            let request = Request {
                script: &script,
                keys: &[],
                args: &[],
                protocol: Protocol::Resp2,
            };
            let (outcome, host) = engine.run(&request, Stopping { why, calls: 0 });
            assert_eq!(outcome, Outcome::Stopped(why));
            assert_eq!(host.calls, 1);
        }
        engine.states.lock().expect("no test panicked").len()
    }

    #[test]
    fn a_state_serves_again_whose_script_lacked_something() {
        // Breaks if each key that a script was not given costs a new Lua state, which takes longer than the script.
        assert_eq!(states_after(Stop::Lacking), 1);
        assert_eq!(states_after(Stop::Timeout), 0);
    }
}
