//! How the requests of an online step are sent.

use serde_json::Value;

use super::diagnostic::Diagnostics;
use super::load::Loader;
use super::scalars::{Values, not_zero, put};
use super::{OnlineSettings, Origin};
use crate::units::Mode;

impl Loader<'_> {
    /// They come from flags alone so far.
    pub(super) fn online(
        &self,
        mode: Mode,
        values: &mut Values,
        found: &mut Diagnostics,
    ) -> OnlineSettings {
        let flags = &self.request.overrides;
        for (flag, given) in [
            ("--request-rate", flags.request_rate),
            ("--burstiness", flags.burstiness),
        ] {
            if let Some(value) = given
                && (value.is_nan() || value <= 0.0)
            {
                found.plain(format!("{flag} {value}: must be above 0"));
            }
        }
        not_zero("--max-concurrency", flags.max_concurrency, found);
        let online = OnlineSettings {
            request_rate: flags.request_rate.filter(|rate| rate.is_finite()),
            burstiness: flags.burstiness.unwrap_or(1.0),
            max_concurrency: flags.max_concurrency,
        };
        if mode == Mode::Online {
            let origin = |given: bool, flag| {
                if given {
                    Origin::Flag(flag)
                } else {
                    Origin::Default
                }
            };
            let rate = match online.request_rate {
                Some(rate) => Value::from(rate),
                None => Value::from("inf"),
            };
            put(
                values,
                "online.request_rate",
                rate,
                &origin(flags.request_rate.is_some(), "--request-rate"),
            );
            if online.request_rate.is_some() {
                let burstiness = if online.burstiness.is_finite() {
                    Value::from(online.burstiness)
                } else {
                    Value::from("inf")
                };
                put(
                    values,
                    "online.burstiness",
                    burstiness,
                    &origin(flags.burstiness.is_some(), "--burstiness"),
                );
            }
            let limit = online.max_concurrency.map_or(Value::Null, Value::from);
            put(
                values,
                "online.max_concurrency",
                limit,
                &origin(flags.max_concurrency.is_some(), "--max-concurrency"),
            );
        }
        online
    }
}
