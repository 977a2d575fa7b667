//! What the form of the projects says: which are chosen, and how each is to come in. Names in the form are `field:KEY`,
//! so that it needs no script and no order.

use std::collections::BTreeMap;

use crate::admin::shapes;

/// How one project is to come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Choice {
    /// Whether it is to come in at all.
    pub(super) chosen: bool,
    /// Names and patterns of branches, with commas between; empty for the main branch.
    pub(super) branches: String,
    /// Whether pull requests come too.
    pub(super) pull_requests: bool,
    /// The asset that exists; empty for a new one.
    pub(super) asset: String,
    /// The new asset's name; empty for the project's own.
    pub(super) new_asset: String,
    /// The clone address of its repository.
    pub(super) repository: String,
}

/// What the form says.
#[derive(Debug, Clone, Default)]
pub(super) struct Chosen {
    pub(super) organization: String,
    /// What is searched for.
    pub(super) search: String,
    /// Which rows are shown: empty for all, `new`, `chosen`.
    pub(super) show: String,
    /// The page of rows, from 1.
    pub(super) page: usize,
    /// What was pressed: `look`, `page-2`, `preview`, `import`.
    pub(super) act: String,
    /// All that are not here yet.
    pub(super) all: bool,
    pub(super) choices: BTreeMap<String, Choice>,
}

impl Chosen {
    /// Reads the pairs of a form.
    pub(super) fn read(pairs: Vec<(String, String)>) -> Self {
        let mut read = Self { page: 1, ..Self::default() };
        for (name, value) in pairs {
            match name.as_str() {
                "organization" => read.organization = value,
                "search" => value.trim().clone_into(&mut read.search),
                "show" => read.show = value,
                "page" => read.page = value.parse().unwrap_or(1),
                "act" => read.act = value,
                "all" => read.all = true,
                "project" => read.choices.entry(value).or_default().chosen = true,
                _ => read.field(&name, value),
            }
        }
        if let Some(page) = read.act.strip_prefix("page-").and_then(|page| page.parse().ok()) {
            read.page = page;
        } else if read.act == "look" {
            read.page = 1;
        }
        read
    }

    fn field(&mut self, name: &str, value: String) {
        let Some((field, key)) = name.split_once(':') else { return };
        let choice = self.choices.entry(key.to_owned()).or_default();
        match field {
            "branches" => value.trim().clone_into(&mut choice.branches),
            "pulls" => choice.pull_requests = true,
            "asset" => choice.asset = value,
            "new-asset" => value.trim().clone_into(&mut choice.new_asset),
            "repository" => value.trim().clone_into(&mut choice.repository),
            _ => {}
        }
    }

    /// The keys that are chosen one by one.
    pub(super) fn keys(&self) -> impl Iterator<Item = &str> {
        self.choices.iter().filter(|(_, choice)| choice.chosen).map(|(key, _)| key.as_str())
    }

    pub(super) fn is_chosen(&self, key: &str) -> bool {
        self.choices.get(key).is_some_and(|choice| choice.chosen)
    }

    pub(super) fn is_empty(&self) -> bool {
        !self.all && self.keys().next().is_none()
    }

    /// The imports that make it so: projects that come in alike are one. With "all", those that were not chosen one by
    /// one and are not here yet are one more.
    pub(super) fn imports(&self, here: &[String]) -> Vec<shapes::NewImport> {
        let mut alike: Vec<(Choice, Vec<String>)> = Vec::new();
        for (key, choice) in self.choices.iter().filter(|(_, choice)| choice.chosen) {
            // A name for a new asset says nothing where there is one.
            let new_asset = if choice.asset.is_empty() { choice.new_asset.clone() } else { String::new() };
            let choice = Choice { new_asset, ..choice.clone() };
            match alike.iter_mut().find(|(known, _)| *known == choice) {
                Some((_, keys)) => keys.push(key.clone()),
                None => alike.push((choice, vec![key.clone()])),
            }
        }
        let filled = |text: String| Some(text).filter(|text| !text.is_empty());
        let mut imports: Vec<_> = alike
            .into_iter()
            .map(|(choice, projects)| shapes::NewImport {
                organization: self.organization.clone(),
                projects,
                branches: branches(&choice.branches),
                pull_requests: choice.pull_requests,
                asset: filled(choice.asset),
                new_asset: filled(choice.new_asset),
                repository: filled(choice.repository),
                ..shapes::NewImport::default()
            })
            .collect();
        if self.all {
            let except = self.keys().map(str::to_owned).chain(here.iter().cloned()).collect();
            let organization = self.organization.clone();
            imports.push(shapes::NewImport { organization, all: true, except, ..shapes::NewImport::default() });
        }
        imports
    }
}

fn branches(text: &str) -> Vec<String> {
    text.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(pairs: &[(&str, &str)]) -> Chosen {
        Chosen::read(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn projects_that_come_in_alike_are_one_import() {
        let chosen = read(&[
            ("organization", "eu/acme"),
            ("project", "a:1"),
            ("project", "b"),
            ("project", "c"),
            ("branches:a:1", " "),
            ("branches:c", "main, release/*,"),
            ("pulls:c", "on"),
            ("asset:c", "Till"),
            ("new-asset:c", "not this one"),
            ("branches:d", "shown, not chosen"),
        ]);
        let imports = chosen.imports(&[]);
        let told: Vec<_> =
            imports.iter().map(|one| (one.projects.clone(), one.branches.clone(), one.pull_requests)).collect();
        let list = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        assert_eq!(told, [(list(&["a:1", "b"]), vec![], false), (list(&["c"]), list(&["main", "release/*"]), true),]);
        assert_eq!((imports[1].asset.as_deref(), imports[1].new_asset.as_deref()), (Some("Till"), None));
        assert!(imports.iter().all(|one| one.organization == "eu/acme" && !one.all));
    }

    #[test]
    fn all_leaves_out_what_is_here_and_what_has_its_own_settings() {
        let chosen = read(&[("all", "on"), ("project", "a"), ("new-asset:a", "Shop")]);
        let imports = chosen.imports(&["here".to_owned()]);
        assert_eq!(imports.len(), 2);
        assert_eq!((imports[0].new_asset.as_deref(), imports[1].all), (Some("Shop"), true));
        assert_eq!(imports[1].except, ["a", "here"]);
        assert!(read(&[("branches:a", "x")]).is_empty());
    }

    #[test]
    fn a_search_begins_on_the_first_page() {
        assert_eq!(read(&[("page", "3"), ("act", "look")]).page, 1);
        assert_eq!(read(&[("page", "3"), ("act", "page-4")]).page, 4);
        assert_eq!(read(&[("page", "3"), ("act", "preview")]).page, 3);
    }
}
