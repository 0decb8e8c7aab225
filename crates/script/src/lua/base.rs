//! Replacements in Lua's basic library, and what is left of `math`, `os` and `coroutine`.

use super::protect::Shared;
use super::raise::{Arguments, PRELUDE, argument, fail};
use crate::SCRIPT_BYTES_MAX;
use crate::random::Random;
use crate::state::{has_room, look, message_of, parse, running, settle};
use mlua::{Error, Function, IntoLuaMulti, Lua, MultiValue, Table, Value};

/// Most values that `unpack` gives, as in Redis's Lua.
const UNPACKED_MAX: i64 = 7990;

/// What `pcall` tells of an error: one in a reply's form is its text.
pub(crate) fn told(lua: &Lua, value: Value) -> mlua::Result<Value> {
    let value = settle(lua, value)?;
    if let Value::Table(table) = &value
        && let text @ (Value::String(_) | Value::Integer(_) | Value::Number(_)) =
            table.raw_get::<Value>("err")?
    {
        return Ok(text);
    }
    Ok(value)
}

/// Brings what a script raised into Redis's form: a table with `err`, and with `source` and `line` of where it was.
pub(crate) fn explain(lua: &Lua, value: Value) -> mlua::Result<Table> {
    let value = settle(lua, value)?;
    let table = match value {
        Value::Table(table) => table,
        other => {
            let text = match &other {
                Value::String(text) => text.as_bytes().to_vec(),
                Value::Nil => b"nil".to_vec(),
                other => other.to_string()?.into_bytes(),
            };
            let table = lua.create_table()?;
            let text = [b"ERR ", &text[..]].concat();
            table.raw_set("err", lua.create_string(text)?)?;
            table
        }
    };
    // The function that raised it; if that is none of Lua, its caller. Ours are nobody.
    for level in 1..8 {
        let place = lua.inspect_stack(level, |debug| {
            let source = debug.source();
            let name = source.source.map(|name| name.into_owned());
            let is_lua = source.what != "C" && name.as_deref() != Some(PRELUDE);
            let line = debug.current_line();
            (is_lua && source.what != "tail")
                .then(|| name.zip(line))
                .flatten()
        });
        match place {
            Some(Some((source, line))) => {
                table.raw_set("source", source)?;
                table.raw_set("line", line)?;
                break;
            }
            Some(None) => {}
            None => break,
        }
    }
    Ok(table)
}

/// Adds the replacements.
pub(crate) fn fill(
    lua: &Lua,
    shared: &Shared,
    library: &Table,
    globals: &Table,
) -> mlua::Result<()> {
    let set = |name: &str, function: Function| library.raw_set(name, function);
    let own = shared.clone();
    set(
        "rawset",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            own.may_write(&table)?;
            if arguments.count() < 3 {
                return Err(argument(lua, arguments.count() + 1, "value expected"));
            }
            let (key, value) = (arguments.value(2), arguments.value(3));
            check_key(lua, &key)?;
            table.raw_set(key, value)?;
            Ok(table)
        })?,
    )?;
    let own = shared.clone();
    set(
        "rawget",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            let table = own.real(&table)?.unwrap_or(table);
            table.raw_get::<Value>(arguments.value(2))
        })?,
    )?;
    let next = next(lua, shared)?;
    set("next", next.clone())?;
    let (own, native) = (shared.clone(), lua.globals().raw_get::<Function>("next")?);
    set(
        "pairs",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            let next = match own.real(&table)? {
                Some(_) => next.clone(),
                None => native.clone(),
            };
            Ok((next, table, Value::Nil))
        })?,
    )?;
    set("unpack", lua.create_function(unpack)?)?;
    set("collectgarbage", lua.create_function(collect_garbage)?)?;
    set(
        "gcinfo",
        lua.create_function(|lua, ()| Ok(lua.used_memory() / 1024))?,
    )?;
    let environment = globals.clone();
    set(
        "loadstring",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let text = arguments.string(1)?;
            let name = match arguments.get(2) {
                None | Some(Value::Nil) => text.clone(),
                Some(_) => arguments.string(2)?,
            };
            let text = text.as_bytes().to_vec();
            load(lua, &text, &name.to_string_lossy(), environment.clone())
        })?,
    )?;
    let environment = globals.clone();
    set(
        "load",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let Some(Value::Function(reader)) = arguments.get(1) else {
                return Err(arguments.wrong(1, "function"));
            };
            let name = match arguments.get(2) {
                None | Some(Value::Nil) => "=(load)".to_owned(),
                Some(_) => arguments.string(2)?.to_string_lossy(),
            };
            let mut text = Vec::new();
            loop {
                look(lua)?;
                // The whole text is read before any of it is parsed: nothing of a script runs while something is parsed.
                match reader.call::<Value>(())? {
                    Value::Nil => break,
                    Value::String(piece) if piece.as_bytes().is_empty() => break,
                    Value::String(piece) => text.extend_from_slice(&piece.as_bytes()),
                    _ => return Err(fail(lua, "reader function must return a string")),
                }
                if text.len() > SCRIPT_BYTES_MAX {
                    break;
                }
            }
            load(lua, &text, &name, environment.clone())
        })?,
    )
}

fn load(lua: &Lua, text: &[u8], name: &str, environment: Table) -> mlua::Result<MultiValue> {
    let refused = |text: &[u8]| (Value::Nil, lua.create_string(text)?).into_lua_multi(lua);
    if text.len() > SCRIPT_BYTES_MAX {
        return refused(b"chunk is too long");
    }
    if text.first() == Some(&0x1b) {
        return refused(b"attempt to load chunk with wrong mode");
    }
    match parse(lua, text, &name.replace('\0', ""), environment) {
        Ok(function) => function.into_lua_multi(lua),
        Err(error @ Error::SyntaxError { .. }) => refused(message_of(&error).as_bytes()),
        Err(error) => Err(error),
    }
}

pub(crate) fn check_key(lua: &Lua, key: &Value) -> mlua::Result<()> {
    match key {
        Value::Nil => Err(super::raise::plain("table index is nil")),
        Value::Number(number) if number.is_nan() => Err(super::raise::plain("table index is NaN")),
        _ => has_room(lua, 0),
    }
}

fn next(lua: &Lua, shared: &Shared) -> mlua::Result<Function> {
    let (own, native) = (shared.clone(), lua.globals().raw_get::<Function>("next")?);
    lua.create_function(move |lua, values: MultiValue| {
        let arguments = Arguments::new(lua, values);
        let table = arguments.table(1)?;
        let table = own.real(&table)?.unwrap_or(table);
        match native.call::<MultiValue>((table, arguments.value(2))) {
            Ok(values) => Ok(values),
            Err(Error::RuntimeError(_)) => Err(super::raise::plain("invalid key to 'next'")),
            Err(error) => Err(error),
        }
    })
}

/// `unpack` without the overflow in counting of Lua 5.1.5 (CVE-2025-46817).
fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let arguments = Arguments::new(lua, values);
    let table = arguments.table(1)?;
    let int = |number: i64| number as i32 as i64;
    let first = int(arguments.integer_or(2, 1)?);
    let last = int(arguments.integer_or(3, table.raw_len() as i64)?);
    if first > last {
        return Ok(MultiValue::new());
    }
    if last - first + 1 > UNPACKED_MAX {
        return Err(fail(lua, "too many results to unpack"));
    }
    (first..=last)
        .map(|at| table.raw_get::<Value>(at))
        .collect()
}

/// The collector is the engine's business: what would take long does nothing.
fn collect_garbage(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let arguments = Arguments::new(lua, values);
    let what = match arguments.get(1) {
        None | Some(Value::Nil) => "collect".to_owned(),
        Some(_) => arguments.string(1)?.to_string_lossy(),
    };
    match what.as_str() {
        "count" => Ok(Value::Number(lua.used_memory() as f64 / 1024.0)),
        "step" => Ok(Value::Boolean(false)),
        "collect" | "stop" | "restart" => Ok(Value::Integer(0)),
        "setpause" | "setstepmul" => Ok(Value::Integer(200)),
        other => Err(argument(lua, 1, &format!("invalid option '{other}'"))),
    }
}

/// `math` with Redis's random numbers.
pub(crate) fn math(lua: &Lua, native: &Table) -> mlua::Result<Table> {
    let library: Table = native.raw_get("math")?;
    library.raw_set(
        "randomseed",
        lua.create_function(|lua, values: MultiValue| {
            let seed = Arguments::new(lua, values).integer(1)?;
            running(lua, |running| running.random = Random::seeded(seed as i32))
        })?,
    )?;
    library.raw_set(
        "random",
        lua.create_function(|lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let fraction = running(lua, |running| running.random.fraction())?;
            let (low, high) = match arguments.count() {
                0 => return Ok(fraction),
                1 => (1, arguments.integer(1)? as i32),
                2 => (arguments.integer(1)? as i32, arguments.integer(2)? as i32),
                _ => return Err(fail(lua, "wrong number of arguments")),
            };
            if low > high {
                return Err(argument(lua, arguments.count(), "interval is empty"));
            }
            let width = f64::from(high) - f64::from(low) + 1.0;
            Ok((fraction * width).floor() + f64::from(low))
        })?,
    )?;
    Ok(library)
}

/// `coroutine`; what a thread raises is told as everywhere.
pub(crate) fn coroutines(lua: &Lua, native: &Table, prelude: &Table) -> mlua::Result<Table> {
    let (library, from) = (lua.create_table()?, native.raw_get::<Table>("coroutine")?);
    for name in ["create", "running", "status", "yield"] {
        library.raw_set(name, from.raw_get::<Value>(name)?)?;
    }
    for name in ["resume", "wrap"] {
        library.raw_set(name, prelude.raw_get::<Value>(name)?)?;
    }
    Ok(library)
}

/// `os` has a clock and nothing else.
pub(crate) fn os(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let clock = |lua: &Lua, ()| running(lua, |running| running.host.clock_s());
    library.raw_set("clock", lua.create_function(clock)?)?;
    Ok(library)
}
