//! What a build came to: the hand-over from solving to exporting.

use builder_cache::Snapshot;
use builder_frontend::plan::Plan;
use builder_frontend::platform::Platform;
use builder_solver::CacheKey;

/// The result for one platform.
#[derive(Debug, Clone)]
pub(crate) struct PlatformResult {
    /// What it was built for.
    pub(crate) platform: Platform,
    /// What the image says: config, history and what it is built on.
    pub(crate) plan: Plan,
    /// The files.
    pub(crate) snapshot: Snapshot,
    /// The recipe key of the step that they are the result of.
    pub(crate) target: CacheKey,
}

/// The results of a build: one for each platform that was asked for, in that order.
#[derive(Debug, Clone)]
pub(crate) struct BuildResult {
    /// At least one.
    pub(crate) platforms: Vec<PlatformResult>,
    /// Whether an image is an index even of one platform, and files are split by platform; several always are.
    pub(crate) multi: bool,
}

impl BuildResult {
    /// Whether it goes out as several platforms do.
    pub(crate) fn is_multi(&self) -> bool {
        self.multi || self.platforms.len() > 1
    }
}
