//! YAML text → nodes with places. Anchors, aliases and merge keys are resolved.

use std::collections::HashMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

use crate::bake::error::{BakeError, BakeResult, Span};

/// How many nodes a document may have, its aliases written out.
const MAX_NODES: usize = 200_000;

/// How deep nodes may be nested.
const MAX_DEPTH: usize = 128;

/// A node.
#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    pub(super) span: Span,
    /// How it is laid over a node of the same place in an earlier file.
    pub(super) over: Over,
}

/// The kinds of nodes.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Null,
    /// A text; whether it stands without quotes, so that it may mean a number or a bool.
    Scalar(String, bool),
    Sequence(Vec<Node>),
    Mapping(Vec<(String, Span, Node)>),
}

/// What an earlier file's node becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Over {
    Merge,
    /// `!override`
    Replace,
    /// `!reset`
    Remove,
}

/// Reads the documents of a file.
pub(super) fn parse(text: &str, file: usize) -> BakeResult<Vec<Node>> {
    let mut reader = Reader {
        parser: Parser::new_from_str(text),
        file,
        offsets: (!text.is_ascii()).then(|| text.char_indices().map(|(at, _)| at).collect()),
        length: text.len(),
        anchors: HashMap::new(),
        nodes: 0,
    };
    let mut documents = Vec::new();
    loop {
        match reader.next()? {
            None | Some((Event::StreamEnd, _)) => return Ok(documents),
            Some((Event::DocumentStart(_), _)) => {
                if let Some((event, span)) = reader.next()? {
                    documents.push(reader.node(event, span, 0)?);
                }
            }
            Some(_) => {}
        }
    }
}

struct Reader<'t> {
    parser: Parser<'t, saphyr_parser::StrInput<'t>>,
    file: usize,
    /// Where each character begins, when some are longer than a byte.
    offsets: Option<Vec<usize>>,
    length: usize,
    anchors: HashMap<usize, (Node, usize)>,
    nodes: usize,
}

impl<'t> Reader<'t> {
    fn next(&mut self) -> BakeResult<Option<(Event<'t>, Span)>> {
        match self.parser.next() {
            None => Ok(None),
            Some(Ok((event, span))) => {
                let (start, end) = (self.offset(span.start.index()), self.offset(span.end.index()));
                Ok(Some((event, Span { file: self.file, range: start..end.max(start) })))
            }
            Some(Err(error)) => {
                let at = self.offset(error.marker().index());
                let span = Span { file: self.file, range: at..at };
                Err(BakeError::new(format!("this is not valid YAML: {}", error.info())).at(&span))
            }
        }
    }

    fn offset(&self, index: usize) -> usize {
        match &self.offsets {
            None => index.min(self.length),
            Some(offsets) => offsets.get(index).copied().unwrap_or(self.length),
        }
    }

    fn node(&mut self, event: Event<'t>, span: Span, depth: usize) -> BakeResult<Node> {
        let before = self.nodes;
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            return Err(BakeError::new(format!("the file has more than {MAX_NODES} nodes")).at(&span));
        }
        if depth > MAX_DEPTH {
            return Err(BakeError::new("this is nested too deeply").at(&span));
        }
        let (kind, anchor, tag) = match event {
            Event::Alias(anchor) => {
                let Some((node, size)) = self.anchors.get(&anchor).cloned() else {
                    return Err(BakeError::new("this alias has no anchor").at(&span));
                };
                self.nodes += size;
                return Ok(node);
            }
            Event::Scalar(text, style, anchor, tag) => {
                let plain = style == ScalarStyle::Plain && tag.as_deref().is_none_or(|tag| tag.suffix != "str");
                let null = plain && matches!(&*text, "" | "~" | "null" | "Null" | "NULL");
                (if null { Kind::Null } else { Kind::Scalar(text.into_owned(), plain) }, anchor, tag)
            }
            Event::SequenceStart(anchor, tag) => (Kind::Sequence(self.sequence(depth)?), anchor, tag),
            Event::MappingStart(anchor, tag) => (Kind::Mapping(self.mapping(depth)?), anchor, tag),
            _ => return Err(BakeError::new("this is not valid YAML").at(&span)),
        };
        let node = Node { kind, span, over: tag.as_deref().map_or(Over::Merge, over) };
        if anchor > 0 {
            self.anchors.insert(anchor, (node.clone(), self.nodes - before));
        }
        Ok(node)
    }

    fn sequence(&mut self, depth: usize) -> BakeResult<Vec<Node>> {
        let mut items = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::SequenceEnd) {
                break;
            }
            items.push(self.node(event, span, depth + 1)?);
        }
        Ok(items)
    }

    /// `<<` brings in the members of other mappings; what is written here counts.
    fn mapping(&mut self, depth: usize) -> BakeResult<Vec<(String, Span, Node)>> {
        let mut members: Vec<(String, Span, Node)> = Vec::new();
        let mut merged: Vec<(String, Span, Node)> = Vec::new();
        while let Some((event, span)) = self.next()? {
            if matches!(event, Event::MappingEnd) {
                break;
            }
            let key = self.node(event, span, depth + 1)?;
            let name = match &key.kind {
                Kind::Scalar(text, _) => text.clone(),
                Kind::Null => String::new(),
                _ => return Err(BakeError::new("the key of a mapping is a text here").at(&key.span)),
            };
            let Some((event, span)) = self.next()? else { break };
            let value = self.node(event, span, depth + 1)?;
            if name == "<<" {
                let sources = match value.kind {
                    Kind::Sequence(items) => items,
                    _ => vec![value],
                };
                for source in sources {
                    let Kind::Mapping(inherited) = source.kind else {
                        return Err(BakeError::new("`<<` takes a mapping or a list of mappings").at(&source.span));
                    };
                    merged.extend(inherited);
                }
                continue;
            }
            if members.iter().any(|(known, ..)| *known == name) {
                return Err(BakeError::new(format!("the key `{name}` is there already")).at(&key.span));
            }
            members.push((name, key.span, value));
        }
        for member in merged {
            if !members.iter().any(|(known, ..)| *known == member.0) {
                members.push(member);
            }
        }
        Ok(members)
    }
}

fn over(tag: &Tag) -> Over {
    match tag.suffix.as_str() {
        "reset" => Over::Remove,
        "override" => Over::Replace,
        _ => Over::Merge,
    }
}

impl Node {
    /// The member of a mapping.
    pub(super) fn get(&self, name: &str) -> Option<&Self> {
        match &self.kind {
            Kind::Mapping(members) => members.iter().find(|(known, ..)| known == name).map(|(.., node)| node),
            _ => None,
        }
    }

    /// The members of a mapping; none of nothing.
    pub(super) fn members(&self, what: &str) -> BakeResult<&[(String, Span, Self)]> {
        match &self.kind {
            Kind::Mapping(members) => Ok(members),
            Kind::Null => Ok(&[]),
            _ => Err(BakeError::new(format!("{what} is a mapping")).at(&self.span)),
        }
    }

    /// The text of a scalar, numbers as Go prints them; `None` of nothing.
    pub(super) fn text(&self) -> BakeResult<Option<String>> {
        match &self.kind {
            Kind::Null => Ok(None),
            Kind::Scalar(text, true) => Ok(Some(canonical(text))),
            Kind::Scalar(text, false) => Ok(Some(text.clone())),
            _ => Err(BakeError::new("here must be a text").at(&self.span)),
        }
    }

    /// true or false.
    pub(super) fn truth(&self) -> BakeResult<Option<bool>> {
        match self.text()?.as_deref() {
            None => Ok(None),
            Some("true" | "yes" | "on" | "y" | "1") => Ok(Some(true)),
            Some("false" | "no" | "off" | "n" | "0") => Ok(Some(false)),
            Some(other) => Err(BakeError::new(format!("it takes true or false, not `{other}`")).at(&self.span)),
        }
    }

    /// A list of texts, or one text.
    pub(super) fn texts(&self) -> BakeResult<Vec<String>> {
        match &self.kind {
            Kind::Sequence(items) => {
                let texts = items.iter().map(Self::text).collect::<BakeResult<Vec<_>>>()?;
                Ok(texts.into_iter().flatten().collect())
            }
            _ => Ok(self.text()?.into_iter().collect()),
        }
    }

    /// A mapping of texts, or a list of `name=value`; without value it is `None`.
    pub(super) fn pairs(&self) -> BakeResult<Vec<(String, Option<String>)>> {
        match &self.kind {
            Kind::Mapping(members) => {
                members.iter().map(|(name, _, value)| Ok((name.clone(), value.text()?))).collect()
            }
            _ => Ok(self
                .texts()?
                .into_iter()
                .map(|text| match text.split_once('=') {
                    Some((name, value)) => (name.to_owned(), Some(value.to_owned())),
                    None => (text, None),
                })
                .collect()),
        }
    }
}

/// A number as it is printed: `1.10` is 1.1, `0x1f` is 31.
fn canonical(text: &str) -> String {
    let (sign, digits) = match text.strip_prefix('-') {
        Some(digits) => ("-", digits),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    if !digits.starts_with(|c: char| c.is_ascii_digit() || c == '.') || digits == "." {
        return text.to_owned();
    }
    let radix =
        |prefix: &str, radix| digits.strip_prefix(prefix).and_then(|rest| u64::from_str_radix(rest, radix).ok());
    let octal = (digits.len() > 1).then(|| radix("0", 8)).flatten();
    let integer = radix("0x", 16).or_else(|| radix("0o", 8)).or_else(|| radix("0b", 2)).or(octal);
    if let Some(integer) = integer.or_else(|| digits.parse().ok()) {
        return format!("{sign}{integer}");
    }
    match digits.parse::<f64>() {
        Ok(float) if float.is_finite() => format!("{sign}{float}"),
        _ => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scalars_read_as_go_prints_them() {
        let table = [
            ("1", "1"),
            ("1.10", "1.1"),
            ("1.0", "1"),
            ("-2.50", "-2.5"),
            ("0x1f", "31"),
            ("017", "15"),
            ("1e3", "1000"),
            ("1.2.3", "1.2.3"),
            ("v1", "v1"),
            ("12:30", "12:30"),
            (".", "."),
            ("0", "0"),
        ];
        for (text, expected) in table {
            assert_eq!(canonical(text), expected, "{text}");
        }
    }

    #[test]
    fn anchors_and_merge_keys() {
        let text = "a: &a {x: 1, y: 2}\nb:\n  <<: *a\n  y: 3\nc: *a\n";
        let documents = parse(text, 0).unwrap();
        let b = documents[0].get("b").unwrap();
        assert_eq!(b.get("x").unwrap().text().unwrap().as_deref(), Some("1"));
        assert_eq!(b.get("y").unwrap().text().unwrap().as_deref(), Some("3"));
        assert_eq!(documents[0].get("c").unwrap().get("y").unwrap().text().unwrap().as_deref(), Some("2"));
    }

    #[test]
    fn a_bomb_does_not_go_off() {
        let mut text = "a: &a [x, x, x, x, x, x, x, x, x, x]\n".to_owned();
        for (name, before) in ["b", "c", "d", "e", "f", "g", "h"].iter().zip(["a", "b", "c", "d", "e", "f", "g"]) {
            let items = vec![format!("*{before}"); 10].join(", ");
            text.extend([name, ": &", name, " [", &items, "]\n"]);
        }
        let error = parse(&text, 0).unwrap_err();
        assert!(error.message.contains("nodes"), "{error}");
    }
}
