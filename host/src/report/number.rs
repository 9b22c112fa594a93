//! Numbers as people read them.

use std::fmt::Write;

use minijinja::HtmlEscape;

use crate::run::summary::Estimate;

/// A number by itself: three decimals, or two digits and a power of ten where these would hide it. With a true minus.
#[must_use]
pub fn figure(value: f64) -> String {
    let size = value.abs();
    let shown = (0.0005..0.01).contains(&size);
    scaled(value, if shown { 0.01 } else { size })
}

/// A number in the form that fits numbers up to `size`, so that those that belong together look alike.
fn scaled(value: f64, size: f64) -> String {
    if !value.is_finite() {
        return "–".to_owned();
    }
    let own = value.abs();
    let text = match size {
        0.0 | 0.01..100.0 => format!("{own:.3}"),
        0.0005..0.01 => format!("{own:.4}"),
        100.0..100_000.0 => format!("{own:.1}"),
        _ if own == 0.0 => "0".to_owned(),
        _ => power(own),
    };
    // What is rounded to nothing has no sign.
    let nothing = text.chars().all(|c| c == '0' || c == '.');
    match value < 0.0 && !nothing {
        true => format!("−{text}"),
        false => text,
    }
}

/// The largest of a mean and the ends of its interval.
fn size(e: &Estimate) -> f64 {
    let all = [e.mean, e.low, e.high];
    all.into_iter().map(f64::abs).fold(0.0, f64::max)
}

/// A mean in the form of its interval.
#[must_use]
pub fn mean(e: &Estimate) -> String {
    scaled(e.mean, size(e))
}

/// `2.3 · 10⁻⁶`.
fn power(size: f64) -> String {
    let text = format!("{size:.1e}");
    let Some((digits, exponent)) = text.split_once('e') else {
        return text;
    };
    let raised: String = exponent
        .chars()
        .map(|c| match c {
            '-' => '⁻',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            '0' | '4'..='9' => char::from_u32(0x2070 + (c as u32 - '0' as u32)).unwrap_or(c),
            _ => c,
        })
        .collect();
    format!("{digits}\u{202f}·\u{202f}10{raised}")
}

/// A mean difference in the form of its interval: with its sign always.
#[must_use]
pub fn difference(e: &Estimate) -> String {
    let text = mean(e);
    match e.mean > 0.0 {
        true => format!("+{text}"),
        false => text,
    }
}

/// An interval, such as `0.551 to 0.612`.
#[must_use]
pub fn interval(e: &Estimate) -> String {
    let size = size(e);
    format!("{} to {}", scaled(e.low, size), scaled(e.high, size))
}

/// A share in per cent.
#[must_use]
pub fn percent(share: f64) -> String {
    let percent = 100.0 * share;
    if percent > 0.0 && percent < 0.1 {
        return "< 0.1\u{202f}%".to_owned();
    }
    let digits = usize::from(percent > 0.0 && percent < 9.95);
    format!("{percent:.digits$}\u{202f}%")
}

/// A p value; small ones as a bound.
#[must_use]
pub fn probability(p: f64) -> String {
    if p < 0.001 {
        "< 0.001".to_owned()
    } else if p < 0.1 {
        format!("{p:.3}")
    } else {
        format!("{p:.2}")
    }
}

/// A count with spaces between thousands.
#[must_use]
pub fn count(n: usize) -> String {
    let digits = n.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) && digits.len() > 4 {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// `1 picture`, `2 pictures`.
#[must_use]
pub fn counted(n: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(n), if n == 1 { "" } else { "s" })
}

/// Size in bytes, for people.
#[must_use]
pub fn bytes(n: usize) -> String {
    match n {
        0..1_000_000 => format!("{} kB", n.div_ceil(1000)),
        _ => format!("{:.1} MB", n as f64 / 1e6),
    }
}

/// `a, b and c`.
#[must_use]
pub fn listed(names: &[&str]) -> String {
    match names {
        [] => String::new(),
        [only] => (*only).to_owned(),
        [head @ .., last] => format!("{} and {last}", head.join(", ")),
    }
}

/// Text as HTML shows it.
#[must_use]
pub fn escaped(text: &str) -> String {
    HtmlEscape(text).to_string()
}

/// A word of a command as a shell takes it.
#[must_use]
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%^".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

/// A coordinate of a drawing: at most one decimal.
pub fn place(out: &mut String, value: f64) {
    let tenths = (10.0 * value).round() as i64;
    let (whole, rest) = (tenths / 10, (tenths % 10).abs());
    // Nothing fails to be written to a string.
    let _ = match (whole, rest) {
        (_, 0) => write!(out, "{whole}"),
        (0, _) if tenths < 0 => write!(out, "-.{rest}"),
        (0, _) => write!(out, ".{rest}"),
        _ => write!(out, "{whole}.{rest}"),
    };
}

/// [`place`] as text.
#[must_use]
pub fn at(value: f64) -> String {
    let mut text = String::new();
    place(&mut text, value);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_honest() {
        let cases = [
            (0.58349, "0.583"),
            (-0.0123, "−0.012"),
            (2.34e-6, "2.3\u{202f}·\u{202f}10⁻⁶"),
            (-2.8e35, "−2.8\u{202f}·\u{202f}10³⁵"),
            (0.0, "0.000"),
            (1.0, "1.000"),
            (12.5, "12.500"),
            (1234.56, "1234.6"),
            (f64::NAN, "–"),
        ];
        for (value, text) in cases {
            assert_eq!(figure(value), text);
        }
        let narrow = Estimate {
            mean: 0.25,
            low: -0.0001,
            high: 0.5,
            images: 9,
        };
        assert_eq!(difference(&narrow), "+0.250");
        assert_eq!(interval(&narrow), "0.000 to 0.500");
        let small = Estimate {
            mean: -0.0012,
            low: -0.0032,
            high: 0.0003,
            images: 9,
        };
        assert_eq!(mean(&small), "−0.0012");
        assert_eq!(interval(&small), "−0.0032 to 0.0003");
        assert_eq!(probability(0.00009), "< 0.001");
        assert_eq!(probability(0.0304), "0.030");
        assert_eq!(percent(0.0), "0\u{202f}%");
        assert_eq!(percent(0.034), "3.4\u{202f}%");
        assert_eq!(count(50_000), "50\u{202f}000");
        assert_eq!(count(5794), "5794");
    }

    #[test]
    fn coordinates_lose_no_sign() {
        for (value, text) in [
            (-0.31, "-.3"),
            (0.5, ".5"),
            (-12.34, "-12.3"),
            (7.0, "7"),
            (-0.04, "0"),
        ] {
            assert_eq!(at(value), text);
        }
    }

    #[test]
    fn commands_can_be_pasted() {
        assert_eq!(quoted("--limit"), "--limit");
        assert_eq!(quoted("my photos"), "'my photos'");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn lists_read_as_english() {
        assert_eq!(listed(&["a", "b", "c"]), "a, b and c");
        assert_eq!(listed(&["a"]), "a");
    }
}
