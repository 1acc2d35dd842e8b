//! The signals of `STOPSIGNAL`.

/// The names that Linux has, without `SIG`.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether `text` names a signal: a number from 1 to 64, or a name with or without `SIG` in any case, `RTMIN+3` and
/// `RTMAX-3` included.
pub(crate) fn is_signal(text: &str) -> bool {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        return matches!(text.parse::<u32>(), Ok(1..=64));
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |rest: &str| matches!(rest.parse::<u32>(), Ok(1..=15)) && rest.bytes().all(|b| b.is_ascii_digit());
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(offset)
        || name.strip_prefix("RTMAX-").is_some_and(offset)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known() {
        for good in ["9", "64", "SIGTERM", "term", "SIGQUIT", "sigusr1", "RTMIN+3", "SIGRTMAX-14", "SIGRTMIN"] {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "65", "-9", "SIG", "SIGFOO", "RTMIN+", "RTMIN-1", "RTMIN+16", "SIGSIGTERM", "EMT"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
