//! `struct`: numbers and strings as bytes of a given layout.

use crate::lua::raise::{Arguments, argument, fail, to_integer};
use crate::state::has_room;
use mlua::{Lua, LuaString, MultiValue, Table, Value};

/// Longest integer, bytes.
const INTEGER_BYTES_MAX: usize = 32;
/// Alignment that a `!` without a number asks for.
const ALIGNMENT_MAX: usize = 8;

pub(crate) fn library(lua: &Lua) -> mlua::Result<Table> {
    let library = lua.create_table()?;
    library.raw_set("pack", lua.create_function(pack)?)?;
    library.raw_set("unpack", lua.create_function(unpack)?)?;
    library.raw_set("size", lua.create_function(size)?)?;
    Ok(library)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Little,
    Big,
}

/// A format on its way.
struct Format<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    order: Order,
    alignment: usize,
    /// Which letters that say nothing are handed out, as fields of no size.
    lets_pass: fn(u8) -> bool,
}

/// One option that takes room: its letter and its size.
#[derive(Clone, Copy)]
struct Field {
    letter: u8,
    bytes: usize,
}

impl<'a> Format<'a> {
    fn new(lua: &'a Lua, text: &'a [u8]) -> Self {
        Format {
            lua,
            text,
            at: 0,
            order: Order::Little,
            alignment: 1,
            lets_pass: |_| false,
        }
    }

    fn number(&mut self, default: usize) -> mlua::Result<usize> {
        if !self.text.get(self.at).is_some_and(u8::is_ascii_digit) {
            return Ok(default);
        }
        let mut number = 0i64;
        while let Some(digit) = self.text.get(self.at).filter(|byte| byte.is_ascii_digit()) {
            number = number * 10 + i64::from(digit - b'0');
            if number > i64::from(i32::MAX) {
                return Err(fail(self.lua, "integral size overflow"));
            }
            self.at += 1;
        }
        Ok(number as usize)
    }

    /// The next option with its size; those that only change how others are read are taken on the way.
    fn next(&mut self) -> mlua::Result<Option<Field>> {
        loop {
            let Some(&letter) = self.text.get(self.at) else {
                return Ok(None);
            };
            self.at += 1;
            let bytes = match letter {
                b'b' | b'B' | b'x' => 1,
                b'h' | b'H' => 2,
                b'l' | b'L' | b'T' | b'd' => 8,
                b'f' => 4,
                b's' => 0,
                b'c' => self.number(1)?,
                b'i' | b'I' => {
                    let bytes = self.number(4)?;
                    if bytes > INTEGER_BYTES_MAX {
                        let text = format!(
                            "integral size {bytes} is larger than limit of {INTEGER_BYTES_MAX}"
                        );
                        return Err(fail(self.lua, text));
                    }
                    bytes
                }
                b' ' => continue,
                b'<' => {
                    self.order = Order::Little;
                    continue;
                }
                b'>' => {
                    self.order = Order::Big;
                    continue;
                }
                b'!' => {
                    let alignment = self.number(ALIGNMENT_MAX)?;
                    if !alignment.is_power_of_two() {
                        let text = format!("alignment {alignment} is not a power of 2");
                        return Err(fail(self.lua, text));
                    }
                    self.alignment = alignment;
                    continue;
                }
                other if (self.lets_pass)(other) => 0,
                other => return Err(unknown(self.lua, other)),
            };
            return Ok(Some(Field { letter, bytes }));
        }
    }

    /// Bytes to leave out ahead of a field that would begin at `at`.
    fn gap(&self, field: Field, at: usize) -> usize {
        if field.bytes == 0 || field.letter == b'c' {
            return 0;
        }
        let unit = field.bytes.min(self.alignment);
        match unit.is_power_of_two() {
            true => (unit - (at & (unit - 1))) & (unit - 1),
            false => 0,
        }
    }
}

fn unknown(lua: &Lua, letter: u8) -> mlua::Error {
    let text = format!("invalid format option '{}'", char::from(letter));
    argument(lua, 1, &text)
}

fn pack(lua: &Lua, values: MultiValue) -> mlua::Result<LuaString> {
    let arguments = Arguments::new(lua, values);
    let format = arguments.string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(lua, &format);
    let mut out = Vec::new();
    let mut n = 1;
    while let Some(field) = format.next()? {
        out.resize(out.len() + format.gap(field, out.len()), 0);
        has_room(lua, out.len().saturating_add(field.bytes))?;
        if field.letter == b'x' {
            out.push(0);
            continue;
        }
        n += 1;
        // What is missing counts as nil, as there.
        let number = || match arguments.get(n) {
            Some(_) => arguments.number(n),
            None => Err(argument(lua, n, "number expected, got nil")),
        };
        match field.letter {
            b'f' => put(&mut out, format.order, (number()? as f32).to_le_bytes()),
            b'd' => put(&mut out, format.order, number()?.to_le_bytes()),
            b's' | b'c' => {
                if arguments.get(n).is_none() {
                    return Err(argument(lua, n, "string expected, got nil"));
                }
                let text = arguments.string(n)?;
                let text = text.as_bytes();
                let bytes = match field.bytes {
                    0 => text.len(),
                    bytes => bytes,
                };
                let piece = text
                    .get(..bytes)
                    .ok_or_else(|| argument(lua, n + 1, "string too short"))?;
                has_room(lua, out.len() + bytes)?;
                out.extend_from_slice(piece);
                if field.letter == b's' {
                    out.push(0);
                }
            }
            _ => put_integer(&mut out, format.order, number()?, field.bytes),
        }
    }
    lua.create_string(out)
}

fn put<const N: usize>(out: &mut Vec<u8>, order: Order, mut little: [u8; N]) {
    if order == Order::Big {
        little.reverse();
    }
    out.extend_from_slice(&little);
}

fn put_integer(out: &mut Vec<u8>, order: Order, number: f64, bytes: usize) {
    let value = match number < 0.0 {
        true => to_integer(number) as u64,
        false if number < 18_446_744_073_709_551_616.0 => number as u64,
        // What the processor makes of it.
        false if number.is_nan() => 1 << 63,
        false => 0,
    };
    let mut little = [0; INTEGER_BYTES_MAX];
    little[..8].copy_from_slice(&value.to_le_bytes());
    let little = &mut little[..bytes];
    if order == Order::Big {
        little.reverse();
    }
    out.extend_from_slice(little);
}

fn unpack(lua: &Lua, values: MultiValue) -> mlua::Result<MultiValue> {
    let arguments = Arguments::new(lua, values);
    let (format, data) = (arguments.string(1)?, arguments.string(2)?);
    let (format, data) = (format.as_bytes(), data.as_bytes());
    let at = arguments.integer_or(3, 1)?;
    if at == 0 {
        return Err(argument(lua, 3, "offset must be 1 or greater"));
    }
    // One below zero is far behind all that there is, as there.
    let mut at = (at - 1) as usize;
    let mut format = Format::new(lua, &format);
    format.lets_pass = |_| true;
    let mut results = MultiValue::new();
    let too_short = || argument(lua, 2, "data string too short");
    while let Some(field) = format.next()? {
        at = at.saturating_add(format.gap(field, at));
        let piece = at
            .checked_add(field.bytes)
            .and_then(|end| data.get(at..end));
        let piece = piece.ok_or_else(too_short)?;
        let mut bytes = field.bytes;
        let value = match field.letter {
            b'x' => {
                at += 1;
                continue;
            }
            b'f' => {
                let little = ordered::<4>(piece, format.order);
                Value::Number(f64::from(f32::from_le_bytes(little)))
            }
            b'd' => Value::Number(f64::from_le_bytes(ordered(piece, format.order))),
            b's' => {
                let rest = &data[at..];
                let Some(end) = rest.iter().position(|byte| *byte == 0) else {
                    return Err(fail(lua, "unfinished string in data"));
                };
                bytes = end + 1;
                Value::String(lua.create_string(&rest[..end])?)
            }
            b'c' if field.bytes == 0 => {
                let before = match results.pop_back() {
                    Some(Value::Number(number)) => to_integer(number),
                    Some(Value::Integer(number)) => number,
                    _ => return Err(fail(lua, "format 'c0' needs a previous size")),
                };
                bytes = usize::try_from(before).map_err(|_| too_short())?;
                let end = at.checked_add(bytes).ok_or_else(too_short)?;
                let piece = data.get(at..end).ok_or_else(too_short)?;
                Value::String(lua.create_string(piece)?)
            }
            b'c' => Value::String(lua.create_string(piece)?),
            letter if b"bBhHlLTiI".contains(&letter) => {
                Value::Number(integer(piece, format.order, letter.is_ascii_lowercase()))
            }
            letter => return Err(unknown(lua, letter)),
        };
        results.push_back(value);
        at += bytes;
        if results.len() > 4000 {
            return Err(fail(lua, "too many results to unpack"));
        }
    }
    results.push_back(Value::Number(at.wrapping_add(1) as i64 as f64));
    Ok(results)
}

fn ordered<const N: usize>(piece: &[u8], order: Order) -> [u8; N] {
    let mut bytes: [u8; N] = piece.try_into().expect("a field of that size");
    if order == Order::Big {
        bytes.reverse();
    }
    bytes
}

fn integer(piece: &[u8], order: Order, is_signed: bool) -> f64 {
    let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
    let value = match order {
        Order::Little => piece.iter().rev().fold(0, fold),
        Order::Big => piece.iter().fold(0, fold),
    };
    match (is_signed, piece.len()) {
        (false, _) | (_, 0) => value as f64,
        (true, bytes @ 1..8) => {
            let shift = 64 - 8 * bytes as u32;
            ((value << shift) as i64 >> shift) as f64
        }
        (true, _) => value as i64 as f64,
    }
}

fn size(lua: &Lua, values: MultiValue) -> mlua::Result<usize> {
    let arguments = Arguments::new(lua, values);
    let format = arguments.string(1)?;
    let format = format.as_bytes();
    let mut format = Format::new(lua, &format);
    format.lets_pass = |letter| letter.is_ascii_alphanumeric();
    let mut at = 0usize;
    while let Some(field) = format.next()? {
        at += format.gap(field, at);
        match (field.letter, field.bytes) {
            (b's', _) => return Err(argument(lua, 1, "option 's' has no fixed size")),
            (b'c', 0) => return Err(argument(lua, 1, "option 'c0' has no fixed size")),
            _ => at += field.bytes,
        }
    }
    Ok(at)
}
