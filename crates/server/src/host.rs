//! The process around the node: clocks, draws and what the system tells about us.

use node::{Host, Process};
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Microseconds of one tick of `/proc`'s CPU times: Linux's USER_HZ is 100 on every architecture that we run on.
const TICK_US: u64 = 10_000;

/// The system.
#[derive(Debug)]
pub struct SystemHost {
    started: Duration,
    config_file: Option<PathBuf>,
}

impl SystemHost {
    /// The clock begins now.
    pub fn new(config_file: Option<PathBuf>) -> Self {
        SystemHost {
            started: boot_time(),
            config_file,
        }
    }
}

impl Host for SystemHost {
    fn monotonic_us(&self) -> u64 {
        boot_time().saturating_sub(self.started).as_micros() as u64
    }

    fn wall_us(&self) -> u64 {
        SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |since| since.as_micros() as u64)
    }

    fn random(&self) -> u64 {
        rand::random()
    }

    fn resident_bytes(&self) -> u64 {
        kilobytes(
            &fs::read_to_string("/proc/self/status").unwrap_or_default(),
            "VmRSS:",
        )
    }

    fn process(&self) -> Process {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let (user_us, system_us) = cpu_times();
        let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Process {
            pid: std::process::id(),
            resident_bytes: kilobytes(&status, "VmRSS:"),
            resident_peak_bytes: kilobytes(&status, "VmHWM:"),
            user_us,
            system_us,
            system_memory_bytes: kilobytes(
                &fs::read_to_string("/proc/meminfo").unwrap_or_default(),
                "MemTotal:",
            ),
            os: format!("Linux {} {}", release.trim(), std::env::consts::ARCH),
            executable: std::env::current_exe()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
            config_file: self
                .config_file
                .as_ref()
                .map(|path| path.display().to_string())
                .unwrap_or_default(),
        }
    }
}

/// Time since the machine booted, the time that it slept included: a lease runs on while the machine is suspended,
/// and the clock that `Instant` reads stands still then.
fn boot_time() -> Duration {
    #[cfg(target_os = "linux")]
    let clock = rustix::time::ClockId::Boottime;
    #[cfg(not(target_os = "linux"))]
    let clock = rustix::time::ClockId::Monotonic;
    let time = rustix::time::clock_gettime(clock);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32)
}

/// A field of a `/proc` file that is given in kB, in bytes; 0 if it is not there.
fn kilobytes(text: &str, field: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(field));
    line.and_then(|rest| rest.split_whitespace().next())
        .and_then(|number| number.parse::<u64>().ok())
        .unwrap_or(0)
        * 1024
}

/// CPU time in user mode and in the kernel, microseconds.
fn cpu_times() -> (u64, u64) {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The second field, the name in brackets, may hold spaces: count from behind it.
    let fields: Vec<&str> = stat
        .rsplit(')')
        .next()
        .unwrap_or_default()
        .split_whitespace()
        .collect();
    let ticks = |at: usize| {
        fields
            .get(at)
            .and_then(|field| field.parse::<u64>().ok())
            .unwrap_or(0)
    };
    (ticks(11) * TICK_US, ticks(12) * TICK_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// INFO would show a process of no size and no age.
    #[test]
    fn the_system_tells_about_this_process() {
        let host = SystemHost::new(None);
        let process = host.process();
        assert_eq!(process.pid, std::process::id());
        assert!(process.resident_bytes > 0 && process.system_memory_bytes > process.resident_bytes);
        let before = host.monotonic_us();
        assert!(host.monotonic_us() >= before);
        assert_ne!(host.random(), host.random());
    }
}
