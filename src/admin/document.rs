//! The OpenAPI 3.1 document. It is made from the table of operations and the shapes they take and answer, and kept as a
//! file beside this one, which is what is served: the code that makes it is larger than all it says.

use std::collections::BTreeMap;

use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use utoipa::openapi::path::{HttpMethod, OperationBuilder, Parameter, ParameterBuilder, ParameterIn, PathsBuilder};
use utoipa::openapi::schema::{ComponentsBuilder, ObjectBuilder, Type};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityRequirement, SecurityScheme};
use utoipa::openapi::{
    ContentBuilder, InfoBuilder, OpenApi, OpenApiBuilder, PathItem, Ref, Required, ResponseBuilder, ServerBuilder,
};
use utoipa::{PartialSchema, ToSchema};

use super::{Problem, routes, shapes};

/// What is served; `tests/openapi.rs` sees to it that it is what [`document`] makes.
const SERVED: &str = include_str!("openapi.json");

/// `GET /openapi.json`.
pub(super) async fn show() -> Result<Response, Problem> {
    let kind = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    Ok(([kind], SERVED).into_response())
}

/// The document, made from the code.
pub fn document() -> OpenApi {
    let mut schemas = vec![(shapes::Problem::name().into_owned(), shapes::Problem::schema())];
    let mut paths = PathsBuilder::new();
    for operation in routes::all::<true>() {
        let described = operation.described.map(|describe| describe()).unwrap_or_default();
        schemas.extend(described.schemas);
        let needs = match operation.role {
            Some(role) => format!("Takes the role {role}."),
            None => "Takes no login.".to_owned(),
        };
        let mut made = OperationBuilder::new()
            .tag(operation.part)
            .summary(Some(operation.what))
            .description(Some(needs))
            .operation_id(Some(id(operation.method.as_str(), operation.path)))
            .request_body(described.body);
        for name in names(operation.path) {
            let schema = ObjectBuilder::new().schema_type(Type::String).build();
            let parameter = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Path).required(Required::True);
            made = made.parameter(parameter.schema(Some(schema)).build());
        }
        for parameter in described.parameters {
            made = made.parameter(parameter);
        }
        if operation.repeatable() {
            made = made.parameter(idempotency_key());
        }
        for (status, answer) in described.answers {
            made = made.response(status, answer);
        }
        let problem = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
        let problem = ResponseBuilder::new().description("Why not, and what to do.").content(PROBLEM_TYPE, problem);
        made = made.response("default", problem.build());
        if operation.role.is_none() {
            made = made.securities(Some([]));
        }
        let method = method(operation.method.as_str());
        paths = paths.path(operation.path, PathItem::new(method, made.build()));
    }
    let components = schemas
        .into_iter()
        .collect::<BTreeMap<_, _>>()
        .into_iter()
        .fold(ComponentsBuilder::new(), |components, (name, schema)| components.schema(name, schema));
    let bearer =
        HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("An API token: `hydrophone token add`."));
    let components = components.security_scheme("token", SecurityScheme::Http(bearer.build()));
    let info = InfoBuilder::new()
        .title("Hydrophone")
        .version(env!("CARGO_PKG_VERSION"))
        .description(Some(
            "The admin API. Over the unix socket every operation may be used; over TLS as far as the role reaches. \
             Members may be added to what is answered, and are never renamed or taken away.",
        ))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([ServerBuilder::new().url("/api/v1").build()]))
        .paths(paths)
        .components(Some(components.build()))
        .security(Some([SecurityRequirement::new("token", [""; 0])]))
        .build()
}

/// The header by which a request may be sent twice.
fn idempotency_key() -> Parameter {
    ParameterBuilder::new()
        .name("Idempotency-Key")
        .parameter_in(ParameterIn::Header)
        .required(Required::False)
        .description(Some(
            "A text of your own for this request, such as a UUID. The same request with the same key by the same caller is \
             answered as before for 24 hours, without being done again (with the header `Idempotency-Replayed: true`); \
             while it is being done it is answered 409, and another request with the key 422. Only what went well is \
             kept, in memory, the newest 1,000 answers. An answer that holds a secret is not kept: asked for again, it \
             is answered 409.",
        ))
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .build()
}

const PROBLEM_TYPE: &str = "application/problem+json";

/// The names in braces of an address.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// A name for programs: `get_sources_name`.
fn id(method: &str, path: &str) -> String {
    let words = path.split(|letter: char| !letter.is_ascii_alphanumeric()).filter(|word| !word.is_empty());
    std::iter::once(method.to_ascii_lowercase()).chain(words.map(str::to_owned)).collect::<Vec<_>>().join("_")
}

fn method(name: &str) -> HttpMethod {
    match name {
        "POST" => HttpMethod::Post,
        "PUT" => HttpMethod::Put,
        "PATCH" => HttpMethod::Patch,
        "DELETE" => HttpMethod::Delete,
        _ => HttpMethod::Get,
    }
}
