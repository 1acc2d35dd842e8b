//! The config of the finished image.

use crate::config::ImageConfig;
use crate::plan::Plan;

/// What is known of a layer once it is there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerFacts {
    /// The digest of its uncompressed tar.
    pub diff_id: String,
    /// When it was made, RFC 3339; clamped by whoever honours `SOURCE_DATE_EPOCH`.
    pub created: Option<String>,
}

/// There are more or fewer layers than the history has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the result has {actual} layers where the history of the image has {expected}")]
pub struct LayerCountError {
    /// By the history.
    pub expected: usize,
    /// In the result.
    pub actual: usize,
}

impl Plan {
    /// The config with history and layers filled in. `layers` are those of the target's result, bottom first, the base
    /// image's included.
    ///
    /// The entries of the base image stay as they are. An entry of this build gets the time of its layer; one without
    /// a layer gets the time of the entry below it. The image's own time is that of its last entry.
    pub fn image_config(&self, layers: &[LayerFacts]) -> Result<ImageConfig, LayerCountError> {
        let base = self.base.as_ref().map_or(0, |base| base.layers);
        let made = self.history.iter().filter(|entry| !entry.inherited && !entry.entry.empty_layer).count();
        if base + made != layers.len() {
            return Err(LayerCountError { expected: base + made, actual: layers.len() });
        }
        let mut config = self.config.clone();
        config.rootfs.diff_ids = layers.iter().map(|layer| layer.diff_id.clone()).collect();
        let mut own = layers[base..].iter().map(|layer| layer.created.clone());
        // Until there is a layer of this build, the time of the first one stands in for entries without.
        let first = layers.get(base).and_then(|layer| layer.created.clone());
        let mut time: Option<String> = None;
        for entry in &self.history {
            let mut history = entry.entry.clone();
            if entry.inherited {
                time.clone_from(&history.created);
            } else {
                if !history.empty_layer {
                    time = own.next().flatten();
                }
                time = time.or_else(|| first.clone());
                history.created.clone_from(&time);
            }
            config.history.push(history);
        }
        config.created = time;
        Ok(config)
    }
}
