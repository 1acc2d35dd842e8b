//! Attestations: none are made yet, and saying that none are wanted is fine.

use crate::csv::{boolean, fields};
use crate::error::{CliError, CliResult};

/// What a build argument that asks for attestations begins with.
const ARGUMENT: &str = "BUILDKIT_ATTEST_";

/// Refuses attestations that somebody wants, by `--attest`, by the short forms, or by build arguments.
pub(crate) fn check_attestations(
    attest: &[String],
    provenance: Option<&str>,
    sbom: Option<&str>,
    arguments: &[String],
) -> CliResult<()> {
    for text in attest {
        let wanted = is_wanted(text).map_err(|error| CliError::Usage(format!("--attest `{text}`: {error}")))?;
        if let Some(kind) = wanted {
            return Err(refused(&format!("--attest type={kind}"), &kind));
        }
    }
    for (kind, value) in [("provenance", provenance), ("sbom", sbom)] {
        if let Some(value) = value
            && boolean(kind, value) != Ok(false)
            && !value.is_empty()
        {
            return Err(refused(&format!("--{kind}={value}"), kind));
        }
    }
    for argument in arguments.iter().filter(|argument| argument.starts_with(ARGUMENT)) {
        let (name, value) = argument.split_once('=').unwrap_or((argument, ""));
        let kind = name[ARGUMENT.len()..].to_lowercase();
        let wanted = is_wanted(&format!("type={kind},{value}")).unwrap_or(Some(kind));
        if let Some(kind) = wanted {
            return Err(refused(&format!("--build-arg {name}"), &kind));
        }
    }
    Ok(())
}

/// The kind of an attestation that is not disabled.
fn is_wanted(text: &str) -> Result<Option<String>, String> {
    let (mut kind, mut disabled) = (None, false);
    for field in fields(text)?.iter().filter(|field| !field.is_empty()) {
        let (key, value) = field.split_once('=').ok_or_else(|| format!("`{field}` is not of the form key=value"))?;
        match key.trim().to_ascii_lowercase().as_str() {
            "type" => kind = Some(value.to_owned()),
            "disabled" => disabled = boolean("disabled", value)?,
            _ => {}
        }
    }
    let kind = kind.filter(|kind| !kind.is_empty()).ok_or("it has no type=")?;
    Ok((!disabled).then_some(kind))
}

fn refused(what: &str, kind: &str) -> CliError {
    CliError::with_hint(
        anyhow::anyhow!("{what}: attestations are not supported yet"),
        format!("leave it out, or write --attest type={kind},disabled=true"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_not_wanted_passes() {
        let check = |attest: &str, provenance, sbom, argument: &str| {
            let list = |text: &str| if text.is_empty() { Vec::new() } else { vec![text.to_owned()] };
            check_attestations(&list(attest), provenance, sbom, &list(argument)).map_err(|error| error.to_string())
        };
        for (attest, provenance, sbom, argument) in [
            ("", None, None, ""),
            ("type=provenance,disabled=true", Some("false"), Some("0"), "X=1"),
            ("type=sbom,disabled=1,generator=x", None, None, "BUILDKIT_ATTEST_SBOM=disabled=true"),
        ] {
            assert_eq!(check(attest, provenance, sbom, argument), Ok(()), "{attest}");
        }
        for (attest, provenance, sbom, argument, part) in [
            ("type=sbom", None, None, "", "type=sbom: attestations are not supported yet"),
            ("type=provenance,mode=max", None, None, "", "not supported yet"),
            ("mode=max", None, None, "", "no type="),
            ("type=sbom,disabled=maybe", None, None, "", "true or false"),
            ("type=sbom,disabled", None, None, "", "key=value"),
            ("", Some("true"), None, "", "--provenance=true"),
            ("", Some("mode=max"), None, "", "--provenance=mode=max"),
            ("", None, Some("true"), "", "--sbom=true"),
            ("", None, None, "BUILDKIT_ATTEST_PROVENANCE=mode=min", "--build-arg BUILDKIT_ATTEST_PROVENANCE"),
            ("", None, None, "BUILDKIT_ATTEST_SBOM", "not supported yet"),
        ] {
            let error = check(attest, provenance, sbom, argument).expect_err("it is wanted");
            assert!(error.contains(part), "{attest}: {error}");
        }
    }
}
