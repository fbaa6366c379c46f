//! Where a checkpoint is: a folder, a demo checkpoint or a shape that rollbench makes, or a name on the Hugging Face hub.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::ShapeScheme;
use crate::record::read_regular;

/// A location as written in a configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Location<'a> {
    /// A folder.
    Folder(&'a Path),
    /// `managed:NAME`: a demo checkpoint.
    Managed(&'a str),
    /// `hf:org/name`.
    Hub(&'a str),
    /// `shapes:SCHEME:OF`, written by [`Location::of_shape`]: no weights.
    Shape {
        /// A known architecture, or a folder.
        of: &'a str,
        scheme: ShapeScheme,
    },
}

impl<'a> Location<'a> {
    /// Reads a location.
    pub(crate) fn parse(text: &'a str) -> Self {
        match text.split_once(':') {
            Some(("hf", name)) => Self::Hub(name),
            Some(("managed", name)) => Self::Managed(name),
            Some(("shapes", shape)) => shape
                .split_once(':')
                .and_then(|(scheme, of)| Some((ShapeScheme::of(scheme)?, of)))
                .map_or(Self::Folder(Path::new(text)), |(scheme, of)| Self::Shape {
                    of,
                    scheme,
                }),
            _ => Self::Folder(Path::new(text)),
        }
    }

    /// The text for a shape.
    pub(crate) fn of_shape(of: &str, scheme: ShapeScheme) -> String {
        format!("shapes:{}:{of}", scheme.name())
    }
}

/// The local cache of the Hugging Face hub.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct HubCache(Option<PathBuf>);

impl HubCache {
    /// By `huggingface_hub`'s own rules: `HF_HUB_CACHE`, else `HF_HOME/hub`, else `XDG_CACHE_HOME/huggingface/hub`, else
    /// `~/.cache/huggingface/hub`.
    pub(crate) fn from_env(env: &BTreeMap<String, String>) -> Self {
        let set = |name: &str| env.get(name).filter(|v| !v.is_empty()).map(PathBuf::from);
        let cache = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")));
        Self(cache)
    }

    /// The folder of a snapshot that is here; absent if it has to be downloaded.
    pub(crate) fn snapshot(&self, name: &str, revision: Option<&str>) -> Option<PathBuf> {
        let folder = format!("models--{}", name.replace('/', "--"));
        let repository = self.0.as_ref()?.join(folder);
        let revision = revision.unwrap_or("main");
        let commit = read_regular(&repository.join("refs").join(revision)).map_or_else(
            |_| revision.to_owned(),
            |bytes| String::from_utf8_lossy(&bytes).trim().to_owned(),
        );
        let snapshot = repository.join("snapshots").join(commit);
        snapshot.join("config.json").exists().then_some(snapshot)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn locations_are_told_apart() {
        assert_eq!(
            Location::parse("hf:Qwen/Qwen3-0.6B"),
            Location::Hub("Qwen/Qwen3-0.6B")
        );
        assert_eq!(Location::parse("managed:x"), Location::Managed("x"));
        let scheme = ShapeScheme::Fp8Block;
        for of in ["qwen3-4b", "/a:b/c"] {
            let text = Location::of_shape(of, scheme);
            assert_eq!(Location::parse(&text), Location::Shape { of, scheme });
        }
        assert_eq!(
            Location::parse("/a:b/c"),
            Location::Folder(Path::new("/a:b/c"))
        );
    }

    #[test]
    fn a_snapshot_is_found_by_branch_and_by_commit() {
        let dir = tempfile::tempdir().expect("temporary folder");
        let repository = dir.path().join("hub/models--org--name");
        let snapshot = repository.join("snapshots/abc");
        std::fs::create_dir_all(&snapshot).expect("made");
        std::fs::create_dir_all(repository.join("refs")).expect("made");
        std::fs::write(repository.join("refs/main"), "abc\n").expect("written");
        std::fs::write(snapshot.join("config.json"), "{}").expect("written");
        let env = BTreeMap::from([("HF_HOME".to_owned(), dir.path().display().to_string())]);
        let cache = HubCache::from_env(&env);
        assert_eq!(cache.snapshot("org/name", None), Some(snapshot.clone()));
        assert_eq!(cache.snapshot("org/name", Some("abc")), Some(snapshot));
        assert_eq!(cache.snapshot("org/name", Some("v2")), None);
        assert_eq!(cache.snapshot("org/other", None), None);
    }
}
