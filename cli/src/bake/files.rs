//! Finding and reading the files that define what to build.

use std::fs;
use std::io::Read;
use std::path::Path;

use super::error::{BakeError, BakeResult, SourceFile};
use super::functions::clean;
use super::remote::is_remote;
use super::syntax::{Body, json, native};
use crate::csv::truth;

/// The largest file.
const MAX_FILE: u64 = 16 << 20;

/// What is read when no file is named; all that exist, later ones over earlier ones.
pub(crate) const DEFAULT_FILES: [&str; 8] = [
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
    "docker-bake.json",
    "docker-bake.hcl",
    "docker-bake.override.json",
    "docker-bake.override.hcl",
];

/// What a file is written in.
#[derive(Debug)]
pub(crate) enum Content {
    /// HCL or JSON.
    Bake(Body),
    /// YAML.
    Compose,
}

/// The files of `-f`, or else of `BUILDX_BAKE_FILE`.
pub(crate) fn named(flags: &[String]) -> Vec<String> {
    let list = std::env::var("BUILDX_BAKE_FILE").ok().filter(|list| flags.is_empty() && !list.is_empty());
    let Some(list) = list else { return flags.to_vec() };
    let separator = std::env::var("BUILDX_BAKE_PATH_SEPARATOR").ok().filter(|text| !text.is_empty());
    let parts = list.split(separator.as_deref().unwrap_or(":")).map(str::trim).filter(|name| !name.is_empty());
    parts.map(str::to_owned).collect()
}

/// The directory of a file, when paths are relative to the file that they stand in: `BUILDX_BAKE_FILE_RELATIVE_PATHS`.
pub(crate) fn base(file: &SourceFile) -> Option<String> {
    let wanted = std::env::var("BUILDX_BAKE_FILE_RELATIVE_PATHS").ok().and_then(|text| truth(&text));
    let directory = Path::new(&file.name).parent().filter(|directory| !directory.as_os_str().is_empty())?;
    (wanted == Some(true)).then(|| directory.display().to_string())
}

/// A path of a file with this base; other places are what they are.
pub(crate) fn based(base: Option<&str>, place: &str) -> String {
    match base {
        Some(base) if !is_remote(place) && !place.starts_with("target:") && !place.starts_with('/') && place != "-" => {
            clean(&format!("{base}/{place}"))
        }
        _ => place.to_owned(),
    }
}

/// Reads files of this machine: those that are named, or those that are here.
pub(crate) fn read(names: &[String]) -> BakeResult<Vec<SourceFile>> {
    if names.is_empty() {
        let there = DEFAULT_FILES.into_iter().filter(|name| Path::new(name).exists());
        let files = there.map(|name| read_file(name, name)).collect::<BakeResult<Vec<_>>>()?;
        if files.is_empty() {
            return Err(BakeError::new("couldn't find a bake definition in this directory")
                .help("write a docker-bake.hcl, or name a file with -f"));
        }
        return Ok(files);
    }
    names.iter().map(|name| read_file(name, name.strip_prefix("cwd://").unwrap_or(name))).collect()
}

fn read_file(name: &str, path: &str) -> BakeResult<SourceFile> {
    if path == "-" { take("<stdin>", std::io::stdin()) } else { open(name, Path::new(path)) }
}

/// Reads a file of this machine; `name` is what people call it.
pub(crate) fn open(name: &str, path: &Path) -> BakeResult<SourceFile> {
    let file = fs::File::open(path).map_err(|error| unreadable(name, &error))?;
    if file.metadata().map_err(|error| unreadable(name, &error))?.is_dir() {
        return Err(BakeError::new(format!("{name} is a directory")).help("name the file in it"));
    }
    take(name, file)
}

fn take(name: &str, from: impl Read) -> BakeResult<SourceFile> {
    let mut bytes = Vec::new();
    from.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(name, &error))?;
    source(name, bytes)
}

fn unreadable(name: &str, error: &std::io::Error) -> BakeError {
    BakeError::new(format!("{name} can't be read: {error}"))
}

/// A file that was read.
pub(crate) fn source(name: &str, bytes: Vec<u8>) -> BakeResult<SourceFile> {
    if bytes.len() as u64 > MAX_FILE {
        return Err(BakeError::new(format!("{name} is larger than {MAX_FILE} bytes: that is no bake definition")));
    }
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = &error.as_bytes()[..error.utf8_error().valid_up_to()];
        let line = valid.iter().filter(|byte| **byte == b'\n').count() + 1;
        BakeError::new(format!("{name}:{line}: the file is not UTF-8"))
    })?;
    Ok(SourceFile { name: name.to_owned(), text })
}

/// Reads what a file says. Its name tells the language; a name that does not is no reason to give up.
pub(crate) fn parse(file: &SourceFile, position: usize) -> BakeResult<Content> {
    let text = &file.text;
    let extension = file.name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
    match extension.as_deref() {
        Some("yaml" | "yml") => Ok(Content::Compose),
        Some("json") => json::parse(text, position).map(Content::Bake),
        Some("hcl") => native::parse(text, position).map(Content::Bake),
        _ if text.trim_start_matches('\u{FEFF}').trim_start().starts_with('{') => {
            json::parse(text, position).map(Content::Bake)
        }
        _ => native::parse(text, position).map(Content::Bake).or_else(|error| {
            let services = text.lines().any(|line| line.trim_end() == "services:");
            if services { Ok(Content::Compose) } else { Err(error) }
        }),
    }
}
