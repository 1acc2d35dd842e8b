//! Compose files: every service with a `build` is a target, and all of them are the group `default`.

mod environment;
mod project;
mod service;
mod yaml;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::ErrorKind;

use self::project::Project;
use super::config::Config;
use super::error::{BakeError, BakeResult, SourceFile};
use super::target::Group;

/// Adds the services of compose files, `positions` among all files, to the configuration.
pub(super) fn load(
    files: &mut Vec<SourceFile>,
    positions: &[usize],
    outside: &dyn Fn(&str) -> Option<String>,
    config: &mut Config,
) -> BakeResult<()> {
    let dotenv = match std::fs::read_to_string(".env") {
        Ok(text) => environment::dotenv(&text, outside)
            .map_err(|error| BakeError { message: format!(".env: {}", error.message), ..error })?,
        Err(error) if error.kind() == ErrorKind::NotFound => BTreeMap::new(),
        Err(error) => return Err(BakeError::new(format!(".env can't be read: {error}"))),
    };
    let lookup = |name: &str| outside(name).or_else(|| dotenv.get(name).cloned());
    let mut project = Project::default();
    let more = RefCell::new(files);
    for &position in positions {
        project.add(position, &more, &lookup)?;
    }
    let mut group = Group { name: "default".to_owned(), ..Group::default() };
    for target in service::targets(&project, &lookup)? {
        group.targets.push(target.name.clone());
        config.add_target(target);
    }
    if !group.targets.is_empty() {
        config.add_group(group);
    }
    Ok(())
}
