//! Where the load goes: a URL as people write it, turned into an address and an endpoint.

use std::fmt;
use std::net::SocketAddr;

use reqwest::Url;

/// Which of the two streaming endpoints is used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Api {
    /// `/v1/completions`: prompts are token ids, so their lengths are exact.
    Completions,
    /// `/v1/chat/completions`: prompts are text.
    Chat,
}

impl Api {
    /// As on the command line: `completions` or `chat`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Chat => "chat",
        }
    }

    pub(crate) fn path(self) -> &'static str {
        match self {
            Self::Completions => "completions",
            Self::Chat => "chat/completions",
        }
    }
}

/// A resolved server and endpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// `http://host:port` and whatever precedes `/v1`.
    pub base: String,
    /// The `Host` header.
    pub host: String,
    /// The endpoint's path.
    pub path: String,
    /// The endpoint.
    pub api: Api,
    /// The host's addresses, in the resolver's order; those of a name are absent until it is resolved.
    pub addresses: Vec<SocketAddr>,
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}{}", self.host, self.path)
    }
}

/// A URL that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// It is no URL.
    #[error("`{0}` is not a URL ({1}); write http://HOST:PORT")]
    Invalid(String, String),
    /// It wants TLS.
    #[error(
        "`{0}`: TLS is not supported, it would be measured with the server; give the server's own http:// address"
    )]
    Tls(String),
    /// Neither `http` nor `https`.
    #[error("`{0}`: the scheme `{1}` is not http; write http://HOST:PORT")]
    Scheme(String, String),
    /// A key in the URL would end up in records.
    #[error(
        "the URL holds a user name or password; give the key in the environment (OPENAI_API_KEY)"
    )]
    Credentials,
    /// The host's name has no address.
    #[error("cannot resolve `{host}`: {source}")]
    Resolve {
        /// Host and port.
        host: String,
        /// Why.
        source: std::io::Error,
    },
}

impl Target {
    /// Understands `HOST:PORT`, `http://HOST:PORT`, `.../v1` and the whole endpoint. Asks nobody.
    pub fn parse(text: &str, api: Api) -> Result<Self, TargetError> {
        let whole = if text.contains("://") {
            text.to_owned()
        } else {
            format!("http://{text}")
        };
        let url =
            Url::parse(&whole).map_err(|e| TargetError::Invalid(text.to_owned(), e.to_string()))?;
        match url.scheme() {
            "http" => {}
            "https" => return Err(TargetError::Tls(text.to_owned())),
            other => return Err(TargetError::Scheme(text.to_owned(), other.to_owned())),
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(TargetError::Credentials);
        }
        let Some(name) = url.host_str() else {
            return Err(TargetError::Invalid(text.to_owned(), "no host".to_owned()));
        };
        let port = url.port_or_known_default().unwrap_or(80);
        let host = format!("{name}:{port}");
        let given = url.path().trim_end_matches('/');
        let root = [Api::Chat, Api::Completions]
            .iter()
            .find_map(|api| given.strip_suffix(api.path())?.strip_suffix('/'))
            .unwrap_or(given);
        let root = root.strip_suffix("/v1").unwrap_or(root);
        let addresses = host.parse().into_iter().collect();
        Ok(Self {
            base: format!("http://{host}{root}"),
            path: format!("{root}/v1/{}", api.path()),
            host,
            api,
            addresses,
        })
    }

    /// The same with the addresses of its name, which may take the resolver a while.
    pub(crate) async fn resolved(mut self) -> Result<Self, TargetError> {
        if self.addresses.is_empty() {
            let found = tokio::net::lookup_host(&self.host).await;
            let found = found.map_err(|source| TargetError::Resolve {
                host: self.host.clone(),
                source,
            })?;
            self.addresses.extend(found);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> String {
        Target::parse(text, Api::Completions)
            .map_or_else(|e| e.to_string(), |t| format!("{t} {}", t.base))
    }

    #[test]
    fn all_spellings_of_one_server() {
        for text in [
            "127.0.0.1:8000",
            "http://127.0.0.1:8000",
            "http://127.0.0.1:8000/",
            "http://127.0.0.1:8000/v1",
            "http://127.0.0.1:8000/v1/completions",
            "http://127.0.0.1:8000/v1/chat/completions/",
        ] {
            assert_eq!(
                parsed(text),
                "http://127.0.0.1:8000/v1/completions http://127.0.0.1:8000",
                "{text}"
            );
        }
        assert_eq!(
            parsed("http://[::1]/proxy/v1"),
            "http://[::1]:80/proxy/v1/completions http://[::1]:80/proxy"
        );
    }

    #[test]
    fn what_cannot_be_used_says_what_to_write() {
        insta::assert_snapshot!(
            ["https://x:1", "ftp://x", "http://", "http://u:p@x", "http://x:99999"]
                .map(parsed)
                .join("\n"),
            @r#"
        `https://x:1`: TLS is not supported, it would be measured with the server; give the server's own http:// address
        `ftp://x`: the scheme `ftp` is not http; write http://HOST:PORT
        `http://` is not a URL (empty host); write http://HOST:PORT
        the URL holds a user name or password; give the key in the environment (OPENAI_API_KEY)
        `http://x:99999` is not a URL (invalid port number); write http://HOST:PORT
        "#
        );
    }
}
