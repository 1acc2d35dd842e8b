//! What steps get of the machine that builds: no part of what they are, and of no key.

use std::collections::BTreeMap;

use crate::agent::Agents;
use crate::sandbox::Limits;
use crate::secret::Secrets;

/// What a step may see and use.
#[derive(Debug, Clone, Default)]
pub struct Grant {
    /// The secrets that are offered.
    pub secrets: Secrets,
    /// The ssh agents that are offered.
    pub agents: Agents,
    /// How much it may use.
    pub limits: Limits,
}

/// What the steps of a build may see and use. Several targets that are built at once can have different grants.
#[derive(Debug, Clone, Default)]
pub struct Grants {
    common: Grant,
    targets: BTreeMap<String, Grant>,
}

impl Grants {
    /// The same for all.
    pub fn common(grant: Grant) -> Self {
        Self { common: grant, targets: BTreeMap::new() }
    }

    /// Another one for the steps whose names begin with `target`: `[target build 2/4] RUN make`. A step that several
    /// targets have in common is named after one of them, and gets what that one has.
    pub fn insert(&mut self, target: impl Into<String>, grant: Grant) {
        self.targets.insert(target.into(), grant);
    }

    /// What the step with this name gets.
    pub(super) fn of(&self, step: &str) -> &Grant {
        if self.targets.is_empty() {
            return &self.common;
        }
        let target = step.strip_prefix('[').and_then(|name| name.split([' ', ']']).next());
        target.and_then(|target| self.targets.get(target)).unwrap_or(&self.common)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_get_what_their_target_has() {
        let grant = |memory| Grant { limits: Limits { memory: Some(memory), ..Limits::default() }, ..Grant::default() };
        let mut grants = Grants::common(grant(0));
        assert_eq!(grants.of("[build 1/2] RUN x").limits.memory, Some(0));
        grants.insert("app", grant(1));
        grants.insert("app-test", grant(2));
        for (step, memory) in [
            ("[app build 2/4] RUN make", 1),
            ("[app 1/1] RUN make", 1),
            ("[app-test linux/arm64 build 2/4] RUN make", 2),
            ("[other build 2/4] RUN [app x", 0),
            ("app build", 0),
            ("", 0),
        ] {
            assert_eq!(grants.of(step).limits.memory, Some(memory), "{step}");
        }
    }
}
