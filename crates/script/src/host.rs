//! What a script needs of whoever runs it.

use resp::{Args, Reply};
use std::any::Any;

/// Why a script was stopped before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It ran for too long.
    Timeout,
    /// Somebody asked for it.
    Killed,
    /// It wanted more memory than a script may have.
    Memory,
    /// Its host has to fetch something first; the script is run again then.
    Lacking,
}

/// Level of a script's log line, as `redis.log` has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogLevel {
    /// `redis.LOG_DEBUG`
    Debug,
    /// `redis.LOG_VERBOSE`
    Verbose,
    /// `redis.LOG_NOTICE`
    Notice,
    /// `redis.LOG_WARNING`
    Warning,
}

/// What runs a script's commands. It is handed to the engine for one run and given back.
pub trait Host: Any + Send {
    /// Executes a command and writes its whole reply; an error is a reply.
    fn call(&mut self, args: Args<'_>, reply: &mut Reply<'_>);

    /// Whether a command of that name exists.
    fn knows(&self, name: &[u8]) -> bool;

    /// Whether the script is to end, and why. Asked about every 500 instructions.
    fn stop(&mut self) -> Option<Stop>;

    /// What `os.clock` tells: seconds.
    fn clock_s(&self) -> f64;

    /// A line for the log.
    fn log(&mut self, level: LogLevel, message: &[u8]);
}
