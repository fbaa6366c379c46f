//! Quantities with their units, and the names of models and precisions.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, PartialOrd, Default, Serialize, Deserialize)]
        #[serde(transparent)]
        pub(crate) struct $name(pub $inner);
    };
}

quantity! {
    /// A duration in seconds.
    Seconds(f64)
}
quantity! {
    /// A size in bytes.
    Bytes(u64)
}

impl Seconds {
    /// From nanoseconds, the unit of every time in a record.
    pub(crate) fn from_nanos(nanos: u64) -> Self {
        Self(nanos as f64 / 1e9)
    }
}

impl fmt::Display for Seconds {
    /// Three significant digits below a minute, then whole units: `0.123 s`, `4.88 s`, `42.1 s`, `1 min 12 s`,
    /// `1 h 03 min`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(seconds) = *self;
        if seconds < 59.95 {
            let decimals = match seconds {
                s if s < 0.9995 => 3,
                s if s < 9.995 => 2,
                _ => 1,
            };
            return write!(f, "{seconds:.decimals$} s");
        }
        // `as` saturates, and no run lasts 2^64 seconds.
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let whole = seconds.round() as u64;
        match whole {
            0..3600 => write!(f, "{} min {:02} s", whole / 60, whole % 60),
            _ => write!(f, "{} h {:02} min", whole / 3600, whole % 3600 / 60),
        }
    }
}

/// A count with thousands separated by commas: `7,123`.
pub(crate) fn thousands(count: u64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

impl fmt::Display for Bytes {
    /// Decimal units with three significant digits: `269 MB`, `6.02 GB`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const UNITS: [&str; 5] = ["B", "kB", "MB", "GB", "TB"];
        let mut value = self.0 as f64;
        let mut unit = 0;
        while value >= 999.5 && unit + 1 < UNITS.len() {
            value /= 1000.0;
            unit += 1;
        }
        let decimals = match value {
            _ if unit == 0 => 0,
            v if v < 9.995 => 2,
            v if v < 99.95 => 1,
            _ => 0,
        };
        write!(f, "{value:.decimals$} {}", UNITS[unit])
    }
}

/// An id is not made of letters, digits, `.`, `+` and `-` alone (`_` parts model from precision in file names).
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not an id: use letters, digits, `.`, `+` and `-`")]
pub struct InvalidId(pub String);

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
        #[serde(transparent)]
        pub struct $name(String);

        impl $name {
            /// The id as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl FromStr for $name {
            type Err = InvalidId;

            fn from_str(text: &str) -> Result<Self, InvalidId> {
                if is_id(text) { Ok(Self(text.to_owned())) } else { Err(InvalidId(text.to_owned())) }
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}

id! {
    /// A model of the matrix, such as `qwen3-1.7b`.
    ModelId
}
id! {
    /// A precision of the matrix, such as `w8a8`.
    PrecisionId
}

/// Whether `text` is a valid id: `[A-Za-z0-9.+-]+`, and no path (`.` and `..` name folders).
pub(crate) fn is_id(text: &str) -> bool {
    !text.is_empty()
        && !text.starts_with(['.', '-'])
        && text
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'+' | b'-'))
}

/// One model at one precision.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct CellId {
    /// The model.
    pub model: ModelId,
    /// The precision.
    pub precision: PrecisionId,
}

impl fmt::Display for CellId {
    /// `<model>_<precision>`, as in file names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}_{}", self.model, self.precision)
    }
}

/// Whether the engine is driven in-process (`LLM.generate`) or over HTTP (`vllm serve`).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// `LLM.generate` through the embedded driver.
    Offline,
    /// `vllm serve` and the streaming client.
    Online,
}

impl fmt::Display for Mode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Offline => "offline",
            Self::Online => "online",
        })
    }
}

/// A share such as `5%`, `2.5 %` or `0.05`. A number of 1 or more needs the sign: 5 could mean both.
pub(crate) fn parse_share(text: &str) -> Result<f64, String> {
    let text = text.trim();
    let share = match text.strip_suffix('%') {
        Some(percent) => percent.trim_end().parse::<f64>().map(|p| p / 100.0),
        None => text.parse::<f64>(),
    };
    let fits =
        |share: &f64| *share > 0.0 && share.is_finite() && (*share < 1.0 || text.ends_with('%'));
    share
        .ok()
        .filter(fits)
        .ok_or_else(|| "a share above 0 is written 5% or 0.05".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_hold_no_separator_and_no_path() {
        for good in ["qwen3-1.7b", "w8a8", "FP8+kv"] {
            assert!(is_id(good), "{good}");
        }
        for bad in ["", "a_b", "a/b", "..", ".hidden", "-flag", "ü"] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn seconds_read_with_three_digits_and_then_in_whole_units() {
        let shown = [0.1234, 4.876, 42.06, 59.94, 59.96, 72.0, 3600.0, 3_780.0]
            .map(|s| Seconds(s).to_string());
        assert_eq!(
            shown,
            [
                "0.123 s",
                "4.88 s",
                "42.1 s",
                "59.9 s",
                "1 min 00 s",
                "1 min 12 s",
                "1 h 00 min",
                "1 h 03 min"
            ]
        );
    }

    #[test]
    fn thousands_are_separated() {
        assert_eq!(
            [0, 999, 1_000, 1_234_567].map(thousands),
            ["0", "999", "1,000", "1,234,567"]
        );
    }

    #[test]
    fn bytes_read_with_three_digits() {
        let shown: Vec<String> = [0, 999, 1_000, 269_060_552, 999_600_000, 6_020_000_000]
            .map(|b| Bytes(b).to_string())
            .to_vec();
        assert_eq!(
            shown,
            ["0 B", "999 B", "1.00 kB", "269 MB", "1.00 GB", "6.02 GB"]
        );
    }

    #[test]
    fn a_share_is_never_ambiguous() {
        for (text, share) in [
            ("5%", 0.05),
            ("2.5 %", 0.025),
            (" 150% ", 1.5),
            ("0.05", 0.05),
        ] {
            let found = parse_share(text).expect("a share");
            assert!((found - share).abs() < 1e-12, "{text}");
        }
        for bad in ["5", "-5%", "0%", "0", "NaN%", "NaN", "inf%", "%", "five%"] {
            assert!(parse_share(bad).is_err(), "{bad}");
        }
    }
}
