//! An ordered list of variables that is found by name.

use std::collections::HashMap;

use crate::expand::Variables;

/// Variables in the order in which they were first set, each name once. Setting one again keeps its place.
#[derive(Debug, Clone, Default)]
pub(crate) struct Environment {
    variables: Vec<(String, String)>,
    places: HashMap<String, usize>,
}

impl Environment {
    /// From `NAME=value` as in an image config.
    pub(crate) fn from_config(env: &[String]) -> Self {
        let mut environment = Self::default();
        for variable in env {
            let (name, value) = variable.split_once('=').unwrap_or((variable, ""));
            environment.set(name, value);
        }
        environment
    }

    /// As in an image config.
    pub(crate) fn to_config(&self) -> Vec<String> {
        self.variables.iter().map(|(name, value)| format!("{name}={value}")).collect()
    }

    pub(crate) fn set(&mut self, name: &str, value: &str) {
        if let Some(&place) = self.places.get(name) {
            value.clone_into(&mut self.variables[place].1);
        } else {
            self.places.insert(name.to_owned(), self.variables.len());
            self.variables.push((name.to_owned(), value.to_owned()));
        }
    }

    /// Gives a variable that is set another value, or unsets it.
    pub(crate) fn replace(&mut self, name: &str, value: Option<&str>) {
        let Some(&place) = self.places.get(name) else { return };
        if let Some(value) = value {
            value.clone_into(&mut self.variables[place].1);
            return;
        }
        self.variables.remove(place);
        self.places = self.variables.iter().enumerate().map(|(place, (name, _))| (name.clone(), place)).collect();
    }

    pub(crate) fn as_slice(&self) -> &[(String, String)] {
        &self.variables
    }

    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.variables.iter().map(|(name, _)| name.as_str())
    }
}

impl Variables for Environment {
    fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|&place| self.variables[place].1.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_keeps_its_place() {
        let mut environment = Environment::from_config(&["A=1".into(), "B".into(), "A=2=3".into()]);
        environment.set("C", "4");
        environment.set("B", "5");
        assert_eq!(environment.to_config(), ["A=2=3", "B=5", "C=4"]);
        assert_eq!((environment.get("A"), environment.get("D")), (Some("2=3"), None));
    }
}
