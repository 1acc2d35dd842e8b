//! The history of an image: one entry an instruction, in the words that BuildKit uses.
//!
//! | instruction | text | layer |
//! |---|---|---|
//! | `RUN` | `RUN \|1 ARG=value /bin/sh -c command # buildkit`; the count and the arguments only when there are any | yes |
//! | `COPY`, `ADD` | `COPY --chown=u a b /d # buildkit`; of the flags `--parents`, `--chown`, `--chmod`; a heredoc as `<<NAME` | yes |
//! | `WORKDIR` | `WORKDIR /d` | unless `/` |
//! | `CMD`, `ENTRYPOINT` | `CMD ["a" "b"]` | no |
//! | `ENV`, `LABEL`, `ARG` | `ENV k=v k2=v2` | no |
//! | `EXPOSE`, `VOLUME`, `SHELL` | `EXPOSE [80/tcp]` | no |
//! | `HEALTHCHECK` | `HEALTHCHECK {Test:[CMD-SHELL x] Interval:30s …}` | no |
//! | `USER`, `STOPSIGNAL`, `MAINTAINER` | as written, expanded | no |
//! | `ONBUILD` | no entry | |

use builder_solver::VertexId;

use crate::config::{Healthcheck, History};
use crate::go_text;

/// The comment of every entry.
pub const COMMENT: &str = "buildkit.dockerfile.v0";

/// The comment of a layer that no instruction made.
const EXPORTER_COMMENT: &str = "buildkit.exporter.image.v0";

/// An entry, and the vertex whose result is its layer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HistoryEntry {
    /// What goes into the config. `created` is filled in when the image is written.
    pub entry: History,
    /// It is an entry of the base image.
    pub inherited: bool,
    /// Who makes its layer; `None` for inherited entries and for those without a layer.
    pub vertex: Option<VertexId>,
}

impl HistoryEntry {
    /// An entry of the base image.
    pub(crate) fn inherited(entry: &History) -> Self {
        Self { entry: entry.clone(), inherited: true, vertex: None }
    }

    /// The entry of a layer that no instruction made: the files of a named context below a stage.
    pub(crate) fn of_context(name: &str, vertex: VertexId) -> Self {
        let mut entry = Self::new(format!("[context {name}] load from client"), Some(vertex));
        EXPORTER_COMMENT.clone_into(&mut entry.entry.comment);
        entry
    }

    /// An entry of an instruction; with a vertex it has a layer.
    pub(crate) fn new(created_by: String, vertex: Option<VertexId>) -> Self {
        let entry =
            History { created_by, comment: COMMENT.to_owned(), empty_layer: vertex.is_none(), ..History::default() };
        Self { entry, inherited: false, vertex }
    }
}

/// The text of a `RUN`: `arguments` are the stage's build arguments so far.
pub(crate) fn run(arguments: &[(&str, &str)], command: &[String]) -> String {
    let mut text = "RUN ".to_owned();
    if !arguments.is_empty() {
        text.extend(["|", &arguments.len().to_string(), " "]);
        for (name, value) in arguments {
            text.extend([name, "=", value, " "]);
        }
    }
    text.push_str(&command.join(" "));
    text.push_str(" # buildkit");
    text
}

/// The text of a `HEALTHCHECK`.
pub(crate) fn healthcheck(check: &Healthcheck) -> String {
    format!(
        "HEALTHCHECK {{Test:{} Interval:{} Timeout:{} StartPeriod:{} StartInterval:{} Retries:{}}}",
        go_text::list(&check.test),
        go_text::duration(check.interval),
        go_text::duration(check.timeout),
        go_text::duration(check.start_period),
        go_text::duration(check.start_interval),
        check.retries,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_read_like_buildkit() {
        let command = ["/bin/sh".to_owned(), "-c".to_owned(), "make  all".to_owned()];
        assert_eq!(run(&[], &command), "RUN /bin/sh -c make  all # buildkit");
        assert_eq!(run(&[("A", "b c"), ("D", "")], &command), "RUN |2 A=b c D= /bin/sh -c make  all # buildkit");
        let check = Healthcheck {
            test: vec!["CMD-SHELL".into(), "curl x".into()],
            interval: 90_000_000_000,
            retries: 3,
            ..Healthcheck::default()
        };
        assert_eq!(
            healthcheck(&check),
            "HEALTHCHECK {Test:[CMD-SHELL curl x] Interval:1m30s Timeout:0s StartPeriod:0s StartInterval:0s Retries:3}"
        );
    }
}
