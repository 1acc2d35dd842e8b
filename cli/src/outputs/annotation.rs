//! Annotations of manifests, of indexes, and of the descriptors that name them.
//!
//! | `-o` | `--annotation` | goes to |
//! |---|---|---|
//! | `annotation.K=V`, `annotation-manifest.K=V` | `K=V`, `manifest:K=V` | the manifests |
//! | `annotation-manifest[os/arch].K=V` | `manifest[os/arch]:K=V` | the manifest of that platform |
//! | `annotation-manifest-descriptor.K=V` | `manifest-descriptor:K=V` | what names a manifest |
//! | `annotation-index.K=V` | `index:K=V` | the index over several platforms |
//! | `annotation-index-descriptor.K=V` | `index-descriptor:K=V` | what names the index |

use std::collections::BTreeMap;

use builder_frontend::platform::Platform;

/// What is annotated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    Manifest,
    ManifestDescriptor,
    Index,
    IndexDescriptor,
}

impl Scope {
    fn parse(text: &str) -> Result<Self, String> {
        match text {
            "" | "manifest" => Ok(Self::Manifest),
            "manifest-descriptor" => Ok(Self::ManifestDescriptor),
            "index" => Ok(Self::Index),
            "index-descriptor" => Ok(Self::IndexDescriptor),
            _ => Err(format!(
                "`{text}` can't be annotated: use manifest, manifest-descriptor, index or index-descriptor"
            )),
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Annotation {
    scope: Scope,
    platform: Option<Platform>,
    key: String,
    value: String,
}

/// Annotations, the later ones over the earlier ones.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Annotations(Vec<Annotation>);

impl Annotations {
    /// Reads an option of `-o`. Tells whether it is an annotation at all.
    pub(super) fn option(&mut self, option: &str, value: &str) -> Result<bool, String> {
        let Some(rest) = option.strip_prefix("annotation") else { return Ok(false) };
        let (place, key) = match rest.strip_prefix(['.', '-', '[']) {
            None => return Ok(false),
            Some(_) => {
                split(rest, '.').ok_or_else(|| format!("`{option}` names no annotation: write annotation.KEY=VALUE"))?
            }
        };
        let place = place.strip_prefix('-').unwrap_or(place);
        self.add(place, key, value).map_err(|error| format!("`{option}`: {error}"))?;
        Ok(true)
    }

    /// Reads `--annotation`.
    pub(crate) fn flag(&mut self, text: &str) -> Result<(), String> {
        let wrong = |what: &str| format!("--annotation `{text}`: {what}");
        let (left, value) = text.split_once('=').ok_or_else(|| wrong("write KEY=VALUE"))?;
        let Some((places, key)) = split(left, ':') else {
            return self.add("", left, value).map_err(|error| wrong(&error));
        };
        for place in places.split(',') {
            self.add(place, key, value).map_err(|error| wrong(&error))?;
        }
        Ok(())
    }

    fn add(&mut self, place: &str, key: &str, value: &str) -> Result<(), String> {
        let (scope, platform) = match place.split_once('[') {
            None => (place, None),
            Some((scope, rest)) => {
                let text = rest.strip_suffix(']').ok_or("the platform's bracket is not closed")?;
                (scope, Some(text.parse::<Platform>().map_err(|error| error.to_string())?))
            }
        };
        if key.is_empty() || key.contains(char::is_whitespace) {
            return Err(format!("`{key}` is no key of an annotation"));
        }
        let scope = Scope::parse(scope)?;
        // As in buildx: an index is for all of its platforms.
        let platform = platform.filter(|_| !matches!(scope, Scope::Index | Scope::IndexDescriptor));
        self.0.push(Annotation { scope, platform, key: key.to_owned(), value: value.to_owned() });
        Ok(())
    }

    /// Both, those of `other` last.
    pub(crate) fn with(&self, other: &Self) -> Self {
        Self([self.0.clone(), other.0.clone()].concat())
    }

    /// Whether there are any.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether some are about an index, which only an image of several platforms has.
    pub(crate) fn need_index(&self) -> bool {
        self.0.iter().any(|one| matches!(one.scope, Scope::Index | Scope::IndexDescriptor))
    }

    /// A platform that one of them is about, and that is not among these.
    pub(crate) fn of_another_than(&self, platforms: &[Platform]) -> Option<&Platform> {
        self.0.iter().filter_map(|one| one.platform.as_ref()).find(|platform| !platforms.contains(platform))
    }

    fn select(&self, scope: Scope, platform: Option<&Platform>) -> BTreeMap<String, String> {
        let mut selected = BTreeMap::new();
        // What is said of one platform counts more than what is said of all.
        for wanted in [None, platform] {
            let all = self.0.iter().filter(|one| one.scope == scope && one.platform.as_ref() == wanted);
            selected.extend(all.map(|one| (one.key.clone(), one.value.clone())));
        }
        selected
    }

    /// Those of a platform's manifest.
    pub(crate) fn manifest(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.select(Scope::Manifest, Some(platform))
    }

    /// Those of the descriptor of a platform's manifest.
    pub(crate) fn manifest_descriptor(&self, platform: &Platform) -> BTreeMap<String, String> {
        self.select(Scope::ManifestDescriptor, Some(platform))
    }

    /// Those of the index.
    pub(crate) fn index(&self) -> BTreeMap<String, String> {
        self.select(Scope::Index, None)
    }

    /// Those of the descriptor of the index.
    pub(crate) fn index_descriptor(&self) -> BTreeMap<String, String> {
        self.select(Scope::IndexDescriptor, None)
    }
}

/// At the first `separator` outside of brackets.
fn split(text: &str, separator: char) -> Option<(&str, &str)> {
    let mut inside = false;
    let at = text.find(|c| {
        match c {
            '[' => inside = true,
            ']' => inside = false,
            _ => {}
        }
        c == separator && !inside
    })?;
    Some((&text[..at], &text[at + separator.len_utf8()..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(annotations: &Annotations, platform: &str) -> [String; 4] {
        let platform = platform.parse().expect("a platform");
        let all = [
            annotations.manifest(&platform),
            annotations.manifest_descriptor(&platform),
            annotations.index(),
            annotations.index_descriptor(),
        ];
        all.map(|map| map.iter().map(|(key, value)| format!("{key}={value}")).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn each_goes_where_it_is_told() {
        for (option, flag, expected) in [
            ("annotation.a.b=c", "a.b=c", ["a.b=c", "", "", ""]),
            ("annotation-manifest.k=v=w", "manifest:k=v=w", ["k=v=w", "", "", ""]),
            ("annotation-manifest-descriptor.k=", "manifest-descriptor:k=", ["", "k=", "", ""]),
            ("annotation-index.k=v", "index:k=v", ["", "", "k=v", ""]),
            ("annotation-index[linux/arm64].k=v", "index[linux/arm64]:k=v", ["", "", "k=v", ""]),
            ("annotation-index-descriptor.k=v", "index-descriptor:k=v", ["", "", "", "k=v"]),
            ("annotation[linux/amd64].k=v", "manifest[linux/amd64]:k=v", ["k=v", "", "", ""]),
            ("annotation-manifest[linux/x86_64].k=v", "manifest[linux/x86_64]:k=v", ["k=v", "", "", ""]),
            (
                "annotation-manifest-descriptor[linux/arm64].k=v",
                "manifest-descriptor[linux/arm64]:k=v",
                ["", "", "", ""],
            ),
        ] {
            let mut annotations = Annotations::default();
            let (key, value) = option.split_once('=').expect("an option");
            assert_eq!(annotations.option(key, value), Ok(true), "{option}");
            assert_eq!(shown(&annotations, "linux/amd64"), expected, "{option}");
            let mut annotations = Annotations::default();
            annotations.flag(flag).expect("an annotation");
            assert_eq!(shown(&annotations, "linux/amd64"), expected, "{flag}");
        }
        let mut annotations = Annotations::default();
        assert_eq!(annotations.option("annotations", "x"), Ok(false));
        annotations.flag("manifest,index:k=1").expect("two places");
        annotations.flag("manifest[linux/arm64]:k=2").expect("one place");
        assert_eq!(shown(&annotations, "linux/arm64"), ["k=2", "", "k=1", ""]);
        assert_eq!(shown(&annotations, "linux/amd64"), ["k=1", "", "k=1", ""]);
        assert!(annotations.need_index());
    }

    #[test]
    fn mistakes_are_named() {
        for (option, part) in [
            ("annotation-", "names no annotation"),
            ("annotation.", "no key"),
            ("annotation-layer.k", "`layer` can't be annotated"),
            ("annotation[linux/amd64.k", "names no annotation"),
            ("annotation[a b].k", "not a platform"),
        ] {
            let error = Annotations::default().option(option, "v").expect_err(option);
            assert!(error.contains(part), "{option}: {error}");
        }
        for (flag, part) in [("k", "KEY=VALUE"), ("layer:k=v", "can't be annotated"), ("=v", "no key")] {
            let error = Annotations::default().flag(flag).expect_err(flag);
            assert!(error.contains(part), "{flag}: {error}");
        }
    }
}
