//! What is asked for fidelity: the built-in problems, or the user's prompts.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use crate::config::FidelitySettings;
use crate::error::PathError;
use crate::record::{FidelityPrompts, hex, write_atomic};
use crate::workload::{Problem, problems};

/// Prompts below which an interval over prompts says little.
const FEWEST: u64 = 24;
/// Longer responses are measured only where they are asked for.
const OUTPUT_LEN: u64 = 256;

/// The prompts of a session, in a file that the engine's Python reads.
#[derive(Debug)]
pub(crate) struct Prompts {
    pub(super) file: PathBuf,
    pub(super) record: FidelityPrompts,
}

/// Prompts that cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PromptsError {
    #[error(transparent)]
    Path(#[from] PathError),
    #[error("{}:{line}: {reason}", path.display())]
    Line {
        path: PathBuf,
        line: usize,
        reason: String,
    },
    #[error("{} holds no prompt", .0.display())]
    Empty(PathBuf),
}

/// How many prompts, and how long a response: few tokens go to more prompts rather than to longer responses.
pub(super) fn shape(settings: &FidelitySettings) -> (u64, u64) {
    let output_len = settings.output_len.map_or_else(
        || OUTPUT_LEN.min(settings.tokens / FEWEST).max(1),
        u64::from,
    );
    ((settings.tokens / output_len).max(2), output_len)
}

impl Prompts {
    /// Writes them into `folder`, which lasts as long as the session.
    pub(super) fn make(
        settings: &FidelitySettings,
        seed: u64,
        folder: &Path,
    ) -> Result<Self, PromptsError> {
        let (count, output_len) = shape(settings);
        let wanted = usize::try_from(count).unwrap_or(usize::MAX);
        let mut record = FidelityPrompts {
            source: "built-in".to_owned(),
            sha256: String::new(),
            count: 0,
            output_len: u32::try_from(output_len).unwrap_or(u32::MAX),
            best: settings.best,
            seed,
            answers: Vec::new(),
        };
        let lines = match &settings.prompts {
            Some(path) => {
                record.source = path.display().to_string();
                if path
                    .extension()
                    .is_some_and(|extension| extension == "parquet")
                {
                    let bytes = fs::read(path).map_err(PathError::on("read", path))?;
                    record.sha256 = hex(&Sha256::digest(bytes));
                    record.count = u32::try_from(count).unwrap_or(u32::MAX);
                    let file = path.clone();
                    return Ok(Self { file, record });
                }
                user_lines(path, wanted)?
            }
            None => problems(wanted, seed)
                .into_iter()
                .map(|problem| (json!({"text": problem.text}), problem.answer))
                .collect(),
        };
        record.count = u32::try_from(lines.len()).unwrap_or(u32::MAX);
        if lines.iter().all(|(_, answer)| !answer.is_empty()) {
            record.answers = lines.iter().map(|(_, answer)| answer.clone()).collect();
        }
        let text: Vec<String> = lines.iter().map(|(line, _)| line.to_string()).collect();
        let text = text.join("\n") + "\n";
        record.sha256 = hex(&Sha256::digest(&text));
        let file = folder.join("fidelity.prompts.jsonl");
        write_atomic(&file, |out| out.write_all(text.as_bytes()))?;
        Ok(Self { file, record })
    }

    /// Whether `response` solves problem `index`; absent where no answer is known.
    pub(super) fn solved(&self, index: usize, response: &str) -> Option<bool> {
        let answer = self.record.answers.get(index)?.clone();
        let text = String::new();
        Some(Problem { text, answer }.solved_by(response))
    }
}

/// The first `count` prompts of a file of JSON Lines, as the engine's Python takes them, each with its answer (empty where
/// it has none): `prompt`, `text`, `messages` or `prompt_token_ids`, ShareGPT's `conversations`, or the `input` of
/// verl's rollout dumps.
fn user_lines(path: &Path, count: usize) -> Result<Vec<(Value, String)>, PromptsError> {
    let text = fs::read_to_string(path).map_err(PathError::on("read", path))?;
    let mut lines = Vec::new();
    let numbered = (1..)
        .zip(text.lines())
        .filter(|(_, l)| !l.trim().is_empty());
    for (line, text) in numbered.take(count) {
        let wrong = |reason: String| PromptsError::Line {
            path: path.to_owned(),
            line,
            reason,
        };
        let value: Value = serde_json::from_str(text).map_err(|e| wrong(e.to_string()))?;
        let answer = value.get("answer").or_else(|| value.get("ground_truth"));
        let answer = match answer {
            Some(Value::String(answer)) => answer.clone(),
            Some(Value::Number(answer)) => answer.to_string(),
            _ => String::new(),
        };
        let known = "a prompt has `prompt`, `text`, `messages`, `prompt_token_ids`, `conversations` or `input`";
        let prompt = prompt(&value).ok_or_else(|| wrong(known.to_owned()))?;
        lines.push((prompt, answer));
    }
    if lines.is_empty() {
        return Err(PromptsError::Empty(path.to_owned()));
    }
    Ok(lines)
}

fn prompt(value: &Value) -> Option<Value> {
    if let Value::String(text) = value {
        return Some(json!({"text": text}));
    }
    for (key, as_text) in [("text", "text"), ("prompt", "text"), ("input", "text")] {
        match value.get(key) {
            Some(Value::String(text)) => return Some(json!({ as_text: text })),
            Some(messages @ Value::Array(_)) => return Some(json!({"messages": messages})),
            _ => {}
        }
    }
    for key in ["messages", "prompt_token_ids"] {
        if let Some(list @ Value::Array(_)) = value.get(key) {
            return Some(json!({ key: list }));
        }
    }
    // ShareGPT: what comes before the model's first answer.
    let turns = value.get("conversations")?.as_array()?;
    let role = |turn: &Value| match turn.get("from").and_then(Value::as_str) {
        Some("human" | "user") => Some("user"),
        Some("system") => Some("system"),
        _ => None,
    };
    let messages: Vec<Value> = turns
        .iter()
        .map_while(|turn| Some(json!({"role": role(turn)?, "content": turn.get("value")?})))
        .collect();
    (!messages.is_empty()).then(|| json!({ "messages": messages }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::fidelity::Thresholds;

    fn settings(tokens: u64, output_len: Option<u32>) -> FidelitySettings {
        FidelitySettings {
            measure: true,
            tokens,
            output_len,
            prompts: None,
            best: 20,
            both_ways: false,
            score: false,
            thresholds: Thresholds::default(),
        }
    }

    #[test]
    fn few_tokens_go_to_more_prompts() {
        assert_eq!(shape(&settings(20_000, None)), (78, 256));
        assert_eq!(shape(&settings(2_000, None)), (24, 83));
        assert_eq!(shape(&settings(2_000, Some(500))), (4, 500));
        assert_eq!(shape(&settings(1, None)), (2, 1));
    }

    #[test]
    fn prompts_of_many_kinds_are_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("p.jsonl");
        let lines = [
            r#"{"prompt": "a", "answer": 7}"#,
            r#"{"messages": [{"role": "user", "content": "b"}]}"#,
            "",
            r#"{"conversations": [{"from": "human", "value": "c"}, {"from": "gpt", "value": "d"}]}"#,
            r#"{"input": "e", "output": "f"}"#,
            r#"{"prompt_token_ids": [1, 2]}"#,
        ];
        fs::write(&path, lines.join("\n")).expect("written");
        let read = user_lines(&path, 9).expect("read");
        let shown: Vec<String> = read.iter().map(|(line, _)| line.to_string()).collect();
        assert_eq!(
            shown,
            [
                r#"{"text":"a"}"#,
                r#"{"messages":[{"role":"user","content":"b"}]}"#,
                r#"{"messages":[{"role":"user","content":"c"}]}"#,
                r#"{"text":"e"}"#,
                r#"{"prompt_token_ids":[1,2]}"#,
            ]
        );
        assert_eq!(read[0].1, "7");
        assert_eq!(user_lines(&path, 2).expect("read").len(), 2);

        fs::write(&path, "{\"x\": 1}\n").expect("written");
        let error = user_lines(&path, 2).expect_err("no prompt");
        assert!(error.to_string().contains(":1: a prompt has"), "{error}");
        fs::write(&path, "\n").expect("written");
        assert!(matches!(user_lines(&path, 2), Err(PromptsError::Empty(_))));
    }

    #[test]
    fn built_in_prompts_know_their_answers() {
        let folder = tempfile::tempdir().expect("a folder");
        let made = Prompts::make(&settings(2_000, None), 3, folder.path()).expect("made");
        assert_eq!((made.record.count, made.record.answers.len()), (24, 24));
        let right = format!("It is {}.", made.record.answers[0]);
        assert_eq!(made.solved(0, &right), Some(true));
        assert_eq!(made.solved(0, "no idea"), Some(false));
        assert_eq!(made.solved(99, "x"), None);
    }
}
