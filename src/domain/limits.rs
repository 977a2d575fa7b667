//! Every limit of the product with its reason. Meeting one is an ordinary outcome that the operator can see.

use std::time::Duration;

use super::gate::Budget;
use super::time::Timestamp;

/// When this version was made: a clock that says less is wrong. Written down, as what the compiler's clock says would
/// make every build another one. 2026-11-01.
pub const RELEASED_AT: Timestamp = Timestamp(1_793_491_200_000);

/// How far the clock and a source's may be apart before one of them is wrong, and how far the clock may be set while
/// we run before it has to be confirmed anew.
pub const CLOCK_DIFFERENCE_MAX: Duration = Duration::from_hours(1);

/// A webhook's body. Sonar's are 0.3 to 2 kB; property values of thousands of characters are legal.
pub const WEBHOOK_BODY_BYTES_MAX: usize = 1024 * 1024;

/// Webhook connections open at once. Sonar opens at most ten; the rest is room for a burst on a small box.
pub const WEBHOOK_CONNECTIONS_MAX: usize = 512;

/// Among those, of one address: more than Sonar opens, and a sixteenth of all.
pub const WEBHOOK_CONNECTIONS_PER_SENDER: usize = 32;

/// Connections that were ended to make room and may not have noticed yet, for each listener. With them, both listeners
/// stay below the 1024 open files that a process has by default.
pub const CONNECTIONS_ENDING_MAX: usize = 64;

/// Calls with a wrong signature, of one address. Sonar calls once for each analysis: whoever meets this tries out secrets,
/// or is a whole company's Sonar with a wrong one, whose calls would be refused anyway.
pub const WRONG_SIGNATURES: Budget = Budget { burst: 300, per_minute: 300 };

/// Bytes of bodies that turned out to be worth nothing, of one address.
pub const BYTES_IN_VAIN: Budget = Budget { burst: 64 * 1024 * 1024, per_minute: 60 * 1024 * 1024 };

/// Calls to no endpoint, or that are none of Sonar's, of one address. They cost little, and scanners make many.
pub const STRAY_CALLS: Budget = Budget { burst: 1_000, per_minute: 600 };

/// Connections of one address that ended without a request, failed handshakes among them. A TLS handshake is what a
/// stranger can have us do that costs most; a probe of a load balancer comes every few seconds.
pub const SILENT_CONNECTIONS: Budget = Budget { burst: 300, per_minute: 300 };

/// Lines about strangers that the log is given: whatever they do must not fill a disk.
pub const LINES_ABOUT_STRANGERS: Budget = Budget { burst: 10, per_minute: 10 };

/// Addresses whose budgets are kept in mind; the one that was not heard of for longest is forgotten first. Some 150 bytes
/// each.
pub const SENDERS_MAX: usize = 4096;

/// Networks that the setting of trusted proxies may name.
pub const TRUSTED_PROXIES_MAX: usize = 100;

/// Networks in one list.
pub const NETWORKS_MAX: usize = 10_000;

/// Bytes of a file with a list of networks, comments among them, and of one with authorities.
pub const LIST_BYTES_MAX: u64 = 1024 * 1024;

/// A TLS handshake. Sonar gives up after 10 s.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// One step of a webhook's test: the name, the connection, the answer. Sonar waits as long.
pub const WEBHOOK_TEST_STEP_MAX: Duration = Duration::from_secs(10);

/// What is read of the answer to a webhook's test. Ours has some 30 bytes; somebody else may answer.
pub const WEBHOOK_TEST_ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Secrets of one webhook that are valid together, the present one among them: each call is checked against all.
pub const HOOK_SECRETS_MAX: usize = 4;

/// The former secret of a webhook stays valid for so long unless somebody says otherwise, and at most.
pub const SECRET_OVERLAP: Duration = Duration::from_hours(7 * 24);
/// See [`SECRET_OVERLAP`].
pub const SECRET_OVERLAP_MAX: Duration = Duration::from_hours(90 * 24);

/// So long before a former secret ends that Sonar still signs with, it is a warning.
pub const SECRET_ENDS_SOON: Duration = Duration::from_hours(2 * 24);

/// The first wait after a certificate could not be fetched; it doubles. A public server forgives five failures an hour.
pub const ACME_DELAY_MIN: Duration = Duration::from_mins(5);
/// The longest of these waits: a renewal has a third of the certificate's life for it.
pub const ACME_DELAY_MAX: Duration = Duration::from_hours(12);
/// Attempts to fetch a certificate in a day that nobody asked for.
pub const ACME_TRIES_A_DAY: usize = 8;
/// Attempts in a day with those that people asked for: somebody who mends a router tries more often.
pub const ACME_TRIES_BY_HAND_A_DAY: usize = 20;
/// A server that asks to be left alone is for so long at most.
pub const ACME_WAIT_MAX: Duration = Duration::from_hours(7 * 24);
/// One attempt, with the server's own checks.
pub const ACME_TRY_MAX: Duration = Duration::from_mins(3);
/// One request to an ACME server.
pub const ACME_CALL_MAX: Duration = Duration::from_secs(30);
/// An answer of an ACME server: a chain of certificates is some 5 kB.
pub const ACME_ANSWER_BYTES_MAX: u64 = 256 * 1024;
/// Names of one certificate: what public servers take.
pub const ACME_DOMAINS_MAX: usize = 100;
/// Connections to the plain listener of http-01 at a time: a server asks from a handful of places.
pub const ACME_CONNECTIONS_MAX: usize = 32;
/// Certificates of a chain. Real ones have two to four.
pub const CHAIN_CERTIFICATES_MAX: usize = 10;

/// Reading a request's head, and also how long a kept-alive connection may be idle.
pub const HEADER_WAIT_MAX: Duration = Duration::from_secs(15);

/// Reading a webhook's body from first to last byte.
pub const BODY_WAIT_MAX: Duration = Duration::from_secs(10);

/// Bytes that a request's head may have.
pub const HEADER_BYTES_MAX: usize = 16 * 1024;

/// How long somebody who has connected and not called yet may still do so once the daemon is to stop: Sonar calls once, and
/// whoever is silent must not hold up the next start.
pub const LAST_CALL_MAX: Duration = Duration::from_secs(3);

/// Header lines that a request may have. Sonar sends about eight.
pub const HEADERS_MAX: usize = 64;

/// How long a webhook waits for its commit before it is answered 503. Sonar hangs up after 10 s.
pub const COMMIT_WAIT_MAX: Duration = Duration::from_secs(8);

/// Bodies held while connections are still being read. Beyond it, a call is answered 503, unless it is a small one.
pub const BODIES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// The first bytes of every body, for which there is always room: a Sonar's calls must not wait for those who hold what
/// there is for all. With every connection at this, 9 MiB.
pub const BODY_BYTES_FREE: usize = 16 * 1024;

/// Deliveries that share one commit: enough for a burst, few enough to be answered within a second on a card.
pub const DELIVERIES_PER_COMMIT_MAX: usize = 512;

/// Findings that one transaction may touch. Where disks are quick: a large one costs less for each, as many of them share
/// the pages that it writes.
pub const FINDINGS_PER_COMMIT_MAX: usize = 2000;

/// Findings that every transaction may touch, and the first ones do.
pub const FINDINGS_PER_COMMIT_MIN: usize = 250;

/// A commit cannot be cut short when a webhook comes: after one that took longer than this, the next batch touches half
/// as many findings.
pub const COMMIT_AIM: Duration = Duration::from_millis(100);

/// Time that one batch may hold the writer while no webhook waits. Once one does, the batch is over.
pub const BATCH_MAX: Duration = Duration::from_millis(300);

/// A read or a commit after which its loop counts as one that stands still. The service manager then waits for another
/// minute, which a card that tidies itself up may need.
pub const STORE_STEP_MAX: Duration = Duration::from_secs(5);

/// The same for what needs the whole file, which is small then: a card reads and writes megabytes in a second.
pub const STORE_CHORE_MAX: Duration = Duration::from_mins(5);

/// The same for what an accept loop does between two connections, and for the runtime that answers them.
pub const ACCEPT_STEP_MAX: Duration = Duration::from_secs(5);

/// The longest time that a burst of deliveries may go without a commit from which the store opens at once after a
/// kill (quick repair).
pub const QUICK_REPAIR_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// Two calls without task and time are the same if their bodies are equal and they arrive within this time.
pub const SAME_BODY_WINDOW: Duration = Duration::from_mins(10);

/// The delivery log, all records together. Past it the oldest deliveries go first; a read that one of them waits
/// for stays on the agenda.
pub const DELIVERY_LOG_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// Entries that one transaction of the upkeep deletes.
pub const DELETIONS_PER_COMMIT_MAX: usize = 500;

/// Secrets that one commit seals with another key: a moment's work, and a box has some dozens.
pub const SECRETS_PER_COMMIT_MAX: usize = 100;

/// Sealed bodies of webhook calls that one commit seals with another key; one has a mebibyte at the most.
pub const BODIES_PER_COMMIT_MAX: usize = 50;

/// Webhook calls that are looked at for such bodies before a commit.
pub const DELIVERIES_LOOKED_AT_MAX: usize = 2_000;

/// Free space below which only deletions are admitted, so that the store does not meet a full disk.
pub const FREE_SPACE_BYTES_MIN: u64 = 64 * 1024 * 1024;

/// The store's page cache.
pub const STORE_CACHE_BYTES: usize = 4 * 1024 * 1024;

/// A file up to this size is compacted by itself when little of it is in use: that takes about a second, in
/// which nobody else has the file. A larger one is left as it is; what is free in it is used again.
pub const COMPACT_FILE_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// A file below this size is never worth compacting.
pub const COMPACT_FILE_BYTES_MIN: u64 = 4 * 1024 * 1024;

/// How often it is looked at most whether the file is to be compacted: the look reads all of it. The first comes when
/// the start with its own work is long over.
pub const COMPACT_LOOK_INTERVAL: Duration = Duration::from_hours(24);

/// See [`COMPACT_LOOK_INTERVAL`].
pub const COMPACT_FIRST_LOOK: Duration = Duration::from_hours(1);

/// Rows in one page of Sonar's lists; Sonar's own maximum.
pub const SONAR_PAGE_ROWS: u32 = 500;

/// The window of Sonar's searches: rows past it cannot be read, and Cloud's totals stop at it.
pub const SONAR_WINDOW: u64 = 10_000;

/// The same in pages.
pub const SONAR_WINDOW_PAGES: u32 = 20;

/// Keys that one question about vanished findings names.
pub const SONAR_KEYS_PER_QUESTION: usize = 100;

/// Hotspots whose end is asked for one by one after a snapshot.
pub const HOTSPOT_QUESTIONS_MAX: usize = 50;

/// An answer of Sonar's, unpacked. 500 issues with long flows stay far below it.
pub const SONAR_ANSWER_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Values in an answer of Sonar's: 500 issues with some thousand each, and in memory not much more than a hundred MiB
/// whatever they are.
pub const SONAR_ANSWER_VALUES_MAX: usize = 2_000_000;

/// One text in an answer of Sonar's. The longest is a webhook's body in its log, as text in text.
pub const SONAR_ANSWER_TEXT_BYTES_MAX: usize = 2 * WEBHOOK_BODY_BYTES_MAX;

/// One call to Sonar from connect to last byte.
pub const SONAR_CALL_MAX: Duration = Duration::from_secs(30);

/// What a call over the network may take beyond its own limit before its loop counts as one that stands still: names are
/// looked up and answers read with limits of their own.
pub const CALL_SLACK: Duration = Duration::from_secs(15);

/// Pages of changed issues that are read before the whole is read instead.
pub const RECENT_PAGES_MAX: u32 = 20;

/// Destinations at most: each has a thread and a connection of its own.
pub const DESTINATIONS_MAX: usize = 32;

/// A message to a place that cannot be used, or cannot be read here, or that a platform breaks at, is tried again after
/// this.
pub const DEAD_LETTER_WAIT: Duration = Duration::from_hours(1);

/// What a platform breaks at again and again is tried again after ever longer, up to this.
pub const DEAD_LETTER_WAIT_MAX: Duration = Duration::from_hours(4);

/// How far before the watermark a read of what changed begins: an index takes things in out of order.
pub const RECENT_OVERLAP: Duration = Duration::from_mins(5);

/// A whole read follows so long after one of what had changed.
pub const WHOLE_AFTER: Duration = Duration::from_mins(5);

/// Pages between two notes of how far a crawl has come.
pub const PAGES_PER_NOTE: u32 = 10;

/// A crawl that was interrupted longer ago than this begins anew.
pub const CRAWL_KEPT: Duration = Duration::from_hours(1);

/// How long Sonar keeps its log of webhook calls.
pub const SONAR_LOG_AGE_MAX: Duration = Duration::from_hours(30 * 24);

/// A scope that could not be read completely is read again after this, unless sooner for another reason.
pub const INCOMPLETE_AGAIN: Duration = Duration::from_mins(30);

/// Pages of one crawl: ten million findings. Beyond it the answers make no sense.
pub const CRAWL_PAGES_MAX: u32 = 20_000;

/// Files that one slice of hotspots names: few enough for an address line, many enough to be worth a request.
pub const HOTSPOT_FILES_PER_SLICE: usize = 20;

/// Bytes of the keys and names of all projects that a token sees: some hundred thousand.
pub const PROJECTS_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Pages of organizations that one listing reads (500 rows each).
pub const ORGANIZATION_PAGES_MAX: u32 = 20;

/// Pages of projects that one listing reads (500 rows each).
pub const PROJECT_PAGES_MAX: u32 = 200;

/// Pages that one look at what an import would bring may ask for, all its projects together: 250,000 findings, and a
/// few minutes.
pub const PREVIEW_PAGES_MAX: u32 = 500;

/// How often a crawl whose count did not add up is tried again at once.
pub const CRAWL_ATTEMPTS_MAX: u32 = 3;

/// When Sonar is asked again after a webhook, as the first read may be stale on Cloud.
pub const SECOND_LOOK_AFTER: Duration = Duration::from_mins(1);

/// How often a project's branches are asked for before a delivery for one that is not listed is given up.
pub const DISCOVERIES_MAX: u32 = 6;

/// How often a scope that Sonar no longer shows is asked for before its deliveries are given up.
pub const NOT_SHOWN_ATTEMPTS_MAX: u32 = 8;

/// The longest that any task may lie ahead. One that lies further was planned by a clock that was wrong, and must not
/// wait for as long as that: no delay is longer than an hour.
pub const AGENDA_AHEAD_MAX: Duration = Duration::from_hours(2);

/// The longest pause that is made of its own accord after HTTP 429 or 503, however often they come.
pub const PAUSE_MAX: Duration = Duration::from_mins(10);

/// The longest pause of a whole source that Sonar may ask for.
pub const PAUSE_WISH_MAX: Duration = Duration::from_hours(1);

/// The longest pause that Sonar may ask for.
pub const RETRY_AFTER_MAX: Duration = RETRY_DELAY_MAX;

/// A webhook connection, and one to the page without a login, is ended kindly after this, and then not so kindly: nobody
/// holds a place for ever.
pub const CONNECTION_AGE_MAX: Duration = Duration::from_mins(5);

/// Rows that one page of Sonar's may have, however many were asked for.
pub const SONAR_ANSWER_ROWS_MAX: usize = 10_000;

/// Rows that one page of a list may have that is asked for in pages: twice what is asked for.
pub const SONAR_PAGED_ROWS_MAX: usize = 1_000;

/// How long a suspicious mass closing waits for a second crawl that agrees.
pub const GUARD_WAIT: Duration = Duration::from_mins(10);

/// The first delay after a failed sync; it doubles from there.
pub const RETRY_DELAY_MIN: Duration = Duration::from_secs(5);

/// The longest delay after failed syncs.
pub const RETRY_DELAY_MAX: Duration = Duration::from_hours(1);

/// Rule texts kept per rule; longer ones are cut.
pub const RULE_TEXT_BYTES_MAX: usize = 32 * 1024;

/// A message, path or other text of a finding; longer ones are cut.
pub const FINDING_TEXT_BYTES_MAX: usize = 4000;

/// Flows kept of a finding. Sonar's taint analysis shows one to three of mostly under twenty places; what is more is
/// seldom read and would make stored findings many times as large.
pub const FLOWS_MAX: usize = 8;

/// Places kept of one flow, its first.
pub const FLOW_STEPS_MAX: usize = 32;

/// The text at one place of a flow; longer ones are cut.
pub const FLOW_TEXT_BYTES_MAX: usize = 200;

/// Texts and paths of all flows of a finding: five hundred findings, which one batch or page holds, stay a few MiB.
pub const FLOWS_BYTES_MAX: usize = 8 * 1024;

/// How long the count of a filtered list may take before it is called inexact.
pub const COUNT_MAX: Duration = Duration::from_millis(10);

/// Exports that are written at a time: each holds a thread for as long as its reader takes.
pub const EXPORTS_MAX: usize = 2;

/// Backups and looks at every record, beside exports: who may only look must not keep a backup from being made.
pub const BACKUPS_MAX: usize = 1;

/// Whoever takes nothing of a file for so long gets no more of it.
pub const FILE_STALLED_MAX: Duration = Duration::from_secs(30);

/// Whoever takes a file out more slowly than this many bytes a second gets no more of it either: half a megabit, where 40 MB
/// take ten minutes. A limit for the whole time would cut what is large and not what is slow; and time that the box itself
/// takes does not count.
pub const FILE_BYTES_PER_SECOND_MIN: u64 = 64 * 1024;

/// Findings that are looked through for one page of a list, where no index leads to those that match.
pub const LIST_EXAMINED_MAX: usize = 20_000;

/// Findings that one page of a list may hold.
pub const LIST_ROWS_MAX: usize = 500;

/// Between two copies of what cannot be read from Sonar again; the first comes when the start is long over.
pub const NIGHTLY_INTERVAL: Duration = Duration::from_hours(24);

/// See [`NIGHTLY_INTERVAL`]; and between two tries.
pub const NIGHTLY_FIRST: Duration = Duration::from_hours(1);

/// Rows written while a backup is read that are noted; with more, as where it is written slowly while much is read from
/// Sonar, there is none. As many keys take some 15 MiB.
pub const BACKUP_TOUCHED_MAX: usize = 100_000;

/// From so many on, a backup reads once more what was written meanwhile before it goes on.
pub const BACKUP_TOUCHED_READ: usize = 4_096;

/// What a backup reads in the writer's own turn: some milliseconds.
pub const BACKUP_LAST_ROWS_MAX: usize = 500;

/// Rows, and bytes, that a backup reads at a time.
pub const BACKUP_PAGE_ROWS: usize = 1_000;
/// See [`BACKUP_PAGE_ROWS`].
pub const BACKUP_PAGE_BYTES: usize = 512 * 1024;

/// How much larger than a backup the database may be that is made of it.
pub const BACKUP_GROWS_MAX: u64 = 4;

/// No read transaction outlives this: long readers pin pages of the store.
pub const READ_MAX: Duration = Duration::from_secs(1);

/// A request body of the admin API.
pub const ADMIN_BODY_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Values in such a body: an import of ten thousand projects, with all that can be said of each.
pub const ADMIN_BODY_VALUES_MAX: usize = 200_000;

/// A body of somebody who has not said who they are: a name and a password.
pub const STRANGER_BODY_BYTES_MAX: usize = 16 * 1024;

/// Reads of the store that run for the admin API at once.
pub const ADMIN_READS_MAX: usize = 4;

/// Questions to Sonar and to platforms that wait for an answer for the admin API at once.
pub const ADMIN_QUESTIONS_MAX: usize = 4;

/// Threads of the daemon that may wait for a disk or a network on behalf of the listeners: reads, questions, exports,
/// a backup, a preview of an import, and one to spare.
pub const BLOCKING_THREADS_MAX: usize = ADMIN_READS_MAX + ADMIN_QUESTIONS_MAX + EXPORTS_MAX + BACKUPS_MAX + 2;

/// At the start, everything that is due has its turn within this time, but not all in one moment.
pub const START_SPREAD: Duration = Duration::from_mins(1);

/// The first delay after a round that failed; it doubles from there, up to the round's interval.
pub const ROUND_DELAY_MIN: Duration = Duration::from_mins(1);

/// How often the rounds look in the store for what is new.
pub const ROUNDS_REFRESH: Duration = Duration::from_mins(1);

/// A routine read that changed nothing is known in memory only; it is written down this often, and at a clean stop.
pub const STANDING_FLUSH: Duration = Duration::from_hours(6);

/// How long a condition has to be away before it is told that it is over: a source that answers now and then is no news.
pub const CONDITION_OVER_AFTER: Duration = Duration::from_mins(5);

/// Conditions that are told of at a time. Whoever has more has one trouble.
pub const CONDITIONS_HELD_MAX: usize = 200;

/// Notices of conditions that are kept for destinations that cannot be told now.
pub const NOTICES_KEPT_MAX: usize = 1_000;

/// How long before its end a token is to be replaced.
pub const TOKEN_ENDS_SOON: Duration = Duration::from_hours(14 * 24);

/// For so long after its end an API token is shown as one that ended.
pub const TOKEN_ENDED_SHOWN_FOR: Duration = Duration::from_hours(14 * 24);

/// SonarQube Cloud removes a token that nobody used for 60 days; this long before that somebody should know.
pub const TOKEN_IDLE: Duration = Duration::from_hours(45 * 24);

/// How long a source may fail before that is a condition.
pub const UNREACHABLE_AFTER: Duration = Duration::from_mins(5);

/// A scope counts as stale when it was not proven current for this many times its interval.
pub const STALE_INTERVALS: u32 = 2;

/// Sonar's log of a webhook's calls: rows in a page, and pages that the first look reads.
pub const HOOK_LOG_PAGE_ROWS: u32 = 100;

/// See above.
pub const HOOK_LOG_PAGES_MAX: u32 = 5;

/// Bodies of missed calls that one look fetches; the next look goes on.
pub const HEALED_PER_ROUND_MAX: usize = 100;

/// A token that may not see webhooks is tried again after this, or when it is replaced.
pub const HEAL_REFUSED_FOR: Duration = Duration::from_hours(24);

/// For how long missed webhooks are a condition.
pub const MISSED_SHOWN_FOR: Duration = Duration::from_hours(7 * 24);

/// How long one call to a platform may take. A large import into a large DefectDojo Test takes tens of seconds.
pub const PLATFORM_CALL_MAX: Duration = Duration::from_mins(2);

/// What is read of a platform's answer.
pub const PLATFORM_ANSWER_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Values in a platform's answer: five hundred findings have some ten thousands. Where they are read as they come, each
/// takes some hundred bytes.
pub const PLATFORM_ANSWER_VALUES_MAX: usize = 200_000;

/// One text in a platform's answer: descriptions have some kilobytes.
pub const PLATFORM_ANSWER_TEXT_BYTES_MAX: usize = 1024 * 1024;

/// Findings of one DefectDojo Test that are read: more than one branch has, and some tens of MiB.
pub const DEFECTDOJO_ROWS_MAX: usize = 200_000;

/// Requests to Conviso in a minute. It takes 1,200; a minute that begins with a full budget may see twice the rate.
pub const CONVISO_RATE: super::pace::Rate = super::pace::Rate { per_minute: 600, pause: Duration::from_mins(1) };

/// Issues or assets that Conviso is asked for at once, as its own clients do; a server may give fewer.
pub const CONVISO_PAGE: usize = 100;

/// The same of a server that refuses so many.
pub const CONVISO_PAGE_SMALL: usize = 25;

/// Pages of issues that one walk reads: a million issues.
pub const CONVISO_ISSUE_PAGES_MAX: usize = 10_000;

/// Pages of assets that are looked through.
pub const CONVISO_ASSET_PAGES_MAX: usize = 200;

/// Findings that one request to Conviso tells. Its limit is not documented; a server that takes fewer is told fewer.
pub const CONVISO_BATCH_MAX: usize = 50;

/// Findings that Conviso shows as one sync, which takes two requests beside those that tell them: a half of what is read
/// of the log at once. Where they can only be told one by one, so many take 25 s.
pub const CONVISO_PUSH_MAX: usize = 250;

/// How long an address may take to accept an event, where the operator says nothing else. Standard Webhooks asks for 15
/// to 30 s.
pub const EVENT_CALL_MAX: Duration = Duration::from_secs(20);

/// The most that the operator may say.
pub const EVENT_CALL_OPTION_MAX: Duration = Duration::from_secs(30);

/// An event's body. Standard Webhooks asks for less than about 20 kB, as receivers refuse larger ones.
pub const EVENT_BYTES_MAX: usize = 20_000;

/// CWE numbers that an event names. Rules have one to three.
pub const EVENT_CWE_MAX: usize = 50;

/// Events that are sent before what came of them is written down: each is a call of its own, and after a power cut
/// those since the last commit are sent again.
pub const EVENTS_PER_PUSH_MAX: usize = 20;

/// Messages to a stream of NATS that are under way at once. Each is acknowledged by itself, when it is on the server's disk;
/// after a power cut those since the last commit are told again.
pub const NATS_PER_PUSH_MAX: usize = 250;

/// How long a server of NATS may take to connect, and to acknowledge a message.
pub const NATS_CALL_MAX: Duration = Duration::from_secs(10);

/// How long a batch may take until all of it is acknowledged.
pub const NATS_PUSH_MAX: Duration = Duration::from_secs(25);

/// How often a box says to its fleet that it is there while nothing else is to be said.
pub const FLEET_ALIVE_EVERY: Duration = Duration::from_mins(1);

/// The largest message of a fleet that is looked at, in bytes. Boxes send up to 20 kB, of a condition somewhat more.
pub const FLEET_MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// The longest text of a fleet's message that is taken, in bytes.
pub const FLEET_TEXT_BYTES_MAX: usize = 20_000;

/// Messages of a fleet that are taken in with one commit at most, and how many bytes they may have together.
pub const FLEET_TAKEN_MAX: usize = FINDINGS_PER_COMMIT_MAX;

/// See [`FLEET_TAKEN_MAX`].
pub const FLEET_TAKEN_BYTES_MAX: usize = 2 * 1024 * 1024;

/// A site that has said nothing for this many of its own intervals is silent.
pub const FLEET_SILENT_INTERVALS: u32 = 5;

/// How long a fleet's server may be out of reach before a person is told.
pub const FLEET_UNREACHABLE_AFTER: Duration = Duration::from_mins(5);

/// Inventories that may be told as one site's: each is a box that was set up anew or restored, and is forgotten in time.
pub const FLEET_TELLERS_MAX: usize = 16;

/// Conditions of a site that are kept.
pub const FLEET_CONDITIONS_MAX: usize = 200;

/// A message that stands for nothing any more stays in the stream for so long, for hubs that are away.
pub const FLEET_MESSAGE_KEPT: Duration = Duration::from_hours(90 * 24);

/// Once a box has spoken for a site alone for so long, what another one told as that site's counts no more.
pub const FLEET_FORMER_AFTER: Duration = Duration::from_hours(1);

/// How often it is looked through for numbers of a fleet that stand for nothing any more, and how many are looked at in one go.
pub const FLEET_SWEEP_EVERY: Duration = Duration::from_hours(24);

/// See [`FLEET_SWEEP_EVERY`].
pub const FLEET_SWEPT_MAX: usize = 500;

/// How often it is noted when sites were last heard, where nothing else is noted of them.
pub const FLEET_HEARD_EVERY: Duration = Duration::from_mins(15);

/// How often a fleet is told that a scope was read again, where nothing else about it changed.
pub const FLEET_SCOPE_EVERY: Duration = Duration::from_hours(1);

/// A signed configuration is no longer than this: servers of NATS take messages of 1 MiB where nobody said otherwise.
pub const FLEET_OFFER_BYTES_MAX: usize = 1_000_000;

/// Whose configuration a box takes: somebody's, and the next one's while the key is changed.
pub const FLEET_SIGNERS_MAX: usize = 4;

/// How long after a configuration could not be carried out whole it is tried again.
pub const FLEET_OFFER_AGAIN: Duration = Duration::from_mins(15);

/// How far two clocks may be apart before receivers refuse signatures as too old.
pub const EVENT_CLOCK_DIFFERENCE_MAX: Duration = Duration::from_mins(5);

/// Versions of a SARIF file that may be kept: years of daily analyses, and few enough to list.
pub const SARIF_VERSIONS_MAX: usize = 1000;

/// GitHub refuses a compressed analysis that is larger.
pub const GITHUB_LOG_BYTES_MAX: usize = 10 * 1000 * 1000;

/// GitHub shows no more results of an analysis, and takes the worst.
pub const GITHUB_RESULTS_SHOWN_MAX: u64 = 5000;

/// The waits before GitHub is asked whether an analysis is processed, which mostly takes seconds. After the last, it is
/// asked again when the scope has its next turn.
pub const GITHUB_PROCESSING_WAITS: &[Duration] = &[
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];

/// Days of the trend that are kept: a year and a month to compare with.
pub const TREND_DAYS_MAX: u32 = 400;

/// Logins of one user at a time: several browsers on several machines. One more ends that user's oldest, and nobody else's.
pub const SESSIONS_PER_USER_MAX: usize = 20;

/// Tags that an asset may have.
pub const ASSET_TAGS_MAX: usize = 20;

/// Characters of a tag.
pub const TAG_CHARACTERS_MAX: usize = 50;

/// Entries of the audit log that say what was changed; the oldest go first.
pub const AUDIT_ENTRIES_MAX: u64 = 100_000;

/// Entries beside them that changed nothing: logins, looks, what was refused. They have their own share, so that nobody who
/// may only look has what others changed forgotten.
pub const AUDIT_PASSING_MAX: u64 = 20_000;

/// Connections to the page and the API at a time.
pub const ADMIN_CONNECTIONS_MAX: usize = 128;

/// Among those, of one address: several browsers behind one, each with the six connections that HTTP/1.1 has them open.
pub const ADMIN_CONNECTIONS_PER_SENDER: usize = 48;

/// Requests of one HTTP/2 connection at a time: a browser's tabs share one, and each has one for what is live.
pub const HTTP2_STREAMS_MAX: u32 = 32;

/// Bytes that the head of an HTTP/2 request may have when it is unpacked, and 32 for each line (RFC 9113, section 6.5.2).
pub const HTTP2_HEADER_BYTES_MAX: u32 = 8 * 1024;

/// Reading the body of a request to the page or the API from first to last byte.
pub const ADMIN_BODY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Whether somebody is still there at the other end of an HTTP/2 connection is asked this often.
pub const HTTP2_PING_INTERVAL: Duration = Duration::from_mins(1);
