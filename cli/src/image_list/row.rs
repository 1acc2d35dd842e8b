//! Rows: an image under one of its names.

use std::collections::BTreeMap;

use builder_cache::Image;
use builder_image::Reference;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::{Filters, Inventory};
use crate::output;

/// What stands above the columns of a table.
pub(crate) const HEADERS: &[(&str, &str)] = &[
    ("Repository", "REPOSITORY"),
    ("Tag", "TAG"),
    ("Digest", "DIGEST"),
    ("ID", "IMAGE ID"),
    ("CreatedSince", "CREATED"),
    ("CreatedAt", "CREATED AT"),
    ("Size", "SIZE"),
    ("SizeBytes", "SIZE"),
    ("VirtualSize", "SIZE"),
    ("SharedSize", "SHARED SIZE"),
    ("UniqueSize", "UNIQUE SIZE"),
    ("Containers", "CONTAINERS"),
    ("Platforms", "PLATFORMS"),
];

const NONE: &str = "<none>";

/// One line.
#[derive(Debug)]
pub(crate) struct Row<'a> {
    repository: String,
    tag: String,
    digest: Option<String>,
    pub(crate) image: &'a Image,
    /// When the name stands for more than this machine's.
    platforms: Vec<&'a str>,
}

/// The rows of the images, in their order. Names with a digest have no rows of their own where the repository has tags;
/// with `digests`, each tag has a row for each digest.
pub(crate) fn rows<'a>(
    inventory: &'a Inventory,
    images: &'a [Image],
    filters: &Filters,
    all: bool,
    digests: bool,
) -> Vec<Row<'a>> {
    let mut rows = Vec::new();
    for image in images {
        let names: Vec<Reference> = image.names.iter().filter_map(|name| name.parse().ok()).collect();
        let tagged = names.iter().any(|name| name.tag().is_some());
        if filters.dangling.is_some_and(|dangling| if dangling { tagged } else { names.is_empty() }) {
            continue;
        }
        if names.is_empty() {
            rows.extend(nameless(inventory, image, filters, all));
            continue;
        }
        let mut repositories: BTreeMap<String, (Vec<&Reference>, Vec<&Reference>)> = BTreeMap::new();
        for name in names.iter().filter(|name| filters.takes(name)) {
            let (tags, digests) = repositories.entry(name.familiar_name()).or_default();
            if name.tag().is_some() { tags.push(name) } else { digests.push(name) }
        }
        for (repository, (tags, digest_names)) in repositories {
            let row = |name: &Reference, digest: Option<String>| {
                let named = inventory.names.get(&name.to_string());
                let platforms: Vec<&str> =
                    named.iter().flat_map(|named| &named.platforms).map(|(platform, _)| platform.as_str()).collect();
                let own = image.manifest.filter(|_| platforms.is_empty()).map(|manifest| manifest.to_string());
                let tag = name.tag().map_or(NONE, |tag| tag.as_str()).to_owned();
                Row { repository: repository.clone(), tag, digest: digest.or(own), image, platforms }
            };
            let digest_of = |name: &&Reference| name.digest().map(ToString::to_string);
            match (tags.as_slice(), digests) {
                ([], true) => rows.extend(digest_names.iter().map(|name| row(name, digest_of(name)))),
                ([], false) => rows.extend(digest_names.first().map(|name| row(name, digest_of(name)))),
                (tags, true) if !digest_names.is_empty() => {
                    for tag in tags {
                        rows.extend(digest_names.iter().map(|name| row(tag, digest_of(name))));
                    }
                }
                (tags, _) => rows.extend(tags.iter().map(|tag| row(tag, digest_of(tag)))),
            }
        }
    }
    rows
}

/// An image without a name, or what a name means on another platform, which is listed only with all.
fn nameless<'a>(inventory: &'a Inventory, image: &'a Image, filters: &Filters, all: bool) -> Option<Row<'a>> {
    let Some(name) = image.platform_of.first() else {
        let unfiltered = !filters.has_references();
        let digest = image.manifest.map(|manifest| manifest.to_string());
        let (repository, tag) = (NONE.to_owned(), NONE.to_owned());
        return unfiltered.then_some(Row { repository, tag, digest, image, platforms: Vec::new() });
    };
    let reference: Reference = name.parse().ok()?;
    if !all || !filters.takes(&reference) {
        return None;
    }
    let named = inventory.names.get(name)?;
    let own = named.platforms.iter().filter(|(_, id)| *id == image.id);
    let platforms = own.map(|(platform, _)| platform.as_str()).collect();
    let digest = image.manifest.map(|manifest| manifest.to_string());
    Some(Row { repository: reference.familiar_name(), tag: NONE.to_owned(), digest, image, platforms })
}

impl Row<'_> {
    /// Its id as it is shown.
    pub(crate) fn id(&self, in_full: bool) -> String {
        if in_full { self.image.id.to_string() } else { self.image.id.short() }
    }

    /// The fields for formats. `containers` says how many were made of the image.
    pub(crate) fn fields(&self, inventory: &Inventory, in_full: bool, now: i64, containers: usize) -> Value {
        let room = inventory.room_of(self.image);
        let size = output::size(room.all);
        json!({
            "Containers": containers.to_string(),
            "CreatedAt": local_time(self.image.created_ms),
            "CreatedSince": output::ago((now - self.image.created_ms) / 1000),
            "Digest": self.digest.as_deref().unwrap_or(NONE),
            "ID": self.id(in_full),
            "Platforms": self.platforms,
            "Repository": self.repository,
            "SharedSize": output::size(room.shared),
            "Size": size,
            "SizeBytes": room.all,
            "Tag": self.tag,
            "UniqueSize": output::size(room.all - room.shared),
            "VirtualSize": size,
        })
    }
}

/// Milliseconds since the epoch as Docker shows them: `2026-01-02 15:04:05 +0100 CET`.
fn local_time(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(
        |_| "<unknown>".to_owned(),
        |time| time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string(),
    )
}
