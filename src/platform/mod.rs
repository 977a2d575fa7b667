//! What passes findings on: one module for each form or kind of platform. None of them knows the store or SonarQube;
//! they are given what to pass on.

pub mod sarif;
