//! Numbers as people read them, and as programs do.

/// What stands where there is no number.
pub(super) const NONE: &str = "-";

/// Three significant digits or all digits before the point, with thousands separated: `0.0512`, `3.48`, `892`,
/// `29,612`.
pub(super) fn number(value: f64) -> String {
    let magnitude = value.abs();
    let decimals = match magnitude {
        m if m >= 99.95 => 0,
        m if m >= 9.995 => 1,
        m if m >= 0.9995 || m == 0.0 => 2,
        m if m >= 0.09995 => 3,
        _ => 4,
    };
    grouped(&format!("{value:.decimals$}"))
}

/// A count with thousands separated.
pub(super) fn count(value: u64) -> String {
    grouped(&value.to_string())
}

/// A share as a percentage: `12.3`.
pub(super) fn percent(share: f64) -> String {
    format!("{:.1}", 100.0 * share)
}

/// `shown(value)`, or [`NONE`].
pub(super) fn or_none<T>(value: Option<T>, shown: impl FnOnce(T) -> String) -> String {
    value.map_or_else(|| NONE.to_owned(), shown)
}

fn grouped(number: &str) -> String {
    let whole = number.find('.').unwrap_or(number.len());
    let mut shown = String::with_capacity(number.len() + 4);
    for (at, digit) in number.char_indices() {
        let left = whole.saturating_sub(at);
        if at < whole && left % 3 == 0 && shown.ends_with(|c: char| c.is_ascii_digit()) {
            shown.push(',');
        }
        shown.push(digit);
    }
    shown
}

/// Nine significant digits: what a measurement is worth, and few enough that the last bit of another machine's
/// logarithm does not show.
pub(super) fn rounded(value: f64) -> f64 {
    format!("{value:.8e}").parse().unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        let shown: Vec<String> = [
            0.0,
            0.05123,
            0.5,
            3.478,
            9.999,
            42.25,
            891.6,
            29_612.4,
            -1234.5,
            1_234_567.0,
        ]
        .map(number)
        .to_vec();
        assert_eq!(
            shown,
            [
                "0.00",
                "0.0512",
                "0.500",
                "3.48",
                "10.0",
                "42.2",
                "892",
                "29,612",
                "-1,234",
                "1,234,567"
            ]
        );
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(percent(0.1234), "12.3");
    }

    #[test]
    fn rounding_keeps_nine_digits() {
        let shown = [1.0 / 3.0, 29_612.123_456_789, 0.0].map(|v| rounded(v).to_string());
        assert_eq!(shown, ["0.333333333", "29612.1235", "0"]);
    }
}
