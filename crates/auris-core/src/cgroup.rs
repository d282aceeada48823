//! Limits of this process's control group, which a container or a service has, and of those above
//! it.

use std::fs;
use std::path::Path;

/// What `file` of version 2 holds in this process's group, and then in those above it.
pub fn values(root: &Path, file: &str) -> Vec<String> {
    let groups = fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
    let own = groups.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/");
    let top = root.join("sys/fs/cgroup");
    let own = top.join(own.trim().trim_start_matches('/'));
    let groups = own.ancestors().take_while(|folder| folder.starts_with(&top));
    let texts = groups.filter_map(|folder| fs::read_to_string(folder.join(file)).ok());
    texts.map(|text| text.trim().to_owned()).collect()
}

/// What a file of version 1 holds, which containers see at the top of its controller; empty if it is
/// not there.
pub fn value_v1(root: &Path, controller: &str, file: &str) -> String {
    let path = root.join("sys/fs/cgroup").join(controller).join(file);
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

/// The most processes and threads, if they are limited.
pub fn max_pids(root: &Path) -> Option<u64> {
    tightest(values(root, "pids.max"), value_v1(root, "pids", "pids.max"))
}

/// The most memory in bytes, if it is limited.
pub fn max_memory_bytes(root: &Path) -> Option<u64> {
    tightest(values(root, "memory.max"), value_v1(root, "memory", "memory.limit_in_bytes"))
}

/// `max` is no limit.
fn tightest(v2: Vec<String>, v1: String) -> Option<u64> {
    v2.into_iter().chain([v1]).filter_map(|value| value.parse().ok()).min()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn root(files: &[(&str, &str)]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for (path, content) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
        root
    }

    #[test]
    fn the_tightest_limit_counts() {
        let nested = root(&[
            ("proc/self/cgroup", "0::/system.slice/auris.service\n"),
            ("sys/fs/cgroup/pids.max", "9\n"),
            ("sys/fs/cgroup/system.slice/pids.max", "200\n"),
            ("sys/fs/cgroup/system.slice/auris.service/pids.max", "max\n"),
            ("sys/fs/cgroup/system.slice/auris.service/memory.max", "1073741824\n"),
        ]);
        assert_eq!(max_pids(nested.path()), Some(9));
        assert_eq!(max_memory_bytes(nested.path()), Some(1 << 30));
        let first = root(&[("sys/fs/cgroup/pids/pids.max", "512\n")]);
        assert_eq!(max_pids(first.path()), Some(512));
        assert_eq!(max_memory_bytes(first.path()), None);
    }
}
