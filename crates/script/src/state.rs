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
use mlua::chunk::ChunkMode;
use mlua::{Error, Function, HookTriggers, Lua, LuaOptions, MultiValue, StdLib, Value};
use mlua::{Table, VmState};
use resp::Protocol;
use std::any::Any;
use std::num::NonZeroUsize;

/// Name of a script's chunk: what errors call it.
const CHUNK: &str = "@user_script";
/// Instructions between two looks at the host.
const HOOK_INSTRUCTIONS: u32 = 500;
/// Scripts whose compiled form a state keeps.
const FUNCTIONS_MAX: NonZeroUsize = NonZeroUsize::new(256).expect("not zero");
/// Bytes that are made without regard to the bound on memory.
pub(crate) const SMALL_BYTES: usize = 64 << 10;
/// Keys, or arguments, of which the same is true.
const SMALL_COUNT: usize = 1000;
const OWN_ALLOCATOR: &str = "the state has an allocator of its own";
/// Runs of a state from one look at the tables that scripts share to the next. Nothing can be written to them as far as is known:
/// this is a second net, and to look costs about 3 us.
const LOOK_AT_TABLES_EVERY: u32 = 16;
/// Memory beyond which a state collects what a run left.
const IDLE_BYTES_MAX: usize = 4 << 20;

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
    let Some(mut running) = lua.app_data_mut::<Running>() else {
        return Ok(());
    };
    if running.over.is_none() {
        running.over = running.host.stop();
    }
    match running.over {
        Some(_) => Err(Raised::Over.into()),
        None => Ok(()),
    }
}

/// Ends the run for want of memory.
pub(crate) fn no_memory(lua: &Lua) -> Error {
    if let Some(mut running) = lua.app_data_mut::<Running>() {
        running.over.get_or_insert(Stop::Memory);
    }
    Raised::Over.into()
}

/// Ends the run if `bytes` are more than a script may have.
pub(crate) fn has_room(lua: &Lua, bytes: usize) -> mlua::Result<()> {
    let bytes_max = lua
        .app_data_ref::<Running>()
        .map(|running| running.bytes_max);
    match bytes_max.is_some_and(|max| bytes > max) {
        true => Err(no_memory(lua)),
        false => Ok(()),
    }
}

/// With the run that is going on.
pub(crate) fn running<T>(lua: &Lua, act: impl FnOnce(&mut Running) -> T) -> mlua::Result<T> {
    let mut running = lua.app_data_mut::<Running>();
    let running = running.as_mut().ok_or(Error::CallbackDestructed)?;
    Ok(act(running))
}

/// What a script may see of what was caught, or the end of the run.
pub(crate) fn settle(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let is_over = lua
        .app_data_ref::<Running>()
        .is_some_and(|running| running.over.is_some());
    if is_over {
        return Err(Raised::Over.into());
    }
    match caught(lua, value)? {
        Caught::Value(value) => Ok(value),
        Caught::NoMemory => Err(no_memory(lua)),
        Caught::Over => Err(Raised::Over.into()),
    }
}

/// While this lives, a state's memory has no bound: for what is small and made here. With a bound mlua has to catch the want
/// of memory around each of its steps, which costs more than the steps.
pub(crate) struct Unlimited<'l> {
    lua: &'l Lua,
    limit: usize,
}

impl Unlimited<'_> {
    pub fn new(lua: &Lua) -> Unlimited<'_> {
        let limit = lua.set_memory_limit(0).expect(OWN_ALLOCATOR);
        Unlimited { lua, limit }
    }
}

impl Drop for Unlimited<'_> {
    fn drop(&mut self) {
        self.lua.set_memory_limit(self.limit).expect(OWN_ALLOCATOR);
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
    lua: Lua,
}

impl State {
    pub fn new(limits: Limits) -> State {
        let libraries = StdLib::TABLE | StdLib::STRING | StdLib::MATH;
        let lua = Lua::new_with(libraries, LuaOptions::new()).expect("these libraries are safe");
        let shared = Shared::new(&lua).expect("a new state has room for a table");
        let sandbox = sandbox::build(&lua, &shared).expect("a new state has room for its library");
        let triggers = HookTriggers::new().every_nth_instruction(HOOK_INSTRUCTIONS);
        lua.set_global_hook(triggers, |lua, _| look(lua).map(|()| VmState::Continue))
            .expect("a hook can be set");
        lua.set_memory_limit(lua.used_memory() + limits.memory_bytes_max)
            .expect(OWN_ALLOCATOR);
        State {
            functions: LruCache::new(FUNCTIONS_MAX),
            sandbox,
            shared,
            bytes_max: limits.memory_bytes_max,
            runs_count: 0,
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
        self.lua.set_app_data(Running {
            host: Box::new(host),
            protocol: Protocol::Resp2,
            over: None,
            random: Random::seeded(0),
            json: JsonSettings::default(),
            bytes_max: self.bytes_max,
        });
        let outcome = self.run_function(&function, request);
        let running = self
            .lua
            .remove_app_data::<Running>()
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

    fn run_function(&self, function: &Function, request: &Request<'_>) -> mlua::Result<Outcome> {
        let strings = |list: &[&[u8]]| -> mlua::Result<Table> {
            let table = self.lua.create_table_with_capacity(list.len(), 0)?;
            for item in list {
                table.raw_push(self.lua.create_string(item)?)?;
            }
            Ok(table)
        };
        let is_small = [request.keys, request.args]
            .iter()
            .all(|list| list.len() <= SMALL_COUNT && total_bytes(list) <= SMALL_BYTES);
        let unlimited = is_small.then(|| Unlimited::new(&self.lua));
        let library = &self.sandbox.library;
        library.raw_set("KEYS", strings(request.keys)?)?;
        library.raw_set("ARGV", strings(request.args)?)?;
        drop(unlimited);
        let mut results: MultiValue = self.sandbox.run.call(function)?;
        look(&self.lua)?;
        let succeeded = results.pop_front() == Some(Value::Boolean(true));
        let value = results.pop_front().unwrap_or(Value::Nil);
        let mut reply = Vec::new();
        if succeeded {
            let speaks = running(&self.lua, |running| running.protocol)?;
            reply::write(&self.lua, &value, request.protocol, speaks, &mut reply)?;
            Ok(Outcome::Replied(reply))
        } else {
            // What came without Redis's handler is the end of the run, or there was no memory for the handler.
            let value = settle(&self.lua, value)?;
            reply::error_of(&value, request.script, &mut reply)?;
            Ok(Outcome::Failed(reply))
        }
    }

    /// Forgets the run.
    fn tidy_up(&mut self, outcome: &Outcome) -> Fit {
        self.runs_count = self.runs_count.wrapping_add(1);
        let _unlimited = Unlimited::new(&self.lua);
        let library = &self.sandbox.library;
        let forgotten = library
            .raw_set("KEYS", Value::Nil)
            .and_then(|()| library.raw_set("ARGV", Value::Nil));
        let was_stopped = matches!(outcome, Outcome::Stopped(_));
        if forgotten.is_err() || was_stopped || !self.is_untouched() {
            return Fit::No;
        }
        if self.lua.used_memory() > IDLE_BYTES_MAX && self.lua.gc_collect().is_err() {
            return Fit::No;
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
