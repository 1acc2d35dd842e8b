//! Go's `text/template`, as far as `--format` of docker's users goes: fields and methods, pipelines, `if`, `with`,
//! `range`, variables, comments, trim marks, literals, Go's functions and Docker's (`json`, `join`, `split`, `title`,
//! `lower`, `upper`, `pad`, `truncate`). No `define`, `template`, `block` and `call`.
//!
//! Data are JSON objects. A field that the data don't have is an error that names those that they have; below them,
//! what is missing is `<no value>`, as in Go's maps. The time and the output of one execution are bounded.

mod error;
mod execute;
mod format;
mod functions;
mod lex;
mod listing;
mod parse;
#[cfg(test)]
mod tests;
mod value;

use serde_json::Value;

pub(crate) use error::TemplateError;
pub(crate) use listing::Listing;

/// A template that was read.
#[derive(Debug)]
pub(crate) struct Template {
    source: String,
    nodes: Vec<parse::Node>,
}

impl Template {
    /// Reads a template.
    pub(crate) fn parse(source: &str) -> Result<Self, TemplateError> {
        let nodes = parse::parse(source).map_err(|error| error.within(source))?;
        Ok(Self { source: source.to_owned(), nodes })
    }

    /// Applies it to data.
    pub(crate) fn execute(&self, data: &Value) -> Result<String, TemplateError> {
        execute::execute(&self.nodes, data, false).map_err(|error| error.within(&self.source))
    }

    /// Applies it to the headers of a table: what only shapes values leaves them alone.
    fn headers(&self, headers: &Value) -> Result<String, TemplateError> {
        execute::execute(&self.nodes, headers, true).map_err(|error| error.within(&self.source))
    }

    /// Whether it mentions this text (`.Digest`).
    pub(crate) fn mentions(&self, text: &str) -> bool {
        self.source.contains(text)
    }
}
