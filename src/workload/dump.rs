//! Response lengths that somebody observed: verl's rollout dumps, a column of numbers, a ShareGPT-like JSON.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::lengths::Lengths;
use crate::stats::normal_quantile;

/// Beyond so many lengths a distribution is thinned to evenly spaced order statistics: it goes into every record.
const KEPT: usize = 10_000;

/// Names under which frameworks write a response's length in tokens.
const RESPONSE_NAMES: [&str; 8] = [
    "response_length",
    "response_len",
    "output_tokens",
    "output_len",
    "output_length",
    "completion_tokens",
    "num_output_tokens",
    "length",
];
/// The same for prompts.
const PROMPT_NAMES: [&str; 7] = [
    "prompt_length",
    "prompt_len",
    "prompt_tokens",
    "input_tokens",
    "input_len",
    "input_length",
    "num_prompt_tokens",
];
/// Names under which they write its text.
const RESPONSE_TEXTS: [&str; 4] = ["output", "response", "completion", "answer"];
const PROMPT_TEXTS: [&str; 4] = ["input", "prompt", "question", "problem"];

/// One observed sequence.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observation {
    /// Its prompt; absent if the file does not tell.
    pub prompt: Option<Extent>,
    /// Its response.
    pub response: Extent,
}

/// How long a text is.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Extent {
    /// In tokens.
    Tokens(u32),
    /// Only the text is known: a tokenizer must count.
    Text(String),
}

/// A file that gives no lengths.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum DumpError {
    /// Nothing in it.
    #[error("{file} holds no lengths: it is empty")]
    Empty {
        /// Its name.
        file: String,
    },
    /// A line that is none of the formats.
    #[error("{file}:{line}: {message}")]
    Line {
        /// Its name.
        file: String,
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        message: String,
    },
    /// An entry that has no length.
    #[error(
        "{file}: entry {entry} has neither a response length ({}) nor a response text ({}); it has {found}",
        RESPONSE_NAMES.join(", "), RESPONSE_TEXTS.join(", ")
    )]
    NoLength {
        /// The file's name.
        file: String,
        /// Counted from 1.
        entry: usize,
        /// The fields that are there.
        found: String,
    },
    /// A length that is no length.
    #[error(
        "{file}: entry {entry} has a length of {value}; a length is a whole number, 1 at least"
    )]
    Length {
        /// The file's name.
        file: String,
        /// Counted from 1.
        entry: usize,
        /// What stands there.
        value: String,
    },
    /// A tokenizer must count, and there is none or it failed.
    #[error("cannot count the tokens of the texts: {0}")]
    Tokenizer(String),
}

/// Reads a file's text: JSON Lines of objects, a JSON array (of numbers or objects), or lines of one number each.
pub(crate) fn parse(file: &str, text: &str) -> Result<Vec<Observation>, DumpError> {
    let text = text.trim_start_matches('\u{feff}').trim();
    let observations = match text.bytes().next() {
        None => {
            return Err(DumpError::Empty {
                file: file.to_owned(),
            });
        }
        Some(b'[') => array(file, text)?,
        Some(b'{') => json_lines(file, text)?,
        Some(_) => column(file, text)?,
    };
    if observations.is_empty() {
        return Err(DumpError::Empty {
            file: file.to_owned(),
        });
    }
    Ok(observations)
}

fn array(file: &str, text: &str) -> Result<Vec<Observation>, DumpError> {
    let values: Vec<Value> = serde_json::from_str(text).map_err(|e| line_error(file, &e, 0))?;
    values
        .iter()
        .enumerate()
        .map(|(i, v)| observation(file, i + 1, v))
        .collect()
}

/// One object a line; an object that spans lines is taken as one too.
fn json_lines(file: &str, text: &str) -> Result<Vec<Observation>, DumpError> {
    serde_json::Deserializer::from_str(text)
        .into_iter::<Value>()
        .enumerate()
        .map(|(i, value)| observation(file, i + 1, &value.map_err(|e| line_error(file, &e, 0))?))
        .collect()
}

fn line_error(file: &str, error: &serde_json::Error, before: usize) -> DumpError {
    DumpError::Line {
        file: file.to_owned(),
        line: before + error.line(),
        message: format!("not JSON: {error}"),
    }
}

fn column(file: &str, text: &str) -> Result<Vec<Observation>, DumpError> {
    let mut observations = Vec::new();
    for (i, line) in text.lines().enumerate() {
        let entry = line.trim().trim_matches('"').trim_end_matches(',');
        if entry.is_empty() || entry.starts_with('#') {
            continue;
        }
        let is_header = observations.is_empty() && entry.starts_with(|c: char| c.is_alphabetic());
        if is_header && !entry.contains(',') && i == 0 {
            continue;
        }
        let number: f64 = entry.parse().map_err(|_| DumpError::Line {
            file: file.to_owned(),
            line: i + 1,
            message: format!(
                "`{}` is not a number; one length a line is expected",
                shortened(entry)
            ),
        })?;
        let response = Extent::Tokens(tokens(file, i + 1, number)?);
        observations.push(Observation {
            prompt: None,
            response,
        });
    }
    Ok(observations)
}

fn observation(file: &str, entry: usize, value: &Value) -> Result<Observation, DumpError> {
    match value {
        Value::Number(number) => {
            let response =
                Extent::Tokens(tokens(file, entry, number.as_f64().unwrap_or(f64::NAN))?);
            Ok(Observation {
                prompt: None,
                response,
            })
        }
        Value::Object(fields) => {
            let missing = || DumpError::NoLength {
                file: file.to_owned(),
                entry,
                found: fields
                    .keys()
                    .map(String::as_str)
                    .collect::<Vec<_>>()
                    .join(", "),
            };
            if let Some(turns) = fields
                .get("conversations")
                .or_else(|| fields.get("messages"))
            {
                return conversation(turns).ok_or_else(missing);
            }
            let response = extent(file, entry, fields, &RESPONSE_NAMES, &RESPONSE_TEXTS)?
                .ok_or_else(missing)?;
            let prompt = extent(file, entry, fields, &PROMPT_NAMES, &PROMPT_TEXTS)?;
            Ok(Observation { prompt, response })
        }
        other => Err(DumpError::Length {
            file: file.to_owned(),
            entry,
            value: shortened(&other.to_string()),
        }),
    }
}

/// A prompt and its first answer, as vLLM's benchmark takes them from ShareGPT.
fn conversation(turns: &Value) -> Option<Observation> {
    let text = |turn: &Value| {
        let text = turn.get("value").or_else(|| turn.get("content"))?;
        Some(text.as_str()?.to_owned())
    };
    let speaker = |turn: &Value| {
        let speaker = turn.get("from").or_else(|| turn.get("role"))?;
        Some(speaker.as_str()?.to_owned())
    };
    let turns = turns.as_array()?;
    let answer = turns.iter().position(|t| {
        speaker(t).is_some_and(|s| matches!(s.as_str(), "gpt" | "assistant" | "model"))
    })?;
    let prompt = answer
        .checked_sub(1)
        .and_then(|i| text(&turns[i]))
        .map(Extent::Text);
    Some(Observation {
        prompt,
        response: Extent::Text(text(&turns[answer])?),
    })
}

fn extent(
    file: &str,
    entry: usize,
    fields: &Map<String, Value>,
    numbers: &[&str],
    texts: &[&str],
) -> Result<Option<Extent>, DumpError> {
    if let Some(value) = numbers
        .iter()
        .find_map(|name| fields.get(*name))
        .filter(|v| v.is_number())
    {
        let length = tokens(file, entry, value.as_f64().unwrap_or(f64::NAN))?;
        return Ok(Some(Extent::Tokens(length)));
    }
    let text = texts
        .iter()
        .find_map(|name| fields.get(*name))
        .and_then(Value::as_str);
    Ok(text.map(|text| Extent::Text(text.to_owned())))
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "checked just before"
)]
fn tokens(file: &str, entry: usize, value: f64) -> Result<u32, DumpError> {
    if value.fract() == 0.0 && (1.0..=f64::from(u32::MAX)).contains(&value) {
        Ok(value as u32)
    } else {
        Err(DumpError::Length {
            file: file.to_owned(),
            entry,
            value: value.to_string(),
        })
    }
}

fn shortened(text: &str) -> String {
    match text.char_indices().nth(40) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// A distribution as it was observed.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Observed {
    /// Response lengths.
    pub response: Lengths,
    /// Prompt lengths; absent if the file does not tell.
    pub prompt: Option<Lengths>,
    /// Correlation of the normal scores of siblings; absent unless prompts repeat.
    pub sibling_correlation: Option<f64>,
}

impl Observation {
    /// Whether a text is to be counted.
    pub(crate) fn has_text(&self) -> bool {
        let extents = [self.prompt.as_ref(), Some(&self.response)];
        extents
            .into_iter()
            .any(|extent| matches!(extent, Some(Extent::Text(_))))
    }
}

/// Counts tokens where only texts are known and makes distributions. `count` gets all texts at once; `source` says
/// where they are from.
pub(crate) fn observed(
    observations: &[Observation],
    source: &str,
    count: impl FnOnce(&[&str]) -> Result<Vec<u32>, String>,
) -> Result<Observed, DumpError> {
    let texts: Vec<&str> = observations
        .iter()
        .flat_map(|o| [o.prompt.as_ref(), Some(&o.response)])
        .filter_map(|extent| match extent {
            Some(Extent::Text(text)) => Some(text.as_str()),
            _ => None,
        })
        .collect();
    let counted = if texts.is_empty() {
        Vec::new()
    } else {
        count(&texts).map_err(DumpError::Tokenizer)?
    };
    if counted.len() != texts.len() {
        return Err(DumpError::Tokenizer(format!(
            "{} counts came back for {} texts",
            counted.len(),
            texts.len()
        )));
    }
    // An empty text still was a sequence: a trainer's shortest response is its end-of-sequence token.
    let mut counted = counted.into_iter().map(|c| c.max(1));
    let mut length = |extent: &Extent| match extent {
        Extent::Tokens(tokens) => *tokens,
        Extent::Text(_) => counted
            .next()
            .expect("one count for each text, checked above"),
    };
    let mut prompts = Vec::new();
    let mut responses = Vec::with_capacity(observations.len());
    for observation in observations {
        prompts.extend(observation.prompt.as_ref().map(&mut length));
        responses.push(length(&observation.response));
    }
    Ok(Observed {
        sibling_correlation: sibling_correlation(observations, &responses),
        prompt: (prompts.len() == responses.len()).then(|| empirical(prompts, source)),
        response: empirical(responses, source),
    })
}

fn empirical(mut lengths: Vec<u32>, source: &str) -> Lengths {
    lengths.sort_unstable();
    if lengths.len() > KEPT {
        let step = lengths.len() as f64 / KEPT as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "below the length"
        )]
        let at = |i: usize| ((i as f64 + 0.5) * step) as usize;
        lengths = (0..KEPT).map(|i| lengths[at(i)]).collect();
    }
    Lengths::Empirical {
        lengths,
        source: Some(source.to_owned()),
    }
}

/// The mean product of the normal scores of two siblings: rows with the same prompt text, wherever they stand, since
/// verl's older trainer sorts a step by length. Absent if there are no two such rows.
fn sibling_correlation(observations: &[Observation], responses: &[u32]) -> Option<f64> {
    let mut order: Vec<usize> = (0..responses.len()).collect();
    order.sort_by_key(|i| responses[*i]);
    let mut scores = vec![0.0; responses.len()];
    for ties in order.chunk_by(|a, b| responses[*a] == responses[*b]) {
        // Equal lengths (all those at the cap) share the score of their middle rank.
        let first = order.partition_point(|i| responses[*i] < responses[ties[0]]);
        let middle = first as f64 + ties.len() as f64 / 2.0;
        for i in ties {
            scores[*i] = normal_quantile(middle / responses.len() as f64);
        }
    }
    let variance = scores.iter().map(|z| z * z).sum::<f64>() / scores.len() as f64;
    let mut groups: HashMap<&str, Vec<f64>> = HashMap::new();
    for (observation, score) in observations.iter().zip(&scores) {
        if let Some(Extent::Text(prompt)) = &observation.prompt {
            groups.entry(prompt).or_default().push(*score);
        }
    }
    let (mut products, mut pairs) = (0.0, 0usize);
    for group in groups.values() {
        // All pairs at once: the square of the sum holds each twice, and the squares.
        let (sum, squares) = (
            group.iter().sum::<f64>(),
            group.iter().map(|z| z * z).sum::<f64>(),
        );
        products += (sum * sum - squares) / 2.0;
        pairs += group.len() * (group.len() - 1) / 2;
    }
    (pairs > 0 && variance > 0.0).then(|| (products / pairs as f64 / variance).clamp(0.0, 1.0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn words(texts: &[&str]) -> Vec<u32> {
        let words = |text: &&str| u32::try_from(text.split_whitespace().count()).unwrap_or(0);
        texts.iter().map(words).collect()
    }

    fn lengths(text: &str) -> Vec<u32> {
        let observations = parse("f", text).expect("reads");
        match observed(&observations, "f", |texts| Ok(words(texts)))
            .expect("counts")
            .response
        {
            Lengths::Empirical { lengths, .. } => lengths,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_verl_dump_is_counted_by_the_tokenizer_and_its_siblings_found() {
        let dump = r#"{"input": "q one", "output": "a b c", "gts": "1", "score": 1.0, "step": 3}
{"input": "q one", "output": "a b c d", "gts": "1", "score": 0.0, "step": 3}
{"input": "q two two", "output": "", "gts": "1", "score": 0.0, "step": 3}
{"input": "q two two", "output": "a", "gts": "1", "score": 0.0, "step": 3}"#;
        let found = observed(
            &parse("3.jsonl", dump).expect("reads"),
            "3.jsonl",
            |texts| Ok(words(texts)),
        )
        .expect("counts");
        assert_eq!(
            found.response,
            Lengths::Empirical {
                lengths: vec![1, 1, 3, 4],
                source: Some("3.jsonl".to_owned())
            }
        );
        assert_eq!(
            found.prompt,
            Some(Lengths::Empirical {
                lengths: vec![2, 2, 3, 3],
                source: Some("3.jsonl".to_owned())
            })
        );
        assert!(found.sibling_correlation.expect("pairs") > 0.5);
    }

    #[test]
    fn numbers_come_as_a_column_an_array_or_fields() {
        assert_eq!(lengths("response_length\n12\n7\n\n300\n"), [7, 12, 300]);
        assert_eq!(lengths("[5, 3.0, 8]"), [3, 5, 8]);
        assert_eq!(
            lengths("{\"completion_tokens\": 5}\n{\"completion_tokens\": 4}"),
            [4, 5]
        );
        assert_eq!(
            lengths(
                r#"[{"conversations": [{"from": "human", "value": "x"}, {"from": "gpt", "value": "a b"}]}]"#
            ),
            [2]
        );
    }

    #[test]
    fn what_gives_no_lengths_says_where() {
        let said = |text: &str| parse("d.jsonl", text).expect_err("refused").to_string();
        insta::assert_snapshot!(said("  "), @"d.jsonl holds no lengths: it is empty");
        insta::assert_snapshot!(said("{\"score\": 1.0, \"step\": 4}"), @"d.jsonl: entry 1 has neither a response length (response_length, response_len, output_tokens, output_len, output_length, completion_tokens, num_output_tokens, length) nor a response text (output, response, completion, answer); it has score, step");
        insta::assert_snapshot!(said("12\n7\nmany\n"), @"d.jsonl:3: `many` is not a number; one length a line is expected");
        insta::assert_snapshot!(said("12\n0\n"), @"d.jsonl: entry 2 has a length of 0; a length is a whole number, 1 at least");
        insta::assert_snapshot!(said("[1, -3]"), @"d.jsonl: entry 2 has a length of -3; a length is a whole number, 1 at least");
        insta::assert_snapshot!(said("{\"output\": \"a\"}\n{\"output\""), @"d.jsonl:2: not JSON: EOF while parsing an object at line 2 column 9");
        insta::assert_snapshot!(said("[1.5]"), @"d.jsonl: entry 1 has a length of 1.5; a length is a whole number, 1 at least");
    }

    #[test]
    fn a_tokenizer_that_fails_is_no_length_of_zero() {
        let observations = parse("f", "{\"output\": \"a\"}").expect("reads");
        let failed = observed(&observations, "f", |_| {
            Err("no tokenizer in /models/x".to_owned())
        });
        assert_eq!(
            failed.expect_err("fails").to_string(),
            "cannot count the tokens of the texts: no tokenizer in /models/x"
        );
        assert!(observed(&observations, "f", |_| Ok(vec![])).is_err());
    }

    #[test]
    fn a_large_dump_is_thinned_and_keeps_its_mean() {
        let text: String = (1..=50_000)
            .map(|i| i.to_string())
            .collect::<Vec<_>>()
            .join("\n");
        let thinned = lengths(&text);
        assert_eq!(thinned.len(), KEPT);
        let mean = thinned.iter().copied().map(f64::from).sum::<f64>() / KEPT as f64;
        assert!((mean - 25_000.5).abs() < 2.0, "{mean}");
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in "\\PC{0,200}") {
            let _ = parse("f", &text);
        }

        #[test]
        fn every_column_comes_back(mut column in prop::collection::vec(1u32..100_000, 1..60)) {
            let text: String = column.iter().map(u32::to_string).collect::<Vec<_>>().join("\n");
            column.sort_unstable();
            prop_assert_eq!(lengths(&text), column);
        }
    }

    #[test]
    fn siblings_are_found_wherever_they_stand() {
        // The two answers to a prompt differ by much or by little: sorted by length they are apart.
        let rows: Vec<(String, u32)> = (0..40)
            .map(|row| {
                (
                    format!("prompt {}", row % 20),
                    10 + 7 * (row % 20) + row / 20,
                )
            })
            .collect();
        let correlation = |mut rows: Vec<(String, u32)>, sorted: bool| {
            if sorted {
                rows.sort_by_key(|row| row.1);
            } else {
                rows.sort();
            }
            let lengths: Vec<u32> = rows.iter().map(|row| row.1).collect();
            let observations: Vec<Observation> = rows
                .into_iter()
                .map(|(prompt, tokens)| Observation {
                    prompt: Some(Extent::Text(prompt)),
                    response: Extent::Tokens(tokens),
                })
                .collect();
            sibling_correlation(&observations, &lengths).expect("siblings")
        };
        let (sorted, grouped) = (correlation(rows.clone(), true), correlation(rows, false));
        assert!(
            (sorted - grouped).abs() < 1e-12 && grouped > 0.9,
            "{sorted} {grouped}"
        );
    }
}
