//! All operations of the API, in one table: address, handler, who may, and what it does. The router, the check of roles,
//! the audit log and the OpenAPI document are made from it, so that none of them can forget one.

use std::sync::Arc;

use axum::Router;
use axum::http::Method;
use axum::middleware::from_fn_with_state;
use axum::routing::{MethodFilter, MethodRouter};

use super::describe::{Described, Describes};
use super::guard::Despite;
use super::handlers::Routed;
use super::{
    Admin, access, assets, backup, changes, deliveries, destinations, doctor, document, events, export, filters,
    findings, fleet, guard, imports, key, offers, projects, settings, sources, standby, status, trend, triage,
    webhooks,
};
use crate::domain::access::Role;

/// One operation.
pub(super) struct Operation {
    pub(super) method: Method,
    /// Below `/api/v1`, with names in braces.
    pub(super) path: &'static str,
    /// What part of the API it belongs to.
    pub(super) part: &'static str,
    /// What it does, in a few words that the audit log can show.
    pub(super) what: &'static str,
    /// The least that somebody must be; none where anybody may who reaches the address.
    pub(super) role: Option<Role>,
    /// What it is done in spite of.
    pub(super) despite: Despite,
    /// What it takes and answers, where somebody wants to know.
    pub(super) described: Option<fn() -> Described>,
    route: MethodRouter<Arc<Admin>>,
}

impl Operation {
    /// Whether it may be asked for twice with an `Idempotency-Key`: it makes something, or has something done again.
    pub(super) fn repeatable(&self) -> bool {
        self.method == Method::POST && REPEATABLE.contains(&self.path)
    }

    /// Whether something may be different after it.
    pub(super) fn changes(&self) -> bool {
        self.method != Method::GET
    }
}

const REPEATABLE: [&str; 11] = [
    "/sources",
    "/imports",
    "/assets",
    "/destinations",
    "/users",
    "/tokens",
    "/deliveries/{id}/replay",
    "/findings/triage",
    "/destinations/{name}/replay",
    "/destinations/{name}/dead-letters/replay",
    "/destinations/{name}/dead-letters/{finding}/replay",
];

/// The operations of one part, being listed. What makes descriptions is half a megabyte of program, so that only what
/// asks for them has them.
struct Part<const DESCRIBED: bool> {
    name: &'static str,
    list: Vec<Operation>,
}

impl<const DESCRIBED: bool> Part<DESCRIBED> {
    fn of(name: &'static str) -> Self {
        Self { name, list: Vec::new() }
    }

    fn add<H, How, A>(mut self, role: Role, method: &Method, path: &'static str, handler: H, what: &'static str) -> Self
    where
        H: Routed<How, A> + Describes<A>,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("the methods of the table are ordinary ones");
        self.list.push(Operation {
            method: method.clone(),
            path,
            part: self.name,
            what,
            role: Some(role),
            despite: Despite::Nothing,
            described: DESCRIBED.then_some(H::describe as fn() -> Described),
            route: handler.route(filter),
        });
        self
    }

    /// The same, for everybody who reaches the address.
    fn open<H, How, A>(mut self, method: &Method, path: &'static str, handler: H, what: &'static str) -> Self
    where
        H: Routed<How, A> + Describes<A>,
    {
        self = self.add(Role::Viewer, method, path, handler, what);
        if let Some(last) = self.list.last_mut() {
            last.role = None;
        }
        self
    }

    /// The last one is done in spite of that.
    fn despite(mut self, what: Despite) -> Self {
        if let Some(last) = self.list.last_mut() {
            last.despite = what;
        }
        self
    }
}

/// The table, with descriptions or without.
pub(super) fn all<const DESCRIBED: bool>() -> Vec<Operation> {
    const GET: &Method = &Method::GET;
    const POST: &Method = &Method::POST;
    const PUT: &Method = &Method::PUT;
    const PATCH: &Method = &Method::PATCH;
    const DELETE: &Method = &Method::DELETE;
    use Role::{Admin, Operator, Viewer};
    let parts = [
        Part::<DESCRIBED>::of("status")
            .add(Viewer, GET, "/status", status::show, "Show the box's health")
            .add(Viewer, GET, "/events", events::show, "Follow what happens")
            .add(Operator, POST, "/doctor", doctor::look, "Look at everything that has to work")
            .despite(Despite::LockAndStore),
        Part::of("sources")
            .add(Viewer, GET, "/sources", sources::list, "List sources")
            .add(Admin, POST, "/sources", sources::add, "Connect a source")
            .add(Admin, DELETE, "/sources/{name}", sources::remove, "Remove a source")
            .add(Operator, POST, "/sources/{name}/check", sources::check, "Check a source")
            .add(Admin, PUT, "/sources/{name}/token", sources::token, "Give a source another token")
            .add(Viewer, GET, "/organizations", sources::organizations, "List organizations")
            .add(
                Viewer,
                GET,
                "/organizations/{organization}/filter",
                filters::show,
                "Show what passes of an organization",
            )
            .add(
                Admin,
                PUT,
                "/organizations/{organization}/filter",
                filters::set,
                "Choose what passes of an organization",
            ),
        Part::of("fleet").add(Viewer, GET, "/fleet", fleet::show, "Show the sites that this box gathers").add(
            Admin,
            POST,
            "/fleet/offers",
            offers::add,
            "Offer a configuration to boxes of a fleet",
        ),
        Part::of("standby")
            .add(Viewer, GET, "/standby", standby::show, "Show how the two boxes of a site stand")
            .add(Admin, PUT, "/standby", standby::join, "Make this box one of two")
            .add(Admin, DELETE, "/standby", standby::leave, "Make this box one alone")
            .add(Admin, POST, "/standby/hand-over", standby::hand_over, "Have the other box take over"),
        Part::of("projects")
            .add(
                Viewer,
                GET,
                "/organizations/{organization}/projects",
                projects::visible,
                "List all projects that the token sees",
            )
            .add(Viewer, GET, "/organizations/{organization}/projects/{key}", projects::show, "Show a project")
            .add(
                Admin,
                PATCH,
                "/organizations/{organization}/projects/{key}",
                projects::edit::edit,
                "Move a project, or choose its branches",
            )
            .add(Admin, DELETE, "/organizations/{organization}/projects/{key}", projects::remove, "Remove a project")
            .add(
                Admin,
                POST,
                "/organizations/{organization}/projects/{key}/rename",
                projects::rename,
                "Follow a project to its new key",
            )
            .add(Viewer, GET, "/projects", projects::list, "List imported projects")
            .add(Admin, POST, "/imports", projects::import, "Import projects")
            .add(Operator, POST, "/imports/preview", imports::preview, "Try an import out")
            .add(Operator, POST, "/sync", projects::sync, "Read Sonar now"),
        Part::of("webhooks")
            .add(Viewer, GET, "/webhooks", webhooks::list, "List webhooks")
            .add(Viewer, GET, "/organizations/{organization}/webhook", webhooks::show, "Show a webhook's address")
            .add(
                Operator,
                GET,
                "/organizations/{organization}/webhook/calls",
                deliveries::calls::show,
                "Ask Sonar which webhook calls it made",
            )
            .add(
                Admin,
                POST,
                "/organizations/{organization}/webhook/reveal",
                webhooks::reveal,
                "Show a webhook's address and secret",
            )
            .add(
                Admin,
                PUT,
                "/organizations/{organization}/webhook/secret",
                webhooks::secret,
                "Take a webhook's secret over",
            )
            .add(
                Admin,
                POST,
                "/organizations/{organization}/webhook/register",
                webhooks::register::register,
                "Register a webhook in Sonar",
            )
            .add(
                Admin,
                POST,
                "/organizations/{organization}/webhook/unregister",
                webhooks::register::unregister,
                "Take a webhook away from Sonar",
            )
            .add(
                Admin,
                POST,
                "/organizations/{organization}/webhook/rotate",
                webhooks::rotate::rotate,
                "Give a webhook a new secret",
            )
            .add(
                Operator,
                POST,
                "/organizations/{organization}/webhook/test",
                webhooks::test::test,
                "Test the way of a webhook",
            ),
        Part::of("assets")
            .add(Viewer, GET, "/assets", assets::list, "List assets")
            .add(Admin, POST, "/assets", assets::add, "Add an asset")
            .add(Viewer, GET, "/assets/{name}", assets::show, "Show an asset")
            .add(Admin, PATCH, "/assets/{name}", assets::edit, "Change an asset")
            .add(Admin, DELETE, "/assets/{name}", assets::remove, "Remove an asset"),
        Part::of("deliveries")
            .add(Viewer, GET, "/deliveries", deliveries::list, "List webhook calls")
            .add(Viewer, GET, "/deliveries/{id}", deliveries::show, "Show a webhook call")
            .add(Operator, POST, "/deliveries/{id}/replay", deliveries::replay, "Run a webhook call again"),
        Part::of("findings")
            .add(Viewer, GET, "/findings", findings::list, "List findings")
            .add(Viewer, GET, "/findings/{id}", findings::show, "Show a finding with its history")
            .add(Operator, POST, "/findings/{id}/reopen", findings::reopen, "Undo the closing of a finding")
            .add(Operator, POST, "/findings/{id}/triage", triage::one, "Decide about a finding")
            .add(Operator, POST, "/findings/triage", triage::many, "Decide about findings")
            .add(Viewer, GET, "/findings/export", export::show, "Take findings out as a file")
            .add(Viewer, GET, "/trend", trend::show, "Show how many findings there were")
            .add(Viewer, GET, "/rules/{source}/{key}", findings::rule, "Show a rule")
            .add(Viewer, GET, "/changes", changes::list, "Follow what changed"),
        Part::of("destinations")
            .add(Viewer, GET, "/destinations", destinations::list, "List destinations")
            .add(Admin, POST, "/destinations", destinations::add, "Add a destination")
            .add(Viewer, GET, "/destinations/{name}", destinations::show, "Show a destination")
            .add(Admin, PATCH, "/destinations/{name}", destinations::edit::edit, "Change a destination")
            .add(Admin, DELETE, "/destinations/{name}", destinations::remove, "Remove a destination")
            .add(Operator, POST, "/destinations/{name}/check", destinations::check, "Check a destination")
            .add(Operator, POST, "/destinations/{name}/replay", destinations::replay, "Tell a destination anew")
            .add(
                Viewer,
                GET,
                "/destinations/{name}/preview",
                destinations::preview_of,
                "Show what a destination would be told",
            )
            .add(
                Viewer,
                GET,
                "/destinations/{name}/mapping",
                destinations::mapping::show,
                "Show which state is which status",
            )
            .add(
                Admin,
                PUT,
                "/destinations/{name}/mapping",
                destinations::mapping::set,
                "Say which state is which status",
            )
            .add(Viewer, GET, "/destinations/{name}/targets", destinations::targets, "List places on the platform")
            .add(
                Viewer,
                GET,
                "/destinations/{name}/dead-letters",
                destinations::dead_letters::list,
                "List what a destination refused",
            )
            .add(
                Operator,
                DELETE,
                "/destinations/{name}/dead-letters",
                destinations::dead_letters::drop_all,
                "Drop all dead letters",
            )
            .add(
                Operator,
                POST,
                "/destinations/{name}/dead-letters/replay",
                destinations::dead_letters::replay_all,
                "Try all dead letters again",
            )
            .add(
                Operator,
                DELETE,
                "/destinations/{name}/dead-letters/{finding}",
                destinations::dead_letters::drop,
                "Drop a dead letter",
            )
            .add(
                Operator,
                POST,
                "/destinations/{name}/dead-letters/{finding}/replay",
                destinations::dead_letters::replay,
                "Try a dead letter again",
            ),
        Part::of("settings")
            .add(Viewer, GET, "/config", settings::list, "List settings")
            .add(Admin, PUT, "/config/{key}", settings::set, "Change a setting")
            .add(Viewer, GET, "/certificate", settings::certificate::show, "Show the box's certificate")
            .add(Admin, PUT, "/certificate", settings::certificate::set, "Give the box a certificate")
            .add(
                Admin,
                POST,
                "/certificate/self-signed",
                settings::certificate::make_own,
                "Have the box make a certificate of its own",
            )
            .add(Viewer, GET, "/certificate/acme", settings::certificate::fetching, "Show how a certificate is fetched")
            .add(Admin, PUT, "/certificate/acme", settings::certificate::fetch, "Have a certificate fetched by ACME")
            .add(Admin, POST, "/certificate/renew", settings::certificate::renew, "Fetch a certificate now")
            .add(Admin, POST, "/backup", backup::make, "Take a backup")
            .despite(Despite::Lock)
            .add(Admin, GET, "/verify", backup::verify, "Read every record")
            .add(Admin, GET, "/key", key::show, "Show which key seals secrets")
            .add(Admin, POST, "/key/rotate", key::rotate, "Seal secrets with another key"),
        Part::of("access")
            .open(POST, "/session", access::login::begin, "Log in")
            .despite(Despite::Lock)
            .add(Viewer, GET, "/session", access::login::show, "Show who is asking")
            .add(Viewer, DELETE, "/session", access::login::end, "Log out")
            .despite(Despite::Lock)
            .open(POST, "/setup", access::login::set_up, "Choose a password with a one-time code")
            .add(Admin, GET, "/users", access::users::list, "List users")
            .add(Admin, POST, "/users", access::users::add, "Add a user")
            .add(Admin, PATCH, "/users/{name}", access::users::edit, "Change a user")
            .add(Admin, DELETE, "/users/{name}", access::users::remove, "Remove a user")
            .add(Admin, GET, "/tokens", access::tokens::list, "List API tokens")
            .add(Admin, POST, "/tokens", access::tokens::add, "Make an API token")
            .add(Admin, DELETE, "/tokens/{name}", access::tokens::remove, "Remove an API token")
            .add(Admin, GET, "/audit", access::audit::list, "List who did what")
            .add(Admin, GET, "/audit/export", access::audit::export, "Export who did what"),
        Part::of("description").open(GET, "/openapi.json", document::show, "Describe this API"),
    ];
    parts.into_iter().flat_map(|part| part.list).collect()
}

/// The router of the table.
pub(super) fn router(admin: &Arc<Admin>) -> Router<Arc<Admin>> {
    let mut router = Router::new();
    for operation in all::<false>() {
        let needs = guard::Needs {
            admin: Arc::clone(admin),
            role: operation.role,
            what: operation.what,
            changes: operation.changes(),
            despite: operation.despite,
            repeatable: operation.repeatable(),
        };
        router = router.route(operation.path, operation.route.layer(from_fn_with_state(needs, guard::let_in)));
    }
    router
}

#[cfg(test)]
mod tests {
    use super::*;

    /// This box calls what it is told to call, from within the network that it stands in, the addresses of clouds' metadata
    /// among them. So nobody below an admin names an address: an operator has those called that an admin named.
    #[test]
    fn only_an_admin_names_addresses_that_are_called() {
        let naming = [
            ("POST", "/sources"),
            ("PUT", "/sources/{name}/token"),
            ("POST", "/destinations"),
            ("PATCH", "/destinations/{name}"),
            ("PUT", "/config/{key}"),
        ];
        let all = all::<false>();
        for (method, path) in naming {
            let found = all.iter().find(|operation| operation.method == method && operation.path == path);
            assert_eq!(found.and_then(|operation| operation.role), Some(Role::Admin), "{method} {path}");
        }
        // What others may do takes no body with an address in it: each of these is named by what is stored.
        let others = all.iter().filter(|one| one.changes() && one.role != Some(Role::Admin)).map(|one| one.path);
        let known = [
            "/doctor",
            "/sources/{name}/check",
            "/imports/preview",
            "/sync",
            "/organizations/{organization}/webhook/test",
            "/deliveries/{id}/replay",
            "/findings/{id}/reopen",
            "/findings/{id}/triage",
            "/findings/triage",
            "/destinations/{name}/check",
            "/destinations/{name}/replay",
            "/destinations/{name}/dead-letters",
            "/destinations/{name}/dead-letters/replay",
            "/destinations/{name}/dead-letters/{finding}",
            "/destinations/{name}/dead-letters/{finding}/replay",
            "/session",
            "/session",
            "/setup",
        ];
        assert_eq!(others.collect::<Vec<_>>(), known, "of a new one: does it take an address?");
    }

    /// The audit log knows by these words what changes nothing.
    #[test]
    fn what_the_audit_log_keeps_apart_is_what_operations_are_called() {
        let all = all::<false>();
        for what in guard::LOOKS.into_iter().chain([guard::NOTES_ITSELF]) {
            assert!(all.iter().any(|operation| operation.what == what && operation.changes()), "{what}");
        }
    }

    #[test]
    fn on_a_locked_box_who_asks_and_what_helps_is_all_that_is_done() {
        let mut done = Vec::new();
        for operation in all::<false>() {
            assert!(operation.changes() || operation.despite == Despite::Nothing, "{}", operation.path);
            if operation.despite != Despite::Nothing {
                done.push((operation.method.to_string(), operation.path, operation.despite));
            }
        }
        let expected = [
            ("POST", "/doctor", Despite::LockAndStore),
            ("POST", "/backup", Despite::Lock),
            ("POST", "/session", Despite::Lock),
            ("DELETE", "/session", Despite::Lock),
        ];
        assert_eq!(done, expected.map(|(method, path, despite)| (method.to_owned(), path, despite)));
    }
}
