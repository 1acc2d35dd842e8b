//! `builder.toml`: how registries are reached.
//!
//! `BUILDER_CONFIG` names the one file that counts. Without it there are two, the machine's and the user's, and both may
//! be missing: `/etc/builder/builder.toml`, then `$XDG_CONFIG_HOME/builder/builder.toml`, whose keys win one by one.

mod file;
mod merge;

use std::io;
use std::path::{Path, PathBuf};

use builder_image::registry::Hosts;

use crate::commands::Global;
use crate::error::{CliError, CliResult};
use crate::output;

use self::file::File;
use self::merge::Tables;

/// The machine's file.
const SYSTEM: &str = "/etc/builder/builder.toml";

/// The largest file that is read.
const LIMIT: u64 = 1 << 20;

/// What the files say together.
#[derive(Debug, Clone, Default)]
pub(crate) struct Config {
    /// The files that were read, the stronger ones last.
    pub(crate) files: Vec<PathBuf>,
    /// How hosts are reached.
    pub(crate) hosts: Hosts,
}

/// Reads what there is.
pub(crate) fn load(global: &Global) -> CliResult<Config> {
    let mut tables = Tables::default();
    let mut files = Vec::new();
    for (path, required) in paths(global.config.as_deref()) {
        let text = match read(&path) {
            Ok(text) => text,
            Err(error) if !required && is_absent(&error) => continue,
            Err(error) => {
                let error = anyhow::Error::new(error).context(format!("{} can't be read", path.display()));
                return Err(CliError::with_hint(error, "BUILDER_CONFIG and --config name the configuration"));
            }
        };
        let file = File::parse(&text, &path).map_err(|wrong| {
            let shown = file::without_passwords(&text);
            CliError::Diagnosed(output::drawn(&wrong, &path.display().to_string(), &shown))
        })?;
        tables.lay_over(file);
        files.push(path);
    }
    Ok(Config { files, hosts: tables.into_hosts() })
}

/// The files in the order in which they count, and whether they must be there.
fn paths(named: Option<&Path>) -> Vec<(PathBuf, bool)> {
    if let Some(path) = named.filter(|path| !path.as_os_str().is_empty()) {
        return vec![(path.to_owned(), true)];
    }
    let mut paths = vec![(PathBuf::from(SYSTEM), false)];
    paths.extend(user_config().map(|dir| (dir.join("builder/builder.toml"), false)));
    paths
}

/// Where the user's configuration is: `$XDG_CONFIG_HOME`, else `~/.config`.
pub(crate) fn user_config() -> Option<PathBuf> {
    directory("XDG_CONFIG_HOME").or_else(|| directory("HOME").map(|home| home.join(".config")))
}

/// An absolute path that the environment names.
pub(crate) fn directory(variable: &str) -> Option<PathBuf> {
    std::env::var_os(variable).map(PathBuf::from).filter(|path| path.is_absolute())
}

fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Reads a text file of a size that people write.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    use std::io::Read as _;

    let mut bytes = Vec::new();
    std::fs::File::open(path)?.take(LIMIT + 1).read_to_end(&mut bytes)?;
    if bytes.len() as u64 > LIMIT {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "it is larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| io::Error::new(io::ErrorKind::InvalidData, "it is not UTF-8"))
}
