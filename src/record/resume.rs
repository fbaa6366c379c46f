//! What `--resume` may keep, and what forbids it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde_json::Value;
use sha2::{Digest, Sha256};

use super::{Arm, CellRecord, Conditions, EngineFacts};

/// What a cell's record already holds.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ResumeState {
    /// Complete engine starts, by arm and block: not run again.
    pub complete: BTreeSet<(Arm, u32)>,
    /// Engine starts tried so far, whatever became of them: the next one's `attempt`.
    pub attempts: BTreeMap<(Arm, u32), u32>,
    /// The session of the record; absent if there is no record.
    pub session: Option<String>,
}

impl ResumeState {
    pub(crate) fn of(record: &CellRecord) -> Self {
        let mut state = Self {
            session: Some(record.session.id.clone()),
            ..Self::default()
        };
        for start in &record.starts {
            *state.attempts.entry((start.arm, start.block)).or_default() += 1;
            if start.is_complete() {
                state.complete.insert((start.arm, start.block));
            }
        }
        state
    }

    /// Whether this start is there and complete.
    pub fn has(&self, arm: Arm, block: u32) -> bool {
        self.complete.contains(&(arm, block))
    }
}

/// One thing that is not as it was.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// What: a setting's dotted path, `checkpoint`, `engine vllm` ...
    pub what: String,
    /// In the record; absent if it was not there.
    pub before: Option<Value>,
    /// Now; absent if it is not there any more.
    pub now: Option<Value>,
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |value: &Option<Value>| match value {
            None => "(not set)".to_owned(),
            Some(Value::String(text)) => text.clone(),
            Some(value) => value.to_string(),
        };
        write!(
            f,
            "{}: {} -> {}",
            self.what,
            shown(&self.before),
            shown(&self.now)
        )
    }
}

/// The differences that forbid putting starts of `now` beside those of `before`; empty if there are none.
/// An empty digest is unknown and forbids nothing.
pub(crate) fn changes(before: &CellRecord, now: &CellRecord) -> Vec<Change> {
    let mut changes = Vec::new();
    let differs = differ(&before.fingerprint.config, &now.fingerprint.config);
    let unlike = Conditions::planned(now).unlike(&Conditions::planned(before));
    // A configuration may differ in other things too; what makes a difference here always forbids it.
    if !differs {
        changes.extend(unlike.into_iter().map(|unlike| Change {
            what: unlike.what,
            before: Some(Value::from(unlike.there)),
            now: Some(Value::from(unlike.here)),
        }));
    }
    if differs {
        let settings = setting_changes(before, now);
        if settings.is_empty() {
            changes.push(digest_change(
                "configuration (its settings look the same)",
                &before.fingerprint.config,
                &now.fingerprint.config,
            ));
        }
        changes.extend(settings);
    }
    if differ(&before.fingerprint.checkpoint, &now.fingerprint.checkpoint) {
        let json = |record: &CellRecord| {
            record
                .cell
                .checkpoint
                .as_ref()
                .and_then(|c| serde_json::to_value(c).ok())
        };
        let (old, new) = (json(before), json(now));
        changes.push(if old == new {
            digest_change(
                "checkpoint (its files)",
                &before.fingerprint.checkpoint,
                &now.fingerprint.checkpoint,
            )
        } else {
            Change {
                what: "checkpoint".to_owned(),
                before: old,
                now: new,
            }
        });
    }
    if differ(&before.fingerprint.engine, &now.fingerprint.engine) {
        changes.push(digest_change(
            "engine",
            &before.fingerprint.engine,
            &now.fingerprint.engine,
        ));
    }
    changes
}

fn differ(before: &str, now: &str) -> bool {
    !before.is_empty() && !now.is_empty() && before != now
}

fn digest_change(what: &str, before: &str, now: &str) -> Change {
    let short = |digest: &str| Some(Value::String(digest.chars().take(12).collect()));
    Change {
        what: what.to_owned(),
        before: short(before),
        now: short(now),
    }
}

fn setting_changes(before: &CellRecord, now: &CellRecord) -> Vec<Change> {
    let keys = before.settings.keys().chain(
        now.settings
            .keys()
            .filter(|k| !before.settings.contains_key(*k)),
    );
    keys.filter_map(|key| {
        let old = before.settings.get(key).map(|s| &s.value);
        let new = now.settings.get(key).map(|s| &s.value);
        (old != new).then(|| Change {
            what: key.clone(),
            before: old.cloned(),
            now: new.cloned(),
        })
    })
    .collect()
}

/// What differs between the engine of earlier complete starts and one that is ready now: platform and versions.
pub(crate) fn engine_changes(earlier: &EngineFacts, now: &EngineFacts) -> Vec<Change> {
    let text = |value: Option<&String>| value.map(|v| Value::String(v.clone()));
    let mut changes = Vec::new();
    if earlier.platform != now.platform {
        changes.push(Change {
            what: "engine platform".to_owned(),
            before: text(Some(&earlier.platform)),
            now: text(Some(&now.platform)),
        });
    }
    let names: BTreeSet<_> = earlier.versions.keys().chain(now.versions.keys()).collect();
    for name in names {
        let (old, new) = (earlier.versions.get(name), now.versions.get(name));
        if old != new {
            changes.push(Change {
                what: format!("engine {name}"),
                before: text(old),
                now: text(new),
            });
        }
    }
    changes
}

/// The digest of an engine for [`Fingerprint::engine`](super::Fingerprint::engine): its platform and versions.
pub(crate) fn engine_fingerprint(facts: &EngineFacts) -> String {
    let mut hash = Sha256::new();
    hash.update(facts.platform.as_bytes());
    for (name, version) in &facts.versions {
        hash.update(format!("\n{name}={version}"));
    }
    hex(&hash.finalize())
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}
