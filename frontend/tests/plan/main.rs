//! Plans of small Dockerfiles, as people read them: the graph, the config, the history.

mod arguments;
mod copies;
mod errors;
mod random;
mod scale;
mod stages;
mod steps;
mod support;
