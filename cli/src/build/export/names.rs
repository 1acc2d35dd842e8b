//! What images are called.

use builder_cache::Named;
use builder_image::Reference;

use super::image::Made;
use super::{Exporter, find};
use crate::error::{CliError, CliResult};
use crate::outputs::{ImageOutput, OutputSpec};
use crate::progress::Step;

/// The full forms of names on the command line.
pub(in crate::build) fn full_names(names: &[String]) -> CliResult<Vec<String>> {
    names
        .iter()
        .map(|name| {
            let reference: Reference =
                name.parse().map_err(|error| CliError::Usage(format!("invalid tag `{name}`: {error}")))?;
            if reference.digest().is_some() {
                let why = "what an image's digest is follows from the image, so leave it out";
                return Err(CliError::Usage(format!("invalid tag `{name}`: {why}")));
            }
            Ok(reference.to_string())
        })
        .collect()
}

/// Adds names that are new.
pub(super) fn add(names: &mut Vec<String>, more: Vec<String>) {
    for name in more {
        if !names.contains(&name) {
            names.push(name);
        }
    }
}

impl Exporter<'_> {
    /// Gives an image its names in the store.
    pub(super) fn name(&self, output: &OutputSpec, made: &[Made], step: &Step) -> CliResult<()> {
        let OutputSpec::Image(image) = output else { return Ok(()) };
        if image.passing {
            return Ok(());
        }
        let made = find(made, output)?;
        let Some(default) = made.default_id() else { return Ok(()) };
        let several = self.result.is_multi();
        let form = self.form(&image.image, made);
        let list = made.platforms.iter().map(|(platform, id)| (platform.to_string(), *id));
        let named = Named {
            platforms: if several { list.collect() } else { Vec::new() },
            form: form.text()?,
            blobs: form.blobs(),
            ..Named::one(default)
        };
        for name in self.names_of(image, made)? {
            self.store.set_name(&name, &named)?;
            step.note(format!("naming to {name}"));
        }
        Ok(())
    }

    /// The names of an image in the store: those of the command line, and those that are made of its digest.
    pub(super) fn names_of(&self, output: &ImageOutput, made: &Made) -> CliResult<Vec<String>> {
        let mut names = full_names(&self.args.tags)?;
        add(&mut names, full_names(&output.image.names)?);
        let dangling = output.dangling_prefix.as_ref().filter(|_| names.is_empty() || !output.dangling_empty_only);
        if dangling.is_none() && !output.canonical {
            return Ok(names);
        }
        let digest = self.described(&output.image, made)?.root.digest().to_string();
        let canonical = if output.canonical { names.clone() } else { Vec::new() };
        let bases = canonical.iter().chain(dangling);
        let more = bases.map(|name| {
            let reference: Reference = name.parse()?;
            Ok(format!("{}@{digest}", reference.name()))
        });
        add(&mut names, more.collect::<CliResult<_>>()?);
        Ok(names)
    }
}
