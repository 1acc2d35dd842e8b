//! The modes of `--chmod`: octal, or the language of chmod(1).

use builder_solver::FileMode;

use super::error::CopyError;

const SET_USER: u32 = 0o4000;
const SET_GROUP: u32 = 0o2000;
const STICKY: u32 = 0o1000;
const EXECUTE: u32 = 0o111;

/// A compiled change of permission bits.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chmod(Change);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Change {
    Octal(u32),
    Symbolic(Vec<Step>),
}

/// One `who op what`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Step {
    /// The permission bits of those who are named.
    who: u32,
    operator: u8,
    what: What,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum What {
    /// These bits, and execution where it makes sense (`X`).
    Bits { bits: u32, execute_if_sensible: bool },
    /// What this class has now, as a shift of its three bits.
    CopyOf(u32),
}

impl Chmod {
    /// Compiles a mode. Symbolic clauses without `u`, `g`, `o` or `a` mean all: the umask has no part in a build.
    pub fn new(mode: &FileMode) -> Result<Self, CopyError> {
        match mode {
            FileMode::Octal(bits) if *bits <= 0o7777 => Ok(Self(Change::Octal(*bits))),
            FileMode::Octal(bits) => Err(CopyError::Mode { mode: format!("{bits:o}") }),
            FileMode::Symbolic(text) => parse(text)
                .map(|steps| Self(Change::Symbolic(steps)))
                .ok_or_else(|| CopyError::Mode { mode: text.clone() }),
        }
    }

    /// Whether the result is the same whatever the mode was before.
    pub fn is_absolute(&self) -> bool {
        matches!(self.0, Change::Octal(_))
    }

    /// The new permission bits of something with these.
    #[must_use]
    pub fn apply(&self, mode: u32, is_directory: bool) -> u32 {
        match &self.0 {
            Change::Octal(bits) => *bits,
            Change::Symbolic(steps) => steps.iter().fold(mode & 0o7777, |mode, step| step.apply(mode, is_directory)),
        }
    }
}

impl Step {
    fn apply(self, mode: u32, is_directory: bool) -> u32 {
        let bits = match self.what {
            What::Bits { bits, execute_if_sensible } => {
                let sensible = execute_if_sensible && (is_directory || mode & EXECUTE != 0);
                (bits | if sensible { EXECUTE } else { 0 }) & self.mask()
            }
            What::CopyOf(shift) => (((mode >> shift) & 0o7) * 0o111) & self.who,
        };
        match self.operator {
            b'+' => mode | bits,
            b'-' => mode & !bits,
            _ => (mode & !self.mask()) | bits,
        }
    }

    /// The bits that the clause may touch: set-id bits belong to their class, the sticky bit to `o` and `a`.
    fn mask(self) -> u32 {
        let mut mask = self.who;
        for (class, bit) in [(0o700, SET_USER), (0o070, SET_GROUP), (0o007, STICKY)] {
            if self.who & class != 0 {
                mask |= bit;
            }
        }
        mask
    }
}

fn parse(text: &str) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for clause in text.split(',') {
        let start = clause.find(['+', '-', '='])?;
        let (who, mut rest) = clause.as_bytes().split_at(start);
        let mut mask = 0;
        for class in who {
            mask |= match class {
                b'u' => 0o700,
                b'g' => 0o070,
                b'o' => 0o007,
                b'a' => 0o777,
                _ => return None,
            };
        }
        let who = if mask == 0 { 0o777 } else { mask };
        while let Some((&operator, after)) = rest.split_first() {
            if !b"+-=".contains(&operator) {
                return None;
            }
            let end = after.iter().position(|byte| b"+-=".contains(byte)).unwrap_or(after.len());
            steps.push(Step { who, operator, what: parse_what(&after[..end])? });
            rest = &after[end..];
        }
    }
    Some(steps)
}

fn parse_what(text: &[u8]) -> Option<What> {
    match text {
        b"u" => return Some(What::CopyOf(6)),
        b"g" => return Some(What::CopyOf(3)),
        b"o" => return Some(What::CopyOf(0)),
        _ => {}
    }
    let mut bits = 0;
    let mut execute_if_sensible = false;
    for permission in text {
        match permission {
            b'r' => bits |= 0o444,
            b'w' => bits |= 0o222,
            b'x' => bits |= EXECUTE,
            b'X' => execute_if_sensible = true,
            b's' => bits |= SET_USER | SET_GROUP,
            b't' => bits |= STICKY,
            _ => return None,
        }
    }
    Some(What::Bits { bits, execute_if_sensible })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbolic_modes() {
        for (text, before, is_directory, after) in [
            ("+x", 0o644, false, 0o755),
            ("a-w", 0o666, false, 0o444),
            ("u=rwX,go=rX", 0o600, false, 0o644),
            ("u=rwX,go=rX", 0o700, false, 0o755),
            ("u=rwX,go=rX", 0o700, true, 0o755),
            ("u=rwX,go=rX", 0o600, true, 0o755),
            ("u+x,u-x", 0o644, false, 0o644),
            ("g=u", 0o640, false, 0o660),
            ("go=", 0o777, false, 0o700),
            ("o=g-w", 0o664, false, 0o664),
            ("u+s", 0o755, false, 0o4755),
            ("g+s", 0o755, false, 0o2755),
            ("o+s", 0o755, false, 0o755),
            ("+t", 0o777, true, 0o1777),
            ("u=rwx", 0o4644, false, 0o744),
            ("a=rwxst", 0, false, 0o7777),
            ("-x+X", 0o755, false, 0o644),
            ("=", 0o777, false, 0),
        ] {
            let chmod = Chmod::new(&FileMode::Symbolic(text.to_owned())).unwrap();
            assert_eq!(chmod.apply(before, is_directory), after, "{text} on {before:o}");
        }
    }

    #[test]
    fn octal_modes() {
        let chmod = Chmod::new(&FileMode::Octal(0o4750)).unwrap();
        assert!(chmod.is_absolute());
        assert_eq!(chmod.apply(0o100_644, false), 0o4750);
        assert!(Chmod::new(&FileMode::Octal(0o10000)).is_err());
    }

    #[test]
    fn no_modes() {
        for text in ["", "x", "u", "z+x", "u+y", "u+x,", ",u+x", "u=ug", "+x g", "755"] {
            assert!(Chmod::new(&FileMode::Symbolic(text.to_owned())).is_err(), "{text}");
        }
    }
}
