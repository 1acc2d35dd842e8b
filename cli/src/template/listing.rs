//! `--format` of the commands that list things: `table`, `table TEMPLATE`, `json`, or a template a row.

use serde_json::{Map, Value};

use super::Template;
use crate::error::CliResult;
use crate::output;

/// How the rows of a list are printed.
#[derive(Debug)]
pub(crate) enum Listing {
    /// Columns under their headers; the template has tabs between them.
    Table(Template),
    /// One JSON object a line.
    Json,
    /// The template, and the end of the line.
    Rows(Template),
}

impl Listing {
    /// Reads `--format`. `table` is the template of the table that is printed when nobody asks for another:
    /// `{{.ID}}\t{{.Name}}`.
    pub(crate) fn parse(format: Option<&str>, table: &str) -> CliResult<Self> {
        let format = format.unwrap_or("table");
        if format.trim() == "json" {
            return Ok(Self::Json);
        }
        let (is_table, text) = match format.strip_prefix("table") {
            Some(columns) if columns.trim().is_empty() => (true, table),
            Some(columns) => (true, columns),
            None => (false, format),
        };
        // As Docker does: people write `\t` in single quotes.
        let text = text.trim_matches(' ').replace("\\t", "\t").replace("\\n", "\n");
        let template = Template::parse(&text).map_err(|error| error.drawn("--format"))?;
        Ok(if is_table { Self::Table(template) } else { Self::Rows(template) })
    }

    /// Whether the format mentions this field.
    pub(crate) fn mentions(&self, field: &str) -> bool {
        match self {
            Self::Json => true,
            Self::Table(template) | Self::Rows(template) => template.mentions(&format!(".{field}")),
        }
    }

    /// The rows as text. `headers` are the fields with what stands above their columns.
    pub(crate) fn render(&self, headers: &[(&str, &str)], rows: &[Value]) -> CliResult<String> {
        let mut text = String::new();
        match self {
            Self::Json => {
                for row in rows {
                    text.push_str(&row.to_string());
                    text.push('\n');
                }
            }
            Self::Rows(template) => {
                for row in rows {
                    text.push_str(&template.execute(row).map_err(|error| error.drawn("--format"))?);
                    text.push('\n');
                }
            }
            Self::Table(template) => {
                let headers: Map<String, Value> =
                    headers.iter().map(|(field, header)| ((*field).to_owned(), Value::from(*header))).collect();
                let headers = template.headers(&Value::Object(headers)).map_err(|error| error.drawn("--format"))?;
                let mut lines = vec![cells(&headers)];
                for row in rows {
                    let line = template.execute(row).map_err(|error| error.drawn("--format"))?;
                    lines.extend(line.split('\n').map(cells));
                }
                text = output::aligned(&lines);
            }
        }
        Ok(text)
    }
}

fn cells(line: &str) -> Vec<String> {
    line.split('\t').map(str::to_owned).collect()
}
