//! The flags of `load`, understood.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use crate::cli::LoadArgs;
use crate::commands::load::LoadOptions;
use crate::config::{LoadSettings, load_flags};
use crate::error::CommandError;
use crate::load::Timeouts;
use crate::record::redact;
use crate::workload::{Vocabulary, WorkloadSpec};

/// Prompts for a run that ends by time are made in batches of this many.
const PROMPTS_A_BATCH: u32 = 64;

/// Headers that say where a request goes and where it ends.
const OURS: [&str; 3] = ["Host", "Content-Length", "Transfer-Encoding"];

pub(super) fn options(
    args: LoadArgs,
    env: &BTreeMap<String, String>,
) -> Result<LoadOptions, CommandError> {
    let key = ["OPENAI_API_KEY", "VLLM_API_KEY"];
    let api_key = key.iter().find_map(|name| env.get(*name)).cloned();
    redact::learn("api_key", api_key.as_deref().unwrap_or_default());
    let LoadSettings {
        online,
        num_prompts,
        n,
        input_len,
        output_len,
        fan_out,
        steps,
        warmup,
        seed,
    } = load_flags(&args.flags.0)?;
    let num_prompts = match online.duration {
        Some(_) => PROMPTS_A_BATCH,
        None => num_prompts,
    };
    let spec = WorkloadSpec::fixed(num_prompts, n, input_len, output_len);
    spec.check().map_err(CommandError::usage)?;
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
    Ok(LoadOptions {
        url: args.url,
        online,
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
        seed,
        steps,
        warmup,
        timeouts,
        label,
        out,
        resume: super::resume(args.resume),
        json: args.json,
    })
}

fn header(text: &str) -> Result<(String, String), CommandError> {
    let wrong = || CommandError::usage(format!("--header: `{text}` is not KEY=VALUE"));
    let (key, value) = text.split_once('=').ok_or_else(wrong)?;
    let is_token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    let sound = !key.is_empty() && key.bytes().all(is_token) && !value.contains(['\r', '\n']);
    if !sound {
        return Err(wrong());
    }
    // With another of these the bytes after the head would be another request.
    if let Some(ours) = OURS.iter().find(|ours| ours.eq_ignore_ascii_case(key)) {
        return Err(CommandError::usage(format!(
            "--header: {ours} is rollbench's own to set"
        )));
    }
    // `Bearer KEY`: who echoes it leaves the scheme out.
    for word in value.split_whitespace() {
        redact::learn(key, word);
    }
    Ok((key.to_owned(), value.trim().to_owned()))
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
    use crate::load::{Pacing, Shape, Spread};

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
            .online
            .points()
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
        assert_eq!(options.online.points()[0].pacing, Pacing::AllAtOnce);
        let options = parse("--ramp 1:20:exponential --burstiness inf").expect("sound");
        assert_eq!(
            options.online.points()[0].pacing,
            Pacing::Ramp {
                from_per_s: 1.0,
                to_per_s: 20.0,
                shape: Shape::Exponential,
                spread: Spread::Constant
            }
        );
        let options = parse("--goodput ttft:500 tpot:50").expect("sound");
        let slo = options.online.goodput.expect("given");
        assert_eq!(
            (slo.ttft_ms, slo.tpot_ms, slo.e2el_ms),
            (Some(500.0), Some(50.0), None)
        );
        let options = parse("-n 4 --num-prompts 3 --fan-out n").expect("sound");
        assert_eq!(options.requests(), 3);
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
            "--header transfer-Encoding=chunked",
            "--label a_b",
            "--num-prompts 0",
            "--output-len 0",
            "--steps 0",
            "--num-prompts -1",
            "-n 4294967296",
            "--duration 5 --num-prompts 5 --max-concurrency 1",
        ]
        .map(|flags| {
            format!(
                "{flags}\n  {}",
                parse(flags).err().unwrap_or_default().replace('\n', "\n  ")
            )
        })
        .join("\n");
        insta::assert_snapshot!(said, @"
        --request-rate fast
          error: --request-rate: `fast` is neither a number nor `inf`
        --request-rate 0
          error: --request-rate 0: must be above 0; `inf` sends all at once
        --request-rate=-1
          error: --request-rate -1: must be above 0; `inf` sends all at once
        --burstiness 0 --request-rate 1
          error: --burstiness 0: must be above 0
           |
           = help: 1 is a Poisson process, `inf` is equal gaps
        --max-concurrency 0
          error: --max-concurrency 0: must be at least 1
        --duration 5
          error: a duration needs a request rate or a limit on concurrency: all at once for a time would send without end
           |
           = help: add --request-rate or --max-concurrency, or take `inf` out of the sweep
        --duration 0 --max-concurrency 1
          error: --duration 0: must be a number of seconds above 0
        --goodput ttft:fast
          error: --goodput: `ttft:fast` is not NAME:MILLISECONDS
           |
           = help: as in --goodput ttft:500 tpot:50
        --goodput latency:5
          error: --goodput: unknown objective `latency:5`
           |
           = help: the names are ttft, tpot and e2el, as in --goodput ttft:500 tpot:50
        --ramp 5
          error: --ramp: `5` is not FROM:TO or FROM:TO:exponential
           |
           = help: --ramp 1:20 goes from 1 to 20 requests per second by equal amounts
        --ramp 0:5
          error: --ramp 0:5: both rates must be above 0 and finite
        --header key
          error: --header: `key` is not KEY=VALUE
        --header transfer-Encoding=chunked
          error: --header: Transfer-Encoding is rollbench's own to set
        --label a_b
          error: --label: `a_b` is not an id: use letters, digits, `.`, `+` and `-`
        --num-prompts 0
          error: --num-prompts 0: must be at least 1
        --output-len 0
          error: --output-len 0: must be at least 1
        --steps 0
          error: --steps 0: must be at least 1
        --num-prompts -1
          error: --num-prompts -1: must be at least 1
        -n 4294967296
          error: -n 4294967296: must be from 1 to 100000
        --duration 5 --num-prompts 5 --max-concurrency 1
          error: --duration decides how many prompts are sent, and so does --num-prompts
           |
           = help: leave one of them out
        ");
    }
}
