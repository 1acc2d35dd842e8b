//! Times what `COPY . .` costs: scanning a context cold and warm, copying it through an overlay, the delta of one
//! changed file.
//!
//! `cargo run --release -p builder-executor --example copy_bench [FILES [DIRECTORIES [SIZE]]]`

#![expect(clippy::print_stdout, reason = "a report for people")]

use std::error::Error;
use std::fs;
use std::os::fd::AsFd;
use std::path::Path;
use std::time::Instant;

use builder_executor::context::LocalContext;
use builder_executor::copy::Plan;
use builder_executor::pattern::{IgnoreMatcher, MatchState};
use builder_executor::rootfs::{Driver, Purpose};
use builder_solver::{CopyAction, FileAction, Owner, Selection};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let files = arguments.next().transpose()?.unwrap_or(20_000);
    let directories = arguments.next().transpose()?.unwrap_or(files / 100);
    let size = arguments.next().transpose()?.unwrap_or(4096);
    println!("{files} files of {size} bytes in {directories} directories");

    let work = tempfile::tempdir_in(std::env::current_dir()?)?;
    let context = work.path().join("context");
    make_context(&context, files, directories, size)?;
    // Files that are as old as the scan would be read again.
    let index = work.path().join("index");
    let everything = Selection { sources: vec![".".into()], exclude: vec![], parents: false };
    let selections = [everything.clone()];

    for round in ["cold", "cold again (racy)", "warm", "warm", "warm", "warm"] {
        let (start, before) = (Instant::now(), cpu());
        let context = LocalContext::open(&context, IgnoreMatcher::default(), Some(index.clone()))?;
        let opened = ms(start);
        let digest = context.digest(&selections)?;
        println!(
            "{round:>18}: {:7.1} ms, cpu {:.1} (of it the index {opened:.1} ms) {}",
            ms(start),
            cpu() - before,
            digest.digest.short()
        );
    }
    let patterns = [
        "*.md",
        "**/*.log",
        "target",
        "**/node_modules",
        ".git",
        "**/*~",
        "!README.md",
        "dist/**",
        "**/.DS_Store",
        "d*/x?z",
    ];
    let ignore = IgnoreMatcher::new(patterns)?;
    let start = Instant::now();
    let local = LocalContext::open(&context, ignore.clone(), Some(index.clone()))?;
    local.digest(&selections)?;
    println!("{:>18}: {:7.1} ms", "warm, 10 patterns", ms(start));
    time_patterns(&ignore, files, directories);

    let driver = Driver::new(work.path(), None);
    let base = work.path().join("base");
    fs::create_dir(&base)?;
    let action = FileAction::Copy(CopyAction {
        input: 1,
        selection: everything,
        dest: "/app/".into(),
        owner: Owner::Default,
        mode: None,
        unpack: false,
    });

    let mut last = None;
    let mut layers = vec![base.clone()];
    for round in 0..4 {
        let (upper, overlay_work) =
            (work.path().join(format!("upper{round}")), work.path().join(format!("work{round}")));
        fs::create_dir(&upper)?;
        fs::create_dir(&overlay_work)?;
        if round == 3 {
            fs::write(context.join("d0/f0"), "changed")?;
        }
        let context = LocalContext::open(&context, IgnoreMatcher::default(), Some(index.clone()))?;
        let start = Instant::now();
        let base_root = driver.mount_directories(vec![base.clone()], None, Purpose::Files)?;
        let mut plan = Plan::new(base_root.as_fd())?;
        plan.add(&action, |_| Some(context.source()))?;
        let planned = ms(start);
        let content = plan.content().ok_or("the context was hashed")?;
        let hashed = ms(start);
        let delta = match &last {
            Some((old, listings)) if round == 3 => {
                let listings: &std::collections::HashMap<_, Vec<u8>> = listings;
                plan.delta(old, |digest| listings.get(digest).cloned())
            }
            _ => None,
        };
        let lower = if delta.is_some() { layers.clone() } else { vec![base.clone()] };
        let before = cpu();
        let mount = driver.mount_directories(lower, Some((&upper, &overlay_work)), Purpose::Files)?;
        let written = plan.write(mount.as_fd(), delta.as_ref())?;
        mount.finish()?;
        let what = if delta.is_some() { "delta" } else { "copy" };
        println!(
            "{what:>18}: {:7.1} ms (scan and plan {planned:.1}, content {:.1}, write {:.1}, cpu {:.1}) {} files",
            ms(start),
            hashed - planned,
            ms(start) - hashed,
            cpu() - before,
            written.files
        );
        layers = vec![upper, base.clone()];
        last = Some((content.root, content.listings.into_iter().collect::<std::collections::HashMap<_, _>>()));
    }
    println!("peak memory {} MiB", peak_memory()? / 1024);
    Ok(())
}

fn make_context(context: &Path, files: usize, directories: usize, size: usize) -> Result<()> {
    for directory in 0..directories {
        let path = context.join(format!("d{directory}"));
        fs::create_dir_all(&path)?;
        for file in 0..files / directories {
            let mut bytes = format!("{directory} {file}\n").into_bytes();
            bytes.resize(size, b'x');
            fs::write(path.join(format!("f{file}")), bytes)?;
        }
    }
    Ok(())
}

fn time_patterns(ignore: &IgnoreMatcher, files: usize, directories: usize) {
    let start = Instant::now();
    let mut excluded = 0;
    for directory in 0..directories {
        let (_, state): (bool, MatchState) = ignore.matches(format!("d{directory}").as_bytes(), &ignore.root());
        for file in 0..files / directories {
            excluded += usize::from(ignore.excludes(format!("d{directory}/f{file}").as_bytes(), &state));
        }
    }
    println!("{:>18}: {:7.1} ms ({excluded} excluded)", "patterns alone", ms(start));
}

fn peak_memory() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.split_whitespace().nth(1).ok_or("no number")?.parse()?)
}

/// What the processor did for this process, in milliseconds: steadier than the clock on a busy machine.
fn cpu() -> f64 {
    use nix::sys::resource::{UsageWho, getrusage};
    use nix::sys::time::TimeValLike;
    getrusage(UsageWho::RUSAGE_SELF)
        .map(|usage| (usage.user_time() + usage.system_time()).num_microseconds() as f64 / 1e3)
        .unwrap_or_default()
}

fn ms(start: Instant) -> f64 {
    start.elapsed().as_secs_f64() * 1e3
}
