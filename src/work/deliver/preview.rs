//! What a destination would be told if it were told everything now, without telling it anything.

use std::collections::BTreeMap;

use super::gather::{Known, Names, compose};
use crate::domain::destination::{Destination, LeftOut};
use crate::domain::ids::{DestinationId, ScopeId};
use crate::domain::message::{Cause, Plan, plan};
use crate::platform::Manner;
use crate::store::changes::{Cursor, Item, follow};
use crate::store::{Store, StoreError};

/// Counts of findings.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Preview {
    /// That are held here and not closed.
    pub open: u64,
    /// That would be created there.
    pub create: u64,
    /// That would be changed.
    pub update: u64,
    /// That would be closed.
    pub close: u64,
    /// That would be reopened.
    pub reopen: u64,
    /// That are there as they are here.
    pub same: u64,
    /// That are left out, and why. Those that were closed before are not counted.
    pub left_out: BTreeMap<LeftOut, u64>,
}

/// Looks at all findings, some at a time.
///
/// # Errors
/// If the store cannot be read.
pub fn preview(
    store: &Store,
    id: Option<DestinationId>,
    destination: &Destination,
    manner: Manner,
) -> Result<Preview, StoreError> {
    let (mut found, mut cursor) = (Preview::default(), Cursor::New);
    loop {
        let (next, done) = store.read::<_, StoreError>(|view| {
            let followed = follow(view, &cursor, ROWS)?;
            let mut names = Names::new(view);
            let mut done = followed.items.is_empty();
            for item in followed.items {
                match item {
                    Item::Current(scope, finding) => {
                        let found = &mut found;
                        count(view, &mut names, (id, destination, manner), scope, *finding, found)?;
                    }
                    // What changes while we look is counted as it was, or is not counted.
                    Item::Change(..) => done = true,
                }
            }
            done |= matches!(followed.next, Cursor::At(_));
            Ok((followed.next, done))
        })?;
        if done {
            return Ok(found);
        }
        cursor = next;
    }
}

fn count(
    view: &crate::store::Reader,
    names: &mut Names<'_>,
    (id, destination, manner): (Option<DestinationId>, &Destination, Manner),
    scope: ScopeId,
    finding: crate::domain::finding::Finding,
    found: &mut Preview,
) -> Result<(), StoreError> {
    let open = u64::from(!finding.observed.state.is_closed());
    let home = match names.home(scope, destination)? {
        Known::Home(home) => home,
        Known::Removed => return Ok(()),
        Known::Unreadable => {
            found.open += open;
            *found.left_out.entry(LeftOut::Unreadable).or_default() += open;
            return Ok(());
        }
    };
    found.open += open;
    // A number that no destination has knows nothing.
    let id = id.unwrap_or(DestinationId(u32::MAX));
    let message = compose(view, names, (id, destination, manner), &home.place, finding, Cause::Present)?;
    // Of one whose memory is not kept, what it may have heard of before its filter was narrowed is told as ever.
    let taken = match manner {
        Manner::Findings => home.takes(&message.finding, destination),
        Manner::Changes | Manner::Scopes => home.follows(&message.finding, id, destination),
    };
    match plan(&message, taken) {
        Plan::Create => found.create += 1,
        Plan::Update | Plan::Triage => found.update += 1,
        Plan::Close => found.close += 1,
        Plan::Reopen => found.reopen += 1,
        Plan::Nothing => found.same += 1,
        Plan::LeftOut(_) if message.finding.observed.state.is_closed() => {}
        Plan::LeftOut(why) => *found.left_out.entry(why).or_default() += 1,
    }
    Ok(())
}

/// Findings looked at in one read of the store.
const ROWS: usize = 500;
