//! Normal and Student's t distribution, over `statrs`' incomplete beta function and error function.

use statrs::distribution::{Continuous, ContinuousCDF, StudentsT};
use statrs::function::erf::{erfc, erfc_inv};

/// P(Z <= z) for a standard normal Z.
pub(crate) fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z / std::f64::consts::SQRT_2)
}

/// The z with P(Z <= z) = `p`, for `p` in (0, 1).
pub(crate) fn normal_quantile(p: f64) -> f64 {
    -std::f64::consts::SQRT_2 * erfc_inv(2.0 * p)
}

/// P(T <= t) for Student's t with `df` > 0 degrees of freedom, not necessarily whole (Welch).
pub(crate) fn t_cdf(t: f64, df: f64) -> f64 {
    StudentsT::new(0.0, 1.0, df).map_or(f64::NAN, |d| d.cdf(t))
}

/// The t with P(T <= t) = `p`, for `p` in (0, 1) and `df` > 0.
///
/// Newton's steps on the upper tail, which is convex there; a step that leaves the bracket is replaced by bisection.
pub(crate) fn t_quantile(p: f64, df: f64) -> f64 {
    if p < 0.5 {
        return -t_quantile(1.0 - p, df);
    }
    let Ok(distribution) = StudentsT::new(0.0, 1.0, df) else {
        return f64::NAN;
    };
    // The tail is what is small and precise.
    let excess = |t: f64| distribution.cdf(-t) - (1.0 - p);
    let (mut low, mut high) = (0.0, 1.0);
    while excess(high) > 0.0 {
        low = high;
        high *= 2.0;
    }
    let mut t = low;
    for _ in 0..200 {
        let over = excess(t);
        if over > 0.0 {
            low = t;
        } else {
            high = t;
        }
        let newton = t + over / distribution.pdf(t);
        let next = if newton > low && newton < high {
            newton
        } else {
            f64::midpoint(low, high)
        };
        if (next - t).abs() <= 1e-14 * next {
            return next;
        }
        t = next;
    }
    t
}

/// The half-width of a two-sided t interval in units of the standard error: `level` is the confidence, 0.95 say.
pub(crate) fn t_critical(level: f64, df: f64) -> f64 {
    t_quantile(f64::midpoint(1.0, level), df)
}

#[cfg(test)]
#[expect(clippy::unreadable_literal, reason = "values as scipy prints them")]
mod tests {
    use super::*;

    #[test]
    fn t_quantiles_agree_with_scipy() {
        // [scipy.stats.t.ppf(p, df) for p, df in ...]
        for (p, df, expected) in T {
            let found = t_quantile(p, df);
            assert!(
                (found / expected - 1.0).abs() < 1e-9,
                "{p} {df}: {found}, not {expected}"
            );
            assert!((t_cdf(found, df) - p).abs() < 1e-12);
        }
    }

    #[test]
    fn normal_quantiles_agree_with_scipy() {
        // scipy.stats.norm.ppf
        for (p, expected) in NORMAL {
            let found = normal_quantile(p);
            assert!(
                (found - expected).abs() < 1e-9,
                "{p}: {found}, not {expected}"
            );
            assert!((normal_cdf(found) - p).abs() < 1e-11);
        }
    }

    const T: [(f64, f64, f64); 10] = [
        (0.975, 1.0, 12.706204736174694),
        (0.975, 2.0, 4.302652729749462),
        (0.975, 5.0, 2.5705818356363146),
        (0.975, 9.0, 2.262157162798205),
        (0.9916666666666667, 5.0, 3.53411070405837),
        (0.99375, 3.0, 5.391949071934058),
        (0.975, 2.7, 3.3921483831737507),
        (0.9995, 1.0, 636.6192487687897),
        (0.975, 1000.0, 1.9623390808264083),
        (0.6, 19.0, 0.25692281979615467),
    ];

    const NORMAL: [(f64, f64); 4] = [
        (0.975, 1.959963984540054),
        (0.9995, 3.2905267314919255),
        (0.01, -2.3263478740408408),
        (1e-09, -5.9978070150076865),
    ];
}
