//! Answers in JSON, with the fields of BuildKit's subrequests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use builder_frontend::ast::Span;
use builder_frontend::lint::{Finding, Lines, Report};
use builder_frontend::outline::{Outline, OutlineNeed, Target};
use serde_json::{Map, Value, json};

use super::super::source::BuildSource;

/// Where something stands, in whole lines.
fn location(first: usize, last: usize) -> Value {
    json!({ "ranges": [{ "start": { "line": first }, "end": { "line": last } }] })
}

/// Where a part of the text stands.
fn place(lines: &Lines, span: &Span) -> Value {
    location(lines.line(span.start), lines.line(span.end.saturating_sub(1).max(span.start)))
}

/// An object without what is empty.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let is_empty = |value: &Value| match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let fields = fields.into_iter().filter(|(_, value)| !is_empty(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}

fn text(value: Option<&String>) -> Value {
    value.cloned().map_or(Value::Null, Value::String)
}

/// The answer to `check`. `error` is why the file can't be built, and where.
pub(super) fn check(source: &BuildSource, report: &Report, error: Option<(&str, Option<&Span>)>) -> Value {
    let lines = Lines::of(&source.text);
    let warning = |finding: &Finding| {
        let (first, last) = finding.lines(&lines);
        json!({
            "ruleName": finding.rule.name,
            "description": finding.rule.description,
            "url": finding.rule.page(),
            "detail": finding.message,
            "location": location(first, last),
        })
    };
    let mut answer = json!({
        "warnings": report.findings.iter().map(warning).collect::<Vec<_>>(),
        "sources": [{ "filename": source.name, "language": "Dockerfile", "data": BASE64.encode(&source.text) }],
    });
    if let Some((message, span)) = error {
        let location = span.map_or_else(|| json!({}), |span| place(&lines, span));
        answer["buildError"] = json!({ "message": message, "location": location });
    }
    answer
}

/// The answer to `outline`.
pub(super) fn outline(source: &BuildSource, outline: &Outline) -> Value {
    let lines = Lines::of(&source.text);
    let args = outline.args.iter().map(|arg| {
        object([
            ("name", Value::String(arg.name.clone())),
            ("description", text(arg.description.as_ref())),
            ("value", text(arg.value.as_ref())),
            ("location", place(&lines, &arg.span)),
        ])
    });
    let needs = |needs: &[OutlineNeed]| -> Value {
        let needs = needs.iter().map(|need| {
            object([
                ("name", Value::String(need.id.clone())),
                ("required", Value::Bool(need.required)),
                ("location", place(&lines, &need.span)),
            ])
        });
        needs.collect()
    };
    object([
        ("name", text(outline.name.as_ref())),
        ("description", text(outline.description.as_ref())),
        ("args", args.collect()),
        ("secrets", needs(&outline.secrets)),
        ("ssh", needs(&outline.ssh)),
        ("sources", json!([BASE64.encode(&source.text)])),
    ])
}

/// The answer to `targets`.
pub(super) fn targets(source: &BuildSource, targets: &[Target]) -> Value {
    let lines = Lines::of(&source.text);
    let targets = targets.iter().map(|target| {
        object([
            ("name", text(target.name.as_ref())),
            ("default", Value::Bool(target.is_default)),
            ("description", text(target.description.as_ref())),
            ("base", Value::String(target.base.clone())),
            ("platform", text(target.platform.as_ref())),
            ("location", place(&lines, &target.span)),
        ])
    });
    json!({ "targets": targets.collect::<Vec<_>>(), "sources": [BASE64.encode(&source.text)] })
}
