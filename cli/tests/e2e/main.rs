//! What people see: the `builder` command, end to end, as root against the real kernel.

mod cache;
mod copy;
mod errors;
mod files;
mod kit;
mod language;
mod progress;
mod run;
mod sandbox;
mod stop;
