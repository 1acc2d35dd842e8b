//! Carries the ops of the graph out.

pub mod agent;
pub mod container;
pub mod context;
pub mod copy;
pub mod op;
pub mod pattern;
pub mod remote;
pub mod rootfs;
pub mod sandbox;
pub mod secret;
mod sys;
#[cfg(test)]
mod test_kit;
