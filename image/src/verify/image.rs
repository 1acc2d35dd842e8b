//! An image of the store.

use std::io;

use builder_cache::content::layer_content;
use builder_cache::{BlobDigest, BlobInfo, DiffId, Layer, LayerId, Store};
use rayon::prelude::*;

use super::fact::Fact;
use super::{Outcome, Report, Subject, differs};
use crate::archive::{Error, PREDICATE_LIMIT, SaveImage};
use crate::config::{CONFIG_LIMIT, ConfigView};
use crate::layer::{WriteOptions, write_layer};

/// Compares everything that the store has of an image with what was written down of it.
pub fn image(store: &Store, image: &SaveImage) -> Result<Report, Error> {
    let mut report = Report::default();
    for platform in &image.platforms {
        let known = store.image(&platform.id)?.ok_or(Error::NoImage(platform.id))?;
        let config = store.read_blob(&platform.id, CONFIG_LIMIT);
        let compared = "digest, layers";
        report.check(Subject::Config, platform.id, compared, || {
            let view = ConfigView::parse(&config.map_err(|error| text(&error))?)
                .map_err(|error| format!("it can't be understood: {error}"))?;
            if view.diff_ids() != known.diff_ids || known.diff_ids.len() != known.snapshot.layers.len() {
                return Err("its layers are not those that the store has for it".to_owned());
            }
            Ok(())
        });
        if let Some(manifest) = &known.manifest {
            report.check(Subject::Manifest, manifest, "digest", || blob(store, manifest));
        }
        let absent = store.absent(&known.snapshot)?;
        let layers: Vec<(&LayerId, &DiffId)> = known.snapshot.layers.iter().zip(&known.diff_ids).collect();
        let reports: Vec<Report> = layers
            .into_par_iter()
            .map(|(id, diff_id)| layer(store, id, diff_id, absent.contains(id)))
            .collect::<Result<_, Error>>()?;
        for check in reports.into_iter().flat_map(|report| report.checks) {
            report.add(check.subject, check.object, &check.compared, check.outcome);
        }
        for attestation in &platform.attestations {
            report.check(Subject::Statement, attestation.predicate, "digest", || {
                let said = store.read_blob(&attestation.predicate, PREDICATE_LIMIT).map_err(|error| text(&error))?;
                let parsed: Result<serde_json::Value, _> = serde_json::from_slice(&said);
                parsed.map(drop).map_err(|error| format!("it can't be understood: {error}"))
            });
        }
    }
    Ok(report)
}

fn layer(store: &Store, id: &LayerId, diff_id: &DiffId, absent: bool) -> Result<Report, Error> {
    let mut report = Report::default();
    let known = store.layer(id)?;
    let mut blobs: Vec<BlobInfo> = store.layer_blobs(diff_id)?;
    let own = known.meta.diff_id.is_none_or(|own| own == *diff_id);
    if let Some(source) = known.meta.source_blob.filter(|_| own) {
        match store.blob(&source)? {
            Some(source) if blobs.contains(&source) => {}
            Some(source) => blobs.push(source),
            None => {}
        }
    }
    for blob in blobs {
        report.check(Subject::Layer, blob.digest, "digest, size, diff id", || packed(store, &blob, diff_id));
    }
    if absent {
        let outcome = Outcome::Skipped("its files are not here".to_owned());
        report.add(Subject::Files, diff_id, "files", outcome);
    } else {
        files(store, &known, diff_id, &mut report)?;
    }
    Ok(report)
}

fn packed(store: &Store, info: &BlobInfo, diff_id: &DiffId) -> Result<(), String> {
    let file = store.open_blob(&info.digest).map_err(|error| text(&error))?;
    let fact = Fact::of(file, info.size, &mut 0).map_err(|error| error.to_string())?;
    if fact.digest != info.digest {
        return Err(differs(fact.digest, info.digest));
    }
    if fact.size != info.size {
        return Err(differs(format!("{} bytes", fact.size), info.size));
    }
    match fact.unpacked {
        Some(Ok(found)) if found == *diff_id => Ok(()),
        Some(Ok(found)) => Err(format!("it unpacks to {found}, and should to {diff_id}")),
        Some(Err(reason)) => Err(format!("it can't be unpacked: {reason}")),
        None => Err("it is no layer".to_owned()),
    }
}

fn files(store: &Store, layer: &Layer, diff_id: &DiffId, report: &mut Report) -> Result<(), Error> {
    let parts = store.part_dirs(&layer.id)?;
    let mut compared = false;
    // Nothing is mounted of a layer without files, and so not even its root counts.
    if layer.meta.empty {
        report.check(Subject::Files, diff_id, "number", || match layer_content(&parts) {
            Ok(content) if content.files == 0 => Ok(()),
            Ok(content) => Err(format!("it has {} files and should have none", content.files)),
            Err(error) => Err(text(&error)),
        });
        return Ok(());
    }
    if let Some(content) = layer.meta.content {
        compared = true;
        report.check(Subject::Files, diff_id, "content", || {
            let found = layer_content(&parts).map_err(|error| text(&error))?.digest();
            if found == content { Ok(()) } else { Err(differs(found, content)) }
        });
    }
    // A tar that came from elsewhere can't be made of its files; one that was made here can.
    if let Some(own) = layer.meta.diff_id.filter(|_| layer.meta.source_blob.is_none()) {
        compared = true;
        report.check(Subject::Files, diff_id, "diff id", || {
            let tar = write_layer(&parts, &WriteOptions::default(), &mut io::sink()).map_err(|error| text(&error))?;
            if tar.diff_id == own { Ok(()) } else { Err(differs(tar.diff_id, own)) }
        });
    }
    if !compared {
        let outcome = Outcome::Skipped("nothing was written down of its files".to_owned());
        report.add(Subject::Files, diff_id, "files", outcome);
    }
    Ok(())
}

fn blob(store: &Store, digest: &BlobDigest) -> Result<(), String> {
    store.verify_blob(digest).map_err(|error| text(&error))
}

/// An error and its causes in one line.
fn text(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text.push_str(": ");
        text.push_str(&next.to_string());
        cause = next.source();
    }
    text
}
