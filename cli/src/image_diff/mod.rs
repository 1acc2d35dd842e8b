//! `image diff`: what two images differ in, by file and by config.

mod config;

use std::collections::HashSet;
use std::fmt::Write as _;

use builder_cache::content::EntryKind;
use builder_cache::{Difference, FileInfo, Image, Store};
use serde_json::{Value, json};

use crate::error::CliResult;
use crate::progress::visible_text;
use crate::{output, store};

pub(crate) use config::{Setting, settings};

/// What two images differ in.
#[derive(Debug)]
pub(crate) struct ImageDiff {
    settings: Vec<Setting>,
    files: Vec<Difference>,
    /// How many layers both have, only the first, only the second.
    layers: [usize; 3],
}

/// A path that was added, changed or deleted; below a whole directory, what it holds.
struct Line {
    mark: char,
    path: String,
    what: String,
}

/// All there is to say, added up.
#[derive(Debug, Default)]
struct Totals {
    added: usize,
    changed: usize,
    deleted: usize,
    grown: u64,
    shrunk: u64,
}

impl ImageDiff {
    /// Compares two images of the store.
    pub(crate) fn of(store: &Store, before: &Image, after: &Image) -> CliResult<Self> {
        let old: HashSet<_> = before.snapshot.layers.iter().collect();
        let new: HashSet<_> = after.snapshot.layers.iter().collect();
        let both = old.intersection(&new).count();
        let parse = |image: &Image| -> CliResult<Value> {
            Ok(serde_json::from_slice(&store::config_bytes(store, &image.id)?)?)
        };
        Ok(Self {
            settings: settings(&parse(before)?, &parse(after)?),
            files: store.compare(&before.snapshot, &after.snapshot)?,
            layers: [both, old.len() - both, new.len() - both],
        })
    }

    fn totals(&self) -> Totals {
        let mut totals = Totals::default();
        for difference in &self.files {
            let size = |info: &Option<FileInfo>| info.as_ref().map_or(0, |info| info.size);
            let (before, after) = (size(&difference.before), size(&difference.after));
            totals.grown += after.saturating_sub(before);
            totals.shrunk += before.saturating_sub(after);
            match mark(difference) {
                'A' => totals.added += 1,
                'D' => totals.deleted += 1,
                _ => totals.changed += 1,
            }
        }
        totals
    }

    /// For people. With `each`, every path below a directory that was added or deleted has its own line.
    pub(crate) fn text(&self, each: bool) -> String {
        let mut text = String::new();
        if !self.settings.is_empty() {
            text.push_str("Config:\n");
            let width = self.settings.iter().map(|setting| setting.name.chars().count()).max().unwrap_or(0);
            for setting in &self.settings {
                let value = |value: &Option<Value>| {
                    value.as_ref().map_or("(none)".to_owned(), |value| visible_text(&value.to_string()))
                };
                let _ = writeln!(
                    text,
                    "  {:width$}   {} → {}",
                    visible_text(&setting.name),
                    value(&setting.before),
                    value(&setting.after)
                );
            }
        }
        let lines = if each { self.files.iter().map(line).collect() } else { self.folded() };
        if !lines.is_empty() {
            text.push_str("Files:\n");
            let width = lines.iter().map(|line| line.path.chars().count()).max().unwrap_or(0).min(60);
            for Line { mark, path, what } in &lines {
                let _ = writeln!(text, "  {mark} {path:width$}   {what}");
            }
        }
        let Totals { added, changed, deleted, grown, shrunk } = self.totals();
        let [both, old, new] = self.layers;
        if self.files.is_empty() {
            text.push_str("No files differ");
        } else {
            let _ = write!(
                text,
                "{added} added, {changed} changed, {deleted} deleted: +{} -{}",
                output::size(grown),
                output::size(shrunk)
            );
        }
        let _ = writeln!(text, "; {both} layers in both, {old} only in the first, {new} only in the second");
        text
    }

    /// The lines, where what lies in a directory that was added or deleted is counted in the directory's.
    fn folded(&self) -> Vec<Line> {
        let mut lines: Vec<Line> = Vec::new();
        // The directory whose contents are being counted: its mark, its path, its entries and bytes.
        let mut open: Option<(char, Vec<u8>, usize, u64)> = None;
        let close = |open: &mut Option<(char, Vec<u8>, usize, u64)>, lines: &mut Vec<Line>| {
            if let Some((mark, path, entries, bytes)) = open.take() {
                let what = match entries {
                    0 => "directory".to_owned(),
                    1 => format!("directory with 1 entry, {}", output::size(bytes)),
                    more => format!("directory with {more} entries, {}", output::size(bytes)),
                };
                lines.push(Line { mark, path: shown(&path) + "/", what });
            }
        };
        // Where a directory became something else, the other mark stands between.
        for wanted in ['D', 'A', 'C'] {
            for difference in self.files.iter().filter(|difference| mark(difference) == wanted) {
                let info = difference.after.as_ref().or(difference.before.as_ref());
                if let Some((_, path, entries, bytes)) = &mut open {
                    let inside =
                        difference.path.strip_prefix(path.as_slice()).is_some_and(|rest| rest.starts_with(b"/"));
                    if inside {
                        *entries += 1;
                        *bytes += info.map_or(0, |info| info.size);
                        continue;
                    }
                }
                close(&mut open, &mut lines);
                if wanted != 'C' && info.is_some_and(|info| info.kind == EntryKind::Directory) {
                    open = Some((wanted, difference.path.clone(), 0, 0));
                } else {
                    lines.push(line(difference));
                }
            }
            close(&mut open, &mut lines);
        }
        lines.sort_by(|one, other| one.path.split('/').cmp(other.path.split('/')));
        lines
    }

    /// For programs.
    pub(crate) fn json(&self) -> Value {
        let files: Vec<Value> = self.files.iter().map(file).collect();
        let settings: Vec<Value> = self
            .settings
            .iter()
            .map(|setting| json!({ "Name": setting.name, "Before": setting.before, "After": setting.after }))
            .collect();
        let Totals { added, changed, deleted, grown, shrunk } = self.totals();
        let [both, old, new] = self.layers;
        json!({
            "Config": settings,
            "Files": files,
            "Added": added, "Changed": changed, "Deleted": deleted, "BytesAdded": grown, "BytesDeleted": shrunk,
            "Layers": { "Both": both, "First": old, "Second": new },
        })
    }
}

/// As Docker marks them: added, changed, deleted.
fn mark(difference: &Difference) -> char {
    match (&difference.before, &difference.after) {
        (None, _) => 'A',
        (_, None) => 'D',
        _ => 'C',
    }
}

fn shown(path: &[u8]) -> String {
    visible_text(&format!("/{}", String::from_utf8_lossy(path)))
}

fn line(difference: &Difference) -> Line {
    let what = match (&difference.before, &difference.after) {
        (Some(before), Some(after)) => changes(difference, before, after)
            .into_iter()
            .map(|(name, old, new)| if old == new { name.to_owned() } else { format!("{name} {old} → {new}") })
            .collect::<Vec<_>>()
            .join(", "),
        (Some(info), None) | (None, Some(info)) => match info.kind {
            EntryKind::File => output::size(info.size),
            EntryKind::Symlink => format!("→ {}", visible_text(&String::from_utf8_lossy(&info.target))),
            kind => kind_text(kind).to_owned(),
        },
        (None, None) => String::new(),
    };
    let is_directory =
        difference.after.as_ref().or(difference.before.as_ref()).is_some_and(|info| info.kind == EntryKind::Directory);
    let slash = if is_directory && !difference.path.is_empty() { "/" } else { "" };
    Line { mark: mark(difference), path: shown(&difference.path) + slash, what }
}

/// What changed, with what it was and is; where both are the same, the name says it all.
fn changes(difference: &Difference, before: &FileInfo, after: &FileInfo) -> Vec<(&'static str, String, String)> {
    let mut changes = Vec::new();
    let mut add = |name, before: String, after: String| changes.push((name, before, after));
    if before.kind != after.kind {
        add("type", kind_text(before.kind).to_owned(), kind_text(after.kind).to_owned());
    } else if before.size != after.size {
        let (old, new) = (output::size(before.size), output::size(after.size));
        if old == new {
            // To the byte where the rounded sizes tell nothing.
            add("size", format!("{}B", before.size), format!("{}B", after.size));
        } else {
            add("size", old, new);
        }
    } else if difference.content {
        let size = output::size(after.size);
        add("content", size.clone(), size);
    }
    if before.target != after.target && before.kind == after.kind {
        let text = |target: &[u8]| visible_text(&String::from_utf8_lossy(target));
        add("target", text(&before.target), text(&after.target));
    }
    if before.mode != after.mode && before.kind == after.kind {
        add("mode", format!("{:04o}", before.mode), format!("{:04o}", after.mode));
    }
    if (before.uid, before.gid) != (after.uid, after.gid) {
        let text = |info: &FileInfo| format!("{}:{}", info.uid, info.gid);
        add("owner", text(before), text(after));
    }
    if before.device != after.device && before.kind == after.kind {
        let text = |(major, minor): (u32, u32)| format!("{major}:{minor}");
        add("device", text(before.device), text(after.device));
    }
    if changes.is_empty() {
        changes.push(("attributes", String::new(), String::new()));
    }
    changes
}

fn file(difference: &Difference) -> Value {
    let (name, changed) = match (&difference.before, &difference.after) {
        (None, _) => ("added", Vec::new()),
        (_, None) => ("deleted", Vec::new()),
        (Some(before), Some(after)) => {
            ("changed", changes(difference, before, after).into_iter().map(|(name, ..)| name).collect())
        }
    };
    let mut value = json!({ "Path": format!("/{}", String::from_utf8_lossy(&difference.path)), "Kind": name });
    for (key, info) in [("Before", &difference.before), ("After", &difference.after)] {
        let Some(info) = info else { continue };
        value[key] = json!({
            "Type": kind_text(info.kind), "Mode": format!("{:04o}", info.mode), "Uid": info.uid, "Gid": info.gid,
            "Size": info.size,
        });
        if info.kind == EntryKind::Symlink {
            value[key]["Target"] = String::from_utf8_lossy(&info.target).into();
        }
    }
    if !changed.is_empty() {
        value["Changes"] = json!(changed);
    }
    value
}

fn kind_text(kind: EntryKind) -> &'static str {
    match kind {
        EntryKind::File => "file",
        EntryKind::Directory | EntryKind::OpaqueDirectory => "directory",
        EntryKind::Symlink => "symlink",
        EntryKind::CharDevice => "character device",
        EntryKind::BlockDevice => "block device",
        EntryKind::Fifo => "fifo",
        EntryKind::Socket => "socket",
        EntryKind::Whiteout => "whiteout",
    }
}
