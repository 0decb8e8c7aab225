//! The globals of all scripts: Lua's library as far as Redis lets scripts have it, with ours in place of what is not safe.

use super::protect::Shared;
use super::raise::{PRELUDE, fail, type_name};
use super::{base, redis, strings, tables};
use crate::formats;
use crate::state::parse;
use luastack::Stack;
use mlua::{Function, Lua, Table, Value};

/// Globals of Lua's own that are left as they are.
const KEPT: &[&str] = &[
    "_VERSION",
    "assert",
    "error",
    "getmetatable",
    "ipairs",
    "rawequal",
    "select",
    "setmetatable",
    "tonumber",
    "tostring",
    "type",
];
const PRELUDE_TEXT: &str = include_str!("prelude.lua");

/// What a state runs scripts in.
pub(crate) struct Sandbox {
    /// What scripts have for globals.
    pub globals: Table,
    /// What is behind it; `KEYS` and `ARGV` are put here.
    pub library: Table,
    /// Brings what a script raises into Redis's form, where it is raised.
    pub explain: Function,
    /// Tells whether no script got anything into what is before the shared tables ([`Shared::fronts`]).
    pub untouched: Function,
}

/// Makes the globals of a new state.
pub(crate) fn build(lua: &Lua, shared: &Shared, stack: &mut Stack) -> mlua::Result<Sandbox> {
    let native = lua.globals();
    let library = lua.create_table()?;
    for name in KEPT {
        library.raw_set(*name, native.raw_get::<Value>(*name)?)?;
    }
    let missing = lua.create_function(|lua, (_, name): (Value, Value)| -> mlua::Result<()> {
        let name = match &name {
            Value::String(name) => name.to_string_lossy(),
            Value::Integer(number) => number.to_string(),
            other => type_name(other).to_owned(),
        };
        let text = format!("Script attempted to access nonexistent global variable '{name}'");
        Err(fail(lua, text))
    })?;
    let absent = lua.create_table()?;
    absent.raw_set("__index", missing)?;
    let globals = shared.seal(lua, library.clone())?;
    library.raw_set("_G", globals.clone())?;

    let prelude = prelude(lua, &native)?;
    for name in ["pcall", "xpcall"] {
        library.raw_set(name, prelude.raw_get::<Value>(name)?)?;
    }
    base::fill(lua, shared, &library, &globals)?;
    let add = |name: &str, table: Table| -> mlua::Result<()> {
        library.raw_set(name, shared.seal(lua, table)?)
    };
    let string = strings::library(lua, shared, &native)?;
    // "x".f is string.f, through a metatable that a script cannot get at (CVE-2025-46818).
    let front = shared.seal(lua, string.clone())?;
    library.raw_set("string", front.clone())?;
    let of_strings = lua.create_table()?;
    of_strings.raw_set("__index", front.clone())?;
    of_strings.raw_set("__metatable", shared.seal(lua, of_strings.clone())?)?;
    lua.set_type_metatable::<mlua::LuaString>(Some(of_strings));
    add("table", tables::library(lua, shared, &native, &prelude)?)?;
    add("math", base::math(lua, &native)?)?;
    add("coroutine", base::coroutines(lua, &native, &prelude)?)?;
    add("os", base::os(lua)?)?;
    add("redis", redis::library(lua, stack)?)?;
    add("cjson", formats::json(lua)?)?;
    add("cmsgpack", formats::msgpack(lua)?)?;
    add("bit", formats::bits(lua)?)?;
    add("struct", formats::pack(lua)?)?;
    library.set_metatable(Some(absent))?;
    Ok(Sandbox {
        explain: lua.create_function(base::explain)?,
        untouched: prelude.raw_get("untouched")?,
        globals,
        library,
    })
}

fn prelude(lua: &Lua, native: &Table) -> mlua::Result<Table> {
    let text = PRELUDE_TEXT.as_bytes();
    let function = parse(lua, text, PRELUDE, lua.create_table()?)?;
    let coroutine: Table = native.raw_get("coroutine")?;
    let settle = lua.create_function(|lua, value: Value| crate::state::settle(lua, value))?;
    function.call((
        native.raw_get::<Value>("pcall")?,
        native.raw_get::<Value>("xpcall")?,
        coroutine.raw_get::<Value>("resume")?,
        coroutine.raw_get::<Value>("create")?,
        native.raw_get::<Value>("error")?,
        native.raw_get::<Value>("next")?,
        settle,
        lua.create_function(base::told)?,
        lua.create_function(tables::check_sort)?,
    ))
}
