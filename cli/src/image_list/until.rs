//! The times of `--filter until=…`, in all forms that Docker takes.

use jiff::civil;
use jiff::tz::TimeZone;

/// Milliseconds since the epoch of a time (`2026-01-02`, `2026-01-02T15:04:05`, with zone and fraction), of seconds
/// since the epoch (`1136073845.5`), or of an age (`10m`, `1h30m`, also `2d` and `3w`), which lies before `now`.
pub(crate) fn parse(text: &str, now: i64) -> Option<i64> {
    if let Some(age) = age(text) {
        return now.checked_sub(age);
    }
    if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let seconds: i64 = seconds.parse().ok()?;
        let thousandths: i64 = format!("{fraction:0<3}").get(..3)?.parse().ok()?;
        return seconds.checked_mul(1000)?.checked_add(thousandths);
    }
    if let Ok(time) = text.parse::<jiff::Timestamp>() {
        return Some(time.as_millisecond());
    }
    // A day with a zone is none that the library reads.
    if let Some((day, zone)) = text.split_at_checked(10)
        && !zone.is_empty()
        && !zone.starts_with('T')
    {
        return Some(format!("{day}T00:00:00{zone}").parse::<jiff::Timestamp>().ok()?.as_millisecond());
    }
    let with_minutes = format!("{text}:00");
    let time = [text, &with_minutes].into_iter().find_map(|text| text.parse::<civil::DateTime>().ok());
    Some(time?.to_zoned(TimeZone::system()).ok()?.timestamp().as_millisecond())
}

/// Go's durations, and days and weeks.
fn age(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total = 0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let number: f64 = number.parse().ok()?;
        let unit = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        total += number
            * match unit {
                "ns" => 1e-6,
                "us" | "µs" | "μs" => 1e-3,
                "ms" => 1.0,
                "s" => 1e3,
                "m" => 6e4,
                "h" => 3.6e6,
                "d" => 8.64e7,
                "w" => 6.048e8,
                _ => return None,
            };
        rest = after;
    }
    (!text.is_empty() && total.is_finite() && total < i64::MAX as f64).then_some(total as i64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn times_are_read_as_docker_does() {
        const NOW: i64 = 1_700_000_000_000;
        for (text, expected) in [
            ("10m", Some(NOW - 600_000)),
            ("1h30m", Some(NOW - 5_400_000)),
            ("1.5h", Some(NOW - 5_400_000)),
            ("2d", Some(NOW - 172_800_000)),
            ("1136073845", Some(1_136_073_845_000)),
            ("1136073845.000000001", Some(1_136_073_845_000)),
            ("1136073845.25", Some(1_136_073_845_250)),
            ("2006-01-02T15:04:05Z", Some(1_136_214_245_000)),
            ("2006-01-02T15:04:05.5Z", Some(1_136_214_245_500)),
            ("2006-01-02T17:04:05+02:00", Some(1_136_214_245_000)),
            ("2006-01-02Z", Some(1_136_160_000_000)),
            ("2006-01-02+02:00", Some(1_136_152_800_000)),
            ("", None),
            ("yesterday", None),
            ("10", Some(10_000)),
            ("10x", None),
            ("h", None),
            ("2006-13-02", None),
        ] {
            assert_eq!(parse(text, NOW), expected, "{text}");
        }
        // In the zone of this machine, whichever that is.
        for text in ["2006-01-02", "2006-01-02T15:04", "2006-01-02T15:04:05", "2006-01-02T15:04:05.999999999"] {
            assert!(parse(text, NOW).is_some_and(|time| (time - 1_136_160_000_000).abs() < 2 * 86_400_000), "{text}");
        }
    }
}
