//! Which branches and pull requests of a project are held.

use minicbor::{Decode, Encode};

use super::ids::ScopeKind;

/// Which scopes of a project are held.
#[derive(Debug, Clone, Default, PartialEq, Eq, Encode, Decode)]
pub struct Selection {
    /// Names or patterns; none means the main branch.
    #[n(0)]
    pub branches: Vec<String>,
    /// Pull requests too.
    #[n(1)]
    pub pull_requests: bool,
}

impl Selection {
    /// Whether a scope is among those that were chosen. `main` says whether it is the main branch.
    pub fn selects(&self, kind: ScopeKind, name: &str, main: bool) -> bool {
        match kind {
            ScopeKind::PullRequest => self.pull_requests,
            ScopeKind::Branch if self.branches.is_empty() => main,
            ScopeKind::Branch => self.branches.iter().any(|pattern| matches(pattern, name)),
        }
    }
}

/// Whether a name fits a pattern, in which `*` stands for anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == name,
        Some((head, tail)) => name
            .strip_prefix(head)
            .is_some_and(|rest| (0..=rest.len()).any(|at| rest.is_char_boundary(at) && matches(tail, &rest[at..]))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_matches_what_a_person_would_expect() {
        for (pattern, name, fits) in [
            ("main", "main", true),
            ("main", "main2", false),
            ("release/*", "release/1.0", true),
            ("release/*", "release/", true),
            ("release/*", "prerelease/1", false),
            ("*", "anything/at all", true),
            ("*-lts", "v1-lts", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "acb", false),
        ] {
            assert_eq!(matches(pattern, name), fits, "{pattern} {name}");
        }
    }

    #[test]
    fn without_a_choice_only_the_main_branch_is_held() {
        let none = Selection::default();
        assert!(none.selects(ScopeKind::Branch, "trunk", true));
        assert!(!none.selects(ScopeKind::Branch, "feature", false));
        assert!(!none.selects(ScopeKind::PullRequest, "7", false));
        let some = Selection { branches: vec!["release/*".to_owned()], pull_requests: true };
        assert!(!some.selects(ScopeKind::Branch, "main", true));
        assert!(some.selects(ScopeKind::Branch, "release/2", false));
        assert!(some.selects(ScopeKind::PullRequest, "7", false));
    }
}
