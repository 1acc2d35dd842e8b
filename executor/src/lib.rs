//! Carries the ops of the graph out.

pub mod container;
pub mod context;
pub mod copy;
pub mod op;
pub mod pattern;
pub mod rootfs;
pub mod sandbox;
mod sys;
#[cfg(test)]
mod test_kit;
