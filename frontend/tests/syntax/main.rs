//! The Dockerfile language: text in, syntax tree or error out.

mod compact;
mod errors;
mod forms;
mod instructions;
mod mounts;
mod properties;
mod trees;
