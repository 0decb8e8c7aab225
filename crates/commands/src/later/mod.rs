//! Commands that Redis has and this version of Torc has not: their rows, so that a client learns what it
//! asked for (wrong arity first, as in Redis), and so that their keys can be found.

pub mod geo;
pub mod hash;
pub mod hyperloglog;
pub mod scripting;
