//! Licences as people write them → SPDX expressions.
//!
//! What is an expression stays one. What means a licence of SPDX's list in the words of Debian, Fedora or Alpine becomes
//! its identifier. Nothing is guessed: `BSD` may be one of several. Everything else gets a name of the document's own
//! (`LicenseRef-…`) with the text that it stands for.

use std::collections::{BTreeMap, HashMap};

use builder_cache::BlobDigest;
use spdx::identifiers::LICENSES;
use spdx::{Expression, ParseMode};

/// The longest text that is taken for an expression.
const LONGEST: usize = 512;

/// Names that distributions have for licences of the list, in lower case.
const NAMES: &[(&str, &str)] = &[
    ("apache 2.0", "Apache-2.0"),
    ("apache license 2.0", "Apache-2.0"),
    ("apache license, version 2.0", "Apache-2.0"),
    ("asl 2.0", "Apache-2.0"),
    ("artistic", "Artistic-1.0-Perl"),
    ("artistic-2", "Artistic-2.0"),
    ("bsd-2-clause", "BSD-2-Clause"),
    ("bsd-3-clause", "BSD-3-Clause"),
    ("bsd-4-clause", "BSD-4-Clause"),
    ("cc0", "CC0-1.0"),
    ("expat", "MIT"),
    ("gfdl-1.2+", "GFDL-1.2-or-later"),
    ("gfdl-1.3", "GFDL-1.3-only"),
    ("gfdl-1.3+", "GFDL-1.3-or-later"),
    ("gpl-1", "GPL-1.0-only"),
    ("gpl-1+", "GPL-1.0-or-later"),
    ("gpl+", "GPL-1.0-or-later"),
    ("gpl-2", "GPL-2.0-only"),
    ("gpl-2+", "GPL-2.0-or-later"),
    ("gpl2", "GPL-2.0-only"),
    ("gpl2+", "GPL-2.0-or-later"),
    ("gplv2", "GPL-2.0-only"),
    ("gplv2+", "GPL-2.0-or-later"),
    ("gpl-3", "GPL-3.0-only"),
    ("gpl-3+", "GPL-3.0-or-later"),
    ("gpl3", "GPL-3.0-only"),
    ("gpl3+", "GPL-3.0-or-later"),
    ("gplv3", "GPL-3.0-only"),
    ("gplv3+", "GPL-3.0-or-later"),
    ("isc license (iscl)", "ISC"),
    ("lgpl-2", "LGPL-2.0-only"),
    ("lgpl-2+", "LGPL-2.0-or-later"),
    ("lgpl-2.1", "LGPL-2.1-only"),
    ("lgpl-2.1+", "LGPL-2.1-or-later"),
    ("lgplv2", "LGPL-2.0-only"),
    ("lgplv2+", "LGPL-2.0-or-later"),
    ("lgpl-3", "LGPL-3.0-only"),
    ("lgpl-3+", "LGPL-3.0-or-later"),
    ("lgplv3", "LGPL-3.0-only"),
    ("lgplv3+", "LGPL-3.0-or-later"),
    ("mit license", "MIT"),
    ("mit/x11", "MIT"),
    ("mozilla public license 2.0 (mpl 2.0)", "MPL-2.0"),
    ("mplv1.1", "MPL-1.1"),
    ("mplv2.0", "MPL-2.0"),
    ("psf license", "PSF-2.0"),
    ("python software foundation license", "PSF-2.0"),
    ("zlib/libpng", "Zlib"),
];

/// Expressions for packages, and the texts of names that are the document's own.
#[derive(Debug, Default)]
pub(super) struct Licenses {
    /// `LicenseRef-…` and what it stands for.
    pub(super) extracted: BTreeMap<String, String>,
    /// Most packages of a distribution have the same few.
    known: HashMap<String, String>,
}

impl Licenses {
    /// One expression for licences that all apply.
    pub(super) fn expression(&mut self, licenses: &[String]) -> Option<String> {
        let mut parts: Vec<String> = Vec::new();
        for license in licenses {
            let part = if let Some(part) = self.known.get(license) {
                part.clone()
            } else {
                let part = self.one(license);
                self.known.insert(license.clone(), part.clone());
                part
            };
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        match parts.as_slice() {
            [] => None,
            [only] => Some(only.clone()),
            several => {
                let grouped =
                    several.iter().map(|part| if part.contains(' ') { format!("({part})") } else { part.clone() });
                Some(grouped.collect::<Vec<_>>().join(" AND "))
            }
        }
    }

    fn one(&mut self, license: &str) -> String {
        if license.len() > LONGEST {
            return self.own(license);
        }
        if let Some(expression) = known(license) {
            return expression;
        }
        let joined: Vec<String> = tokens(license)
            .into_iter()
            .map(|token| match token {
                Token::Operator(operator) => operator.to_owned(),
                Token::Name(name) => known(&name).unwrap_or_else(|| self.own(&name)),
            })
            .collect();
        let joined = joined.join(" ").replace("( ", "(").replace(" )", ")");
        if is_expression(&joined) { joined } else { self.own(license) }
    }

    /// A name of the document's own: what can be read of the text, and enough of its digest to tell it from others.
    fn own(&mut self, text: &str) -> String {
        let readable: String = text
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
            .collect::<String>()
            .split('-')
            .filter(|part| !part.is_empty())
            .collect::<Vec<_>>()
            .join("-");
        let readable: String = readable.chars().take(40).collect();
        let readable = if readable.is_empty() { "unnamed" } else { &readable };
        let name = format!("LicenseRef-{readable}-{}", &BlobDigest::of(text.as_bytes()).hex()[..8]);
        self.extracted.insert(name.clone(), text.to_owned());
        name
    }
}

/// A text that means licences of the list, as an expression.
fn known(text: &str) -> Option<String> {
    let lower = text.to_lowercase();
    if let Some((_, id)) = NAMES.iter().find(|(name, _)| *name == lower) {
        return Some((*id).to_owned());
    }
    // Names of somebody else's document mean nothing in this one, and these words are no licences.
    if lower.contains("ref-") || lower.contains("noassertion") || lower == "none" {
        return None;
    }
    if is_expression(text) {
        return Some(text.to_owned());
    }
    let listed = |wanted: &str| {
        let found = LICENSES.iter().find(|license| license.name.eq_ignore_ascii_case(wanted));
        found.map(|license| license.name.to_owned())
    };
    listed(text).or_else(|| listed(&format!("{}-or-later", text.strip_suffix('+')?)))
}

fn is_expression(text: &str) -> bool {
    let mode = ParseMode { allow_deprecated: true, ..ParseMode::STRICT };
    Expression::parse_mode(text, mode).is_ok()
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    Operator(&'static str),
    Name(String),
}

/// Names and what is between them: `and`, `or`, commas and parentheses.
fn tokens(text: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut name: Vec<String> = Vec::new();
    let spaced = text.replace('(', " ( ").replace(')', " ) ").replace(", ", " and ");
    let finish = |name: &mut Vec<String>, tokens: &mut Vec<Token>| {
        if !name.is_empty() {
            tokens.push(Token::Name(name.join(" ")));
            name.clear();
        }
    };
    for word in spaced.split_whitespace() {
        let operator = match word {
            "(" => "(",
            ")" => ")",
            word if word.eq_ignore_ascii_case("and") || word == "&" => "AND",
            word if word.eq_ignore_ascii_case("or") || word == "|" => "OR",
            _ => {
                name.push(word.to_owned());
                continue;
            }
        };
        finish(&mut name, &mut tokens);
        tokens.push(Token::Operator(operator));
    }
    finish(&mut name, &mut tokens);
    tokens
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licences_become_expressions() {
        let mut licenses = Licenses::default();
        let mut of = |list: &[&str]| {
            let list: Vec<String> = list.iter().map(|&text| text.to_owned()).collect();
            licenses.expression(&list)
        };
        for (list, expected) in [
            (&["MIT"][..], "MIT"),
            (&["MIT OR Apache-2.0"], "MIT OR Apache-2.0"),
            (&["MIT OR Apache-2.0", "ISC"], "(MIT OR Apache-2.0) AND ISC"),
            (&["GPL-2+", "Expat", "GPL-2+"], "GPL-2.0-or-later AND MIT"),
            (&["GPLv2+ and LGPLv2+"], "GPL-2.0-or-later AND LGPL-2.0-or-later"),
            (&["(GPLv3+ or Expat) and ISC"], "(GPL-3.0-or-later OR MIT) AND ISC"),
            (&["Apache License 2.0"], "Apache-2.0"),
            (&["MIT License"], "MIT"),
            (&["mit or apache-2.0"], "MIT OR Apache-2.0"),
            (&["agpl-3.0+"], "AGPL-3.0-or-later"),
            (&["GPL-2.0"], "GPL-2.0"),
        ] {
            assert_eq!(of(list).as_deref(), Some(expected), "{list:?}");
        }
        assert_eq!(of(&[]), None);
        let own = of(&["Expat and public domain"]).unwrap();
        assert!(own.starts_with("MIT AND LicenseRef-public-domain-"), "{own}");
        assert!(is_expression(&own));
        // What can't be an expression is one name.
        let own = of(&["and (or"]).unwrap();
        assert!(own.starts_with("LicenseRef-and-or-"), "{own}");
        // Names of others are not taken over.
        let own = of(&["LicenseRef-Theirs"]).unwrap();
        assert!(own.starts_with("LicenseRef-LicenseRef-Theirs-"), "{own}");
        assert_eq!(licenses.extracted.len(), 3);
        assert!(licenses.extracted.values().any(|text| text == "public domain"));
        let own = licenses.one("BSD");
        assert!(own.starts_with("LicenseRef-BSD-"), "{own}");
        let long = licenses.one(&"x".repeat(LONGEST + 1));
        assert!(long.len() < 80, "{long}");
    }

    #[test]
    fn the_table_is_right() {
        for (name, id) in NAMES {
            assert!(is_expression(id), "{id}");
            assert_eq!(*name, name.to_lowercase());
        }
    }
}
