//! The requests of a run as bytes, encoded before they are due.

use std::fmt::Write;

use serde::Serialize;

use super::target::{Api, Target};
use crate::workload::{Batch, Sample, Sampling};

/// One HTTP request, ready to be written, and what its answer should be.
#[derive(Debug, Clone)]
pub struct Request {
    /// Head and body.
    pub bytes: Vec<u8>,
    /// One per choice that it asks for.
    pub choices: Vec<Expected>,
}

/// One sequence that a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    /// The prompt it answers.
    pub group: u32,
    /// Which of that prompt's samples it is.
    pub sample: u32,
    /// Tokens of the prompt (with chat: words of it, the tokens are not known before the answer).
    pub prompt_tokens: u32,
    /// Tokens asked for.
    pub requested_tokens: u32,
}

/// Makes requests of one kind.
#[derive(Clone)]
pub struct RequestEncoder {
    /// Where they go.
    pub target: Target,
    /// The model's name at the server.
    pub model: String,
    /// Sampling parameters.
    pub sampling: Sampling,
    /// Whether the end-of-sequence token is ignored, so that lengths are exact (an extension of vLLM and others).
    pub ignore_eos: bool,
    /// Whether to ask for token ids in the chunks (vLLM from 0.13): the only way to count tokens per choice if one
    /// request has several.
    pub token_ids: bool,
    /// `Authorization: Bearer`; absent without a key.
    pub api_key: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
}

#[derive(Serialize)]
struct Body<'a> {
    model: &'a str,
    #[serde(flatten)]
    prompt: Prompt<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    n: Option<usize>,
    #[serde(flatten)]
    length: Length,
    temperature: f64,
    top_p: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    top_k: Option<i32>,
    #[serde(flatten)]
    logprobs: Option<Logprobs>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    ignore_eos: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    return_token_ids: bool,
    stream: bool,
    stream_options: StreamOptions,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Prompt<'a> {
    Prompt(&'a [u32]),
    Messages([Message; 1]),
}

#[derive(Serialize)]
struct Message {
    role: &'static str,
    content: String,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Length {
    MaxTokens(u32),
    MaxCompletionTokens(u32),
}

#[derive(Serialize)]
#[serde(untagged)]
enum Logprobs {
    Completions { logprobs: u32 },
    Chat { logprobs: bool, top_logprobs: u32 },
}

#[derive(Serialize)]
struct StreamOptions {
    include_usage: bool,
}

impl RequestEncoder {
    /// One request that asks for `choices` (at least one, all of the same length) of one prompt.
    pub fn encode(&self, prompt: &[u32], choices: Vec<Expected>) -> Request {
        let length = choices.first().map_or(0, |c| c.requested_tokens);
        let sampling = &self.sampling;
        let (prompt, length, logprobs) = match self.target.api {
            Api::Completions => (
                Prompt::Prompt(prompt),
                Length::MaxTokens(length),
                sampling
                    .logprobs
                    .map(|logprobs| Logprobs::Completions { logprobs }),
            ),
            Api::Chat => (
                Prompt::Messages([Message {
                    role: "user",
                    content: words(prompt),
                }]),
                Length::MaxCompletionTokens(length),
                sampling.logprobs.map(|top_logprobs| Logprobs::Chat {
                    logprobs: true,
                    top_logprobs,
                }),
            ),
        };
        let body = serde_json::to_vec(&Body {
            model: &self.model,
            prompt,
            n: (choices.len() > 1).then_some(choices.len()),
            length,
            temperature: sampling.temperature,
            top_p: sampling.top_p,
            top_k: (sampling.top_k != -1).then_some(sampling.top_k),
            logprobs,
            ignore_eos: self.ignore_eos,
            return_token_ids: self.token_ids || choices.len() > 1,
            stream: true,
            stream_options: StreamOptions {
                include_usage: true,
            },
        })
        .expect("numbers and strings can always be written as JSON");
        Request {
            bytes: self.with_head(&body),
            choices,
        }
    }

    /// All requests of a batch: one a sample or, with `n_in_one`, one a prompt.
    ///
    /// With `n_in_one` all samples of a prompt must have the same length, because a request has one `max_tokens`.
    pub fn encode_batch(
        &self,
        batch: &Batch,
        n_in_one: bool,
    ) -> Result<Vec<Request>, UnequalLengths> {
        let mut requests = Vec::new();
        for group in groups(batch, n_in_one)? {
            let prompt = &batch.prompts[group[0].group as usize];
            let choices = group
                .iter()
                .map(|sample| Expected {
                    group: sample.group,
                    sample: sample.sample,
                    prompt_tokens: u32::try_from(prompt.len()).unwrap_or(u32::MAX),
                    requested_tokens: sample.output_tokens,
                })
                .collect();
            requests.push(self.encode(prompt, choices));
        }
        Ok(requests)
    }

    fn with_head(&self, body: &[u8]) -> Vec<u8> {
        let mut bytes = format!(
            "POST {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: rollbench/{}\r\nAccept: text/event-stream\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n",
            self.target.path,
            self.target.host,
            env!("CARGO_PKG_VERSION"),
            body.len(),
        );
        if let Some(key) = &self.api_key {
            let _ = write!(bytes, "Authorization: Bearer {key}\r\n");
        }
        for (name, value) in &self.headers {
            let _ = write!(bytes, "{name}: {value}\r\n");
        }
        bytes.push_str("\r\n");
        let mut bytes = bytes.into_bytes();
        bytes.extend_from_slice(body);
        bytes
    }
}

/// The samples of a batch, those of one request together.
pub(crate) fn groups(batch: &Batch, n_in_one: bool) -> Result<Vec<&[Sample]>, UnequalLengths> {
    let groups: Vec<&[Sample]> = if n_in_one {
        batch.samples.chunk_by(|a, b| a.group == b.group).collect()
    } else {
        batch.samples.chunks(1).collect()
    };
    for group in &groups {
        let length = group[0].output_tokens;
        if let Some(other) = group.iter().find(|s| s.output_tokens != length) {
            return Err(UnequalLengths(length, other.output_tokens));
        }
    }
    Ok(groups)
}

/// Samples of one prompt that ask for different lengths cannot share a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the samples of one prompt ask for {0} and {1} tokens, and one request has one max_tokens")]
pub struct UnequalLengths(u32, u32);

/// As many common English words as there are ids: about one token each, which is all that chat can promise.
fn words(ids: &[u32]) -> String {
    const WORDS: [&str; 32] = [
        "time", "year", "people", "way", "day", "man", "thing", "life", "world", "school", "state",
        "family", "group", "country", "problem", "hand", "part", "place", "case", "week", "work",
        "point", "number", "night", "home", "water", "room", "mother", "area", "money", "story",
        "fact",
    ];
    let mut text = String::with_capacity(ids.len() * 6);
    for id in ids {
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(WORDS[*id as usize % WORDS.len()]);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    fn encoder(api: Api) -> RequestEncoder {
        RequestEncoder {
            target: Target::parse("127.0.0.1:8000", api).expect("a URL"),
            model: "m".to_owned(),
            sampling: Sampling::default(),
            ignore_eos: true,
            token_ids: false,
            api_key: None,
            headers: vec![],
        }
    }

    fn batch(lengths: [u32; 2]) -> Batch {
        Batch {
            prompts: vec![vec![5, 6, 7]],
            samples: lengths
                .iter()
                .zip(0..)
                .map(|(length, sample)| Sample {
                    group: 0,
                    sample,
                    output_tokens: *length,
                })
                .collect(),
        }
    }

    fn text(request: &Request) -> &str {
        std::str::from_utf8(&request.bytes).expect("UTF-8")
    }

    #[test]
    fn a_completion_of_token_ids() {
        let requests = encoder(Api::Completions)
            .encode_batch(&batch([4, 9]), false)
            .expect("any lengths");
        assert_eq!(requests.len(), 2);
        insta::assert_snapshot!(text(&requests[1]).replace('\r', ""), @r#"
        POST /v1/completions HTTP/1.1
        Host: 127.0.0.1:8000
        User-Agent: rollbench/0.1.0
        Accept: text/event-stream
        Content-Type: application/json
        Content-Length: 147

        {"model":"m","prompt":[5,6,7],"max_tokens":9,"temperature":1.0,"top_p":1.0,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}
        "#);
    }

    #[test]
    fn n_in_one_asks_for_token_ids_and_needs_equal_lengths() {
        let encoder = encoder(Api::Completions);
        let requests = encoder
            .encode_batch(&batch([4, 4]), true)
            .expect("equal lengths");
        assert_eq!(requests[0].choices.len(), 2);
        let body = text(&requests[0]);
        assert!(body.contains(r#""n":2"#) && body.contains(r#""return_token_ids":true"#));
        let error = encoder.encode_batch(&batch([4, 9]), true);
        assert_eq!(error.expect_err("unequal"), UnequalLengths(4, 9));
    }

    #[test]
    fn chat_sends_words_and_the_key_stays_in_a_header() {
        let mut encoder = encoder(Api::Chat);
        encoder.api_key = Some("secret".to_owned());
        encoder.sampling.logprobs = Some(0);
        let requests = encoder
            .encode_batch(&batch([4, 9]), false)
            .expect("any lengths");
        insta::assert_snapshot!(text(&requests[0]).replace('\r', ""), @r#"
        POST /v1/chat/completions HTTP/1.1
        Host: 127.0.0.1:8000
        User-Agent: rollbench/0.1.0
        Accept: text/event-stream
        Content-Type: application/json
        Content-Length: 230
        Authorization: Bearer secret

        {"model":"m","messages":[{"role":"user","content":"man thing life"}],"max_completion_tokens":4,"temperature":1.0,"top_p":1.0,"logprobs":true,"top_logprobs":0,"ignore_eos":true,"stream":true,"stream_options":{"include_usage":true}}
        "#);
    }
}
