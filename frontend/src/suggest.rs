//! "Did you mean …?": the nearest of a few known words.

/// The option nearest to `word` without regard to case, if it is near enough to be meant; `None` too when `word` is one
/// of the options.
pub fn nearest<'o>(word: &str, options: &[&'o str]) -> Option<&'o str> {
    const LONGEST: usize = 40;
    let word = word.to_lowercase();
    if word.len() > LONGEST {
        return None;
    }
    let limit = if word.chars().count() <= 3 { 1 } else { 2 };
    options
        .iter()
        .map(|option| (distance(&word, &option.to_lowercase()), *option))
        .filter(|(distance, _)| *distance <= limit)
        .min_by_key(|(distance, _)| *distance)
        .filter(|(distance, _)| *distance > 0)
        .map(|(_, option)| option)
}

/// The option nearest to `word` with regard to case, at most two changes away; `None` too when `word` is one of the
/// options. For names of variables, where BuildKit's messages say the same.
pub fn nearest_name<'o>(word: &str, options: impl Iterator<Item = &'o str>) -> Option<&'o str> {
    const LIMIT: usize = 2;
    let length = word.chars().count();
    let mut best = None;
    for option in options {
        if option.chars().count().abs_diff(length) > LIMIT {
            continue;
        }
        let distance = distance(word, option);
        if distance == 0 {
            return None;
        }
        if distance <= LIMIT && best.is_none_or(|(nearest, _)| distance < nearest) {
            best = Some((distance, option));
        }
    }
    best.map(|(_, option)| option)
}

/// Levenshtein's distance, with a swap of two neighbours as one change.
fn distance(left: &str, right: &str) -> usize {
    let left: Vec<char> = left.chars().collect();
    let right: Vec<char> = right.chars().collect();
    let mut before_last: Vec<usize> = Vec::new();
    let mut last: Vec<usize> = (0..=right.len()).collect();
    for (row, &a) in left.iter().enumerate() {
        let mut current = Vec::with_capacity(right.len() + 1);
        current.push(row + 1);
        for (column, &b) in right.iter().enumerate() {
            let mut best = (last[column] + usize::from(a != b)).min(last[column + 1] + 1).min(current[column] + 1);
            if row > 0 && column > 0 && a == right[column - 1] && left[row - 1] == b {
                best = best.min(before_last[column - 1] + 1);
            }
            current.push(best);
        }
        before_last = std::mem::replace(&mut last, current);
    }
    last[right.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_changes() {
        for (left, right, expected) in [
            ("", "", 0),
            ("", "run", 3),
            ("run", "run", 0),
            ("rum", "run", 1),
            ("rnu", "run", 1),
            ("kitten", "sitting", 3),
            ("größe", "grosse", 3),
        ] {
            assert_eq!(distance(left, right), expected, "{left} {right}");
            assert_eq!(distance(right, left), expected, "{right} {left}");
        }
    }

    #[test]
    fn names_have_a_case() {
        for (word, expected) in [
            ("PAHT", Some("PATH")),
            ("MYARCH", Some("MY_ARCH")),
            ("DIR_ASSET", Some("DIR_ASSETS")),
            ("path", None),
            ("PATH", None),
            ("a", Some("b")),
            ("UNKNOWN", None),
        ] {
            let options = ["PATH", "MY_ARCH", "DIR_ASSETS", "b"];
            assert_eq!(nearest_name(word, options.into_iter()), expected, "{word}");
        }
    }

    #[test]
    fn suggests_what_is_near() {
        let options = ["RUN", "COPY", "ENTRYPOINT", "ENV"];
        for (word, expected) in [
            ("RNU", Some("RUN")),
            ("ruun", Some("RUN")),
            ("COPPY", Some("COPY")),
            ("entrypiont", Some("ENTRYPOINT")),
            ("EN", Some("ENV")),
            ("FOO", None),
            ("run", None),
            ("", None),
        ] {
            assert_eq!(nearest(word, &options), expected, "{word}");
        }
    }
}
