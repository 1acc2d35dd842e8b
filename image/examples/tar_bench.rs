//! How fast a layer becomes a tar: `cargo run --release -p builder-image --example tar_bench [DIRECTORY]`.
//!
//! Without a directory it makes two: 1 GiB in files of 64 MiB that compress like programs do, and 20,000 files of
//! 4 KiB. Prints the best and the median of five and the CPU time for each way to write them, and the peak memory.

#![allow(clippy::print_stdout, reason = "a program for people")]

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use builder_image::compress::{Compression, Compressor};
use builder_image::layer::{ApplyOptions, WriteOptions, apply_layer, write_layer};

const ROUNDS: usize = 5;

type Failure = Box<dyn std::error::Error>;

fn main() -> Result<(), Failure> {
    let scratch = tempfile::tempdir_in(".")?;
    let directories: Vec<(String, PathBuf)> = match std::env::args_os().nth(1) {
        Some(path) => vec![(PathBuf::from(&path).display().to_string(), path.into())],
        None => vec![
            ("1 GiB in 16 files".to_owned(), large(&scratch.path().join("large"))?),
            ("20,000 files of 4 KiB".to_owned(), small(&scratch.path().join("small"))?),
        ],
    };
    for (name, directory) in directories {
        println!("{name}");
        let many_files = directory.read_dir()?.count() > 100;
        measure("diff id", || {
            write_layer(&[&directory], &WriteOptions::default(), &mut io::sink()).map(|tar| tar.size)
        })?;
        for compression in [Compression::Uncompressed, Compression::Gzip, Compression::Zstd] {
            let path = scratch.path().join("layer");
            measure(&format!("to a file, {compression}"), || {
                let file = BufWriter::with_capacity(1 << 20, File::create(&path)?);
                let mut out = Compressor::new(file, compression)?;
                write_layer(&[&directory], &WriteOptions::default(), &mut out)?;
                out.finish()?.flush()?;
                Ok::<_, Failure>(path.metadata()?.len())
            })?;
            measure(&format!("applied, {compression}"), || {
                // Removed at the very end: ext4 is slow to make files while it remembers many removed ones.
                let target = tempfile::Builder::new().disable_cleanup(many_files).tempdir_in(scratch.path())?;
                let applied = apply_layer(File::open(&path)?, target.path(), &ApplyOptions::default())?;
                Ok::<_, Failure>(applied.size)
            })?;
        }
    }
    println!("peak memory: {} MiB", peak_memory()? >> 10);
    Ok(())
}

fn measure<E>(what: &str, mut run: impl FnMut() -> Result<u64, E>) -> Result<(), E> {
    let mut times = Vec::new();
    let mut size = 0;
    let cpu_before = cpu_seconds();
    for _ in 0..ROUNDS {
        let start = Instant::now();
        size = run()?;
        times.push(start.elapsed());
    }
    let cpu = (cpu_seconds() - cpu_before) / ROUNDS as f64;
    times.sort();
    let rate = |time: Duration| (size as f64 / 1e6) / time.as_secs_f64();
    println!(
        "  {what:28} best {:6.3} s  median {:6.3} s  cpu {cpu:6.3} s  {:6} MB  {:6.0} MB/s of output",
        times[0].as_secs_f64(),
        times[ROUNDS / 2].as_secs_f64(),
        size / 1_000_000,
        rate(times[0]),
    );
    Ok(())
}

/// Bytes like those of programs: pieces of this very program, shuffled.
fn large(directory: &Path) -> Result<PathBuf, Failure> {
    std::fs::create_dir_all(directory)?;
    let own = std::fs::read(std::env::current_exe()?)?;
    let mut state = 1_u64;
    for number in 0..16 {
        let mut file = BufWriter::new(File::create(directory.join(format!("file-{number}")))?);
        for _ in 0..(64 << 20) / 8192 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 20) as usize % (own.len() - 8192);
            file.write_all(&own[at..at + 8192])?;
        }
        file.flush()?;
    }
    Ok(directory.to_owned())
}

fn small(directory: &Path) -> Result<PathBuf, Failure> {
    let bytes = std::fs::read(std::env::current_exe()?)?;
    for number in 0..20_000_usize {
        let parent = directory.join(format!("d{:03}", number / 100));
        std::fs::create_dir_all(&parent)?;
        let at = (number * 4099) % (bytes.len() - 4096);
        std::fs::write(parent.join(format!("f{number}")), &bytes[at..at + 4096])?;
    }
    Ok(directory.to_owned())
}

/// Time on all cores: unlike the others it does not depend on who else is at work.
fn cpu_seconds() -> f64 {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

fn peak_memory() -> Result<u64, Failure> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).ok_or("no VmHWM")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
