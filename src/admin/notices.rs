//! Looks for conditions that came up or are over, where a destination wants to be told.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Admin, status};
use crate::domain::condition::Condition;
use crate::domain::notice::compare;
use crate::store::{StoreError, destinations, notices};
use crate::sys::clock;

/// Looks now and then, soon after something was stored. For ever.
pub async fn watch_conditions(admin: Arc<Admin>) {
    let mut last = None;
    loop {
        let (commits, now) = (admin.store.commits(), Instant::now());
        let is_due = last.is_none_or(|(of, at)| commits != of || now.duration_since(at) >= LOOK_MAX);
        if is_due {
            last = Some((commits, now));
            // A store that does not answer now is looked at again.
            let _ = admin.run(|admin| Ok(look(admin)?)).await;
        }
        tokio::time::sleep(LOOK_MIN).await;
    }
}

/// Some things change without anything being stored.
const LOOK_MAX: Duration = Duration::from_secs(30);

/// Under load something is stored all the time.
const LOOK_MIN: Duration = Duration::from_secs(2);

fn look(admin: &Admin) -> Result<(), StoreError> {
    let (wanted, before) = admin.store.read::<_, StoreError>(|view| {
        let wanted = destinations::destinations(view)?.iter().any(|(_, one)| one.wants_conditions());
        Ok((wanted, notices::held(view)?))
    })?;
    if !wanted || admin.store.locked().is_some() {
        return Ok(());
    }
    let present: Vec<Condition> = status::conditions(admin)?;
    let (held, told) = compare(before.clone(), &present, clock::now());
    if held == before && told.is_empty() {
        return Ok(());
    }
    admin.store.write(move |batch| notices::note(batch, held, told))
}
