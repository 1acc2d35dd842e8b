use builder_executor::rootfs::Driver;
use builder_executor::sandbox::check_privilege;
use builder_image::registry::HostSettings;
use clap::Args;
use serde_json::json;

use super::Global;
use crate::build::driver;
use crate::error::CliResult;
use crate::{config, credentials, output, store};

#[derive(Debug, Args)]
pub(crate) struct InfoArgs {
    /// One JSON object
    #[arg(long)]
    json: bool,
}

pub(crate) fn run(global: &Global, args: &InfoArgs) -> CliResult<u8> {
    let root = store::root(global)?;
    let store = store::open(global)?;
    let usage = store.usage()?;
    let config = config::load(global)?;
    let logins = logins();
    let driver: Driver = driver(global, &store)?;
    let (driver, why) = match driver.probe() {
        Ok((kind, why)) => (kind.name().to_owned(), why.to_owned()),
        Err(error) => ("none".to_owned(), error.to_string()),
    };
    let privilege = check_privilege();
    let kernel = rustix::system::uname();
    let kernel = kernel.release().to_string_lossy().into_owned();
    let filesystems = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let overlay = filesystems.lines().any(|line| line.trim_start_matches("nodev").trim() == "overlay");
    let cgroups = cgroups();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let steps = match &privilege {
        Ok(()) => "RUN steps and containers work".to_owned(),
        Err(error) => format!("RUN steps and containers do not work: {error}"),
    };
    if args.json {
        let facts = json!({
            "version": env!("CARGO_PKG_VERSION"),
            "root": root.display().to_string(),
            "driver": driver, "driverReason": why,
            "sandbox": privilege.is_ok(), "sandboxReason": steps,
            "kernel": kernel, "overlay": overlay, "cgroups": cgroups, "processors": processors,
            "images": usage.images, "records": usage.records,
            "layerBytes": usage.layer_bytes, "blobBytes": usage.blob_bytes,
            "config": config.files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>(),
            "registries": config.hosts, "logins": logins,
        });
        output::result(&format!("{facts:#}\n"))?;
        return Ok(0);
    }
    let mut rows = vec![
        ("Version", env!("CARGO_PKG_VERSION").to_owned()),
        ("Root", root.display().to_string()),
        ("Driver", format!("{driver} ({why})")),
        ("Sandbox", steps),
        ("Kernel", kernel),
        ("Overlay", if overlay { "in /proc/filesystems" } else { "not in /proc/filesystems" }.to_owned()),
        ("Cgroups", cgroups),
        ("Processors", processors.to_string()),
        ("Images", usage.images.to_string()),
        ("Cached steps", usage.records.to_string()),
        ("Layers", format!("{} ({})", usage.layers.len(), output::size(usage.layer_bytes))),
        ("Blobs", format!("{} ({})", usage.blobs, output::size(usage.blob_bytes))),
    ];
    let files: Vec<String> = config.files.iter().map(|path| path.display().to_string()).collect();
    rows.push(("Config", if files.is_empty() { "none".to_owned() } else { files.join(", ") }));
    rows.push(("Logins", logins.unwrap_or_else(|| "nowhere: neither DOCKER_CONFIG nor HOME is set".to_owned())));
    let mut rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![format!("{name}:"), value]).collect();
    for (host, settings) in config.hosts.iter() {
        rows.push(vec![format!("Registry {host}:"), in_words(settings)]);
    }
    output::result(&output::table(&rows))?;
    Ok(0)
}

/// Where logins are kept. Who they are for is nobody's business here.
fn logins() -> Option<String> {
    Some(credentials::docker_file()?.display().to_string())
}

/// How a registry is reached.
fn in_words(settings: &HostSettings) -> String {
    let mut words = Vec::new();
    if !settings.mirrors.is_empty() {
        words.push(format!("mirrors {}", settings.mirrors.join(", ")));
    }
    match settings.http {
        Some(true) => words.push("plain HTTP".to_owned()),
        Some(false) => words.push("never plain HTTP".to_owned()),
        None => {}
    }
    if settings.insecure {
        words.push("insecure: any certificate, or plain HTTP".to_owned());
    }
    if !settings.ca.is_empty() {
        let files: Vec<String> = settings.ca.iter().map(|path| path.display().to_string()).collect();
        words.push(format!("trusts {}", files.join(", ")));
    }
    if let Some(client) = &settings.client {
        words.push(format!("client certificate {}", client.cert.display()));
    }
    if let Some(helper) = &settings.credentials_helper {
        words.push(format!("logins from docker-credential-{helper}"));
    }
    if words.is_empty() { "nothing set".to_owned() } else { words.join("; ") }
}

/// Which hierarchies the machine has.
fn cgroups() -> String {
    if std::path::Path::new("/sys/fs/cgroup/cgroup.controllers").exists() {
        return "v2".to_owned();
    }
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let (v1, v2) = (mounts.contains(" - cgroup "), mounts.contains(" - cgroup2 "));
    match (v1, v2) {
        (true, true) => "v1, with a v2 hierarchy beside it",
        (true, false) => "v1",
        (false, true) => "v2",
        (false, false) => "none",
    }
    .to_owned()
}
