//! `cjson.decode`.

use super::number;
use crate::lua::raise::{Arguments, argument, fail};
use crate::state::{look, running};
use mlua::{Lua, MultiValue, Table, Value};

/// Values between two looks at the host.
const LOOK_EVERY: usize = 512;

pub(super) fn decode(lua: &Lua, values: MultiValue) -> mlua::Result<Value> {
    let arguments = Arguments::new(lua, values);
    if arguments.count() != 1 {
        return Err(argument(lua, 1, "expected 1 argument"));
    }
    let text = arguments.string(1)?;
    let text = text.as_bytes();
    if text.len() >= 2 && (text[0] == 0 || text[1] == 0) {
        return Err(fail(lua, "JSON parser does not support UTF-16 or UTF-32"));
    }
    let settings = running(lua, |running| running.json)?;
    let mut reader = Reader {
        lua,
        text: &text,
        at: 0,
        depth: 0,
        depth_max: settings.decode_depth_max.min(1000),
        takes_invalid: settings.decode_invalid,
        values: 0,
    };
    let first = reader.token();
    let value = reader.value(first)?;
    match reader.token() {
        Token {
            kind: Kind::End, ..
        } => Ok(value),
        token => Err(reader.unexpected("the end", &token)),
    }
}

struct Token {
    kind: Kind,
    /// Where it begins.
    at: usize,
}

enum Kind {
    ObjectBegin,
    ObjectEnd,
    ArrayBegin,
    ArrayEnd,
    String(Vec<u8>),
    Number(f64),
    Boolean(bool),
    Null,
    Colon,
    Comma,
    End,
    Error(&'static str),
}

struct Reader<'a> {
    lua: &'a Lua,
    text: &'a [u8],
    at: usize,
    depth: i64,
    depth_max: i64,
    takes_invalid: bool,
    values: usize,
}

impl Reader<'_> {
    fn unexpected(&self, wanted: &str, token: &Token) -> mlua::Error {
        let found = match &token.kind {
            Kind::ObjectBegin => "T_OBJ_BEGIN",
            Kind::ObjectEnd => "T_OBJ_END",
            Kind::ArrayBegin => "T_ARR_BEGIN",
            Kind::ArrayEnd => "T_ARR_END",
            Kind::String(_) => "T_STRING",
            Kind::Number(_) => "T_NUMBER",
            Kind::Boolean(_) => "T_BOOLEAN",
            Kind::Null => "T_NULL",
            Kind::Colon => "T_COLON",
            Kind::Comma => "T_COMMA",
            Kind::End => "T_END",
            Kind::Error(text) => text,
        };
        let at = token.at + 1;
        let text = format!("Expected {wanted} but found {found} at character {at}");
        fail(self.lua, text)
    }

    fn value(&mut self, token: Token) -> mlua::Result<Value> {
        self.values += 1;
        if self.values.is_multiple_of(LOOK_EVERY) {
            look(self.lua)?;
        }
        Ok(match token.kind {
            Kind::String(text) => Value::String(self.lua.create_string(text)?),
            Kind::Number(number) => Value::Number(number),
            Kind::Boolean(value) => Value::Boolean(value),
            Kind::Null => Value::NULL,
            Kind::ObjectBegin => Value::Table(self.object()?),
            Kind::ArrayBegin => Value::Table(self.array()?),
            _ => return Err(self.unexpected("value", &token)),
        })
    }

    fn deeper(&mut self) -> mlua::Result<()> {
        self.depth += 1;
        if self.depth <= self.depth_max {
            return Ok(());
        }
        let (depth, at) = (self.depth, self.at);
        let text = format!("Found too many nested data structures ({depth}) at character {at}");
        Err(fail(self.lua, text))
    }

    fn object(&mut self) -> mlua::Result<Table> {
        self.deeper()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if matches!(token.kind, Kind::ObjectEnd) {
            self.depth -= 1;
            return Ok(table);
        }
        loop {
            let Kind::String(key) = token.kind else {
                return Err(self.unexpected("object key string", &token));
            };
            let colon = self.token();
            if !matches!(colon.kind, Kind::Colon) {
                return Err(self.unexpected("colon", &colon));
            }
            let first = self.token();
            let value = self.value(first)?;
            table.raw_set(self.lua.create_string(key)?, value)?;
            token = self.token();
            match token.kind {
                Kind::ObjectEnd => break,
                Kind::Comma => token = self.token(),
                _ => return Err(self.unexpected("comma or object end", &token)),
            }
        }
        self.depth -= 1;
        Ok(table)
    }

    fn array(&mut self) -> mlua::Result<Table> {
        self.deeper()?;
        let table = self.lua.create_table()?;
        let mut token = self.token();
        if matches!(token.kind, Kind::ArrayEnd) {
            self.depth -= 1;
            return Ok(table);
        }
        for at in 1i64.. {
            let value = self.value(token)?;
            table.raw_set(at, value)?;
            token = self.token();
            match token.kind {
                Kind::ArrayEnd => break,
                Kind::Comma => token = self.token(),
                _ => return Err(self.unexpected("comma or array end", &token)),
            }
        }
        self.depth -= 1;
        Ok(table)
    }

    fn token(&mut self) -> Token {
        while matches!(self.text.get(self.at), Some(b' ' | b'\t' | b'\n' | b'\r')) {
            self.at += 1;
        }
        let at = self.at;
        let mut one = |kind| {
            self.at += 1;
            Token { kind, at }
        };
        match self.text.get(at) {
            // A zero ends a text, as it ends a string of C.
            None | Some(0) => Token {
                kind: Kind::End,
                at,
            },
            Some(b'{') => one(Kind::ObjectBegin),
            Some(b'}') => one(Kind::ObjectEnd),
            Some(b'[') => one(Kind::ArrayBegin),
            Some(b']') => one(Kind::ArrayEnd),
            Some(b',') => one(Kind::Comma),
            Some(b':') => one(Kind::Colon),
            Some(b'"') => self.string(),
            Some(_) => self.word(),
        }
    }

    fn word(&mut self) -> Token {
        let (at, rest) = (self.at, &self.text[self.at..]);
        let words = [
            (&b"true"[..], Kind::Boolean(true)),
            (b"false", Kind::Boolean(false)),
            (b"null", Kind::Null),
        ];
        for (word, kind) in words {
            if rest.starts_with(word) {
                self.at += word.len();
                return Token { kind, at };
            }
        }
        let is_invalid = is_invalid_number(rest);
        let is_number = matches!(rest[0], b'-' | b'0'..=b'9');
        if is_number && is_invalid && !self.takes_invalid {
            return Token {
                kind: Kind::Error("invalid number"),
                at,
            };
        }
        if !(is_number || is_invalid && self.takes_invalid) {
            return Token {
                kind: Kind::Error("invalid token"),
                at,
            };
        }
        match number::read(rest) {
            Some((number, bytes)) => {
                self.at += bytes;
                Token {
                    kind: Kind::Number(number),
                    at,
                }
            }
            None => Token {
                kind: Kind::Error("invalid number"),
                at,
            },
        }
    }

    fn string(&mut self) -> Token {
        let start = self.at;
        self.at += 1;
        let mut text = Vec::new();
        loop {
            let failed = |what, at| Token {
                kind: Kind::Error(what),
                at,
            };
            match self.text.get(self.at) {
                None | Some(0) => return failed("unexpected end of string", self.at),
                Some(b'"') => break,
                Some(b'\\') => {
                    let escape = self.text.get(self.at + 1).copied().unwrap_or(0);
                    let byte = match escape {
                        b'"' | b'\\' | b'/' => escape,
                        b'b' => 8,
                        b't' => 9,
                        b'n' => 10,
                        b'f' => 12,
                        b'r' => 13,
                        b'u' => {
                            let Some((letter, bytes)) = code_point(&self.text[self.at..]) else {
                                return failed("invalid unicode escape code", self.at);
                            };
                            let mut utf8 = [0; 4];
                            text.extend_from_slice(letter.encode(&mut utf8));
                            self.at += bytes;
                            continue;
                        }
                        _ => return failed("invalid escape code", self.at),
                    };
                    text.push(byte);
                    self.at += 2;
                }
                Some(byte) => {
                    text.push(*byte);
                    self.at += 1;
                }
            }
        }
        self.at += 1;
        Token {
            kind: Kind::String(text),
            at: start,
        }
    }
}

/// Whether a number begins here that JSON does not have: hexadecimal, NaN, an infinity, one with a leading zero or a plus.
fn is_invalid_number(text: &[u8]) -> bool {
    let rest = match text.first() {
        Some(b'+') => return true,
        Some(b'-') => &text[1..],
        _ => text,
    };
    match rest.first() {
        Some(b'0') => rest
            .get(1)
            .is_some_and(|next| matches!(next, b'x' | b'X' | b'0'..=b'9')),
        Some(byte) if *byte <= b'9' => false,
        _ => {
            let word = rest.get(..3).unwrap_or_default();
            word.eq_ignore_ascii_case(b"inf") || word.eq_ignore_ascii_case(b"nan")
        }
    }
}

/// A code point, with halves of pairs that stand alone as they are.
struct CodePoint(u32);

impl CodePoint {
    fn encode<'a>(&self, out: &'a mut [u8; 4]) -> &'a [u8] {
        match char::from_u32(self.0) {
            Some(letter) => letter.encode_utf8(out).as_bytes(),
            None => {
                *out = [
                    0xe0 | (self.0 >> 12) as u8,
                    0x80 | (self.0 >> 6 & 0x3f) as u8,
                    0x80 | (self.0 & 0x3f) as u8,
                    0,
                ];
                &out[..3]
            }
        }
    }
}

/// Reads `\uXXXX`, or two of them that are a pair; also how many bytes that is.
fn code_point(text: &[u8]) -> Option<(CodePoint, usize)> {
    let unit = |from: usize| -> Option<u32> {
        let digits = text.get(from..from + 4)?;
        digits.iter().try_fold(0, |value, digit| {
            Some(value * 16 + char::from(*digit).to_digit(16)?)
        })
    };
    let first = unit(2)?;
    match first {
        0xd800..=0xdbff => {
            if text.get(6..8) != Some(b"\\u") {
                return None;
            }
            let second = unit(8).filter(|unit| (0xdc00..=0xdfff).contains(unit))?;
            let point = 0x10000 + ((first - 0xd800) << 10) + (second - 0xdc00);
            Some((CodePoint(point), 12))
        }
        0xdc00..=0xdfff => None,
        _ => Some((CodePoint(first), 6)),
    }
}
