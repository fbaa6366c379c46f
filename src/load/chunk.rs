//! What a benchmark needs of one streamed chunk of `/v1/completions` or `/v1/chat/completions`, and nothing else:
//! text is looked at only to see whether there is any.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

/// One parsed chunk.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Chunk {
    /// One entry per choice in it: usually one, none in a usage chunk.
    pub choices: Vec<ChoiceDelta>,
    /// Token counts; with `stream_options.include_usage` in the last chunk.
    pub usage: Option<Usage>,
    /// The server's words, if this is an error instead of a chunk.
    pub error: Option<String>,
}

/// What a chunk says about one choice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ChoiceDelta {
    /// Which of the request's choices it belongs to.
    pub index: u32,
    /// Whether it carries text, reasoning or a tool call.
    pub has_content: bool,
    /// Whether it names chat's role.
    pub has_role: bool,
    /// How many token ids it carries; absent unless `return_token_ids` was asked for and is known there.
    pub token_ids: Option<u32>,
    /// Whether it ends the choice.
    pub finished: bool,
    /// Whether it ends it because the engine gave it up (`finish_reason: "abort"`).
    pub aborted: bool,
}

impl ChoiceDelta {
    /// Chat's opening chunk: a role and no token.
    pub fn is_role_only(&self) -> bool {
        self.has_role && !self.has_content && !self.finished && self.token_ids.unwrap_or(0) == 0
    }
}

/// Token counts of a whole request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
pub struct Usage {
    /// Of the prompt.
    #[serde(default)]
    pub prompt_tokens: u32,
    /// Of all choices together.
    #[serde(default)]
    pub completion_tokens: u32,
}

/// A data line that is no chunk.
#[derive(Debug, thiserror::Error)]
#[error("a data line that is no chunk ({source}): {excerpt}")]
pub struct ChunkError {
    source: serde_json::Error,
    excerpt: String,
}

impl Chunk {
    /// Parses the data of one event (not `[DONE]`).
    pub fn parse(data: &[u8]) -> Result<Self, ChunkError> {
        let wire: WireChunk = serde_json::from_slice(data).map_err(|source| ChunkError {
            source,
            excerpt: super::excerpt(data, 200),
        })?;
        let error = match (wire.error, wire.choices.is_some()) {
            (Some(error), _) => Some(error_text(error)),
            (None, false) => wire.message.map(error_text),
            (None, true) => None,
        };
        Ok(Self {
            choices: wire
                .choices
                .unwrap_or_default()
                .into_iter()
                .map(ChoiceDelta::from)
                .collect(),
            usage: wire.usage,
            error,
        })
    }
}

/// `{"message": ...}`, a plain string, or whatever it is.
fn error_text(error: Value) -> String {
    match error {
        Value::String(text) => text,
        Value::Object(mut fields) => match fields.remove("message") {
            Some(Value::String(text)) => text,
            Some(other) => other.to_string(),
            None => Value::Object(fields).to_string(),
        },
        other => other.to_string(),
    }
}

#[derive(Deserialize)]
struct WireChunk {
    #[serde(default)]
    choices: Option<Vec<WireChoice>>,
    #[serde(default)]
    usage: Option<Usage>,
    #[serde(default)]
    error: Option<Value>,
    /// Errors of vLLM before 0.11: `{"object":"error","message":...}`.
    #[serde(default)]
    message: Option<Value>,
}

#[derive(Deserialize)]
struct WireChoice {
    #[serde(default)]
    index: u32,
    #[serde(default)]
    text: Filled,
    #[serde(default)]
    delta: Option<WireDelta>,
    #[serde(default)]
    token_ids: Count,
    #[serde(default)]
    finish_reason: Ending,
}

#[derive(Deserialize, Default)]
struct WireDelta {
    #[serde(default)]
    role: Filled,
    #[serde(default)]
    content: Filled,
    #[serde(default)]
    reasoning: Filled,
    #[serde(default)]
    reasoning_content: Filled,
    #[serde(default)]
    tool_calls: Filled,
}

impl From<WireChoice> for ChoiceDelta {
    fn from(wire: WireChoice) -> Self {
        let delta = wire.delta.unwrap_or_default();
        Self {
            index: wire.index,
            has_content: wire.text.0
                || delta.content.0
                || delta.reasoning.0
                || delta.reasoning_content.0
                || delta.tool_calls.0,
            has_role: delta.role.0,
            token_ids: wire.token_ids.0,
            finished: wire.finish_reason != Ending::Open,
            aborted: wire.finish_reason == Ending::Aborted,
        }
    }
}

/// What a `finish_reason` says.
#[derive(Default, Clone, Copy, PartialEq, Eq)]
enum Ending {
    /// Null or empty: more is to come.
    #[default]
    Open,
    Whole,
    Aborted,
}

impl<'de> Deserialize<'de> for Ending {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let reason = Option::<Cow<'de, str>>::deserialize(deserializer)?;
        Ok(match reason.as_deref() {
            None | Some("") => Self::Open,
            Some("abort") => Self::Aborted,
            Some(_) => Self::Whole,
        })
    }
}

/// Whether there is something: a string or an array that is not empty, or any other value but null.
#[derive(Default, Clone, Copy)]
struct Filled(bool);

impl<'de> Deserialize<'de> for Filled {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Filled;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("any value")
            }
            fn visit_unit<E>(self) -> Result<Filled, E> {
                Ok(Filled(false))
            }
            fn visit_str<E>(self, text: &str) -> Result<Filled, E> {
                Ok(Filled(!text.is_empty()))
            }
            fn visit_bool<E>(self, _: bool) -> Result<Filled, E> {
                Ok(Filled(true))
            }
            fn visit_u64<E>(self, _: u64) -> Result<Filled, E> {
                Ok(Filled(true))
            }
            fn visit_i64<E>(self, _: i64) -> Result<Filled, E> {
                Ok(Filled(true))
            }
            fn visit_f64<E>(self, _: f64) -> Result<Filled, E> {
                Ok(Filled(true))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Filled, A::Error> {
                Ok(Filled(count(seq)? > 0))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Filled, A::Error> {
                while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                Ok(Filled(true))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

/// The length of an array; absent for null.
#[derive(Default, Clone, Copy)]
struct Count(Option<u32>);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Look;
        impl<'de> Visitor<'de> for Look {
            type Value = Count;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an array or null")
            }
            fn visit_unit<E>(self) -> Result<Count, E> {
                Ok(Count(None))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Count, A::Error> {
                Ok(Count(Some(count(seq)?)))
            }
        }
        deserializer.deserialize_any(Look)
    }
}

fn count<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<u32, A::Error> {
    let mut n = 0;
    while seq.next_element::<IgnoredAny>()?.is_some() {
        n += 1;
    }
    Ok(n)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Chunk {
        Chunk::parse(text.as_bytes()).expect("a chunk")
    }

    fn only(chunk: &Chunk) -> ChoiceDelta {
        assert_eq!(chunk.choices.len(), 1);
        chunk.choices[0]
    }

    #[test]
    fn a_completion_chunk_of_vllm() {
        let chunk = parse(
            r#"{"id":"cmpl-1","object":"text_completion","created":1,"model":"m","choices":[{"index":2,"text":" \"a\u00e9\n","logprobs":null,"finish_reason":null,"stop_reason":null,"prompt_token_ids":[1,2,3],"token_ids":[7,8]}]}"#,
        );
        assert_eq!(
            only(&chunk),
            ChoiceDelta {
                index: 2,
                has_content: true,
                has_role: false,
                token_ids: Some(2),
                finished: false,
                aborted: false,
            }
        );
        let last = parse(
            r#"{"choices":[{"index":0,"text":"","finish_reason":"length","token_ids":null}]}"#,
        );
        assert!(only(&last).finished);
        assert!(!only(&last).has_content);
        assert_eq!(only(&last).token_ids, None);
        assert!(!only(&last).aborted);
        let aborted = parse(r#"{"choices":[{"index":0,"text":"","finish_reason":"abort"}]}"#);
        assert!(only(&aborted).finished && only(&aborted).aborted);
    }

    #[test]
    fn chat_chunks_role_content_reasoning_and_tools() {
        let role = parse(
            r#"{"choices":[{"index":0,"delta":{"role":"assistant","content":""},"finish_reason":null}]}"#,
        );
        assert!(only(&role).is_role_only());
        for delta in [
            r#"{"content":"x"}"#,
            r#"{"reasoning_content":"x"}"#,
            r#"{"reasoning":"x"}"#,
            r#"{"tool_calls":[{"index":0}]}"#,
            r#"{"role":"assistant","content":"x"}"#,
        ] {
            let chunk = parse(&format!(r#"{{"choices":[{{"index":0,"delta":{delta}}}]}}"#));
            assert!(only(&chunk).has_content, "{delta}");
            assert!(!only(&chunk).is_role_only(), "{delta}");
        }
    }

    #[test]
    fn usage_with_empty_choices() {
        let chunk = parse(
            r#"{"choices":[],"usage":{"prompt_tokens":5,"total_tokens":12,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":1}}}"#,
        );
        assert!(chunk.choices.is_empty());
        assert_eq!(
            chunk.usage,
            Some(Usage {
                prompt_tokens: 5,
                completion_tokens: 7
            })
        );
        assert_eq!(parse(r#"{"choices":[],"usage":null}"#).usage, None);
    }

    #[test]
    fn errors_of_old_and_new_servers() {
        for text in [
            r#"{"error":{"message":"no","type":"BadRequestError","code":400}}"#,
            r#"{"object":"error","message":"no","code":400}"#,
            r#"{"error":"no"}"#,
        ] {
            assert_eq!(parse(text).error.as_deref(), Some("no"), "{text}");
        }
        assert_eq!(
            parse(r#"{"error":{"code":1}}"#).error.as_deref(),
            Some(r#"{"code":1}"#)
        );
        assert_eq!(parse(r#"{"choices":[],"error":null}"#).error, None);
    }

    #[test]
    fn nonsense_is_quoted() {
        let error = Chunk::parse(b"<html>").expect_err("no chunk");
        assert!(error.to_string().ends_with(": <html>"), "{error}");
        assert!(Chunk::parse(b"{\"choices\":[{\"text\":\"\xff\"}]}").is_err());
    }
}
