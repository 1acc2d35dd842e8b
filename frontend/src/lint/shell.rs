//! The simple commands of a shell script, roughly: enough to see which programs a `RUN` starts.

use std::borrow::Cow;

use crate::ast::{RunCommand, Word};

/// Words in front of a command that are not its name.
const PREFIXES: [&str; 12] =
    ["sudo", "exec", "time", "env", "command", "nice", "nohup", "then", "do", "else", "if", "!"];

/// The text that a shell will read.
pub(super) fn text(command: &RunCommand) -> Cow<'_, str> {
    match command {
        RunCommand::Exec(words) => match &words[..] {
            // `["sh", "-c", "text"]`
            [_, option, script, ..] if option.value.starts_with('-') && option.value.ends_with('c') => {
                Cow::Borrowed(script.as_str())
            }
            words => Cow::Owned(words.iter().map(Word::as_str).collect::<Vec<_>>().join(" ")),
        },
        RunCommand::Script(script) => script.content(),
        command => command.shell_text().unwrap_or_default(),
    }
}

/// The commands of a script with their words, without assignments and the like in front.
pub(super) fn commands(script: &str) -> impl Iterator<Item = Vec<&str>> {
    let lines = script.lines().map(str::trim_start).filter(|line| !line.starts_with('#'));
    lines.flat_map(|line| line.split([';', '&', '|', '(', ')', '{', '}'])).filter_map(|command| {
        let mut words = command.split_whitespace().peekable();
        while words.next_if(|word| PREFIXES.contains(word) || is_assignment(word)).is_some() {}
        let words: Vec<&str> = words.collect();
        (!words.is_empty()).then_some(words)
    })
}

/// The program's name without its directory.
pub(super) fn program<'w>(words: &[&'w str]) -> &'w str {
    words.first().map_or("", |word| word.rsplit('/').next().unwrap_or(word))
}

fn is_assignment(word: &str) -> bool {
    word.split_once('=')
        .is_some_and(|(name, _)| !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scripts_fall_into_commands() {
        for (script, expected) in [
            ("apt-get update", "apt-get update"),
            ("set -e; apt-get update&&apt-get install -y git", "set -e|apt-get update|apt-get install -y git"),
            ("# apt-get update\n  A=1 B=2 make all | tee log", "make all|tee log"),
            ("if true; then sudo /usr/bin/apt update; fi", "true|/usr/bin/apt update|fi"),
            ("(cd app && npm ci)", "cd app|npm ci"),
            ("", ""),
        ] {
            let found: Vec<String> = commands(script).map(|words| words.join(" ")).collect();
            assert_eq!(found.join("|"), expected, "{script}");
        }
        assert_eq!(program(&["/usr/bin/apt", "update"]), "apt");
        assert_eq!(program(&[]), "");
    }
}
