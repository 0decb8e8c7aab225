//! The command table, parsing of arguments, execution of data commands.
//!
//! A command is one row and one function beside it. The row's key positions route it, split it over
//! shards, check permissions and answer `COMMAND`; a family's file holds its rows and their functions.
//!
//! What this crate does not know: sockets, sessions, the log, which shard a key belongs to. It reads no
//! clock and draws no lots: log time and a draw are in the [`Context`]. Commands that concern a
//! connection or the node ([`Run::Session`]) are rows here and functions in `node`.
//!
//! Reading order: [`table`], [`context`], then a family.

mod access;
pub mod context;
mod counter;
pub mod dump;
pub mod errors;
pub mod expire;
pub mod key;
mod lzf;
pub mod memory;
pub mod object;
mod range;
pub mod server;
pub mod sort;
pub mod string;
mod string_options;
mod string_set;
pub mod table;
#[cfg(test)]
mod testing;

pub use context::{Context, Event, EventClass, Keyspace};
pub use table::{
    BeginSearch, Category, FindKeys, Flags, Group, KeyAccess, KeySpec, Row, Run, Session, Split,
    lookup,
};

/// Bytes that a string may grow to by any command: Redis's default of `proto-max-bulk-len`.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;
