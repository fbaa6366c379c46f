//! Why two measurements are not compared, in words.

use crate::record::Unlike;

/// So many differences are named, the others counted.
const NAMED: usize = 2;

/// `measured for 2 s, the baseline for 40 requests`; absent where nothing differs.
pub(super) fn not_compared(unlike: &[Unlike]) -> Option<String> {
    if unlike.is_empty() {
        return None;
    }
    let side = |of: fn(&Unlike) -> &str| -> String {
        let named: Vec<&str> = unlike.iter().take(NAMED).map(of).collect();
        named.join(" and ")
    };
    let more = match unlike.len().saturating_sub(NAMED) {
        0 => String::new(),
        1 => "; 1 more difference".to_owned(),
        more => format!("; {more} more differences"),
    };
    Some(format!(
        "measured {}, the baseline {}{more}",
        side(|u| &u.here),
        side(|u| &u.there)
    ))
}

#[cfg(test)]
mod tests;
