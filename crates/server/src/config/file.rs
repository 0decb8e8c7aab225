//! The configuration file: TOML, options at the top level under their names.
//!
//! It is read entry by entry rather than into a struct, so that every unknown key and every bad
//! value is reported, with its line, and not the first alone.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use toml::de::{DeTable, DeValue};

/// A configuration takes a few KiB; whatever is larger is another file.
const FILE_BYTES_MAX: u64 = 64 << 10;

/// One key of the file.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) name: String,
    /// Line, from 1.
    pub(super) line: usize,
    /// The value as a flag would give it, or why it cannot be one.
    pub(super) value: Result<String, &'static str>,
}

/// Why the file as a whole, or a line of it, cannot be read.
#[derive(Debug)]
pub(super) struct Problem {
    /// Line, from 1, where there is one.
    pub(super) line: Option<usize>,
    pub(super) message: String,
}

/// The entries of the file at `path`, in the order of their lines.
///
/// # Errors
///
/// When it cannot be opened or is too large; or every line that is not TOML.
pub(super) fn read(path: &Path) -> Result<Vec<Entry>, Vec<Problem>> {
    let text = read_text(path).map_err(|error| {
        vec![Problem {
            line: None,
            message: format!("cannot read the configuration file: {error}"),
        }]
    })?;
    let (table, errors) = DeTable::parse_recoverable(&text);
    if !errors.is_empty() {
        return Err(errors.iter().map(|error| problem(&text, error)).collect());
    }
    let mut entries: Vec<Entry> = table
        .into_inner()
        .into_iter()
        .map(|(name, value)| Entry {
            line: line_of(&text, name.span().start),
            name: name.into_inner().into_owned(),
            value: text_of(value.get_ref()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.line);
    Ok(entries)
}

fn read_text(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let length = File::open(path)?
        .take(FILE_BYTES_MAX + 1)
        .read_to_string(&mut text)?;
    if length as u64 > FILE_BYTES_MAX {
        return Err(io::Error::other(format!(
            "it is larger than {FILE_BYTES_MAX} bytes"
        )));
    }
    Ok(text)
}

fn problem(text: &str, error: &toml::de::Error) -> Problem {
    Problem {
        line: error.span().map(|span| line_of(text, span.start)),
        message: format!(
            "not TOML: {} (an option is written as maxmemory = \"2gb\")",
            error.message()
        ),
    }
}

fn line_of(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    1 + before.filter(|&&byte| byte == b'\n').count()
}

/// The text that a flag would give: `port = 1`, `port = "1"`, `bind = ["127.0.0.1", "::1"]`.
fn text_of(value: &DeValue<'_>) -> Result<String, &'static str> {
    let DeValue::Array(items) = value else {
        return scalar_text(value);
    };
    let words: Result<Vec<String>, _> = items
        .iter()
        .map(|item| scalar_text(item.get_ref()))
        .collect();
    Ok(words?.join(" "))
}

fn scalar_text(value: &DeValue<'_>) -> Result<String, &'static str> {
    match value {
        DeValue::String(text) => Ok(text.to_string()),
        DeValue::Integer(number) => Ok(number.to_string()),
        DeValue::Float(number) => Ok(number.as_str().into()),
        DeValue::Boolean(true) => Ok("yes".into()),
        DeValue::Boolean(false) => Ok("no".into()),
        DeValue::Datetime(_) => Err("a date is no value of any option"),
        DeValue::Array(_) => Err("a list in a list is no value of any option"),
        DeValue::Table(_) => Err("there are no sections: options stand at the top level"),
    }
}
