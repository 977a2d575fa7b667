//! Reads a scope whole, page by page, and stages what differs from the inventory. Rows that are as they are stored leave
//! nothing behind but a bit in memory. How far it has come is noted now and then, and when it is interrupted, so that
//! the next attempt goes on there.

use super::WorkError;
use super::progress::Step;
use super::sources::Connected;
use super::sync::{Reading, hash, is_same_store};
use crate::domain::crawl::{Ask, Crawl, Gathered, Incomplete, List, Page, Row, Snapshot};
use crate::domain::finding::{Kind, Observed};
use crate::domain::limits;
use crate::domain::reconcile::Staged;
use crate::domain::schedule::Reason;
use crate::domain::time::Timestamp;
use crate::sonar::FindingsPage;
use crate::sonar::dialect::Dialect;
use crate::store::records::Underway;
use crate::store::{Begun, StoreError, crawls, findings};

/// What came of reading the whole.
pub(super) struct Crawled {
    pub(super) gathered: Gathered,
    pub(super) proof: Result<Snapshot, Incomplete>,
    /// When the crawl began, perhaps in a former attempt.
    pub(super) began_at: Timestamp,
    pub(super) watermark: Option<Timestamp>,
}

/// Reads the whole, from the beginning or from where a former attempt was interrupted.
pub(super) fn read(reading: &Reading) -> Result<Crawled, WorkError> {
    let mut underway = match resumed(reading)? {
        Some(underway) => underway,
        None => begin(reading)?,
    };
    let mut pages = 0;
    // While a page is being staged, the next one is fetched.
    let mut staging = None;
    // A kill must not cost an import what it has read; what nobody waits for is not worth the disk's wear.
    let durable = !matches!(reading.due.reason, Reason::Sweep | Reason::Whole);
    while underway.crawl.next().is_some() {
        if let Err(error) = step(reading, &mut underway, &mut staging) {
            // Not worth an error of its own: without the note the crawl begins anew.
            // After an error of the store it would say of a page that it was staged, and it may not be.
            let staged = end(&mut staging).is_ok();
            if underway.crawl.read() == 0 || !staged || matches!(error, WorkError::Store(_)) {
                return Err(error);
            }
            let step = Step { interrupted: pages > 0, ..progress(&underway.crawl) };
            match note(reading, underway, true) {
                Ok(_) => reading.work.progress.set(reading.id, step),
                Err(problem) => tracing::debug!("how far a read has come could not be noted: {problem}"),
            }
            return Err(error);
        }
        pages += 1;
        if underway.crawl.pages().is_multiple_of(limits::PAGES_PER_NOTE) && underway.crawl.next().is_some() {
            end(&mut staging)?;
            underway = note(reading, underway, durable)?;
        }
    }
    end(&mut staging)?;
    let Underway { crawl, gathered, began_at, watermark, .. } = underway;
    Ok(Crawled { gathered, proof: crawl.finish(), began_at, watermark })
}

/// Goes on with a crawl that was interrupted not long ago, if nothing speaks against it.
fn resumed(reading: &Reading) -> Result<Option<Underway>, WorkError> {
    let Some(underway) = reading.work.store.read(|view| crawls::underway(view, reading.id))? else { return Ok(None) };
    let now = reading.work.clock.now();
    let fresh = underway.noted_at <= now && now.since(underway.noted_at) <= limits::CRAWL_KEPT;
    let same = underway.words == words(reading) && underway.analysed_at == reading.standing.analysed_at;
    // Whoever asked since wants to know what was there then, also where a first attempt at it failed or a webhook's
    // reason took the place of theirs.
    let due = reading.due;
    let asked = due.reason < Reason::Sweep && due.ticket != underway.ticket
        || reading.deliveries.iter().any(|delivery| !underway.deliveries.contains(delivery));
    let lists = reading.connected.dialect.lists();
    Ok((fresh && same && !asked).then(|| Underway { crawl: underway.crawl.resume(lists), ..underway }))
}

fn begin(reading: &Reading) -> Result<Underway, WorkError> {
    reading.clear()?;
    Ok(Underway {
        crawl: Crawl::new(reading.connected.dialect.lists()),
        gathered: Gathered::default(),
        began_at: reading.began_at,
        noted_at: reading.began_at,
        analysed_at: reading.standing.analysed_at,
        // By Sonar's clock, as its dates are. A Server that does not say the time has at least been analysed then.
        watermark: reading.connected.client.server_date().or(reading.standing.analysed_at),
        words: words(reading),
        deliveries: reading.deliveries.clone(),
        ticket: reading.due.ticket,
    })
}

/// A digest of how the source is asked.
fn words(reading: &Reading) -> u64 {
    hash(&format!("{:?}", reading.connected.dialect))
}

fn note(reading: &Reading, underway: Underway, durable: bool) -> Result<Underway, WorkError> {
    let (id, now) = (reading.id, reading.work.clock.now());
    let (store, reopened) = (reading.work.store.clone(), reading.reopened);
    let batch = move |batch: &mut crate::store::Batch| {
        is_same_store(&store, reopened)?;
        let underway = Underway { noted_at: now, ..underway };
        crawls::note(batch, id, &underway)?;
        Ok::<_, WorkError>(underway)
    };
    if durable { reading.work.store.write(batch) } else { reading.work.store.write_unsynced(batch) }
}

/// A page on its way into the store.
type Staging = Option<Begun<(), StoreError>>;

/// Waits until the page is staged. Nothing may say so before.
fn end(staging: &mut Staging) -> Result<(), WorkError> {
    Ok(staging.take().map_or(Ok(()), Begun::wait)?)
}

/// Fetches the next page and takes it in.
fn step(reading: &Reading, underway: &mut Underway, staging: &mut Staging) -> Result<(), WorkError> {
    reading.may_go_on()?;
    let ask = underway.crawl.next().expect("the caller looked");
    let Connected { client, dialect } = &*reading.connected;
    let (organization, project) = (&reading.project.organization.key, &reading.project.key);
    let page = client.list(*dialect, organization, project, &reading.scope_ref, &ask)?;
    tell(&mut underway.crawl, *dialect, &ask, &page);
    let changed = gather(reading, page, &mut underway.gathered)?;
    // One at a time, so that no more than two pages are in memory.
    end(staging)?;
    *staging = reading.begin_to_stage(changed);
    reading.work.progress.set(reading.id, progress(&underway.crawl));
    Ok(())
}

/// Tells a crawl of the page that it asked for.
pub(super) fn tell(crawl: &mut Crawl, dialect: Dialect, ask: &Ask, page: &FindingsPage) {
    let rows: Vec<Row> = page
        .findings
        .iter()
        .map(|row| Row {
            key: hash(&row.key),
            created_at: row.created_at,
            path: if ask.list == List::Hotspots { row.path.as_deref() } else { None },
        })
        .collect();
    let values = ask.facet.and_then(|facet| page.facet(facet.name())).unwrap_or_default();
    let sum = ask.facet.and_then(|_| page.by_status(|status| dialect.counts(&ask.slice, status)));
    crawl.page(&Page { rows: page.rows, total: page.total, sum, values, keys: &rows });
}

fn progress(crawl: &Crawl) -> Step {
    Step { read: crawl.read(), expected: crawl.expected(), interrupted: false }
}

/// What differs from the inventory.
fn gather(reading: &Reading, page: FindingsPage, gathered: &mut Gathered) -> Result<Vec<Staged>, WorkError> {
    for row in &page.findings {
        if let Some(rule) = &row.rule
            && !gathered.rules.contains(rule)
        {
            gathered.rules.insert(rule.clone());
        }
        if row.state.is_closed() {
            gathered.closed.insert(hash(&row.key));
        } else if row.kind == Kind::Vulnerability && gathered.canary.is_none() {
            gathered.canary = Some(row.key.clone());
        }
    }
    gathered.odd_words.extend(page.odd_words);
    gathered.odd_words = std::mem::take(&mut gathered.odd_words).into_iter().take(ODD_WORDS_MAX).collect();
    differing(reading, page.findings, |slot| gathered.met.mark(slot))
}

/// The rows that are not stored as they are. `met` is told the place of each one that is stored.
pub(super) fn differing(
    reading: &Reading,
    rows: Vec<Observed>,
    mut met: impl FnMut(u32) -> bool,
) -> Result<Vec<Staged>, WorkError> {
    let id = reading.id;
    let stored = reading.work.store.read(|view| findings::with_keys(view, id, rows.iter().map(|row| &row.key)))?;
    let mut changed = Vec::new();
    for (row, stored) in rows.into_iter().zip(stored) {
        match stored {
            Some(stored) => {
                met(stored.slot);
                if stored.observed != row {
                    changed.push(Staged::Seen(Box::new(row)));
                }
            }
            // What was closed before it was ever held is not worth staging.
            None if row.state.is_closed() => {}
            None => changed.push(Staged::Seen(Box::new(row))),
        }
    }
    Ok(changed)
}

/// Words of Sonar's kept with a scope.
pub(super) const ODD_WORDS_MAX: usize = 10;
