//! Dockerfile text → syntax tree → graph, image config and history.
//!
//! * [`parser::parse`] reads the text into [`ast::Dockerfile`], every part with its place in the text.
//! * [`plan::plan`] turns the tree into a [`plan::Plan`]: the vertices for the solver, the [`config::ImageConfig`] of the
//!   image and its [`history`]. Base images reach it through [`plan::Images`].
//! * When the layers are there, [`plan::Plan::image_config`] puts their digests and times in.
//! * [`lint::check`] says what is allowed and probably not meant; [`outline`] says what a build can be given.
//! * What is wrong with a file becomes a [`diagnostic::Diagnostic`], which draws itself below the lines of the file.
//!
//! [`changes::apply_changes`] applies instructions to a config without a build. [`expand`] is the language of variables,
//! quotes and escapes inside words.
//!
//! Invariant: this crate does no I/O. Equal input gives equal output, on every machine and at any time.

pub mod ast;
pub mod changes;
pub mod config;
pub mod diagnostic;
pub mod expand;
pub mod git_address;
pub mod go_text;
pub mod history;
pub mod lint;
mod mount;
pub mod outline;
pub mod parser;
pub mod plan;
pub mod platform;
mod ports;
mod signal;
mod span;
pub mod suggest;
mod url;
