//! How the requests of online steps are sent: the flags of `run --online` and `load`, and `[online]` of a
//! configuration.

use std::time::Duration;

use serde_json::{Value, json};

use super::diagnostic::Diagnostics;
use super::document::At;
use super::load::Loader;
use super::pacing::{parse_goodput, parse_ramp, parse_rate};
use super::scalars::{Values, put};
use super::walk::Table;
use super::{ConfigErrors, OnlineSettings, Origin};
use crate::load::{Api, Limit};
use crate::record::Ramp;
use crate::stats::Slo;
use crate::units::Mode;

/// The flags, as given: absent or empty where the user said nothing.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct OnlineFlags {
    /// `--api`.
    pub api: Option<Api>,
    /// `--request-rate`: numbers, or `inf`.
    pub request_rate: Vec<String>,
    /// `--max-concurrency`.
    pub max_concurrency: Vec<u32>,
    /// `--burstiness`; infinite for equal gaps.
    pub burstiness: Option<f64>,
    /// `--ramp`: `FROM:TO` or `FROM:TO:exponential`.
    pub ramp: Option<String>,
    /// `--duration`, in seconds.
    pub duration: Option<f64>,
    /// `--goodput`: `NAME:MILLISECONDS` each.
    pub goodput: Vec<String>,
}

impl OnlineFlags {
    /// The flags that were given, by their names.
    fn given(&self) -> Vec<&'static str> {
        let all = [
            ("--request-rate", !self.request_rate.is_empty()),
            ("--max-concurrency", !self.max_concurrency.is_empty()),
            ("--burstiness", self.burstiness.is_some()),
            ("--ramp", self.ramp.is_some()),
            ("--duration", self.duration.is_some()),
            ("--goodput", !self.goodput.is_empty()),
            ("--api", self.api.is_some()),
        ];
        let given = all.into_iter().filter(|(_, given)| *given);
        given.map(|(name, _)| name).collect()
    }

    /// What the flags alone say, for a server that no configuration describes.
    ///
    /// # Errors
    /// Every mistake at once.
    pub(crate) fn resolve(&self) -> Result<OnlineSettings, ConfigErrors> {
        let mut found = Diagnostics::default();
        let said = self.said(&mut found);
        let settings = said.settings(&mut found);
        if found.is_empty() {
            Ok(settings)
        } else {
            Err(found.into_errors(None))
        }
    }

    fn said(&self, found: &mut Diagnostics) -> Said {
        let (flag, before) = (|name| Origin::Flag(name), found.len());
        let rates = self.request_rate.iter();
        let rates: Vec<_> = rates
            .filter_map(|text| parse_rate(text, found).map(finite_rate))
            .collect();
        if self.max_concurrency.contains(&0) {
            found.plain("--max-concurrency 0: must be at least 1");
        }
        if let Some(b) = self.burstiness
            && (b.is_nan() || b <= 0.0)
        {
            found
                .plain(format!("--burstiness {b}: must be above 0"))
                .help("1 is a Poisson process, `inf` is equal gaps");
        }
        if let Some(seconds) = self.duration
            && !(seconds > 0.0 && seconds.is_finite())
        {
            found.plain(format!(
                "--duration {seconds}: must be a number of seconds above 0"
            ));
        }
        let some = |given: bool| given.then_some(());
        let mut said = Said {
            api: self.api.map(|api| (api, flag("--api"))),
            rates: some(!self.request_rate.is_empty()).map(|()| (rates, flag("--request-rate"))),
            concurrencies: some(!self.max_concurrency.is_empty())
                .map(|()| (self.max_concurrency.clone(), flag("--max-concurrency"))),
            burstiness: self.burstiness.map(|b| (b, flag("--burstiness"))),
            ramp: self
                .ramp
                .as_ref()
                .and_then(|text| Some((parse_ramp(text, found)?, flag("--ramp")))),
            duration: self.duration.map(|s| (s, flag("--duration"))),
            goodput: parse_goodput(&self.goodput, found).map(|slo| (slo, flag("--goodput"))),
            unreadable: false,
        };
        said.unreadable = found.len() > before;
        said
    }
}

/// `[online]`.
#[derive(Debug, Default)]
pub(super) struct RawOnline {
    api: Option<At<Api>>,
    rates: Option<At<Vec<Option<f64>>>>,
    concurrencies: Option<At<Vec<u32>>>,
    burstiness: Option<At<f64>>,
    ramp: Option<At<Ramp>>,
    duration: Option<At<f64>>,
    goodput: Option<At<Slo>>,
}

impl RawOnline {
    pub(super) fn read(online: &Table<'_>, found: &mut Diagnostics) -> Self {
        online.only(
            &[
                "request_rate",
                "max_concurrency",
                "burstiness",
                "ramp",
                "duration_s",
                "goodput",
                "api",
            ],
            found,
        );
        let positive = |n: f64| n > 0.0;
        let finite = |n: f64| n > 0.0 && n.is_finite();
        let rates = online.numbers("request_rate", positive, "above 0, or inf", found);
        let read = Self {
            api: online.choice(
                "api",
                &[("completions", Api::Completions), ("chat", Api::Chat)],
                found,
            ),
            rates: rates
                .map(|at| At::new(at.value.into_iter().map(finite_rate).collect(), at.span)),
            concurrencies: online.integers("max_concurrency", 1..=1_000_000, found),
            burstiness: online.number("burstiness", positive, "above 0; inf for equal gaps", found),
            ramp: online.text("ramp", found).and_then(|at| {
                let mut own = Diagnostics::default();
                let ramp = parse_ramp(&at.value, &mut own);
                if ramp.is_none() {
                    found.at(&at.span, "`online.ramp` is no ramp").label(
                        "write \"FROM:TO\" or \"FROM:TO:exponential\", in requests per second",
                    );
                }
                Some(At::new(ramp?, at.span))
            }),
            duration: online.number("duration_s", finite, "a number of seconds above 0", found),
            goodput: online.table("goodput", found).map(|table| {
                table.only(&["ttft_ms", "tpot_ms", "e2el_ms"], found);
                let mut part = |name| {
                    let limit = table.number(name, finite, "milliseconds above 0", found);
                    limit.map(|at| at.value)
                };
                let slo = Slo {
                    ttft_ms: part("ttft_ms"),
                    tpot_ms: part("tpot_ms"),
                    e2el_ms: part("e2el_ms"),
                };
                At::new(slo, table.span.clone())
            }),
        };
        if let (Some(rates), Some(ramp)) = (&read.rates, &read.ramp) {
            found
                .at(&ramp.span, "a ramp and a request rate at once")
                .label("leave one of the two out")
                .related(rates.span.clone(), "the rate");
        }
        read
    }
}

/// A rate that is infinite is none: all at once.
fn finite_rate(rate: f64) -> Option<f64> {
    rate.is_finite().then_some(rate)
}

/// What was said on all layers, with who said it.
#[derive(Default)]
struct Said {
    api: Option<(Api, Origin)>,
    rates: Option<(Vec<Option<f64>>, Origin)>,
    concurrencies: Option<(Vec<u32>, Origin)>,
    burstiness: Option<(f64, Origin)>,
    ramp: Option<(Ramp, Origin)>,
    duration: Option<(f64, Origin)>,
    goodput: Option<(Slo, Origin)>,
    /// A flag could not be read: what goes with what is not known.
    unreadable: bool,
}

impl Said {
    /// With what the file says where no flag did. A flag also displaces what it cannot be combined with.
    fn over(
        mut self,
        file: &RawOnline,
        origin: impl Fn(&std::ops::Range<usize>) -> Origin,
    ) -> Self {
        fn fill<T: Clone>(
            said: &mut Option<(T, Origin)>,
            file: Option<&At<T>>,
            origin: impl Fn(&std::ops::Range<usize>) -> Origin,
        ) {
            if said.is_none() {
                *said = file.map(|at| (at.value.clone(), origin(&at.span)));
            }
        }
        let (rate, ramp) = (self.rates.is_some(), self.ramp.is_some());
        fill(&mut self.api, file.api.as_ref(), &origin);
        fill(
            &mut self.rates,
            file.rates.as_ref().filter(|_| !ramp),
            &origin,
        );
        fill(
            &mut self.ramp,
            file.ramp.as_ref().filter(|_| !rate),
            &origin,
        );
        fill(
            &mut self.concurrencies,
            file.concurrencies.as_ref(),
            &origin,
        );
        fill(&mut self.burstiness, file.burstiness.as_ref(), &origin);
        fill(&mut self.duration, file.duration.as_ref(), &origin);
        fill(&mut self.goodput, file.goodput.as_ref(), &origin);
        self
    }

    /// The settings, after what cannot be combined is noted.
    fn settings(&self, found: &mut Diagnostics) -> OnlineSettings {
        let is_flag = |origin: &Origin| matches!(origin, Origin::Flag(_));
        if let (Some((rates, origin)), Some(_)) = (&self.rates, &self.ramp)
            && is_flag(origin)
        {
            let what = if rates.len() > 1 {
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
        let settings = OnlineSettings {
            api: self.api.as_ref().map_or(Api::Completions, |(api, _)| *api),
            rates: match &self.rates {
                Some((rates, _)) if !rates.is_empty() => rates.clone(),
                _ => vec![None],
            },
            ramp: self.ramp.as_ref().map(|(ramp, _)| *ramp),
            burstiness: self.burstiness.as_ref().map_or(1.0, |(b, _)| *b),
            concurrencies: match &self.concurrencies {
                Some((limits, _)) => limits.iter().copied().map(Some).collect(),
                None => vec![None],
            },
            duration: self
                .duration
                .as_ref()
                .and_then(|(s, _)| Duration::try_from_secs_f64(*s).ok()),
            goodput: self.goodput.as_ref().map(|(slo, _)| *slo),
        };
        if !self.unreadable {
            self.combined(&settings, found);
        }
        self.repeated(found);
        settings
    }

    /// What needs something else beside it, and what cannot be followed.
    fn combined(&self, settings: &OnlineSettings, found: &mut Diagnostics) {
        let before = found.len();
        let paced = settings.ramp.is_some() || settings.rates.iter().any(Option::is_some);
        if let Some((_, origin)) = &self.burstiness
            && !paced
            && matches!(origin, Origin::Flag(_))
        {
            found
                .plain("--burstiness needs a rate: all at once has no arrivals to spread")
                .help("add --request-rate or --ramp");
        }
        if settings.duration.is_some() && settings.points().iter().any(super::LoadPoint::is_endless)
        {
            found
                .plain("a duration needs a request rate or a limit on concurrency: all at once for a time would send without end")
                .help("add --request-rate or --max-concurrency, or take `inf` out of the sweep");
        }
        if found.len() == before {
            settings.check(found);
        }
    }

    /// Two equal points would be taken for more steps of one.
    fn repeated(&self, found: &mut Diagnostics) {
        fn twice<T: PartialEq>(items: &[T]) -> bool {
            (1..items.len()).any(|i| items[..i].contains(&items[i]))
        }
        let rates = self.rates.as_ref().is_some_and(|(rates, _)| twice(rates));
        let limits = self.concurrencies.as_ref();
        let limits = limits.is_some_and(|(limits, _)| twice(limits));
        for (name, is) in [("request rate", rates), ("limit on concurrency", limits)] {
            if is {
                found
                    .plain(format!("a {name} is there twice in the sweep"))
                    .help("for more measurements of each point raise --steps or --blocks");
            }
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

impl Loader<'_> {
    /// The flags over `[online]`. Offline, the file's table waits for its mode; a flag is a mistake.
    pub(super) fn online(
        &self,
        mode: Mode,
        values: &mut Values,
        found: &mut Diagnostics,
    ) -> OnlineSettings {
        let flags = &self.request.overrides;
        let given = flags.online.given();
        if mode == Mode::Offline {
            if !given.is_empty() {
                found
                    .plain(format!("only with --online: {}", given.join(", ")))
                    .help(
                        "add --online to start a server for each cell and send requests over HTTP",
                    );
            }
            return OnlineSettings::default();
        }
        if given.contains(&"--duration") && flags.num_prompts.is_some() {
            found
                .plain("--duration decides how many prompts are sent, and so does --num-prompts")
                .help("leave one of them out");
        }
        let mut said = flags
            .online
            .said(found)
            .over(&self.raw.online, |span| self.document.origin(span));
        // A number of prompts on the command line is nearer than a duration in the file.
        if flags.num_prompts.is_some() {
            said.duration = said
                .duration
                .filter(|(_, origin)| matches!(origin, Origin::Flag(_)));
        }
        let online = said.settings(found);
        let origin = |path: &str| {
            fn of<T>(said: Option<&(T, Origin)>) -> Option<Origin> {
                said.map(|(_, origin)| origin.clone())
            }
            let origin = match path {
                "online.ramp" => of(said.ramp.as_ref()),
                "online.request_rate" => of(said.rates.as_ref()),
                "online.burstiness" => of(said.burstiness.as_ref()),
                "online.max_concurrency" => of(said.concurrencies.as_ref()),
                "online.duration_s" => of(said.duration.as_ref()),
                "online.goodput" => of(said.goodput.as_ref()),
                _ => of(said.api.as_ref()),
            };
            origin.unwrap_or(Origin::Default)
        };
        for (path, value) in online.values() {
            put(values, path, value, &origin(path));
        }
        online
    }
}
