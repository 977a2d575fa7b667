//! The tables and their keys. Keys order as their bytes do: numbers big-endian, names ended by a NUL, which no
//! name contains.

use redb::TableDefinition;

use crate::domain::time::Timestamp;

/// Every table maps bytes to bytes: the form of both is ours, see [`super::codec`].
pub(super) type Table = TableDefinition<'static, &'static [u8], &'static [u8]>;

/// Name → number or record: schema version, counters.
pub(super) const META: Table = Table::new("meta");
/// Setting → value.
pub(super) const SETTINGS: Table = Table::new("settings");
/// Purpose → secret bytes: tokens, webhook secrets, private keys.
pub(super) const SECRETS: Table = Table::new("secrets");
/// Source → record.
pub(super) const SOURCES: Table = Table::new("sources");
/// Source, organization, project or nothing → hook record.
pub(super) const HOOKS: Table = Table::new("hooks");
/// Asset number → record.
pub(super) const ASSETS: Table = Table::new("assets");
/// Asset name → number.
pub(super) const ASSET_NAMES: Table = Table::new("asset_names");
/// Project number → record.
pub(super) const PROJECTS: Table = Table::new("projects");
/// Source, organization, key → project number.
pub(super) const PROJECT_NAMES: Table = Table::new("project_names");
/// Scope number → record.
pub(super) const SCOPES: Table = Table::new("scopes");
/// Project number, kind, name → scope number.
pub(super) const SCOPE_NAMES: Table = Table::new("scope_names");
/// Number of a scope whose findings are to be deleted → its source.
pub(super) const DISCARDED: Table = Table::new("discarded");
/// Source, rule → record.
pub(super) const RULES: Table = Table::new("rules");

/// Delivery number → record; one appended record is inbox and log together.
pub(super) const DELIVERIES: Table = Table::new("deliveries");
/// Delivery number → how it was settled.
pub(super) const SETTLEMENTS: Table = Table::new("settlements");
/// Project number, delivery number → the scope that waits to be read.
pub(super) const PENDING: Table = Table::new("pending");
/// Identity of a call → delivery number.
pub(super) const CALLS: Table = Table::new("calls");
/// Task → when and why.
pub(super) const AGENDA: Table = Table::new("agenda");

/// Scope number, issue key → what a crawl learnt.
pub(super) const STAGING: Table = Table::new("staging");
/// Scope number → a sealed crawl that is being applied.
pub(super) const CRAWLS: Table = Table::new("crawls");

/// Scope number → how far a crawl has come, so that it goes on there.
pub(super) const READINGS: Table = Table::new("readings");

/// Scope number, issue key → finding.
pub(super) const FINDINGS: Table = Table::new("findings");
/// Finding number → scope number, issue key.
pub(super) const FINDING_IDS: Table = Table::new("finding_ids");
/// Closed, severity, newest first, finding number → scope number, issue key.
pub(super) const ORDER: Table = Table::new("order");
/// Scope number, then as [`ORDER`] → issue key.
pub(super) const SCOPE_ORDER: Table = Table::new("scope_order");
/// Closed, path, line, finding number → scope number, kind, state, severity.
pub(super) const PATHS: Table = Table::new("paths");
/// When it was closed, scope number, issue key → nothing: what is closed, the longest closed first.
pub(super) const CLOSED: Table = Table::new("closed");
/// Word, text → nothing.
pub(super) const WORDS: Table = Table::new("words");
/// Text, finding number → nothing.
pub(super) const TEXTS: Table = Table::new("texts");
/// Scope number (0 for all), kind, state, severity → how many.
pub(super) const COUNTS: Table = Table::new("counts");
/// Day → how many were open, opened and fixed, see [`super::trend`].
pub(super) const TREND: Table = Table::new("trend");
/// Change number → record.
pub(super) const CHANGES: Table = Table::new("changes");
/// Finding number, change number → nothing.
pub(super) const FINDING_CHANGES: Table = Table::new("finding_changes");

/// Finding number → a decision that Sonar was told, and that no read has shown yet.
pub(super) const DECISIONS: Table = Table::new("decisions");

/// Destination number → record.
pub(super) const DESTINATIONS: Table = Table::new("destinations");
/// Destination number → how far it has come.
pub(super) const PROGRESS: Table = Table::new("destination_progress");
/// Destination number, scope number → where the scope's findings go there.
pub(super) const TARGETS: Table = Table::new("destination_targets");
/// Destination number, finding number → what the platform knows of it.
pub(super) const REMOTES: Table = Table::new("remotes");
/// Destination number, the platform's id → finding number.
pub(super) const REMOTE_IDS: Table = Table::new("remote_ids");
/// Destination number, finding number → why the platform refuses it.
pub(super) const DEAD_LETTERS: Table = Table::new("dead_letters");
/// Destination number, finding number → a decision made there that Sonar is to be told of.
pub(super) const ORDERS: Table = Table::new("orders");

/// Fleet → record.
pub(super) const FLEETS: Table = Table::new("fleets");
/// Fleet → how far it was read.
pub(super) const FLEET_POSITIONS: Table = Table::new("fleet_positions");
/// Fleet, site → what is known of it.
pub(super) const SITES: Table = Table::new("sites");
/// Fleet, site, what its message is known by → a condition of its box.
pub(super) const SITE_CONDITIONS: Table = Table::new("site_conditions");
/// Number of who tells it, kind, number there → number here.
pub(super) const FLEET_IDS: Table = Table::new("fleet_ids");

/// User name → record.
pub(super) const USERS: Table = Table::new("users");
/// SHA-256 of what the browser holds → login.
pub(super) const SESSIONS: Table = Table::new("sessions");
/// SHA-256 of an API token → record.
pub(super) const TOKENS: Table = Table::new("tokens");
/// Token name → SHA-256.
pub(super) const TOKEN_NAMES: Table = Table::new("token_names");
/// Number → who did what; behind all those, a mark and the number → what changed nothing.
pub(super) const AUDIT: Table = Table::new("audit");

/// All of them: made when the file is, so that a reader never meets a table that is not there.
pub(super) const ALL: &[Table] = &[
    META,
    SETTINGS,
    SECRETS,
    SOURCES,
    HOOKS,
    ASSETS,
    ASSET_NAMES,
    PROJECTS,
    PROJECT_NAMES,
    SCOPES,
    SCOPE_NAMES,
    DISCARDED,
    RULES,
    DELIVERIES,
    SETTLEMENTS,
    PENDING,
    CALLS,
    AGENDA,
    STAGING,
    CRAWLS,
    READINGS,
    FINDINGS,
    FINDING_IDS,
    ORDER,
    SCOPE_ORDER,
    PATHS,
    CLOSED,
    WORDS,
    TEXTS,
    COUNTS,
    TREND,
    CHANGES,
    FINDING_CHANGES,
    DECISIONS,
    DESTINATIONS,
    PROGRESS,
    TARGETS,
    REMOTES,
    REMOTE_IDS,
    DEAD_LETTERS,
    ORDERS,
    FLEETS,
    FLEET_POSITIONS,
    SITES,
    SITE_CONDITIONS,
    FLEET_IDS,
    USERS,
    SESSIONS,
    TOKENS,
    TOKEN_NAMES,
    AUDIT,
];

/// Those that lead to others' rows, and can be made of them: what they hold has no checksum of its own.
pub(super) const INDEXES: &[Table] = &[FINDING_IDS, ORDER, SCOPE_ORDER, PATHS, CLOSED, WORDS, TEXTS, FINDING_CHANGES];

/// Puts a key together.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Key(pub(super) Vec<u8>);

impl Key {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(32))
    }

    pub(super) fn byte(mut self, byte: u8) -> Self {
        self.0.push(byte);
        self
    }

    pub(super) fn u32(mut self, number: u32) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    pub(super) fn u64(mut self, number: u64) -> Self {
        self.0.extend_from_slice(&number.to_be_bytes());
        self
    }

    /// A time, in bytes that order like it.
    pub(super) fn time(self, time: Timestamp) -> Self {
        self.u64(time.0.cast_unsigned() ^ (1 << 63))
    }

    /// A name that others may follow.
    pub(super) fn name(mut self, name: &str) -> Self {
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(0);
        self
    }

    /// Bytes up to the key's end.
    pub(super) fn tail(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The first key that does not begin like this one.
    pub(super) fn end(&self) -> Option<Vec<u8>> {
        let mut end = self.0.clone();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                return Some(end);
            }
        }
        None
    }
}

/// Reads numbers back from a key; nothing if the key is too short.
pub(super) fn u32_at(key: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_be_bytes(key.get(at..at + 4)?.try_into().ok()?))
}

/// See [`u32_at`].
pub(super) fn u64_at(key: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_be_bytes(key.get(at..at + 8)?.try_into().ok()?))
}

/// Reads a time back from a key.
pub(super) fn time_at(key: &[u8], at: usize) -> Option<Timestamp> {
    Some(Timestamp((u64_at(key, at)? ^ (1 << 63)).cast_signed()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_before_1970_order_before_those_after_it() {
        let times = [i64::MIN, -1, 0, 1, i64::MAX].map(Timestamp);
        let keys = times.map(|time| Key::new().time(time));
        assert!(keys.is_sorted());
        assert_eq!(keys.map(|key| time_at(&key.0, 0)), times.map(Some));
    }

    #[test]
    fn keys_order_as_their_parts_do() {
        let key = |number, name: &str| Key::new().u32(number).name(name);
        let mut keys = vec![key(2, "a"), key(1, "ab"), key(256, "a"), key(1, "a"), key(1, "b")];
        keys.sort();
        assert_eq!(keys, [key(1, "a"), key(1, "ab"), key(1, "b"), key(2, "a"), key(256, "a")]);
    }

    #[test]
    fn the_end_of_a_prefix_is_the_first_key_past_it() {
        assert_eq!(Key::new().byte(1).byte(255).end(), Some(vec![2]));
        assert_eq!(Key::new().byte(255).end(), None);
        assert!(Key::new().u32(7).tail(&[255; 9]).0 < Key::new().u32(7).end().unwrap());
    }

    /// A name as any may be: of any characters but zero, which no name has.
    fn name() -> impl proptest::strategy::Strategy<Value = String> {
        use proptest::strategy::Strategy as _;
        let character = proptest::prop_oneof![proptest::char::range('\u{1}', '\u{3}'), proptest::char::range('a', 'c')];
        proptest::collection::vec(character, 0..6).prop_map(String::from_iter)
    }

    proptest::proptest! {
        /// Rows lie in the file by the bytes of their keys, and lists are read in that order.
        #[test]
        fn keys_order_as_their_parts_do_whatever_those_are(
            one in (0..4_u32, name(), proptest::num::i64::ANY, 0..4_u64),
            other in (0..4_u32, name(), proptest::num::i64::ANY, 0..4_u64),
        ) {
            let key = |of: &(u32, String, i64, u64)| Key::new().u32(of.0).name(&of.1).time(Timestamp(of.2)).u64(of.3);
            proptest::prop_assert_eq!(key(&one).cmp(&key(&other)), one.cmp(&other));
            let bytes = key(&one).0;
            let numbers = 4 + one.1.len() + 1;
            proptest::prop_assert_eq!(u32_at(&bytes, 0), Some(one.0));
            proptest::prop_assert_eq!(time_at(&bytes, numbers), Some(Timestamp(one.2)));
            proptest::prop_assert_eq!(u64_at(&bytes, numbers + 8), Some(one.3));
            proptest::prop_assert_eq!(u64_at(&bytes, numbers + 9), None);
        }

        /// Everything that begins with a prefix lies before its end, and everything else does not.
        #[test]
        fn the_end_of_a_prefix_parts_what_begins_with_it_from_the_rest(
            prefix in proptest::collection::vec(250..=255_u8, 0..4),
            key in proptest::collection::vec(250..=255_u8, 0..6),
        ) {
            let lies_within = key >= prefix && Key(prefix.clone()).end().is_none_or(|end| key < end);
            proptest::prop_assert_eq!(lies_within, key.starts_with(&prefix));
        }
    }
}
