//! Results of `vllm bench throughput` and `vllm bench serve`, taken as what they are: each number is measured, or it
//! cannot be known. Nothing is derived from the numbers that such a file does not carry.

use std::fmt::Write as _;

use indexmap::IndexMap;
use serde::Serialize;
use serde_json::{Map, Value};

use super::conditions::Conditions;
use super::layout::{ForeignName, foreign_name, sweep_name};

/// Which program wrote a foreign result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
pub enum Tool {
    /// `vllm bench throughput`.
    #[serde(rename = "vllm bench throughput")]
    BenchThroughput,
    /// `vllm bench serve`.
    #[serde(rename = "vllm bench serve")]
    BenchServe,
}

impl std::fmt::Display for Tool {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Self::BenchThroughput => "vllm bench throughput",
            Self::BenchServe => "vllm bench serve",
        })
    }
}

/// A foreign file.
#[derive(Debug, Clone, PartialEq)]
pub struct Foreign {
    /// Its name.
    pub file: String,
    /// From its name.
    pub model: String,
    /// From its name.
    pub precision: String,
    /// From its name (`_runN`); absent without one.
    pub run: Option<u32>,
    /// Who wrote it.
    pub tool: Tool,
    /// Its results: one, or several with `--append-result`.
    pub results: Vec<ForeignResult>,
}

/// One result of a foreign file: only what it says itself.
#[derive(Debug, Clone, PartialEq)]
pub struct ForeignResult {
    /// The load as the file states it: results of two loads are never put into one number, nor compared.
    pub conditions: Conditions,
    /// The same in short, such as `64 requests, at most 8 at a time`.
    pub load: String,
    /// The whole benchmark.
    pub elapsed_s: f64,
    /// Requests that were answered.
    pub requests: u64,
    /// Requests that failed; absent if not said.
    pub failed: Option<u64>,
    /// Prompt and output tokens together.
    pub total_tokens: u64,
    /// Output tokens; absent in `vllm bench throughput`.
    pub output_tokens: Option<u64>,
    /// `mean_ttft_ms`, `p99_itl_ms` ... by their own names; empty in `vllm bench throughput`.
    pub latencies_ms: IndexMap<String, f64>,
}

/// Reads the text of the foreign file called `file` in the folder called `folder`; `Err` says why it cannot be taken.
pub(crate) fn import(file: &str, folder: &str, text: &str) -> Result<Foreign, String> {
    let mut model_id = None;
    let mut tool = None;
    let mut results = Vec::new();
    for value in serde_json::Deserializer::from_str(text).into_iter::<Value>() {
        let value = value.map_err(|error| format!("not JSON: {error}"))?;
        let object = value.as_object().ok_or_else(unknown)?;
        let (this, result) = if object.contains_key("tokens_per_second") {
            (Tool::BenchThroughput, throughput(object)?)
        } else if object.contains_key("request_throughput") {
            (Tool::BenchServe, serve(object)?)
        } else {
            return Err(unknown());
        };
        if *tool.get_or_insert(this) != this {
            return Err("holds results of two different programs".to_owned());
        }
        let model = object.get("model_id").and_then(Value::as_str);
        model_id = model_id.or(model.map(str::to_owned));
        results.push(result);
    }
    let tool = tool.ok_or_else(unknown)?;
    let stem = file.strip_suffix(".json").unwrap_or(file);
    let of_sweep = sweep_name(folder).map(|served| ForeignName {
        model: model_id
            .as_deref()
            .and_then(|id| id.rsplit('/').next())
            .unwrap_or("model")
            .to_owned(),
        precision: served,
        run: stem.rsplit_once("run=").and_then(|(_, n)| n.parse().ok()),
    });
    let name = of_sweep.or_else(|| foreign_name(stem)).ok_or_else(|| {
        format!("result of {tool} whose name is not <model>_<precision>[_runN].json")
    })?;
    Ok(Foreign {
        file: file.to_owned(),
        model: name.model,
        precision: name.precision,
        run: name.run,
        tool,
        results,
    })
}

fn unknown() -> String {
    "neither a record nor a result of `vllm bench throughput` or `vllm bench serve`".to_owned()
}

fn throughput(object: &Map<String, Value>) -> Result<ForeignResult, String> {
    let (requests, total_tokens) = (
        count(object, "num_requests")?,
        count(object, "total_num_tokens")?,
    );
    let result = ForeignResult {
        conditions: Conditions::stated([
            ("tool", format!("by {}", Tool::BenchThroughput)),
            ("amount", format!("for {requests} requests")),
            ("tokens", format!("with {total_tokens} tokens")),
        ]),
        load: format!("{requests} requests"),
        elapsed_s: positive(object, "elapsed_time")?,
        requests,
        failed: None,
        total_tokens,
        output_tokens: None,
        latencies_ms: IndexMap::new(),
    };
    agree(object, "tokens_per_second", result.total_tokens, &result)?;
    agree(object, "requests_per_second", result.requests, &result)?;
    Ok(result)
}

fn serve(object: &Map<String, Value>) -> Result<ForeignResult, String> {
    let output = count(object, "total_output_tokens")?;
    let completed = count(object, "completed")?;
    let failed = match (object.get("failed"), object.get("num_prompts")) {
        (Some(_), _) => Some(count(object, "failed")?),
        // Before 0.13 the file does not say it, but what was asked and not answered did fail.
        (None, Some(_)) => count(object, "num_prompts")?.checked_sub(completed),
        (None, None) => None,
    };
    let input = count(object, "total_input_tokens")?;
    let asked = match object.get("num_prompts") {
        Some(_) => count(object, "num_prompts")?,
        None => completed + failed.unwrap_or(0),
    };
    let sent = sent(object);
    // Of nothing that came back there is no latency, whatever number stands there.
    let latencies_ms = match completed {
        0 => IndexMap::new(),
        _ => latencies(object)?,
    };
    let result = ForeignResult {
        conditions: Conditions::stated([
            ("tool", format!("by {}", Tool::BenchServe)),
            ("amount", format!("for {asked} requests")),
            ("sent", sent.clone()),
            ("prompt tokens", format!("with {input} prompt tokens")),
            ("output tokens", format!("with {output} output tokens")),
        ]),
        load: format!("{asked} requests, {sent}"),
        elapsed_s: positive(object, "duration")?,
        requests: completed,
        failed,
        total_tokens: input + output,
        output_tokens: Some(output),
        latencies_ms,
    };
    agree(object, "output_throughput", output, &result)?;
    agree(object, "request_throughput", completed, &result)?;
    Ok(result)
}

/// `4 requests/s with burstiness 0.5, at most 8 at a time`, as far as the file says.
fn sent(object: &Map<String, Value>) -> String {
    let number = |key| object.get(key).and_then(Value::as_f64);
    let mut sent = match object.get("request_rate") {
        Some(Value::String(rate)) if rate != "inf" => format!("{rate} requests/s"),
        Some(Value::Number(rate)) => format!("{rate} requests/s"),
        _ => "all at once".to_owned(),
    };
    if let Some(burstiness) = number("burstiness").filter(|b| (b - 1.0).abs() > f64::EPSILON) {
        let _ = write!(sent, " with burstiness {burstiness}");
    }
    for key in ["ramp_up_strategy", "ramp_up_start_rps", "ramp_up_end_rps"] {
        if let Some(value) = object.get(key).filter(|value| !value.is_null()) {
            let _ = write!(sent, ", {key} {value}");
        }
    }
    if let Some(limit) = number("max_concurrency") {
        let _ = write!(sent, ", at most {limit} at a time");
    }
    sent
}

/// Every `<statistic>_<metric>_ms`.
fn latencies(object: &Map<String, Value>) -> Result<IndexMap<String, f64>, String> {
    object
        .iter()
        .filter(|(key, value)| {
            let metric = key.strip_suffix("_ms").and_then(|key| key.rsplit_once('_'));
            value.is_number()
                && metric.is_some_and(|(_, m)| matches!(m, "ttft" | "tpot" | "itl" | "e2el"))
        })
        .map(|(key, _)| Ok((key.clone(), number(object, key)?)))
        .collect()
}

fn number(object: &Map<String, Value>, key: &str) -> Result<f64, String> {
    let value = object.get(key).ok_or_else(|| format!("has no {key}"))?;
    match value.as_f64() {
        Some(number) if number.is_finite() && number >= 0.0 => Ok(number),
        _ => Err(format!("{key} is {value}")),
    }
}

fn positive(object: &Map<String, Value>, key: &str) -> Result<f64, String> {
    match number(object, key)? {
        0.0 => Err(format!("{key} is 0: nothing was measured")),
        number => Ok(number),
    }
}

fn count(object: &Map<String, Value>, key: &str) -> Result<u64, String> {
    let number = number(object, key)?;
    object[key]
        .as_u64()
        .ok_or_else(|| format!("{key} is {number}, not a count"))
}

/// The file's own rate must be the one that follows from its own counts, to 1 %.
fn agree(
    object: &Map<String, Value>,
    key: &str,
    counted: u64,
    result: &ForeignResult,
) -> Result<(), String> {
    let said = number(object, key)?;
    let follows = counted as f64 / result.elapsed_s;
    if (said - follows).abs() <= 0.01 * follows.max(said) {
        Ok(())
    } else {
        Err(format!(
            "contradicts itself: {key} is {said}, its counts give {follows:.2}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const THROUGHPUT: &str = r#"{
    "model_id": "m", "elapsed_time": 9.2, "num_requests": 32, "total_num_tokens": 24576,
    "requests_per_second": 3.4782608695652173, "tokens_per_second": 2671.304347826087
}"#;
    const SERVE: &str = r#"{"date": "20260811-093000", "backend": "vllm", "num_prompts": 4, "request_rate": "inf",
"max_concurrency": null, "duration": 2.0, "completed": 4, "failed": 0, "total_input_tokens": 256,
"total_output_tokens": 128, "request_throughput": 2.0, "output_throughput": 64.0, "total_token_throughput": 192.0,
"mean_ttft_ms": 30.5, "p99_itl_ms": 12.0, "std_ttft_ms": 0.0, "max_output_tokens_per_s": 70.0}"#;

    fn read(stem: &str, text: &str) -> Result<Foreign, String> {
        import(&format!("{stem}.json"), "results", text)
    }

    #[test]
    fn throughput_has_no_output_tokens() {
        let foreign = read("qwen3-1.7b_bf16_run2", THROUGHPUT).unwrap();
        assert_eq!(foreign.tool, Tool::BenchThroughput);
        assert_eq!(foreign.run, Some(2));
        assert_eq!(foreign.results[0].output_tokens, None);
        assert_eq!(foreign.results[0].total_tokens, 24_576);
    }

    #[test]
    fn appended_results_of_serve_are_all_read() {
        let foreign = read("m_w8a8", &format!("{SERVE}\n{SERVE}")).unwrap();
        assert_eq!(foreign.results.len(), 2);
        assert_eq!(foreign.results[0].output_tokens, Some(128));
        assert_eq!(
            foreign.results[0].latencies_ms,
            IndexMap::from([
                ("mean_ttft_ms".to_owned(), 30.5),
                ("p99_itl_ms".to_owned(), 12.0),
                ("std_ttft_ms".to_owned(), 0.0)
            ])
        );
    }

    #[test]
    fn before_0_13_the_unanswered_are_the_failed() {
        let old = SERVE
            .replace(r#""completed": 4, "failed": 0"#, r#""completed": 3"#)
            .replace(
                r#""request_throughput": 2.0"#,
                r#""request_throughput": 1.5"#,
            );
        assert_eq!(read("m_bf16", &old).unwrap().results[0].failed, Some(1));
    }

    #[test]
    fn what_cannot_be_taken_says_why() {
        let cases = [
            read("m_bf16", "{}"),
            read("m_bf16", "[1]"),
            read("m_bf16", ""),
            read("result", THROUGHPUT),
            read("m_bf16", &THROUGHPUT.replace("9.2", "-9.2")),
            read("m_bf16", &THROUGHPUT.replace("9.2", "0.0")),
            read("m_bf16", &THROUGHPUT.replace("2671", "7123")),
            read("m_bf16", &SERVE.replace(r#""duration": 2.0, "#, "")),
            read("m_bf16", &format!("{SERVE}\n{THROUGHPUT}")),
        ]
        .map(|result| result.unwrap_err());
        insta::assert_snapshot!(cases.join("\n"), @r"
        neither a record nor a result of `vllm bench throughput` or `vllm bench serve`
        neither a record nor a result of `vllm bench throughput` or `vllm bench serve`
        neither a record nor a result of `vllm bench throughput` or `vllm bench serve`
        result of vllm bench throughput whose name is not <model>_<precision>[_runN].json
        elapsed_time is -9.2
        elapsed_time is 0: nothing was measured
        contradicts itself: tokens_per_second is 7123.304347826087, its counts give 2671.30
        has no duration
        holds results of two different programs
        ");
    }
}
