//! A reply, as precisely as it came over the wire.

use std::fmt;

/// One reply of either protocol. RESP2's two nulls and RESP3's one stay apart, a double keeps its
/// digits, and a map keeps its order, so that two servers can be compared byte for byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Value {
    /// `+OK`
    Simple(Vec<u8>),
    /// `-ERR text`, without the dash
    Error(Vec<u8>),
    /// `:1`
    Integer(i64),
    /// `$3 abc`
    Bulk(Vec<u8>),
    /// `$-1`
    NullBulk,
    /// `*-1`
    NullArray,
    /// `_`
    Null,
    /// `*2 …`
    Array(Vec<Value>),
    /// `%1 …`, in the order sent
    Map(Vec<(Value, Value)>),
    /// `~2 …`, in the order sent
    Set(Vec<Value>),
    /// `>3 …`
    Push(Vec<Value>),
    /// `,1.5`, its digits as sent
    Double(Vec<u8>),
    /// `#t`
    Boolean(bool),
    /// `(123…`
    BigNumber(Vec<u8>),
    /// `=7 txt:abc`, the format included
    Verbatim(Vec<u8>),
}

impl Value {
    /// The simple string `text`.
    pub fn simple(text: &str) -> Value {
        Value::Simple(text.as_bytes().to_vec())
    }

    /// The bulk string `bytes`.
    pub fn bulk(bytes: impl AsRef<[u8]>) -> Value {
        Value::Bulk(bytes.as_ref().to_vec())
    }

    /// The error `text` (code included, dash not).
    pub fn error(text: &str) -> Value {
        Value::Error(text.as_bytes().to_vec())
    }

    /// Whether this is one of the three nulls.
    pub fn is_null(&self) -> bool {
        matches!(self, Value::NullBulk | Value::NullArray | Value::Null)
    }

    /// The text of a simple string, error, bulk, verbatim or number; empty for anything else.
    pub fn text(&self) -> String {
        match self {
            Value::Simple(bytes)
            | Value::Error(bytes)
            | Value::Bulk(bytes)
            | Value::Double(bytes)
            | Value::BigNumber(bytes) => String::from_utf8_lossy(bytes).into_owned(),
            Value::Verbatim(bytes) => {
                String::from_utf8_lossy(&bytes[4.min(bytes.len())..]).into_owned()
            }
            Value::Integer(number) => number.to_string(),
            Value::NullBulk
            | Value::NullArray
            | Value::Null
            | Value::Array(_)
            | Value::Map(_)
            | Value::Set(_)
            | Value::Push(_)
            | Value::Boolean(_) => String::new(),
        }
    }

    /// The number of an integer reply.
    pub fn integer(&self) -> Option<i64> {
        match self {
            Value::Integer(number) => Some(*number),
            _ => None,
        }
    }

    /// The members of an array, set or push; a map's keys and values in turn; else empty.
    pub fn items(&self) -> Vec<Value> {
        match self {
            Value::Array(items) | Value::Set(items) | Value::Push(items) => items.clone(),
            Value::Map(pairs) => pairs
                .iter()
                .flat_map(|(key, value)| [key.clone(), value.clone()])
                .collect(),
            _ => Vec::new(),
        }
    }

    /// One word for what kind of reply this is.
    pub fn kind(&self) -> &'static str {
        match self {
            Value::Simple(_) => "simple",
            Value::Error(_) => "error",
            Value::Integer(_) => "integer",
            Value::Bulk(_) => "bulk",
            Value::NullBulk => "null bulk",
            Value::NullArray => "null array",
            Value::Null => "null",
            Value::Array(_) => "array",
            Value::Map(_) => "map",
            Value::Set(_) => "set",
            Value::Push(_) => "push",
            Value::Double(_) => "double",
            Value::Boolean(_) => "boolean",
            Value::BigNumber(_) => "big number",
            Value::Verbatim(_) => "verbatim",
        }
    }
}

/// Readable and short: long strings are cut, as a report of a difference must stay readable.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let members = |f: &mut fmt::Formatter<'_>, open: &str, items: &[Value]| {
            write!(f, "{open}")?;
            for (index, item) in items.iter().enumerate() {
                if index == 24 {
                    write!(f, " … {} in all", items.len())?;
                    break;
                }
                write!(f, "{}{item:?}", if index == 0 { "" } else { " " })?;
            }
            write!(f, "]")
        };
        match self {
            Value::Simple(bytes) => write!(f, "+{}", shown(bytes)),
            Value::Error(bytes) => write!(f, "-{}", shown(bytes)),
            Value::Integer(number) => write!(f, ":{number}"),
            Value::Bulk(bytes) => write!(f, "\"{}\"", shown(bytes)),
            Value::NullBulk => write!(f, "$-1"),
            Value::NullArray => write!(f, "*-1"),
            Value::Null => write!(f, "_"),
            Value::Array(items) => members(f, "*[", items),
            Value::Set(items) => members(f, "~[", items),
            Value::Push(items) => members(f, ">[", items),
            Value::Map(pairs) => {
                let flat: Vec<Value> = pairs
                    .iter()
                    .flat_map(|(k, v)| [k.clone(), v.clone()])
                    .collect();
                members(f, "%[", &flat)
            }
            Value::Double(bytes) => write!(f, ",{}", shown(bytes)),
            Value::Boolean(value) => write!(f, "#{value}"),
            Value::BigNumber(bytes) => write!(f, "({}", shown(bytes)),
            Value::Verbatim(bytes) => write!(f, "={}", shown(bytes)),
        }
    }
}

/// Bytes as printable text, cut after 160 bytes.
fn shown(bytes: &[u8]) -> String {
    let head = bytes[..bytes.len().min(160)].escape_ascii().to_string();
    if bytes.len() > 160 {
        format!("{head}…({} bytes)", bytes.len())
    } else {
        head
    }
}
