//! Slow and plain matchers that the fast ones are compared with.

/// Go's `filepath.Match` over a name without `/`, by direct recursion; `None` for a malformed pattern.
pub(super) fn go_match(pattern: &str, name: &str) -> Option<bool> {
    let pattern: Vec<char> = pattern.chars().collect();
    let name: Vec<char> = name.chars().collect();
    well_formed(&pattern)?;
    Some(recurse(&pattern, &name, false))
}

/// One ignore pattern over a whole path.
pub(super) fn ignore_match(pattern: &str, path: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let path: Vec<char> = path.chars().collect();
    if pattern.starts_with(&['*', '*'])
        && pattern.get(2) != Some(&'/')
        && !pattern[2..].iter().any(|c| "*?[]\\".contains(*c))
    {
        return path.ends_with(&pattern[2..]);
    }
    recurse(&pattern, &path, true)
}

/// `MatchesUsingParentResults` from the root down.
pub(super) fn excludes(patterns: &[(bool, String)], path: &str) -> bool {
    let mut parent = vec![false; patterns.len()];
    let mut excluded = false;
    let names: Vec<&str> = path.split('/').collect();
    for depth in 1..=names.len() {
        let current = names[..depth].join("/");
        let mut own = vec![false; patterns.len()];
        excluded = false;
        for (index, (exception, pattern)) in patterns.iter().enumerate() {
            let mut hit = parent[index];
            if !hit {
                if *exception != excluded {
                    continue;
                }
                hit = ignore_match(pattern, &current);
            }
            own[index] = hit;
            if hit {
                excluded = !exception;
            }
        }
        parent = own;
    }
    excluded
}

fn well_formed(pattern: &[char]) -> Option<()> {
    let mut at = 0;
    while at < pattern.len() {
        match pattern[at] {
            '\\' => {
                pattern.get(at + 1)?;
                at += 2;
            }
            '[' => at += class(&pattern[at..])?.2,
            _ => at += 1,
        }
    }
    Some(())
}

/// Negation, ranges, length.
type Class = (bool, Vec<(char, char)>, usize);

/// A class at the start of the pattern.
fn class(pattern: &[char]) -> Option<Class> {
    let mut at = 1;
    let negated = pattern.get(at) == Some(&'^');
    at += usize::from(negated);
    let mut ranges = Vec::new();
    while ranges.is_empty() || pattern.get(at) != Some(&']') {
        let low = escaped(pattern, &mut at)?;
        let high = if pattern.get(at) == Some(&'-') {
            at += 1;
            escaped(pattern, &mut at)?
        } else {
            low
        };
        ranges.push((low, high));
    }
    Some((negated, ranges, at + 1))
}

fn escaped(pattern: &[char], at: &mut usize) -> Option<char> {
    match pattern.get(*at)? {
        '-' | ']' => return None,
        '\\' => *at += 1,
        _ => {}
    }
    let found = *pattern.get(*at)?;
    *at += 1;
    pattern.get(*at)?;
    Some(found)
}

fn recurse(pattern: &[char], text: &[char], deep: bool) -> bool {
    match pattern.first() {
        None => text.is_empty(),
        Some('*') if deep && pattern.get(1) == Some(&'*') => {
            let mut rest = &pattern[2..];
            if rest.first() == Some(&'/') {
                rest = &rest[1..];
            }
            if rest.is_empty() {
                return true;
            }
            recurse(rest, text, deep)
                || (0..text.len()).any(|end| text[end] == '/' && recurse(rest, &text[end + 1..], deep))
        }
        Some('*') => {
            let end = text.iter().position(|&c| c == '/').unwrap_or(text.len());
            (0..=end).any(|taken| recurse(&pattern[1..], &text[taken..], deep))
        }
        Some('?') => text.first().is_some_and(|&c| c != '/') && recurse(&pattern[1..], &text[1..], deep),
        Some('[') => {
            let Some((negated, ranges, length)) = class(pattern) else { return false };
            text.first().is_some_and(|c| ranges.iter().any(|(low, high)| (low..=high).contains(&c)) != negated)
                && recurse(&pattern[length..], &text[1..], deep)
        }
        Some('\\') => text.first() == pattern.get(1) && recurse(&pattern[2..], &text[1..], deep),
        Some(c) => text.first() == Some(c) && recurse(&pattern[1..], &text[1..], deep),
    }
}
