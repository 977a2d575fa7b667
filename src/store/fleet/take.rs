//! Taking in what boxes say. Each thing is known again by the number that its box gave it, and where that is new, by its
//! names: a box that is set up anew tells the same findings under other numbers. Of two messages about one thing the one that
//! stands later in the stream counts, so that what comes twice, or out of its time, changes nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use minicbor::{Decode, Encode};

use super::super::codec::record;
use super::super::findings::{Inventory, Told};
use super::super::records::{Asset, AtSite, Project, Rule, Scope, Source};
use super::super::tables::{self, Key};
use super::super::{Batch, StoreError, View as _, catalogue, codec, get, keys, scan, trend};
use super::{condition_key, put_position, put_site, site, teller};
use crate::domain::delivery::ScopeRef;
use crate::domain::finding::Finding;
use crate::domain::fleet::hub::{Position, SiteRecord};
use crate::domain::fleet::said::{AliveSaid, FindingSaid, Heard, Names, Origin, Said, ScopeSaid};
use crate::domain::fleet::{InventoryId, Site};
use crate::domain::ids::{
    AssetId, AssetName, FindingId, OrganizationRef, ProjectId, ProjectKey, RuleKey, ScopeId, ScopeName, SourceName,
};
use crate::domain::limits::FLEET_CONDITIONS_MAX;
use crate::domain::selection::Selection;
use crate::domain::time::Timestamp;

/// What one of a box's numbers stands for here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode)]
pub(super) struct Local {
    /// The number here.
    #[n(0)]
    pub(super) number: u64,
    /// The last message about it.
    #[n(1)]
    pub(super) sequence: u64,
    /// Of a finding, the scope that its box holds it in, by the box's number.
    #[n(2)]
    pub(super) scope: u32,
    /// Of which of the streams that bore this name the message's number is.
    #[n(3)]
    pub(super) epoch: u32,
    /// Of a finding, whether it was told as closed.
    #[n(4)]
    pub(super) closed: bool,
    /// When the stream took the message.
    #[n(5)]
    pub(super) at: Timestamp,
}

record!(Local = "number of another box");

/// Characters of a name that are kept where something is put behind it.
const NAME_KEPT: usize = 60;

/// When somebody said the last thing is noted to the minute.
const LAST_APART: Duration = Duration::from_mins(1);

/// That something was passed over is noted to the hour.
const PASSED_OVER_APART: Duration = Duration::from_hours(1);

const PROJECT: u8 = b'P';
pub(super) const SCOPE: u8 = b'S';
pub(super) const FINDING: u8 = b'F';

pub(super) fn id_key(teller: u32, kind: u8, number: u64) -> Key {
    Key::new().u32(teller).byte(kind).u64(number)
}

/// Takes in as many messages from the first on as one batch may, and notes `position` with its sequence at the last of them; where
/// all are taken in, as it is. Returns how many. `is_live` says whether everything before them had been read.
pub fn take(
    batch: &mut Batch,
    (fleet, added_at): (&SourceName, Timestamp),
    (heard, is_live): (&[Heard], bool),
    position: &Position,
    now: Timestamp,
) -> Result<usize, StoreError> {
    // One that was removed and added again is another one.
    if super::fleet(batch, fleet)?.is_none_or(|fleet| fleet.added_at != added_at) {
        return Ok(heard.len());
    }
    let most = heard.len().min(batch.findings_max);
    let mut taking = Taking::new(batch, fleet, (position.epoch, is_live), now)?;
    let mut done = 0;
    for message in &heard[..most] {
        // Messages about scopes may take long; at least one, so that the slowest disk gets there in the end.
        if done > 0 && done % LOOK_EVERY == 0 && batch.is_over() {
            break;
        }
        taking.take(message)?;
        done += 1;
    }
    taking.finish()?;
    let sequence = match done.checked_sub(1) {
        Some(last) if done < heard.len() => heard[last].sequence,
        _ => position.sequence,
    };
    put_position(batch, fleet, &Position { sequence, ..position.clone() })?;
    batch.is_full = done == batch.findings_max;
    Ok(done)
}

/// After so many messages it is looked whether the batch has taken long enough.
const LOOK_EVERY: usize = 16;

struct Taking<'b, 'h> {
    batch: &'b Batch<'b>,
    fleet: &'b SourceName,
    epoch: u32,
    is_live: bool,
    now: Timestamp,
    /// What this box itself tells somebody is nothing to be told.
    own: InventoryId,
    /// Who tells an inventory as a site's: most often one.
    tellers: BTreeMap<InventoryId, Vec<(Site, Option<u32>)>>,
    /// When each said the last thing, and as which site.
    last: BTreeMap<u32, (Site, Timestamp)>,
    /// Whether scopes came or went, so that the trend is to be counted anew.
    has_moved: bool,
    /// By teller and the scope's number there.
    scopes: BTreeMap<(u32, ScopeId), Rc<Place>>,
    /// Rules that were heard of, and whether with their names.
    rules: BTreeMap<SourceName, BTreeMap<RuleKey, bool>>,
    /// The newest term of each site's lease that was heard.
    terms: BTreeMap<Site, u64>,
    /// Sites of which something was passed over, as another source here bears their name.
    passed_over: BTreeSet<Site>,
    /// Findings of each scope that are to be taken in together.
    waiting: BTreeMap<ScopeId, Waiting<'h>>,
}

/// Findings of a scope that are to be taken in together.
struct Waiting<'h> {
    source: SourceName,
    /// Who tells it, with what message.
    told: Vec<(u32, &'h Heard, &'h FindingSaid)>,
}

/// A scope here.
struct Place {
    scope: ScopeId,
    source: SourceName,
}

impl<'b, 'h> Taking<'b, 'h> {
    fn new(
        batch: &'b Batch<'b>,
        fleet: &'b SourceName,
        (epoch, is_live): (u32, bool),
        now: Timestamp,
    ) -> Result<Self, StoreError> {
        Ok(Self {
            is_live,
            own: catalogue::inventory(batch)?,
            last: BTreeMap::new(),
            has_moved: false,
            batch,
            fleet,
            epoch,
            now,
            tellers: BTreeMap::new(),
            scopes: BTreeMap::new(),
            rules: BTreeMap::new(),
            terms: BTreeMap::new(),
            passed_over: BTreeSet::new(),
            waiting: BTreeMap::new(),
        })
    }

    /// Writes what was gathered.
    fn finish(&mut self) -> Result<(), StoreError> {
        self.flush()?;
        for (number, (of, at)) in std::mem::take(&mut self.last) {
            let mut record = site(self.batch, self.fleet, &of)?;
            let Some(teller) = record.tellers.iter_mut().find(|teller| teller.number == number) else { continue };
            if at.since(teller.last_at) >= LAST_APART {
                teller.last_at = at;
                put_site(self.batch, self.fleet, &of, &record)?;
            }
        }
        for of in std::mem::take(&mut self.passed_over) {
            let mut record = site(self.batch, self.fleet, &of)?;
            if record.passed_over_at.is_none_or(|at| self.now.since(at) >= PASSED_OVER_APART) {
                record.passed_over_at = Some(self.now);
                put_site(self.batch, self.fleet, &of, &record)?;
            }
        }
        if self.has_moved { trend::recount(self.batch, self.now) } else { Ok(()) }
    }

    fn take(&mut self, heard: &'h Heard) -> Result<(), StoreError> {
        if let Some(term) = heard.term
            && self.is_overtaken(&heard.site, term)?
        {
            return Ok(());
        }
        match &heard.said {
            Said::Finding(finding) => {
                let Some(teller) = self.speaker(heard, finding.origin.inventory)? else { return Ok(()) };
                let Some(place) = self.place(&heard.site, teller, &finding.origin, &finding.names)? else {
                    return Ok(());
                };
                self.note_rule(&place.source, finding)?;
                let fresh = || Waiting { source: place.source.clone(), told: Vec::new() };
                self.waiting.entry(place.scope).or_insert_with(fresh).told.push((teller, heard, finding));
                Ok(())
            }
            Said::Scope(scope) => {
                let Some(teller) = self.speaker(heard, scope.origin.inventory)? else { return Ok(()) };
                self.stand(teller, heard, scope)
            }
            Said::Gone { inventory, scope } => {
                let Some(teller) = self.speaker(heard, *inventory)? else { return Ok(()) };
                // What was said of it before may wait.
                self.flush()?;
                self.leave(teller, *scope)
            }
            Said::Condition(said) => {
                let key = condition_key(self.fleet, &heard.site, &said.subject);
                if said.ended_at.is_some() {
                    return self.batch.delete(tables::SITE_CONDITIONS, &key);
                }
                let of_site = condition_key(self.fleet, &heard.site, "");
                if keys(self.batch, tables::SITE_CONDITIONS, &of_site, FLEET_CONDITIONS_MAX)?.len()
                    < FLEET_CONDITIONS_MAX
                {
                    self.batch.put(tables::SITE_CONDITIONS, &key, said)?;
                }
                Ok(())
            }
            Said::Alive(said) => self.alive(&heard.site, said, heard.at),
            Said::Ping => Ok(()),
        }
    }

    /// Whether a newer term of a site's lease was heard than this one: it was said by a box that another one had replaced,
    /// and that did not know it yet.
    fn is_overtaken(&mut self, of: &Site, term: u64) -> Result<bool, StoreError> {
        let known = match self.terms.get(of) {
            Some(known) => *known,
            None => site(self.batch, self.fleet, of)?.term,
        };
        if term > known {
            let record = site(self.batch, self.fleet, of)?;
            put_site(self.batch, self.fleet, of, &SiteRecord { term, ..record })?;
        }
        self.terms.insert(of.clone(), known.max(term));
        Ok(term < known)
    }

    fn teller(&mut self, heard: (&Site, Timestamp), inventory: InventoryId) -> Result<Option<u32>, StoreError> {
        if inventory == self.own {
            return Ok(None);
        }
        let known = self.tellers.entry(inventory).or_default();
        if let Some((_, number)) = known.iter().find(|(site, _)| site == heard.0) {
            return Ok(*number);
        }
        let number = teller(self.batch, self.fleet, heard.0, inventory, (heard.1, self.is_live))?;
        known.push((heard.0.clone(), number));
        Ok(number)
    }

    /// Who says something about findings or scopes.
    fn speaker(&mut self, heard: &Heard, inventory: InventoryId) -> Result<Option<u32>, StoreError> {
        let teller = self.teller((&heard.site, heard.at), inventory)?;
        if let Some(number) = teller {
            self.last.entry(number).or_insert_with(|| (heard.site.clone(), heard.at)).1 = heard.at;
        }
        Ok(teller)
    }

    fn alive(&mut self, of: &Site, said: &AliveSaid, at: Timestamp) -> Result<(), StoreError> {
        let Some(number) = self.teller((of, at), said.inventory)? else { return Ok(()) };
        let mut record = site(self.batch, self.fleet, of)?;
        if let Some(teller) = record.tellers.iter_mut().find(|teller| teller.number == number) {
            teller.machine.clone_from(&said.machine);
            teller.version.clone_from(&said.version);
            teller.every_seconds = said.every_seconds;
            teller.offer.clone_from(&said.offer);
            teller.heard_at = teller.heard_at.max(Some(at));
        }
        put_site(self.batch, self.fleet, of, &record)
    }

    /// Whether what is known of something stands later in the stream than a message.
    fn is_later(&self, known: &Local, heard: &Heard) -> bool {
        if known.epoch == self.epoch { known.sequence > heard.sequence } else { known.at > heard.at }
    }

    /// Whether a box tells something here under another of its numbers, too.
    fn has_other(&self, teller: u32, kind: u8, key: &Key, number: u32) -> Result<bool, StoreError> {
        let mut found = false;
        scan::<Local>(self.batch, tables::FLEET_IDS, &Key::new().u32(teller).byte(kind), |other, local| {
            found = local.number == u64::from(number) && other != key.0.as_slice();
            !found
        })?;
        Ok(found)
    }

    /// What a number stands for, before anything was said of it.
    fn unsaid(&self, number: u32) -> Local {
        Local { number: number.into(), sequence: 0, scope: 0, epoch: self.epoch, closed: false, at: Timestamp(0) }
    }

    fn local(&self, key: &Key) -> Result<Option<Local>, StoreError> {
        match get(self.batch, tables::FLEET_IDS, key) {
            // The names say the same.
            Err(StoreError::Damaged { .. }) => Ok(None),
            found => found,
        }
    }

    /// Where a scope of a box is here; made where it is new. Nothing where its names cannot be had here.
    fn place(
        &mut self,
        site: &Site,
        teller: u32,
        origin: &Origin,
        names: &Names,
    ) -> Result<Option<Rc<Place>>, StoreError> {
        if let Some(known) = self.scopes.get(&(teller, origin.scope)) {
            return Ok(Some(Rc::clone(known)));
        }
        let key = id_key(teller, SCOPE, origin.scope.0.into());
        let known = self.local(&key)?.and_then(|local| Some(ScopeId(u32::try_from(local.number).ok()?)));
        let stored = match known {
            Some(scope) => catalogue::scope(self.batch, scope)?.map(|record| (scope, record)),
            None => None,
        };
        let (scope, project) = if let Some((scope, record)) = stored {
            (scope, record.project)
        } else {
            let Some(project) = self.project(site, teller, origin, names)? else { return Ok(None) };
            let scope = self.scope(teller, project, origin, names)?;
            let local = self.unsaid(scope.0);
            self.batch.put(tables::FLEET_IDS, &key, &local)?;
            (scope, project)
        };
        let Some(project) = catalogue::project(self.batch, project)? else { return Ok(None) };
        let place = Rc::new(Place { scope, source: project.organization.source });
        self.scopes.insert((teller, origin.scope), Rc::clone(&place));
        Ok(Some(place))
    }

    fn scope(&self, teller: u32, project: ProjectId, origin: &Origin, names: &Names) -> Result<ScopeId, StoreError> {
        let Some(record) = catalogue::project(self.batch, project)? else { return Err(StoreError::Stale) };
        let told = ScopeRef::Named { kind: names.kind, name: names.scope.clone() };
        let key = id_key(teller, SCOPE, origin.scope.0.into());
        let known = catalogue::scope_id(self.batch, project, &record, &told)?;
        let known = match known {
            Some(scope) if !self.moved_aside(scope, teller, &key)? => Some(scope),
            _ => None,
        };
        let scope = if let Some(scope) = known {
            scope
        } else {
            let scope = Scope::new(project, names.kind, names.scope.clone(), false);
            catalogue::add_scope(self.batch, &scope)?
        };
        if let Some(record) = catalogue::scope(self.batch, scope)?.filter(|record| record.slot_next != teller) {
            catalogue::put_scope(self.batch, scope, &Scope { slot_next: teller, ..record })?;
        }
        if origin.main {
            catalogue::set_main(self.batch, project, Some(&names.scope))?;
        }
        Ok(scope)
    }

    /// Gives a scope another name that the same box knows by another number: it has been renamed there, or is gone, and what
    /// comes says which. True where it was so.
    fn moved_aside(&self, scope: ScopeId, teller: u32, key: &Key) -> Result<bool, StoreError> {
        if !self.has_other(teller, SCOPE, key, scope.0)? {
            return Ok(false);
        }
        let Some(record) = catalogue::scope(self.batch, scope)? else { return Ok(false) };
        let kept: String = record.name.as_str().chars().take(NAME_KEPT).collect();
        let Ok(name) = ScopeName::parse(&format!("{kept} (was {scope})")) else { return Ok(false) };
        catalogue::rename_scope(self.batch, scope, &name)
    }

    /// The same for a project.
    fn project_aside(&self, project: ProjectId, teller: u32, key: &Key) -> Result<bool, StoreError> {
        if !self.has_other(teller, PROJECT, key, project.0)? {
            return Ok(false);
        }
        let Some(record) = catalogue::project(self.batch, project)? else { return Ok(false) };
        let kept: String = record.key.as_str().chars().take(NAME_KEPT).collect();
        let Ok(name) = ProjectKey::parse(&format!("{kept}:was:{project}")) else { return Ok(false) };
        catalogue::readdress_project(self.batch, project, (&record.organization, &name))
    }

    /// A project of a box, made where it is new.
    fn project(
        &mut self,
        site: &Site,
        teller: u32,
        origin: &Origin,
        names: &Names,
    ) -> Result<Option<ProjectId>, StoreError> {
        let key = id_key(teller, PROJECT, origin.project.0.into());
        if let Some(local) = self.local(&key)?
            && let Ok(number) = u32::try_from(local.number)
            && catalogue::project(self.batch, ProjectId(number))?.is_some()
        {
            return Ok(Some(ProjectId(number)));
        }
        let Some(organization) = self.organization(site, names)? else { return Ok(None) };
        let known = catalogue::project_id(self.batch, &organization, &names.project)?;
        let known = match known {
            Some(project) if !self.project_aside(project, teller, &key)? => Some(project),
            _ => None,
        };
        let project = if let Some(project) = known {
            project
        } else {
            let project = Project {
                organization,
                key: names.project.clone(),
                name: names.project.to_string(),
                asset: self.asset(site, names)?,
                selection: Selection::default(),
                main: None,
                imported_at: self.now,
                error: None,
                moved: None,
                repository: None,
            };
            catalogue::add_project(self.batch, &project)?
        };
        let local = self.unsaid(project.0);
        self.batch.put(tables::FLEET_IDS, &key, &local)?;
        Ok(Some(project))
    }

    /// The asset of a box. Each site has its own, so that none can put something into another's; whoever wants them together
    /// moves the projects.
    fn asset(&self, site: &Site, names: &Names) -> Result<AssetId, StoreError> {
        let kept: String = names.asset.as_str().chars().take(NAME_KEPT).collect();
        let name = AssetName::parse(&format!("{kept} ({site})")).unwrap_or_else(|_| names.asset.clone());
        match catalogue::asset_named(self.batch, &name)? {
            Some(asset) => Ok(asset),
            None => catalogue::add_asset(self.batch, &Asset::new(name, self.now)),
        }
    }

    /// An organization of a box, whose source is made here where it is new. Nothing where another fleet has a site of this
    /// name, or the name comes to be too long.
    fn organization(&mut self, site: &Site, names: &Names) -> Result<Option<OrganizationRef>, StoreError> {
        let Ok(name) = names.source.at_site(site) else { return Ok(None) };
        match catalogue::source(self.batch, &name)? {
            Some(source) if source.at.as_ref().is_none_or(|at| at.fleet != *self.fleet) => {
                self.passed_over.insert(site.clone());
                return Ok(None);
            }
            Some(_) => {}
            None => {
                let at = AtSite { fleet: self.fleet.clone(), site: site.clone() };
                catalogue::put_source(self.batch, &Source::at_site(name.clone(), at), None)?;
            }
        }
        Ok(Some(OrganizationRef { source: name, key: names.organization.clone() }))
    }

    /// Notes how a scope stands, and the names that its box knows it by.
    fn stand(&mut self, teller: u32, heard: &Heard, said: &ScopeSaid) -> Result<(), StoreError> {
        let key = id_key(teller, SCOPE, said.origin.scope.0.into());
        if self.local(&key)?.is_some_and(|local| self.is_later(&local, heard)) {
            return Ok(());
        }
        let Some(place) = self.place(&heard.site, teller, &said.origin, &said.names)? else { return Ok(()) };
        let local = Local { sequence: heard.sequence, at: heard.at, ..self.unsaid(place.scope.0) };
        self.batch.put(tables::FLEET_IDS, &key, &local)?;
        let Some(record) = catalogue::scope(self.batch, place.scope)? else { return Ok(()) };
        self.name((&heard.site, teller), &place, &record, said)?;
        let Some(record) = catalogue::scope(self.batch, place.scope)? else { return Ok(()) };
        let was_retired = record.retired_at.is_some();
        let scope = Scope {
            slot_next: teller,
            analysed_at: said.analysed_at,
            // Nothing was read after it was told.
            synced_at: said.synced_at.min(Some(heard.at)),
            crawled_at: said.synced_at.min(Some(heard.at)),
            complete: said.complete,
            sonar_total: said.sonar_total,
            retired_at: said.retired_at,
            ..record
        };
        catalogue::put_scope(self.batch, place.scope, &scope)?;
        self.has_moved |= was_retired != scope.retired_at.is_some();
        Ok(())
    }

    /// Gives source, project and scope the names and addresses that are said of them.
    fn name(
        &mut self,
        (site, teller): (&Site, u32),
        place: &Place,
        scope: &Scope,
        said: &ScopeSaid,
    ) -> Result<(), StoreError> {
        let names = &said.names;
        let Some(organization) = self.organization(site, names)? else { return Ok(()) };
        if let Some(source) = catalogue::source(self.batch, &organization.source)?
            && (&source.url, source.cloud) != (&said.url, said.cloud)
        {
            let source = Source { url: said.url.clone(), cloud: said.cloud, ..source };
            catalogue::put_source(self.batch, &source, None)?;
        }
        let Some(project) = catalogue::project(self.batch, scope.project)? else { return Ok(()) };
        if (&project.organization, &project.key) != (&organization, &names.project) {
            self.flush()?;
            catalogue::readdress_project(self.batch, scope.project, (&organization, &names.project))?;
            self.scopes.clear();
        }
        if let Some(project) = catalogue::project(self.batch, scope.project)?
            && (&project.name, &project.repository) != (&said.project_name, &said.repository)
        {
            let (name, repository) = (said.project_name.clone(), said.repository.clone());
            catalogue::put_project(self.batch, scope.project, &Project { name, repository, ..project })?;
        }
        if scope.name != names.scope && !catalogue::rename_scope(self.batch, place.scope, &names.scope)? {
            // Another one of the box bears it, and has another name by now or is gone.
            let told = ScopeRef::Named { kind: names.kind, name: names.scope.clone() };
            let key = id_key(teller, SCOPE, said.origin.scope.0.into());
            let record = catalogue::project(self.batch, scope.project)?;
            let other = match &record {
                Some(record) => catalogue::scope_id(self.batch, scope.project, record, &told)?,
                None => None,
            };
            if let Some(other) = other
                && self.moved_aside(other, teller, &key)?
            {
                catalogue::rename_scope(self.batch, place.scope, &names.scope)?;
            }
        }
        if said.origin.main != scope.main && said.origin.main {
            catalogue::set_main(self.batch, scope.project, Some(&names.scope))?;
        }
        Ok(())
    }

    /// Forgets a scope that its box does not hold any more, unless another inventory tells it by now.
    fn leave(&mut self, teller: u32, scope: ScopeId) -> Result<(), StoreError> {
        let key = id_key(teller, SCOPE, scope.0.into());
        let Some(local) = self.local(&key)? else { return Ok(()) };
        self.batch.delete(tables::FLEET_IDS, &key)?;
        let id = ScopeId(u32::try_from(local.number).unwrap_or_default());
        let Some(record) = catalogue::scope(self.batch, id)?.filter(|record| record.slot_next == teller) else {
            return Ok(());
        };
        self.scopes.retain(|_, place| place.scope != id);
        self.has_moved = true;
        catalogue::drop_scope(self.batch, id, self.now)?;
        match catalogue::project(self.batch, record.project)? {
            Some(_) if catalogue::scopes(self.batch, record.project)?.is_empty() => {
                catalogue::remove_project(self.batch, record.project, self.now)?;
            }
            Some(project) if project.main == Some(id) => {
                catalogue::put_project(self.batch, record.project, &Project { main: None, ..project })?;
            }
            _ => {}
        }
        Ok(())
    }

    /// Notes what a rule is called. Each site's rules are its own: none can name another's. A finding whose message is the
    /// rule's name does not tell that it has one, and takes none away.
    fn note_rule(&mut self, source: &SourceName, finding: &FindingSaid) -> Result<(), StoreError> {
        let Some(key) = &finding.observed.rule else { return Ok(()) };
        let seen = match self.rules.get_mut(source) {
            Some(seen) => seen,
            None => self.rules.entry(source.clone()).or_default(),
        };
        let is_named = finding.rule_name.is_some();
        match seen.get_mut(key) {
            Some(was_named) if *was_named || !is_named => return Ok(()),
            Some(was_named) => *was_named = is_named,
            None => drop(seen.insert(key.clone(), is_named)),
        }
        let known = match catalogue::rule(self.batch, source, key) {
            Err(StoreError::Damaged { .. }) => None,
            found => found?,
        };
        let name = finding.rule_name.clone().or_else(|| known.as_ref()?.name.clone());
        let is_known = known.as_ref().is_some_and(|rule| (&rule.name, &rule.cwe) == (&name, &finding.cwe));
        if is_known || (name.is_none() && finding.cwe.is_empty()) {
            return Ok(());
        }
        let cwe = finding.cwe.clone();
        catalogue::put_rule(self.batch, source, key, &Rule { name, cwe, description: None, read_at: self.now })
    }

    /// Takes in the findings that wait, scope by scope.
    fn flush(&mut self) -> Result<(), StoreError> {
        let waiting = std::mem::take(&mut self.waiting);
        let Some((first, Waiting { source, .. })) = waiting.first_key_value() else { return Ok(()) };
        let mut ids = self.batch.rows(tables::FLEET_IDS)?;
        let mut inventory = Inventory::open(self.batch, *first, source)?;
        for (scope, Waiting { source, told }) in &waiting {
            inventory.turn(*scope, source);
            for &(teller, heard, said) in told {
                use redb::ReadableTable;
                let key = id_key(teller, FINDING, said.id.0);
                let known = ids.get(key.0.as_slice())?.and_then(|row| codec::open::<Local>(&key.0, row.value()).ok());
                if known.is_some_and(|known| self.is_later(&known, heard)) {
                    continue;
                }
                let finding = Told {
                    known: known.map(|known| FindingId(known.number)),
                    observed: &said.observed,
                    first_seen_at: said.first_seen_at,
                    teller,
                    at: heard.at,
                };
                let Finding { id, .. } = inventory.take(&finding, self.now)?;
                let local = Local {
                    number: id.0,
                    sequence: heard.sequence,
                    scope: said.origin.scope.0,
                    epoch: self.epoch,
                    closed: said.observed.state.is_closed(),
                    at: heard.at,
                };
                ids.insert(key.0.as_slice(), codec::seal(&key.0, &local).as_slice())?;
            }
        }
        drop(ids);
        inventory.finish(self.batch)
    }
}
