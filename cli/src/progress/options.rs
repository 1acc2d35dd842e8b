//! How progress is shown: from the flag, the environment and the terminal.

use clap::ValueEnum;

use super::colour::Palette;

/// The kinds of output, as given to `--progress`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(crate) enum Mode {
    /// `tty` when standard error is a terminal, else `plain`
    #[default]
    Auto,
    /// Lines that are only appended, for logs and pipes
    Plain,
    /// A live view of what runs
    Tty,
    /// One JSON object a line, as BuildKit writes it
    #[value(name = "rawjson")]
    RawJson,
    /// Nothing but errors
    #[value(alias = "none")]
    Quiet,
}

/// What the renderers need to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Options {
    /// Never [`Mode::Auto`].
    pub(crate) mode: Mode,
    /// Colours may be used, and those of the steps' output are kept.
    pub(crate) colour: bool,
    /// What the live view paints with.
    pub(super) palette: Palette,
    /// How many lines of output the live view shows below a running step.
    pub(super) tail_lines: usize,
    /// Names are cut in plain output.
    pub(super) short_names: bool,
}

/// A value of an environment variable that is no mode.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} is `{value}`: use auto, plain, tty, rawjson or quiet")]
pub(crate) struct UnknownMode {
    variable: &'static str,
    value: String,
}

impl Options {
    /// The flag counts first, then `BUILDER_PROGRESS`, then `BUILDKIT_PROGRESS`. The live view needs a terminal:
    /// without one, `tty` is `plain`.
    pub(crate) fn resolve(
        flag: Option<Mode>,
        terminal: bool,
        variable: impl Fn(&str) -> Option<String>,
    ) -> Result<Self, UnknownMode> {
        let set = |name: &str| variable(name).filter(|value| !value.is_empty());
        let mut mode = flag;
        for name in ["BUILDER_PROGRESS", "BUILDKIT_PROGRESS"] {
            if let (None, Some(value)) = (mode, set(name)) {
                mode = Some(Mode::from_str(&value, true).map_err(|_| UnknownMode { variable: name, value })?);
            }
        }
        let able = terminal && set("TERM").is_none_or(|term| term != "dumb");
        let colour = able && set("NO_COLOR").is_none();
        Ok(Self {
            mode: match mode.unwrap_or_default() {
                Mode::Auto | Mode::Tty if able => Mode::Tty,
                Mode::Auto | Mode::Tty => Mode::Plain,
                other => other,
            },
            colour,
            palette: match set("BUILDKIT_COLORS") {
                _ if !colour => Palette::none(),
                Some(colours) => Palette::parse(&colours),
                None => Palette::default(),
            },
            tail_lines: set("BUILDKIT_TTY_LOG_LINES").and_then(|lines| lines.parse().ok()).unwrap_or(6),
            short_names: set("PROGRESS_NO_TRUNC").is_some_and(|value| value == "0"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_wish_counts() {
        let plain = [("BUILDKIT_PROGRESS", "plain")];
        let both = [("BUILDKIT_PROGRESS", "plain"), ("BUILDER_PROGRESS", "rawjson")];
        let dumb = [("TERM", "dumb")];
        for (flag, terminal, environment, mode) in [
            (None, true, &[][..], Mode::Tty),
            (None, false, &[], Mode::Plain),
            (Some(Mode::Tty), false, &[], Mode::Plain),
            (Some(Mode::Tty), true, &dumb, Mode::Plain),
            (Some(Mode::Plain), true, &[], Mode::Plain),
            (None, true, &plain, Mode::Plain),
            (None, true, &both, Mode::RawJson),
            (Some(Mode::Auto), true, &both, Mode::Tty),
            (None, true, &[("BUILDER_PROGRESS", "none")], Mode::Quiet),
            (None, true, &[("BUILDER_PROGRESS", "")], Mode::Tty),
        ] {
            let lookup = |name: &str| {
                environment.iter().find(|(variable, _)| *variable == name).map(|(_, value)| (*value).to_owned())
            };
            let options = Options::resolve(flag, terminal, lookup).expect("all values are known");
            assert_eq!(options.mode, mode, "{flag:?} {terminal} {environment:?}");
        }
        let error = Options::resolve(None, true, |name| (name == "BUILDKIT_PROGRESS").then(|| "loud".to_owned()))
            .expect_err("loud is no mode");
        assert_eq!(error.to_string(), "BUILDKIT_PROGRESS is `loud`: use auto, plain, tty, rawjson or quiet");
    }

    #[test]
    fn colours_can_be_turned_off() {
        let with = |name: &'static str, value: &'static str| {
            Options::resolve(None, true, |variable| (variable == name).then(|| value.to_owned()))
                .expect("all values are known")
        };
        assert!(with("NO_COLOR", "").colour);
        assert!(!with("NO_COLOR", "1").colour);
        assert_eq!(with("NO_COLOR", "1").palette, Palette::none());
        assert_eq!(with("BUILDKIT_TTY_LOG_LINES", "2").tail_lines, 2);
        assert_eq!(with("BUILDKIT_TTY_LOG_LINES", "many").tail_lines, 6);
        assert!(!Options::resolve(None, false, |_| None).expect("nothing is set").colour);
    }
}
