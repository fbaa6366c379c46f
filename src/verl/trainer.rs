//! Log-probabilities of a training run: JSON Lines, one response a line, with `rollout_log_probs` (the engine's) and
//! `old_log_probs` (the trainer's), one entry a token, and `input`, by which responses to one prompt belong together.

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde::Deserialize;

use crate::error::PathError;
use crate::stats::mismatch::{Mismatch, Response, Unusable};

/// One response.
#[derive(Debug, Deserialize)]
struct Line {
    #[serde(default)]
    input: Option<String>,
    rollout_log_probs: Vec<f32>,
    old_log_probs: Vec<f32>,
    /// 1 for tokens that are the response's, 0 for padding and for what a tool said; absent: all are.
    #[serde(default)]
    response_mask: Option<Vec<f32>>,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TrainerError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("line {line}: {source}")]
    Json {
        line: usize,
        source: serde_json::Error,
    },
    #[error("line {line}: {source}")]
    Unusable { line: usize, source: Unusable },
    #[error("no response in it")]
    Empty,
}

/// The mismatch that the training run itself had.
pub(crate) fn read(path: &Path) -> Result<Mismatch, TrainerError> {
    let file = std::fs::File::open(path).map_err(PathError::on("read", path))?;
    let mut prompts: HashMap<String, u32> = HashMap::new();
    let mut all = Mismatch::default();
    let mut responses = 0_u32;
    for (line, text) in (1..).zip(BufReader::new(file).lines()) {
        let text = text.map_err(PathError::on("read", path))?;
        if text.trim().is_empty() {
            continue;
        }
        let read: Line =
            serde_json::from_str(&text).map_err(|source| TrainerError::Json { line, source })?;
        let next = u32::try_from(prompts.len()).unwrap_or(u32::MAX);
        // Without a prompt each response is one of its own.
        let prompt = match read.input {
            Some(input) => *prompts.entry(input).or_insert(next),
            None => responses,
        };
        let kept = |values: &[f32]| -> Vec<f32> {
            let counts = |at: usize| {
                let mask = read.response_mask.as_ref();
                mask.is_none_or(|mask| mask.get(at).is_some_and(|m| *m > 0.0))
            };
            let numbered = values.iter().enumerate();
            numbered
                .filter(|(at, _)| counts(*at))
                .map(|(_, v)| *v)
                .collect()
        };
        let (rollout, reference) = (kept(&read.rollout_log_probs), kept(&read.old_log_probs));
        let response = Response {
            prompt,
            rollout: &rollout,
            reference: &reference,
            best: None,
        };
        let one =
            Mismatch::of([response]).map_err(|source| TrainerError::Unusable { line, source })?;
        all.merge(&one);
        responses += 1;
    }
    if responses == 0 {
        return Err(TrainerError::Empty);
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_text(text: &str) -> Result<Mismatch, TrainerError> {
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), text).expect("written");
        read(file.path())
    }

    #[test]
    fn responses_are_told_by_prompt_and_masked() {
        let text = concat!(
            r#"{"input": "a", "rollout_log_probs": [-1, -1, -9], "old_log_probs": [-1, -2, -1], "response_mask": [1, 1, 0]}"#,
            "\n",
            r#"{"input": "a", "rollout_log_probs": [-1], "old_log_probs": [-1], "score": 1.0}"#,
            "\n\n",
            r#"{"input": "b", "rollout_log_probs": [-1], "old_log_probs": [-1]}"#,
        );
        let numbers = read_text(text).expect("read").numbers(1).expect("tokens");
        assert_eq!(
            (numbers.tokens, numbers.responses, numbers.prompts),
            (4, 3, 2)
        );
        assert!((numbers.metrics["kl"].value - 0.25).abs() < 1e-6);
    }

    #[test]
    fn mistakes_name_their_line() {
        let missing = read_text("{\"input\": \"a\"}\n").expect_err("no columns");
        assert!(
            missing.to_string().starts_with("line 1: missing field"),
            "{missing}"
        );
        let uneven = "\n{\"rollout_log_probs\": [-1, -1], \"old_log_probs\": [-1]}\n";
        assert!(
            read_text(uneven)
                .expect_err("uneven")
                .to_string()
                .starts_with("line 2: ")
        );
        assert!(matches!(read_text(""), Err(TrainerError::Empty)));
    }
}
