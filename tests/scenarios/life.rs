//! A gateway without threads between the simulated SonarQube and a platform, on a clock that the test turns: a week
//! passes in a moment, and what is due is done meanwhile.

use std::collections::BTreeMap;
use std::time::Duration;

use hydrophone::domain::destination::{Destination, PlatformKind};
use hydrophone::domain::ids::{DestinationId, DestinationName, ProjectId};
use hydrophone::domain::schedule::Reason;
use hydrophone::store::destinations::Progress;
use hydrophone::store::records::SecretBytes;
use hydrophone::store::{StoreError, destinations};
use hydrophone::work::Stepped;
use hydrophone::work::deliver::{Deliver, Runner, Turn};

use crate::support::conviso::Conviso;
use crate::support::defectdojo::DefectDojo;
use crate::support::inside::Inside;
use crate::support::sonar::{Issue, Mode, Sonar};

/// A finding on a platform: its state in our words, its severity in the platform's, its line.
pub type There = BTreeMap<String, (String, String, u64)>;

/// See the module.
pub struct Life {
    pub sonar: Sonar,
    pub inside: Inside,
    pub id: DestinationId,
    project: ProjectId,
    runner: Runner,
}

impl Life {
    /// A project `shop` with findings of these keys, on lines 1, 2 and so on, all of them told to the platform.
    pub fn begun(kind: PlatformKind, url: String, secret: &str, keys: &[&str]) -> Self {
        let sonar = Sonar::start(Mode::Cloud);
        sonar.edit(|model| {
            model.add_project("acme", "shop", "Web shop");
            for (line, key) in (1..).zip(keys) {
                model.add_issue("shop", "main", Issue::vulnerability("java:S3649", "src/a.java", line).with_key(key));
            }
        });
        let inside = Inside::connected(&sonar, sonar.token());
        let project = inside.import("shop", &["main"]);
        let name = DestinationName::parse(kind.as_str()).unwrap();
        let mut destination = Destination::new(name, kind, url, inside.clock.now());
        destination.triage_from_sonar = true;
        if kind == PlatformKind::Conviso {
            destination.options.insert("company".to_owned(), Conviso::COMPANY.to_owned());
        }
        let secret = SecretBytes::new(secret.as_bytes().to_vec());
        let add =
            inside.store.write::<_, StoreError>(move |batch| destinations::add(batch, &destination, Some(&secret)));
        let id = add.unwrap();
        let runner = Runner::new(Deliver::new(inside.work.clone()), id);
        let mut life = Self { sonar, inside, id, project, runner };
        life.settle();
        life
    }

    /// Does all that is due.
    pub fn settle(&mut self) {
        for _ in 0..10_000 {
            let worked = self.inside.work.step().unwrap() == Stepped::Worked;
            if self.runner.step().unwrap() != Turn::Worked && !worked {
                return;
            }
        }
        panic!("there is no end of work");
    }

    /// Lets time pass, and does what is due meanwhile.
    pub fn pass(&mut self, span: Duration) {
        let end = self.inside.clock.steady() + span;
        while self.inside.clock.steady() < end {
            self.inside.clock.advance(end.saturating_sub(self.inside.clock.steady()).min(Duration::from_hours(1)));
            self.settle();
        }
    }

    /// Has the branch read whole.
    pub fn sync(&mut self) {
        self.inside.ask(self.project, Reason::Full);
        self.settle();
    }

    /// What is held of the branch, such as `A open`.
    pub fn held(&self) -> Vec<String> {
        self.inside.states(self.project, "main")
    }

    pub fn progress(&self) -> Progress {
        let id = self.id;
        self.inside.store.read(|view| destinations::progress(view, id)).unwrap()
    }

    pub fn letters(&self) -> usize {
        let id = self.id;
        self.inside.store.read(|view| destinations::dead_letters(view, id, None, 10)).unwrap().len()
    }

    /// Ends the process that tells, and begins it anew: what it had in memory is gone.
    pub fn begin_anew(&mut self) {
        self.runner = Runner::new(Deliver::new(self.inside.work.clone()), self.id);
    }
}

/// What a DefectDojo shows, each key once.
pub fn on_dojo(dojo: &DefectDojo) -> There {
    dojo.edit(|model| {
        let mut there = There::new();
        for one in model.findings.values() {
            let status = &one.status;
            let state = match (status.false_p, status.risk_accepted, status.is_mitigated, status.active) {
                (true, ..) => "false_positive",
                (_, true, ..) => "accepted",
                (_, _, true, false) => "closed",
                (_, _, false, true) => "open",
                _ => "odd",
            };
            let line = one.line.and_then(|line| u64::try_from(line).ok()).unwrap_or_default();
            let key = one.unique_id.clone().unwrap_or_default();
            let former = there.insert(key, (state.to_owned(), one.severity.to_lowercase(), line));
            assert_eq!(former, None, "it is there twice: {one:?}");
        }
        there
    })
}

/// What a Conviso shows, each key once.
pub fn on_conviso(conviso: &Conviso) -> There {
    conviso.edit(|model| {
        let mut there = There::new();
        for one in &model.issues {
            let state = match one.status.as_str() {
                "CREATED" | "IDENTIFIED" => "open",
                "RISK_ACCEPTED" => "accepted",
                "FALSE_POSITIVE" => "false_positive",
                "FIX_ACCEPTED" => "closed",
                _ => "odd",
            };
            let said = |name: &str| one.said.get(name).cloned().unwrap_or_default();
            let line = said("vulnerableLine").parse().unwrap_or_default();
            let key = one.tool_id.clone().unwrap_or_default();
            let former = there.insert(key, (state.to_owned(), said("severity").to_lowercase(), line));
            assert_eq!(former, None, "it is there twice: {one:?}");
        }
        there
    })
}

/// As [`There`], in short.
pub fn there(all: &[(&str, &str, &str, u64)]) -> There {
    let one = |(key, state, severity, line): &(&str, &str, &str, u64)| {
        ((*key).to_owned(), ((*state).to_owned(), (*severity).to_owned(), *line))
    };
    all.iter().map(one).collect()
}
