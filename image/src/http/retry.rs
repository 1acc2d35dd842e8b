//! Waiting before something is tried again.

use std::thread;
use std::time::{Duration, SystemTime};

use super::{HeaderMap, header};

/// How often somebody who waits asks whether to stop.
const TICK: Duration = Duration::from_millis(50);

/// Waits; `false` when the work was over before the time was. Nobody is woken, so this looks.
pub fn pause(mut time: Duration, is_over: impl Fn() -> bool) -> bool {
    while !is_over() {
        if time.is_zero() {
            return true;
        }
        let piece = time.min(TICK);
        thread::sleep(piece);
        time -= piece;
    }
    false
}

/// How long a server asks to wait: seconds, or until a date.
pub fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    static DATES: jiff::fmt::rfc2822::DateTimeParser = jiff::fmt::rfc2822::DateTimeParser::new();
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let then = SystemTime::from(DATES.parse_timestamp(text).ok()?);
    Some(then.duration_since(SystemTime::now()).unwrap_or_default())
}

/// Pauses that grow, each a little longer or shorter than planned, so that those who failed together do not come back
/// together.
#[derive(Debug, Clone)]
pub struct Backoff {
    plan: &'static [Duration],
    taken: usize,
}

impl Backoff {
    /// What suits most servers: six seconds in all.
    pub const USUAL: &'static [Duration] =
        &[Duration::from_millis(100), Duration::from_millis(400), Duration::from_millis(1500), Duration::from_secs(4)];

    /// Pauses as planned.
    pub fn new(plan: &'static [Duration]) -> Self {
        Self { plan, taken: 0 }
    }

    /// The next pause, at least as long as the server asks; nothing when it was tried often enough.
    pub fn next(&mut self, asked: Option<Duration>) -> Option<Duration> {
        let planned = self.plan.get(self.taken)?;
        self.taken += 1;
        let mut byte = [128];
        // Without randomness the pause is as planned.
        let _ = rustix::rand::getrandom(&mut byte[..], rustix::rand::GetRandomFlags::NONBLOCK);
        let shaken = planned.mul_f64(0.75 + f64::from(byte[0]) / 512.0);
        Some(asked.map_or(shaken, |asked| asked.max(shaken)))
    }

    /// Something went well: all pauses are there again.
    pub fn restart(&mut self) {
        self.taken = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_end() {
        let mut backoff = Backoff::new(Backoff::USUAL);
        let pauses: Vec<_> = std::iter::from_fn(|| backoff.next(None)).collect();
        assert_eq!(pauses.len(), Backoff::USUAL.len());
        assert!(pauses.is_sorted(), "{pauses:?}");
        backoff.restart();
        assert_eq!(backoff.next(Some(Duration::from_secs(9))), Some(Duration::from_secs(9)));
        assert!(backoff.next(Some(Duration::ZERO)).is_some_and(|pause| !pause.is_zero()));
    }

    #[test]
    fn servers_say_how_long_to_wait() {
        for (text, seconds) in
            [("7", Some(7)), (" 0 ", Some(0)), ("Sun, 06 Nov 1994 08:49:37 GMT", Some(0)), ("soon", None), ("-1", None)]
        {
            let mut headers = HeaderMap::new();
            headers.insert(header::RETRY_AFTER, text.parse().unwrap());
            assert_eq!(retry_after(&headers), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn nobody_waits_for_work_that_is_over() {
        assert!(!pause(Duration::from_hours(1), || true));
        assert!(pause(Duration::ZERO, || false));
    }
}
