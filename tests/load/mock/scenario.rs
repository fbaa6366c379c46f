//! How the mock behaves for one request, read from the beginning of its path.

/// Behaviour of one response.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Scenario {
    /// First token after the request was read.
    pub(crate) ttft_ns: u64,
    /// Between two chunks.
    pub(crate) itl_ns: u64,
    /// Tokens in a chunk.
    pub(crate) pack: u32,
    /// What goes wrong.
    pub(crate) fault: Fault,
    /// After so many chunks of a choice (for faults inside a stream).
    pub(crate) at: u32,
    /// Only every so many requests have the fault.
    pub(crate) every: u64,
    /// Whether a usage chunk is sent.
    pub(crate) usage: bool,
    /// Tokens made besides those asked for.
    pub(crate) extra: i64,
    /// Lines end with CR LF, comments are sent, and pieces are cut in odd places.
    pub(crate) odd: bool,
    /// The last chunk has no token, only the finish reason.
    pub(crate) empty_end: bool,
    /// Of an HTTP error.
    pub(crate) status: u16,
    /// Each connection takes one request.
    pub(crate) close: bool,
    /// What `/v1/models` answers.
    pub(crate) models: Models,
}

/// What `/v1/models` answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Models {
    /// That there is one, `mock`.
    Mock,
    /// That there is none.
    None,
    /// A page.
    Html,
    /// 404.
    Missing,
    /// A redirect.
    Moved,
    /// Nothing, for ever.
    Stall,
    /// More than anybody wants to have.
    Endless,
}

/// What goes wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    /// An HTTP error with a JSON body.
    Status,
    /// A page instead of a stream.
    Html,
    /// One JSON document instead of a stream.
    Json,
    Redirect,
    /// No byte more, the connection stays open.
    Stall,
    /// The connection is reset.
    Reset,
    /// The connection is closed inside the stream.
    Cut,
    /// The response ends properly, but the stream does not.
    Early,
    /// An error event.
    Error,
    /// Something that is not HTTP.
    Garbage,
    /// A data line that is not JSON.
    Nonsense,
    /// The connection is closed as soon as the request is there.
    Hangup,
    /// A proxy's page for a server that is not there.
    Gateway,
    /// A stream that says it is compressed.
    Gzip,
    /// The engine gives the response up.
    Abort,
    /// Comments without end, and no token more.
    Ping,
}

impl Scenario {
    /// Reads `/key=value,key=value/v1/...`.
    pub(crate) fn parse(path: &str) -> Result<Self, String> {
        let mut scenario = Self {
            ttft_ns: 0,
            itl_ns: 0,
            pack: 1,
            fault: Fault::None,
            at: 0,
            every: 1,
            usage: true,
            extra: 0,
            odd: false,
            empty_end: false,
            status: 500,
            close: false,
            models: Models::Mock,
        };
        let first = path.trim_start_matches('/').split('/').next().unwrap_or("");
        for pair in first.split(',').filter(|_| first.contains('=')) {
            let (key, value) = pair.split_once('=').ok_or(pair)?;
            let number = || value.parse::<f64>().map_err(|_| pair.to_owned());
            match key {
                "ttft" => scenario.ttft_ns = (number()? * 1e6) as u64,
                "itl" => scenario.itl_ns = (number()? * 1e6) as u64,
                "pack" => scenario.pack = number()? as u32,
                "at" => scenario.at = number()? as u32,
                "every" => scenario.every = number()? as u64,
                "usage" => scenario.usage = number()? > 0.0,
                "extra" => scenario.extra = number()? as i64,
                "odd" => scenario.odd = number()? > 0.0,
                "end" => scenario.empty_end = number()? > 0.0,
                "status" => {
                    scenario.fault = Fault::Status;
                    scenario.status = number()? as u16;
                }
                "close" => scenario.close = number()? > 0.0,
                "models" => {
                    scenario.models = match value {
                        "none" => Models::None,
                        "html" => Models::Html,
                        "missing" => Models::Missing,
                        "moved" => Models::Moved,
                        "stall" => Models::Stall,
                        "endless" => Models::Endless,
                        _ => return Err(pair.to_owned()),
                    }
                }
                "fault" => {
                    scenario.fault = match value {
                        "html" => Fault::Html,
                        "json" => Fault::Json,
                        "redirect" => Fault::Redirect,
                        "stall" => Fault::Stall,
                        "reset" => Fault::Reset,
                        "cut" => Fault::Cut,
                        "early" => Fault::Early,
                        "error" => Fault::Error,
                        "garbage" => Fault::Garbage,
                        "nonsense" => Fault::Nonsense,
                        "hangup" => Fault::Hangup,
                        "gateway" => Fault::Gateway,
                        "gzip" => Fault::Gzip,
                        "abort" => Fault::Abort,
                        "ping" => Fault::Ping,
                        _ => return Err(pair.to_owned()),
                    }
                }
                _ => return Err(pair.to_owned()),
            }
        }
        Ok(scenario)
    }
}
