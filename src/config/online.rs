//! How the requests of online steps are sent, after what one setting says about another.

use serde_json::{Value, json};

use super::context::said_by_flags;
use super::declared::{
    API, BURSTINESS, DURATION, FAN_OUT, GOODPUT, INPUT_LEN, MAX_CONCURRENCY, MODE, N, NUM_PROMPTS,
    OUTPUT_LEN, RAMP, REQUEST_RATE, SEED, STEPS, WARMUP,
};
use super::diagnostic::Diagnostics;
use super::flags::Given;
use super::pacing::{parse_goodput, parse_ramp};
use super::values::{Extended, Values};
use super::{ConfigErrors, FanOut, OnlineSettings, RunSettings, Sourced};
use crate::load::Limit;
use crate::stats::Slo;
use crate::units::Mode;

/// What `load` sends to a server that no configuration describes, and how.
pub(crate) struct LoadSettings {
    pub online: OnlineSettings,
    pub num_prompts: u32,
    pub n: u32,
    pub input_len: u32,
    pub output_len: u32,
    pub fan_out: FanOut,
    pub steps: u32,
    pub warmup: u32,
    pub seed: u64,
}

/// What flags alone say.
///
/// # Errors
/// Every mistake at once.
pub(crate) fn load_flags(flags: &Given) -> Result<LoadSettings, ConfigErrors> {
    let mut found = Diagnostics::default();
    let mut values = said_by_flags(flags, &mut found);
    values.take_defaults_of_load();
    one_decides(&values, &mut found);
    let settings = LoadSettings {
        online: settings(&values, &mut found),
        num_prompts: values.get(&NUM_PROMPTS),
        n: values.get(&N),
        input_len: values.get(&INPUT_LEN),
        output_len: values.get(&OUTPUT_LEN),
        fan_out: values.get(&FAN_OUT),
        steps: values.get(&STEPS),
        warmup: values.get(&WARMUP),
        seed: values.get(&SEED),
    };
    if found.is_empty() {
        Ok(settings)
    } else {
        Err(found.into_errors(None))
    }
}

/// A duration and a number of prompts are not said by flags at once.
fn one_decides(values: &Values, found: &mut Diagnostics) {
    if values.is_flag(&NUM_PROMPTS) && values.is_flag(&DURATION) {
        found
            .plain("--duration decides how many prompts are sent, and so does --num-prompts")
            .help("leave one of them out");
    }
}

/// The online settings. Offline, the file's table waits for its mode; a flag is a mistake.
pub(super) fn online(values: &mut Values, found: &mut Diagnostics) -> OnlineSettings {
    if let (Some(rates), Some(ramp)) = (values.span(&REQUEST_RATE), values.span(&RAMP)) {
        found
            .at(&ramp, "a ramp and a request rate at once")
            .label("leave one of the two out")
            .related(rates, "the rate");
    }
    if values.get(&MODE) == Mode::Offline {
        let given = values.flags_under("online.");
        if !given.is_empty() {
            found
                .plain(format!("only with --online: {}", given.join(", ")))
                .help("add --online to start a server for each cell and send requests over HTTP");
        }
        return OnlineSettings::default();
    }
    // A number of prompts on the command line is nearer than a duration in the file.
    one_decides(values, found);
    if values.is_flag(&NUM_PROMPTS) && !values.is_flag(&DURATION) {
        values.forget(&DURATION);
    }
    // A flag displaces what it cannot be combined with.
    if values.is_flag(&RAMP) && !values.is_flag(&REQUEST_RATE) {
        values.forget(&REQUEST_RATE);
    }
    if values.is_flag(&REQUEST_RATE) && !values.is_flag(&RAMP) {
        values.forget(&RAMP);
    }
    settings(values, found)
}

/// The settings, after what cannot be combined is noted.
fn settings(values: &Values, found: &mut Diagnostics) -> OnlineSettings {
    let before = found.len();
    let settings = OnlineSettings {
        api: values.get(&API),
        rates: or_none(values.get(&REQUEST_RATE), Extended::finite),
        ramp: values.get(&RAMP).and_then(|text| parse_ramp(&text, found)),
        burstiness: values.get(&BURSTINESS).0,
        concurrencies: or_none(values.get(&MAX_CONCURRENCY), Some),
        duration: values.get(&DURATION).map(|seconds| seconds.0),
        goodput: goodput(values, found),
    };
    if values.is_flag(&REQUEST_RATE) && settings.ramp.is_some() {
        let what = if settings.rates.len() > 1 {
            "a sweep of rates"
        } else {
            "a rate"
        };
        found
            .plain(format!(
                "--ramp and --request-rate: {what} and a ramp at once"
            ))
            .help("leave one of them out; --ramp can be combined with --max-concurrency");
    }
    // What goes with a flag that could not be read is not known.
    let known = found.len() == before && !values.is_unreadable("online.");
    if known {
        combined(values, &settings, found);
    }
    repeated(&settings, found);
    settings
}

/// Every value; at least one.
fn or_none<A, B>(values: Vec<A>, read: impl Fn(A) -> Option<B>) -> Vec<Option<B>> {
    if values.is_empty() {
        vec![None]
    } else {
        values.into_iter().map(read).collect()
    }
}

/// Of flags the texts, of a file its table.
fn goodput(values: &Values, found: &mut Diagnostics) -> Option<Slo> {
    let said = values.said(&GOODPUT)?;
    match said.value.as_object() {
        None => parse_goodput(&values.get(&GOODPUT), found),
        Some(table) => {
            let part = |name| table.get(name).and_then(Value::as_f64);
            Some(Slo {
                ttft_ms: part("ttft_ms"),
                tpot_ms: part("tpot_ms"),
                e2el_ms: part("e2el_ms"),
            })
        }
    }
}

/// The values that have an effect, with their origins; none offline.
pub(super) fn shown(
    values: &Values,
    run: &RunSettings,
) -> impl Iterator<Item = (String, Sourced<Value>)> {
    let told = match run.mode {
        Mode::Offline => Vec::new(),
        Mode::Online => run.online.values(),
    };
    told.into_iter()
        .map(|(key, value)| (key.to_owned(), Sourced::new(value, values.origin_of(key))))
}

/// What needs something else beside it, and what cannot be followed.
fn combined(values: &Values, settings: &OnlineSettings, found: &mut Diagnostics) {
    let before = found.len();
    let paced = settings.ramp.is_some() || settings.rates.iter().any(Option::is_some);
    if values.is_flag(&BURSTINESS) && !paced {
        found
            .plain("--burstiness needs a rate: all at once has no arrivals to spread")
            .help("add --request-rate or --ramp");
    }
    if settings.duration.is_some() && settings.points().iter().any(super::LoadPoint::is_endless) {
        found
            .plain("a duration needs a request rate or a limit on concurrency: all at once for a time would send without end")
            .help("add --request-rate or --max-concurrency, or take `inf` out of the sweep");
    }
    if found.len() == before {
        settings.check(found);
    }
}

/// Two equal points would be taken for more steps of one.
fn repeated(settings: &OnlineSettings, found: &mut Diagnostics) {
    fn twice<T: PartialEq>(items: &[T]) -> bool {
        (1..items.len()).any(|i| items[..i].contains(&items[i]))
    }
    let sweeps = [
        ("request rate", twice(&settings.rates)),
        ("limit on concurrency", twice(&settings.concurrencies)),
    ];
    for (name, is) in sweeps {
        if is {
            found
                .plain(format!("a {name} is there twice in the sweep"))
                .help("for more measurements of each point raise --steps or --blocks");
        }
    }
}

impl OnlineSettings {
    /// Whatever cannot be followed is better said before the first request.
    fn check(&self, found: &mut Diagnostics) {
        let limit = self.duration.map_or(Limit::Count(1), Limit::Duration);
        for point in self.points() {
            if let Err(error) = point.pacing.schedule(limit, 0) {
                let flag = match self.ramp {
                    Some(_) => "--ramp",
                    None => "--request-rate",
                };
                found.plain(format!("{flag}: {error}"));
            }
        }
    }

    /// Every value by its dotted path. Those that have no effect are left out, so that they are in no record.
    pub(crate) fn values(&self) -> Vec<(&'static str, Value)> {
        let rate = |rate: &Option<f64>| rate.map_or(json!("inf"), |rate| json!(rate));
        let one_or_all = |mut all: Vec<Value>| match all.len() {
            1 => all.remove(0),
            _ => Value::from(all),
        };
        let mut values = Vec::new();
        if let Some(ramp) = self.ramp {
            values.push(("online.ramp", json!(ramp.to_string())));
        } else {
            let rates = self.rates.iter().map(rate).collect();
            values.push(("online.request_rate", one_or_all(rates)));
        }
        if self.ramp.is_some() || self.rates.iter().any(Option::is_some) {
            let burstiness = self.burstiness.is_finite().then_some(self.burstiness);
            values.push(("online.burstiness", rate(&burstiness)));
        }
        let limits = self.concurrencies.iter().map(|limit| json!(limit));
        values.push(("online.max_concurrency", one_or_all(limits.collect())));
        if let Some(duration) = self.duration {
            values.push(("online.duration_s", json!(duration.as_secs_f64())));
        }
        if let Some(slo) = self.goodput {
            let parts = [
                ("ttft_ms", slo.ttft_ms),
                ("tpot_ms", slo.tpot_ms),
                ("e2el_ms", slo.e2el_ms),
            ];
            let told = parts
                .into_iter()
                .filter_map(|(name, ms)| Some((name.to_owned(), json!(ms?))));
            values.push(("online.goodput", Value::Object(told.collect())));
        }
        values.push(("online.api", json!(self.api.name())));
        values
    }
}
