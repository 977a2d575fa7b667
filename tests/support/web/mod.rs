//! What the simulated servers share: connections that break, faults and holds laid out for calls to come, and the small
//! things of HTTP.

mod faults;
mod traps;
mod wire;

use std::sync::{Mutex, MutexGuard, PoisonError};

use jiff::Timestamp;
use percent_encoding::percent_decode_str;

pub use self::faults::{Fault, When};
pub use self::traps::{Called, Hold, Matches, Moment, Traps, WAIT_MAX, path_starts};
pub use self::wire::{Reply, Wire, gone};

/// Takes a query string or a form apart. A plus sign is a blank, also in a date's offset.
pub fn parse_pairs(text: &str) -> Vec<(String, String)> {
    let decode = |part: &str| percent_decode_str(&part.replace('+', " ")).decode_utf8_lossy().into_owned();
    let parts = text.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// A moment as HTTP's `Date` header writes it.
pub fn http_date(at: i64) -> String {
    let timestamp = Timestamp::from_second(at).expect("dates of the simulation lie within the calendar");
    let printer = jiff::fmt::rfc2822::DateTimePrinter::new();
    printer.timestamp_to_rfc9110_string(&timestamp).expect("the simulation knows no years before 0")
}

/// A test that failed while it held a lock has told its own story; the others go on.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
