//! A store with few images, and findings as text.

use builder_frontend::config::ImageConfig;
use builder_frontend::lint::{self, Facts, Lines, Report};
use builder_frontend::parser;
use builder_frontend::plan::{BuildOptions, Images, ResolveError, ResolvedImage};
use builder_frontend::platform::Platform;

/// `base` sets `FROM_BASE`, `shelled` has a shell, `foreign` is for another processor, `parent` has triggers.
pub(crate) struct Store;

impl Images for Store {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let mut config = ImageConfig { os: "linux".into(), architecture: "amd64".into(), ..ImageConfig::default() };
        let missing = || ResolveError { message: format!("no {reference}"), help: None, source: None };
        match reference.split(':').next().unwrap_or_default() {
            "base" => config.config.env = vec!["FROM_BASE=1".into()],
            "shelled" => config.config.shell = vec!["/bin/bash".into(), "-c".into()],
            "foreign" | "arm64v8/debian" if platform.is_some() => return Err(missing()),
            "foreign" | "arm64v8/debian" => "arm64".clone_into(&mut config.architecture),
            "parent" => {
                config.config.on_build = vec!["ENV A=$unknown TOKEN=x".into(), "COPY --from=tools /a /a".into()];
            }
            _ => return Err(missing()),
        }
        Ok(ResolvedImage { id: "sha256:1".into(), reference: reference.to_owned(), config })
    }
}

pub(crate) fn options(args: &[&str]) -> BuildOptions {
    let platform: Platform = "linux/amd64".parse().unwrap();
    let split = |arg: &&str| match arg.split_once('=') {
        Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
        None => ((*arg).to_owned(), None),
    };
    BuildOptions {
        platform: platform.clone(),
        build_platform: platform,
        build_args: args.iter().map(split).collect(),
        ..BuildOptions::default()
    }
}

pub(crate) fn report(text: &str, options: &BuildOptions, all_stages: bool) -> Report {
    let file = parser::parse(text).unwrap_or_else(|error| panic!("{error} in\n{text}"));
    let ignored = |path: &str| path.starts_with("ignored") || path == "build.log";
    let facts = Facts { options, images: &Store, ignored: &ignored, all_stages };
    lint::check(&file, &facts).unwrap_or_else(|error| panic!("{error} in\n{text}"))
}

/// `line: Rule: message`, one a line.
pub(crate) fn shown(text: &str, report: &Report) -> Vec<String> {
    let lines = Lines::of(text);
    let findings = report.findings.iter();
    findings.map(|one| format!("{}: {}: {}", one.lines(&lines).0, one.rule.name, one.message)).collect()
}

pub(crate) fn found(text: &str) -> Vec<String> {
    shown(text, &report(text, &options(&[]), false))
}

/// The parts of the text that the findings point at.
pub(crate) fn pointed(text: &str) -> Vec<&str> {
    let report = report(text, &options(&[]), false);
    for one in &report.findings {
        assert!(text.get(one.span.clone()).is_some(), "{one:?} cuts a character");
    }
    report.findings.iter().map(|one| &text[one.focus.clone()]).collect()
}

#[track_caller]
pub(crate) fn assert_found(text: &str, expected: &[&str]) {
    assert_eq!(found(text), expected, "{text}");
}
