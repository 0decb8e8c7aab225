//! `bit`: operations on 32-bit numbers, as LuaBitOp has them.

use crate::lua::raise::Arguments;
use mlua::{Function, Lua, LuaString, MultiValue, Table};

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    let set = |name: &str, function: Function| library.raw_set(name, function);
    set(
        "tobit",
        lua.create_function(|lua, values| bits(lua, values, |bits| bits))?,
    )?;
    set(
        "bnot",
        lua.create_function(|lua, values| bits(lua, values, |bits| !bits))?,
    )?;
    set(
        "bswap",
        lua.create_function(|lua, values| bits(lua, values, u32::swap_bytes))?,
    )?;
    set(
        "band",
        lua.create_function(|lua, values| fold(lua, values, |a, b| a & b))?,
    )?;
    set(
        "bor",
        lua.create_function(|lua, values| fold(lua, values, |a, b| a | b))?,
    )?;
    set(
        "bxor",
        lua.create_function(|lua, values| fold(lua, values, |a, b| a ^ b))?,
    )?;
    set(
        "lshift",
        lua.create_function(|lua, values| shift(lua, values, |a, n| a << n))?,
    )?;
    set(
        "rshift",
        lua.create_function(|lua, values| shift(lua, values, |a, n| a >> n))?,
    )?;
    set(
        "arshift",
        lua.create_function(|lua, values| shift(lua, values, |a, n| (a as i32 >> n) as u32))?,
    )?;
    set(
        "rol",
        lua.create_function(|lua, values| shift(lua, values, u32::rotate_left))?,
    )?;
    set(
        "ror",
        lua.create_function(|lua, values| shift(lua, values, u32::rotate_right))?,
    )?;
    set("tohex", lua.create_function(to_hex)?)?;
    Ok(library)
}

/// A number's low 32 bits, rounded to an integer first. By LuaBitOp's own way, an addition that moves them to the end of the
/// fraction, so that what is beyond 2^51 becomes what it becomes there.
fn argument(arguments: &Arguments<'_>, n: usize) -> mlua::Result<u32> {
    const MOVE: f64 = 6_755_399_441_055_744.0; // 2^52 + 2^51
    Ok((arguments.number(n)? + MOVE).to_bits() as u32)
}

fn bits(lua: &Lua, values: MultiValue, act: fn(u32) -> u32) -> mlua::Result<i32> {
    Ok(act(argument(&Arguments::new(lua, values), 1)?) as i32)
}

fn fold(lua: &Lua, values: MultiValue, act: fn(u32, u32) -> u32) -> mlua::Result<i32> {
    let arguments = Arguments::new(lua, values);
    let mut result = argument(&arguments, 1)?;
    for n in 2..=arguments.count() {
        result = act(result, argument(&arguments, n)?);
    }
    Ok(result as i32)
}

fn shift(lua: &Lua, values: MultiValue, act: fn(u32, u32) -> u32) -> mlua::Result<i32> {
    let arguments = Arguments::new(lua, values);
    let bits = argument(&arguments, 1)?;
    Ok(act(bits, argument(&arguments, 2)? & 31) as i32)
}

fn to_hex(lua: &Lua, values: MultiValue) -> mlua::Result<LuaString> {
    let arguments = Arguments::new(lua, values);
    let bits = argument(&arguments, 1)?;
    let digits = match arguments.count() {
        1 => 8,
        _ => argument(&arguments, 2)? as i32,
    };
    let count = digits.unsigned_abs().min(8) as usize;
    let text = match digits < 0 {
        true => format!("{bits:08X}"),
        false => format!("{bits:08x}"),
    };
    lua.create_string(&text[8 - count..])
}
