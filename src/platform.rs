//! The one place for what only Linux has, each with a plain fallback.
//!
//! Every function answers `None` where the system does not say; callers have a sensible course
//! for that.

use std::path::Path;

/// Bytes of memory that this machine has.
#[must_use]
pub(crate) fn total_memory() -> Option<u64> {
    meminfo_total(&linux_file("/proc/meminfo")?)
}

/// The tightest memory limit of the control groups that this process is in, in bytes: version 2,
/// else version 1.
#[must_use]
pub(crate) fn own_memory_limit() -> Option<u64> {
    let membership = linux_file("/proc/self/cgroup")?;
    cgroup_limit(&membership, Path::new("/sys/fs/cgroup"))
}

/// How many descriptors this process may have open.
#[must_use]
pub(crate) fn descriptor_limit() -> Option<u64> {
    open_files_limit(&linux_file("/proc/self/limits")?)
}

/// What the kernel says of a process: `VmRSS`, `VmHWM` and more, a line each.
#[must_use]
pub(crate) fn process_status(pid: u32) -> Option<String> {
    linux_file(&format!("/proc/{pid}/status"))
}

/// A text of the kernel's. Everything above is read from one of these.
#[cfg(all(target_os = "linux", not(weir_portable)))]
fn linux_file(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// The fallback: elsewhere nothing is known. `--cfg weir_portable` forces it, for its test.
#[cfg(any(not(target_os = "linux"), weir_portable))]
fn linux_file(_path: &str) -> Option<String> {
    None
}

fn meminfo_total(text: &str) -> Option<u64> {
    let line = text.lines().find(|line| line.starts_with("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().nth(1)?.parse().ok()?;
    kib.checked_mul(1024)
}

fn open_files_limit(text: &str) -> Option<u64> {
    let line = text
        .lines()
        .find(|line| line.starts_with("Max open files"))?;
    // The soft limit, then the hard one; `unlimited` is no number and no limit.
    line["Max open files".len()..]
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// The smallest limit from the process's group up to the root. In a container whose own group is
/// the root of what it sees, the path may not exist there; then the root itself is asked.
fn cgroup_limit(membership: &str, root: &Path) -> Option<u64> {
    let mut limits = Vec::new();
    for line in membership.lines() {
        let mut parts = line.splitn(3, ':');
        let (Some(id), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
        else {
            continue;
        };
        let (base, file) = if id == "0" && controllers.is_empty() {
            (root.to_path_buf(), "memory.max")
        } else if controllers.split(',').any(|name| name == "memory") {
            (root.join("memory"), "memory.limit_in_bytes")
        } else {
            continue;
        };
        let mut group = base.join(path.trim_start_matches('/'));
        loop {
            limits.extend(limit_in(&group.join(file)));
            if group == base || !group.pop() {
                break;
            }
        }
    }
    limits.into_iter().min()
}

/// `max`, and the near-2^63 that version 1 has for it, are no limit.
fn limit_in(file: &Path) -> Option<u64> {
    let bytes: u64 = std::fs::read_to_string(file).ok()?.trim().parse().ok()?;
    (bytes < 1 << 62).then_some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_texts_are_read() {
        assert_eq!(
            meminfo_total("MemTotal:       24730032 kB\nMemFree: 1 kB\n"),
            Some(24_730_032 * 1024)
        );
        assert_eq!(meminfo_total("MemFree: 1 kB\n"), None);
        let limits = "Limit                     Soft Limit           Hard Limit           Units\n\
                      Max open files            1024                 524288               files\n";
        assert_eq!(open_files_limit(limits), Some(1024));
        let unlimited =
            "Max open files            unlimited            unlimited            files\n";
        assert_eq!(open_files_limit(unlimited), None);
    }

    #[test]
    fn the_tightest_group_counts() {
        let root = tempfile::tempdir().expect("a directory");
        let write = |path: &str, text: &str| {
            let file = root.path().join(path);
            std::fs::create_dir_all(file.parent().expect("a parent")).expect("directories");
            std::fs::write(file, text).expect("written");
        };
        write("pod/app/memory.max", "max\n");
        write("pod/memory.max", "67108864\n");
        assert_eq!(cgroup_limit("0::/pod/app\n", root.path()), Some(64 << 20));
        // A private group namespace: the process sees itself at the root.
        write("memory.max", "1048576\n");
        assert_eq!(cgroup_limit("0::/\n", root.path()), Some(1 << 20));
        assert_eq!(
            cgroup_limit("0::/../elsewhere\n", root.path()),
            Some(1 << 20)
        );
        // Version 1.
        write("memory/a/memory.limit_in_bytes", "4096\n");
        write("memory/memory.limit_in_bytes", "9223372036854771712\n");
        let membership = "5:cpu,cpuacct:/a\n4:memory:/a\n";
        assert_eq!(cgroup_limit(membership, root.path()), Some(4096));
        assert_eq!(cgroup_limit("4:memory:/\n", root.path()), None);
        assert_eq!(cgroup_limit("nonsense\n", root.path()), None);
    }

    #[test]
    #[cfg(all(target_os = "linux", not(weir_portable)))]
    fn this_machine_answers() {
        assert!(total_memory().is_some_and(|bytes| bytes > 1 << 20));
        assert!(own_memory_limit().is_none_or(|bytes| bytes > 0));
    }

    #[test]
    #[cfg(any(not(target_os = "linux"), weir_portable))]
    fn elsewhere_nothing_is_known_and_nothing_fails() {
        assert_eq!(total_memory(), None);
        assert_eq!(own_memory_limit(), None);
        assert_eq!(descriptor_limit(), None);
        assert_eq!(process_status(std::process::id()), None);
    }
}
