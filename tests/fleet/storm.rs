//! Everything that can break between boxes, server and hubs, in an order that a seed decides: killed, cut off, silent, back. When
//! all is well again, both hubs hold the union of what the boxes hold. `HYDROPHONE_SEED` repeats a run and
//! `HYDROPHONE_STORM_STEPS` makes it longer.

use std::sync::Arc;

use super::hub::{source, wait_union};
use super::relay::{Relay, Way};
use super::server::{Server, confined, hub, usual};
use super::support::gateway::Gateway;
use super::support::sonar::{Issue, Mode, Severity, Sonar};
use super::support::{connect, import};
use super::{join, wait_state};

const SITES: [&str; 3] = ["berlin", "oslo", "quito"];

/// A process that runs, or will again.
enum Life {
    Up(Gateway),
    Down(Arc<tempfile::TempDir>),
}

impl Life {
    fn up(self) -> Self {
        match self {
            Self::Down(folder) => Self::Up(Gateway::start_in(folder, &[]).expect("it starts after every end")),
            up @ Self::Up(_) => up,
        }
    }

    fn down(self, gently: bool) -> Self {
        match self {
            Self::Up(gateway) => Self::Down(if gently { gateway.stop() } else { gateway.kill() }),
            down @ Self::Down(_) => down,
        }
    }

    fn gateway(&self) -> Option<&Gateway> {
        match self {
            Self::Up(gateway) => Some(gateway),
            Self::Down(_) => None,
        }
    }
}

/// One that has a way of its own to the server.
struct Party {
    life: Option<Life>,
    relay: Relay,
}

impl Party {
    fn change(&mut self, change: impl FnOnce(Life) -> Life) {
        self.life = self.life.take().map(change);
    }

    fn gateway(&self) -> Option<&Gateway> {
        self.life.as_ref().and_then(Life::gateway)
    }
}

/// Numbers that follow from a seed (xorshift64*).
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        let number = self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33;
        usize::try_from(number).unwrap() % end
    }
}

pub(super) fn setting(name: &str, otherwise: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(otherwise)
}

#[test]
fn whatever_breaks_both_hubs_come_to_hold_what_the_boxes_hold() {
    let (seed, steps) = (setting("HYDROPHONE_SEED", 20_261_123), setting("HYDROPHONE_STORM_STEPS", 24));
    println!("HYDROPHONE_SEED={seed} HYDROPHONE_STORM_STEPS={steps}");
    let mut dice = Dice(seed.max(1));
    let mut users: Vec<String> = SITES.iter().map(|site| confined(site)).collect();
    users.push(hub());
    let mut server = Server::start(&users);
    server.make(usual());
    let sonars: Vec<Sonar> = SITES.iter().map(|_| model()).collect();
    let mut parties: Vec<Party> =
        sonars.iter().zip(SITES).map(|(sonar, site)| site_box(&server, sonar, site)).collect();
    parties.extend((0..2).map(|_| site_hub(&server)));
    let (mut is_up, mut next) = (true, 0);
    for _ in 0..steps {
        let of = dice.below(parties.len());
        match dice.below(8) {
            0 => parties[of].change(|life| life.down(false)),
            1 => parties[of].change(|life| life.down(true)),
            2 => parties[of].change(Life::up),
            3 => parties[of].relay.set([Way::Cut, Way::Silent][dice.below(2)]),
            4 => parties[of].relay.set(Way::Open),
            5 if is_up => {
                server.kill();
                is_up = false;
            }
            5 => {
                server.again();
                is_up = true;
            }
            _ => {
                let site = dice.below(SITES.len());
                next += 1;
                change(&sonars[site], &mut dice, next);
                if let Some(gateway) = parties[site].gateway() {
                    // It reads Sonar whatever is the matter with the fleet.
                    assert_eq!(gateway.cli(&["sync", "--wait", "--timeout", "30"]).code, 0, "{}", gateway.log());
                }
            }
        }
    }
    if !is_up {
        server.again();
    }
    for party in &mut parties {
        party.relay.set(Way::Open);
        party.change(Life::up);
    }
    let up: Vec<&Gateway> = parties.iter().filter_map(Party::gateway).collect();
    let (boxes, hubs) = up.split_at(SITES.len());
    for gateway in boxes {
        assert_eq!(gateway.cli(&["sync", "--wait", "--timeout", "30"]).code, 0, "{}", gateway.log());
        gateway.json(&["destination", "resume", "fleet"]);
        wait_state(gateway, "up_to_date");
    }
    let sites: Vec<(&str, &Gateway)> = SITES.into_iter().zip(boxes.iter().copied()).collect();
    for hub in hubs {
        hub.json(&["source", "check", "all"]);
        wait_union(hub, &sites);
    }
}

/// A Sonar with two projects.
fn model() -> Sonar {
    let sonar = Sonar::start(Mode::Cloud);
    sonar.edit(|model| {
        for name in ["shop", "desk"] {
            model.add_project("acme", name, name);
            for number in 0..8 {
                let path = format!("src/{name}/{number}.java");
                let issue = Issue::vulnerability("java:S3649", &path, number + 1);
                model.add_issue(name, "main", issue.with_key(&format!("{name}-{number}")));
            }
        }
    });
    sonar
}

/// What an analysis may bring.
fn change(sonar: &Sonar, dice: &mut Dice, next: usize) {
    let name = ["shop", "desk"][dice.below(2)];
    let key = format!("{name}-{}", dice.below(8));
    let severity = [Severity::Blocker, Severity::Minor][dice.below(2)];
    let what = dice.below(3);
    sonar.analyse(name, "main", |analysis| match what {
        0 => analysis.fix(&key),
        1 => analysis.set_severity(&key, severity),
        _ => {
            let issue = Issue::vulnerability("java:S5131", "src/new.java", 7).with_key(&format!("{name}-new-{next}"));
            drop(analysis.open(issue));
        }
    });
}

fn site_box(server: &Server, sonar: &Sonar, site: &str) -> Party {
    let relay = Relay::to(server.port());
    let gateway = Gateway::start();
    connect(&gateway, sonar);
    import(&gateway, "acme", &["shop", "desk"]);
    let said = join(&gateway, &relay.url(), site, &format!("{site}:{site}-secret"), &[]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
    Party { life: Some(Life::Up(gateway)), relay }
}

fn site_hub(server: &Server) -> Party {
    let relay = Relay::to(server.port());
    let gateway = Gateway::start();
    let said = source(&gateway, &relay.url(), "hub:hub-secret", &[]);
    assert_eq!(said.code, 0, "{said:?}\n{}", gateway.log());
    Party { life: Some(Life::Up(gateway)), relay }
}
