//! How long a RUN of a static `true` takes, end to end: mount the root, spawn, wait, unmount.
//!
//! `cargo run --release -p builder-executor --example sandbox_bench [RUNS] [none|host]`

#![expect(clippy::print_stdout, reason = "a bench tells what it measured")]

use std::path::PathBuf;
use std::time::{Duration, Instant};

use builder_executor::rootfs::{Driver, Purpose};
use builder_executor::sandbox::{self, Network, Sandbox, SpawnRequest, SpecOptions, default_spec, resolve_user};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    if sandbox::is_init() {
        sandbox::init_main();
    }
    let runs: usize = std::env::args().nth(1).map_or(Ok(200), |text| text.parse())?;
    let network = match std::env::args().nth(2).as_deref() {
        Some("none") => Network::None,
        _ => Network::Host,
    };
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?.block_on(bench(runs, network))
}

async fn bench(runs: usize, network: Network) -> Result<(), Box<dyn std::error::Error>> {
    let store = tempfile::tempdir_in("/var/tmp")?;
    let base = store.path().join("base");
    std::fs::create_dir_all(base.join("bin"))?;
    std::fs::copy("/bin/busybox", base.join("bin/busybox"))?;
    std::os::unix::fs::symlink("busybox", base.join("bin/true"))?;
    let resolv = store.path().join("resolv.conf");
    std::fs::write(&resolv, "nameserver 192.0.2.1\n")?;
    let files: Vec<(PathBuf, PathBuf)> = ["resolv.conf", "hosts", "hostname"]
        .iter()
        .map(|name| (resolv.clone(), PathBuf::from("/etc").join(name)))
        .collect();
    let driver = Driver::new(store.path(), None);
    println!("driver: {:?}", driver.probe()?);
    let sandbox = Sandbox::new();

    let mut whole = Vec::new();
    let (mut mounting, mut spawning, mut waiting, mut unmounting) = (vec![], vec![], vec![], vec![]);
    for run in 0..=runs {
        let layer = store.path().join(format!("layer-{run}"));
        let (upper, work) = (layer.join("fs"), layer.join("work"));
        std::fs::create_dir_all(&upper)?;
        std::fs::create_dir_all(&work)?;
        let start = Instant::now();
        let root = driver.mount_directories(vec![base.clone()], Some((&upper, &work)), Purpose::Sandbox)?;
        let mounted = Instant::now();
        let user = resolve_user(&root, "")?;
        let mut options = SpecOptions::new(["/bin/true"], user);
        options.env.push("PATH=/bin".to_owned());
        options.network = network.clone();
        options.files.clone_from(&files);
        let spec = default_spec(&options);
        let mut running = sandbox.spawn(SpawnRequest::new(&spec, &root))?;
        let spawned = Instant::now();
        let exit = running.wait().await?;
        assert!(exit.is_success(), "{exit:?}");
        drop(running);
        let ended = Instant::now();
        root.finish()?;
        let unmounted = Instant::now();
        if run == 0 {
            println!("first run (starts the helper): {:?}", unmounted - start);
            continue;
        }
        whole.push(unmounted - start);
        mounting.push(mounted - start);
        spawning.push(spawned - mounted);
        waiting.push(ended - spawned);
        unmounting.push(unmounted - ended);
    }
    for (name, times) in [
        ("mount", &mut mounting),
        ("spawn", &mut spawning),
        ("wait", &mut waiting),
        ("unmount", &mut unmounting),
        ("whole", &mut whole),
    ] {
        times.sort_unstable();
        let at = |index: usize| times[index].as_secs_f64() * 1e3;
        let sum: Duration = times.iter().sum();
        println!(
            "{name:8} min {:.3} median {:.3} p95 {:.3} mean {:.3} ms",
            at(0),
            at(times.len() / 2),
            at(times.len() * 95 / 100),
            sum.as_secs_f64() * 1e3 / times.len() as f64
        );
    }
    Ok(())
}
