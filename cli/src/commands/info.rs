use builder_executor::rootfs::Driver;
use builder_executor::sandbox::check_privilege;
use clap::Args;
use serde_json::json;

use super::Global;
use crate::build::driver;
use crate::error::CliResult;
use crate::{output, store};

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
        });
        output::result(&format!("{facts:#}\n"))?;
        return Ok(0);
    }
    let rows = [
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
    let rows: Vec<Vec<String>> = rows.into_iter().map(|(name, value)| vec![format!("{name}:"), value]).collect();
    output::result(&output::table(&rows))?;
    Ok(0)
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
