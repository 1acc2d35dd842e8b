//! The images of the store as `images` lists them: chosen, as rows, as a tree.

mod filter;
mod row;
mod tree;
mod until;

use std::collections::HashMap;

use builder_cache::{Image, LayerId, LayerSize, Named, Store};

use crate::error::CliResult;

pub(crate) use filter::{Filters, OF_IMAGES, OF_PRUNE};
pub(crate) use row::{HEADERS, Row, rows};
pub(crate) use tree::tree;

/// The images of a store with all that is known of them, read once.
#[derive(Debug)]
pub(crate) struct Inventory {
    /// Newest first.
    pub(crate) images: Vec<Image>,
    /// What names stand for.
    pub(crate) names: HashMap<String, Named>,
    sizes: HashMap<LayerId, LayerSize>,
    /// In how many images each layer is.
    uses: HashMap<LayerId, usize>,
}

/// How much room images take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Room {
    /// All of it.
    pub(crate) all: u64,
    /// What other images have, too.
    pub(crate) shared: u64,
    /// Its files were not fetched, or not all of them.
    pub(crate) absent: bool,
}

impl Inventory {
    /// Reads it.
    pub(crate) fn read(store: &Store) -> CliResult<Self> {
        let images = store.images()?;
        let mut uses = HashMap::new();
        for layer in images.iter().flat_map(distinct) {
            *uses.entry(layer).or_default() += 1;
        }
        Ok(Self { names: store.names()?.into_iter().collect(), sizes: store.layer_sizes()?, uses, images })
    }

    /// How much room these layers take.
    pub(crate) fn room(&self, layers: impl IntoIterator<Item = LayerId>) -> Room {
        let mut room = Room::default();
        for layer in layers {
            let size = self.sizes.get(&layer).copied().unwrap_or_default();
            room.all += size.bytes;
            room.absent |= size.absent;
            if self.uses.get(&layer).is_some_and(|uses| *uses > 1) {
                room.shared += size.bytes;
            }
        }
        room
    }

    /// How much room an image takes. Of layers that were not fetched, what is known: their blobs.
    pub(crate) fn room_of(&self, image: &Image) -> Room {
        let mut room = self.room(distinct(image));
        if !room.absent {
            room.all = image.size;
        }
        room.shared = room.shared.min(room.all);
        room
    }
}

/// The layers of an image, each once.
fn distinct(image: &Image) -> Vec<LayerId> {
    let mut layers = image.snapshot.layers.clone();
    layers.sort_unstable();
    layers.dedup();
    layers
}
