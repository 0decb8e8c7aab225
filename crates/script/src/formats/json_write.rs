//! `cjson.encode`.

use super::number::write_general;
use super::{Invalid, JsonSettings};
use crate::lua::raise::{Arguments, argument, fail, type_name};
use crate::state::{has_room, look, running};
use mlua::{Lua, LuaString, MultiValue, Table, Value};

/// Values between two looks at the host.
const LOOK_EVERY: usize = 512;

pub(super) fn encode(lua: &Lua, values: MultiValue) -> mlua::Result<LuaString> {
    let arguments = Arguments::new(lua, values);
    if arguments.count() != 1 {
        return Err(argument(lua, 1, "expected 1 argument"));
    }
    let mut writer = Writer {
        lua,
        settings: running(lua, |running| running.json)?,
        out: Vec::new(),
        written: 0,
    };
    writer.value(&arguments.value(1), 0)?;
    lua.create_string(writer.out)
}

struct Writer<'a> {
    lua: &'a Lua,
    settings: JsonSettings,
    out: Vec<u8>,
    written: usize,
}

impl Writer<'_> {
    fn value(&mut self, value: &Value, depth: i64) -> mlua::Result<()> {
        self.written += 1;
        if self.written.is_multiple_of(LOOK_EVERY) {
            look(self.lua)?;
            has_room(self.lua, self.out.len())?;
        }
        match value {
            Value::String(text) => {
                has_room(self.lua, self.out.len() + text.as_bytes().len())?;
                self.string(&text.as_bytes());
            }
            Value::Integer(number) => self.number(*number as f64)?,
            Value::Number(number) => self.number(*number)?,
            Value::Boolean(true) => self.out.extend_from_slice(b"true"),
            Value::Boolean(false) => self.out.extend_from_slice(b"false"),
            Value::Nil => self.out.extend_from_slice(b"null"),
            value if value.is_null() => self.out.extend_from_slice(b"null"),
            Value::Table(table) => self.table(table, depth + 1)?,
            other => return Err(self.refused(other, "type not supported")),
        }
        Ok(())
    }

    fn refused(&self, value: &Value, why: &str) -> mlua::Error {
        fail(
            self.lua,
            format!("Cannot serialise {}: {why}", type_name(value)),
        )
    }

    fn table(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        if depth > self.settings.encode_depth_max.min(1000) {
            let text = format!("Cannot serialise, excessive nesting ({depth})");
            return Err(fail(self.lua, text));
        }
        match self.length(table)? {
            0 => self.object(table, depth),
            length => {
                self.out.push(b'[');
                for at in 1..=length {
                    if at > 1 {
                        self.out.push(b',');
                    }
                    self.value(&table.raw_get::<Value>(at)?, depth)?;
                }
                self.out.push(b']');
                Ok(())
            }
        }
    }

    /// The length of a table that is an array; 0 if it is to be an object.
    fn length(&self, table: &Table) -> mlua::Result<i64> {
        let (mut highest, mut count) = (0, 0);
        for pair in table.pairs::<Value, Value>() {
            match pair?.0 {
                Value::Integer(at) if at >= 1 => highest = highest.max(at),
                _ => return Ok(0),
            }
            count += 1;
        }
        let settings = &self.settings;
        let is_sparse = settings.sparse_ratio > 0
            && highest > count * settings.sparse_ratio
            && highest > settings.sparse_safe;
        match (is_sparse, settings.sparse_converts) {
            (true, false) => {
                let table = Value::Table(table.clone());
                Err(self.refused(&table, "excessively sparse array"))
            }
            (true, true) => Ok(0),
            (false, _) => Ok(highest),
        }
    }

    fn object(&mut self, table: &Table, depth: i64) -> mlua::Result<()> {
        self.out.push(b'{');
        let mut is_first = true;
        for pair in table.pairs::<Value, Value>() {
            let (key, value) = pair?;
            if !is_first {
                self.out.push(b',');
            }
            is_first = false;
            match &key {
                Value::String(text) => self.string(&text.as_bytes()),
                Value::Integer(_) | Value::Number(_) => {
                    self.out.push(b'"');
                    self.number(
                        key.as_number()
                            .or(key.as_integer().map(|n| n as f64))
                            .unwrap_or(0.0),
                    )?;
                    self.out.push(b'"');
                }
                other => return Err(self.refused(other, "table key must be a number or string")),
            }
            self.out.push(b':');
            self.value(&value, depth)?;
        }
        self.out.push(b'}');
        Ok(())
    }

    fn number(&mut self, number: f64) -> mlua::Result<()> {
        if !number.is_finite() {
            match self.settings.encode_invalid {
                Invalid::Refused => {
                    return Err(self.refused(&Value::Number(number), "must not be NaN or Inf"));
                }
                Invalid::Null => {
                    self.out.extend_from_slice(b"null");
                    return Ok(());
                }
                Invalid::Written => {}
            }
        }
        write_general(&mut self.out, number, self.settings.digits as usize);
        Ok(())
    }

    fn string(&mut self, text: &[u8]) {
        self.out.reserve(text.len() + 2);
        self.out.push(b'"');
        for byte in text {
            let short = match byte {
                b'"' | b'\\' | b'/' => *byte,
                8 => b'b',
                9 => b't',
                10 => b'n',
                12 => b'f',
                13 => b'r',
                0..=31 | 127 => {
                    self.out
                        .extend_from_slice(format!("\\u{byte:04x}").as_bytes());
                    continue;
                }
                _ => {
                    self.out.push(*byte);
                    continue;
                }
            };
            self.out.extend_from_slice(&[b'\\', short]);
        }
        self.out.push(b'"');
    }
}
