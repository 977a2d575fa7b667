#![allow(dead_code, reason = "shared by programs of which none uses all of it")]
//! A disk in memory that fails as asked, and knows what of its content would outlive a power cut.

use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::Duration;

/// How long anything may take that should take a moment.
pub const SOON: Duration = Duration::from_secs(20);

/// The system's numbers of the two errors that a disk answers with.
pub const ENOSPC: i32 = 28;
/// See [`ENOSPC`].
pub const EIO: i32 = 5;

/// A disk: what was written to it, and of that what would outlive a power cut.
#[derive(Clone, Default)]
pub struct Disk(Arc<(Mutex<Platters>, Condvar)>);

#[derive(Default)]
#[allow(clippy::struct_excessive_bools, reason = "each is a fault of its own")]
pub struct Platters {
    pub written: Vec<u8>,
    pub synced: Vec<u8>,
    pub syncs: u64,
    /// Writes, syncs and changes of length up to now.
    pub operations: u32,
    /// The next so many writes and syncs fail.
    pub failures: u32,
    /// After so many more writes and syncs one fails.
    pub stumbles_after: Option<u32>,
    /// How many fail then, if not one.
    pub stumbles: u32,
    /// After so many more writes and syncs it is broken.
    pub breaks_after: Option<u32>,
    /// A disk that stays broken cannot even be opened.
    pub broken: bool,
    /// The number of the error it answers with; EIO if 0.
    pub error: i32,
    /// Blocks that were never written find no place any more, as on a full disk with a sparse file.
    pub full: bool,
    /// Whoever syncs waits while this is set, and says so.
    pub held: bool,
    waiting: bool,
    /// Done since the last sync, in order.
    unsynced: Vec<Done>,
}

#[derive(Clone)]
enum Done {
    Wrote(usize, Vec<u8>),
    Resized(usize),
}

impl std::fmt::Debug for Disk {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("Disk")
    }
}

impl Disk {
    /// A disk that holds these bytes, synced.
    pub fn holding(bytes: Vec<u8>) -> Self {
        let disk = Self::default();
        disk.edit(|platters| {
            platters.written.clone_from(&bytes);
            platters.synced = bytes;
        });
        disk
    }

    pub fn lock(&self) -> MutexGuard<'_, Platters> {
        self.0.0.lock().unwrap()
    }

    pub fn edit<R>(&self, change: impl FnOnce(&mut Platters) -> R) -> R {
        let result = change(&mut self.lock());
        self.0.1.notify_all();
        result
    }

    /// Blocks until somebody waits in a held sync.
    pub fn wait_for_sync(&self) {
        let (platters, waited) = self.0.1.wait_timeout_while(self.lock(), SOON, |platters| !platters.waiting).unwrap();
        drop(platters);
        assert!(!waited.timed_out(), "nobody syncs");
    }

    /// The disk as it is after a power cut: what was not synced is gone.
    pub fn after_power_cut(&self) -> Self {
        Self::holding(self.lock().synced.clone())
    }

    /// The disk as a less kind power cut leaves it: of what was not synced some is there, in any order, some writes with
    /// some of their sectors only.
    pub fn after_bad_power_cut(&self, chance: &mut Chance) -> Self {
        let platters = self.lock();
        let mut bytes = platters.synced.clone();
        let mut kept = platters.unsynced.clone();
        drop(platters);
        chance.shuffle(&mut kept);
        // From nothing to all of it, and not always about half.
        let odds = chance.below(5);
        for done in kept {
            if chance.below(4) < odds {
                match done {
                    Done::Resized(length) => bytes.resize(length, 0),
                    Done::Wrote(at, data) => {
                        let torn = chance.below(4) == 0;
                        for (sector, part) in data.chunks(SECTOR_BYTES).enumerate() {
                            if !torn || chance.below(2) == 0 {
                                lay(&mut bytes, at + sector * SECTOR_BYTES, part);
                            }
                        }
                    }
                }
            }
        }
        Self::holding(bytes)
    }

    fn fails(platters: &mut Platters) -> io::Result<()> {
        platters.operations += 1;
        platters.breaks_after = match platters.breaks_after {
            Some(0) => {
                platters.broken = true;
                None
            }
            left => left.map(|left| left - 1),
        };
        platters.stumbles_after = match platters.stumbles_after {
            Some(0) => {
                platters.failures += platters.stumbles.max(1);
                None
            }
            left => left.map(|left| left - 1),
        };
        if platters.broken || platters.failures > 0 {
            platters.failures = platters.failures.saturating_sub(1);
            return Err(platters.no());
        }
        Ok(())
    }
}

impl Platters {
    fn no(&self) -> io::Error {
        io::Error::from_raw_os_error(if self.error == 0 { EIO } else { self.error })
    }
}

/// What a disk writes as a whole or not at all.
const SECTOR_BYTES: usize = 512;

/// What a file system gives a file at once.
const BLOCK_BYTES: usize = 4096;

/// Writes what fits; a disk whose length was not kept has no place for the rest.
fn lay(bytes: &mut [u8], at: usize, data: &[u8]) {
    if let Some(place) = bytes.get_mut(at..) {
        let length = place.len().min(data.len());
        place[..length].copy_from_slice(&data[..length]);
    }
}

fn place(offset: u64, length: usize) -> std::ops::Range<usize> {
    let start = usize::try_from(offset).unwrap();
    start..start + length
}

impl redb::StorageBackend for Disk {
    fn len(&self) -> io::Result<u64> {
        let platters = self.lock();
        if platters.broken { Err(platters.no()) } else { Ok(platters.written.len() as u64) }
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let platters = self.lock();
        let start = usize::try_from(offset).map_err(|_| io::ErrorKind::UnexpectedEof)?;
        let end = start.checked_add(out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(platters.written.get(start..end).ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut platters = self.lock();
        Self::fails(&mut platters)?;
        let length = usize::try_from(length).unwrap();
        platters.written.resize(length, 0);
        platters.unsynced.push(Done::Resized(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut platters = self.lock();
        platters.waiting = true;
        self.0.1.notify_all();
        let mut platters = self.0.1.wait_while(platters, |platters| platters.held).unwrap();
        platters.waiting = false;
        Self::fails(&mut platters)?;
        platters.syncs += 1;
        let Platters { unsynced, synced, .. } = &mut *platters;
        for done in unsynced.drain(..) {
            match done {
                Done::Wrote(at, data) => lay(synced, at, &data),
                Done::Resized(length) => synced.resize(length, 0),
            }
        }
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut platters = self.lock();
        let failed = Self::fails(&mut platters);
        if failed.is_ok() && platters.full {
            let place = place(offset, data.len());
            let first = place.start / BLOCK_BYTES * BLOCK_BYTES;
            let last = place.end.next_multiple_of(BLOCK_BYTES).min(platters.written.len());
            if platters.written[first..last].chunks(BLOCK_BYTES).any(|block| block.iter().all(|&byte| byte == 0)) {
                return Err(io::Error::from_raw_os_error(ENOSPC));
            }
        }
        // A write that fails has come some way.
        let data = if failed.is_err() { &data[..data.len() / 2] } else { data };
        platters.written[place(offset, data.len())].copy_from_slice(data);
        platters.unsynced.push(Done::Wrote(usize::try_from(offset).unwrap(), data.to_vec()));
        failed
    }
}

/// Numbers that look random and are the same for the same seed (splitmix64).
pub struct Chance(pub u64);

impl Chance {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for last in (1..all.len()).rev() {
            all.swap(last, self.below(last + 1));
        }
    }
}
