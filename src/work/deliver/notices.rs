//! Tells a destination that wants it what came up on this box, and what is over. It is told beside the findings: what goes
//! wrong with the one keeps the other from nobody.

use std::time::Duration;

use super::runner::Runner;
use crate::platform::{Told, Trouble};
use crate::store::destinations::Woe;
use crate::store::{StoreError, notices};

impl Runner {
    /// Tells the next notice, if there is one; whether it did.
    pub(super) fn tell_notice(&mut self) -> Result<bool, StoreError> {
        let id = self.id;
        let wanted = self.open.as_ref().is_some_and(|open| open.platform.wants_notices());
        if !wanted {
            self.notice_until = None;
            return Ok(false);
        }
        if self.notice_until.is_some_and(|until| self.steady() < until) {
            return Ok(false);
        }
        let Some((mark, kept)) = self.store().read(|view| notices::next(view, id))? else { return Ok(false) };
        let Some(open) = &mut self.open else { return Ok(false) };
        match open.platform.notify(&kept.id, &kept.notice) {
            Ok(Told::Yes(_)) => {}
            Ok(Told::Refused(why) | Told::Broke(why)) => {
                tracing::warn!("{}: a condition was refused, and is not told again: {why}", self.name());
            }
            Err(trouble) => {
                if self.notice_until.is_none() {
                    tracing::warn!("{}: a condition could not be told yet: {trouble}", self.name());
                }
                // Those after it wait, or they would overtake it.
                self.notice_until = Some(self.steady() + NOTICE_WAIT);
                let since = self.deliver.work.clock.now();
                match trouble {
                    Trouble::Later { why, .. } => self.woe(Woe { why, remedy: None, since })?,
                    Trouble::Refused { why, remedy } | Trouble::Target { why, remedy } => {
                        self.woe(Woe { why, remedy: Some(remedy), since })?;
                    }
                    gone @ Trouble::Gone { .. } => self.stop(gone)?,
                }
                return Ok(false);
            }
        }
        self.notice_until = None;
        self.store().write::<_, StoreError>(move |batch| notices::put_told(batch, id, mark))?;
        Ok(true)
    }
}

/// After this a notice is tried again that could not be told.
const NOTICE_WAIT: Duration = Duration::from_mins(1);
