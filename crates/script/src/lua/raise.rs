//! Errors as Lua's own library raises them: with the place of the caller, and as strings or tables that a script can catch.

use mlua::{Error, Lua, LuaString, MultiValue, Table, Value};
use std::fmt;

/// Name of the chunk that our own Lua is in; it never shows in a message.
pub(crate) const PRELUDE: &str = "=[torc]";

/// What a function of ours raises, until a script catches it.
#[derive(Clone, Debug)]
pub(crate) enum Raised {
    /// A string.
    Text(Vec<u8>),
    /// A table with `err`, as `redis.call` raises.
    Reply(Vec<u8>),
    /// What a script's own function raised inside one of ours.
    Value(Value),
    /// The run is over ([`crate::state::Running`] says why): not to be caught.
    Over,
}

impl fmt::Display for Raised {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Raised::Text(text) | Raised::Reply(text) => {
                write!(out, "{}", String::from_utf8_lossy(text))
            }
            Raised::Value(value) => write!(out, "a {}", value.type_name()),
            Raised::Over => write!(out, "the script was stopped"),
        }
    }
}

impl std::error::Error for Raised {}

impl From<Raised> for Error {
    fn from(raised: Raised) -> Error {
        Error::external(raised)
    }
}

/// `text` as it is.
pub(crate) fn plain(text: impl Into<Vec<u8>>) -> Error {
    Raised::Text(text.into()).into()
}

/// `text` behind the place of whoever called the running function, as `luaL_error` does.
pub(crate) fn fail(lua: &Lua, text: impl AsRef<[u8]>) -> Error {
    let mut message = place(lua, 1).into_bytes();
    message.extend_from_slice(text.as_ref());
    plain(message)
}

/// The place where the function at `level` is, or nothing if it has none.
fn place(lua: &Lua, level: usize) -> String {
    let line = |debug: &mlua::debug::Debug<'_>| {
        let line = debug.current_line().filter(|line| *line > 0)?;
        let source = debug.source().short_src?.into_owned();
        Some(format!("{source}:{line}: "))
    };
    lua.inspect_stack(level, line).flatten().unwrap_or_default()
}

/// Argument `n`, from 1, is not what it should be, as `luaL_argerror` says it.
pub(crate) fn argument(lua: &Lua, n: usize, text: &str) -> Error {
    let name = |debug: &mlua::debug::Debug<'_>| {
        let names = debug.names();
        let is_method = names.name_what == Some("method");
        (names.name.map(|name| name.into_owned()), is_method)
    };
    let (name, is_method) = lua.inspect_stack(0, name).unwrap_or_default();
    let name = name.unwrap_or_else(|| "?".to_owned());
    match (n, is_method) {
        (1, true) => fail(lua, format!("calling '{name}' on bad self ({text})")),
        (_, true) => fail(lua, format!("bad argument #{} to '{name}' ({text})", n - 1)),
        (_, false) => fail(lua, format!("bad argument #{n} to '{name}' ({text})")),
    }
}

/// Lua's name of a value's type.
pub(crate) fn type_name(value: &Value) -> &'static str {
    match value {
        Value::Nil => "nil",
        Value::Boolean(_) => "boolean",
        Value::Integer(_) | Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Table(_) => "table",
        Value::Function(_) => "function",
        Value::Thread(_) => "thread",
        _ => "userdata",
    }
}

/// A number as C's cast to a 64-bit integer gives it: towards zero; what does not fit becomes the smallest.
pub(crate) fn to_integer(number: f64) -> i64 {
    const END: f64 = 9_223_372_036_854_775_808.0;
    match (-END..END).contains(&number) {
        true => number as i64,
        false => i64::MIN,
    }
}

/// A function's arguments, taken one by one as `luaL_check…` does.
pub(crate) struct Arguments<'a> {
    pub lua: &'a Lua,
    values: MultiValue,
}

impl<'a> Arguments<'a> {
    pub fn new(lua: &'a Lua, values: MultiValue) -> Self {
        Arguments { lua, values }
    }

    /// How many there are.
    pub fn count(&self) -> usize {
        self.values.len()
    }

    /// Argument `n`, from 1; none if it is missing.
    pub fn get(&self, n: usize) -> Option<&Value> {
        self.values.get(n - 1)
    }

    /// The same; nil if it is missing.
    pub fn value(&self, n: usize) -> Value {
        self.get(n).cloned().unwrap_or(Value::Nil)
    }

    fn is_given(&self, n: usize) -> bool {
        self.get(n).is_some_and(|value| !value.is_nil())
    }

    /// That argument `n` should have been a `wanted`.
    pub fn wrong(&self, n: usize, wanted: &str) -> Error {
        let got = self.get(n).map_or("no value", type_name);
        argument(self.lua, n, &format!("{wanted} expected, got {got}"))
    }

    pub fn string(&self, n: usize) -> mlua::Result<LuaString> {
        match self.get(n) {
            Some(Value::String(text)) => Ok(text.clone()),
            Some(number @ (Value::Integer(_) | Value::Number(_))) => {
                let text = self.lua.coerce_string(number.clone())?;
                Ok(text.expect("a number is a string too"))
            }
            _ => Err(self.wrong(n, "string")),
        }
    }

    pub fn number(&self, n: usize) -> mlua::Result<f64> {
        self.number_or_nothing(n)?
            .ok_or_else(|| self.wrong(n, "number"))
    }

    fn number_or_nothing(&self, n: usize) -> mlua::Result<Option<f64>> {
        match self.get(n) {
            Some(Value::Integer(integer)) => Ok(Some(*integer as f64)),
            Some(Value::Number(number)) => Ok(Some(*number)),
            Some(text @ Value::String(_)) => self.lua.coerce_number(text.clone()),
            _ => Ok(None),
        }
    }

    pub fn integer(&self, n: usize) -> mlua::Result<i64> {
        Ok(to_integer(self.number(n)?))
    }

    pub fn integer_or(&self, n: usize, default: i64) -> mlua::Result<i64> {
        match self.is_given(n) {
            true => self.integer(n),
            false => Ok(default),
        }
    }

    pub fn table(&self, n: usize) -> mlua::Result<Table> {
        match self.get(n) {
            Some(Value::Table(table)) => Ok(table.clone()),
            _ => Err(self.wrong(n, "table")),
        }
    }
}

/// What was raised, if it was raised by a function of ours.
fn raised(error: &Error) -> Option<&Raised> {
    match error {
        Error::CallbackError { cause, .. } => raised(cause),
        Error::ExternalError(external) => external.downcast_ref::<Raised>(),
        _ => None,
    }
}

/// Whether an error says that the run is over, or is to be from now on because memory has run out.
pub(crate) enum Caught {
    /// What the script gets to see.
    Value(Value),
    /// There was no memory.
    NoMemory,
    /// The run is over.
    Over,
}

/// Turns what Lua caught into what a script may see.
pub(crate) fn caught(lua: &Lua, value: Value) -> mlua::Result<Caught> {
    let text = |text: &[u8]| -> mlua::Result<Caught> {
        Ok(Caught::Value(Value::String(lua.create_string(text)?)))
    };
    match value {
        Value::Error(error) => match raised(&error) {
            Some(Raised::Over) => Ok(Caught::Over),
            Some(Raised::Value(value)) => Ok(Caught::Value(value.clone())),
            Some(Raised::Text(bytes)) => text(bytes),
            Some(Raised::Reply(bytes)) => Ok(Caught::Value(Value::Table(reply_table(lua, bytes)?))),
            None => match root(&error) {
                Error::MemoryError(_) => Ok(Caught::NoMemory),
                other => text(other.to_string().as_bytes()),
            },
        },
        Value::String(message) => {
            let bytes = message.as_bytes();
            if *bytes == *b"not enough memory" {
                return Ok(Caught::NoMemory);
            }
            // An error in our own Lua is the caller's.
            match without_own_place(&bytes) {
                Some(rest) => text(rest),
                None => {
                    drop(bytes);
                    Ok(Caught::Value(Value::String(message)))
                }
            }
        }
        other => Ok(Caught::Value(other)),
    }
}

fn root(error: &Error) -> &Error {
    match error {
        Error::CallbackError { cause, .. } => root(cause),
        Error::WithContext { cause, .. } => root(cause),
        other => other,
    }
}

fn without_own_place(message: &[u8]) -> Option<&[u8]> {
    let rest = message.strip_prefix(b"[torc]:")?;
    let colon = rest.iter().position(|byte| *byte == b':')?;
    rest[colon..].strip_prefix(b": ")
}

/// A reply's error as scripts see it.
pub(crate) fn reply_table(lua: &Lua, text: &[u8]) -> mlua::Result<Table> {
    let table = lua.create_table_with_capacity(0, 2)?;
    table.raw_set("err", lua.create_string(text)?)?;
    table.raw_set("ignore_error_stats_update", true)?;
    Ok(table)
}
