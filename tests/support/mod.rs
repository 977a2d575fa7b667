//! What the tests, the demonstration and the benchmarks share: a simulated SonarQube and a way to run the daemon.

pub mod sonar;
