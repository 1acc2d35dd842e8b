//! Stages by name and number, and who refers to whom.

use std::collections::HashMap;

use crate::ast::{Command, Copy, Dockerfile, Mount, MountKey, Word};
use crate::expand::{Expander, NoVariables};
use crate::plan::error::{PlanError, PlanErrorKind};
use crate::suggest;

/// The stages of a file by name.
pub(crate) struct Names {
    /// Names are compared without case; several stages may have the same, in order.
    by_name: HashMap<String, Vec<usize>>,
    /// The name of each stage, or `stage-0` and so on.
    shown: Vec<String>,
}

/// What `--from` means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reference {
    /// A stage, wherever it stands.
    Stage(usize),
    /// No stage: a named context or an image.
    Other,
}

impl Names {
    pub(crate) fn new(file: &Dockerfile) -> Self {
        let mut by_name: HashMap<String, Vec<usize>> = HashMap::new();
        let mut shown = Vec::with_capacity(file.stages.len());
        for (index, stage) in file.stages.iter().enumerate() {
            shown.push(stage.name().unwrap_or_else(|| format!("stage-{index}")));
            if let Some(name) = stage.name() {
                by_name.entry(name).or_default().push(index);
            }
        }
        Self { by_name, shown }
    }

    /// The name of a stage to show.
    pub(super) fn shown(&self, index: usize) -> &str {
        &self.shown[index]
    }

    /// The last stage of that name above stage `index`.
    pub(crate) fn before(&self, name: &str, index: usize) -> Option<usize> {
        let stages = self.by_name.get(&name.to_lowercase())?;
        stages[..stages.partition_point(|&stage| stage < index)].last().copied()
    }

    /// Whether any stage has that name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.by_name.contains_key(&name.to_lowercase())
    }

    /// The stage to build.
    pub(crate) fn target(&self, target: Option<&str>) -> Result<usize, PlanError> {
        let Some(target) = target.filter(|target| !target.is_empty()) else {
            return Ok(self.shown.len().saturating_sub(1));
        };
        if let Some(index) = self.before(target, usize::MAX) {
            return Ok(index);
        }
        if let Some(index) = target.parse().ok().filter(|&index| index < self.shown.len()) {
            return Ok(index);
        }
        let help = match self.suggestion(target) {
            Some(near) => format!("did you mean `{near}`? The stages are: {}", self.shown.join(", ")),
            None => format!("the stages are: {}", self.shown.join(", ")),
        };
        Err(PlanError::new(PlanErrorKind::UnknownTarget(target.to_owned()), None).help(help))
    }

    pub(super) fn suggestion(&self, name: &str) -> Option<&str> {
        let names: Vec<&str> = self.by_name.keys().map(String::as_str).collect();
        suggest::nearest(name, &names)
    }

    /// What a `from` of stage `index` means: the last stage of that name above it, else the stage itself or one below,
    /// none of which it can use.
    pub(crate) fn reference(&self, from: &Word, index: usize, expander: Expander) -> Result<Reference, PlanError> {
        let fail = |kind: PlanErrorKind| PlanError::new(kind, from.span.clone());
        let literal = expander.word(&from.value, &NoVariables).is_ok_and(|word| word.text == from.value);
        if !literal {
            let help = "name it with `FROM $… AS name` and copy from that stage".to_owned();
            return Err(fail(PlanErrorKind::VariableInFrom).help(help));
        }
        if let Ok(number) = from.value.parse::<i64>() {
            let stages = self.shown.len();
            return match usize::try_from(number) {
                Ok(stage) if stage < stages => Ok(Reference::Stage(stage)),
                _ => Err(fail(PlanErrorKind::StageIndex { index: from.value.clone(), stages })),
            };
        }
        let above_or_here = self.before(&from.value, index).or_else(|| self.before(&from.value, index + 1));
        let stage = above_or_here.or_else(|| self.before(&from.value, usize::MAX));
        Ok(stage.map_or(Reference::Other, Reference::Stage))
    }

    /// Every `from` of the file names something that can be meant, and no stage needs itself in the end.
    pub(super) fn check(&self, file: &Dockerfile, expander: Expander) -> Result<(), PlanError> {
        let mut uses: Vec<Vec<(usize, &Word)>> = vec![Vec::new(); file.stages.len()];
        let mut in_order = true;
        for (index, stage) in file.stages.iter().enumerate() {
            for from in stage.instructions.iter().flat_map(|instruction| froms(&instruction.command)) {
                if let Reference::Stage(other) = self.reference(from, index, expander)? {
                    uses[index].push((other, from));
                    in_order &= other < index;
                }
            }
        }
        match if in_order { None } else { circle(&uses) } {
            None => Ok(()),
            Some((stage, from)) => {
                let kind = PlanErrorKind::Circular(self.shown(stage).to_owned());
                let help = "a stage can use files of the stages above it only".to_owned();
                Err(PlanError::new(kind, from.span.clone()).help(help))
            }
        }
    }
}

/// The first stage from which a circle is reached, and a word of the circle that leads to the same stage or down.
fn circle<'a>(uses: &[Vec<(usize, &'a Word)>]) -> Option<(usize, &'a Word)> {
    #[derive(Clone, Copy, PartialEq)]
    enum State {
        New,
        Open,
        Done,
    }
    let mut states = vec![State::New; uses.len()];
    for start in 0..uses.len() {
        if states[start] != State::New {
            continue;
        }
        states[start] = State::Open;
        // The stages on the way with what is left to look at, and the words that led to each.
        let mut path = vec![(start, uses[start].iter())];
        let mut words: Vec<&Word> = Vec::new();
        while let Some((stage, rest)) = path.last_mut() {
            let Some(&(next, from)) = rest.next() else {
                states[*stage] = State::Done;
                path.pop();
                words.pop();
                continue;
            };
            match states[next] {
                State::Done => {}
                State::New => {
                    states[next] = State::Open;
                    words.push(from);
                    path.push((next, uses[next].iter()));
                }
                State::Open => {
                    let stages = path.iter().map(|(stage, _)| *stage);
                    let steps =
                        stages.clone().zip(stages.skip(1).chain([next])).zip(words.iter().copied().chain([from]));
                    let mut circle = steps.skip_while(|((stage, _), _)| *stage != next);
                    let down = circle.find(|((stage, next), _)| next >= stage);
                    return Some((start, down.map_or(from, |(_, word)| word)));
                }
            }
        }
    }
    None
}

/// The words with which an instruction names where it takes files from.
pub(crate) fn froms(command: &Command) -> impl Iterator<Item = &Word> {
    let copy = match command {
        Command::Copy(copy) => copy_from(copy),
        _ => None,
    };
    let mounts = match command {
        Command::Run(run) => run.mounts.as_slice(),
        _ => &[],
    };
    copy.into_iter().chain(mounts.iter().filter_map(mount_from))
}

/// Where a copy takes files from; nothing and an empty word are the build context.
pub(super) fn copy_from(copy: &Copy) -> Option<&Word> {
    copy.from.as_ref().filter(|from| !from.value.is_empty())
}

/// Where a mount takes files from; the type decides whether it takes any.
pub(super) fn mount_from(mount: &Mount) -> Option<&Word> {
    let value = |key| mount.options.iter().rfind(|option| option.key == key).and_then(|option| option.value.as_ref());
    if value(MountKey::Type).is_some_and(|kind| matches!(&*kind.value.to_lowercase(), "tmpfs" | "secret" | "ssh")) {
        return None;
    }
    value(MountKey::From).filter(|from| !from.value.is_empty())
}
