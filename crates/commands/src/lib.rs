//! The command table, parsing of arguments, execution of data commands.
//!
//! A command is one row and one function beside it. The row's key positions route it, split it over
//! shards, check permissions and answer `COMMAND`; a family's file holds its rows and their functions.
//!
//! What this crate does not know: sockets, sessions, the log, which shard a key belongs to. It reads no
//! clock and draws no lots: log time and a draw are in the [`Context`]. Commands that concern a
//! connection or the node ([`Run::Session`]) are rows here and functions in `node`.
//!
//! Reading order: [`table`] (a row) with `flags` and `keyspec`, [`lookup`](mod@lookup) (a request's row,
//! or the error that answers it), [`keys_of`](mod@keys_of), [`context`], then a family. `connection` to
//! `walks` are rows alone; `later` names what is not built yet. [`walk`] is
//! what SCAN and KEYS are made of, for the node to take step by step.

mod flags;
mod keyspec;
pub mod table;

pub mod keys_of;
pub mod lookup;
mod refusal;

pub mod command;
pub mod glob;
mod help;

mod access;
mod bitfield;
mod bitop;
mod bits;
mod blocking;
mod collection;
pub mod context;
pub mod errors;

mod counter;
mod range;
pub mod string;
mod string_delete;
mod string_options;
mod string_set;

mod hash;
mod picks;
mod scan;
mod set;

pub mod dump;
pub mod expire;
mod extended;
pub mod key;
mod lcs;
mod list;
pub mod lock;
mod lock_guard;
mod lzf;
pub mod memory;
pub mod object;
pub mod sort;
mod sorted_set;
mod stream;
pub mod walk;

mod cluster;
mod connection;
mod later;
mod pubsub;
mod replication;
mod scripting;
mod server;
mod transactions;
mod walks;

#[cfg(test)]
mod testing;

pub use blocking::{BlockShape, Blocks, timeout_ms};
pub use command::{categories, command};
pub use context::{Context, Event, EventClass, Keyspace, Touch};
pub use flags::{Category, Flags};
pub use help::help;
pub use key::type_name;
pub use keys_of::{KeyPositions, KeysError, keys_of, keys_with_access};
pub use keyspec::{BeginSearch, FindKeys, KeyAccess, KeySpec};
pub use lock::takes_lock;
pub use lock_guard::{guard_of, is_current, unguarded};
pub use lookup::{check, commands, find, lookup, lookup_full_name, lookup_subcommand};
pub use lookup::{row_of, rows_count};
pub use object::encoding_name;
pub use refusal::{CheckError, later_error};
pub use table::{Execute, Group, Patience, Row, Run, Session, Split};

/// Bytes that a string may grow to by any command: Redis's default of `proto-max-bulk-len`.
pub const STRING_BYTES_MAX: usize = 512 * 1024 * 1024;
