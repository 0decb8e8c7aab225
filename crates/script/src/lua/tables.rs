//! `table`: functions that write do not write what scripts share, and none runs unseen for long.

use super::protect::Shared;
use super::raise::{Arguments, fail};
use crate::state::look;
use mlua::{Lua, MultiValue, Table, Value};

/// Steps of a loop between two looks at the host.
const STEPS_MAX: usize = 4096;

/// The library.
pub(crate) fn library(
    lua: &Lua,
    shared: &Shared,
    native: &Table,
    prelude: &Table,
) -> mlua::Result<Table> {
    let library: Table = native.raw_get("table")?;
    library.raw_set("sort", prelude.raw_get::<Value>("sort")?)?;
    let own = shared.clone();
    library.raw_set(
        "insert",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            own.may_write(&table)?;
            insert(lua, &table, &arguments)
        })?,
    )?;
    let own = shared.clone();
    library.raw_set(
        "remove",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            own.may_write(&table)?;
            remove(lua, &table, &arguments)
        })?,
    )?;
    let own = shared.clone();
    library.raw_set(
        "foreach",
        lua.create_function(move |lua, values: MultiValue| {
            let arguments = Arguments::new(lua, values);
            let table = arguments.table(1)?;
            let Some(Value::Function(function)) = arguments.get(2) else {
                return Err(arguments.wrong(2, "function"));
            };
            let table = own.real(&table)?.unwrap_or(table);
            for pair in table.pairs::<Value, Value>() {
                let (key, value) = pair?;
                let result: Value = function.call((key, value))?;
                if !result.is_nil() {
                    return Ok(result);
                }
            }
            Ok(Value::Nil)
        })?,
    )?;
    Ok(library)
}

fn insert(lua: &Lua, table: &Table, arguments: &Arguments<'_>) -> mlua::Result<()> {
    let end = table.raw_len() as i64 + 1;
    match arguments.count() {
        2 => table.raw_set(end, arguments.value(2)),
        3 => {
            let at = arguments.integer(2)? as i32 as i64;
            let end = end.max(at);
            for (step, to) in (at + 1..=end).rev().enumerate() {
                if step % STEPS_MAX == STEPS_MAX - 1 {
                    look(lua)?;
                }
                table.raw_set(to, table.raw_get::<Value>(to - 1)?)?;
            }
            table.raw_set(at, arguments.value(3))
        }
        _ => Err(fail(lua, "wrong number of arguments to 'insert'")),
    }
}

fn remove(lua: &Lua, table: &Table, arguments: &Arguments<'_>) -> mlua::Result<MultiValue> {
    let end = table.raw_len() as i64;
    let at = arguments.integer_or(2, end)? as i32 as i64;
    if !(1..=end).contains(&at) {
        return Ok(MultiValue::new());
    }
    let removed: Value = table.raw_get(at)?;
    for to in at..end {
        if (to - at) as usize % STEPS_MAX == STEPS_MAX - 1 {
            look(lua)?;
        }
        table.raw_set(to, table.raw_get::<Value>(to + 1)?)?;
    }
    table.raw_set(end, Value::Nil)?;
    Ok(MultiValue::from_iter([removed]))
}

/// Looks at the arguments of `sort`.
pub(crate) fn check_sort(lua: &Lua, values: MultiValue) -> mlua::Result<()> {
    let arguments = Arguments::new(lua, values);
    arguments.table(1)?;
    match arguments.get(2) {
        None | Some(Value::Nil | Value::Function(_)) => Ok(()),
        Some(_) => Err(arguments.wrong(2, "function")),
    }
}
