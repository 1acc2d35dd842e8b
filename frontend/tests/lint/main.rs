//! Build checks: what is found, where, and what silences it.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests, too")]

mod layers;
mod options;
mod outline;
mod random;
mod rules;
mod support;
