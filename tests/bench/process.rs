//! What the system tells of a process, and of the machine.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::Path;
use std::time::Instant;

/// A line of `/proc/PID/status` in bytes, such as `VmRSS` or `VmHWM`.
pub(crate) fn memory(process: u32, line: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{process}/status")).expect("the process runs");
    let kibibytes = status.lines().find_map(|one| one.strip_prefix(line)?.strip_prefix(':')?.strip_suffix("kB"));
    kibibytes.and_then(|text| text.trim().parse::<u64>().ok()).expect("the line is there") * 1024
}

/// Bytes that a process caused to be written to disk. On a file system in memory, those that it wrote to files and
/// connections. `None` where the system does not tell: of a process that keeps its memory to itself, as the gateway does,
/// it tells root alone.
pub(crate) fn written(process: u32) -> Option<u64> {
    let io = match fs::read_to_string(format!("/proc/{process}/io")) {
        Ok(io) => io,
        Err(error) if error.kind() == ErrorKind::PermissionDenied => return None,
        Err(error) => panic!("the process runs: {error}"),
    };
    let number = |name: &str| -> u64 {
        let line = io.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        line.and_then(|text| text.trim().parse().ok()).expect("the line is there")
    };
    match number("write_bytes") {
        0 => Some(number("wchar")),
        bytes => Some(bytes),
    }
}

/// What was written since it was this much.
pub(crate) fn written_since(process: u32, before: Option<u64>) -> Option<u64> {
    Some(written(process)?.saturating_sub(before?))
}

/// Counts the peak of a process's memory (`VmHWM`) anew from here on, see proc(5). Where the system does not let this
/// user, the peak is that since the start.
pub(crate) fn forget_peak(process: u32) {
    match fs::write(format!("/proc/{process}/clear_refs"), "5") {
        Err(error) if error.kind() != ErrorKind::PermissionDenied => panic!("the process runs: {error}"),
        _ => {}
    }
}

/// Time of the processor that a process has used, in hundredths of seconds, see proc(5).
pub(crate) fn ticks(process: u32) -> u64 {
    let line = fs::read_to_string(format!("/proc/{process}/stat")).expect("the process runs");
    // Its name, in brackets, may hold anything.
    let after = line.rsplit(')').next().expect("there is a rest");
    after.split_whitespace().skip(11).take(2).filter_map(|number| number.parse::<u64>().ok()).sum()
}

/// Lines that say where the figures were measured.
pub(crate) fn machine(folder: &Path) -> Vec<String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let after_colon = |text: &str, name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).and_then(|line| line.split(':').nth(1));
        line.unwrap_or("unknown").trim().to_owned()
    };
    let cores = std::thread::available_parallelism().map_or(0, std::num::NonZero::get);
    let compiler = std::process::Command::new("rustc").arg("--version").output();
    let compiler = compiler.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    vec![
        format!("machine   {}, {cores} cores", after_colon(&read("/proc/cpuinfo"), "model name")),
        format!("          {} of memory", after_colon(&read("/proc/meminfo"), "MemTotal")),
        format!("system    Linux {}", read("/proc/sys/kernel/osrelease").trim()),
        format!("disk      {}, a write of 4 KiB synced in {:.2} ms", file_system(folder), sync_milliseconds(folder)),
        format!("program   hydrophone {}, redb {}", env!("CARGO_PKG_VERSION"), locked("redb")),
        format!("compiler  {}", compiler.unwrap_or_else(|_| "unknown".to_owned())),
    ]
}

/// The kind of the file system that holds a folder.
fn file_system(folder: &Path) -> String {
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let mounts = mounts.lines().filter_map(|line| {
        let mut words = line.split(' ').skip(1);
        let (place, kind) = (words.next()?, words.next()?);
        folder.starts_with(place).then_some((place.len(), kind))
    });
    mounts.max_by_key(|(length, _)| *length).map_or_else(|| "unknown".to_owned(), |(_, kind)| kind.to_owned())
}

/// The median time of a small write that is synced: what every commit costs at least.
fn sync_milliseconds(folder: &Path) -> f64 {
    let mut file = fs::File::create(folder.join("sync")).expect("the folder can be written");
    let mut times: Vec<f64> = (0..21)
        .map(|_| {
            let begin = Instant::now();
            file.write_all(&[1; 4096]).and_then(|()| file.sync_data()).expect("the folder can be written");
            begin.elapsed().as_secs_f64() * 1000.0
        })
        .collect();
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn locked(name: &str) -> &'static str {
    let lock = include_str!("../../Cargo.lock");
    let entry = lock.split("[[package]]").find(|entry| entry.contains(&format!("\nname = \"{name}\"\n")));
    let version = entry.and_then(|entry| entry.split("version = \"").nth(1)?.split('"').next());
    version.unwrap_or("unknown")
}
