//! Shell arithmetic, as far as run scripts use it: whole numbers, `+ - * /` and parentheses.

/// The value of `expression`; absent if it is anything else, overflows, or divides by zero.
pub(super) fn value(expression: &str) -> Option<i64> {
    let mut rest = Rest(expression.as_bytes());
    let value = rest.sum(0)?;
    rest.skip_blanks();
    rest.0.is_empty().then_some(value)
}

/// Deeper nesting is no run script.
const DEEPEST: u32 = 32;

struct Rest<'a>(&'a [u8]);

impl Rest<'_> {
    fn skip_blanks(&mut self) {
        self.0 = self.0.trim_ascii_start();
    }

    fn take(&mut self, wanted: &[u8]) -> Option<u8> {
        self.skip_blanks();
        let first = *self.0.first()?;
        if !wanted.contains(&first) {
            return None;
        }
        self.0 = &self.0[1..];
        Some(first)
    }

    fn sum(&mut self, depth: u32) -> Option<i64> {
        let mut sum = self.product(depth)?;
        while let Some(operator) = self.take(b"+-") {
            let next = self.product(depth)?;
            sum = match operator {
                b'+' => sum.checked_add(next)?,
                _ => sum.checked_sub(next)?,
            };
        }
        Some(sum)
    }

    fn product(&mut self, depth: u32) -> Option<i64> {
        let mut product = self.factor(depth)?;
        while let Some(operator) = self.take(b"*/") {
            let next = self.factor(depth)?;
            product = match operator {
                b'*' => product.checked_mul(next)?,
                _ => product.checked_div(next)?,
            };
        }
        Some(product)
    }

    fn factor(&mut self, depth: u32) -> Option<i64> {
        if depth > DEEPEST {
            return None;
        }
        if self.take(b"(").is_some() {
            let value = self.sum(depth + 1)?;
            self.take(b")")?;
            return Some(value);
        }
        self.skip_blanks();
        let digits = self.0.iter().take_while(|b| b.is_ascii_digit()).count();
        let (number, rest) = self.0.split_at(digits);
        self.0 = rest;
        std::str::from_utf8(number).ok()?.parse().ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn products_come_before_sums() {
        assert_eq!(value("1024 * 2 + 8"), Some(2056));
        assert_eq!(value("(1024 + 8) * 2 / 3"), Some(688));
        for bad in ["", "1 +", "1 / 0", "a", "1 2", "(1", "9999999999999999999"] {
            assert_eq!(value(bad), None, "{bad}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "[0-9+*/() -]{0,80}") {
            let _ = value(&text);
        }
    }
}
