//! Plans of small Dockerfiles, as people read them: the graph, the config, the history.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests, too")]

mod arguments;
mod copies;
mod errors;
mod random;
mod scale;
mod stages;
mod steps;
mod support;
