//! The bytes of a stream, as vLLM 0.32 behind uvicorn writes them.

use std::fmt::Write;

use super::scenario::Scenario;

/// What the client asked for.
#[derive(Debug, serde::Deserialize)]
pub(crate) struct Body {
    pub(crate) model: String,
    #[serde(default)]
    pub(crate) prompt: Prompt,
    #[serde(default)]
    pub(crate) messages: Vec<serde_json::Value>,
    #[serde(default)]
    pub(crate) max_tokens: Option<u32>,
    #[serde(default)]
    pub(crate) max_completion_tokens: Option<u32>,
    #[serde(default = "one")]
    pub(crate) n: u32,
    #[serde(default)]
    pub(crate) return_token_ids: bool,
    #[serde(default)]
    pub(crate) stream: bool,
}

fn one() -> u32 {
    1
}

/// Of `/v1/completions`.
#[derive(Debug, serde::Deserialize)]
#[serde(untagged)]
pub(crate) enum Prompt {
    Ids(Vec<u32>),
    /// As `vllm bench serve` sends it.
    Text(String),
}

impl Default for Prompt {
    fn default() -> Self {
        Self::Ids(Vec::new())
    }
}

impl Prompt {
    /// What a test tells requests apart by.
    pub(crate) fn key(&self) -> u32 {
        match self {
            Self::Ids(ids) => ids.first().copied().unwrap_or(0),
            Self::Text(_) => 0,
        }
    }
}

impl Body {
    pub(crate) fn chat(&self) -> bool {
        !self.messages.is_empty()
    }

    pub(crate) fn asked(&self) -> u32 {
        self.max_tokens.or(self.max_completion_tokens).unwrap_or(16)
    }

    pub(crate) fn prompt_tokens(&self) -> u32 {
        if self.chat() {
            // As if every word were a token, and the template had three.
            let text = self.messages[0]["content"].as_str().unwrap_or("");
            text.split(' ').count() as u32 + 3
        } else {
            match &self.prompt {
                Prompt::Ids(ids) => ids.len() as u32,
                Prompt::Text(text) => text.split(' ').count() as u32,
            }
        }
    }
}

pub(crate) const HEAD: &str = "HTTP/1.1 200 OK\r\ndate: Tue, 01 Sep 2026 08:00:00 GMT\r\nserver: uvicorn\r\n\
    content-type: text/event-stream; charset=utf-8\r\ntransfer-encoding: chunked\r\n";

/// One event as one HTTP chunk.
pub(crate) fn event(out: &mut Vec<u8>, scenario: &Scenario, json: &str) {
    let end = if scenario.odd { "\r\n" } else { "\n" };
    let comment = if scenario.odd {
        ": ping \u{1F600}\r\n"
    } else {
        ""
    };
    let text = format!("{comment}data: {json}{end}{end}");
    if scenario.odd {
        // Cut inside the comment's emoji, between CR and LF, and after `data`.
        for piece in text.as_bytes().chunks(9) {
            out.extend_from_slice(format!("{:x}\r\n", piece.len()).as_bytes());
            out.extend_from_slice(piece);
            out.extend_from_slice(b"\r\n");
        }
    } else {
        out.extend_from_slice(format!("{:x}\r\n{text}\r\n", text.len()).as_bytes());
    }
}

/// A chunk with `tokens` tokens of a choice.
pub(crate) fn chunk(body: &Body, choice: u32, tokens: u32, finished: bool) -> String {
    let text = " token".repeat(tokens as usize);
    let finish = if finished { "\"length\"" } else { "null" };
    let ids = if body.return_token_ids {
        format!("{:?}", vec![7; tokens as usize])
    } else {
        "null".to_owned()
    };
    let mut json = String::with_capacity(320);
    let model = &body.model;
    if body.chat() {
        let _ = write!(
            json,
            "{{\"id\":\"chatcmpl-8d5ef1b56fd44a0cb2c9a2f3b06cfbd7\",\"object\":\"chat.completion.chunk\",\"created\":1788249600,\
             \"model\":\"{model}\",\"choices\":[{{\"index\":{choice},\"delta\":{{\"content\":\"{text}\"}},\"logprobs\":null,\
             \"finish_reason\":{finish},\"token_ids\":{ids}}}]}}"
        );
    } else {
        let _ = write!(
            json,
            "{{\"id\":\"cmpl-8d5ef1b56fd44a0cb2c9a2f3b06cfbd7\",\"object\":\"text_completion\",\"created\":1788249600,\
             \"model\":\"{model}\",\"choices\":[{{\"index\":{choice},\"text\":\"{text}\",\"logprobs\":null,\
             \"finish_reason\":{finish},\"stop_reason\":null,\"prompt_token_ids\":null,\"token_ids\":{ids}}}]}}"
        );
    }
    json
}

/// Chat's opening chunk.
pub(crate) fn role(body: &Body, choice: u32) -> String {
    format!(
        "{{\"id\":\"chatcmpl-8d5ef1b56fd44a0cb2c9a2f3b06cfbd7\",\"object\":\"chat.completion.chunk\",\"created\":1788249600,\
         \"model\":\"{}\",\"choices\":[{{\"index\":{choice},\"delta\":{{\"role\":\"assistant\",\"content\":\"\"}},\
         \"logprobs\":null,\"finish_reason\":null}}],\"prompt_token_ids\":null}}",
        body.model
    )
}

/// The trailing usage chunk.
pub(crate) fn usage(body: &Body, completion_tokens: u32) -> String {
    let prompt = body.prompt_tokens();
    format!(
        "{{\"id\":\"cmpl-8d5ef1b56fd44a0cb2c9a2f3b06cfbd7\",\"object\":\"text_completion\",\"created\":1788249600,\"model\":\"{}\",\
         \"choices\":[],\"usage\":{{\"prompt_tokens\":{prompt},\"total_tokens\":{},\"completion_tokens\":{completion_tokens}}}}}",
        body.model,
        prompt + completion_tokens,
    )
}
