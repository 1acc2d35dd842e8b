//! Planning: any Dockerfile that parses gives a graph or an error whose place lies in the text, the same one each time.
//! So do the checks and the outline of what can be given to it.

#![no_main]

use builder_frontend::ast::Dockerfile;
use builder_frontend::config::ImageConfig;
use builder_frontend::lint::{Facts, Lines, check};
use builder_frontend::outline::{outline, targets};
use builder_frontend::parser::parse;
use builder_frontend::plan::{BuildOptions, Images, ResolveError, ResolvedImage, plan};
use builder_frontend::platform::Platform;
use builder_solver::Graph;
use libfuzzer_sys::fuzz_target;

/// Every image exists. The names that begin with `o` carry triggers, so that those of images are planned, too.
struct AnyImage;

impl Images for AnyImage {
    fn resolve(&self, reference: &str, _: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let platform = Platform { os: "linux".to_owned(), architecture: "amd64".to_owned(), ..Platform::host() };
        let mut config = ImageConfig::scratch(&platform);
        if let Some(triggers) = reference.strip_prefix('o') {
            config.config.on_build = vec![format!("RUN echo {triggers}"), "COPY --from=a b c".to_owned()];
        }
        Ok(ResolvedImage { id: format!("sha256:{:064}", 0), reference: reference.to_owned(), config })
    }
}

fn vertices(graph: &Graph) -> Vec<String> {
    graph.vertices().map(|vertex| format!("{vertex:?}")).collect()
}

fn checks(file: &Dockerfile, text: &str) {
    let everything = ("BUILDKIT_DOCKERFILE_CHECK".to_owned(), Some("experimental=all".to_owned()));
    let options = BuildOptions { build_args: vec![everything], ..BuildOptions::default() };
    let facts = Facts { options: &options, images: &AnyImage, ignored: &|path| path.len() % 2 == 0, all_stages: true };
    let report = check(file, &facts).expect("the options of the checks are right");
    let lines = Lines::of(text);
    for finding in &report.findings {
        assert!(text.get(finding.span.clone()).is_some(), "{finding:?}");
        assert!(text.get(finding.focus.clone()).is_some(), "{finding:?}");
        let (first, last) = finding.lines(&lines);
        assert!((1..=last).contains(&first), "{finding:?}");
    }
    assert_eq!(report, check(file, &facts).expect("as before"));
    assert!(!targets(file).is_empty());
    outline(file, &options, &AnyImage);
}

fuzz_target!(|text: &str| {
    let Ok(file) = parse(text) else { return };
    checks(&file, text);
    let options = BuildOptions {
        build_args: vec![("A".to_owned(), Some("value".to_owned())), ("B".to_owned(), None)],
        project: "fuzz".to_owned(),
        ..BuildOptions::default()
    };
    let (mut first_graph, mut second_graph) = (Graph::new(), Graph::new());
    let first = plan(&mut first_graph, &file, text, &options, &AnyImage);
    let second = plan(&mut second_graph, &file, text, &options, &AnyImage);
    match (first, second) {
        (Ok(first), Ok(second)) => {
            assert_eq!(vertices(&first_graph), vertices(&second_graph));
            assert_eq!(format!("{:?}", first.config), format!("{:?}", second.config));
            assert_eq!(format!("{:?}", first.history), format!("{:?}", second.history));
        }
        (Err(first), Err(second)) => {
            assert_eq!(format!("{first:?}"), format!("{second:?}"));
            if let Some(span) = &first.span {
                assert!(text.get(span.clone()).is_some(), "{span:?} is not a part of the text");
            }
            if let Some(diagnostic) = first.diagnostic() {
                assert!(!diagnostic.message.is_empty());
                // A trigger's error is drawn below the trigger.
                let source = first.trigger.as_deref().unwrap_or(text);
                assert!(!diagnostic.render("Dockerfile", source, false).is_empty());
            }
        }
        (first, second) => panic!("one plan is {first:?}, the other {second:?}"),
    }
});
