//! `redis`: calling commands, and what else a script is told of the server.

use super::raise::{Arguments, Raised, reply_table, to_integer};
use crate::host::LogLevel;
use crate::reply;
use crate::script::sha_of;
use crate::state::{SMALL_BYTES, Unlimited, has_room, look, running};
use mlua::{Function, Lua, MultiValue, Table, Value};
use resp::{DoubleText, Protocol};

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
pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let set = |name: &str, function: Function| library.raw_set(name, function);
    set(
        "call",
        lua.create_function(|lua, values| call(lua, values, OnError::Raise))?,
    )?;
    set(
        "pcall",
        lua.create_function(|lua, values| call(lua, values, OnError::Return))?,
    )?;
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

fn call(lua: &Lua, values: MultiValue, on_error: OnError) -> mlua::Result<Value> {
    look(lua)?;
    let failed = |text: &[u8]| match on_error {
        OnError::Raise => Err(Raised::Reply(text.to_vec()).into()),
        OnError::Return => Ok(Value::Table(reply_table(lua, text)?)),
    };
    if values.is_empty() {
        return failed(b"ERR Please specify at least one argument for this redis lib call");
    }
    let mut arguments = Vec::with_capacity(values.len());
    for value in &values {
        match value {
            Value::String(text) => arguments.push(text.as_bytes().to_vec()),
            Value::Integer(number) => arguments.push(number_text(*number as f64)),
            Value::Number(number) => arguments.push(number_text(*number)),
            _ => {
                return failed(b"ERR Lua redis lib command arguments must be strings or integers");
            }
        }
    }
    let arguments: Vec<&[u8]> = arguments.iter().map(|argument| &argument[..]).collect();
    let mut text = Vec::new();
    running(lua, |running| {
        let protocol = running.protocol;
        running.host.call(&arguments, protocol, &mut text);
    })?;
    has_room(lua, text.len())?;
    let _unlimited = (text.len() <= SMALL_BYTES).then(|| Unlimited::new(lua));
    match text.split_first() {
        Some((b'-', line)) => failed(&reply::error_text(line)),
        _ => reply::read(lua, &text),
    }
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
    let version = match &values[0] {
        Value::Integer(version) => *version,
        Value::Number(version) => to_integer(*version),
        _ => 0,
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
