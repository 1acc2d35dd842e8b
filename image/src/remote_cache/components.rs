//! Components of keys as a cache tells them: each only once, and without values that others need not know.

use std::collections::HashMap;

use builder_solver::address::redact_text;
use builder_solver::{Component, ContentDigest, Part};

/// What is shown for a value that was not told.
const UNTOLD: &str = "…";

/// Collects components; equal ones get the same number.
#[derive(Debug, Default)]
pub(super) struct Components {
    numbers: HashMap<(Part, ContentDigest), u32>,
    all: Vec<Component>,
}

impl Components {
    /// The number of a component.
    pub(super) fn add(&mut self, component: &Component) -> u32 {
        let next = u32::try_from(self.all.len()).unwrap_or(u32::MAX);
        let number = *self.numbers.entry((component.part.clone(), component.digest)).or_insert(next);
        if number == next {
            self.all.push(told(component));
        }
        number
    }

    pub(super) fn into_vec(self) -> Vec<Component> {
        self.all
    }
}

/// A build argument's value may be a secret of people who do not know better: its digest is enough for keys.
fn told(component: &Component) -> Component {
    let value = match component.part {
        Part::Env(_) | Part::Hosts | Part::Remote => UNTOLD.to_owned(),
        _ => redact_text(&component.value),
    };
    Component { value, ..component.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_variables_stay_here_and_equal_components_are_one() {
        let digest = ContentDigest::from_bytes([1; 32]);
        let component = |part, value: &str| Component { part, value: value.to_owned(), digest };
        let mut components = Components::default();
        let token = component(Part::Env("TOKEN".to_owned()), "hunter2");
        let numbers = [&token, &component(Part::Command, "make"), &token].map(|one| components.add(one));
        assert_eq!(numbers, [0, 1, 0]);
        components.add(&component(Part::User, "git clone https://u:hunter2@h/"));
        let all = components.into_vec();
        let shown: Vec<&str> = all.iter().map(|one| one.value.as_str()).collect();
        assert_eq!(shown, [UNTOLD, "make", "git clone https://u:xxxxx@h/"]);
    }
}
