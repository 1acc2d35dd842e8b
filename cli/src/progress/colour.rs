//! The colours of the live view: finished, cancelled, failed, and output.

/// SGR parameters by meaning; empty for none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Palette {
    /// Steps that are over.
    pub(super) run: String,
    /// Steps that were stopped.
    pub(super) cancel: String,
    /// Steps that failed.
    pub(super) error: String,
    /// Warnings.
    pub(super) warning: String,
    /// What running steps write.
    pub(super) output: String,
}

impl Default for Palette {
    fn default() -> Self {
        let [run, cancel, error, warning, output] = ["34", "33", "31", "33", "2"].map(str::to_owned);
        Self { run, cancel, error, warning, output }
    }
}

impl Palette {
    /// No colours at all.
    pub(super) fn none() -> Self {
        let [run, cancel, error, warning, output] = std::array::from_fn(|_| String::new());
        Self { run, cancel, error, warning, output }
    }

    /// Reads `BUILDKIT_COLORS`: `run=green:warning=yellow:error=red:cancel=255,165,0`. What can't be read keeps its
    /// default: a wrong colour is no reason not to build.
    pub(super) fn parse(text: &str) -> Self {
        let mut palette = Self::default();
        for (meaning, colour) in text.split(':').filter_map(|field| field.split_once('=')) {
            let Some(code) = code(colour) else { continue };
            match meaning {
                "run" => palette.run = code,
                "cancel" => palette.cancel = code,
                "error" => palette.error = code,
                "warning" => palette.warning = code,
                _ => {}
            }
        }
        palette
    }
}

/// `text` in the colour.
pub(super) fn paint(colour: &str, text: &str) -> String {
    if colour.is_empty() { text.to_owned() } else { format!("\x1b[{colour}m{text}\x1b[0m") }
}

fn code(colour: &str) -> Option<String> {
    const NAMES: [&str; 8] = ["black", "red", "green", "yellow", "blue", "magenta", "cyan", "white"];
    let colour = colour.trim().to_ascii_lowercase();
    let number = |name: &str| NAMES.iter().position(|known| *known == name);
    if colour == "default" {
        return Some("39".to_owned());
    }
    if let Some(number) = number(&colour) {
        return Some((30 + number).to_string());
    }
    if let Some(number) = colour.strip_prefix("light-").and_then(number) {
        return Some((90 + number).to_string());
    }
    let parts: Vec<u8> = colour.split(',').map(|part| part.trim().parse().ok()).collect::<Option<_>>()?;
    let [red, green, blue] = parts[..] else { return None };
    Some(format!("38;2;{red};{green};{blue}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_read() {
        let palette = Palette::parse("run=green:error=1,2,3:cancel=light-red:warning=mauve:nonsense");
        assert_eq!(palette.run, "32");
        assert_eq!(palette.error, "38;2;1;2;3");
        assert_eq!(palette.cancel, "91");
        assert_eq!(palette.warning, "33");
        assert_eq!(Palette::parse("run=1,2:error=1,2,300:cancel=\x1b"), Palette::default());
        assert_eq!(paint("32", "x"), "\x1b[32mx\x1b[0m");
        assert_eq!(paint("", "x"), "x");
    }
}
