//! What a handler takes and answers, read off its type, so that the API's description cannot say anything else.

use std::future::Future;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use utoipa::openapi::path::{Parameter, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::{ContentBuilder, Ref, RefOr, Required, ResponseBuilder, Schema};
use utoipa::{IntoParams, ToSchema};

use super::answers::{Query, Sent};
use super::{Admin, Problem};

/// Schemas by name.
pub(super) type Schemas = Vec<(String, RefOr<Schema>)>;

/// What is known of one operation.
#[derive(Default)]
pub(super) struct Described {
    pub(super) parameters: Vec<Parameter>,
    pub(super) body: Option<utoipa::openapi::request_body::RequestBody>,
    pub(super) answers: Vec<(&'static str, utoipa::openapi::Response)>,
    pub(super) schemas: Schemas,
}

impl Described {
    fn schema<T: ToSchema>(&mut self) -> Ref {
        self.schemas.push((T::name().into_owned(), T::schema()));
        T::schemas(&mut self.schemas);
        Ref::from_schema_name(T::name())
    }

    fn json<T: ToSchema>(&mut self, status: &'static str, what: &str) {
        let schema = self.schema::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let answer = ResponseBuilder::new().description(what).content("application/json", content).build();
        self.answers.push((status, answer));
    }
}

/// What a handler is given.
pub(super) trait Asked {
    fn describe(_described: &mut Described) {}
}

impl Asked for State<Arc<Admin>> {}
impl Asked for HeaderMap {}
impl<T> Asked for Extension<T> {}
impl<T> Asked for Option<Extension<T>> {}
/// Names come from the address.
impl<T> Asked for Path<T> {}

impl<T: IntoParams> Asked for Query<T> {
    fn describe(described: &mut Described) {
        described.parameters.extend(T::into_params(|| Some(ParameterIn::Query)));
    }
}

impl<T: ToSchema> Asked for Sent<T> {
    fn describe(described: &mut Described) {
        let schema = described.schema::<T>();
        let content = ContentBuilder::new().schema(Some(schema)).build();
        let body = RequestBodyBuilder::new().content("application/json", content).required(Some(Required::True));
        described.body = Some(body.build());
    }
}

/// What a handler answers when all went well. What else may happen is a problem document, whatever is asked for.
pub(super) trait Answered {
    fn describe(described: &mut Described);
}

impl<T: ToSchema> Answered for Result<Json<T>, Problem> {
    fn describe(described: &mut Described) {
        described.json::<T>("200", "Done.");
    }
}

impl<T: ToSchema> Answered for Result<(StatusCode, Json<T>), Problem> {
    fn describe(described: &mut Described) {
        described.json::<T>("2XX", "Done, or begun.");
    }
}

impl<T: ToSchema> Answered for Result<(HeaderMap, Json<T>), Problem> {
    fn describe(described: &mut Described) {
        described.json::<T>("200", "Done.");
    }
}

impl Answered for Result<(StatusCode, HeaderMap), Problem> {
    fn describe(described: &mut Described) {
        described.answers.push(("204", ResponseBuilder::new().description("Done.").build()));
    }
}

impl Answered for Result<StatusCode, Problem> {
    fn describe(described: &mut Described) {
        described.answers.push(("204", ResponseBuilder::new().description("Done.").build()));
    }
}

/// Something that is no JSON document: an event stream, a file.
impl Answered for Result<Response, Problem> {
    fn describe(described: &mut Described) {
        described.answers.push(("200", ResponseBuilder::new().description("See the operation's description.").build()));
    }
}

/// A handler that describes itself.
pub(super) trait Describes<Args> {
    fn describe() -> Described;
}

macro_rules! describes {
    ($($argument:ident),*) => {
        impl<F, Fut, $($argument),*> Describes<($($argument,)*)> for F
        where
            F: Fn($($argument),*) -> Fut,
            Fut: Future,
            Fut::Output: Answered,
            $($argument: Asked,)*
        {
            fn describe() -> Described {
                let mut described = Described::default();
                $($argument::describe(&mut described);)*
                <Fut::Output as Answered>::describe(&mut described);
                described
            }
        }
    };
}

describes!();
describes!(A);
describes!(A, B);
describes!(A, B, C);
describes!(A, B, C, D);
