//! Everything that is asked of a server beside the load: which models it serves, its version, its counters.

use std::time::Duration;

use reqwest::header::LOCATION;
use reqwest::{Client, StatusCode};
use serde::Deserialize;

use super::counters::ServerReading;
use super::excerpt;

/// No question of ours takes a healthy server this long.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest answer that is read, of metrics and of everything else: whoever sends more is no server of ours.
const METRICS_BYTES: usize = 16 << 20;
const ANSWER_BYTES: usize = 1 << 20;

/// Asks one server.
#[derive(Debug, Clone)]
pub(crate) struct Control {
    client: Client,
    base: String,
    api_key: Option<String>,
}

/// A model that a server has.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ServedModel {
    /// Its name there.
    pub id: String,
    /// Where it was loaded from; not every server tells.
    #[serde(default)]
    pub root: Option<String>,
    /// Longest prompt and response together; not every server tells.
    #[serde(default)]
    pub max_model_len: Option<u64>,
}

#[derive(Deserialize)]
struct Models {
    data: Vec<ServedModel>,
}

/// A question that got no usable answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControlError {
    /// The request did not come through.
    #[error("cannot reach {url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// The innermost cause.
        reason: String,
    },
    /// Another status than 200.
    #[error("{url} answers HTTP {status}: {body}")]
    Status {
        /// What was asked.
        url: String,
        /// The status.
        status: u16,
        /// The beginning of the body.
        body: String,
    },
    /// The answer does not end where an answer would.
    #[error("{url} answers with more than {} MiB", limit >> 20)]
    TooLong {
        /// What was asked.
        url: String,
        /// Bytes that are read of an answer.
        limit: usize,
    },
    /// The answer is something else than was asked for.
    #[error("{url} does not answer as an OpenAI-compatible server: {body}")]
    Foreign {
        /// What was asked.
        url: String,
        /// The beginning of the body.
        body: String,
    },
}

impl Control {
    /// For the server at `base` (`http://host:port`). Proxies of the environment are not used: they would be measured.
    ///
    /// # Errors
    /// If no HTTP client can be made.
    pub(crate) fn new(base: &str, api_key: Option<String>) -> Result<Self, ControlError> {
        let client = Client::builder()
            .no_proxy()
            .redirect(reqwest::redirect::Policy::none())
            .timeout(PATIENCE)
            .build()
            .map_err(|error| unreachable(base, &error))?;
        Ok(Self {
            client,
            base: base.to_owned(),
            api_key,
        })
    }

    /// The models that the server has.
    pub(crate) async fn models(&self) -> Result<Vec<ServedModel>, ControlError> {
        let (url, body) = self.get("/v1/models").await?;
        serde_json::from_slice::<Models>(&body)
            .map(|models| models.data)
            .map_err(|_| ControlError::Foreign {
                url,
                body: excerpt(&body, 200),
            })
    }

    /// The version that the server says it has; absent if it does not say.
    pub(crate) async fn version(&self) -> Option<String> {
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let (_, body) = self.get("/version").await.ok()?;
        Some(serde_json::from_slice::<Version>(&body).ok()?.version)
    }

    /// Whether `/health` says so.
    pub(crate) async fn is_healthy(&self) -> bool {
        self.get("/health").await.is_ok()
    }

    /// The server's metrics as text; absent if it has none.
    pub(crate) async fn metrics(&self) -> Option<String> {
        let (_, body) = self.get_at_most("/metrics", METRICS_BYTES).await.ok()?;
        Some(String::from_utf8_lossy(&body).into_owned())
    }

    /// The server's counters; absent if it has none that we know.
    pub(crate) async fn reading(&self) -> Option<ServerReading> {
        let reading = ServerReading::parse(&self.metrics().await?);
        (!reading.is_empty()).then_some(reading)
    }

    /// Empties the prefix cache; false if the server does not let us (vLLM: only with `VLLM_SERVER_DEV_MODE=1`).
    pub(crate) async fn reset_prefix_cache(&self) -> bool {
        let request = self.authorized(
            self.client
                .post(format!("{}/reset_prefix_cache", self.base)),
        );
        request
            .send()
            .await
            .is_ok_and(|answer| answer.status() == StatusCode::OK)
    }

    /// Starts (or stops) the server's profiler; stopping waits until the trace is written.
    pub(crate) async fn profile(&self, start: bool, limit: Duration) -> Result<(), ControlError> {
        let path = if start {
            "start_profile"
        } else {
            "stop_profile"
        };
        let url = format!("{}/{path}", self.base);
        let request = self.authorized(self.client.post(&url)).timeout(limit);
        let answer = request
            .send()
            .await
            .map_err(|error| unreachable(&url, &error))?;
        match answer.status() {
            StatusCode::OK => Ok(()),
            status => Err(ControlError::Status {
                url,
                status: status.as_u16(),
                body: String::new(),
            }),
        }
    }

    async fn get(&self, path: &str) -> Result<(String, Vec<u8>), ControlError> {
        self.get_at_most(path, ANSWER_BYTES).await
    }

    async fn get_at_most(
        &self,
        path: &str,
        limit: usize,
    ) -> Result<(String, Vec<u8>), ControlError> {
        let url = format!("{}{path}", self.base);
        let answer = self.authorized(self.client.get(&url)).send().await;
        let mut answer = answer.map_err(|error| unreachable(&url, &error))?;
        let status = answer.status();
        if status.is_redirection()
            && let Some(to) = answer.headers().get(LOCATION)
        {
            return Err(ControlError::Status {
                url,
                status: status.as_u16(),
                body: format!("redirected to {}", excerpt(to.as_bytes(), 200)),
            });
        }
        let mut body = Vec::new();
        while let Some(piece) = answer
            .chunk()
            .await
            .map_err(|error| unreachable(&url, &error))?
        {
            if body.len() + piece.len() > limit {
                return Err(ControlError::TooLong { url, limit });
            }
            body.extend_from_slice(&piece);
        }
        if status == StatusCode::OK {
            Ok((url, body))
        } else {
            Err(ControlError::Status {
                url,
                status: status.as_u16(),
                body: excerpt(&body, 200),
            })
        }
    }

    fn authorized(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        match &self.api_key {
            Some(key) => request.bearer_auth(key),
            None => request,
        }
    }
}

/// The outer messages of a client error say only that there was one.
fn unreachable(url: &str, error: &reqwest::Error) -> ControlError {
    let mut cause: &dyn std::error::Error = error;
    while let Some(next) = cause.source() {
        cause = next;
    }
    ControlError::Unreachable {
        url: url.to_owned(),
        reason: if error.is_timeout() {
            format!("no answer within {} s", PATIENCE.as_secs())
        } else {
            cause.to_string()
        },
    }
}
