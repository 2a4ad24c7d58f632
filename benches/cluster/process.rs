//! What the kernel says about processes and the machine.

use std::{fs, time::Duration};

/// Ticks of `/proc/PID/stat` in a second: `USER_HZ`, 100 on every Linux that Rust's standard library runs on.
const TICKS: u64 = 100;

/// Memory of a process, in KiB.
#[derive(Clone, Copy, Debug, Default)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident at most, so far.
    pub peak: u64,
    /// Of what is resident now, that which is no file's.
    pub anonymous: u64,
}

/// The memory of process `id`.
pub fn memory(id: u32) -> Memory {
    let status = fs::read_to_string(format!("/proc/{id}/status")).unwrap_or_default();
    let value = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or_default()
    };
    Memory { resident: value("VmRSS"), peak: value("VmHWM"), anonymous: value("RssAnon") }
}

/// The processor time that process `id` has used.
pub fn processor_time(id: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).unwrap_or_default();
    let fields = stat.rsplit_once(") ").map(|(_, fields)| fields).unwrap_or_default();
    let ticks: u64 = fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<u64>().ok()).sum();
    Duration::from_millis(ticks * 1_000 / TICKS)
}

/// The operator among this process's children.
pub fn operator() -> Option<u32> {
    let tasks = fs::read_dir("/proc/self/task").ok()?;
    let children = tasks.flatten().filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let ids: Vec<u32> = children
        .flat_map(|ids| ids.split_whitespace().map(str::to_owned).collect::<Vec<_>>())
        .filter_map(|id| id.parse().ok())
        .collect();
    ids.into_iter().find(|id| {
        fs::read(format!("/proc/{id}/cmdline")).is_ok_and(|line| {
            let mut words = line.split(|byte| *byte == 0);
            words.next().is_some_and(|word| word.ends_with(b"connection-operator")) && words.next() == Some(b"run")
        })
    })
}

/// Runnable tasks, averaged over one, five and fifteen minutes.
pub fn load() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}

/// What the machine is.
pub fn machine() -> Vec<(&'static str, String)> {
    let cpus = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = cpus.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    let total: u64 = memory.split_whitespace().nth(1).and_then(|total| total.parse().ok()).unwrap_or_default();
    let count = std::thread::available_parallelism().map_or(0, usize::from);
    vec![
        ("processors", format!("{count} × {}", model.map_or("unknown", |(_, model)| model))),
        ("memory", super::figures::mebibytes(total)),
    ]
}
