//! `RUN --mount`: the options as written, and what they mean once their variables are expanded.

use crate::ast::{Span, Word};
use crate::parser::{self, ParseError, ParseErrorKind};
use crate::suggest;

/// One `--mount` as written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// The whole value: `type=cache,target=/root/.cache`.
    pub raw: Word,
    /// The comma-separated options in order.
    pub options: Vec<MountOption>,
}

/// One `key[=value]` of a `--mount`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MountOption {
    /// The key, aliases resolved.
    pub key: MountKey,
    /// The value, unexpanded.
    pub value: Option<Word>,
    /// The whole option.
    pub span: Span,
}

/// The keys that `--mount` knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MountKey {
    /// `type`
    Type,
    /// `from`: a stage, image or named context; never expanded.
    From,
    /// `source`, `src`
    Source,
    /// `target`, `dst`, `destination`
    Target,
    /// `readonly`, `ro`
    ReadOnly,
    /// `readwrite`, `rw`
    ReadWrite,
    /// `id`
    Id,
    /// `sharing`
    Sharing,
    /// `required`
    Required,
    /// `size`
    Size,
    /// `mode`
    Mode,
    /// `uid`
    Uid,
    /// `gid`
    Gid,
    /// `env`
    Env,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum MountType {
    /// Files of the context, of a stage or of an image.
    #[default]
    Bind,
    /// A directory that outlives the build.
    Cache,
    /// Memory.
    Tmpfs,
    /// A file or variable that never reaches a layer.
    Secret,
    /// The socket of an ssh agent.
    Ssh,
}

/// Who may use a cache mount at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Sharing {
    /// Everybody.
    #[default]
    Shared,
    /// Each user gets its own.
    Private,
    /// One after the other.
    Locked,
}

/// A mount with its variables expanded and its own rules checked. Defaults that need no more than the mount itself
/// are filled in; the others (the id of a cache, the target of a secret) are left to whoever knows the rest.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResolvedMount {
    /// `type`
    pub kind: MountType,
    /// `from`
    pub from: Option<String>,
    /// `source`
    pub source: Option<String>,
    /// `target`
    pub target: Option<String>,
    /// Read-only: the default for every type but cache and tmpfs.
    pub read_only: bool,
    /// `id`; for a secret `source` is another name of it.
    pub id: Option<String>,
    /// `sharing`
    pub sharing: Sharing,
    /// `required`
    pub required: bool,
    /// `size` in bytes.
    pub size: Option<u64>,
    /// `mode`
    pub mode: Option<u32>,
    /// `uid`
    pub uid: Option<u32>,
    /// `gid`
    pub gid: Option<u32>,
    /// `env`
    pub env: Option<String>,
}

/// Every spelling of the keys.
const KEYS: [(&str, MountKey); 19] = [
    ("type", MountKey::Type),
    ("from", MountKey::From),
    ("source", MountKey::Source),
    ("src", MountKey::Source),
    ("target", MountKey::Target),
    ("dst", MountKey::Target),
    ("destination", MountKey::Target),
    ("readonly", MountKey::ReadOnly),
    ("ro", MountKey::ReadOnly),
    ("readwrite", MountKey::ReadWrite),
    ("rw", MountKey::ReadWrite),
    ("id", MountKey::Id),
    ("sharing", MountKey::Sharing),
    ("required", MountKey::Required),
    ("size", MountKey::Size),
    ("mode", MountKey::Mode),
    ("uid", MountKey::Uid),
    ("gid", MountKey::Gid),
    ("env", MountKey::Env),
];

const TYPES: [(&str, MountType); 5] = [
    ("bind", MountType::Bind),
    ("cache", MountType::Cache),
    ("tmpfs", MountType::Tmpfs),
    ("secret", MountType::Secret),
    ("ssh", MountType::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

impl MountType {
    /// The word for it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bind => "bind",
            Self::Cache => "cache",
            Self::Tmpfs => "tmpfs",
            Self::Secret => "secret",
            Self::Ssh => "ssh",
        }
    }
}

impl Mount {
    /// Splits the value of `--mount` and checks all that can be checked before variables are expanded.
    pub(crate) fn parse(raw: Word) -> Result<Self, ParseError> {
        let options = csv_fields(&raw, "mount")?.into_iter().map(MountOption::parse).collect::<Result<Vec<_>, _>>()?;
        let mount = Self { raw, options };
        let variable = |word: &Word| word.value.contains(['$', '\\', '`', '"', '\'']);
        if !mount.options.iter().filter_map(|option| option.value.as_ref()).any(variable) {
            mount.resolve(|word| Ok::<_, ParseError>(word.value.clone()))?;
        }
        Ok(mount)
    }

    /// The target as written, for messages; empty when there is none.
    pub(crate) fn target(&self) -> &str {
        let target = self.options.iter().rfind(|option| option.key == MountKey::Target);
        target.and_then(|option| option.value.as_ref()).map_or("", Word::as_str)
    }

    /// What the mount means once `expand` has replaced the variables in each value (`from` is never expanded). Errors
    /// point at the option that is wrong.
    pub fn resolve<E: From<ParseError>>(
        &self,
        mut expand: impl FnMut(&Word) -> Result<String, E>,
    ) -> Result<ResolvedMount, E> {
        let mut values = Vec::with_capacity(self.options.len());
        for option in &self.options {
            let value = match &option.value {
                Some(value) if option.key == MountKey::From => Some(value.value.clone()),
                Some(value) => Some(expand(value)?),
                None => None,
            };
            values.push((option, value));
        }
        let mut resolver = Resolver { mount: ResolvedMount::default(), read_only: None, sharing: None };
        // The type decides which other keys are allowed, wherever it stands.
        for (option, value) in values.iter().filter(|(option, _)| option.key == MountKey::Type) {
            resolver.set(option, value.as_deref())?;
        }
        for (option, value) in values.iter().filter(|(option, _)| option.key != MountKey::Type) {
            resolver.set(option, value.as_deref())?;
        }
        Ok(resolver.finish(&self.raw)?)
    }
}

impl MountOption {
    fn parse(field: Word) -> Result<Self, ParseError> {
        let (name, rest) = match field.value.split_once('=') {
            Some((name, _)) => (name, Some(name.len() + 1..field.value.len())),
            None => (field.value.as_str(), None),
        };
        let lower = name.to_lowercase();
        let Some(&(_, key)) = KEYS.iter().find(|(known, _)| *known == lower) else {
            let names: Vec<&str> = KEYS.iter().map(|(name, _)| *name).collect();
            let message = format!("unexpected key '{lower}' in '{}'", field.value);
            let error = ParseError::new(ParseErrorKind::InvalidMount(message), field.sub_span(0..name.len()));
            return Err(if field.value.is_empty() {
                error.help("remove the comma, or what follows it: a flag ends at the first blank")
            } else {
                error.suggest(suggest::nearest(&lower, &names))
            });
        };
        let value = rest.map(|rest| Word::new(field.value[rest.clone()].to_owned(), field.sub_span(rest)));
        let optional = matches!(key, MountKey::ReadOnly | MountKey::ReadWrite | MountKey::Required);
        if value.is_none() && !optional {
            let message = format!("invalid field '{}' must be a key=value pair", field.value);
            return Err(invalid(message, &field.span).expected(format!("`{lower}=value`")));
        }
        let from_variable = key == MountKey::From
            && value.as_ref().is_some_and(|value| value.value.find('$').is_some_and(|at| at + 1 < value.value.len()));
        if from_variable {
            let message = "'from' doesn't support variable expansion, define alias stage instead".to_owned();
            return Err(invalid(message, &field.span).help("name it in a stage of its own: `FROM $IMAGE AS name`"));
        }
        Ok(Self { key, value, span: field.span })
    }

    /// The key as written in messages.
    fn name(&self) -> &'static str {
        KEYS.iter().find(|(_, key)| *key == self.key).map_or("", |(name, _)| name)
    }
}

struct Resolver {
    mount: ResolvedMount,
    read_only: Option<bool>,
    sharing: Option<(Sharing, Span)>,
}

impl Resolver {
    fn set(&mut self, option: &MountOption, value: Option<&str>) -> Result<(), ParseError> {
        let span = &option.span;
        let name = option.name();
        let kind = self.mount.kind;
        let text = || value.unwrap_or_default().to_owned();
        let bad = || invalid(format!("invalid value for {name}: {}", text()), span);
        let truth = || value.map_or(Some(true), boolean).ok_or_else(bad);
        let number = |radix| u32::from_str_radix(&text(), radix).map_err(|_| bad().expected("a number"));
        let allowed: &[MountType] = match option.key {
            MountKey::Required => &[MountType::Secret, MountType::Ssh],
            MountKey::Size => &[MountType::Tmpfs],
            MountKey::Env => &[MountType::Secret],
            MountKey::Mode | MountKey::Uid | MountKey::Gid => &[MountType::Secret, MountType::Ssh, MountType::Cache],
            _ => &[],
        };
        if !allowed.is_empty() && !allowed.contains(&kind) {
            let message = match option.key {
                MountKey::Mode | MountKey::Uid | MountKey::Gid => {
                    format!("{name} not allowed for {:?} type mounts", kind.name())
                }
                _ => format!("unexpected key '{name}' for mount type '{}'", kind.name()),
            };
            return Err(invalid(message, span));
        }
        match option.key {
            MountKey::Type => self.mount.kind = choose("mount type", &text(), &TYPES, span)?,
            MountKey::From => self.mount.from = value.map(ToOwned::to_owned),
            MountKey::Source => self.mount.source = value.map(ToOwned::to_owned),
            MountKey::Target => self.mount.target = value.map(ToOwned::to_owned),
            MountKey::Id => self.mount.id = value.map(ToOwned::to_owned),
            MountKey::Env => self.mount.env = value.map(ToOwned::to_owned),
            MountKey::ReadOnly => self.read_only = Some(truth()?),
            MountKey::ReadWrite => self.read_only = Some(!truth()?),
            MountKey::Required => self.mount.required = truth()?,
            MountKey::Sharing => {
                self.sharing = Some((choose("sharing value", &text(), &SHARINGS, span)?, span.clone()));
            }
            MountKey::Size => {
                self.mount.size = Some(size(&text()).ok_or_else(|| bad().expected("a size such as `64m` or `1g`"))?);
            }
            MountKey::Mode => self.mount.mode = Some(number(8)?),
            MountKey::Uid => self.mount.uid = Some(number(10)?),
            MountKey::Gid => self.mount.gid = Some(number(10)?),
        }
        Ok(())
    }

    fn finish(self, raw: &Word) -> Result<ResolvedMount, ParseError> {
        let Self { mut mount, read_only, sharing } = self;
        mount.read_only = read_only.unwrap_or(!matches!(mount.kind, MountType::Cache | MountType::Tmpfs));
        for text in [&mut mount.from, &mut mount.source, &mut mount.target, &mut mount.id, &mut mount.env] {
            *text = text.take().filter(|text| !text.is_empty());
        }
        if mount.kind == MountType::Secret {
            let refusal = if mount.from.is_some() {
                Some("secret mount should not have a from")
            } else if sharing.is_some() {
                Some("secret mount should not define sharing")
            } else if mount.source.is_none() && mount.target.is_none() && mount.id.is_none() {
                Some("invalid secret mount. one of source, target required")
            } else if mount.source.is_some() && mount.id.is_some() {
                Some("both source and id can't be set")
            } else {
                None
            };
            if let Some(refusal) = refusal {
                return Err(invalid(refusal.to_owned(), &raw.span));
            }
            mount.id = mount.id.or(mount.source.take());
        }
        if let Some((sharing, span)) = sharing {
            if mount.kind != MountType::Cache {
                return Err(invalid(format!("invalid cache sharing set for {} mount", mount.kind.name()), &span));
            }
            mount.sharing = sharing;
        }
        Ok(mount)
    }
}

fn invalid(message: String, span: &Span) -> ParseError {
    ParseError::new(ParseErrorKind::InvalidMount(message), span.clone())
}

fn choose<T: Copy>(what: &str, text: &str, options: &[(&'static str, T)], span: &Span) -> Result<T, ParseError> {
    let lower = text.to_lowercase();
    if let Some(&(_, value)) = options.iter().find(|(name, _)| *name == lower) {
        return Ok(value);
    }
    let names: Vec<&str> = options.iter().map(|(name, _)| *name).collect();
    Err(invalid(format!("unsupported {what} {text:?}"), span)
        .suggest(suggest::nearest(&lower, &names))
        .expected(names.join(", ")))
}

/// The fields of one line of comma-separated values. `what` names the flag in errors.
pub(crate) fn csv_fields(raw: &Word, what: &str) -> Result<Vec<Word>, ParseError> {
    let Some(fields) = parser::csv_spans(&raw.value) else {
        return Err(invalid(format!("failed to parse csv {what}s"), &raw.span)
            .help("a field with a comma or a quote in it must be quoted as a whole"));
    };
    Ok(fields
        .into_iter()
        .map(|span| {
            let text = &raw.value[span.clone()];
            let text = match text.strip_prefix('"').and_then(|text| text.strip_suffix('"')) {
                Some(quoted) => quoted.replace("\"\"", "\""),
                None => text.to_owned(),
            };
            Word::new(text, raw.sub_span(span))
        })
        .collect())
}

/// Go's `strconv.ParseBool`.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// A size as people write memory: `64`, `64k`, `1.5 GiB`; units are powers of 1024.
fn size(text: &str) -> Option<u64> {
    let end = text.find(|digit: char| !digit.is_ascii_digit() && digit != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let unit = unit.trim_start_matches(' ').to_ascii_lowercase();
    let unit = unit.strip_suffix("ib").or(unit.strip_suffix('b')).unwrap_or(&unit);
    let shift = match unit {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(1 << shift);
    }
    let bytes = number.parse::<f64>().ok()? * (1_u64 << shift) as f64;
    (bytes < 9e18).then_some(bytes as u64)
}
