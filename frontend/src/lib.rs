//! Dockerfile text → syntax tree → graph, image config and history. Does no I/O.

pub mod ast;
pub mod diagnostic;
mod mount;
pub mod parser;
mod span;
pub mod suggest;

pub mod changes;
pub mod config;
pub mod expand;
mod go_text;
pub mod history;
pub mod plan;
pub mod platform;
mod ports;
mod signal;
