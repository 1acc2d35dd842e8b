//! `COPY` and `ADD`.

use builder_solver::{CopyAction, FileAction, FileMode, FileOp, Op, Owner, Selection, Vertex, VertexId};

use crate::ast::{Add, Copy, CopySource, Heredoc, Word};
use crate::expand::Expander;
use crate::plan::convert::{self, Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::run::file_name;
use crate::plan::settings::Settings;
use crate::plan::stages::Step;
use crate::plan::{mode, paths};

/// What the two instructions have in common.
struct Request<'a> {
    keyword: &'static str,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    link: bool,
    parents: bool,
    exclude: &'a [Word],
    unpack: bool,
    sources: &'a [CopySource],
    dest: &'a Word,
}

/// A request with its variables expanded.
struct Files {
    actions: Vec<FileAction>,
    /// The copy has an input of its own.
    copies: bool,
    /// It does not depend on the files below it.
    link: bool,
    history: String,
}

impl Converter<'_> {
    /// Adds the vertex of a `COPY`.
    pub(super) fn copy(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        copy: &Copy,
    ) -> Result<(), PlanError> {
        let request = Request {
            keyword: "COPY",
            chown: copy.chown.as_ref(),
            chmod: copy.chmod.as_ref(),
            link: copy.link,
            parents: copy.parents,
            exclude: &copy.exclude,
            unpack: false,
            sources: &copy.sources,
            dest: &copy.dest,
        };
        let refuse_url = |_: &str, word: &Word| {
            let help = "use ADD".to_owned();
            Err(PlanError::new(PlanErrorKind::CopyUrl, word.span.clone()).help(help))
        };
        let files = files(&state.settings, self.expander, &request, refuse_url)?;
        self.add_files(state, place, step, files)
    }

    /// Adds the vertex of an `ADD`.
    pub(super) fn add(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        add: &Add,
    ) -> Result<(), PlanError> {
        let no = |what: &str, span| PlanError::new(PlanErrorKind::NotSupported(what.to_owned()), Some(span));
        if let Some(checksum) = &add.checksum {
            return Err(no("ADD --checksum", self.flag(step, "--checksum", Some(&checksum.span))));
        }
        if add.keep_git_dir.is_some() {
            return Err(no("ADD --keep-git-dir", self.flag(step, "--keep-git-dir", None)));
        }
        let request = Request {
            keyword: "ADD",
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link,
            parents: false,
            exclude: &add.exclude,
            unpack: add.unpack.unwrap_or(true),
            sources: &add.sources,
            dest: &add.dest,
        };
        let refuse_remote = |what: &str, word: &Word| Err(no(what, word.span.clone()));
        let files = files(&state.settings, self.expander, &request, refuse_remote)?;
        self.add_files(state, place, step, files)
    }

    fn add_files(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        files: Files,
    ) -> Result<(), PlanError> {
        let source = match (&step.from, files.copies) {
            (Some(base), true) => Some(self.copy_source(base, step)?),
            (None, true) => Some(self.context()),
            (_, false) => None,
        };
        let origin = self.origin(state, place, step);
        let ignore_cache = place.ignore_cache;
        let op = Op::File(FileOp { actions: files.actions });
        let inputs = |base: VertexId| [base].into_iter().chain(source).collect();
        if !files.link {
            let vertex = Vertex { op, inputs: inputs(state.vertex), origin, ignore_cache };
            self.layer(state, vertex, files.history);
            return Ok(());
        }
        let mut merge = origin.clone();
        let (number, text) = merge.name.split_once("] ").unwrap_or(("", &merge.name));
        merge.name = format!("{number}] LINK {text}");
        merge.lineage.push_str("/link");
        merge.hidden = true;
        let scratch = self.scratch();
        let alone = self.graph.add(Vertex { op, inputs: inputs(scratch), origin, ignore_cache });
        state.vertices.push(alone);
        let inputs = vec![state.vertex, alone];
        self.layer(state, Vertex { op: Op::Merge, inputs, origin: merge, ignore_cache }, files.history);
        Ok(())
    }
}

/// Expands a request. `refuse` says what becomes of a source that is not a path.
fn files(
    settings: &Settings,
    expander: Expander,
    request: &Request<'_>,
    refuse: impl Fn(&str, &Word) -> Result<(), PlanError>,
) -> Result<Files, PlanError> {
    let expand = |word: &Word| settings.expand(expander, word);
    let mut history = request.keyword.to_owned();
    if request.parents {
        history.push_str(" --parents");
    }
    let chown = request.chown.map(expand).transpose()?.filter(|chown| !chown.is_empty());
    if let Some(chown) = &chown {
        history.extend([" --chown=", chown]);
    }
    let mut mode = None;
    if let Some(word) = request.chmod {
        let chmod = expand(word)?;
        if !chmod.is_empty() {
            history.extend([" --chmod=", &chmod]);
            mode = Some(mode::parse(&chmod).ok_or_else(|| wrong_mode(chmod, word))?);
        }
    }
    let owner = convert::owner(chown.as_deref().unwrap_or_default());
    let mut paths = Vec::new();
    let mut heredocs = Vec::new();
    for source in request.sources {
        match source {
            CopySource::Path(word) => {
                let path = expand(word)?;
                if let Some(what) = remote(&path) {
                    refuse(what, word)?;
                }
                history.extend([" ", &path]);
                paths.push(paths::source(&path, request.parents));
            }
            CopySource::Heredoc(heredoc) => heredocs.push(heredoc),
        }
    }
    for heredoc in &heredocs {
        history.extend([" <<", heredoc.name.as_str()]);
    }
    let dest = expand(request.dest)?;
    history.extend([" ", &dest, " # buildkit"]);
    let dest = paths::destination(settings.working_directory(), &dest);
    // A name is looked up in the image, so that the copy depends on the files below it; and as in BuildKit a mode
    // makes it an ordinary copy, too.
    let link = request.link && mode.is_none() && is_numeric(&owner);
    let copies = !paths.is_empty();
    let mut actions = Vec::new();
    if copies {
        let exclude = request.exclude.iter().map(|word| word.value.clone()).collect();
        let selection = Selection { sources: paths, exclude, parents: request.parents };
        actions.push(FileAction::Copy(CopyAction {
            input: 1,
            selection,
            dest: dest.clone(),
            owner: owner.clone(),
            mode: mode.clone(),
            unpack: request.unpack,
        }));
    }
    for heredoc in heredocs {
        actions.push(file(settings, heredoc, &dest, mode.as_ref(), &owner)?);
    }
    Ok(Files { actions, copies, link, history })
}

/// The file that a heredoc writes.
fn file(
    settings: &Settings,
    heredoc: &Heredoc,
    dest: &str,
    mode: Option<&FileMode>,
    owner: &Owner,
) -> Result<FileAction, PlanError> {
    let content = heredoc.content();
    let data = if heredoc.expand {
        let expanded = Expander::for_heredoc().word(&content, settings.env());
        let body = &heredoc.body;
        let text = expanded.map_err(|error| {
            if content.len() == body.value.len() {
                PlanError::expand(error, body)
            } else {
                PlanError::new(PlanErrorKind::Expand(error.kind), body.span.clone())
            }
        })?;
        text.text.into_owned()
    } else {
        content.into_owned()
    };
    Ok(FileAction::Mkfile {
        dest: dest.to_owned(),
        name: file_name(heredoc)?.to_owned(),
        data: data.into_bytes(),
        mode: mode.cloned().unwrap_or(FileMode::Octal(0o644)),
        owner: owner.clone(),
    })
}

fn wrong_mode(chmod: String, word: &Word) -> PlanError {
    let help = "give an octal number up to 7777, or clauses such as `u=rwX,go=rX`".to_owned();
    PlanError::new(PlanErrorKind::Mode(chmod), word.span.clone()).help(help)
}

fn is_numeric(owner: &Owner) -> bool {
    match owner {
        Owner::Default => true,
        Owner::Named(name) => name.bytes().all(|b| b.is_ascii_digit() || b == b':'),
    }
}

/// What a source is when it is not a path.
fn remote(source: &str) -> Option<&'static str> {
    let lower = source.to_ascii_lowercase();
    let is_git = ["git://", "ssh://", "git@"].iter().any(|prefix| lower.starts_with(prefix));
    let is_http = lower.starts_with("http://") || lower.starts_with("https://");
    let path = lower.split(['#', '?']).next().unwrap_or_default();
    match (is_git, is_http) {
        (true, _) => Some("ADD of a git repository"),
        (_, true) if path.strip_suffix(".git").is_some() => Some("ADD of a git repository"),
        (_, true) => Some("ADD of a URL"),
        _ => None,
    }
}
