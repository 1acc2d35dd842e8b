use std::path::Path;

use anyhow::Context;

use crate::error::{CliError, CliResult};

/// The variables of `--env-file`: Docker's rules. What follows the first `=` is the value as it stands, quotes too; a name
/// alone is passed on from the environment; blank lines and those that begin with `#` say nothing.
pub(crate) fn variables(path: &Path) -> CliResult<Vec<String>> {
    let bytes = std::fs::read(path).with_context(|| format!("the file {} can't be read", path.display()))?;
    let wrong = |line: usize, what: &str| CliError::message(format!("{}:{line}: {what}", path.display()));
    let text = String::from_utf8(bytes).map_err(|_| wrong(1, "the file is not UTF-8"))?;
    let mut found = Vec::new();
    for (number, line) in text.trim_start_matches('\u{feff}').lines().enumerate() {
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(wrong(number + 1, "the variable has no name"));
        }
        if name.contains(char::is_whitespace) {
            return Err(wrong(number + 1, &format!("the name `{name}` contains white space")));
        }
        found.push(line.to_owned());
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read_as_docker_does() {
        let file = tempfile::NamedTempFile::new().unwrap();
        let read = |text: &str| {
            std::fs::write(file.path(), text).unwrap();
            variables(file.path()).map_err(|error| error.to_string())
        };
        let good = "\u{feff}A=1\r\n\n# no\n  B= \"x y\" # as it is\nC\nD=a=b\n";
        assert_eq!(read(good).unwrap(), ["A=1", "B= \"x y\" # as it is", "C", "D=a=b"]);
        assert!(read("A=1\nB C=2\n").unwrap_err().contains(":2: the name `B C` contains white space"));
        assert!(read("=x\n").unwrap_err().contains(":1: the variable has no name"));
        assert!(variables(Path::new("/nonexistent")).unwrap_err().to_string().contains("/nonexistent can't be read"));
    }
}
