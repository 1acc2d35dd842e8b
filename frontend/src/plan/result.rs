//! What planning comes to.

use builder_solver::VertexId;

use crate::ast::Span;
use crate::config::ImageConfig;
use crate::history::HistoryEntry;
use crate::plan::{NamedContext, TargetContext};

/// What to do, and what the image will say.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The vertex whose result is the image's root file system.
    pub target: VertexId,
    /// The config of the image. Its `history`, `rootfs` and `created` are empty: [`Plan::image_config`] fills them in when
    /// the layers are there.
    pub config: ImageConfig,
    /// The history, the base image's entries first.
    pub history: Vec<HistoryEntry>,
    /// The image below the first layer that is built here; `None` for `FROM scratch`.
    pub base: Option<BaseImage>,
    /// All stages of the file, in order.
    pub stages: Vec<StageInfo>,
    /// The local directories that the build reads, by the names of their sources.
    pub contexts: Vec<String>,
    /// What the user should know.
    pub warnings: Vec<String>,
    /// `SOURCE_DATE_EPOCH`, from the command line or from an `ARG` before the first `FROM`.
    pub source_date_epoch: Option<i64>,
    /// The result goes out as one of several platforms even when it is the only one: there are several, or
    /// `BUILDKIT_MULTI_PLATFORM` says so.
    pub multi_platform: bool,
}

/// The image at the bottom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BaseImage {
    /// The image id.
    pub id: String,
    /// The reference in full.
    pub reference: String,
    /// How many layers of the result are its own.
    pub layers: usize,
}

/// A stage of the file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageInfo {
    /// The name in lower case, if it has one.
    pub name: Option<String>,
    /// What it is built on, expanded when the stage is needed and otherwise as written.
    pub base: String,
    /// What the comment above it says about it.
    pub description: Option<String>,
    /// Its `FROM`.
    pub span: Span,
    /// It is what was asked for.
    pub is_target: bool,
    /// The vertices of its instructions in order; empty when the target does not need it.
    pub vertices: Vec<VertexId>,
}

impl Plan {
    /// The plan's result as the base of another plan in the same graph.
    pub fn as_context(&self) -> NamedContext {
        NamedContext::Target(Box::new(TargetContext {
            vertex: self.target,
            config: self.config.clone(),
            history: self.history.clone(),
            base: self.base.clone(),
        }))
    }
}
