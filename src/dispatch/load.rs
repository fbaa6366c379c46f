//! The flags of `load`, understood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::{ApiArg, FanOutArg, LoadArgs};
use crate::commands::load::{LoadOptions, PointPlan};
use crate::config::FanOut;
use crate::error::CommandError;
use crate::load::{Api, Limit, Pacing, Shape, Spread, Timeouts};
use crate::record::Point;
use crate::stats::Slo;
use crate::workload::{Vocabulary, WorkloadSpec};

/// Prompts for a run that ends by time are made in batches of this many.
const PROMPTS_A_BATCH: u32 = 64;

pub(super) fn options(
    args: LoadArgs,
    env: &BTreeMap<String, String>,
) -> Result<LoadOptions, CommandError> {
    let key = ["OPENAI_API_KEY", "VLLM_API_KEY"];
    let api_key = key.iter().find_map(|name| env.get(*name)).cloned();
    let duration = args
        .duration
        .map(|s| seconds("--duration", s))
        .transpose()?;
    let num_prompts = match duration {
        Some(_) => PROMPTS_A_BATCH,
        None => args.num_prompts.unwrap_or(100),
    };
    let spec = WorkloadSpec::fixed(
        num_prompts,
        args.n.unwrap_or(1),
        args.input_len.unwrap_or(512),
        args.output_len.unwrap_or(256),
    );
    spec.check().map_err(CommandError::usage)?;
    let fan_out = match args.fan_out {
        Some(FanOutArg::N) => FanOut::N,
        _ => FanOut::Requests,
    };
    let per_prompt = if fan_out == FanOut::N { 1 } else { spec.n };
    let limit = match duration {
        Some(duration) => Limit::Duration(duration),
        None => Limit::Count(u64::from(num_prompts) * u64::from(per_prompt)),
    };
    let points = points(&args, limit)?;
    let defaults = Timeouts::default();
    let timeout =
        |flag, given: Option<f64>, default| given.map_or(Ok(default), |value| seconds(flag, value));
    let timeouts = Timeouts {
        first_token: timeout(
            "--first-token-timeout",
            args.first_token_timeout,
            defaults.first_token,
        )?,
        between_tokens: timeout(
            "--token-timeout",
            args.token_timeout,
            defaults.between_tokens,
        )?,
        ..defaults
    };
    let label = args.label.as_deref().unwrap_or("server");
    let label = label
        .parse()
        .map_err(|error| CommandError::usage(format!("--label: {error}")))?;
    let out = args
        .out
        .or_else(|| env.get("BENCH_BASE_DIR").map(PathBuf::from))
        .unwrap_or_else(|| PathBuf::from("."));
    let steps = args.steps.unwrap_or(1);
    if steps == 0 {
        return Err(CommandError::usage("--steps has to be at least 1"));
    }
    Ok(LoadOptions {
        url: args.url,
        api: match args.api {
            ApiArg::Completions => Api::Completions,
            ApiArg::Chat => Api::Chat,
        },
        model: args.model,
        api_key,
        headers: args
            .headers
            .iter()
            .map(|h| header(h))
            .collect::<Result<_, _>>()?,
        ignore_eos: !args.no_ignore_eos,
        token_ids: args.token_ids,
        spec,
        fan_out,
        // Low ids are special tokens or bytes in most tokenizers.
        vocabulary: Vocabulary {
            size: args.vocab_size.unwrap_or(32_000),
            special: (0..256).collect(),
        },
        seed: args.seed.unwrap_or(0),
        limit,
        points,
        slo: slo(&args.goodput)?,
        steps,
        warmup: args.warmup.unwrap_or(1),
        timeouts,
        label,
        out,
        json: args.json,
    })
}

/// Every rate with every concurrency.
fn points(args: &LoadArgs, limit: Limit) -> Result<Vec<PointPlan>, CommandError> {
    let spread = match args.burstiness {
        Some(b) if b == f64::INFINITY => Spread::Constant,
        Some(b) => Spread::Burstiness(b),
        None => Spread::Burstiness(1.0),
    };
    let mut pacings = Vec::new();
    if let Some(ramp) = &args.ramp {
        pacings.push((ramp_pacing(ramp, spread)?, None));
    }
    for rate in &args.request_rate {
        pacings.push(match rate.as_str() {
            "inf" => (Pacing::AllAtOnce, None),
            text => {
                let per_s = text.parse().map_err(|_| {
                    CommandError::usage(format!(
                        "--request-rate: `{text}` is neither a number nor `inf`"
                    ))
                })?;
                (Pacing::Rate { per_s, spread }, Some(per_s))
            }
        });
    }
    if pacings.is_empty() {
        pacings.push((Pacing::AllAtOnce, None));
    }
    let limits: Vec<Option<u32>> = match args.max_concurrency.as_slice() {
        [] => vec![None],
        limits => limits.iter().copied().map(Some).collect(),
    };
    let mut points = Vec::new();
    for (pacing, rate) in &pacings {
        // Whatever cannot be followed is better said before the first request.
        let drawn = pacing.schedule(limit, 0);
        drawn.map_err(|error| CommandError::usage(format!("--request-rate: {error}")))?;
        for limit_at_once in &limits {
            if *limit_at_once == Some(0) {
                return Err(CommandError::usage(
                    "--max-concurrency has to be at least 1",
                ));
            }
            let endless = *pacing == Pacing::AllAtOnce && limit_at_once.is_none();
            if endless && matches!(limit, Limit::Duration(_)) {
                return Err(CommandError::usage(
                    "--duration needs a --request-rate or a --max-concurrency",
                )
                .hint("all at once for a time would send without end"));
            }
            points.push(PointPlan {
                pacing: *pacing,
                max_concurrency: *limit_at_once,
                point: Point {
                    rate: *rate,
                    concurrency: *limit_at_once,
                },
            });
        }
    }
    Ok(points)
}

fn ramp_pacing(text: &str, spread: Spread) -> Result<Pacing, CommandError> {
    let wrong = || {
        CommandError::usage(format!(
            "--ramp: `{text}` is not FROM:TO or FROM:TO:exponential"
        ))
        .hint("--ramp 1:20 goes from 1 to 20 requests per second by equal amounts")
    };
    let mut parts = text.split(':');
    let mut rate = || parts.next()?.parse::<f64>().ok();
    let (from_per_s, to_per_s) = rate().zip(rate()).ok_or_else(wrong)?;
    let shape = match (parts.next(), parts.next()) {
        (None | Some("linear"), None) => Shape::Linear,
        (Some("exponential"), None) => Shape::Exponential,
        _ => return Err(wrong()),
    };
    Ok(Pacing::Ramp {
        from_per_s,
        to_per_s,
        shape,
        spread,
    })
}

fn slo(pairs: &[String]) -> Result<Option<Slo>, CommandError> {
    let mut slo = Slo::default();
    for pair in pairs.iter().flat_map(|p| p.split(',')) {
        let wrong = || {
            CommandError::usage(format!("--goodput: `{pair}` is not NAME:MILLISECONDS"))
                .hint("the names are ttft, tpot and e2el, as in --goodput ttft:500 tpot:50")
        };
        let (name, value) = pair.split_once(':').ok_or_else(wrong)?;
        let value: f64 = value.parse().map_err(|_| wrong())?;
        if !(value > 0.0 && value.is_finite()) {
            return Err(wrong());
        }
        let part = match name {
            "ttft" => &mut slo.ttft_ms,
            "tpot" => &mut slo.tpot_ms,
            "e2el" => &mut slo.e2el_ms,
            _ => return Err(wrong()),
        };
        *part = Some(value);
    }
    Ok((!pairs.is_empty()).then_some(slo))
}

fn header(text: &str) -> Result<(String, String), CommandError> {
    let wrong = || CommandError::usage(format!("--header: `{text}` is not KEY=VALUE"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sound = !key.is_empty() && key.bytes().all(is_token) && !value.contains(['\r', '\n']);
    sound
        .then(|| (key.to_owned(), value.trim().to_owned()))
        .ok_or_else(wrong)
}

fn seconds(flag: &str, value: f64) -> Result<Duration, CommandError> {
    Duration::try_from_secs_f64(value)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| {
            CommandError::usage(format!("{flag} has to be more than 0 seconds, not {value}"))
        })
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;
    use crate::cli::{Cli, Command};

    fn parse(flags: &str) -> Result<LoadOptions, String> {
        let argv = ["rollbench", "load", "127.0.0.1:1"].into_iter();
        let cli = Cli::try_parse_from(argv.chain(flags.split_whitespace()));
        let Command::Load(load) = cli.map_err(|e| e.to_string())?.command else {
            panic!("load was asked for");
        };
        options(*load, &BTreeMap::new()).map_err(|e| e.to_string())
    }

    #[test]
    fn a_sweep_is_every_rate_with_every_concurrency() {
        let options = parse("--request-rate 1,2,inf --max-concurrency 8,16").expect("sound");
        let points: Vec<(Option<f64>, Option<u32>)> = options
            .points
            .iter()
            .map(|p| (p.point.rate, p.point.concurrency))
            .collect();
        let eight_and_sixteen = |rate| [(rate, Some(8)), (rate, Some(16))];
        let expected = [Some(1.0), Some(2.0), None].map(eight_and_sixteen).concat();
        assert_eq!(points, expected);
    }

    #[test]
    fn defaults_ramps_and_objectives() {
        let options = parse("").expect("sound");
        assert_eq!(
            (options.spec.num_prompts, options.spec.n, options.warmup),
            (100, 1, 1)
        );
        assert_eq!(options.points[0].pacing, Pacing::AllAtOnce);
        let options = parse("--ramp 1:20:exponential --burstiness inf").expect("sound");
        assert_eq!(
            options.points[0].pacing,
            Pacing::Ramp {
                from_per_s: 1.0,
                to_per_s: 20.0,
                shape: Shape::Exponential,
                spread: Spread::Constant
            }
        );
        let options = parse("--goodput ttft:500 tpot:50").expect("sound");
        let slo = options.slo.expect("given");
        assert_eq!(
            (slo.ttft_ms, slo.tpot_ms, slo.e2el_ms),
            (Some(500.0), Some(50.0), None)
        );
        let options = parse("-n 4 --num-prompts 3 --fan-out n").expect("sound");
        assert_eq!(options.limit, Limit::Count(3));
    }

    #[test]
    fn mistakes_say_what_would_be_right() {
        let said = [
            "--request-rate fast",
            "--request-rate 0",
            "--request-rate=-1",
            "--burstiness 0 --request-rate 1",
            "--max-concurrency 0",
            "--duration 5",
            "--duration 0 --max-concurrency 1",
            "--goodput ttft:fast",
            "--goodput latency:5",
            "--ramp 5",
            "--ramp 0:5",
            "--header key",
            "--label a_b",
            "--num-prompts 0",
            "--output-len 0",
            "--steps 0",
        ]
        .map(|flags| {
            format!(
                "{flags}\n  {}",
                parse(flags).err().unwrap_or_default().replace('\n', "\n  ")
            )
        })
        .join("\n");
        insta::assert_snapshot!(said, @r#"
        --request-rate fast
          error: --request-rate: `fast` is neither a number nor `inf`
        --request-rate 0
          error: --request-rate: a request rate has to be greater than 0 and finite, not 0; `inf` sends all at once
        --request-rate=-1
          error: --request-rate: a request rate has to be greater than 0 and finite, not -1; `inf` sends all at once
        --burstiness 0 --request-rate 1
          error: --request-rate: burstiness has to be greater than 0 and finite, not 0
        --max-concurrency 0
          error: --max-concurrency has to be at least 1
        --duration 5
          error: --duration needs a --request-rate or a --max-concurrency
          hint: all at once for a time would send without end
        --duration 0 --max-concurrency 1
          error: --duration has to be more than 0 seconds, not 0
        --goodput ttft:fast
          error: --goodput: `ttft:fast` is not NAME:MILLISECONDS
          hint: the names are ttft, tpot and e2el, as in --goodput ttft:500 tpot:50
        --goodput latency:5
          error: --goodput: `latency:5` is not NAME:MILLISECONDS
          hint: the names are ttft, tpot and e2el, as in --goodput ttft:500 tpot:50
        --ramp 5
          error: --ramp: `5` is not FROM:TO or FROM:TO:exponential
          hint: --ramp 1:20 goes from 1 to 20 requests per second by equal amounts
        --ramp 0:5
          error: --request-rate: a request rate has to be greater than 0 and finite, not 0; `inf` sends all at once
        --header key
          error: --header: `key` is not KEY=VALUE
        --label a_b
          error: --label: `a_b` is not an id: use letters, digits, `.`, `+` and `-`
        --num-prompts 0
          error: num_prompts must be at least 1
        --output-len 0
          error: response lengths: a length must be at least 1 token, not 0
        --steps 0
          error: --steps has to be at least 1
        "#);
    }
}
