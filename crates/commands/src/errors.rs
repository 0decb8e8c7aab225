//! Texts of errors that several commands share: Redis's exact words, code included.

/// An error's text as it goes to the client, without the leading `-`.
pub type ErrorText = &'static str;

/// The key holds a value of another type.
pub const WRONG_TYPE: ErrorText =
    "WRONGTYPE Operation against a key holding the wrong kind of value";
/// Arguments that fit no form of the command.
pub const SYNTAX: ErrorText = "ERR syntax error";
/// Neither a stored value nor an argument may be anything but a 64-bit integer here.
pub const NOT_INTEGER: ErrorText = "ERR value is not an integer or out of range";
/// Neither a stored value nor an argument may be anything but a number here.
pub const NOT_FLOAT: ErrorText = "ERR value is not a valid float";
/// A string would grow beyond [`crate::STRING_BYTES_MAX`].
pub const STRING_TOO_LONG: ErrorText =
    "ERR string exceeds maximum allowed size (proto-max-bulk-len)";
