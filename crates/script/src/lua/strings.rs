//! `string`: what searches goes through the matcher that can be stopped, and what makes long strings knows their bound.

use super::pattern::{Capture, Matcher, Trouble};
use super::protect::Shared;
use super::raise::{Arguments, Raised, fail, type_name};
use crate::state::{has_room, look, settle};
use mlua::{Function, IntoLuaMulti, Lua, LuaString, MultiValue, Table, Value};

/// Characters that make a text a pattern.
const SPECIALS: &[u8] = b"^$*+?.([%-";

/// What a search gives.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Wanted {
    Place,
    Captures,
}

/// The library.
pub(crate) fn library(lua: &Lua, shared: &Shared, native: &Table) -> mlua::Result<Table> {
    let library: Table = native.raw_get("string")?;
    let set = |name: &str, function: Function| library.raw_set(name, function);
    set(
        "find",
        lua.create_function(|lua, values| search(lua, values, Wanted::Place))?,
    )?;
    set(
        "match",
        lua.create_function(|lua, values| search(lua, values, Wanted::Captures))?,
    )?;
    let gmatch = lua.create_function(gmatch)?;
    set("gmatch", gmatch.clone())?;
    set("gfind", gmatch)?;
    let (protected, shared): (Function, Shared) = (native.raw_get("pcall")?, shared.clone());
    set(
        "gsub",
        lua.create_function(move |lua, values: MultiValue| {
            substitute(lua, values, &protected, &shared)
        })?,
    )?;
    set("rep", lua.create_function(rep)?)?;
    set(
        "dump",
        lua.create_function(|lua, _: MultiValue| -> mlua::Result<()> {
            Err(fail(lua, "unable to dump given function"))
        })?,
    )?;
    Ok(library)
}

fn rep(lua: &Lua, values: MultiValue) -> mlua::Result<LuaString> {
    let arguments = Arguments::new(lua, values);
    let (text, count) = (arguments.string(1)?, arguments.integer(2)? as i32);
    let text = text.as_bytes();
    let count = usize::try_from(count).unwrap_or(0);
    let bytes = text.len().saturating_mul(count);
    has_room(lua, bytes)?;
    look(lua)?;
    match bytes {
        0 => lua.create_string(b""),
        _ => lua.create_string(text.repeat(count)),
    }
}

fn trouble(lua: &Lua, trouble: Trouble) -> mlua::Error {
    match trouble {
        Trouble::Malformed(text) => fail(lua, text),
        Trouble::Stopped(error) => error,
    }
}

fn captured(lua: &Lua, subject: &[u8], capture: Capture) -> mlua::Result<Value> {
    match capture {
        Capture::Piece(start, end) => Ok(Value::String(lua.create_string(&subject[start..end])?)),
        Capture::Place(at) | Capture::Open(at) => Ok(Value::Number((at + 1) as f64)),
    }
}

/// Where a search begins, from 0: behind the end is the end.
fn beginning(init: i64, length: usize) -> usize {
    let length = length as i64;
    let at = if init < 0 {
        (init + length).max(0)
    } else {
        (init - 1).max(0)
    };
    at.min(length) as usize
}

fn search(lua: &Lua, values: MultiValue, wanted: Wanted) -> mlua::Result<MultiValue> {
    let arguments = Arguments::new(lua, values);
    let (subject, pattern) = (arguments.string(1)?, arguments.string(2)?);
    let init = arguments.integer_or(3, 1)?;
    let is_plain = !matches!(
        arguments.get(4),
        None | Some(Value::Nil | Value::Boolean(false))
    );
    let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
    let begin = beginning(init, subject.len());
    let has_specials = pattern.iter().any(|byte| SPECIALS.contains(byte));
    if wanted == Wanted::Place && (is_plain || !has_specials) {
        look(lua)?;
        return match find_plain(&subject[begin..], &pattern) {
            Some(at) => (begin + at + 1, begin + at + pattern.len()).into_lua_multi(lua),
            None => Value::Nil.into_lua_multi(lua),
        };
    }
    let (is_anchored, pattern) = match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, &pattern[..]),
    };
    let going = || look(lua);
    let mut matcher = Matcher::new(&subject, pattern, &going);
    let mut at = begin;
    loop {
        if let Some(end) = matcher.match_at(at).map_err(|error| trouble(lua, error))? {
            let has_captures = wanted == Wanted::Captures || matcher.has_captures();
            let mut results = MultiValue::new();
            if wanted == Wanted::Place {
                results.push_back(Value::Number((at + 1) as f64));
                results.push_back(Value::Number(end as f64));
            }
            if has_captures {
                for capture in matcher
                    .captures(at, end)
                    .map_err(|error| trouble(lua, error))?
                {
                    results.push_back(captured(lua, &subject, capture)?);
                }
            }
            return Ok(results);
        }
        at += 1;
        if at > subject.len() || is_anchored {
            return Value::Nil.into_lua_multi(lua);
        }
    }
}

/// The first place of `needle`, in time linear in both but for hostile pairs, where each place costs a look at some bytes.
fn find_plain(hay: &[u8], needle: &[u8]) -> Option<usize> {
    match needle {
        [] => Some(0),
        [one] => hay.iter().position(|byte| byte == one),
        _ => hay
            .windows(needle.len())
            .position(|window| window == needle),
    }
}

fn gmatch(lua: &Lua, values: MultiValue) -> mlua::Result<Function> {
    let arguments = Arguments::new(lua, values);
    let (subject, pattern) = (arguments.string(1)?, arguments.string(2)?);
    let place = std::sync::atomic::AtomicUsize::new(0);
    lua.create_function(move |lua, _: MultiValue| {
        use std::sync::atomic::Ordering::Relaxed;
        let (subject, pattern) = (subject.as_bytes(), pattern.as_bytes());
        let going = || look(lua);
        let mut matcher = Matcher::new(&subject, &pattern, &going);
        for at in place.load(Relaxed)..=subject.len() {
            let Some(end) = matcher.match_at(at).map_err(|error| trouble(lua, error))? else {
                continue;
            };
            place.store(if end == at { end + 1 } else { end }, Relaxed);
            let captures = matcher
                .captures(at, end)
                .map_err(|error| trouble(lua, error))?;
            let values = captures
                .into_iter()
                .map(|capture| captured(lua, &subject, capture));
            return values.collect::<mlua::Result<MultiValue>>();
        }
        place.store(subject.len() + 1, Relaxed);
        Value::Nil.into_lua_multi(lua)
    })
}

fn substitute(
    lua: &Lua,
    values: MultiValue,
    protected: &Function,
    shared: &Shared,
) -> mlua::Result<(LuaString, usize)> {
    let arguments = Arguments::new(lua, values);
    let (subject, pattern) = (arguments.string(1)?, arguments.string(2)?);
    let subject = subject.as_bytes();
    let pattern = pattern.as_bytes();
    let replacement = match arguments.get(3) {
        Some(Value::Integer(_) | Value::Number(_) | Value::String(_)) => {
            Replacement::Text(arguments.string(3)?.as_bytes().to_vec())
        }
        Some(Value::Table(table)) => {
            Replacement::Table(shared.real(table)?.unwrap_or_else(|| table.clone()))
        }
        Some(Value::Function(function)) => Replacement::Call(function.clone(), protected),
        _ => {
            let text = "string/function/table expected";
            return Err(super::raise::argument(lua, 3, text));
        }
    };
    let count_max = arguments.integer_or(4, subject.len() as i64 + 1)?;
    let (is_anchored, pattern) = match pattern.strip_prefix(b"^") {
        Some(rest) => (true, rest),
        None => (false, &pattern[..]),
    };
    let going = || look(lua);
    let mut matcher = Matcher::new(&subject, pattern, &going);
    let (mut out, mut at, mut count) = (Vec::new(), 0, 0);
    while (count as i64) < count_max {
        let end = matcher.match_at(at).map_err(|error| trouble(lua, error))?;
        if let Some(end) = end {
            count += 1;
            replacement.add(lua, &mut out, &matcher, &subject, (at, end))?;
            has_room(lua, out.len())?;
        }
        match end {
            Some(end) if end > at => at = end,
            _ if at < subject.len() => {
                out.push(subject[at]);
                at += 1;
            }
            _ => break,
        }
        if is_anchored {
            break;
        }
    }
    if at < subject.len() {
        out.extend_from_slice(&subject[at..]);
    }
    Ok((lua.create_string(out)?, count))
}

enum Replacement<'a> {
    Text(Vec<u8>),
    Table(Table),
    /// The function, and Lua's own `pcall`, which hands on what it raises as it is.
    Call(Function, &'a Function),
}

impl Replacement<'_> {
    fn add(
        &self,
        lua: &Lua,
        out: &mut Vec<u8>,
        matcher: &Matcher<'_>,
        subject: &[u8],
        (start, end): (usize, usize),
    ) -> mlua::Result<()> {
        let value = match self {
            Replacement::Text(text) => {
                return add_text(lua, out, text, matcher, subject, (start, end));
            }
            Replacement::Table(table) => {
                let capture = matcher
                    .capture(0, start, end)
                    .map_err(|error| trouble(lua, error))?;
                let key = captured(lua, subject, capture)?;
                table.get::<Value>(key)?
            }
            Replacement::Call(function, protected) => {
                let captures = matcher
                    .captures(start, end)
                    .map_err(|error| trouble(lua, error))?;
                let mut values = MultiValue::new();
                values.push_back(Value::Function(function.clone()));
                for capture in captures {
                    values.push_back(captured(lua, subject, capture)?);
                }
                let mut results: MultiValue = protected.call(values)?;
                let succeeded = results.pop_front() == Some(Value::Boolean(true));
                let first = results.pop_front().unwrap_or(Value::Nil);
                if !succeeded {
                    return Err(Raised::Value(settle(lua, first)?).into());
                }
                first
            }
        };
        match value {
            Value::Nil | Value::Boolean(false) => out.extend_from_slice(&subject[start..end]),
            Value::String(text) => out.extend_from_slice(&text.as_bytes()),
            Value::Integer(_) | Value::Number(_) => {
                let text = lua.coerce_string(value)?.expect("a number is a string too");
                out.extend_from_slice(&text.as_bytes());
            }
            other => {
                let text = format!("invalid replacement value (a {})", type_name(&other));
                return Err(fail(lua, text));
            }
        }
        Ok(())
    }
}

fn add_text(
    lua: &Lua,
    out: &mut Vec<u8>,
    text: &[u8],
    matcher: &Matcher<'_>,
    subject: &[u8],
    (start, end): (usize, usize),
) -> mlua::Result<()> {
    let mut bytes = text.iter();
    while let Some(byte) = bytes.next() {
        if *byte != b'%' {
            out.push(*byte);
            continue;
        }
        match bytes.next() {
            Some(b'0') => out.extend_from_slice(&subject[start..end]),
            Some(digit @ b'1'..=b'9') => {
                let index = usize::from(digit - b'1');
                let capture = matcher
                    .capture(index, start, end)
                    .map_err(|error| trouble(lua, error))?;
                match capture {
                    Capture::Piece(start, end) => out.extend_from_slice(&subject[start..end]),
                    Capture::Place(at) | Capture::Open(at) => {
                        out.extend_from_slice((at + 1).to_string().as_bytes());
                    }
                }
            }
            Some(other) => out.push(*other),
            None => out.push(0),
        }
    }
    Ok(())
}
