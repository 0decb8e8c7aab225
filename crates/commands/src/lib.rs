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

pub mod context;
pub mod dump;
pub mod expire;
pub mod key;
mod lzf;
pub mod memory;
pub mod object;
pub mod server;
pub mod sort;
pub mod string;
pub mod table;

pub use context::{Context, Event, EventClass, Keyspace};
pub use table::{Category, Flags, Group, KeyAccess, KeySpec, Row, Run, Session, Split, lookup};
