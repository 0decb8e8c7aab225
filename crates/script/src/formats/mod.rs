//! The libraries that Redis adds: `cjson`, `cmsgpack`, `bit`, `struct`.

mod bits;
mod json_read;
mod json_write;
mod msgpack;
mod number;
mod pack;

use crate::lua::raise::{Arguments, argument};
use crate::state::running;
use mlua::{Function, Lua, MultiValue, Table, Value};

pub(crate) use bits::library as bits;
pub(crate) use msgpack::library as msgpack;
pub(crate) use pack::library as pack;

/// What a script may set of `cjson`; it lasts to the end of its run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct JsonSettings {
    sparse_converts: bool,
    sparse_ratio: i64,
    sparse_safe: i64,
    encode_depth_max: i64,
    decode_depth_max: i64,
    digits: i64,
    encode_invalid: Invalid,
    decode_invalid: bool,
    keep_buffer: bool,
}

/// What becomes of NaN and the infinities.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Invalid {
    Refused,
    Written,
    Null,
}

impl Default for JsonSettings {
    fn default() -> Self {
        JsonSettings {
            sparse_converts: false,
            sparse_ratio: 2,
            sparse_safe: 10,
            encode_depth_max: 1000,
            decode_depth_max: 1000,
            digits: 14,
            encode_invalid: Invalid::Refused,
            decode_invalid: true,
            keep_buffer: true,
        }
    }
}

/// `cjson`.
pub(crate) fn json(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("_NAME", "cjson")?;
    library.raw_set("_VERSION", "2.1.0")?;
    library.raw_set("null", Value::NULL)?;
    let set = |name: &str, function: Function| library.raw_set(name, function);
    set("encode", lua.create_function(json_write::encode)?)?;
    set("decode", lua.create_function(json_read::decode)?)?;
    set("encode_sparse_array", lua.create_function(sparse_array)?)?;
    set(
        "encode_max_depth",
        lua.create_function(|lua, values| {
            integer(lua, values, 1, i64::from(i32::MAX), |settings| {
                &mut settings.encode_depth_max
            })
        })?,
    )?;
    set(
        "decode_max_depth",
        lua.create_function(|lua, values| {
            integer(lua, values, 1, i64::from(i32::MAX), |settings| {
                &mut settings.decode_depth_max
            })
        })?,
    )?;
    set(
        "encode_number_precision",
        lua.create_function(|lua, values| {
            integer(lua, values, 1, 14, |settings| &mut settings.digits)
        })?,
    )?;
    set(
        "encode_keep_buffer",
        lua.create_function(|lua, values| flag(lua, values, |settings| &mut settings.keep_buffer))?,
    )?;
    set(
        "decode_invalid_numbers",
        lua.create_function(|lua, values| {
            flag(lua, values, |settings| &mut settings.decode_invalid)
        })?,
    )?;
    set(
        "encode_invalid_numbers",
        lua.create_function(invalid_numbers)?,
    )?;
    // Redis's makes another table with the same functions; settings belong to the run, so one table is enough.
    let own = library.clone();
    set(
        "new",
        lua.create_function(move |lua, _: MultiValue| {
            let copy = lua.create_table()?;
            for pair in own.pairs::<Value, Value>() {
                let (key, value) = pair?;
                copy.raw_set(key, value)?;
            }
            Ok(copy)
        })?,
    )?;
    Ok(library)
}

fn is_given(arguments: &Arguments<'_>, n: usize) -> bool {
    !matches!(arguments.get(n), None | Some(Value::Nil))
}

fn at_most(lua: &Lua, arguments: &Arguments<'_>, count: usize) -> mlua::Result<()> {
    match arguments.count() > count {
        true => Err(argument(lua, count + 1, "found too many arguments")),
        false => Ok(()),
    }
}

fn number_in(
    lua: &Lua,
    arguments: &Arguments<'_>,
    n: usize,
    least: i64,
    most: i64,
) -> mlua::Result<i64> {
    let number = arguments.integer(n)?;
    match (least..=most).contains(&number) {
        true => Ok(number),
        false => {
            let text = format!("expected integer between {least} and {most}");
            Err(argument(lua, n, &text))
        }
    }
}

fn integer(
    lua: &Lua,
    values: MultiValue,
    least: i64,
    most: i64,
    field: fn(&mut JsonSettings) -> &mut i64,
) -> mlua::Result<i64> {
    let arguments = Arguments::new(lua, values);
    at_most(lua, &arguments, 1)?;
    if is_given(&arguments, 1) {
        let number = number_in(lua, &arguments, 1, least, most)?;
        running(lua, |running| *field(&mut running.json) = number)?;
    }
    running(lua, |running| *field(&mut running.json))
}

fn flag(
    lua: &Lua,
    values: MultiValue,
    field: fn(&mut JsonSettings) -> &mut bool,
) -> mlua::Result<bool> {
    let arguments = Arguments::new(lua, values);
    at_most(lua, &arguments, 1)?;
    if is_given(&arguments, 1) {
        let Some(Value::Boolean(on)) = arguments.get(1) else {
            return Err(argument(lua, 1, "invalid option"));
        };
        running(lua, |running| *field(&mut running.json) = *on)?;
    }
    running(lua, |running| *field(&mut running.json))
}

fn sparse_array(lua: &Lua, values: MultiValue) -> mlua::Result<(bool, i64, i64)> {
    let arguments = Arguments::new(lua, values);
    at_most(lua, &arguments, 3)?;
    let mut json = running(lua, |running| running.json)?;
    if let Some(Value::Boolean(on)) = arguments.get(1) {
        json.sparse_converts = *on;
    } else if is_given(&arguments, 1) {
        return Err(argument(lua, 1, "invalid option"));
    }
    let most = i64::from(i32::MAX);
    if is_given(&arguments, 2) {
        json.sparse_ratio = number_in(lua, &arguments, 2, 0, most)?;
    }
    if is_given(&arguments, 3) {
        json.sparse_safe = number_in(lua, &arguments, 3, 0, most)?;
    }
    running(lua, |running| running.json = json)?;
    Ok((json.sparse_converts, json.sparse_ratio, json.sparse_safe))
}

fn invalid_numbers(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let arguments = Arguments::new(lua, values);
    at_most(lua, &arguments, 1)?;
    if is_given(&arguments, 1) {
        let invalid = match arguments.get(1) {
            Some(Value::Boolean(true)) => Invalid::Written,
            Some(Value::Boolean(false)) => Invalid::Refused,
            Some(Value::String(text)) if *text.as_bytes() == *b"null" => Invalid::Null,
            Some(Value::String(text)) if *text.as_bytes() == *b"on" => Invalid::Written,
            Some(Value::String(text)) if *text.as_bytes() == *b"off" => Invalid::Refused,
            _ => return Err(argument(lua, 1, "invalid option")),
        };
        running(lua, |running| running.json.encode_invalid = invalid)?;
    }
    match running(lua, |running| running.json.encode_invalid)? {
        Invalid::Refused => Ok(Value::Boolean(false)),
        Invalid::Written => Ok(Value::Boolean(true)),
        Invalid::Null => Ok(Value::String(lua.create_string("null")?)),
    }
}
