//! Handlers as routes. What reads a handler's arguments from a request is made once for all handlers with the same
//! arguments, which are called through a pointer: axum's own way makes it for each of the two hundred anew, three to four
//! kilobytes of program each.

use std::pin::Pin;
use std::sync::Arc;

use axum::extract::{FromRequest, FromRequestParts};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Admin;

/// What a handler does.
type Doing = Pin<Box<dyn Future<Output = Response> + Send>>;

/// A handler that can be a route: `How` says how its last argument is read, `Args` which it has.
pub(super) trait Routed<How, Args> {
    /// Makes it one.
    fn route(self, filter: MethodFilter) -> MethodRouter<Arc<Admin>>;
}

macro_rules! routed {
    ($route:ident: $($early:ident)* => $last:ident) => {
        fn $route<How, $($early,)* $last>(
            filter: MethodFilter,
            handler: Arc<dyn Fn($($early,)* $last) -> Doing + Send + Sync>,
        ) -> MethodRouter<Arc<Admin>>
        where
            How: 'static,
            $($early: FromRequestParts<Arc<Admin>> + Send + 'static,)*
            $last: FromRequest<Arc<Admin>, How> + Send + 'static,
        {
            #[allow(non_snake_case, reason = "a value goes by the name of its type")]
            on(filter, move |$($early: $early,)* $last: $last| handler($($early,)* $last))
        }

        impl<F, Fut, How, $($early,)* $last> Routed<How, ($($early,)* $last,)> for F
        where
            F: Fn($($early,)* $last) -> Fut + Send + Sync + 'static,
            Fut: Future<Output: IntoResponse> + Send + 'static,
            How: 'static,
            $($early: FromRequestParts<Arc<Admin>> + Send + 'static,)*
            $last: FromRequest<Arc<Admin>, How> + Send + 'static,
        {
            fn route(self, filter: MethodFilter) -> MethodRouter<Arc<Admin>> {
                #[allow(non_snake_case, reason = "a value goes by the name of its type")]
                let handler = move |$($early: $early,)* $last: $last| -> Doing {
                    let doing = self($($early,)* $last);
                    Box::pin(async move { doing.await.into_response() })
                };
                $route(filter, Arc::new(handler))
            }
        }
    };
}

routed!(of_one: => A);
routed!(of_two: A => B);
routed!(of_three: A B => C);
routed!(of_four: A B C => D);
routed!(of_five: A B C D => E);

/// There is nothing to read for it.
impl<F, Fut> Routed<(), ()> for F
where
    F: Fn() -> Fut + Clone + Send + Sync + 'static,
    Fut: Future<Output: IntoResponse> + Send + 'static,
{
    fn route(self, filter: MethodFilter) -> MethodRouter<Arc<Admin>> {
        on(filter, self)
    }
}
