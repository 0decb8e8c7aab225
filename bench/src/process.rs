//! What `/proc` says of a process: CPU time and memory.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// CPU time of all live threads of process `pid`, in nanoseconds.
///
/// From `/proc/PID/task/*/schedstat`, whose first number is the time spent on a CPU (Linux
/// Documentation/scheduler/sched-stats); user and system time together, without the 10 ms grain of
/// `utime` and `stime`. A thread that ends takes its share along: servers keep theirs.
///
/// # Errors
/// The process is gone, or the kernel keeps no such statistics.
pub fn cpu_ns(pid: u32) -> Result<u64> {
    let tasks = format!("/proc/{pid}/task");
    let mut total_ns = 0;
    for task in fs::read_dir(&tasks).with_context(|| format!("reading {tasks}"))? {
        let path = task?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(&path) {
            total_ns += first_number(&text)
                .with_context(|| format!("no CPU time in {}", path.display()))?;
        }
    }
    Ok(total_ns)
}

/// Resident memory of process `pid` in bytes (`VmRSS`).
///
/// # Errors
/// The process is gone.
pub fn rss_bytes(pid: u32) -> Result<u64> {
    let path = format!("/proc/{pid}/status");
    let text = fs::read_to_string(&path).with_context(|| format!("reading {path}"))?;
    status_kib(&text, "VmRSS:")
        .map(|kib| kib * 1024)
        .with_context(|| format!("no VmRSS in {path}"))
}

/// A field of `/proc/PID/status` that is given in kB.
fn status_kib(text: &str, field: &str) -> Option<u64> {
    text.lines()
        .find_map(|line| line.strip_prefix(field))
        .and_then(first_number)
}

fn first_number(text: &str) -> Option<u64> {
    text.split_whitespace().next()?.parse().ok()
}

/// The CPUs that this process may use, in order.
///
/// # Errors
/// `/proc` does not say.
pub fn allowed_cpus() -> Result<Vec<usize>> {
    let text = fs::read_to_string("/proc/self/status").context("reading /proc/self/status")?;
    text.lines()
        .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))
        .and_then(|list| parse_cpu_list(list.trim()))
        .context("no Cpus_allowed_list in /proc/self/status")
}

/// `0-2,5` as numbers.
fn parse_cpu_list(list: &str) -> Option<Vec<usize>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<usize>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

/// The machine in a line: CPUs, their model, memory, kernel, and how busy it was.
pub fn describe_machine(cpus: &[usize]) -> String {
    let read = |path: &str| fs::read_to_string(Path::new(path)).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let model = cpuinfo
        .lines()
        .find_map(|line| line.strip_prefix("model name"))
        .map_or("unknown CPU", |rest| {
            rest.trim_start_matches([' ', '\t', ':'])
        });
    let memory_gib = status_kib(&read("/proc/meminfo"), "MemTotal:").unwrap_or(0) >> 20;
    let kernel = read("/proc/sys/kernel/osrelease");
    let load = read("/proc/loadavg");
    format!(
        "{} cores of {model}, {memory_gib} GiB, Linux {}, load average at the start {}",
        cpus.len(),
        kernel.trim(),
        load.split_whitespace().next().unwrap_or("unknown"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cpu_lists_of_any_shape_are_read() {
        // In a container the first CPU is often not 0; pinning to it would fail.
        assert_eq!(parse_cpu_list("0-1"), Some(vec![0, 1]));
        assert_eq!(parse_cpu_list("3"), Some(vec![3]));
        assert_eq!(parse_cpu_list("0-2,5,7-8"), Some(vec![0, 1, 2, 5, 7, 8]));
        assert_eq!(parse_cpu_list("x"), None);
    }

    #[test]
    fn status_fields_are_read_in_kib() {
        // VmRSS taken for bytes would report a thousandth of the memory.
        let status = "Name:\tredis\nVmHWM:\t    9 kB\nVmRSS:\t   12 kB\n";
        assert_eq!(status_kib(status, "VmRSS:"), Some(12));
        assert_eq!(status_kib(status, "VmSwap:"), None);
    }

    #[test]
    fn work_of_every_thread_counts() {
        // CPU of the main thread alone would make every server with threads look idle.
        // Judged against this test's own thread: others come and go beside it.
        let own_ns = || {
            let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
            first_number(&text).unwrap()
        };
        let worker = std::thread::spawn(move || {
            let mut random = crate::random::Xorshift::new(1);
            while own_ns() < 50_000_000 {
                for _ in 0..1_000 {
                    std::hint::black_box(random.next_u64());
                }
            }
            let own_ns = own_ns();
            assert!(cpu_ns(std::process::id()).unwrap() >= own_ns);
        });
        worker.join().expect("the sum holds the worker's share");
        assert!(rss_bytes(std::process::id()).unwrap() > 100_000);
    }
}
