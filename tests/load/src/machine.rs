//! What the machine is, and who used its processors while something was measured.

use std::{fs, process};

use serde::Serialize;

/// Facts that explain a figure.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Model of the processors.
    pub cpu: String,
    /// How many there are.
    pub cores: usize,
    /// Memory in MiB.
    pub memory_mib: u64,
    /// Release of the kernel.
    pub kernel: String,
    /// Whether this binary was optimised.
    pub optimised: bool,
}

impl Machine {
    /// Reads the facts.
    pub fn read() -> Self {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let cpu = cpuinfo.lines().find_map(|l| l.strip_prefix("model name")?.split_once(':'));
        let meminfo = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        Self {
            cpu: cpu.map_or_else(|| "unknown".to_owned(), |(_, name)| name.trim().to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib(&meminfo, "MemTotal:") / 1024,
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default().trim().to_owned(),
            optimised: !cfg!(debug_assertions),
        }
    }
}

/// Resident memory of a process in MiB.
pub fn resident_mib(pid: u32) -> f64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    kib(&status, "VmRSS:") as f64 / 1024.0
}

fn kib(text: &str, key: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(key));
    line.and_then(|l| l.split_whitespace().next()).and_then(|n| n.parse().ok()).unwrap_or(0)
}

/// Processor time since boot, in ticks of 10 ms.
#[derive(Debug, Clone, Copy, Default)]
struct Ticks {
    total: u64,
    busy: u64,
    own: u64,
    server: u64,
}

impl Ticks {
    fn now(server: u32) -> Self {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        let line = stat.lines().next().unwrap_or_default();
        let times: Vec<u64> =
            line.split_whitespace().skip(1).take(8).filter_map(|n| n.parse().ok()).collect();
        let total = times.iter().sum();
        let idle: u64 = times.iter().skip(3).take(2).sum();
        Self { total, busy: total - idle, own: of(process::id()), server: of(server) }
    }
}

fn of(pid: u32) -> u64 {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    // The name in parentheses may hold spaces; utime and stime are the 12th and 13th after it.
    let after = stat.rsplit_once(')').map_or("", |(_, rest)| rest);
    after.split_whitespace().skip(11).take(2).filter_map(|n| n.parse::<u64>().ok()).sum()
}

/// Adds up who used the processors over the stretches that are measured.
#[derive(Debug, Clone, Copy, Default)]
pub struct Usage {
    sum: Ticks,
}

/// An open stretch.
pub struct Stretch {
    from: Ticks,
    server: u32,
}

impl Usage {
    /// Opens a stretch in which process `server` serves.
    pub fn open(server: u32) -> Stretch {
        Stretch { from: Ticks::now(server), server }
    }

    /// Closes it.
    pub fn close(&mut self, stretch: &Stretch) {
        let now = Ticks::now(stretch.server);
        let from = &stretch.from;
        self.sum.total += now.total.saturating_sub(from.total);
        self.sum.busy += now.busy.saturating_sub(from.busy);
        self.sum.own += now.own.saturating_sub(from.own);
        self.sum.server += now.server.saturating_sub(from.server);
    }

    /// Share of all processor time that neither the harness nor the server used.
    pub fn others(&self) -> f64 {
        let others = self.sum.busy.saturating_sub(self.sum.own + self.sum.server);
        others as f64 / self.sum.total.max(1) as f64
    }

    /// Processor time of the server for one operation, in microseconds.
    pub fn server_us(&self, operations: u64) -> f64 {
        self.sum.server as f64 * 10_000.0 / operations.max(1) as f64
    }
}
