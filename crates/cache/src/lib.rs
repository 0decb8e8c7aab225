//! One shard's keys: values, exact LRU order in a byte budget, expiry by log time, cursors for SCAN.
//!
//! A [`Cache`] is plain data behind `&mut self`: no lock, thread, clock or random source. Time is the
//! *log time* that the caller sets ([`Cache::set_now`]); draws come in as arguments. A key whose expiry
//! is at or before log time does not exist, whether or not its bytes have been reclaimed yet.
//!
//! What it does not know: the log, shards other than itself, commands, replies.
//!
//! Reading order: [`key`], [`value`], [`store`].

mod key;
mod store;
mod value;

pub use key::Key;
pub use store::Cache;
pub use value::{
    Change, ChangeKind, Entry, Expiry, OwnedEntry, OwnedValue, Pin, Policy, StringForm, Value,
    Victim,
};
