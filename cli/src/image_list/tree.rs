//! `images --tree`: names, the platforms that they stand for, and the layers of each.
//!
//! The columns add up: the layers of a platform are its size, and what an image shares and what it has alone are its
//! size. A name of several platforms has each layer once, and so has the last line.

use std::collections::{BTreeMap, HashMap, HashSet};

use builder_cache::{BlobDigest, Image, LayerId, Store};
use builder_image::Reference;

use super::{Filters, Inventory, Room};
use crate::error::CliResult;
use crate::{output, store};

/// The images as a tree.
pub(crate) fn tree(
    store: &Store,
    inventory: &Inventory,
    images: &[Image],
    filters: &Filters,
    in_full: bool,
) -> CliResult<String> {
    let by_id: HashMap<&BlobDigest, &Image> = inventory.images.iter().map(|image| (&image.id, image)).collect();
    let mut table =
        Table { rows: vec![["IMAGE", "ID", "SIZE", "SHARED", "UNIQUE"].map(str::to_owned).to_vec()], in_full };
    let mut seen = HashSet::new();
    let mut shown = HashSet::new();
    for image in images {
        for (names, platforms) in groups(inventory, image, filters) {
            let platforms: Vec<(String, &Image)> = match platforms.as_slice() {
                [] => vec![(store::config(store, &image.id)?.platform().to_string(), image)],
                several => {
                    let known = |(platform, id): &(String, BlobDigest)| Some((platform.clone(), *by_id.get(id)?));
                    several.iter().filter_map(known).collect()
                }
            };
            let mut layers: Vec<LayerId> =
                platforms.iter().flat_map(|(_, image)| image.snapshot.layers.iter().copied()).collect();
            layers.sort_unstable();
            layers.dedup();
            table.add(names, Some(&image.id), inventory.room(layers.iter().copied()));
            shown.extend(platforms.iter().map(|(_, image)| image.id));
            seen.extend(layers);
            for (position, (platform, image)) in platforms.iter().enumerate() {
                let last = position + 1 == platforms.len();
                let (branch, below) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
                let room = inventory.room(super::distinct(image));
                table.add(format!("{branch}{platform}"), Some(&image.id), room);
                let count = image.snapshot.layers.len();
                let mut before = HashSet::new();
                for (position, layer) in image.snapshot.layers.iter().enumerate() {
                    let branch = if position + 1 == count { "└─ " } else { "├─ " };
                    // A layer that stands twice in an image takes its room once.
                    let room = if before.insert(*layer) { inventory.room([*layer]) } else { Room::default() };
                    let digest = image
                        .diff_ids
                        .get(position)
                        .map_or_else(|| layer.to_string(), |id| table.digest(&id.to_string()));
                    let state = if room.absent { " (not fetched)" } else { "" };
                    table.add(format!("{below}{branch}{digest}{state}"), None, room);
                }
            }
        }
    }
    let room = inventory.room(seen.iter().copied());
    let summary = format!(
        "{} images of {} layers: {}, of which {} are in several images",
        shown.len(),
        seen.len(),
        output::size(room.all),
        output::size(room.shared)
    );
    Ok(format!("{}\n{summary}\n", output::aligned(&table.rows)))
}

/// The names of an image that stand for the same, each group with its platforms.
fn groups(inventory: &Inventory, image: &Image, filters: &Filters) -> Vec<(String, Vec<(String, BlobDigest)>)> {
    let names: Vec<Reference> = image.names.iter().filter_map(|name| name.parse().ok()).collect();
    let tagged = names.iter().any(|name| name.tag().is_some());
    if filters.dangling.is_some_and(|dangling| if dangling { tagged } else { names.is_empty() }) {
        return Vec::new();
    }
    if names.is_empty() {
        let alone = image.platform_of.is_empty() && !filters.has_references();
        return if alone { vec![("<none>".to_owned(), Vec::new())] } else { Vec::new() };
    }
    let mut groups: BTreeMap<Vec<(String, BlobDigest)>, Vec<String>> = BTreeMap::new();
    let of_tags: HashSet<String> = names.iter().filter(|name| name.tag().is_some()).map(Reference::name).collect();
    for name in names.iter().filter(|name| filters.takes(name)) {
        // A digest is worth a line only where there is no tag.
        if name.tag().is_none() && of_tags.contains(&name.name()) {
            continue;
        }
        let platforms = inventory.names.get(&name.to_string()).map(|named| named.platforms.clone());
        groups.entry(platforms.unwrap_or_default()).or_default().push(name.familiar());
    }
    groups.into_iter().map(|(platforms, names)| (names.join(", "), platforms)).collect()
}

struct Table {
    rows: Vec<Vec<String>>,
    in_full: bool,
}

impl Table {
    fn add(&mut self, what: String, id: Option<&BlobDigest>, room: Room) {
        let id = id.map_or_else(String::new, |id| if self.in_full { id.to_string() } else { id.short() });
        let sizes = [room.all, room.shared, room.all - room.shared].map(output::size);
        self.rows.push([what, id].into_iter().chain(sizes).collect());
    }

    fn digest(&self, digest: &str) -> String {
        if self.in_full {
            return digest.to_owned();
        }
        digest.split_once(':').map_or(digest, |(_, hex)| hex).chars().take(12).collect()
    }
}
