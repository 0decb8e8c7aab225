//! `redis`: calling commands, and what else a script is told of the server.

use super::raise::{Arguments, Raised, reply_table, to_integer};
use crate::host::{LogLevel, Stop};
use crate::reply;
use crate::script::sha_of;
use crate::state::{Calls, Run, Running, SMALL_BYTES, has_room, look, running};
use luastack::{Answer, Argument, Callee, Stack, Unlimited};
use mlua::{Function, Lua, MultiValue, Table, Value};
use resp::{DoubleText, Output, Protocol, Reply};

/// The version of Redis that scripts are to take this for.
const VERSION: &str = "7.0.15";
const VERSION_NUMBER: i64 = 0x0007_000f;

/// How an error of a command reaches the script.
#[derive(Clone, Copy)]
enum OnError {
    Raise,
    Return,
}

/// The library.
pub(crate) fn library(lua: &Lua, stack: &mut Stack) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let set = |name: &str, function: Function| library.raw_set(name, function);
    let raises = lua.create_function(|lua, values| call(lua, values, OnError::Raise))?;
    set("call", stack.function(Box::new(Quickly), &raises)?)?;
    let returns = lua.create_function(|lua, values| call(lua, values, OnError::Return))?;
    set("pcall", stack.function(Box::new(Quickly), &returns)?)?;
    set(
        "error_reply",
        lua.create_function(|lua, values| single(lua, values, "err"))?,
    )?;
    set(
        "status_reply",
        lua.create_function(|lua, values| single(lua, values, "ok"))?,
    )?;
    set("sha1hex", lua.create_function(sha1hex)?)?;
    set("log", lua.create_function(log)?)?;
    set("setresp", lua.create_function(setresp)?)?;
    set(
        "replicate_commands",
        lua.create_function(|_, _: MultiValue| Ok(true))?,
    )?;
    set("set_repl", lua.create_function(set_repl)?)?;
    set(
        "breakpoint",
        lua.create_function(|_, _: MultiValue| Ok(false))?,
    )?;
    set("debug", lua.create_function(|_, _: MultiValue| Ok(()))?)?;
    set("acl_check_cmd", lua.create_function(acl_check)?)?;
    let numbers = [
        ("LOG_DEBUG", 0),
        ("LOG_VERBOSE", 1),
        ("LOG_NOTICE", 2),
        ("LOG_WARNING", 3),
        ("REPL_NONE", 0),
        ("REPL_AOF", 1),
        ("REPL_SLAVE", 2),
        ("REPL_REPLICA", 2),
        ("REPL_ALL", 3),
        ("REDIS_VERSION_NUM", VERSION_NUMBER),
    ];
    for (name, number) in numbers {
        library.raw_set(name, number)?;
    }
    library.raw_set("REDIS_VERSION", VERSION)?;
    Ok(library)
}

fn raise(text: &str) -> mlua::Error {
    Raised::Reply(format!("ERR {text}").into_bytes()).into()
}

/// Calls a command where its arguments and its reply are simple; [`call`] does where they are not.
struct Quickly;

impl Callee for Quickly {
    fn call(&mut self, lua: &Lua, arguments: &[Argument<'_>], text: &mut Vec<u8>) -> Answer {
        let Some(mut run) = lua.app_data_mut::<Run>() else {
            return Answer::Otherwise;
        };
        let Run { now, calls } = &mut *run;
        // An answer that never reached the script, because Lua's own stack was full, is not that of this call.
        calls.is_answered = false;
        let Some(running) = now.as_mut().filter(|running| running.over.is_none()) else {
            return Answer::Otherwise;
        };
        if arguments.is_empty() || arguments.contains(&Argument::Other) || running.is_over() {
            return Answer::Otherwise;
        }
        calls.begin();
        for argument in arguments {
            let has_room = match argument {
                Argument::Text(text) => calls.push(text, running),
                Argument::Number(number) => calls.push(&number_text(*number), running),
                Argument::Other => false,
            };
            if !has_room {
                return Answer::Otherwise;
            }
        }
        calls.execute(running);
        let reply = calls.reply.as_one_slice();
        let answer = reply.and_then(|reply| reply::read_simple(reply, text));
        calls.is_answered = answer.is_none();
        answer.unwrap_or(Answer::Otherwise)
    }
}

impl Calls {
    fn begin(&mut self) {
        self.args.clear(SMALL_BYTES);
    }

    /// Adds an argument; whether the script may have it. If not, the run is over.
    fn push(&mut self, argument: &[u8], running: &mut Running) -> bool {
        let has_room = self.args.bytes_count() + argument.len() <= running.bytes_max;
        if has_room {
            self.args.push(argument);
        } else {
            running.over.get_or_insert(Stop::Memory);
        }
        has_room
    }

    /// Has the command executed.
    fn execute(&mut self, running: &mut Running) {
        self.reply.rewind(Output::new().mark());
        self.reply.shrink();
        let mut reply = Reply::new(&mut self.reply, running.protocol);
        running.host.call(self.args.args(), &mut reply);
    }
}

fn call(lua: &Lua, values: MultiValue, on_error: OnError) -> mlua::Result<Value> {
    let failed = |text: &[u8]| match on_error {
        OnError::Raise => Err(Raised::Reply(text.to_vec()).into()),
        OnError::Return => Ok(Value::Table(reply_table(lua, text)?)),
    };
    let is_answered = with_calls(lua, |calls, _| std::mem::take(&mut calls.is_answered))?;
    if !is_answered && let Err(refusal) = execute(lua, &values)? {
        return failed(refusal);
    }
    let text = with_calls(lua, |calls, _| {
        std::mem::take(&mut calls.reply).into_bytes()
    })?;
    has_room(lua, text.len())?;
    let _unlimited = (text.len() <= SMALL_BYTES).then(|| Unlimited::new(lua));
    match text.split_first() {
        Some((b'-', line)) => failed(&reply::error_text(line)),
        _ => reply::read(lua, &text),
    }
}

/// Executes a command, or says why these are not the arguments of one.
fn execute(lua: &Lua, values: &MultiValue) -> mlua::Result<Result<(), &'static [u8]>> {
    look(lua)?;
    if values.is_empty() {
        return Ok(Err(
            b"ERR Please specify at least one argument for this redis lib call",
        ));
    }
    with_calls(lua, |calls, _| calls.begin())?;
    for value in values {
        let push = |text: &[u8]| with_calls(lua, |calls, running| calls.push(text, running));
        let has_room = match value {
            Value::String(text) => push(&text.as_bytes())?,
            Value::Integer(number) => push(&number_text(*number as f64))?,
            Value::Number(number) => push(&number_text(*number))?,
            _ => {
                return Ok(Err(
                    b"ERR Lua redis lib command arguments must be strings or integers",
                ));
            }
        };
        if !has_room {
            return Err(Raised::Over.into());
        }
    }
    with_calls(lua, Calls::execute).map(Ok)
}

fn with_calls<T>(lua: &Lua, act: impl FnOnce(&mut Calls, &mut Running) -> T) -> mlua::Result<T> {
    let mut run = lua.app_data_mut::<Run>();
    let run = run.as_deref_mut().ok_or(mlua::Error::CallbackDestructed)?;
    let running = run.now.as_mut().ok_or(mlua::Error::CallbackDestructed)?;
    Ok(act(&mut run.calls, running))
}

/// A number as C's `%.17g` writes it.
fn number_text(number: f64) -> Vec<u8> {
    match number.abs() < 1e17
        && number.fract() == 0.0
        && !(number == 0.0 && number.is_sign_negative())
    {
        true => to_integer(number).to_string().into_bytes(),
        false => DoubleText::with_17_digits(number).to_vec(),
    }
}

fn single(lua: &Lua, values: MultiValue, field: &str) -> mlua::Result<Table> {
    let table = lua.create_table()?;
    match (values.len(), values.front()) {
        (1, Some(Value::String(text))) if field == "err" => {
            let bytes = text.as_bytes();
            let bytes = bytes.strip_prefix(b"-").unwrap_or(&bytes);
            table.raw_set(field, lua.create_string(reply::error_text(bytes))?)?;
        }
        (1, Some(Value::String(text))) => table.raw_set(field, text)?,
        _ => table.raw_set("err", "ERR wrong number or type of arguments")?,
    }
    Ok(table)
}

fn sha1hex(lua: &Lua, values: MultiValue) -> mlua::Result<String> {
    if values.len() != 1 {
        return Err(raise("wrong number of arguments"));
    }
    let text = match &values[0] {
        Value::String(_) | Value::Integer(_) | Value::Number(_) => {
            Arguments::new(lua, values).string(1)?.as_bytes().to_vec()
        }
        _ => Vec::new(),
    };
    Ok(sha_of(&text).map(char::from).iter().collect())
}

fn log(lua: &Lua, values: MultiValue) -> mlua::Result<()> {
    if values.len() < 2 {
        return Err(raise("redis.log() requires two arguments or more."));
    }
    let level = match &values[0] {
        Value::Integer(level) => *level,
        Value::Number(level) => to_integer(*level),
        _ => return Err(raise("First argument must be a number (log level).")),
    };
    let level = match level {
        0 => LogLevel::Debug,
        1 => LogLevel::Verbose,
        2 => LogLevel::Notice,
        3 => LogLevel::Warning,
        _ => return Err(raise("Invalid debug level.")),
    };
    let mut message = Vec::new();
    for value in values.iter().skip(1) {
        if let Some(text) = lua.coerce_string(value.clone())? {
            if !message.is_empty() {
                message.push(b' ');
            }
            message.extend_from_slice(&text.as_bytes());
        }
    }
    running(lua, |running| running.host.log(level, &message))
}

fn setresp(lua: &Lua, values: MultiValue) -> mlua::Result<()> {
    if values.len() != 1 {
        return Err(raise("redis.setresp() requires one argument."));
    }
    // A string that is a number is one, as everywhere in Lua.
    let version = match lua.coerce_number(values[0].clone())? {
        Some(version) => to_integer(version),
        None => 0,
    };
    let protocol = match version {
        2 => Protocol::Resp2,
        3 => Protocol::Resp3,
        _ => return Err(raise("RESP version must be 2 or 3.")),
    };
    running(lua, |running| running.protocol = protocol)
}

/// What a script leaves is always replicated whole; the flags are looked at and change nothing.
fn set_repl(_: &Lua, values: MultiValue) -> mlua::Result<()> {
    match (values.len(), values.front()) {
        (1, Some(Value::Integer(0..=3))) => Ok(()),
        (1, _) => Err(raise(
            "Invalid replication flags. Use REPL_AOF, REPL_REPLICA, REPL_ALL or REPL_NONE.",
        )),
        _ => Err(raise("redis.set_repl() requires one argument.")),
    }
}

fn acl_check(lua: &Lua, values: MultiValue) -> mlua::Result<bool> {
    if values.is_empty() {
        return Err(raise(
            "Please specify at least one argument for this redis lib call",
        ));
    }
    let is_text = |value: &Value| {
        matches!(
            value,
            Value::String(_) | Value::Integer(_) | Value::Number(_)
        )
    };
    if !values.iter().all(is_text) {
        return Err(raise(
            "Lua redis lib command arguments must be strings or integers",
        ));
    }
    let name = Arguments::new(lua, values).string(1)?;
    let name = name.as_bytes();
    match running(lua, |running| running.host.knows(&name))? {
        true => Ok(true),
        false => Err(raise("Invalid command passed to redis.acl_check_cmd()")),
    }
}
