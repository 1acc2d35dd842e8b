//! Which images a plan is going to ask for, to be told before any of them is there.

use std::cell::RefCell;
use std::collections::HashMap;

use builder_solver::Source;

use super::arguments::{self, BuildArguments};
use super::names::Names;
use super::stages::Finder;
use super::{BuildOptions, Images, PlanError, ResolveError, ResolvedImage};
use crate::ast::Dockerfile;
use crate::config::ImageConfig;
use crate::expand::Expander;

/// The images that [`super::plan`] resolves, each with its platform, as far as that can be told without having any:
/// what `ONBUILD` of a base asks for is not among them. Of a file that can't be planned, fewer.
pub fn wanted_images(file: &Dockerfile, options: &BuildOptions) -> Vec<(String, String)> {
    let images = Noted::default();
    // Whoever plans is told what is wrong.
    let _ = find(file, options, &images);
    let mut wanted = images.0.into_inner();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

fn find(file: &Dockerfile, options: &BuildOptions, images: &Noted) -> Result<(), PlanError> {
    let mut arguments = BuildArguments::new(options);
    arguments.declare_file(file);
    let expander = Expander::new(file.directives.escape_char());
    let globals = arguments::globals(file, options, &arguments, expander)?;
    let names = Names::new(file);
    let target = names.target(options.target.as_deref())?;
    names.check(file, expander)?;
    let resolved = HashMap::new();
    Finder { file, options, images, names: &names, globals: &globals, expander, resolved }
        .find(target, &mut arguments)
        .map(drop)
}

/// Notes what it is asked for, and gives an empty image.
#[derive(Default)]
struct Noted(RefCell<Vec<(String, String)>>);

impl Images for Noted {
    fn resolve(&self, reference: &str, platform: Option<&str>) -> Result<ResolvedImage, ResolveError> {
        let platform = platform.unwrap_or_default().to_owned();
        self.0.borrow_mut().push((reference.to_owned(), platform));
        Ok(ResolvedImage { id: String::new(), reference: reference.to_owned(), config: ImageConfig::default() })
    }

    fn source_time(&self, _: &Source) -> Result<Option<i64>, ResolveError> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::parser;

    #[test]
    fn what_the_target_needs_is_wanted_once() {
        let text = "ARG V=12\nFROM debian:$V AS a\nFROM --platform=linux/arm64 debian:$V AS b\nFROM unused AS c\n\
                    FROM a\nCOPY --from=b / /\nCOPY --from=tools /x /x\nRUN --mount=from=cc,target=/m true\n\
                    COPY --from=tools /y /y\n";
        let file = parser::parse(text).expect("it parses");
        let options = BuildOptions { platform: "linux/amd64".parse().expect("a platform"), ..BuildOptions::default() };
        let wanted = wanted_images(&file, &options);
        let wanted: Vec<_> = wanted.iter().map(|(name, platform)| format!("{name} {platform}")).collect();
        assert_eq!(wanted, ["cc linux/amd64", "debian:12 linux/amd64", "debian:12 linux/arm64", "tools linux/amd64"]);
    }
}
