//! Tables: what definitions come to.
#![expect(clippy::format_collect, clippy::type_complexity, reason = "texts of a test are read more often than built")]

mod compose;
mod errors;
mod expressions;
mod functions;
mod overrides;
mod targets;
mod variables;

use std::collections::BTreeMap;

use serde_json::Value as Json;

use super::error::{BakeError, SourceFile};
use super::overrides::Overrides;
use super::{fix_times, load, print};

/// A definition and how it is used.
#[derive(Debug, Default)]
struct Bake {
    files: Vec<SourceFile>,
    environment: BTreeMap<String, String>,
    set: Vec<String>,
    targets: Vec<String>,
}

impl Bake {
    fn hcl(text: &str) -> Self {
        Self::default().file("docker-bake.hcl", text)
    }

    fn json(text: &str) -> Self {
        Self::default().file("docker-bake.json", text)
    }

    fn compose(text: &str) -> Self {
        Self::default().file("compose.yaml", text)
    }

    fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push(SourceFile { name: name.to_owned(), text: text.to_owned() });
        self
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.insert(name.to_owned(), value.to_owned());
        self
    }

    fn set(mut self, flag: &str) -> Self {
        self.set.push(flag.to_owned());
        self
    }

    fn target(mut self, name: &str) -> Self {
        self.targets.push(name.to_owned());
        self
    }

    /// What `--print` shows.
    fn run(&mut self) -> Result<Json, BakeError> {
        let environment = self.environment.clone();
        let outside = |name: &str| environment.get(name).cloned();
        let (config, _) = load(&mut self.files, "cwd://", &outside)?;
        let overrides = Overrides::new(&self.set, &config, &outside)?;
        if self.targets.is_empty() {
            self.targets.push("default".to_owned());
        }
        let mut selected = config.select(&self.targets, &overrides)?;
        fix_times(&mut selected);
        Ok(serde_json::from_str(&print::definition(&selected)).unwrap())
    }

    #[track_caller]
    fn ok(mut self) -> Json {
        self.run().unwrap_or_else(|error| panic!("{}", error.into_cli(&self.files)))
    }

    /// The error as it is drawn.
    #[track_caller]
    fn fails(mut self) -> String {
        match self.run() {
            Ok(value) => panic!("it must fail: {value:#}"),
            Err(error) => error.into_cli(&self.files).to_string(),
        }
    }
}

/// The value of an expression as the argument `x` of a target.
fn evaluate(expression: &str) -> Result<Json, String> {
    let mut bake = Bake::hcl(&format!("target \"default\" {{ args = {{ x = jsonencode({expression}) }} }}"));
    match bake.run() {
        Ok(value) => {
            let text =
                value["target"]["default"]["args"]["x"].as_str().unwrap().replace("$${", "${").replace("%%{", "%{");
            Ok(serde_json::from_str(&text).unwrap())
        }
        Err(error) => Err(error.message),
    }
}

/// Each expression and its value as JSON.
#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (expression, expected) in table {
        let expected: Json = serde_json::from_str(expected).unwrap();
        match evaluate(expression) {
            Ok(value) => assert_eq!(value, expected, "{expression}"),
            Err(error) => panic!("{expression}: {error}"),
        }
    }
}

/// Each expression and a part of what is said about it.
#[track_caller]
fn check_errors(table: &[(&str, &str)]) {
    for (expression, expected) in table {
        match evaluate(expression) {
            Ok(value) => panic!("{expression} is {value}"),
            Err(error) => assert!(error.contains(expected), "{expression}: {error}"),
        }
    }
}
