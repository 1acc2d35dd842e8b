//! Texts of fields: `Name: value`, continued by lines that begin with a blank, stanzas with an empty line between them.

/// The fields of one stanza, in order.
#[derive(Debug, Default)]
pub(super) struct Stanza<'a> {
    fields: Vec<(&'a str, &'a str)>,
}

impl<'a> Stanza<'a> {
    /// The stanzas of a text.
    pub(super) fn all(text: &'a str) -> impl Iterator<Item = Self> {
        let mut lines = text.lines();
        std::iter::from_fn(move || {
            let mut stanza = Self::default();
            for line in lines.by_ref() {
                if line.trim().is_empty() {
                    if stanza.fields.is_empty() {
                        continue;
                    }
                    return Some(stanza);
                }
                stanza.add(line);
            }
            (!stanza.fields.is_empty()).then_some(stanza)
        })
    }

    /// The first stanza: what comes after it is a text.
    pub(super) fn first(text: &'a str) -> Self {
        Self::all(text).next().unwrap_or_default()
    }

    fn add(&mut self, line: &'a str) {
        // Nobody asks for continuations.
        if line.starts_with([' ', '\t']) {
            return;
        }
        if let Some((name, value)) = line.split_once(':') {
            self.fields.push((name, value.trim()));
        }
    }

    /// The value of a field, whatever the case of its name; empty when there is none.
    pub(super) fn get(&self, name: &str) -> &'a str {
        self.every(name).next().unwrap_or_default()
    }

    /// All values of a field.
    pub(super) fn every(&self, name: &str) -> impl Iterator<Item = &'a str> {
        self.fields.iter().filter(move |(own, _)| own.eq_ignore_ascii_case(name)).map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_are_apart() {
        let text =
            "\nPackage: a\nDescription: x\n more: not a field\n\n\nPackage: b\nversion:1\nversion: 2\nnonsense\n";
        let all: Vec<Stanza<'_>> = Stanza::all(text).collect();
        assert_eq!(all.len(), 2);
        assert_eq!((all[0].get("package"), all[0].get("more")), ("a", ""));
        assert_eq!(all[1].every("Version").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(Stanza::first("").get("x"), "");
    }
}
