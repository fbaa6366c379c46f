//! The server that is loaded: which it is, what it serves, and whether it makes tokens. What is wrong with all requests
//! is said before the first is measured, once and with what to do about it.

use super::options::LoadOptions;
use crate::engine::{AttachedEngine, Client, LoadShape};
use crate::error::{CommandError, Exit};
use crate::load::{Control, ControlError, LoadError, RequestEncoder, Target, TargetError};

/// A server that takes requests.
pub(super) struct Server {
    pub(super) target: Target,
    /// The model's name there.
    pub(super) model: String,
    /// What it says it is; absent if it does not say.
    pub(super) version: Option<String>,
    pub(super) engine: AttachedEngine,
}

impl Server {
    /// Asks the server, and sends it one request.
    pub(super) async fn find(options: &LoadOptions) -> Result<Self, CommandError> {
        let target = Target::parse(&options.url, options.online.api)?
            .resolved()
            .await?;
        let control = Control::new(&target.base, options.api_key.clone())?;
        let model = model(options, &control).await?;
        let version = control.version().await;
        let encoder = RequestEncoder {
            target: target.clone(),
            model: model.clone(),
            sampling: options.spec.sampling.clone(),
            ignore_eos: options.ignore_eos,
            token_ids: options.token_ids,
            api_key: options.api_key.clone(),
            headers: options.headers.clone(),
        };
        let client = Client::new(control, encoder, options.fan_out, options.timeouts);
        if let Err(words) = client.prove().await? {
            return Err(refused(&target, options, &words));
        }
        for shape in shapes(options) {
            client.allow_streams(&shape, options.requests())?;
        }
        let engine = AttachedEngine::new(client, version.clone());
        Ok(Self {
            target,
            model,
            version,
            engine,
        })
    }
}

fn shapes(options: &LoadOptions) -> impl Iterator<Item = LoadShape> {
    options.online.points().into_iter().map(|point| LoadShape {
        pacing: point.pacing,
        point: point.point,
        ..LoadShape::default()
    })
}

/// The model's name at the server: as given, if the server has it.
async fn model(options: &LoadOptions, control: &Control) -> Result<String, CommandError> {
    let models = control.models().await?;
    let names: Vec<&str> = models.iter().map(|m| m.id.as_str()).collect();
    match &options.model {
        // A server that lists none may have one all the same.
        Some(name) if names.is_empty() || names.contains(&name.as_str()) => Ok(name.clone()),
        Some(name) => Err(
            CommandError::usage(format!("the server has no model `{name}`"))
                .hint(format!("it has: {}", names.join(", "))),
        ),
        None => names.first().map(|name| (*name).to_owned()).ok_or_else(|| {
            CommandError::environment("the server lists no model").hint("name one with --model")
        }),
    }
}

impl From<TargetError> for CommandError {
    fn from(error: TargetError) -> Self {
        let exit = match error {
            TargetError::Resolve { .. } => Exit::Environment,
            _ => Exit::Usage,
        };
        Self::new(exit, error)
    }
}

impl From<ControlError> for CommandError {
    fn from(error: ControlError) -> Self {
        let hint = match &error {
            ControlError::Unreachable { .. } => {
                "is the server up, and is this its host and port? `vllm serve` listens on port 8000"
            }
            ControlError::Status {
                status: 401 | 403, ..
            } => "the server wants a key: set OPENAI_API_KEY",
            ControlError::Status {
                status: 300..=399, ..
            } => "the server redirects: give the address that it redirects to",
            _ => "give the server's root, such as http://127.0.0.1:8000; /v1 is added",
        };
        Self::new(Exit::Environment, error).hint(hint)
    }
}

impl From<LoadError> for CommandError {
    fn from(error: LoadError) -> Self {
        match error {
            LoadError::Pacing(_) | LoadError::Endless | LoadError::Nothing(_) => {
                Self::new(Exit::Usage, error)
            }
            LoadError::Streams(_) => Self::new(Exit::Environment, error)
                .hint("raise it (`ulimit -Hn`, or the container's --ulimit nofile=...), or lower --max-concurrency"),
            LoadError::Connect { .. } => {
                Self::new(Exit::Environment, error).hint("is the server up, and is this its host and port?")
            }
            LoadError::Stopped | LoadError::Io(_) => Self::new(Exit::Internal, error),
        }
    }
}

/// The first request failed as `error` says.
pub(super) fn refused(target: &Target, options: &LoadOptions, error: &str) -> CommandError {
    let failure = CommandError::environment(format!("a first request to {target} failed: {error}"));
    let hint = if error.starts_with("HTTP 400") || error.starts_with("HTTP 422") {
        if options.ignore_eos {
            "a server that does not know vLLM's `ignore_eos` needs --no-ignore-eos"
        } else {
            "the server's words above say what it does not take"
        }
    } else if error.starts_with("HTTP 401") || error.starts_with("HTTP 403") {
        "the server wants a key: set OPENAI_API_KEY"
    } else if error.starts_with("HTTP 404") {
        "the server does not have this endpoint; try --api chat, or give its root as URL"
    } else if error.starts_with("HTTP 3") {
        "the server redirects: give the address that it redirects to"
    } else if ["HTTP 502", "HTTP 503", "HTTP 504"]
        .iter()
        .any(|s| error.starts_with(s))
    {
        "the server, or one behind it, is not ready: wait until it is, or look into its log"
    } else if error.starts_with("no token within") {
        "the server takes requests and makes no token: look into its log"
    } else if error.contains("instead of a token stream") || error.starts_with("no token stream") {
        "this is no OpenAI-compatible server that streams"
    } else {
        "look into the server's log"
    };
    failure.hint(hint)
}
