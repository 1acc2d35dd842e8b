use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use builder_image::Reference;
use builder_image::registry::{Fetched, Repository, Stop, Which};
use clap::{Args, Subcommand};
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::Global;
use crate::error::{CliError, CliResult};
use crate::output;
use crate::registry::{RegistryArgs, client_for};
use crate::remote_image::{self, Children};

#[derive(Debug, Subcommand)]
pub(crate) enum ManifestCommand {
    /// Show a manifest or index as the registry has it
    Inspect(ManifestInspectArgs),
}

#[derive(Debug, Args)]
pub(crate) struct ManifestInspectArgs {
    /// Show descriptors with platforms too, and the manifests of an index
    #[arg(short, long)]
    verbose: bool,
    /// Print the registry's bytes as they are
    #[arg(long, conflicts_with = "verbose")]
    raw: bool,
    #[command(flatten)]
    registry: RegistryArgs,
    /// The name in its registry
    #[arg(value_name = "MANIFEST")]
    reference: String,
}

pub(crate) fn run(global: &Global, command: ManifestCommand) -> CliResult<u8> {
    let ManifestCommand::Inspect(args) = command;
    inspect(global, &args)
}

fn inspect(global: &Global, args: &ManifestInspectArgs) -> CliResult<u8> {
    let reference = remote_image::reference(&args.reference)?;
    let registry = client_for(global, &args.registry, [reference.registry().as_str()], Stop::default())?;
    let repository = registry.repository(&reference);
    let fetched = remote_image::manifest(&repository, &Which::of(&reference), &reference)?;
    if args.raw {
        return output::bytes(&fetched.bytes).map(|()| 0);
    }
    let document = remote_image::document(&fetched, &reference.to_string())?;
    let children = remote_image::children(&document);
    // Docker's own words for both have these indents.
    let text = match (args.verbose, children) {
        (false, None) => indented(&document, b"\t")?,
        (false, Some(_)) => indented(&document, b"   ")?,
        (true, None) => {
            let platform = config_platform(&repository, &document, &fetched)?;
            indented(&verbose(&reference.to_string(), &fetched, &document, platform), b"\t")?
        }
        (true, Some(children)) => indented(&verbose_index(&reference, &repository, &children)?, b"\t")?,
    };
    output::result(&text)?;
    Ok(0)
}

fn indented(document: &Value, indent: &[u8]) -> CliResult<String> {
    let mut text = Vec::new();
    let form = serde_json::ser::PrettyFormatter::with_indent(indent);
    document.serialize(&mut serde_json::Serializer::with_formatter(&mut text, form))?;
    text.push(b'\n');
    Ok(String::from_utf8(text)?)
}

/// One manifest with what is known about it.
fn verbose(name: &str, fetched: &Fetched, document: &Value, platform: Option<Value>) -> Value {
    let mut descriptor = json!({
        "mediaType": fetched.media_type,
        "digest": fetched.digest.to_string(),
        "size": fetched.bytes.len(),
    });
    if let Some(platform) = platform {
        descriptor["platform"] = platform;
    }
    let is_docker = fetched.media_type.starts_with("application/vnd.docker.");
    let kind = if is_docker { "SchemaV2Manifest" } else { "OCIManifest" };
    json!({ "Ref": name, "Descriptor": descriptor, "Raw": STANDARD.encode(&fetched.bytes), kind: document })
}

fn verbose_index(reference: &Reference, repository: &Repository, children: &Children) -> CliResult<Value> {
    let mut all = Vec::new();
    for (digest, descriptor) in children {
        let name = match reference.tag() {
            Some(tag) => format!("{}:{tag}@{digest}", reference.name()),
            None => format!("{}@{digest}", reference.name()),
        };
        let fetched = repository.manifest(&Which::Digest(*digest))?;
        let document = remote_image::document(&fetched, &name)?;
        let platform = descriptor.get("platform").filter(|platform| !platform.is_null()).cloned();
        all.push(verbose(&name, &fetched, &document, platform));
    }
    Ok(Value::Array(all))
}

/// The platform that a manifest's config tells; none for what is no image.
fn config_platform(repository: &Repository, document: &Value, fetched: &Fetched) -> CliResult<Option<Value>> {
    let config = &document["config"];
    let media_type = config["mediaType"].as_str().unwrap_or_default();
    if !remote_image::is_image_config(media_type) {
        return Ok(None);
    }
    let config = remote_image::config(repository, document)
        .map_err(|error: CliError| error.context(&format!("the config of {} can't be read", fetched.digest)))?;
    let mut platform = Map::new();
    for name in ["architecture", "os", "os.version", "os.features", "variant"] {
        if let Some(value) = config.get(name).filter(|value| !value.is_null() && value.as_str() != Some("")) {
            platform.insert(name.to_owned(), value.clone());
        }
    }
    Ok(Some(Value::Object(platform)))
}
