//! What the node asks of the process around it: time, draws and a few facts. Only `server` (and the
//! simulator) can answer; nothing else in the node reads a clock or a random source.

use std::fmt::Debug;

/// The process around the node.
pub trait Host: Send + Sync + Debug {
    /// Microseconds since the process started, monotonic, suspended time included where the system can.
    fn monotonic_us(&self) -> u64;

    /// Microseconds of the Unix epoch by the wall clock; may step.
    fn wall_us(&self) -> u64;

    /// 64 fresh random bits.
    fn random(&self) -> u64;

    /// Resident set of the process in bytes, 0 where the system does not tell.
    fn resident_bytes(&self) -> u64 {
        0
    }

    /// Facts of the process for INFO; read on demand.
    fn process(&self) -> Process;
}

/// Facts of the process for INFO.
#[derive(Clone, Debug, Default)]
pub struct Process {
    /// Process id.
    pub pid: u32,
    /// Resident set in bytes, 0 where the system does not tell.
    pub resident_bytes: u64,
    /// Largest resident set so far in bytes, 0 where the system does not tell.
    pub resident_peak_bytes: u64,
    /// CPU time in user mode, microseconds.
    pub user_us: u64,
    /// CPU time in the kernel, microseconds.
    pub system_us: u64,
    /// Memory of the machine in bytes.
    pub system_memory_bytes: u64,
    /// Operating system, as `uname -srm` prints it.
    pub os: String,
    /// Path of the executable.
    pub executable: String,
    /// Path of the configuration file, empty if none.
    pub config_file: String,
}

/// The time of one turn of work, read once by whoever has work for the node.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// [`Host::monotonic_us`].
    pub monotonic_us: u64,
    /// Log time in milliseconds: starts at the wall clock's and runs with the monotonic clock.
    pub log_ms: u64,
    /// Wall time minus log time in milliseconds, as last sampled.
    pub wall_offset_ms: i64,
}
