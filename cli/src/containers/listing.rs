//! A container as a row of `ps`.

use builder_cache::{Container, ContainerState, Store};
use builder_frontend::go_text::quote;
use serde_json::{Value, json};

use super::{Description, state};
use crate::commands::images::timestamp;
use crate::error::CliResult;
use crate::output;
use crate::store;

/// How ages are told.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ages {
    /// Now, in milliseconds since the epoch.
    pub(crate) now_ms: i64,
}

impl Ages {
    /// As of now.
    pub(crate) fn now() -> Self {
        Self { now_ms: jiff::Timestamp::now().as_millisecond() }
    }

    /// `3 minutes ago`
    pub(crate) fn since(self, ms: i64) -> String {
        output::ago((self.now_ms - ms) / 1000)
    }

    /// What a container does, and how long: `Up 2 minutes`, `Exited (0) 3 hours ago`.
    pub(crate) fn status(self, container: &Container) -> String {
        match container.state() {
            ContainerState::Created => "Created".to_owned(),
            ContainerState::Running => {
                let since = self.since(container.started_ms.unwrap_or(self.now_ms));
                format!("Up {}", since.trim_end_matches(" ago"))
            }
            ContainerState::Exited => {
                let ended = self.since(container.finished_ms.unwrap_or(self.now_ms));
                format!("Exited ({}) {ended}", container.exit_code)
            }
        }
    }
}

/// The fields of a row. Ids and commands are cut short unless `whole`.
pub(crate) fn row(store: &Store, container: &Container, ages: Ages, whole: bool, size: bool) -> CliResult<Value> {
    let description = Description::of(container)?;
    let (id, mut command) = (container.id.to_string(), command_line(&description.command));
    if !whole {
        command = shorten(&command, 20);
    }
    let mounts: Vec<String> = description.mounts.iter().map(|mount| mount.source.display().to_string()).collect();
    let labels = &description.config.labels;
    let list: Vec<String> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let mut fields = json!({
        "ID": if whole { id } else { container.id.short() },
        "Image": image_name(store, container, &description, whole),
        "Command": quote(&command),
        "CreatedAt": timestamp(container.created_ms),
        "RunningFor": ages.since(container.created_ms),
        "Status": ages.status(container),
        "State": state(container),
        "Ports": "",
        "Names": container.name,
        "Labels": list.join(","),
        "Label": labels,
        "Mounts": mounts.join(","),
        "Networks": "host",
        "LocalVolumes": "0",
    });
    if size {
        let (own, all) = sizes(store, container)?;
        fields["Size"] = json!(format!("{} (virtual {})", output::size(own), output::size(all)));
    }
    Ok(fields)
}

/// What it wrote, and that with its image.
fn sizes(store: &Store, container: &Container) -> CliResult<(u64, u64)> {
    let own = store.container_size(&container.id);
    let mut all = own;
    for layer in &container.snapshot.layers {
        all += builder_image::assemble::layer_size(store, layer)?;
    }
    Ok((own, all))
}

/// The name that it was asked for, as long as that is still the same image.
fn image_name(store: &Store, container: &Container, description: &Description, whole: bool) -> String {
    let found = store::try_find(store, &description.image).ok().flatten();
    if found.is_some_and(|found| found.image.id == container.image) {
        return description.image.clone();
    }
    if whole { container.image.to_string() } else { container.image.short() }
}

/// As Docker joins a command line.
fn command_line(command: &[String]) -> String {
    let quoted = |(index, part): (usize, &String)| {
        if index > 0 && part.contains(' ') { format!("'{part}'") } else { part.clone() }
    };
    command.iter().enumerate().map(quoted).collect::<Vec<_>>().join(" ")
}

fn shorten(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    text.chars().take(length - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_look_like_dockers() {
        for (command, shown) in [
            (vec!["sh"], "sh"),
            (vec!["sh", "-c", "echo hi"], "sh -c 'echo hi'"),
            (vec!["sh", "-c", "sleep 1000; true"], "sh -c 'sleep 1000; …"),
            (vec!["sleep", "12345678901234"], "sleep 12345678901234"),
        ] {
            let command: Vec<String> = command.into_iter().map(str::to_owned).collect();
            assert_eq!(shorten(&command_line(&command), 20), shown);
        }
    }
}
