//! `COPY` and `ADD`.

use builder_solver::address::redact;
use builder_solver::{
    CopyAction, FileAction, FileMode, FileOp, Op, Origin, Owner, Selection, Source, Vertex, VertexId,
};

use crate::ast::{Add, Copy, CopySource, Heredoc, Word};
use crate::expand::Expander;
use crate::plan::convert::{self, Converter, Place, StageState};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::plan::run::file_name;
use crate::plan::settings::Settings;
use crate::plan::stages::Step;
use crate::plan::{mode, paths, remote};

/// What the two instructions have in common.
struct Request<'a> {
    keyword: &'static str,
    chown: Option<&'a Word>,
    chmod: Option<&'a Word>,
    link: bool,
    parents: bool,
    exclude: &'a [Word],
    sources: &'a [CopySource],
    dest: &'a Word,
    /// What only `ADD` has.
    add: Option<&'a Add>,
}

/// A request with its variables expanded.
struct Files {
    /// What is copied, in order.
    groups: Vec<Group>,
    /// How.
    copy: CopyAction,
    heredocs: Vec<FileAction>,
    /// It does not depend on the files below it.
    link: bool,
    history: String,
}

/// Sources that come from one place.
enum Group {
    /// Paths in the build context, a stage or an image.
    Paths { sources: Vec<String>, unpack: bool },
    /// All that a remote source brings in, or the file that it is.
    Remote { source: Source, pattern: String, unpack: bool },
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
            sources: &copy.sources,
            dest: &copy.dest,
            add: None,
        };
        let files = files(&state.settings, self.expander, &request)?;
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
        let request = Request {
            keyword: "ADD",
            chown: add.chown.as_ref(),
            chmod: add.chmod.as_ref(),
            link: add.link,
            parents: false,
            exclude: &add.exclude,
            sources: &add.sources,
            dest: &add.dest,
            add: Some(add),
        };
        let files = files(&state.settings, self.expander, &request)?;
        self.add_files(state, place, step, files)
    }

    fn add_files(
        &mut self,
        state: &mut StageState,
        place: &mut Place,
        step: &Step<'_>,
        files: Files,
    ) -> Result<(), PlanError> {
        let origin = self.origin(state, place, step, &[]);
        let ignore_cache = place.ignore_cache;
        let Files { groups, copy, heredocs, link, history } = files;
        let base = if link { self.scratch() } else { state.vertex };
        let mut inputs = vec![base];
        let mut actions = Vec::with_capacity(groups.len() + heredocs.len());
        for group in groups {
            let (vertex, sources, unpack) = match group {
                Group::Paths { sources, unpack } => {
                    let vertex = match step.sources.first().and_then(Option::as_ref) {
                        Some(base) => self.copy_source(base, step)?,
                        None => self.context(),
                    };
                    (vertex, sources, unpack)
                }
                Group::Remote { source, pattern, unpack } => {
                    let lineage = format!("{}/source-{}", origin.lineage, inputs.len());
                    (self.source(source, Origin { lineage, ..origin.clone() }), vec![pattern], unpack)
                }
            };
            let selection = Selection { sources, ..copy.selection.clone() };
            let input = input(&mut inputs, vertex);
            actions.push(FileAction::Copy(CopyAction { input, selection, unpack, ..copy.clone() }));
        }
        actions.extend(heredocs);
        let op = Op::File(FileOp { actions });
        if !link {
            self.layer(state, Vertex { op, inputs, origin, ignore_cache }, history);
            return Ok(());
        }
        let mut merge = origin.clone();
        let (number, text) = merge.name.split_once("] ").unwrap_or(("", &merge.name));
        merge.name = format!("{number}] LINK {text}");
        merge.lineage.push_str("/link");
        merge.hidden = true;
        let alone = self.graph.add(Vertex { op, inputs, origin, ignore_cache });
        state.vertices.push(alone);
        let inputs = vec![state.vertex, alone];
        self.layer(state, Vertex { op: Op::Merge, inputs, origin: merge, ignore_cache }, history);
        Ok(())
    }
}

/// The number of an input that files are copied from.
fn input(inputs: &mut Vec<VertexId>, vertex: VertexId) -> usize {
    let known = inputs[1..].iter().position(|input| *input == vertex);
    known.map_or_else(
        || {
            inputs.push(vertex);
            inputs.len() - 1
        },
        |position| position + 1,
    )
}

/// Expands a request.
fn files(settings: &Settings, expander: Expander, request: &Request<'_>) -> Result<Files, PlanError> {
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
                history.extend([" ", &redact(&path)]);
                paths.push((path, word));
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
    let groups = groups(request, paths, expand)?;
    let heredocs = heredocs.into_iter().map(|heredoc| file(settings, heredoc, &dest, mode.as_ref(), &owner));
    let heredocs = heredocs.collect::<Result<_, _>>()?;
    let exclude = request.exclude.iter().map(|word| word.value.clone()).collect();
    Ok(Files {
        groups,
        heredocs,
        // A name is looked up in the image, so that the copy depends on the files below it; and as in BuildKit a mode
        // makes it an ordinary copy, too.
        link: request.link && mode.is_none() && is_numeric(&owner),
        history,
        copy: CopyAction {
            input: 1,
            selection: Selection { sources: Vec::new(), exclude, parents: request.parents },
            dest,
            owner,
            mode,
            unpack: false,
        },
    })
}

/// Puts sources that follow each other and come from the same place together.
fn groups(
    request: &Request<'_>,
    paths: Vec<(String, &Word)>,
    expand: impl Fn(&Word) -> Result<String, PlanError>,
) -> Result<Vec<Group>, PlanError> {
    let add = request.add;
    let keep_git_dir = add.and_then(|add| add.keep_git_dir);
    let mut checksum = None;
    if let Some(word) = add.and_then(|add| add.checksum.as_ref()) {
        let value = expand(word)?;
        if !value.is_empty() {
            if request.sources.len() != 1 {
                let kind = PlanErrorKind::NoChecksum("checksum can't be specified for multiple sources");
                return Err(PlanError::new(kind, word.span.clone()));
            }
            checksum = Some((value, word));
        }
    }
    let unpack = add.map(|add| add.unpack);
    let mut groups = Vec::new();
    for (path, word) in paths {
        let refuse_copy = |kind| match add {
            Some(_) => Ok(()),
            None => Err(PlanError::new(kind, word.span.clone()).help("use ADD".to_owned())),
        };
        match remote::place(&path, keep_git_dir.is_some(), word)? {
            remote::Place::Path => {
                if let Some((_, word)) = checksum {
                    let kind = PlanErrorKind::NoChecksum("checksum requires HTTP(S) or Git sources");
                    return Err(PlanError::new(kind, word.span.clone()));
                }
                let source = paths::source(&path, request.parents);
                if let Some(Group::Paths { sources, .. }) = groups.last_mut() {
                    sources.push(source);
                } else {
                    // `ADD` unpacks what is here unless it is told not to.
                    let unpack = unpack.is_some_and(|flag| flag.unwrap_or(true));
                    groups.push(Group::Paths { sources: vec![source], unpack });
                }
            }
            remote::Place::Url => {
                refuse_copy(PlanErrorKind::CopyUrl)?;
                let http = remote::http(&path, checksum.take())?;
                let pattern = paths::literal(&http.name);
                let unpack = unpack.flatten().unwrap_or(false);
                groups.push(Group::Remote { source: Source::Http(http), pattern, unpack });
            }
            remote::Place::Git(address) => {
                refuse_copy(PlanErrorKind::CopyGit)?;
                let git = remote::git(address, keep_git_dir, checksum.take(), word)?;
                groups.push(Group::Remote { source: Source::Git(git), pattern: ".".to_owned(), unpack: false });
            }
        }
    }
    Ok(groups)
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
