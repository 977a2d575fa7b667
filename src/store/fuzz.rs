//! See [`crate::fuzz`].

use super::codec::{self, Record};
use super::{access, audit, changes, destinations, records, trend};
use crate::domain::{delivery, finding, reconcile, schedule};

/// A record as it lies in the store, or made to pass for one: what can be read can be written, and reads the same again.
pub(crate) fn record(data: &[u8]) {
    let Some((which, bytes)) = data.split_first() else { return };
    let doors: [fn(&[u8]); 24] = [
        one::<finding::Finding>,
        one::<reconcile::Staged>,
        one::<schedule::Due>,
        one::<delivery::ScopeRef>,
        one::<records::Source>,
        one::<records::Asset>,
        one::<records::Project>,
        one::<records::Scope>,
        one::<records::Hook>,
        one::<records::Rule>,
        one::<records::Delivery>,
        one::<records::Settlement>,
        one::<records::SealedCrawl>,
        one::<records::Underway>,
        one::<records::Change>,
        one::<crate::domain::destination::Destination>,
        one::<crate::domain::message::Remote>,
        one::<crate::domain::triage::Order>,
        one::<records::Decision>,
        one::<changes::Cursor>,
        one::<destinations::Progress>,
        one::<access::User>,
        one::<audit::Entry>,
        one::<trend::Day>,
    ];
    doors[usize::from(*which) % doors.len()](bytes);
}

fn one<R: Record>(bytes: &[u8]) {
    const KEY: &[u8] = b"key";
    let _ = codec::open::<R>(KEY, bytes);
    let Ok(record) = codec::open::<R>(KEY, &codec::passing::<R>(KEY, bytes)) else { return };
    let written = codec::seal(KEY, &record);
    let again = codec::open::<R>(KEY, &written).unwrap_or_else(|_| panic!("{} is written and not read", R::NAME));
    assert!(codec::seal(KEY, &again) == written, "{} changes while it is read", R::NAME);
}

/// A backup as it is, and with what its frames hold put into right ones.
pub(crate) fn backup(data: &[u8]) {
    super::backup::fuzz(data);
}
