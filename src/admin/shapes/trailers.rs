//! What stands behind an exported file, as trailers (RFC 9110, section 6.5): numbers.

/// Findings in the file.
pub const FINDINGS: &str = "hydrophone-findings";
/// Runs in the file, which only SARIF has.
pub const RUNS: &str = "hydrophone-runs";
/// Findings that are not in it because their records are damaged.
pub const DAMAGED: &str = "hydrophone-damaged";
/// Branches that are not in it because no read of them was complete yet.
pub const UNREAD: &str = "hydrophone-unread-branches";
/// Branches that are not in it because of damaged records.
pub const UNSURE: &str = "hydrophone-damaged-branches";

/// All of them.
pub const ALL: [&str; 5] = [FINDINGS, RUNS, DAMAGED, UNREAD, UNSURE];
