//! CPU time of a process, from `/proc`.

use std::fs;

/// Nanoseconds that the live threads of a process have run; `None` without `/proc`.
pub fn nanos(pid: u32) -> Option<u64> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let mut sum = 0;
    for task in tasks.flatten() {
        let path = task.path();
        // Time on a CPU is the first of three numbers; a thread may end while we look.
        let Ok(text) = fs::read_to_string(path.join("schedstat")) else { continue };
        sum += text.split_whitespace().next()?.parse::<u64>().ok()?;
    }
    (sum > 0).then_some(sum)
}
