//! Settings: their names, defaults, checks and what they are for.

use super::fleet::offer::signers;
use super::limits;
use super::networks::Networks;

/// A setting that the product knows.
#[derive(Debug)]
pub struct Known {
    /// Its name.
    pub key: &'static str,
    /// Its value while nobody has set one.
    pub default: Option<&'static str>,
    /// What it is, for a person.
    pub help: &'static str,
    /// Says what is wrong with a value.
    pub check: fn(&str) -> Result<(), String>,
}

/// A setting by name.
pub fn known(key: &str) -> Option<&'static Known> {
    KNOWN.iter().find(|known| known.key == key)
}

/// Whose configuration this box takes from its fleet.
pub const FLEET_SIGNER: &str = "fleet-signer";
/// MiB that the log of changes may take.
pub const KEEP_CHANGES: &str = "keep-changes-mib";
/// Days that closed findings are kept.
pub const KEEP_CLOSED: &str = "keep-closed-days";
/// Days that webhook calls are kept.
pub const KEEP_DELIVERIES: &str = "keep-delivery-days";
/// Days that a pull request is kept which Sonar does not list any more.
pub const KEEP_RETIRED: &str = "keep-retired-days";
/// What is logged.
pub const LOG_LEVEL: &str = "log-level";
/// The address at which Sonar reaches the webhook listener.
pub const PUBLIC_URL: &str = "public-url";
/// Whether bodies of webhook calls are sealed.
pub const SEAL_BODIES: &str = "seal-bodies";
/// Threads that read Sonar.
pub const SYNC_WORKERS: &str = "sync-workers";
/// Free space below which nothing new is taken in, MiB.
pub const FREE_SPACE_MIN: &str = "free-space-min-mib";
/// Minutes between two looks at a project's branches.
pub const POLL_MINUTES: &str = "poll-minutes";
/// Minutes after which a branch is read again without being asked to.
pub const REREAD_MINUTES: &str = "reread-minutes";
/// Hours after which a branch is read whole again without being asked to.
pub const WHOLE_HOURS: &str = "whole-read-hours";
/// Branches of up to so many open findings are always read whole.
pub const WHOLE_MAX: &str = "whole-read-max";
/// Requests to one source in a minute.
pub const REQUESTS_PER_MINUTE: &str = "requests-per-minute";
/// Seconds to leave a source alone after HTTP 429 or 503 that does not say for how long.
pub const PAUSE_SECONDS: &str = "pause-seconds";
/// Proxies whose word about addresses counts.
pub const TRUSTED_PROXIES: &str = "trusted-proxies";
/// What becomes of webhook calls from outside the networks that may send them.
pub const NETWORKS_MODE: &str = "webhook-networks-mode";
/// A value of [`NETWORKS_MODE`].
pub const REFUSE: &str = "refuse";

const _: () = assert!(limits::FREE_SPACE_BYTES_MIN == 64 * 1024 * 1024, "the table's default is the limit's");

/// All of them by name.
pub const KNOWN: &[Known] = &[
    Known {
        key: FLEET_SIGNER,
        default: None,
        help: "whose configuration this box takes from its fleet: the key that `hydrophone fleet key` printed, several with commas; nobody's without it",
        check: |value| signers(value).map(drop),
    },
    Known {
        key: FREE_SPACE_MIN,
        default: Some("64"),
        help: "free space on the state folder's disk, in MiB, below which webhooks are answered 503",
        check: |value| number(value, 1, 1_000_000),
    },
    Known {
        key: KEEP_CHANGES,
        default: Some("128"),
        help: "MiB that the history of changes may take; beyond it the oldest changes are deleted first",
        check: |value| number(value, 1, 1_000_000),
    },
    Known {
        key: KEEP_CLOSED,
        default: Some("400"),
        help: "days after which a closed finding is deleted, and a branch that Sonar does not list any more",
        check: |value| number(value, 1, 36_500),
    },
    Known {
        key: KEEP_DELIVERIES,
        default: Some("30"),
        help: "days after which a webhook call is deleted from the log; beyond 256 MiB the oldest go sooner",
        check: |value| number(value, 1, 36_500),
    },
    Known {
        key: KEEP_RETIRED,
        default: Some("30"),
        help: "days after which a pull request is deleted, with its findings, that Sonar does not list any more",
        check: |value| number(value, 1, 36_500),
    },
    Known {
        key: LOG_LEVEL,
        default: Some("info"),
        help: "what is logged: error, warn, info, debug or trace, for parts such as info,hydrophone::work=debug; HYDROPHONE_LOG wins over it",
        check: check_log_level,
    },
    Known {
        key: PAUSE_SECONDS,
        default: Some("60"),
        help: "seconds to leave a source alone after HTTP 429 or 503 that does not say for how long; doubles while it goes on",
        check: |value| number(value, 1, 3600),
    },
    Known {
        key: POLL_MINUTES,
        default: Some("15"),
        help: "minutes between two looks at a project's branches and their last analyses",
        check: |value| number(value, 1, 1440),
    },
    Known {
        key: PUBLIC_URL,
        default: None,
        help: "the address at which Sonar reaches the webhook listener, such as https://hooks.example.com",
        check: check_url,
    },
    Known {
        key: REQUESTS_PER_MINUTE,
        default: Some("300"),
        help: "requests that one source is sent in a minute at most",
        check: |value| number(value, 10, 100_000),
    },
    Known {
        key: REREAD_MINUTES,
        default: Some("60"),
        help: "minutes after which a branch is read again although nothing was heard of it; the most that it may be stale",
        check: |value| number(value, 5, 10_080),
    },
    Known {
        key: SEAL_BODIES,
        default: Some("no"),
        help: "yes seals the bodies of webhook calls that come from then on; those that are there stay as they are",
        check: |value| if ["yes", "no"].contains(&value) { Ok(()) } else { Err("must be yes or no".to_owned()) },
    },
    Known {
        key: SYNC_WORKERS,
        default: Some("3"),
        help: "scopes that are read at the same time, 1 to 16; takes effect at the next start",
        check: |value| number(value, 1, 16),
    },
    Known {
        key: TRUSTED_PROXIES,
        default: None,
        help: "proxies in front of this box, as networks with commas, such as 10.0.0.7,192.0.2.0/28; the address that they add to X-Forwarded-For counts instead of their own",
        check: check_proxies,
    },
    Known {
        key: NETWORKS_MODE,
        default: Some("log"),
        help: "what becomes of webhook calls from outside the networks that the file webhook-networks names: log only counts and logs them, refuse also refuses them",
        check: |value| match value {
            "log" | REFUSE => Ok(()),
            _ => Err("must be log or refuse".to_owned()),
        },
    },
    Known {
        key: WHOLE_HOURS,
        default: Some("24"),
        help: "hours after which a large branch is read whole, and not only what Sonar says has changed",
        check: |value| number(value, 1, 720),
    },
    Known {
        key: WHOLE_MAX,
        default: Some("5000"),
        help: "branches of up to so many open findings are always read whole, larger ones mostly by what changed",
        check: |value| number(value, 0, 1_000_000),
    },
];

fn number(value: &str, least: u64, most: u64) -> Result<(), String> {
    match value.parse::<u64>() {
        Ok(number) if (least..=most).contains(&number) => Ok(()),
        _ => Err(format!("must be a number from {least} to {most}")),
    }
}

fn check_proxies(value: &str) -> Result<(), String> {
    if value.split(',').count() > limits::TRUSTED_PROXIES_MAX {
        return Err(format!("names at most {} networks", limits::TRUSTED_PROXIES_MAX));
    }
    let named = Networks::parse_list(value).map_err(|bad| format!("names networks with commas: {bad}"))?;
    if named.has_nearly_all() {
        let why = "names nearly everybody, and then each caller chooses the address that it is known by";
        return Err(format!("{why}: name the proxies alone, such as 10.0.0.7 or 192.0.2.0/28"));
    }
    Ok(())
}

/// Checks what chooses the lines of the log: a level, or levels of parts of the program.
fn check_log_level(value: &str) -> Result<(), String> {
    let is_level = |level: &str| ["off", "error", "warn", "info", "debug", "trace"].contains(&level);
    let is_part = |part: &str| {
        !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b':' | b'-'))
    };
    let is_right = value.len() <= 500
        && value.split(',').all(|one| match one.split_once('=') {
            Some((part, level)) => is_part(part) && is_level(level),
            None => is_level(one),
        });
    if is_right {
        Ok(())
    } else {
        Err("must be error, warn, info, debug or trace, or parts with one such as info,hydrophone::work=debug"
            .to_owned())
    }
}

/// Checks an address that others shall reach us at: http or https, a host, no path that ends in a slash is needed.
pub fn check_url(value: &str) -> Result<(), String> {
    let rest = value.strip_prefix("https://").or_else(|| value.strip_prefix("http://"));
    let host = rest.map(|rest| rest.split('/').next().unwrap_or_default());
    if value.chars().any(|c| c.is_whitespace() || c.is_control()) || value.contains(['?', '#', '@']) {
        return Err("must be a plain address without query, fragment or user".to_owned());
    }
    // Sonar takes addresses of up to 512 characters; the endpoint's part has 39.
    match host {
        Some(host) if !host.is_empty() && value.len() <= 470 => Ok(()),
        Some(_) => Err("must name a host and have at most 470 characters".to_owned()),
        None => Err("must begin with https:// (or http:// behind a tunnel that adds TLS)".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trusted_proxy_is_not_everybody() {
        for good in ["", "10.0.0.7", "10.0.0.0/8", "192.0.2.0/28,2001:db8::/32", "2001::/16"] {
            assert_eq!(check_proxies(good), Ok(()), "{good}");
        }
        for bad in ["0.0.0.0/0", "::/0", "10.0.0.7,128.0.0.0/1", "10.0.0.0/7", "2000::/15", "::ffff:0:0/96"] {
            let told = check_proxies(bad).unwrap_err();
            assert!(told.contains("nearly everybody") && told.contains("such as 10.0.0.7"), "{bad}: {told}");
        }
    }

    #[test]
    fn a_log_level_is_a_level_or_levels_of_parts() {
        for good in ["info", "debug", "off", "info,hydrophone::work=debug", "warn,hydrophone=trace,redb=off"] {
            assert_eq!(check_log_level(good), Ok(()), "{good}");
        }
        for bad in ["", "loud", "INFO", "info,", "=debug", "a b=info", "hydrophone=loud", "info;debug"] {
            assert!(check_log_level(bad).is_err(), "{bad}");
        }
    }
}
