//! `--filter` of `images` and `image prune`.

use std::collections::BTreeMap;

use builder_cache::{Image, Store};
use builder_executor::pattern::Wildcard;
use builder_image::Reference;

use super::until;
use crate::error::{CliError, CliResult};
use crate::store;

/// Which images are wanted. What is given several times: all labels must fit, one of the references, the last of
/// anything else.
#[derive(Debug, Default)]
pub(crate) struct Filters {
    /// Images that have lost their tags, or those that have not.
    pub(crate) dangling: Option<bool>,
    references: Vec<ReferencePattern>,
    labels: Vec<Label>,
    before: Option<String>,
    since: Option<String>,
    /// Created no later than this, in milliseconds since the epoch.
    until: Option<i64>,
}

/// `label=key`, `label=key=value`, and the same with `label!`.
#[derive(Debug)]
struct Label {
    key: String,
    value: Option<String>,
    wanted: bool,
}

/// The filters of `images`.
pub(crate) const OF_IMAGES: &[&str] = &["dangling", "reference", "label", "before", "since", "until"];
/// The filters of `image prune`.
pub(crate) const OF_PRUNE: &[&str] = &["dangling", "label", "label!", "until"];

impl Filters {
    /// Reads `KEY=VALUE`s, of which the keys in `known` are allowed.
    pub(crate) fn parse(given: &[String], known: &[&str]) -> CliResult<Self> {
        let mut filters = Self::default();
        for text in given {
            let Some((key, value)) = text.split_once('=') else {
                return Err(CliError::Usage(format!("--filter {text}: a filter is KEY=VALUE")));
            };
            let key = key.trim().to_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(CliError::Usage(format!("invalid filter '{key}': there are {}", known.join(", "))));
            }
            filters.add(&key, value.trim()).map_err(|reason| CliError::Usage(format!("--filter {text}: {reason}")))?;
        }
        Ok(filters)
    }

    fn add(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "dangling" => {
                self.dangling = Some(match value {
                    "1" | "true" => true,
                    "0" | "false" => false,
                    _ => return Err("expected true or false".to_owned()),
                });
            }
            "reference" => self.references.push(ReferencePattern::parse(value)?),
            "label" | "label!" => {
                let (key_of, value) = match value.split_once('=') {
                    Some((key, value)) => (key, Some(value.to_owned())),
                    None => (value, None),
                };
                self.labels.push(Label { key: key_of.to_owned(), value, wanted: key == "label" });
            }
            "before" => self.before = Some(value.to_owned()),
            "since" => self.since = Some(value.to_owned()),
            _ => {
                let now = jiff::Timestamp::now().as_millisecond();
                let time = until::parse(value, now);
                let why = "expected a time (2026-01-02T15:04:05), seconds since the epoch, or an age (24h)";
                self.until = Some(time.ok_or_else(|| why.to_owned())?);
            }
        }
        Ok(())
    }

    /// Adds the pattern of names that stands alone on the command line.
    pub(crate) fn also_named(&mut self, text: &str) -> CliResult<()> {
        let invalid = |reason: String| CliError::message(format!("invalid reference `{text}`: {reason}"));
        if !text.contains(['*', '?', '[', '\\']) {
            // In full or short, it is the same name.
            let reference: Reference = text.parse().map_err(|error| invalid(format!("{error}")))?;
            let any_tag = !text.rsplit('/').next().is_some_and(|last| last.contains([':', '@']));
            let short = if any_tag { reference.familiar_name() } else { reference.familiar() };
            self.references.push(ReferencePattern::parse(&short).map_err(invalid)?);
            return Ok(());
        }
        self.references.push(ReferencePattern::parse(text).map_err(invalid)?);
        Ok(())
    }

    /// Whether names matter.
    pub(crate) fn has_references(&self) -> bool {
        !self.references.is_empty()
    }

    /// Whether this name fits.
    pub(crate) fn takes(&self, reference: &Reference) -> bool {
        self.references.is_empty() || self.references.iter().any(|pattern| pattern.matches(reference))
    }

    /// The images that fit, names apart.
    pub(crate) fn select(&self, store: &Store, mut images: Vec<Image>) -> CliResult<Vec<Image>> {
        let created = |text: &String| Ok::<_, CliError>(store::find(store, text)?.image.created_ms);
        let before = self.before.as_ref().map(created).transpose()?;
        let since = self.since.as_ref().map(created).transpose()?;
        images.retain(|image| {
            before.is_none_or(|before| image.created_ms < before)
                && since.is_none_or(|since| image.created_ms > since)
                && self.until.is_none_or(|until| image.created_ms <= until)
        });
        if self.labels.is_empty() {
            return Ok(images);
        }
        let mut fitting = Vec::new();
        for image in images {
            let labels = store::config(store, &image.id)?.config.labels;
            if self.labels.iter().all(|label| label.fits(&labels)) {
                fitting.push(image);
            }
        }
        Ok(fitting)
    }
}

impl Label {
    fn fits(&self, labels: &BTreeMap<String, String>) -> bool {
        let found = labels.get(&self.key).is_some_and(|value| self.value.as_ref().is_none_or(|wanted| wanted == value));
        found == self.wanted
    }
}

/// A pattern of names as people write them; `*` stops at a slash.
#[derive(Debug)]
pub(crate) struct ReferencePattern(Vec<Wildcard>);

impl ReferencePattern {
    fn parse(text: &str) -> Result<Self, String> {
        let components = text.split('/').map(|component| Wildcard::compile(component.as_bytes(), false));
        components.collect::<Option<_>>().map(Self).ok_or_else(|| "the pattern has a `[` without its `]`".to_owned())
    }

    /// Whether the short form of a name fits, with its tag or without.
    fn matches(&self, reference: &Reference) -> bool {
        self.matches_text(&reference.familiar()) || self.matches_text(&reference.familiar_name())
    }

    fn matches_text(&self, text: &str) -> bool {
        let mut parts = text.split('/');
        self.0.iter().all(|pattern| parts.next().is_some_and(|part| pattern.matches(part.as_bytes())))
            && parts.next().is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_match_as_in_docker() {
        for (pattern, name, expected) in [
            ("busybox", "busybox:uclibc", true),
            ("busybox:uclibc", "busybox:uclibc", true),
            ("busybox:uclibc", "busybox:glibc", false),
            ("busy*", "busybox", true),
            ("busy*:*libc", "busybox:uclibc", true),
            ("busy*:*libc", "busybox:latest", false),
            ("*", "busybox", true),
            ("*", "team/app", false),
            ("*/*", "team/app", true),
            ("*:v1", "app:v1", true),
            ("team/ap?", "team/app:x", true),
            ("example.com/*/app", "example.com/team/app", true),
            ("docker.io/library/app", "app", false),
            ("[a-c]pp", "app", true),
        ] {
            let reference: Reference = name.parse().expect("a name");
            assert_eq!(
                ReferencePattern::parse(pattern).expect("a pattern").matches(&reference),
                expected,
                "{pattern} {name}"
            );
        }
        assert!(ReferencePattern::parse("a[").is_err());
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        for (text, reason) in [
            ("dangling", "a filter is KEY=VALUE"),
            ("dangling=maybe", "expected true or false"),
            ("color=red", "invalid filter 'color'"),
            ("until=soon", "expected a time"),
            ("reference=a[", "a `[` without its `]`"),
        ] {
            let error = Filters::parse(&[text.to_owned()], OF_IMAGES).expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(Filters::parse(&["label!=a".to_owned()], OF_PRUNE).is_ok());
    }
}
