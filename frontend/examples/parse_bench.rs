//! Times the frontend alone: a Dockerfile of 10,000 lines, parsed, checked and planned.
#![expect(clippy::print_stdout, reason = "it reports to the person who runs it")]

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use builder_frontend::lint::{Facts, check};
use builder_frontend::parser::parse;
use builder_frontend::plan::{BuildOptions, Images, ResolveError, ResolvedImage, plan};
use builder_solver::Graph;

/// Nothing is built on an image here.
struct NoImages;

impl Images for NoImages {
    fn resolve(&self, reference: &str, _: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        Err(ResolveError { message: format!("no image {reference}"), help: None, source: None })
    }
}

const LINES: usize = 10_000;
const ROUNDS: usize = 15;

fn text(line: impl Fn(usize) -> String) -> String {
    let mut text = "FROM scratch\n".to_owned();
    for number in 1..LINES {
        let _ = writeln!(text, "{}", line(number));
    }
    text
}

fn mixed(number: usize) -> String {
    match number % 5 {
        0 => format!("ENV NAME{} \"value of {number}\"", number % 50),
        1 => format!("COPY --chown=1:2 src/{number} docs/ /app/{number}/"),
        2 => "RUN [\"/bin/true\", \"-x\"]".to_owned(),
        3 => format!("LABEL number=\"{number}\""),
        _ => format!("RUN make -j2 target-{number} && ./configure --prefix=/usr"),
    }
}

fn best(mut work: impl FnMut()) -> (Duration, Duration) {
    let mut times: Vec<Duration> = (0..ROUNDS)
        .map(|_| {
            let started = Instant::now();
            work();
            started.elapsed()
        })
        .collect();
    times.sort();
    (times[0], times[ROUNDS / 2])
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let options = BuildOptions::default();
    for (name, text) in [
        ("RUN lines", text(|number| format!("RUN apt-get update && apt-get install -y package-{number}"))),
        ("mixed lines", text(mixed)),
    ] {
        let file = parse(&text)?;
        let mut graph = Graph::new();
        plan(&mut graph, &file, &text, &options, &NoImages)?;
        let (fastest, median) = best(|| drop(parse(&text)));
        println!("parse {LINES} {name:<12} {:>7.1} ms (median {:.1})", ms(fastest), ms(median));
        let (fastest, median) = best(|| drop(plan(&mut Graph::new(), &file, &text, &options, &NoImages)));
        let vertices = graph.len();
        let facts = Facts { options: &options, images: &NoImages, ignored: &|_| false, all_stages: true };
        let (fastest_check, median_check) = best(|| drop(check(&file, &facts)));
        println!("check {LINES} {name:<12} {:>7.1} ms (median {:.1})", ms(fastest_check), ms(median_check));
        println!("plan  {LINES} {name:<12} {:>7.1} ms (median {:.1}), {vertices} vertices", ms(fastest), ms(median));
    }
    Ok(())
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
