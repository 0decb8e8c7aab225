//! `cmsgpack`: MessagePack as lua-cmsgpack 0.4.0 writes and reads it.

use crate::lua::base::check_key;
use crate::lua::raise::{Arguments, argument, fail, to_integer};
use crate::state::{has_room, look};
use mlua::{Lua, LuaString, MultiValue, Table, Value};

/// Tables in tables that are written; what is deeper becomes nil.
const DEPTH_MAX: usize = 16;
/// Arrays and maps in one another that are read.
const READ_DEPTH_MAX: usize = 128;
/// Values between two looks at the host.
const LOOK_EVERY: usize = 512;

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("_NAME", "cmsgpack")?;
    library.raw_set("_VERSION", "lua-cmsgpack 0.4.0")?;
    library.raw_set("_COPYRIGHT", "Copyright (C) 2012, Salvatore Sanfilippo")?;
    library.raw_set("_DESCRIPTION", "MessagePack C implementation for Lua")?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set(
        "unpack",
        lua.create_function(|lua, values| {
            let arguments = Arguments::new(lua, values);
            unpack(lua, &arguments, 0, 0)
        })?,
    )?;
    library.raw_set(
        "unpack_one",
        lua.create_function(|lua, values| {
            let arguments = Arguments::new(lua, values);
            let offset = arguments.integer_or(2, 0)?;
            unpack(lua, &arguments, 1, offset)
        })?,
    )?;
    library.raw_set(
        "unpack_limit",
        lua.create_function(|lua, values| {
            let arguments = Arguments::new(lua, values);
            let (limit, offset) = (arguments.integer(2)?, arguments.integer_or(3, 0)?);
            unpack(lua, &arguments, limit, offset)
        })?,
    )?;
    Ok(library)
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<LuaString> {
    if values.is_empty() {
        return Err(argument(lua, 0, "MessagePack pack needs input."));
    }
    let mut writer = Writer {
        lua,
        out: Vec::new(),
        written: 0,
    };
    for value in &values {
        writer.value(value, 0)?;
    }
    lua.create_string(writer.out)
}

struct Writer<'a> {
    lua: &'a Lua,
    out: Vec<u8>,
    written: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.written += 1;
        if self.written.is_multiple_of(LOOK_EVERY) {
            look(self.lua)?;
            has_room(self.lua, self.out.len())?;
        }
        match value {
            Value::String(text) => {
                let text = text.as_bytes();
                self.head(text.len(), [0xa0, 0xd9, 0xda, 0xdb], 31);
                self.out.extend_from_slice(&text);
                has_room(self.lua, self.out.len())?;
            }
            Value::Boolean(value) => self.out.push(if *value { 0xc3 } else { 0xc2 }),
            Value::Integer(number) => self.integer(*number),
            Value::Number(number) => self.number(*number),
            Value::Table(_) if depth == DEPTH_MAX => self.out.push(0xc0),
            Value::Table(table) => self.table(table, depth + 1)?,
            _ => self.out.push(0xc0),
        }
        Ok(())
    }

    /// A kind with a length: in the first byte up to `short_max`, else in 1 (if there is such a kind), 2 or 4.
    fn head(&mut self, length: usize, [short, one, two, four]: [u8; 4], short_max: usize) {
        match length {
            _ if length <= short_max => self.out.push(short | length as u8),
            0..=0xff if one != 0 => self.out.extend_from_slice(&[one, length as u8]),
            0..=0xffff => {
                self.out.push(two);
                self.out.extend_from_slice(&(length as u16).to_be_bytes());
            }
            _ => {
                self.out.push(four);
                self.out.extend_from_slice(&(length as u32).to_be_bytes());
            }
        }
    }

    fn integer(&mut self, number: i64) {
        let out = &mut self.out;
        let mut put = |kind: u8, bytes: &[u8]| {
            out.push(kind);
            out.extend_from_slice(bytes);
        };
        match number {
            -32..=0x7f => put(number as u8, &[]),
            0x80..=0xff => put(0xcc, &[number as u8]),
            0x100..=0xffff => put(0xcd, &(number as u16).to_be_bytes()),
            0x1_0000..=0xffff_ffff => put(0xce, &(number as u32).to_be_bytes()),
            0x1_0000_0000.. => put(0xcf, &number.to_be_bytes()),
            -128..=-33 => put(0xd0, &[number as u8]),
            -32768..=-129 => put(0xd1, &(number as i16).to_be_bytes()),
            -2_147_483_648..=-32769 => put(0xd2, &(number as i32).to_be_bytes()),
            ..=-2_147_483_649 => put(0xd3, &number.to_be_bytes()),
        }
    }

    fn number(&mut self, number: f64) {
        let integer = to_integer(number);
        let short = number as f32;
        if number.abs() < 9.2e18 && integer as f64 == number {
            self.integer(integer);
        } else if f64::from(short) == number {
            self.out.push(0xca);
            self.out.extend_from_slice(&short.to_be_bytes());
        } else {
            self.out.push(0xcb);
            self.out.extend_from_slice(&number.to_be_bytes());
        }
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let (mut count, mut highest, mut is_array) = (0, 0, true);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(at) if at >= 1 => highest = highest.max(at),
                _ => is_array = false,
            }
            count += 1;
        }
        if is_array && highest == count {
            self.head(count as usize, [0x90, 0, 0xdc, 0xdd], 15);
            for at in 1..=count {
                self.value(&table.raw_get::<Value>(at)?, depth)?;
            }
        } else {
            self.head(count as usize, [0x80, 0, 0xde, 0xdf], 15);
            for pair in table.pairs::<Value, Value>() {
                let (key, value) = pair?;
                self.value(&key, depth)?;
                self.value(&value, depth)?;
            }
        }
        Ok(())
    }
}

/// With a limit of values, or 0 for all; then the next offset comes first, -1 at the end.
fn unpack(
    lua: &Lua,
    arguments: &Arguments<'_>,
    limit: i64,
    offset: i64,
) -> mlua::Result<MultiValue> {
    let text = arguments.string(1)?;
    let text = text.as_bytes();
    if limit < 0 || offset < 0 {
        let text = format!(
            "Invalid request to unpack with offset of {offset} and limit of {}.",
            text.len()
        );
        return Err(fail(lua, text));
    }
    if offset as usize > text.len() {
        let text = format!(
            "Start offset {offset} greater than input length {}.",
            text.len()
        );
        return Err(fail(lua, text));
    }
    let mut reader = Reader {
        lua,
        rest: &text[offset as usize..],
        read: 0,
    };
    let mut results = MultiValue::new();
    while !reader.rest.is_empty() && (limit == 0 || (results.len() as i64) < limit) {
        if results.len() > 4000 {
            return Err(fail(lua, "too many results to unpack"));
        }
        results.push_back(reader.value(0)?);
    }
    if limit > 0 {
        let next = match reader.rest.len() {
            0 => -1,
            rest => (text.len() - rest) as i64,
        };
        results.push_front(Value::Integer(next));
    }
    Ok(results)
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
    read: usize,
}

impl<'a> Reader<'a> {
    fn bad(&self) -> mlua::Error {
        fail(self.lua, "Bad data format in input.")
    }

    fn take(&mut self, count: usize) -> mlua::Result<&'a [u8]> {
        let Some((bytes, rest)) = self.rest.split_at_checked(count) else {
            return Err(fail(self.lua, "Missing bytes in input."));
        };
        self.rest = rest;
        Ok(bytes)
    }

    fn array<const N: usize>(&mut self) -> mlua::Result<[u8; N]> {
        Ok(self.take(N)?.try_into().expect("as many were taken"))
    }

    fn length(&mut self, bytes: usize) -> mlua::Result<usize> {
        let bytes = self.take(bytes)?;
        Ok(bytes
            .iter()
            .fold(0, |length, byte| length << 8 | usize::from(*byte)))
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        self.read += 1;
        if self.read.is_multiple_of(LOOK_EVERY) {
            look(self.lua)?;
        }
        if depth > READ_DEPTH_MAX {
            return Err(self.bad());
        }
        let number = |number: i64| Ok(Value::Number(number as f64));
        match self.array::<1>()?[0] {
            short @ 0..=0x7f => number(i64::from(short)),
            short @ 0xe0.. => number(i64::from(short as i8)),
            0xcc => number(i64::from(u8::from_be_bytes(self.array()?))),
            0xcd => number(i64::from(u16::from_be_bytes(self.array()?))),
            0xce => number(i64::from(u32::from_be_bytes(self.array()?))),
            0xcf => Ok(Value::Number(u64::from_be_bytes(self.array()?) as f64)),
            0xd0 => number(i64::from(i8::from_be_bytes(self.array()?))),
            0xd1 => number(i64::from(i16::from_be_bytes(self.array()?))),
            0xd2 => number(i64::from(i32::from_be_bytes(self.array()?))),
            0xd3 => number(i64::from_be_bytes(self.array()?)),
            0xca => Ok(Value::Number(f64::from(f32::from_be_bytes(self.array()?)))),
            0xcb => Ok(Value::Number(f64::from_be_bytes(self.array()?))),
            0xc0 => Ok(Value::Nil),
            0xc2 => Ok(Value::Boolean(false)),
            0xc3 => Ok(Value::Boolean(true)),
            short @ 0xa0..=0xbf => self.string(usize::from(short & 31)),
            0xd9 => self.length(1).and_then(|length| self.string(length)),
            0xda => self.length(2).and_then(|length| self.string(length)),
            0xdb => self.length(4).and_then(|length| self.string(length)),
            short @ 0x90..=0x9f => self.elements(usize::from(short & 15), depth),
            0xdc => self
                .length(2)
                .and_then(|length| self.elements(length, depth)),
            0xdd => self
                .length(4)
                .and_then(|length| self.elements(length, depth)),
            short @ 0x80..=0x8f => self.pairs(usize::from(short & 15), depth),
            0xde => self.length(2).and_then(|length| self.pairs(length, depth)),
            0xdf => self.length(4).and_then(|length| self.pairs(length, depth)),
            _ => Err(self.bad()),
        }
    }

    fn string(&mut self, length: usize) -> mlua::Result<Value> {
        let bytes = self.take(length)?;
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn elements(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for at in 1..=count {
            table.raw_set(at, self.value(depth + 1)?)?;
        }
        Ok(Value::Table(table))
    }

    fn pairs(&mut self, count: usize, depth: usize) -> mlua::Result<Value> {
        let table = self.lua.create_table()?;
        for _ in 0..count {
            let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
            check_key(self.lua, &key)?;
            table.raw_set(key, value)?;
        }
        Ok(Value::Table(table))
    }
}
