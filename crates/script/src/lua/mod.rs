//! What a script sees: Lua's library as Redis leaves it, and `redis`.

pub(crate) mod base;
pub(crate) mod pattern;
pub(crate) mod protect;
pub(crate) mod raise;
pub(crate) mod redis;
pub(crate) mod sandbox;
pub(crate) mod strings;
pub(crate) mod tables;
