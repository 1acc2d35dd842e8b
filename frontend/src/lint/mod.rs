//! Checks: what a Dockerfile may say and probably does not mean.
//!
//! [`check`] goes over the tree once and returns a [`Report`] of [`Finding`]s, each with its [`Rule`]. Names, messages and
//! conditions of the rules are those of BuildKit; four more of our own are experimental. Every rule has a page
//! ([`Rule::page`]).
//!
//! * `text` looks at the file as it stands: names, keywords, comments.
//! * `from` looks at the arguments of every `FROM`.
//! * `stage` follows the instructions of the stages that the build needs (`reach`), with the variables that they see
//!   (`scope`), and `layers` what they leave behind.
//!
//! Which findings are told is up to `# check=` at the head of the file, the same in a comment above an instruction, and
//! the build argument `BUILDKIT_DOCKERFILE_CHECK` in place of the first.
//!
//! Invariants: nothing here fails on a file that parses, but for wrong options of a check; what can't be known (a base
//! image that is not there) finds nothing. No I/O.

mod config;
mod from;
mod layers;
pub(crate) mod reach;
mod reference;
mod report;
mod rule;
pub(crate) mod scope;
mod secret;
mod shell;
mod stage;
mod text;

use std::fmt;

pub use self::config::CheckOptionsError;
pub use self::report::{Finding, Lines, Report};
pub use self::rule::{RULES, Rule};

use self::config::Config;
use self::from::Froms;
use self::reach::Reach;
use self::report::Reporter;
use self::scope::Given;
use self::stage::Stages;
use crate::ast::Dockerfile;
use crate::expand::Expander;
use crate::parser;
use crate::plan::arguments::{self, BuildArguments};
use crate::plan::{BuildOptions, Images};

/// The build argument that takes the place of `# check=`.
const ARGUMENT: &str = "BUILDKIT_DOCKERFILE_CHECK";

/// What checks have to know beside the text.
pub struct Facts<'a> {
    /// What is to be built, and how.
    pub options: &'a BuildOptions,
    /// Where base images come from. One that is not there is no reason to stop.
    pub images: &'a dyn Images,
    /// Whether the ignore file excludes a path of the context, and all below it.
    pub ignored: &'a dyn Fn(&str) -> bool,
    /// Check every stage, whether the target needs it or not.
    pub all_stages: bool,
}

impl fmt::Debug for Facts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Facts")
            .field("options", self.options)
            .field("all_stages", &self.all_stages)
            .finish_non_exhaustive()
    }
}

/// Checks a Dockerfile.
pub fn check(file: &Dockerfile, facts: &Facts<'_>) -> Result<Report, CheckOptionsError> {
    let arguments = BuildArguments::new(facts.options);
    let config = match (arguments.get(ARGUMENT), &file.directives.check) {
        (Some(options), _) => Config::parse(options, None)?,
        (None, Some(directive)) => Config::parse(&directive.value, Some(&directive.span))?,
        (None, None) => Config::default(),
    };
    let mut reporter = Reporter::new(config);
    text::check(file, &mut reporter);
    let expander = Expander::new(file.directives.escape_char());
    // A default that can't be expanded is an error, and planning tells it.
    let Ok(globals) = arguments::globals(file, facts.options, &arguments, expander) else {
        return Ok(reporter.finish());
    };
    let defaults = arguments::globals(file, facts.options, &BuildArguments::default(), expander).ok();
    let given = Given { arguments: &arguments, globals: &globals, expander };
    let reach = Reach::new(file, facts.options, facts.images, &globals, expander);
    let declared = file.global_args.iter().flat_map(|arg| &arg.command.items).map(|item| item.key.as_str());
    let froms = Froms { given: &given, defaults: defaults.as_ref(), declared: declared.collect(), reach: &reach };
    for (index, stage) in file.stages.iter().enumerate() {
        froms.check(index, stage, &mut reporter);
    }
    let reached = if facts.all_stages { reach.stages(0..file.stages.len()) } else { reach.stages(reach.target()) };
    let layers = reporter.is_experimental()
        || file.comments.iter().any(|comment| config::check_comment(&comment.text).is_some());
    let mut stages = Stages::new(facts, &given, layers);
    for (stage, reached) in file.stages.iter().zip(&reached) {
        stages.check(stage, reached.as_ref(), &mut reporter);
    }
    drop(stages);
    Ok(reporter.finish())
}

/// Checks what stands above a line that does not parse, as far as single instructions tell. `error` is where the error is.
pub fn check_above(text: &str, error: usize) -> Vec<Finding> {
    let error = text.floor_char_boundary(error);
    let start = text[..error].rfind('\n').map_or(0, |end| end + 1);
    let Ok(file) = parser::parse(&text[..start]) else { return Vec::new() };
    let config = file.directives.check.as_ref().map(|check| Config::parse(&check.value, None));
    let Ok(config) = config.unwrap_or_else(|| Ok(Config::default())) else { return Vec::new() };
    let mut reporter = Reporter::new(config);
    text::instructions(&file, &mut reporter);
    reporter.finish().findings
}
