//! Numbers that are given once, in order.

use super::tables::{self, Key};
use super::{Batch, StoreError, View, get, last_key};

/// What is numbered, from 1; a number is used once.
#[derive(Debug, Clone, Copy)]
pub(super) enum Counter {
    Delivery,
    Asset,
    Project,
    Scope,
    Finding,
    Change,
    Destination,
    Audit,
    /// Who tells an inventory as a site's.
    Teller,
}

impl Counter {
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Delivery => "delivery",
            Self::Asset => "asset",
            Self::Project => "project",
            Self::Scope => "scope",
            Self::Finding => "finding",
            Self::Change => "change",
            Self::Destination => "destination",
            Self::Audit => "audit",
            Self::Teller => "teller",
        }
    }

    fn key(self) -> Key {
        Key::new().tail(b"next/").tail(self.name().as_bytes())
    }

    /// The next number. A counter that is damaged must not keep everything from being written: the rows that it counted
    /// tell how far it had come, and rows that lead to such as are deleted by now.
    pub(super) fn next(self, view: &impl View) -> Result<u64, StoreError> {
        match get(view, tables::META, &self.key()) {
            Err(StoreError::Damaged { .. }) => {
                let next = self.last(view)? + 1;
                tracing::warn!("a counter is damaged; the next {} gets number {next}", self.name());
                Ok(next)
            }
            found => Ok(found?.unwrap_or(1)),
        }
    }

    pub(super) fn set(self, batch: &Batch, next: u64) -> Result<(), StoreError> {
        batch.put(tables::META, &self.key(), &next)
    }

    /// The highest number in use, as far as rows tell.
    fn last(self, view: &impl View) -> Result<u64, StoreError> {
        let small = |table| Ok::<_, StoreError>(last_key(view, table)?.and_then(|key| tables::u32_at(&key, 0)));
        let large = |table| Ok::<_, StoreError>(last_key(view, table)?.and_then(|key| tables::u64_at(&key, 0)));
        Ok(match self {
            Self::Delivery => large(tables::DELIVERIES)?.max(large(tables::SETTLEMENTS)?),
            Self::Asset => small(tables::ASSETS)?.map(u64::from),
            Self::Project => small(tables::PROJECTS)?.max(small(tables::SCOPE_NAMES)?).map(u64::from),
            // What is left of a removed one must not become a new one's.
            Self::Scope => {
                let of = [tables::SCOPES, tables::DISCARDED, tables::FINDINGS, tables::STAGING, tables::COUNTS];
                of.into_iter().map(small).collect::<Result<Vec<_>, _>>()?.into_iter().max().flatten().map(u64::from)
            }
            Self::Audit => super::audit::last(view)?,
            Self::Teller => small(tables::FLEET_IDS)?.map(u64::from),
            Self::Finding => large(tables::FINDING_IDS)?.max(large(tables::FINDING_CHANGES)?),
            Self::Change => large(tables::CHANGES)?,
            // Of a removed one rows may be left that are still to be deleted.
            Self::Destination => {
                let of = [tables::DESTINATIONS, tables::REMOTES, tables::TARGETS, tables::DEAD_LETTERS];
                of.into_iter().map(small).collect::<Result<Vec<_>, _>>()?.into_iter().max().flatten().map(u64::from)
            }
        }
        .unwrap_or(0))
    }
}
