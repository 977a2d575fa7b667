//! The box itself: its clock, store, disk and certificate, what it knows to be wrong, and its destinations.

use super::Notes;
use crate::admin::{Admin, Problem, status};
use crate::domain::certificate::{Origin, nearing};
use crate::domain::clock::Standing;
use crate::domain::condition::{Condition, Urgency};
use crate::domain::destination::Destination;
use crate::domain::ids::DestinationId;
use crate::domain::limits;
use crate::domain::settings::FREE_SPACE_MIN;
use crate::domain::time::Timestamp;
use crate::store::settings::{self, CERTIFICATE};
use crate::store::{StoreError, catalogue, destinations};
use crate::sys::wear::{self, Wear};
use crate::sys::{clock, tls};

/// `running` tells whether this is the daemon itself, which knows what its listeners show.
pub(super) fn look(admin: &Admin, running: bool, notes: &Notes) {
    notes.ok("daemon", versions());
    the_clock(admin, notes);
    store(admin, notes);
    disk(admin, notes);
    certificate(admin, running, notes);
    if running {
        trusted(admin, notes);
        fetched(admin, notes);
        for (check, text) in admin.border.described() {
            notes.ok(check, text);
        }
    }
    key(admin, notes);
    conditions(admin, notes);
}

fn versions() -> String {
    let system = rustix::system::uname();
    format!(
        "hydrophone {} for {}, on {} {}",
        env!("CARGO_PKG_VERSION"),
        std::env::consts::ARCH,
        system.sysname().to_string_lossy(),
        system.release().to_string_lossy()
    )
}

fn the_clock(admin: &Admin, notes: &Notes) {
    match admin.work.clock_standing() {
        Standing::Confirmed => notes.ok("clock", format!("{} is confirmed by a source", clock::now())),
        // The sources' own lines compare it.
        Standing::Unconfirmed => notes.unknown("clock", format!("{}; no source has confirmed it yet", clock::now())),
        Standing::Wrong(wrong) => {
            if let Some(condition) = Standing::Wrong(wrong).condition() {
                notes.fault("clock", condition.text, condition.remedy);
            }
        }
    }
}

fn store(admin: &Admin, notes: &Notes) {
    let damaged = admin.store.damaged();
    match admin.store.read::<_, StoreError>(|view| settings::value(view, FREE_SPACE_MIN)) {
        Err(error) => {
            let remedy = "look after the disk (dmesg, journalctl -u hydrophone); what was acknowledged is not lost";
            return notes.fault("store", format!("the database does not answer: {error}"), remedy);
        }
        Ok(_) if damaged > 0 => {
            let text = format!("{damaged} values were met damaged since the start, and passed over");
            notes.fault("store", text, "check the disk; `hydrophone sync --full` reads the findings anew");
        }
        Ok(_) => {}
    }
    if damaged == 0 {
        notes.ok("store", format!("the database answers; {}", size(admin)));
    }
}

/// The file's size. How much of it is in use is counted in small files alone: that reads all of it, and nobody else has it
/// meanwhile.
fn size(admin: &Admin) -> String {
    let bytes = admin.store.file_bytes();
    let mib = bytes.map_or_else(|| "its size is not known".to_owned(), |bytes| format!("{} MiB", bytes >> 20));
    let is_small = bytes.is_some_and(|bytes| bytes <= limits::COMPACT_FILE_BYTES_MAX);
    match is_small.then(|| admin.store.size()) {
        Some(Ok(size)) => format!("{mib}, of which {} MiB are in use", size.live >> 20),
        _ => mib,
    }
}

fn disk(admin: &Admin, notes: &Notes) {
    let folder = admin.store.folder();
    let least = admin.store.read::<_, StoreError>(|view| settings::number_of(view, FREE_SPACE_MIN));
    let least = least.unwrap_or(limits::FREE_SPACE_BYTES_MIN >> 20);
    match wear::space(folder) {
        None => notes.unknown("disk", format!("the space on the disk of {} cannot be seen", folder.display())),
        Some((free, all)) => {
            let free_mib = free >> 20;
            let text = format!("{free_mib} MiB of {} MiB are free where {} is", all >> 20, folder.display());
            if free_mib < least {
                notes.fault("disk", format!("{text}: webhooks are answered 503"), "free some space on that disk");
            } else if free_mib < least.saturating_mul(4) {
                let remedy = format!("free some space: below {least} MiB webhooks are answered 503");
                notes.warning("disk", text, remedy);
            } else {
                notes.ok("disk", text);
            }
        }
    }
    match wear::of_folder(folder) {
        Wear::Used { percent, reserve_low } => {
            let text = match percent {
                0..=100 => format!("the disk has used up to {percent} % of its life"),
                _ => "the disk has used all of its life as its maker counts it".to_owned(),
            };
            let remedy = "make a backup now (hydrophone backup FILE) and replace the disk";
            if percent > 100 || reserve_low {
                notes.fault("wear", text, remedy);
            } else if percent > 80 {
                notes.warning("wear", text, remedy);
            } else {
                notes.ok("wear", text);
            }
        }
        Wear::Silent(name) => notes.unknown("wear", format!("the disk {name} does not tell how worn it is")),
        Wear::Unknown => notes.unknown("wear", "which disk the state folder lies on cannot be seen from here"),
    }
}

fn certificate(admin: &Admin, running: bool, notes: &Notes) {
    let shown = if running {
        admin.certificate()
    } else {
        // What the listeners show is known to the daemon alone; this is what they show without files of an administrator's.
        let stored = admin.store.read::<_, StoreError>(|view| settings::secret(view, CERTIFICATE));
        stored.ok().flatten().map(|stored| stored.as_bytes().to_vec())
    };
    let Some(shown) = shown else {
        return if running {
            let text = "no listener of this box speaks TLS by itself: that is a proxy's or tunnel's part";
            notes.ok("certificate", text);
        } else {
            notes.unknown("certificate", "which one the listeners show is known while the daemon runs");
        };
    };
    let Some(shown) = tls::describe(&shown) else {
        return notes.fault("certificate", "the one that the listeners show cannot be read", admin.renewal());
    };
    let now = clock::now().0 / 1000;
    let days = match (shown.not_after - now) / 86_400 {
        _ if shown.not_after <= now => format!("ended at {}", Timestamp(shown.not_after.saturating_mul(1000))),
        1 => "1 day left".to_owned(),
        days => format!("{days} days left"),
    };
    let origin =
        admin.certificates.get().and_then(|held| held.shown()).map_or(Origin::Own, |shown| shown.chosen().origin);
    let time = |seconds: i64| Timestamp(seconds.saturating_mul(1000));
    let nearing = nearing(origin, time(shown.not_before), time(shown.not_after), time(now));
    let names = if shown.names.is_empty() { "no name".to_owned() } else { shown.names.join(", ") };
    let text = format!("good for {names}, {}; {days}", kind(&shown));
    let text = if running { text } else { format!("{text} (the box's own; files may stand before it)") };
    match nearing {
        Some(Urgency::Error) => notes.fault("certificate", text.as_str(), admin.renewal()),
        Some(_) => notes.warning("certificate", text.as_str(), admin.renewal()),
        None if of_certificate(admin).is_empty() => notes.ok("certificate", text.as_str()),
        None => {}
    }
    for condition in of_certificate(admin) {
        let text = format!("{}; {text}", condition.text);
        match condition.urgency {
            Urgency::Error => notes.fault("certificate", text, condition.remedy),
            _ => notes.warning("certificate", text, condition.remedy),
        }
    }
}

/// What else is wrong with the one that is shown.
fn of_certificate(admin: &Admin) -> Vec<Condition> {
    let held = admin.certificates.get();
    let conditions = held.into_iter().flat_map(|held| held.conditions());
    conditions.filter(|one| OF_CERTIFICATE.contains(&one.code)).collect()
}

const OF_CERTIFICATE: [&str; 2] = ["certificate_unfit", "certificate_name"];

/// On which way SonarQube trusts this box.
fn trusted(admin: &Admin, notes: &Notes) {
    let sources = admin.store.read::<_, StoreError>(catalogue::sources).unwrap_or_default();
    let cloud = sources.iter().any(|source| source.cloud);
    // Where there are both, what is to be done for either.
    let whose = (!sources.is_empty() && sources.iter().all(|source| source.cloud == cloud)).then_some(cloud);
    let way = admin.way_told(whose);
    match way.remedy {
        None => notes.ok("way", way.text),
        Some(remedy) => notes.warning("way", way.text, remedy),
    }
}

/// How the certificate is fetched, where it is. That it cannot be is a condition.
fn fetched(admin: &Admin, notes: &Notes) {
    let Some(Ok(Some(told))) = admin.certificates.get().map(|held| held.fetching()) else { return };
    let of = format!("for {} from {}", told.acme.domains.join(", "), told.acme.directory);
    match (&told.fetched, told.working, told.tried.tries().failed) {
        (_, true, _) => notes.unknown("acme", format!("the server is being asked {of}")),
        (_, false, 1..) => {}
        (Some((at, _)), false, 0) => {
            notes.ok("acme", format!("fetched {of} at {at}; the next time at {}", told.next));
        }
        (None, false, 0) => notes.warning("acme", format!("no certificate was fetched yet {of}"), told.reach),
    }
}

fn kind(shown: &tls::Described) -> String {
    match (shown.self_signed, shown.subject.as_str()) {
        (true, tls::OWN_SUBJECT) => "made by this box itself".to_owned(),
        (true, _) => "signed by itself".to_owned(),
        (false, _) => format!("issued by {}", shown.issuer),
    }
}

/// What seals the secrets, and nothing of it.
fn key(admin: &Admin, notes: &Notes) {
    match admin.store.key() {
        Ok(key) => {
            let kind = if key.is_credential { "a credential of the service manager" } else { "a file" };
            let place = key.file.map(|file| format!(", {}", file.display())).unwrap_or_default();
            notes.ok("key", format!("secrets are encrypted at rest with the key {} ({kind}{place})", key.id));
        }
        // A condition of its own says what to do.
        Err(StoreError::Locked(locked)) => notes.unknown("key", format!("the box is locked: {locked}")),
        Err(error) => notes.unknown("key", error.to_string()),
    }
}

fn conditions(admin: &Admin, notes: &Notes) {
    // Those that are lines of their own already.
    let told = ["certificate_ended", "certificate_ends", "clock_wrong", "disk_full", "store_damaged", "store_failed"];
    let is_told = |code: &str| told.contains(&code) || OF_CERTIFICATE.contains(&code);
    for condition in status::whole(admin).conditions.into_iter().filter(|one| !is_told(&one.code)) {
        match condition.severity.as_str() {
            "error" => notes.fault("condition", condition.text, condition.remedy),
            "warning" => notes.warning("condition", condition.text, condition.remedy),
            _ => {}
        }
    }
}

pub(super) fn destination(admin: &Admin, id: DestinationId, destination: &Destination, notes: &Notes) {
    let secret = match admin.store.read::<_, StoreError>(|view| destinations::secret(view, id)) {
        Ok(secret) => secret,
        Err(error) => return notes.unknown("destination", format!("its secret cannot be read: {error}")),
    };
    let mut platform = match admin.deliver.open(destination, secret.as_ref()) {
        Ok(platform) => platform,
        Err(error) => return notes.fault("destination", error.0, "hydrophone destination edit --help"),
    };
    match platform.check() {
        Ok(lines) => {
            for line in lines {
                let text = format!("{}: {}", line.what, line.text);
                if line.good {
                    notes.ok("destination", text);
                } else {
                    notes.fault("destination", text, "hydrophone destination edit --help");
                }
            }
        }
        Err(trouble) => {
            let problem = Problem::from(trouble);
            let usual = || {
                format!(
                    "see that it runs and that this box reaches it; its address or proxy is changed by: hydrophone destination \
                     edit {}",
                    destination.name
                )
            };
            notes.fault("destination", problem.detail(), problem.hint().map_or_else(usual, str::to_owned));
        }
    }
}
