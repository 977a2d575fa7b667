//! The seeded simulation: analyses, triage, lost webhooks, outages, 429 storms, answers that lie, a stale index, power
//! cuts, restarts and a clock that jumps, all drawn from a seed. When the faults end, the inventory has to equal
//! SonarQube's truth exactly, and the log may tell of no change that did not happen.
//!
//! The store, the workers and the reading of SonarQube are the product's own, over real HTTP; only time and the disk are
//! the test's. `HYDROPHONE_SEEDS=n` tries so many seeds, `HYDROPHONE_SEED=x` that one alone and tells its story.
//! A seed has one life: `HYDROPHONE_TWICE=n` lives so many of them twice. Every third life passes on, to a DefectDojo, to
//! a receiver of signed events, or to both, which have faults and people of their own and have to equal the inventory, too.

#![allow(clippy::unwrap_used, unreachable_pub, reason = "tests")]

mod support;

#[path = "support/disk.rs"]
mod disk;
#[path = "sim/truth.rs"]
mod truth;
#[path = "sim/world.rs"]
mod world;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use support::survey;
use world::World;

/// Seeds of an ordinary run.
const SEEDS: usize = 200;

/// Events in the life of one seed.
const EVENTS: usize = 40;

/// Seeds that are lived twice, with destinations of every kind among them.
const TWICE: [u64; 4] = [2, 5, 8, 0];

#[test]
fn whatever_happens_the_inventory_equals_sonar_when_it_is_over() {
    if let Ok(seed) = std::env::var("HYDROPHONE_SEED") {
        tracing_subscriber::fmt().with_max_level(tracing::Level::DEBUG).without_time().init();
        live(seed.parse().expect("HYDROPHONE_SEED is a number"), true);
        return;
    }
    let seeds = survey::number("HYDROPHONE_SEEDS", SEEDS) as u64;
    let next = AtomicU64::new(0);
    let failed = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= seeds {
                        break;
                    }
                    if catch_unwind(AssertUnwindSafe(|| live(seed, false))).is_err() {
                        failed.lock().unwrap().push(seed);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    let again: Vec<String> =
        failed.iter().map(|seed| format!("HYDROPHONE_SEED={seed} cargo test --test sim -- --nocapture")).collect();
    let outcome = if failed.is_empty() { "inventory equals SonarQube, no change invented" } else { "FAILED" };
    survey::note("seeded lives under faults of every kind", usize::try_from(seeds).unwrap(), outcome);
    assert!(failed.is_empty(), "{} of {seeds} seeds failed; to see one:\n{}", failed.len(), again.join("\n"));
}

/// A life that cannot be repeated cannot be looked into: what fails in it is seen once and never found.
#[test]
fn a_seed_has_one_life() {
    let more = survey::number("HYDROPHONE_TWICE", 0) as u64;
    for seed in TWICE.into_iter().chain(0..more) {
        let (one, other) = std::thread::scope(|scope| {
            let other = scope.spawn(|| live(seed, false));
            (live(seed, false), other.join().unwrap())
        });
        let same = one.iter().zip(&other).take_while(|(one, other)| one == other).count();
        let rest = |story: &[String]| story[same.saturating_sub(3)..story.len().min(same + 3)].join("\n");
        assert!(one == other, "seed {seed} has two lives:\n{}\n--- or ---\n{}", rest(&one), rest(&other));
    }
}

/// Returns what happened, a line each.
fn live(seed: u64, told: bool) -> Vec<String> {
    let mut world = World::new(seed, told);
    for _ in 0..EVENTS {
        world.event();
    }
    world.rest();
    world.story()
}
