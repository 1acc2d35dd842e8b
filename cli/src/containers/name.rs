use crate::error::{CliError, CliResult};

const QUALITIES: [&str; 64] = [
    "able", "amber", "ample", "bold", "brave", "bright", "brisk", "calm", "candid", "clear", "clever", "cosy", "crisp",
    "curious", "deft", "eager", "early", "easy", "fair", "fine", "fond", "frank", "free", "fresh", "gentle", "glad",
    "golden", "grand", "green", "happy", "hardy", "honest", "humble", "jolly", "keen", "kind", "light", "lively",
    "lucid", "merry", "mild", "modest", "neat", "nimble", "noble", "patient", "plain", "polite", "proud", "quick",
    "quiet", "ready", "round", "silent", "silver", "simple", "smart", "snug", "steady", "sunny", "tidy", "warm",
    "wise", "witty",
];

const THINGS: [&str; 64] = [
    "anchor", "anvil", "arch", "awning", "barn", "beam", "bell", "bench", "bolt", "brick", "bridge", "cabin", "cable",
    "canopy", "chisel", "clamp", "compass", "crane", "dome", "door", "dowel", "easel", "fence", "file", "gable",
    "garden", "gate", "hammer", "harbour", "hinge", "joist", "kiln", "ladder", "lamp", "lantern", "lathe", "level",
    "lever", "mallet", "mast", "mill", "mortar", "nail", "oven", "pillar", "plank", "pulley", "quarry", "rafter",
    "ramp", "rivet", "roof", "ruler", "saddle", "sluice", "spire", "stair", "stone", "tower", "trowel", "vault",
    "wedge", "wheel", "window",
];

/// Names to choose from: what is taken of them is passed over.
pub(crate) fn invent_names() -> CliResult<Vec<String>> {
    let mut bytes = [0; 32];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    let pick = |words: &'static [&'static str; 64], byte: u8| words[usize::from(byte % 64)];
    let invent = |(attempt, bytes): (usize, &[u8; 4])| {
        let mut name = format!("{}_{}", pick(&QUALITIES, bytes[0]), pick(&THINGS, bytes[1]));
        if attempt > 3 {
            name.push_str(&u16::from_be_bytes([bytes[2], bytes[3]]).to_string());
        }
        name
    };
    Ok(bytes.as_chunks().0.iter().enumerate().map(invent).collect())
}

/// Refuses what is no name.
pub(crate) fn check_name(name: &str) -> CliResult<()> {
    let name = name.strip_prefix('/').unwrap_or(name);
    let first = |c: char| c.is_ascii_alphanumeric();
    let rest = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if name.len() > 1 && name.starts_with(first) && name.chars().all(rest) {
        return Ok(());
    }
    Err(CliError::message(format!(
        "invalid container name ({name}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed, at least two of them"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_dockers() {
        for name in ["ab", "/web", "a.b-c_d", "0x"] {
            assert!(check_name(name).is_ok(), "{name}");
        }
        for name in ["", "a", "_a", "a b", "a/b", "-x", "ä1", "//a"] {
            assert!(check_name(name).is_err(), "{name}");
        }
        let mut words: Vec<_> = QUALITIES.iter().chain(&THINGS).collect();
        words.sort_unstable();
        words.dedup();
        assert_eq!(words.len(), 128);
    }
}
