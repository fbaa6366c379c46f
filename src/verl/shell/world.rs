//! The state of the shell on one way through the script.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::value::Value;

/// A word after all expansions, and the line where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verl) struct Field {
    pub(in crate::verl) value: Value,
    pub(in crate::verl) line: usize,
}

/// A program that the script calls, with its arguments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::verl) struct Call {
    pub(in crate::verl) words: Vec<Field>,
    pub(in crate::verl) line: usize,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Variable {
    Scalar(Value),
    Array(Vec<Field>),
}

/// Whether something holds, or whether a command succeeds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Truth {
    /// What it is where the caller sets nothing.
    pub(super) now: bool,
    /// Whether it can be no other way.
    pub(super) certain: bool,
}

impl Truth {
    pub(super) const YES: Self = Self::certain(true);
    pub(super) const NO: Self = Self::certain(false);

    pub(super) const fn certain(now: bool) -> Self {
        Self { now, certain: true }
    }

    pub(super) const fn perhaps(now: bool) -> Self {
        Self {
            now,
            certain: false,
        }
    }

    pub(super) fn not(self) -> Self {
        Self {
            now: !self.now,
            ..self
        }
    }

    pub(super) fn and(self, other: Self) -> Self {
        if self == Self::NO || other == Self::NO {
            return Self::NO;
        }
        Self {
            now: self.now && other.now,
            certain: self.certain && other.certain,
        }
    }

    pub(super) fn or(self, other: Self) -> Self {
        self.not().and(other.not()).not()
    }
}

/// Where the script goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Flow {
    Next,
    Break,
    Continue,
    Return,
    Exit,
}

/// One way through the script.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct World {
    /// Worlds share them until one sets something.
    pub(super) variables: Rc<BTreeMap<String, Variable>>,
    /// What `local` hid, for each function that is being called.
    pub(super) hidden: Vec<BTreeMap<String, Option<Variable>>>,
    /// Absent outside functions before `set --`: they are the caller's.
    pub(super) arguments: Option<Vec<Field>>,
    pub(super) calls: Vec<Call>,
    /// Of the commands so far, as far as somebody may read it.
    pub(super) output: Value,
    pub(super) status: Truth,
    /// The variable of the caller's that the last condition found given, where it ended so.
    pub(super) given: Option<(String, bool)>,
    pub(super) flow: Flow,
    /// Commands whose output differs between branches, while the word they stand in is expanded.
    pub(super) outputs: Vec<(String, Vec<Value>)>,
    /// Their outputs on this way.
    pub(super) chosen: BTreeMap<String, Value>,
}

impl World {
    pub(super) fn new() -> Self {
        Self {
            variables: Rc::default(),
            hidden: Vec::new(),
            arguments: None,
            calls: Vec::new(),
            output: Value::default(),
            status: Truth::YES,
            given: None,
            flow: Flow::Next,
            outputs: Vec::new(),
            chosen: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<&Variable> {
        self.variables.get(name)
    }

    pub(super) fn set(&mut self, name: &str, variable: Variable) {
        Rc::make_mut(&mut self.variables).insert(name.to_owned(), variable);
    }

    /// What a branch knows of a variable of the caller's.
    pub(super) fn assume(&mut self, name: &str, value: Value) {
        Rc::make_mut(&mut self.variables)
            .entry(name.to_owned())
            .or_insert(Variable::Scalar(value));
    }

    pub(super) fn unset(&mut self, name: &str) {
        if self.variables.contains_key(name) {
            Rc::make_mut(&mut self.variables).remove(name);
        }
    }

    /// `local`: the variable is given back when the function ends.
    pub(super) fn hide(&mut self, name: &str) {
        let before = self.variables.get(name).cloned();
        if let Some(hidden) = self.hidden.last_mut() {
            hidden.entry(name.to_owned()).or_insert(before);
            Rc::make_mut(&mut self.variables)
                .insert(name.to_owned(), Variable::Scalar(Value::default()));
        }
    }

    pub(super) fn enter(&mut self) {
        self.hidden.push(BTreeMap::new());
    }

    pub(super) fn leave(&mut self) {
        for (name, before) in self.hidden.pop().unwrap_or_default() {
            match before {
                Some(variable) => self.set(&name, variable),
                None => self.unset(&name),
            }
        }
    }

    /// This world after a subshell that ended as `inner`: only what it called and printed is left of it.
    pub(super) fn after(&self, inner: Self) -> Self {
        Self {
            calls: inner.calls,
            output: inner.output,
            status: inner.status,
            flow: self.flow,
            ..self.clone()
        }
    }
}
