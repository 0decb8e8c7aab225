//! How much memory the node may count on: that of the machine, or of the control group (container,
//! service) that it runs in where that is less.

use std::fs;
use std::path::{Path, PathBuf};

/// Bytes of memory, or `None` where the system does not tell. `root` is `/`, but in tests.
pub(super) fn limit_bytes(root: &Path) -> Option<u64> {
    let machine = machine_bytes(root);
    let group = group_bytes(root);
    machine.into_iter().chain(group).min()
}

/// `MemTotal:       16384000 kB` in /proc/meminfo.
fn machine_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// The least limit of the process's memory groups. Each line of /proc/self/cgroup names a group:
///
/// ```text
/// 0::/system.slice/torc.service          version 2, one tree for everything
/// 4:memory:/docker/0123456789ab          version 1, a tree for memory
/// ```
fn group_bytes(root: &Path) -> Option<u64> {
    let text = fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    text.lines()
        .filter_map(|line| {
            let mut fields = line.splitn(3, ':');
            let (number, controllers, group) = (fields.next()?, fields.next()?, fields.next()?);
            if number == "0" && controllers.is_empty() {
                return least_limit(&root.join("sys/fs/cgroup"), group, "memory.max");
            }
            let is_memory = controllers.split(',').any(|name| name == "memory");
            let tree = root.join("sys/fs/cgroup/memory");
            is_memory
                .then(|| least_limit(&tree, group, "memory.limit_in_bytes"))
                .flatten()
        })
        .min()
}

/// The least number in the files called `file` of `group` and of all groups around it, up to the
/// tree's own. A container often sees its own group as the tree's, whatever path it is told.
fn least_limit(tree: &Path, group: &str, file: &str) -> Option<u64> {
    let mut directory: PathBuf = tree.join(group.trim_start_matches('/'));
    let mut least = None;
    loop {
        // "max" in version 2 is no number; "no limit" in version 1 is one beyond any machine's memory.
        let limit = fs::read_to_string(directory.join(file))
            .ok()
            .and_then(|text| text.trim().parse::<u64>().ok());
        least = least.into_iter().chain(limit).min();
        if directory == tree || !directory.pop() {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine with these files.
    fn machine(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        root
    }

    const MEMINFO: (&str, &str) = (
        "proc/meminfo",
        "MemTotal:        8000000 kB\nMemFree:           10000 kB\n",
    );
    const MACHINE_BYTES: u64 = 8_000_000 * 1024;

    #[test]
    fn a_machine_without_groups_has_its_own_memory() {
        // Breaks if the default limit is unknown outside containers.
        let root = machine(&[MEMINFO]);
        assert_eq!(limit_bytes(root.path()), Some(MACHINE_BYTES));
    }

    #[test]
    fn a_system_that_tells_nothing_is_not_guessed() {
        // Breaks if a made-up amount, or a zero, became the limit.
        assert_eq!(limit_bytes(machine(&[]).path()), None);
        let root = machine(&[("proc/meminfo", "MemTotal: lots\n")]);
        assert_eq!(limit_bytes(root.path()), None);
    }

    #[test]
    fn the_least_limit_around_a_version_2_group_counts() {
        // Breaks if a node in a small service takes 60 % of a large machine and is killed for it.
        let mut files = vec![
            MEMINFO,
            ("proc/self/cgroup", "0::/outer/inner\n"),
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/memory.max", "3000000\n"),
        ];
        assert_eq!(limit_bytes(machine(&files).path()), Some(3_000_000));
        files.push(("sys/fs/cgroup/memory.max", "2000000\n"));
        assert_eq!(limit_bytes(machine(&files).path()), Some(2_000_000));
        files[2] = ("sys/fs/cgroup/outer/inner/memory.max", "1000000\n");
        assert_eq!(limit_bytes(machine(&files).path()), Some(1_000_000));
    }

    #[test]
    fn a_version_1_group_counts_and_its_no_limit_does_not() {
        // Breaks if older container hosts are misread, or "no limit" is taken for an amount.
        let files = |limit| {
            [
                MEMINFO,
                ("proc/self/cgroup", "5:cpu:/x\n4:memory:/docker/abc\n0::/\n"),
                (
                    "sys/fs/cgroup/memory/docker/abc/memory.limit_in_bytes",
                    limit,
                ),
            ]
        };
        let root = machine(&files("4000000\n"));
        assert_eq!(limit_bytes(root.path()), Some(4_000_000));
        let root = machine(&files("9223372036854771712\n"));
        assert_eq!(limit_bytes(root.path()), Some(MACHINE_BYTES));
    }

    #[test]
    fn a_container_that_sees_its_group_as_the_root_is_found() {
        // Breaks if a path that is told from outside the container hides the limit inside it.
        let root = machine(&[
            MEMINFO,
            ("proc/self/cgroup", "0::/docker/abc\n"),
            ("sys/fs/cgroup/memory.max", "5000000\n"),
        ]);
        assert_eq!(limit_bytes(root.path()), Some(5_000_000));
    }
}
