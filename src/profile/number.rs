//! Times in microseconds, exactly: a 16-digit timestamp with three decimals does not fit a double.

/// The nanoseconds of a decimal number of microseconds; digits beyond the nanosecond are rounded to it. White space
/// around it is allowed (CANN ends its timestamps with a TAB). Absent if it is no number, or beyond 292 years.
pub(super) fn nanoseconds(text: &[u8]) -> Option<i64> {
    let text = text.trim_ascii();
    let (negative, digits) = match text {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] | rest => (false, rest),
    };
    let mut whole: i64 = 0;
    let mut at = 0;
    while let Some(d) = digits.get(at).filter(|d| d.is_ascii_digit()) {
        whole = whole.checked_mul(10)?.checked_add(i64::from(d - b'0'))?;
        at += 1;
    }
    let mut any = at > 0;
    let mut ns = whole.checked_mul(1000)?;
    if digits.get(at) == Some(&b'.') {
        at += 1;
        let mut weight = 100;
        while let Some(d) = digits.get(at).filter(|d| d.is_ascii_digit()) {
            if weight > 0 {
                ns = ns.checked_add(i64::from(d - b'0') * weight)?;
                weight /= 10;
            } else if weight == 0 {
                ns = ns.checked_add(i64::from(*d >= b'5'))?;
                weight = -1;
            }
            any = true;
            at += 1;
        }
    }
    if at < digits.len() {
        return exponent(text);
    }
    any.then_some(if negative { -ns } else { ns })
}

/// `1.2e7`: rare, and never exact.
fn exponent(text: &[u8]) -> Option<i64> {
    let text = std::str::from_utf8(text).ok()?;
    if !text.contains(['e', 'E']) {
        return None;
    }
    let ns = text.parse::<f64>().ok()? * 1000.0;
    #[expect(clippy::cast_possible_truncation, reason = "the range is checked")]
    (ns.abs() < 9e18).then_some(ns.round() as i64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn every_way_of_writing_a_time_is_read() {
        for (text, ns) in [
            ("1774670741777000.027\t", Some(1_774_670_741_777_000_027)),
            ("5932640123456", Some(5_932_640_123_456_000)),
            ("-1.5", Some(-1500)),
            ("2.0009", Some(2001)),
            (".5", Some(500)),
            ("1.25e3", Some(1_250_000)),
            ("", None),
            ("-", None),
            ("N/A", None),
            ("null", None),
            ("99999999999999999999", None),
        ] {
            assert_eq!(nanoseconds(text.as_bytes()), ns, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read(ns in -9_000_000_000_000_000_000i64..9_000_000_000_000_000_000) {
            let sign = if ns < 0 { "-" } else { "" };
            let text = format!("{sign}{}.{:03}", ns.unsigned_abs() / 1000, ns.unsigned_abs() % 1000);
            prop_assert_eq!(nanoseconds(text.as_bytes()), Some(ns));
        }
    }
}
