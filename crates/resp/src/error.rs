//! What a client can do wrong below the level of commands.

use std::fmt;

/// A frame that breaks the protocol. The client gets the text behind `-ERR ` and its connection is
/// closed: where its next request would begin is no longer known.
///
/// `Display` gives Redis's own words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProtocolError {
    /// The count behind `*` is no integer, or above the limit.
    #[error("Protocol error: invalid multibulk length")]
    InvalidMultibulkLength,
    /// The length behind `$` is no integer, negative, or above the limit.
    #[error("Protocol error: invalid bulk length")]
    InvalidBulkLength,
    /// An argument does not start with `$` but with this byte.
    #[error("Protocol error: expected '$', got '{}'", Shown(*.0))]
    ExpectedBulk(u8),
    /// More arguments than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated multibulk length")]
    UnauthenticatedMultibulkLength,
    /// A longer argument than a client may send before it has authenticated.
    #[error("Protocol error: unauthenticated bulk length")]
    UnauthenticatedBulkLength,
    /// No end of line within the limit behind `*`.
    #[error("Protocol error: too big mbulk count string")]
    TooBigMultibulkCount,
    /// No end of line within the limit behind `$`.
    #[error("Protocol error: too big bulk count string")]
    TooBigBulkCount,
    /// An inline request above the limit.
    #[error("Protocol error: too big inline request")]
    TooBigInline,
    /// A quote of an inline request is not closed, or not at the end of its word.
    #[error("Protocol error: unbalanced quotes in request")]
    UnbalancedQuotes,
    /// A request above the limit for all its arguments together. Redis closes such a client
    /// without a word (`client-query-buffer-limit`).
    #[error("Protocol error: too big request")]
    TooBigRequest,
}

impl ProtocolError {
    /// The text in bytes, for [`Reply::error_bytes`](crate::Reply::error_bytes): as `Display`, but
    /// the byte that was met stands in it as it came, and not as a character.
    pub fn message(&self) -> Vec<u8> {
        match self {
            ProtocolError::ExpectedBulk(byte) if !byte.is_ascii() => {
                let mut message = ProtocolError::ExpectedBulk(b'?').to_string().into_bytes();
                let place = message.len() - 2;
                message[place] = *byte;
                message
            }
            other => other.to_string().into_bytes(),
        }
    }
}

/// A byte that must not break the line that it is shown in.
struct Shown(u8);

impl fmt::Display for Shown {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'\r' | b'\n' => f.write_str(" "),
            byte => write!(f, "{}", char::from(byte)),
        }
    }
}
