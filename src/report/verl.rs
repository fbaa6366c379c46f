//! The measured steps under verl's own names, a JSON object a line, to be laid beside a training run's log.

use serde_json::{Map, Value, json};

use super::figures::rounded;
use super::model::Summary;

/// One line a measured step that counts. `perf/throughput` is not among the names: verl's is that of a whole training
/// step.
pub(super) fn lines(summary: &Summary) -> String {
    let mut text = String::new();
    for cell in &summary.cells {
        for row in cell.steps.iter().filter(|row| row.counted) {
            let m = &row.metrics;
            let mut line = Map::new();
            let mut put = |name: &str, value: Value| {
                line.insert(name.to_owned(), value);
            };
            put("step", row.step.into());
            put("rollbench/model", json!(cell.model));
            put("rollbench/precision", json!(cell.precision));
            put("rollbench/mode", json!(cell.mode));
            put("rollbench/arm", json!(row.arm));
            put("rollbench/block", row.block.into());
            put("timing_s/gen", rounded(m.makespan_s).into());
            if m.output_tokens > 0 {
                let per_token = 1000.0 * m.makespan_s / m.output_tokens as f64;
                put("timing_per_token_ms/gen", rounded(per_token).into());
            }
            if let Some(length) = &m.response_length {
                put("response_length/mean", rounded(length.mean).into());
                put("response_length/max", length.max.into());
                put("response_length/min", length.min.into());
                if let Some(ratio) = length.clip_ratio {
                    put("response_length/clip_ratio", rounded(ratio).into());
                }
            }
            text += &Value::Object(line).to_string();
            text.push('\n');
        }
    }
    text
}
