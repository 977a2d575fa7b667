//! The admin API: one set of handlers, described by the shapes of [`shapes`].

pub mod shapes;
