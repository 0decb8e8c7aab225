//! One Lua state: runs scripts one after the other, and knows when it must not run another.

use crate::formats::JsonSettings;
use crate::host::{Host, Stop};
use crate::lua::protect::Shared;
use crate::lua::raise::{Caught, Raised, caught};
use crate::lua::sandbox::{self, Sandbox};
use crate::random::Random;
use crate::reply;
use crate::script::{Script, ScriptError, Sha};
use crate::{Limits, Outcome, Request};
use lru::LruCache;
use luastack::{LIST_BYTES_MAX, LIST_LEN_MAX, Stack};
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, StdLib, Value};
use mlua::{Table, VmState};
use resp::{ArgsBuffer, Output, Protocol};
use std::any::Any;
use std::num::NonZeroUsize;

/// Name of a script's chunk: what errors call it.
const CHUNK: &str = "@user_script";
/// Instructions between two looks at the host.
const HOOK_INSTRUCTIONS: u32 = 500;
/// Scripts whose compiled form a state keeps.
const FUNCTIONS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Bytes that are made without regard to the bound on memory. With one `mlua` has to catch the want of memory around each of
/// its steps, which costs more than the steps.
pub(crate) const SMALL_BYTES: usize = 64 << 10;
/// Runs of a state from one look at the tables that scripts share to the next. Nothing can be written to them as far as is known:
/// this is a second net, and to look costs about 3 us.
const LOOK_AT_TABLES_EVERY: u32 = 16;
/// Memory beyond which a state collects what a run left.
const IDLE_BYTES_MAX: usize = 4 << 20;

/// What a state has beside Lua.
#[derive(Default)]
pub(crate) struct Run {
    /// The run that is going on.
    pub now: Option<Running>,
    pub calls: Calls,
}

/// The command that a script calls. Its memory is used again for the next one.
#[derive(Default)]
pub(crate) struct Calls {
    pub args: ArgsBuffer,
    pub reply: Output,
    /// The reply is that of a command that was run, and the script has not seen it yet.
    pub is_answered: bool,
}

/// What belongs to one run.
pub(crate) struct Running {
    pub host: Box<dyn Host>,
    /// What `redis.call` speaks: 2 at the beginning, then as `redis.setresp` says.
    pub protocol: Protocol,
    /// Why the run is over. Once set, nothing in the script goes on.
    pub over: Option<Stop>,
    pub random: Random,
    pub json: JsonSettings,
    /// The script's bound on memory, for what is built outside of Lua.
    pub bytes_max: usize,
}

/// Ends the run if its host wants that.
pub(crate) fn look(lua: &Lua) -> mlua::Result<()> {
    let Some(mut run) = lua.app_data_mut::<Run>() else {
        return Ok(());
    };
    match run.now.as_mut().is_some_and(Running::is_over) {
        true => Err(Raised::Over.into()),
        false => Ok(()),
    }
}

impl Running {
    /// Whether it is to end, as far as is known and as its host wants.
    pub fn is_over(&mut self) -> bool {
        if self.over.is_none() {
            self.over = self.host.stop();
        }
        self.over.is_some()
    }
}

/// Ends the run for want of memory.
pub(crate) fn no_memory(lua: &Lua) -> Error {
    // None is going on while scripts are parsed.
    let _ = running(lua, |running| {
        running.over.get_or_insert(Stop::Memory);
    });
    Raised::Over.into()
}

/// Ends the run if `bytes` are more than a script may have.
pub(crate) fn has_room(lua: &Lua, bytes: usize) -> mlua::Result<()> {
    match running(lua, |running| bytes > running.bytes_max) {
        Ok(true) => Err(no_memory(lua)),
        Ok(false) | Err(_) => Ok(()),
    }
}

/// With the run that is going on.
pub(crate) fn running<T>(lua: &Lua, act: impl FnOnce(&mut Running) -> T) -> mlua::Result<T> {
    let mut run = lua.app_data_mut::<Run>();
    let running = run.as_mut().and_then(|run| run.now.as_mut());
    running.map(act).ok_or(Error::CallbackDestructed)
}

/// What a script may see of what was caught, or the end of the run.
pub(crate) fn settle(lua: &Lua, value: Value) -> mlua::Result<Value> {
    if let Ok(true) = running(lua, |running| running.over.is_some()) {
        return Err(Raised::Over.into());
    }
    match caught(lua, value)? {
        Caught::Value(value) => Ok(value),
        Caught::NoMemory => Err(no_memory(lua)),
        Caught::Over => Err(Raised::Over.into()),
    }
}

fn total_bytes(list: &[&[u8]]) -> usize {
    list.iter().map(|item| item.len()).sum()
}

/// Parses Lua with the collector stopped: the parser holds on to a string that nothing else does (CVE-2025-49844).
pub(crate) fn parse(
    lua: &Lua,
    text: &[u8],
    chunk: &str,
    environment: Table,
) -> mlua::Result<Function> {
    lua.gc_stop();
    let function = lua
        .load(text)
        .set_name(chunk)
        .set_mode(ChunkMode::Text)
        .set_environment(environment)
        .into_function();
    lua.gc_restart();
    function
}

pub(crate) struct State {
    functions: LruCache<Sha, Function>,
    sandbox: Sandbox,
    shared: Shared,
    bytes_max: usize,
    runs_count: u32,
    stack: Stack,
    lua: Lua,
}

impl State {
    pub fn new(limits: Limits) -> State {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new()).expect("these libraries are safe");
        let shared = Shared::new(&lua).expect("a new state has room for a table");
        let mut stack = Stack::new(&lua).expect("a new state has room for a text");
        let sandbox = sandbox::build(&lua, &shared, &mut stack)
            .expect("a new state has room for its library");
        lua.set_app_data(Run::default());
        let triggers = HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS);
        lua.set_global_hook(triggers, |lua, _| look(lua).map(|()| VmState::Continue))
            .expect("a hook can be set");
        lua.set_memory_limit(lua.used_memory() + limits.memory_bytes_max)
            .expect("the state has an allocator of its own");
        State {
            functions: LruCache::new(FUNCTIONS_MAX),
            sandbox,
            shared,
            bytes_max: limits.memory_bytes_max,
            runs_count: 0,
            stack,
            lua,
        }
    }

    /// The script's function, from the cache or parsed.
    pub fn function(&mut self, script: &Script) -> Result<Function, ScriptError> {
        if let Some(function) = self.functions.get(script.sha()) {
            return Ok(function.clone());
        }
        let globals = self.sandbox.globals.clone();
        match parse(&self.lua, script.body(), CHUNK, globals) {
            Ok(function) => {
                self.functions.put(*script.sha(), function.clone());
                Ok(function)
            }
            Err(error) => Err(ScriptError::Syntax(message_of(&error))),
        }
    }

    /// Runs a script; also whether another may be run here.
    pub fn run<H: Host>(&mut self, request: &Request<'_>, host: H) -> (Outcome, H, Fit) {
        let function = match self.function(request.script) {
            Ok(function) => function,
            Err(error) => {
                let mut reply = Vec::new();
                reply::error(&mut reply, error.to_string().as_bytes());
                return (Outcome::Failed(reply), host, Fit::Yes);
            }
        };
        self.set_running(Some(Running {
            host: Box::new(host),
            protocol: Protocol::Resp2,
            over: None,
            random: Random::seeded(0),
            json: JsonSettings::default(),
            bytes_max: self.bytes_max,
        }));
        let outcome = self.run_function(&function, request);
        let running = self
            .set_running(None)
            .expect("set at the beginning of the run");
        let host: Box<dyn Any> = running.host;
        let host = *host.downcast::<H>().expect("the host that was given");
        let outcome = match (running.over, outcome) {
            (Some(stop), _) => Outcome::Stopped(stop),
            (None, Ok(outcome)) => outcome,
            (None, Err(Error::MemoryError(_))) => Outcome::Stopped(Stop::Memory),
            (None, Err(error)) => {
                let mut reply = Vec::new();
                let text = format!("ERR Error running script: {}", message_of(&error));
                reply::error(&mut reply, text.as_bytes());
                Outcome::Failed(reply)
            }
        };
        let fit = self.tidy_up(&outcome);
        (outcome, host, fit)
    }

    /// Puts a run in place of the one that is going on.
    fn set_running(&self, running: Option<Running>) -> Option<Running> {
        let mut run = self.lua.app_data_mut::<Run>();
        let run = run.as_mut().expect("set when the state was made");
        run.calls.is_answered = false;
        std::mem::replace(&mut run.now, running)
    }

    fn run_function(&self, function: &Function, request: &Request<'_>) -> mlua::Result<Outcome> {
        let library = &self.sandbox.library;
        for (name, list) in [("KEYS", request.keys), ("ARGV", request.args)] {
            if list.len() <= LIST_LEN_MAX && total_bytes(list) <= LIST_BYTES_MAX {
                self.stack.set_list(library, name, list)?;
            } else {
                library.raw_set(name, self.strings(list)?)?;
            }
        }
        let (lua, sandbox) = (&self.lua, &self.sandbox);
        let mut reply = Vec::new();
        let ended = self
            .stack
            .run(function, &sandbox.explain, |ended| match ended {
                Ok(returned) => {
                    let ran = |running: &mut Running| (running.is_over(), running.protocol);
                    let (is_over, speaks) = running(lua, ran)?;
                    if is_over {
                        return Err(Raised::Over.into());
                    }
                    let protocols = (request.protocol, speaks);
                    reply::write(lua, returned, protocols, &mut reply)?;
                    Ok(true)
                }
                Err(raised) => {
                    look(lua)?;
                    // What came without Redis's handler is the end of the run, or there was no memory for the handler.
                    let value = settle(lua, reply::value_of(lua, raised)?)?;
                    reply::error_of(&value, request.script, &mut reply)?;
                    Ok(false)
                }
            })?;
        ended.map(|succeeded| match succeeded {
            true => Outcome::Replied(reply),
            false => Outcome::Failed(reply),
        })
    }

    fn strings(&self, list: &[&[u8]]) -> mlua::Result<Table> {
        let table = self.lua.create_table_with_capacity(list.len(), 0)?;
        for item in list {
            table.raw_push(self.lua.create_string(item)?)?;
        }
        Ok(table)
    }

    /// Forgets the run.
    fn tidy_up(&mut self, outcome: &Outcome) -> Fit {
        self.runs_count = self.runs_count.wrapping_add(1);
        let is_spent = match outcome {
            // It ended as by an error of its own. Nothing was short, and to make a state takes longer than most scripts.
            Outcome::Stopped(Stop::Lacking) | Outcome::Replied(_) | Outcome::Failed(_) => false,
            Outcome::Stopped(Stop::Timeout | Stop::Killed | Stop::Memory) => true,
        };
        if is_spent || !self.is_untouched() {
            return Fit::No;
        }
        if self.lua.used_memory() > IDLE_BYTES_MAX {
            // The next run puts its own in their place before any of its script is run; only their memory is in question.
            let library = &self.sandbox.library;
            let collected = library
                .raw_set("KEYS", Value::Nil)
                .and_then(|()| library.raw_set("ARGV", Value::Nil))
                .and_then(|()| self.lua.gc_collect());
            if collected.is_err() {
                return Fit::No;
            }
        }
        Fit::Yes
    }

    /// Whether the shared tables are as they were, as far as that is looked at after this run.
    fn is_untouched(&self) -> bool {
        if !self.runs_count.is_multiple_of(LOOK_AT_TABLES_EVERY) {
            return true;
        }
        let untouched = self.sandbox.untouched.call(self.shared.fronts());
        untouched.unwrap_or(false)
    }
}

/// Whether a state may run another script.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Fit {
    Yes,
    No,
}

pub(crate) fn message_of(error: &Error) -> String {
    match error {
        Error::SyntaxError { message, .. } | Error::RuntimeError(message) => message.clone(),
        Error::CallbackError { cause, .. } => message_of(cause),
        other => other.to_string(),
    }
}
