//! `--attest`, `--provenance`, `--sbom`, and build arguments: what is to be said of an image beside it.

use crate::csv::{boolean, fields};
use crate::error::{CliError, CliResult};

/// What a build argument that asks for attestations begins with.
const ARGUMENT: &str = "BUILDKIT_ATTEST_";

/// The scanner that BuildKit uses when nothing is said.
const USUAL_SCANNER: &str = "docker/buildkit-syft-scanner";

/// What is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attest {
    /// How it was made.
    pub(crate) provenance: Option<Provenance>,
    /// What is in it.
    pub(crate) sbom: Option<Sbom>,
}

/// `type=provenance`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Provenance {
    /// `mode=max`, which is what counts when nothing is said: steps, build arguments and the Dockerfile, too.
    pub(crate) max: bool,
    /// Which version of the format.
    pub(crate) version: SlsaVersion,
    /// Who builds.
    pub(crate) builder_id: Option<String>,
    /// What the file is called where files are written.
    pub(crate) filename: Option<String>,
    /// Whoever builds says that a second build gives the same bytes.
    pub(crate) reproducible: bool,
    /// Only for images in registries and in the store.
    pub(crate) inline_only: bool,
}

/// `type=sbom`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Sbom {
    /// Only for images in registries and in the store.
    pub(crate) inline_only: bool,
}

/// A version of SLSA's provenance.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum SlsaVersion {
    /// The current one.
    #[default]
    V1,
    /// The one before it.
    V02,
}

impl Attest {
    /// Reads what the command line says. Of each kind the last counts, flags more than build arguments, the short forms
    /// most.
    pub(crate) fn new(
        attest: &[String],
        provenance: Option<&str>,
        sbom: Option<&str>,
        arguments: &[String],
    ) -> CliResult<Self> {
        let mut wanted = Self::default();
        for argument in arguments.iter().filter(|argument| argument.starts_with(ARGUMENT)) {
            let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
            let kind = name[ARGUMENT.len()..].to_lowercase();
            wanted.add(&long_form(&kind, value)).map_err(usage(&format!("--build-arg {argument}")))?;
        }
        for text in attest {
            wanted.add(text).map_err(usage(&format!("--attest {text}")))?;
        }
        for (kind, value) in [("provenance", provenance), ("sbom", sbom)] {
            if let Some(value) = value.filter(|value| !value.is_empty()) {
                wanted.add(&long_form(kind, value)).map_err(usage(&format!("--{kind}={value}")))?;
            }
        }
        Ok(wanted)
    }

    /// Whether nothing is.
    pub(crate) fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn add(&mut self, text: &str) -> Result<(), String> {
        let mut kind = None;
        let mut options = Vec::new();
        for field in fields(text)?.into_iter().filter(|field| !field.is_empty()) {
            let (key, value) =
                field.split_once('=').ok_or_else(|| format!("`{field}` is not of the form key=value"))?;
            match key.trim().to_ascii_lowercase().as_str() {
                "type" => kind = Some(value.to_owned()),
                key => options.push((key.to_owned(), value.to_owned())),
            }
        }
        let kind = kind.filter(|kind| !kind.is_empty()).ok_or("it has no type=")?;
        let mut enabled = true;
        if let Some((_, value)) = options.iter().find(|(key, _)| key == "disabled") {
            enabled = !boolean("disabled", value)?;
        }
        options.retain(|(key, _)| key != "disabled");
        match kind.as_str() {
            "provenance" => self.provenance = enabled.then(|| Provenance::new(&options)).transpose()?,
            "sbom" => self.sbom = enabled.then(|| Sbom::new(&options)).transpose()?,
            _ if !enabled => {}
            other => return Err(format!("`{other}` is no kind of attestation: use provenance or sbom")),
        }
        Ok(())
    }
}

/// As buildx reads `--sbom=true` and `--provenance=mode=min`.
fn long_form(kind: &str, value: &str) -> String {
    match boolean(kind, value) {
        Ok(wanted) if !value.is_empty() => format!("type={kind},disabled={}", !wanted),
        _ => format!("type={kind},{value}"),
    }
}

impl Provenance {
    fn new(options: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self { max: true, ..Self::default() };
        for (key, value) in options {
            match key.as_str() {
                "mode" => {
                    wanted.max = match value.as_str() {
                        "min" => false,
                        "max" | "full" => true,
                        _ => return Err(format!("mode takes min or max, not `{value}`")),
                    };
                }
                "version" => {
                    wanted.version = match value.as_str() {
                        "v1" => SlsaVersion::V1,
                        "v0.2" => SlsaVersion::V02,
                        _ => return Err(format!("version takes v1 or v0.2, not `{value}`")),
                    };
                }
                "builder-id" => wanted.builder_id = Some(value.clone()).filter(|id| !id.is_empty()),
                "filename" => wanted.filename = Some(file_name(value)?),
                "reproducible" => wanted.reproducible = boolean(key, value)?,
                "inline-only" => wanted.inline_only = boolean(key, value)?,
                // How much of the machine a step used is not measured.
                "capture-usage" => drop(boolean(key, value)?),
                _ => return Err(format!("type=provenance has no option `{key}`")),
            }
        }
        Ok(wanted)
    }
}

impl Sbom {
    fn new(options: &[(String, String)]) -> Result<Self, String> {
        let mut wanted = Self::default();
        for (key, value) in options {
            match key.as_str() {
                "generator" if value.is_empty() || value.contains(USUAL_SCANNER) => {}
                "generator" => {
                    return Err(format!(
                        "generator=`{value}`: the builder lists packages itself and runs no other scanner; leave \
                         generator= out"
                    ));
                }
                "inline-only" => wanted.inline_only = boolean(key, value)?,
                // It is read from the image, which is always whole.
                "scan-mode" => {}
                _ => return Err(format!("type=sbom has no option `{key}`")),
            }
        }
        Ok(wanted)
    }
}

fn file_name(text: &str) -> Result<String, String> {
    let name = text.rsplit('/').next().unwrap_or_default();
    if name.is_empty() || name == "." || name == ".." || name.contains('\0') {
        return Err(format!("filename takes the name of a file, not `{text}`"));
    }
    Ok(name.to_owned())
}

fn usage(what: &str) -> impl FnOnce(String) -> CliError + use<> {
    let what = what.to_owned();
    move |error| CliError::Usage(format!("{what}: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(attest: &str, provenance: Option<&str>, sbom: Option<&str>, argument: &str) -> Result<Attest, String> {
        let list = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
        Attest::new(&list(attest), provenance, sbom, &list(argument)).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_wanted() {
        let min = Provenance::default();
        let max = Provenance { max: true, ..min.clone() };
        let sbom = Some(Sbom::default());
        for (attest, provenance, of_sbom, argument, expected) in [
            ("", None, None, "", Attest::default()),
            ("type=provenance,disabled=true", Some("false"), Some("0"), "X=1", Attest::default()),
            ("type=sbom,disabled=1,generator=x", None, None, "BUILDKIT_ATTEST_SBOM=disabled=true", Attest::default()),
            ("type=vsa,disabled=true", None, None, "", Attest::default()),
            ("type=sbom", None, None, "", Attest { provenance: None, sbom: sbom.clone() }),
            ("", Some("true"), None, "", Attest { provenance: Some(max.clone()), sbom: None }),
            ("", Some("mode=min"), Some("true"), "", Attest { provenance: Some(min.clone()), sbom: sbom.clone() }),
            ("type=provenance", None, None, "", Attest { provenance: Some(max.clone()), sbom: None }),
            (
                "type=provenance,mode=max",
                Some("mode=min"),
                None,
                "",
                Attest { provenance: Some(min.clone()), sbom: None },
            ),
            ("type=provenance,mode=max", Some("false"), None, "", Attest::default()),
            ("", None, None, "BUILDKIT_ATTEST_PROVENANCE=mode=min", Attest { provenance: Some(min), sbom: None }),
            ("", None, None, "BUILDKIT_ATTEST_SBOM", Attest { provenance: None, sbom: sbom.clone() }),
            ("", None, Some("generator=docker/buildkit-syft-scanner:stable-1"), "", Attest { provenance: None, sbom }),
        ] {
            assert_eq!(read(attest, provenance, of_sbom, argument).as_ref(), Ok(&expected), "{attest} {argument}");
        }
        let all = "type=provenance,mode=min,version=v0.2,builder-id=https://b,filename=d/p.json,reproducible=true,inline-only=1";
        let provenance = read(all, None, None, "").expect("it is fine").provenance.expect("it is wanted");
        assert_eq!((provenance.version, provenance.builder_id.as_deref()), (SlsaVersion::V02, Some("https://b")));
        assert_eq!((provenance.filename.as_deref(), provenance.reproducible), (Some("p.json"), true));
        assert!(provenance.inline_only && !provenance.max);
    }

    #[test]
    fn mistakes_are_named() {
        for (attest, provenance, sbom, argument, part) in [
            ("mode=max", None, None, "", "--attest mode=max: it has no type="),
            ("type=sbom,disabled=maybe", None, None, "", "true or false"),
            ("type=sbom,disabled", None, None, "", "key=value"),
            ("type=vsa", None, None, "", "no kind of attestation"),
            ("type=provenance,mode=all", None, None, "", "min or max"),
            ("type=provenance,version=v3", None, None, "", "v1 or v0.2"),
            ("type=provenance,filename=..", None, None, "", "name of a file"),
            ("type=provenance,colour=red", None, None, "", "no option `colour`"),
            ("type=sbom,generator=other/scanner", None, None, "", "runs no other scanner"),
            ("", Some("mode=all"), None, "", "--provenance=mode=all"),
            ("", None, Some("maybe"), "", "--sbom=maybe"),
            ("", None, None, "BUILDKIT_ATTEST_PROVENANCE=mode=all", "--build-arg BUILDKIT_ATTEST_PROVENANCE"),
        ] {
            let error = read(attest, provenance, sbom, argument).expect_err("it is wrong");
            assert!(error.contains(part), "{attest}: {error}");
        }
    }
}
