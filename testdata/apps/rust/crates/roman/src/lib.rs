//! Roman numbers, from 1 to 3999.

const DIGITS: [(u16, &str); 13] = [
    (1000, "M"),
    (900, "CM"),
    (500, "D"),
    (400, "CD"),
    (100, "C"),
    (90, "XC"),
    (50, "L"),
    (40, "XL"),
    (10, "X"),
    (9, "IX"),
    (5, "V"),
    (4, "IV"),
    (1, "I"),
];

/// Writes a number; `None` where there is no way to.
pub fn write(mut number: u16) -> Option<String> {
    if !(1..=3999).contains(&number) {
        return None;
    }
    let mut text = String::new();
    for (value, digits) in DIGITS {
        while number >= value {
            text.push_str(digits);
            number -= value;
        }
    }
    Some(text)
}

/// Reads a number; `None` if it is not written as [`write`] writes it.
pub fn read(text: &str) -> Option<u16> {
    let mut rest = text;
    let mut number: u16 = 0;
    for (value, digits) in DIGITS {
        while let Some(shorter) = rest.strip_prefix(digits) {
            number = number.checked_add(value)?;
            rest = shorter;
        }
    }
    (rest.is_empty() && write(number).as_deref() == Some(text)).then_some(number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_number_comes_back() {
        for number in 1..=3999 {
            assert_eq!(read(&write(number).unwrap()), Some(number));
        }
    }

    #[test]
    fn what_is_no_number() {
        for text in ["", "IIII", "IM", "VX", "roman", "MMMM"] {
            assert_eq!(read(text), None, "{text}");
        }
        assert_eq!(write(0), None);
        assert_eq!(write(4000), None);
    }
}
