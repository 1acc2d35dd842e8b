//! The signals of `STOPSIGNAL`.

/// The names that Linux has, without `SIG`.
const NAMES: [&str; 36] = [
    "ABRT", "ALRM", "BUS", "CHLD", "CLD", "CONT", "FPE", "HUP", "ILL", "INT", "IO", "IOT", "KILL", "PIPE", "POLL",
    "PROF", "PWR", "QUIT", "SEGV", "STKFLT", "STOP", "SYS", "TERM", "TRAP", "TSTP", "TTIN", "TTOU", "URG", "USR1",
    "USR2", "VTALRM", "WINCH", "XCPU", "XFSZ", "RTMIN", "RTMAX",
];

/// Whether `text` names a signal: any number but 0, as Docker never asked for more, or a name with or without `SIG` in
/// any case, `RTMIN+3` and `RTMAX-3` included.
pub(crate) fn is_signal(text: &str) -> bool {
    if let Ok(number) = text.parse::<i64>() {
        return number != 0;
    }
    let name = text.to_uppercase();
    let name = name.strip_prefix("SIG").unwrap_or(&name);
    let offset = |rest: &str, most: u32| {
        rest.bytes().all(|b| b.is_ascii_digit()) && rest.parse().is_ok_and(|offset| (1..=most).contains(&offset))
    };
    NAMES.contains(&name)
        || name.strip_prefix("RTMIN+").is_some_and(|rest| offset(rest, 15))
        || name.strip_prefix("RTMAX-").is_some_and(|rest| offset(rest, 14))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_known() {
        for good in
            ["9", "64", "100", "-9", "SIGTERM", "term", "SIGQUIT", "sigusr1", "RTMIN+3", "SIGRTMAX-14", "SIGRTMIN"]
        {
            assert!(is_signal(good), "{good}");
        }
        for bad in ["", "0", "SIG", "SIGFOO", "RTMIN+", "RTMIN-1", "RTMIN+16", "RTMAX-15", "SIGSIGTERM", "EMT"] {
            assert!(!is_signal(bad), "{bad}");
        }
    }
}
