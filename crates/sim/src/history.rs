//! What clients asked of keys and what they were told, with when: the input of the checkers.
//!
//! A history is also a text file, one JSON object a line, written by tests of real processes:
//!
//! ```text
//! {"process":1,"key":"k","op":"write","value":"v","call":17,"return":25,"ok":true}
//! {"process":2,"key":"k","op":"cas","expected":"v","value":"w","call":26,"return":40,"ok":true,"result":true}
//! {"process":2,"key":"k","op":"read","call":41,"return":44,"ok":true,"result":"w"}
//! {"process":3,"key":"n","op":"incr","value":1,"call":41,"return":null,"ok":false}
//! ```
//!
//! `op` is `read`, `write`, `cas` (`expected` null: only if absent), `incr`, `append` or `delete`. Times are microseconds
//! of one clock. `return` null: the outcome is unknown, it may take effect at any later time or never. `ok` false with a
//! `return`: it surely took no effect, and the line counts for nothing. `result` is what was answered: the value or null
//! (`read`), whether it swapped (`cas`), the sum (`incr`), the length (`append`), whether there was one (`delete`).

use bytes::Bytes;
use serde_json::{Map, Value};

/// What a key holds.
pub type State = Option<Bytes>;

/// What was asked of one key.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Action {
    /// Its value.
    Read,
    /// Set it.
    Write(Bytes),
    /// Set it if it is as expected.
    CompareAndSet {
        /// What it must be; none: absent.
        expected: State,
        /// What it becomes.
        value: Bytes,
    },
    /// Add to it as a decimal number; absent counts as 0.
    Increment(i64),
    /// Put these bytes at its end; absent counts as empty.
    Append(Bytes),
    /// Remove it.
    Delete,
}

/// What was answered.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Answer {
    /// It was written.
    Done,
    /// This is its value.
    Value(State),
    /// Whether it was as expected and is now set.
    Swapped(bool),
    /// The new sum or length.
    Number(i64),
    /// Whether there was one to remove.
    Removed(bool),
    /// It is not a number, or the sum would be too large.
    NotANumber,
}

/// How it ended for who asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It was answered.
    Answered {
        /// When, us.
        at_us: u64,
        /// What.
        answer: Answer,
    },
    /// Nobody knows: it may take effect at any time after the call, or never.
    Unknown,
}

/// One operation of a history.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked; one process asks one thing at a time.
    pub process: u64,
    /// Of which key.
    pub key: Bytes,
    /// What.
    pub action: Action,
    /// When, us.
    pub call_us: u64,
    /// How it ended.
    pub outcome: Outcome,
}

impl Action {
    /// What the key holds afterwards, and the answer.
    pub fn run(&self, state: &State) -> (State, Answer) {
        match self {
            Action::Read => (state.clone(), Answer::Value(state.clone())),
            Action::Write(value) => (Some(value.clone()), Answer::Done),
            Action::CompareAndSet { expected, value } if expected == state => {
                (Some(value.clone()), Answer::Swapped(true))
            }
            Action::CompareAndSet { .. } => (state.clone(), Answer::Swapped(false)),
            Action::Increment(by) => match number(state).and_then(|sum| sum.checked_add(*by)) {
                Some(sum) => (Some(Bytes::from(sum.to_string())), Answer::Number(sum)),
                None => (state.clone(), Answer::NotANumber),
            },
            Action::Append(tail) => {
                let mut value = state.as_deref().unwrap_or_default().to_vec();
                value.extend_from_slice(tail);
                let length = value.len() as i64;
                (Some(Bytes::from(value)), Answer::Number(length))
            }
            Action::Delete => (None, Answer::Removed(state.is_some())),
        }
    }

    /// Whether it can never change anything.
    pub fn is_read(&self) -> bool {
        matches!(self, Action::Read)
    }
}

fn number(state: &State) -> Option<i64> {
    match state {
        None => Some(0),
        Some(value) => std::str::from_utf8(value).ok()?.parse().ok(),
    }
}

impl Operation {
    /// When it was answered, us; none: its outcome is unknown.
    pub fn return_us(&self) -> Option<u64> {
        match self.outcome {
            Outcome::Answered { at_us, .. } => Some(at_us),
            Outcome::Unknown => None,
        }
    }
}

impl std::fmt::Display for Operation {
    /// One line for people: `[17 .. 25 us] process 1: Write("v") -> Done`.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (process, action) = (self.process, &self.action);
        match &self.outcome {
            Outcome::Answered { at_us, answer } => write!(
                f,
                "[{} .. {at_us} us] process {process}: {action:?} -> {answer:?}",
                self.call_us
            ),
            Outcome::Unknown => write!(
                f,
                "[{} .. ? us] process {process}: {action:?} -> outcome unknown",
                self.call_us
            ),
        }
    }
}

/// Why a line is no operation.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// Not JSON.
    #[error("line {line}: {source}")]
    Json {
        /// Which line, from 1.
        line: usize,
        /// What the parser says.
        source: serde_json::Error,
    },
    /// A field is absent or of another kind.
    #[error("line {line}: {what}")]
    Field {
        /// Which line, from 1.
        line: usize,
        /// What is wrong.
        what: String,
    },
}

/// The operations of a file of JSON lines; those that surely took no effect are left out.
///
/// # Errors
/// A line that is not JSON, or lacks a field.
pub fn parse(text: &str) -> Result<Vec<Operation>, HistoryError> {
    let mut history = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let line_number = number + 1;
        let fields: Map<String, Value> =
            serde_json::from_str(line).map_err(|source| HistoryError::Json {
                line: line_number,
                source,
            })?;
        let operation = operation(&fields).map_err(|what| HistoryError::Field {
            line: line_number,
            what,
        })?;
        history.extend(operation);
    }
    Ok(history)
}

/// None if it surely took no effect.
fn operation(fields: &Map<String, Value>) -> Result<Option<Operation>, String> {
    let action = action(fields)?;
    let returned = match fields.get("return") {
        None | Some(Value::Null) => None,
        Some(at) => Some(at.as_u64().ok_or("`return` is no time")?),
    };
    let ok = fields.get("ok").and_then(Value::as_bool).unwrap_or(true);
    let outcome = match returned {
        None => Outcome::Unknown,
        Some(_) if !ok => return Ok(None),
        Some(at_us) => Outcome::Answered {
            at_us,
            answer: answer(&action, fields.get("result").unwrap_or(&Value::Null))?,
        },
    };
    Ok(Some(Operation {
        process: count(fields, "process")?,
        key: text(fields, "key")?,
        action,
        call_us: count(fields, "call")?,
        outcome,
    }))
}

fn action(fields: &Map<String, Value>) -> Result<Action, String> {
    let name = fields.get("op").and_then(Value::as_str);
    Ok(match name.ok_or("`op` is absent")? {
        "read" => Action::Read,
        "write" => Action::Write(text(fields, "value")?),
        "cas" => Action::CompareAndSet {
            expected: match fields.get("expected") {
                None | Some(Value::Null) => None,
                Some(_) => Some(text(fields, "expected")?),
            },
            value: text(fields, "value")?,
        },
        "incr" => Action::Increment(match fields.get("value") {
            None | Some(Value::Null) => 1,
            Some(by) => by.as_i64().ok_or("`value` of an incr is a whole number")?,
        }),
        "append" => Action::Append(text(fields, "value")?),
        "delete" => Action::Delete,
        other => return Err(format!("`op` {other:?} is unknown")),
    })
}

fn answer(action: &Action, result: &Value) -> Result<Answer, String> {
    let wrong = |wanted: &str| format!("`result` {result} of {action:?} is not {wanted}");
    let truth = |result: &Value| {
        let number = result.as_i64().map(|number| number != 0);
        result.as_bool().or(number)
    };
    Ok(match action {
        Action::Write(_) => Answer::Done,
        Action::Read => match result {
            Value::Null => Answer::Value(None),
            Value::String(value) => Answer::Value(Some(Bytes::copy_from_slice(value.as_bytes()))),
            Value::Number(value) => Answer::Value(Some(Bytes::from(value.to_string()))),
            Value::Bool(_) | Value::Array(_) | Value::Object(_) => return Err(wrong("a value")),
        },
        Action::CompareAndSet { .. } => {
            Answer::Swapped(truth(result).ok_or_else(|| wrong("true or false"))?)
        }
        Action::Increment(_) | Action::Append(_) => {
            Answer::Number(result.as_i64().ok_or_else(|| wrong("a whole number"))?)
        }
        Action::Delete => Answer::Removed(truth(result).ok_or_else(|| wrong("true or false"))?),
    })
}

fn count(fields: &Map<String, Value>, name: &str) -> Result<u64, String> {
    fields
        .get(name)
        .and_then(Value::as_u64)
        .ok_or_else(|| format!("`{name}` is absent or no whole number"))
}

/// A string, or a number as its digits.
fn text(fields: &Map<String, Value>, name: &str) -> Result<Bytes, String> {
    match fields.get(name) {
        Some(Value::String(text)) => Ok(Bytes::copy_from_slice(text.as_bytes())),
        Some(Value::Number(number)) => Ok(Bytes::from(number.to_string())),
        _ => Err(format!("`{name}` is absent or no string")),
    }
}

/// The longest time, us, between two neighbouring answers to operations that change something; 0 with fewer than two.
/// What clients feel of a failover.
pub fn longest_write_gap_us(history: &[Operation]) -> u64 {
    let mut at: Vec<u64> = history
        .iter()
        .filter(|operation| !operation.action.is_read())
        .filter_map(Operation::return_us)
        .collect();
    at.sort_unstable();
    at.windows(2)
        .map(|pair| pair[1] - pair[0])
        .max()
        .unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_become_operations() {
        // Fails when the file's meaning drifts from what process tests write: the verdict would be about nothing.
        let text = r#"
{"process":1,"key":"k","op":"write","value":"v","call":17,"return":25,"ok":true}
{"process":2,"key":"k","op":"cas","expected":"v","value":"w","call":26,"return":40,"ok":true,"result":1}
{"process":2,"key":"k","op":"read","call":41,"return":44,"ok":true,"result":null}
{"process":3,"key":"n","op":"incr","call":41,"return":null,"ok":false}
{"process":3,"key":"n","op":"delete","call":42,"return":43,"ok":false}
"#;
        let history = parse(text).unwrap();
        let shown: Vec<String> = history.iter().map(ToString::to_string).collect();
        assert_eq!(
            shown,
            [
                r#"[17 .. 25 us] process 1: Write(b"v") -> Done"#,
                r#"[26 .. 40 us] process 2: CompareAndSet { expected: Some(b"v"), value: b"w" } -> Swapped(true)"#,
                "[41 .. 44 us] process 2: Read -> Value(None)",
                "[41 .. ? us] process 3: Increment(1) -> outcome unknown",
            ]
        );
        assert_eq!(longest_write_gap_us(&history), 15);
    }

    #[test]
    fn a_bad_line_is_named() {
        // Fails when a broken file is taken for a shorter good one.
        for (line, said) in [
            ("{", "line 2: EOF"),
            (
                r#"{"process":1,"key":"k","op":"sing","call":1,"return":2}"#,
                "line 2: `op`",
            ),
            (
                r#"{"process":1,"op":"read","call":1,"return":2}"#,
                "line 2: `key`",
            ),
            (
                r#"{"process":1,"key":"k","op":"incr","call":1,"return":2}"#,
                "line 2: `result`",
            ),
        ] {
            let error = parse(&format!("\n{line}\n")).unwrap_err().to_string();
            assert!(error.starts_with(said), "{error}");
        }
    }

    #[test]
    fn a_number_is_kept_as_redis_keeps_it() {
        // Fails when INCR's rules differ from the server's: good histories would be refused.
        let start = Some(Bytes::from_static(b"41"));
        assert_eq!(
            Action::Increment(1).run(&start),
            (Some(Bytes::from_static(b"42")), Answer::Number(42))
        );
        let word = Some(Bytes::from_static(b"x"));
        assert_eq!(Action::Increment(1).run(&word), (word, Answer::NotANumber));
    }
}
