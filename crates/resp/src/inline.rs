//! Inline requests: a line of words, as a person types it into a terminal.

use crate::args::Span;
use crate::batch::{Batch, Source};
use crate::error::ProtocolError;

/// Splits the line at `start..end` of the buffer (line break excluded) into words, as Redis's
/// `sdssplitargs`, and appends their spans to the batch. A line without quotes is not copied.
///
/// # Errors
///
/// [`ProtocolError::UnbalancedQuotes`] if a quote is not closed, or is closed within a word.
pub(crate) fn split_words(
    buffer: &[u8],
    start: usize,
    end: usize,
    batch: &mut Batch,
) -> Result<Source, ProtocolError> {
    let line = &buffer[start..end];
    if line.iter().any(|byte| matches!(byte, b'"' | b'\'')) {
        split_quoted(line, batch)?;
        Ok(Source::Unescaped)
    } else {
        split_plain(line, start, batch);
        Ok(Source::Buffer)
    }
}

/// What separates words: C's `isspace`.
fn is_blank(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

/// What ends a word that has begun. Redis leaves vertical tab and form feed out here.
fn ends_word(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\n' | b'\r')
}

fn skip_blanks(line: &[u8], mut at: usize) -> usize {
    while line.get(at).is_some_and(|byte| is_blank(*byte)) {
        at += 1;
    }
    at
}

fn split_plain(line: &[u8], start: usize, batch: &mut Batch) {
    let mut at = skip_blanks(line, 0);
    while at < line.len() {
        let rest = &line[at..];
        let len = rest
            .iter()
            .position(|byte| ends_word(*byte))
            .unwrap_or(rest.len());
        batch.spans.push(Span {
            start: (start + at) as u32,
            len: len as u32,
        });
        at = skip_blanks(line, at + len);
    }
}

fn split_quoted(line: &[u8], batch: &mut Batch) -> Result<(), ProtocolError> {
    let mut at = skip_blanks(line, 0);
    while at < line.len() {
        let start = batch.unescaped.len();
        at = unescape_word(line, at, &mut batch.unescaped)?;
        batch.spans.push(Span {
            start: start as u32,
            len: (batch.unescaped.len() - start) as u32,
        });
        at = skip_blanks(line, at);
    }
    Ok(())
}

/// Appends the word at `at`, its quotes undone; returns where it ends.
fn unescape_word(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    while let Some(&byte) = line.get(at) {
        match byte {
            b'"' => return closed(line, unescape_double(line, at + 1, out)?),
            b'\'' => return closed(line, unescape_single(line, at + 1, out)?),
            byte if ends_word(byte) => return Ok(at),
            byte => out.push(byte),
        }
        at += 1;
    }
    Ok(at)
}

/// A closing quote ends its word: what follows must be a blank.
fn closed(line: &[u8], after: usize) -> Result<usize, ProtocolError> {
    match line.get(after) {
        Some(byte) if !is_blank(*byte) => Err(ProtocolError::UnbalancedQuotes),
        _ => Ok(after),
    }
}

/// Undoes `\xHH`, `\n \r \t \b \a` and any other escaped byte up to the closing quote; returns
/// the offset behind it.
fn unescape_double(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match &line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'"', ..] => return Ok(at + 1),
            [b'\\', b'x', high, low, ..] if hex(*high).is_some() && hex(*low).is_some() => {
                let digit = |byte: u8| hex(byte).expect("the pattern's guard has seen a digit");
                out.push(digit(*high) * 16 + digit(*low));
                at += 4;
            }
            [b'\\', escaped, ..] => {
                out.push(match escaped {
                    b'n' => b'\n',
                    b'r' => b'\r',
                    b't' => b'\t',
                    b'b' => 0x08,
                    b'a' => 0x07,
                    other => *other,
                });
                at += 2;
            }
            [byte, ..] => {
                out.push(*byte);
                at += 1;
            }
        }
    }
}

/// Between single quotes only `\'` is an escape.
fn unescape_single(line: &[u8], mut at: usize, out: &mut Vec<u8>) -> Result<usize, ProtocolError> {
    loop {
        match &line[at..] {
            [] => return Err(ProtocolError::UnbalancedQuotes),
            [b'\'', ..] => return Ok(at + 1),
            [b'\\', b'\'', ..] => {
                out.push(b'\'');
                at += 2;
            }
            [byte, ..] => {
                out.push(*byte);
                at += 1;
            }
        }
    }
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).map(|digit| digit as u8)
}
