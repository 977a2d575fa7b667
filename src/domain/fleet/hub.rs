//! A fleet as a hub reads it: where its stream is, how far it was read, and what is known of its sites.

use std::time::Duration;

use minicbor::{Decode, Encode};

use super::offer::Outcome;
use super::{InventoryId, Site};
use crate::domain::ids::SourceName;
use crate::domain::time::Timestamp;

/// A stream of NATS JetStream in which many boxes speak, and that this box reads. Its credentials are among the secrets.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Fleet {
    /// The operator's name for it.
    #[n(0)]
    pub name: SourceName,
    /// Where its server is.
    #[n(1)]
    pub url: String,
    /// The stream's name.
    #[n(2)]
    pub stream: String,
    /// Whether the way there is safe without TLS.
    #[n(3)]
    pub plain: bool,
    /// Certificates (PEM) to trust beside the system's.
    #[n(4)]
    pub ca_pem: Option<String>,
    /// When it was added.
    #[n(5)]
    pub added_at: Timestamp,
}

/// How far a fleet was read.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Position {
    /// The last message that was taken in.
    #[n(0)]
    pub sequence: u64,
    /// When the stream was made: in one that was made anew, numbers begin again.
    #[n(1)]
    pub made_at: Option<Timestamp>,
    /// Since when it is another stream than the one that was read before.
    #[n(2)]
    pub anew_at: Option<Timestamp>,
    /// The first message that this version did not understand and a newer one may.
    #[n(3)]
    pub skipped: Option<Skipped>,
    /// How many messages were passed over that no box sends, and what was the matter with the last of them.
    #[n(4)]
    pub foreign: Option<Foreign>,
    /// How many other streams were read before this one under its name.
    #[n(5)]
    pub epoch: u32,
}

/// Messages of a newer version that were passed over.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Skipped {
    /// The first of them.
    #[n(0)]
    pub from: u64,
    /// The version that did not understand them. Another one begins with them again.
    #[n(1)]
    pub version: String,
    /// One of the sites that sent them.
    #[n(2)]
    pub site: Option<Site>,
    /// What the last of them says.
    #[n(3)]
    pub what: String,
}

/// Messages that no box sends.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Foreign {
    /// How many there were.
    #[n(0)]
    pub count: u64,
    /// When the last came.
    #[n(1)]
    pub at: Timestamp,
    /// On whose subject, where it names a site.
    #[n(2)]
    pub site: Option<Site>,
    /// What is the matter with it.
    #[n(3)]
    pub why: String,
}

/// What is known of a site.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct SiteRecord {
    /// Whose inventories were told as this site's, the present one last.
    #[n(0)]
    pub tellers: Vec<Teller>,
    /// When something it said was last passed over since another source here bears its name, give or take an hour.
    #[n(1)]
    pub passed_over_at: Option<Timestamp>,
    /// The newest term of the site's lease that was heard, where two boxes share the site.
    #[n(2)]
    #[cbor(default)]
    pub term: u64,
}

/// An inventory that is told as a site's.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode)]
pub struct Teller {
    /// Its number here.
    #[n(0)]
    pub number: u32,
    /// Which it is.
    #[n(1)]
    pub inventory: InventoryId,
    /// The machine that it is on; empty until that said so.
    #[n(2)]
    pub machine: String,
    /// The version that it runs.
    #[n(3)]
    pub version: String,
    /// When it speaks again, at the latest.
    #[n(4)]
    pub every_seconds: u64,
    /// When it last said that it is there.
    #[n(5)]
    pub heard_at: Option<Timestamp>,
    /// When it said the first thing, by the stream's time, if this hub heard it begin. Of what was said before, a stream that
    /// holds the newest alone does not tell.
    #[n(6)]
    pub first_at: Option<Timestamp>,
    /// When it said the last thing about a finding or a scope, give or take a minute.
    #[n(7)]
    pub last_at: Timestamp,
    /// What became of the configuration that it was offered last.
    #[n(8)]
    pub offer: Option<Outcome>,
}

impl SiteRecord {
    /// Those who spoke for the site before, once whoever speaks for it now has done so alone for as long as `span`, by the
    /// stream's own time. Who said something after the present one had begun is none of them: the present one may not have told
    /// everything since.
    pub fn former(&self, span: Duration) -> impl Iterator<Item = &Teller> {
        let present = self.present();
        let is_former = move |teller: &&Teller| {
            let known = present.and_then(|present| Some((present.number, present.heard_at?, present.first_at?)));
            let Some((present, heard_at, first_at)) = known else { return false };
            present != teller.number
                && teller.last_at < first_at
                && heard_at.since(teller.heard_at.map_or(teller.last_at, |at| at.max(teller.last_at))) > span
        };
        self.tellers.iter().filter(is_former)
    }

    /// The one that speaks for the site: the last that said that it is there, else the last that said anything.
    pub fn present(&self) -> Option<&Teller> {
        self.tellers.iter().max_by_key(|teller| (teller.heard_at, teller.number))
    }
}
