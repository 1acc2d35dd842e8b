//! Plans of small Dockerfiles, as people read them: the graph, the config, the history.

#![expect(clippy::unwrap_used, reason = "the functions beside the tests are tests, too")]

mod arguments;
mod copies;
mod epoch;
mod errors;
mod instructions;
mod mounts;
mod named;
mod platforms;
mod random;
mod remote;
mod scale;
mod stages;
mod steps;
mod support;
