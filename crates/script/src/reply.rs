//! The two conversions: a command's reply to what a script sees, and what a script returns to its reply.

use crate::lua::raise::{plain, to_integer};
use crate::script::Script;
use crate::state::{SMALL_BYTES, has_room, look};
use luastack::{Answer, Returned};
use mlua::{Lua, Table, Value};
use resp::{Output, Protocol, Reply, parse_f64, parse_i64};

/// How deep a script's value may nest in its reply. Redis goes until its Lua stack is full, at a few thousand.
const DEPTH_MAX: usize = 1000;
/// How deep a command's reply nests at most.
const READ_DEPTH_MAX: usize = 64;
/// Values between two looks at the host.
const LOOK_EVERY: usize = 1024;

/// An error's text as scripts see it: with a code ahead, `ERR` if it has none.
pub(crate) fn error_text(line: &[u8]) -> Vec<u8> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    let start = line
        .iter()
        .position(|byte| !is_break(byte))
        .unwrap_or(line.len());
    let end = line
        .iter()
        .rposition(|byte| !is_break(byte))
        .map_or(start, |last| last + 1);
    let line = &line[start..end];
    match line.contains(&b' ') {
        true => line.to_vec(),
        false => [b"ERR ", line].concat(),
    }
}

/// Reads a whole reply that is small and of a kind that needs no more than its own text, which goes to the end of `text`.
pub(crate) fn read_simple(reply: &[u8], text: &mut Vec<u8>) -> Option<Answer> {
    let (kind, rest) = reply.split_first()?;
    if reply.len() > SMALL_BYTES || !matches!(kind, b'+' | b':' | b'$') {
        return None;
    }
    let end = rest.iter().position(|byte| *byte == b'\r')?;
    let (line, rest) = (&rest[..end], &rest[end + 2..]);
    match kind {
        b'+' => {
            text.extend_from_slice(line);
            Some(Answer::Field("ok"))
        }
        b':' => Some(Answer::Number(parse_i64(line)? as f64)),
        _ => match usize::try_from(parse_i64(line)?) {
            Ok(count) => {
                text.extend_from_slice(rest.get(..count)?);
                Some(Answer::Text)
            }
            Err(_) => Some(Answer::False),
        },
    }
}

/// Reads a whole reply.
pub(crate) fn read(lua: &Lua, text: &[u8]) -> mlua::Result<Value> {
    let mut reader = Reader { lua, rest: text };
    reader.value(0)
}

struct Reader<'a> {
    lua: &'a Lua,
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn line(&mut self) -> mlua::Result<(u8, &'a [u8])> {
        let (&kind, rest) = self.rest.split_first().ok_or_else(broken)?;
        let end = rest
            .windows(2)
            .position(|pair| pair == b"\r\n")
            .ok_or_else(broken)?;
        self.rest = &rest[end + 2..];
        Ok((kind, &rest[..end]))
    }

    fn bytes(&mut self, count: usize) -> mlua::Result<&'a [u8]> {
        let (bytes, rest) = self.rest.split_at_checked(count).ok_or_else(broken)?;
        self.rest = rest.strip_prefix(b"\r\n").ok_or_else(broken)?;
        Ok(bytes)
    }

    fn value(&mut self, depth: usize) -> mlua::Result<Value> {
        if depth > READ_DEPTH_MAX {
            return Err(broken());
        }
        let (kind, line) = self.line()?;
        let count = || parse_i64(line).ok_or_else(broken);
        Ok(match kind {
            b'+' => self.field("ok", self.string(line)?)?,
            b'-' => {
                let table = self.lua.create_table()?;
                table.raw_set("err", self.lua.create_string(error_text(line))?)?;
                table.raw_set("ignore_error_stats_update", true)?;
                Value::Table(table)
            }
            b':' => Value::Number(count()? as f64),
            b'$' => match usize::try_from(count()?) {
                Ok(count) => {
                    let bytes = self.bytes(count)?;
                    self.string(bytes)?
                }
                Err(_) => Value::Boolean(false),
            },
            b'*' | b'>' => match usize::try_from(count()?) {
                Ok(count) => Value::Table(self.elements(count, depth)?),
                Err(_) => Value::Boolean(false),
            },
            b'%' => {
                let table = self.lua.create_table()?;
                for _ in 0..count()? {
                    let (key, value) = (self.value(depth + 1)?, self.value(depth + 1)?);
                    table.raw_set(key, value)?;
                }
                self.field("map", Value::Table(table))?
            }
            b'~' => {
                let table = self.lua.create_table()?;
                for _ in 0..count()? {
                    table.raw_set(self.value(depth + 1)?, true)?;
                }
                self.field("set", Value::Table(table))?
            }
            b'_' => Value::Nil,
            b'#' => Value::Boolean(line == b"t"),
            b',' => {
                let number = parse_f64(line).ok_or_else(broken)?;
                self.field("double", Value::Number(number))?
            }
            b'(' => self.field("big_number", self.string(line)?)?,
            b'=' => {
                let bytes = self.bytes(usize::try_from(count()?).map_err(|_| broken())?)?;
                let (format, text) = bytes.split_at_checked(4).ok_or_else(broken)?;
                let table = self.lua.create_table()?;
                table.raw_set("format", self.string(&format[..3])?)?;
                table.raw_set("string", self.string(text)?)?;
                self.field("verbatim_string", Value::Table(table))?
            }
            _ => return Err(broken()),
        })
    }

    fn elements(&mut self, count: usize, depth: usize) -> mlua::Result<Table> {
        let table = self.lua.create_table()?;
        for at in 1..=count {
            let value = self.value(depth + 1)?;
            table.raw_set(at, value)?;
        }
        Ok(table)
    }

    fn string(&self, bytes: &[u8]) -> mlua::Result<Value> {
        Ok(Value::String(self.lua.create_string(bytes)?))
    }

    fn field(&self, name: &str, value: Value) -> mlua::Result<Value> {
        let table = self.lua.create_table_with_capacity(0, 1)?;
        table.raw_set(name, value)?;
        Ok(Value::Table(table))
    }
}

fn broken() -> mlua::Error {
    plain("a command's reply cannot be read")
}

/// Appends an error; its text has its code.
pub(crate) fn error(reply: &mut Vec<u8>, text: &[u8]) {
    let mut output = Output::new();
    Reply::new(&mut output, Protocol::Resp2).error_bytes(text);
    reply.extend_from_slice(&output.into_bytes());
}

/// Appends the reply of a script that raised `value`, a table in Redis's form.
pub(crate) fn error_of(value: &Value, script: &Script, reply: &mut Vec<u8>) -> mlua::Result<()> {
    let Value::Table(table) = value else {
        error(reply, b"ERR error in error handling");
        return Ok(());
    };
    let mut text = match table.raw_get::<Value>("err")? {
        Value::String(text) => until_zero(&text.as_bytes()),
        number @ (Value::Integer(_) | Value::Number(_)) => number.to_string()?.into_bytes(),
        _ => b"ERR unknown error".to_vec(),
    };
    let source: Value = table.raw_get("source")?;
    let line: Value = table.raw_get("line")?;
    if let (Value::String(source), Value::Integer(line)) = (source, line) {
        text.extend_from_slice(b" script: ");
        text.extend_from_slice(script.sha());
        text.extend_from_slice(b", on ");
        text.extend_from_slice(&source.as_bytes());
        text.extend_from_slice(format!(":{line}.").as_bytes());
    }
    error(reply, &text);
    Ok(())
}

/// What came out of Lua as a value of its own.
pub(crate) fn value_of(lua: &Lua, returned: Returned<'_>) -> mlua::Result<Value> {
    Ok(match returned {
        Returned::Nil => Value::Nil,
        Returned::Boolean(is_true) => Value::Boolean(is_true),
        Returned::Number(number) => Value::Number(number),
        Returned::Text(text) => Value::String(lua.create_string(text)?),
        Returned::Other(value) => value,
    })
}

/// Appends what a script returned as a reply in `protocol`; `speaks` is what the script has set for itself.
pub(crate) fn write(
    lua: &Lua,
    returned: Returned<'_>,
    (protocol, speaks): (Protocol, Protocol),
    reply: &mut Vec<u8>,
) -> mlua::Result<()> {
    let mut writer = Writer {
        lua,
        protocol,
        speaks,
        output: Output::new(),
        written: 0,
    };
    match returned {
        Returned::Nil => writer.value(&Value::Nil, 0)?,
        Returned::Boolean(is_true) => writer.value(&Value::Boolean(is_true), 0)?,
        Returned::Number(number) => writer.value(&Value::Number(number), 0)?,
        Returned::Text(text) => writer.text(text)?,
        Returned::Other(value) => writer.value(&value, 0)?,
    }
    reply.extend_from_slice(&writer.output.into_bytes());
    Ok(())
}

struct Writer<'a> {
    lua: &'a Lua,
    protocol: Protocol,
    speaks: Protocol,
    output: Output,
    written: usize,
}

impl Writer<'_> {
    fn reply(&mut self) -> Reply<'_> {
        Reply::new(&mut self.output, self.protocol)
    }

    fn value(&mut self, value: &Value, depth: usize) -> mlua::Result<()> {
        self.written += 1;
        if self.written.is_multiple_of(LOOK_EVERY) {
            look(self.lua)?;
            has_room(self.lua, self.output.len())?;
        }
        match value {
            Value::String(text) => self.text(&text.as_bytes())?,
            Value::Integer(number) => self.reply().integer(*number),
            Value::Number(number) => self.reply().integer(to_integer(*number)),
            Value::Boolean(is_true) => match (self.speaks, is_true) {
                (Protocol::Resp2, true) => self.reply().integer(1),
                (Protocol::Resp2, false) => self.reply().null(),
                (Protocol::Resp3, _) => self.reply().boolean(*is_true),
            },
            Value::Table(table) => self.table(table, depth)?,
            _ => self.reply().null(),
        }
        Ok(())
    }

    fn text(&mut self, text: &[u8]) -> mlua::Result<()> {
        let bytes = self.output.len() + text.len();
        if bytes > SMALL_BYTES {
            has_room(self.lua, bytes)?;
        }
        self.reply().bulk(text);
        Ok(())
    }

    fn table(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        if depth > DEPTH_MAX {
            self.reply().error("ERR reached lua stack limit");
            return Ok(());
        }
        let field = |name: &str| table.raw_get::<Value>(name);
        if let Some(text) = text_of(&field("err")?) {
            self.reply().error_bytes(&text);
        } else if let Some(text) = text_of(&field("ok")?) {
            self.reply().simple_bytes(&one_line(&text));
        } else if let Some(number) = number_of(&field("double")?) {
            self.reply().double(number);
        } else if let Value::Table(pairs) = field("map")? {
            let pairs: Vec<(Value, Value)> = pairs.pairs().collect::<mlua::Result<_>>()?;
            self.reply().map(pairs.len());
            for (key, value) in pairs {
                self.value(&key, depth + 1)?;
                self.value(&value, depth + 1)?;
            }
        } else if let Value::Table(set) = field("set")? {
            let keys: Vec<(Value, Value)> = set.pairs().collect::<mlua::Result<_>>()?;
            self.reply().set(keys.len());
            for (key, _) in keys {
                self.value(&key, depth + 1)?;
            }
        } else if let Value::String(digits) = field("big_number")? {
            let digits = one_line(&digits.as_bytes());
            self.big_number(&digits);
        } else if let Value::Table(verbatim) = field("verbatim_string")?
            && let (Value::String(format), Value::String(text)) =
                (verbatim.raw_get("format")?, verbatim.raw_get("string")?)
        {
            self.verbatim(&until_zero(&format.as_bytes()), &text.as_bytes());
        } else {
            self.array(table, depth)?;
        }
        Ok(())
    }

    /// Whatever a script takes for a big number: as Redis, which does not look either.
    fn big_number(&mut self, digits: &[u8]) {
        match self.protocol {
            Protocol::Resp2 => self.reply().bulk(digits),
            Protocol::Resp3 => {
                let tail = self.output.tail_mut();
                tail.push(b'(');
                tail.extend_from_slice(digits);
                tail.extend_from_slice(b"\r\n");
            }
        }
    }

    /// A format has three bytes: blanks for those that are missing.
    fn verbatim(&mut self, format: &[u8], text: &[u8]) {
        let mut three = [b' '; 3];
        let count = format.len().min(3);
        three[..count].copy_from_slice(&format[..count]);
        match self.protocol {
            Protocol::Resp2 => self.reply().bulk(text),
            Protocol::Resp3 => {
                let tail = self.output.tail_mut();
                tail.extend_from_slice(format!("={}\r\n", text.len() + 4).as_bytes());
                tail.extend_from_slice(&three);
                tail.push(b':');
                tail.extend_from_slice(text);
                tail.extend_from_slice(b"\r\n");
            }
        }
    }

    fn array(&mut self, table: &Table, depth: usize) -> mlua::Result<()> {
        let mut values = Vec::new();
        loop {
            let value: Value = table.raw_get(values.len() + 1)?;
            if value.is_nil() {
                break;
            }
            values.push(value);
        }
        self.reply().array(values.len());
        for value in &values {
            self.value(value, depth + 1)?;
        }
        Ok(())
    }
}

/// A field counts as a text only if it is a string. Redis takes errors and statuses for C's strings, which end at a zero.
fn text_of(value: &Value) -> Option<Vec<u8>> {
    value.as_string().map(|text| until_zero(&text.as_bytes()))
}

fn until_zero(text: &[u8]) -> Vec<u8> {
    let end = text.iter().position(|byte| *byte == 0);
    text[..end.unwrap_or(text.len())].to_vec()
}

/// Blanks for line breaks.
fn one_line(text: &[u8]) -> Vec<u8> {
    let is_break = |byte: &u8| matches!(byte, b'\r' | b'\n');
    text.iter()
        .map(|byte| if is_break(byte) { b' ' } else { *byte })
        .collect()
}

fn number_of(value: &Value) -> Option<f64> {
    match value {
        Value::Integer(number) => Some(*number as f64),
        Value::Number(number) => Some(*number),
        _ => None,
    }
}
