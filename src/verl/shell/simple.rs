//! Simple commands: assignments, the shell's own commands, functions, and calls of programs.

use brush_parser::ast::{
    self, AssignmentName, AssignmentValue, CommandPrefixOrSuffixItem as Item, IoRedirect,
};

use super::expand::joined;
use super::programs;
use super::run::{Shell, found};
use super::value::Value;
use super::world::{Call, Field, Flow, Truth, Variable, World};

/// Programs whose failure is expected as often as their success, and by which scripts ask what there is.
const QUESTIONS: [&str; 9] = [
    "command", "which", "type", "hash", "grep", "pgrep", "curl", "python", "python3",
];

impl Shell {
    /// A command in which `$(...)` has several outputs is followed once for each.
    pub(super) fn simple(&self, world: World, command: &ast::SimpleCommand) -> Vec<World> {
        let before = world.clone();
        let mut worlds = self.once(world, command);
        let outputs: Vec<(String, Vec<Value>)> = worlds
            .iter_mut()
            .flat_map(|world| std::mem::take(&mut world.outputs))
            .collect();
        for (script, others) in outputs {
            for other in others {
                let mut again = before.clone();
                again.chosen.insert(script.clone(), other);
                worlds.extend(self.simple(again, command));
            }
        }
        for world in &mut worlds {
            world.chosen.clear();
        }
        worlds
    }

    fn once(&self, world: World, command: &ast::SimpleCommand) -> Vec<World> {
        let mut world = world;
        world.given = None;
        let prefix = command.prefix.iter().flat_map(|prefix| &prefix.0);
        let suffix = command.suffix.iter().flat_map(|suffix| &suffix.0);
        let Some(name) = &command.word_or_name else {
            world.status = Truth::YES;
            for item in prefix {
                if let Item::AssignmentWord(assignment, word) = item {
                    self.assign(&mut world, assignment, line_of(word));
                }
            }
            return vec![world];
        };
        let mut words = self.fields(&mut world, name);
        let declares = matches!(
            name.value.as_str(),
            "export" | "declare" | "typeset" | "local" | "readonly"
        );
        let mut input = None;
        let suffix = suffix.map(|item| (item, true));
        for (item, is_word) in suffix.chain(prefix.map(|item| (item, false))) {
            match item {
                Item::Word(word) => words.extend(self.fields(&mut world, word)),
                Item::AssignmentWord(assignment, word) if declares => {
                    if name.value == "local"
                        && let AssignmentName::VariableName(variable) = &assignment.name
                    {
                        self.declare(&mut world, variable, assignment, line_of(word));
                    } else {
                        self.assign(&mut world, assignment, line_of(word));
                    }
                }
                // `NAME=value program`: the program's own; `program a=b`: a word.
                Item::AssignmentWord(_, word) => {
                    if is_word {
                        words.extend(self.fields(&mut world, word));
                    }
                }
                Item::IoRedirect(IoRedirect::HereDocument(_, document)) => {
                    input = Some(self.document(&mut world, document));
                }
                Item::IoRedirect(_) | Item::ProcessSubstitution(..) => {}
            }
        }
        let line = line_of(name);
        if words.is_empty() {
            return vec![world];
        }
        self.call(world, Call { words, line }, input)
    }

    /// `local X=...`: the right side sees the outer `X`.
    fn declare(&self, world: &mut World, name: &str, assignment: &ast::Assignment, line: usize) {
        let mut inner = world.clone();
        self.assign(&mut inner, assignment, line);
        let value = inner.get(name).cloned();
        let outputs = inner.outputs;
        world.hide(name);
        if let Some(value) = value {
            world.set(name, value);
        }
        world.outputs = outputs;
    }

    fn assign(&self, world: &mut World, assignment: &ast::Assignment, line: usize) {
        match (&assignment.name, &assignment.value) {
            (AssignmentName::VariableName(name), AssignmentValue::Scalar(word)) => {
                let value = self.single(world, &word.value);
                let set = match world.get(name) {
                    Some(Variable::Array(fields)) if assignment.append => {
                        let mut fields = fields.clone();
                        fields.push(Field { value, line });
                        Variable::Array(fields)
                    }
                    Some(Variable::Scalar(before)) if assignment.append => {
                        let mut all = before.clone();
                        all.extend(value);
                        Variable::Scalar(all)
                    }
                    _ => Variable::Scalar(value),
                };
                world.set(name, set);
            }
            (AssignmentName::VariableName(name), AssignmentValue::Array(words)) => {
                let mut fields = match world.get(name) {
                    Some(Variable::Array(fields)) if assignment.append => fields.clone(),
                    Some(Variable::Scalar(value)) if assignment.append => vec![Field {
                        value: value.clone(),
                        line,
                    }],
                    _ => Vec::new(),
                };
                for (key, word) in words {
                    if key.is_some() {
                        self.say(format!("line {line}: {name}: an array with keys"));
                    }
                    fields.extend(self.fields(world, word).into_iter().map(|mut field| {
                        if field.line == 0 {
                            field.line = line;
                        }
                        field
                    }));
                }
                world.set(name, Variable::Array(fields));
            }
            (AssignmentName::ArrayElementName(name, index), value) => {
                let at = self
                    .arithmetic(world, index)
                    .and_then(|at| usize::try_from(at).ok());
                let mut fields = match world.get(name) {
                    Some(Variable::Array(fields)) => fields.clone(),
                    _ => Vec::new(),
                };
                match (at, value) {
                    (Some(at), AssignmentValue::Scalar(word)) if at <= fields.len() => {
                        let value = self.single(world, &word.value);
                        fields.truncate(at.max(fields.len().min(at + 1)));
                        if at < fields.len() {
                            fields[at] = Field { value, line };
                        } else {
                            fields.push(Field { value, line });
                        }
                        world.set(name, Variable::Array(fields));
                    }
                    _ => self.say(format!("line {line}: {name}[{index}]")),
                }
            }
        }
    }

    /// A command with its words expanded.
    fn call(&self, world: World, call: Call, input: Option<Value>) -> Vec<World> {
        let mut world = world;
        let name = call.words[0].value.known().unwrap_or_default().to_owned();
        let arguments: Vec<Value> = call.words[1..].iter().map(|f| f.value.clone()).collect();
        let body = self.functions.borrow().get(&name).cloned();
        if let Some(body) = body {
            return self.function(world, &body, &call);
        }
        world.status = Truth::YES;
        match name.as_str() {
            "export" | "declare" | "typeset" | "readonly" | ":" | "true" | "shopt" | "trap"
            | "ulimit" | "wait" | "cd" | "pushd" | "popd" | "umask" | "sleep" => {}
            "local" => {
                for name in arguments.iter().filter_map(Value::known) {
                    world.hide(name);
                }
            }
            "false" => world.status = Truth::NO,
            "exit" => world.flow = Flow::Exit,
            "return" => world.flow = Flow::Return,
            "break" => world.flow = Flow::Break,
            "continue" => world.flow = Flow::Continue,
            "unset" => {
                for name in arguments.iter().filter_map(Value::known) {
                    world.unset(name);
                }
            }
            "set" => {
                let dashes = arguments.iter().position(|a| a.known() == Some("--"));
                if let Some(at) = dashes {
                    world.arguments = Some(call.words[at + 2..].to_vec());
                }
            }
            "shift" => shift(&mut world, &arguments),
            "[" => {
                let end = arguments.len().saturating_sub(1);
                let finding = Self::bracket(&world, &arguments[..end]);
                return vec![found(world, finding)];
            }
            "test" => {
                let finding = Self::bracket(&world, &arguments);
                return vec![found(world, finding)];
            }
            "let" => {
                let values: Vec<Option<i64>> = arguments
                    .iter()
                    .map(|text| super::arithmetic::value(&mut world, text.known()?))
                    .collect();
                let last = values.last().copied().flatten();
                world.status = last.map_or(Truth::perhaps(true), |n| Truth::certain(n != 0));
            }
            "eval" => return self.inner_script(world, &joined(arguments), call.line),
            "read" => {
                for name in arguments.iter().filter_map(Value::known) {
                    if !name.starts_with('-') {
                        let value = Value::unknown(format!("${name}"));
                        world.set(name, Variable::Scalar(value));
                    }
                }
                world.status = Truth::perhaps(false);
            }
            "source" | "." => {
                let file = joined(arguments);
                self.say(format!("line {}: source {file}: not read", call.line));
            }
            "exec" | "command" | "builtin"
                if arguments
                    .first()
                    .is_some_and(|a| !a.known().is_some_and(|text| text.starts_with('-'))) =>
            {
                let words = call.words[1..].to_vec();
                let ended = name == "exec";
                let mut worlds = self.call(world, Call { words, ..call }, input);
                if ended {
                    for world in &mut worlds {
                        world.flow = Flow::Exit;
                    }
                }
                return worlds;
            }
            _ => return self.program(world, call, &name, &arguments, input),
        }
        vec![world]
    }

    fn program(
        &self,
        world: World,
        call: Call,
        name: &str,
        arguments: &[Value],
        input: Option<Value>,
    ) -> Vec<World> {
        let mut world = world;
        // `bash -c '...'`, also behind a launcher.
        let is = |value: &Value, names: &[&str]| value.known().is_some_and(|t| names.contains(&t));
        let script = call.words.windows(3).find(|three| {
            is(&three[0].value, &["bash", "sh", "/bin/bash", "/bin/sh"])
                && is(&three[1].value, &["-c", "-lc", "-ic", "-xc", "-exc"])
        });
        if let Some([_, _, script]) = script {
            let inner = self.inner_script(world.clone(), &script.value, call.line);
            return inner.into_iter().map(|inner| world.after(inner)).collect();
        }
        if let (Some(input), "bash" | "sh") = (&input, name)
            && arguments.is_empty()
        {
            let inner = self.inner_script(world.clone(), input, call.line);
            return inner.into_iter().map(|inner| world.after(inner)).collect();
        }
        let printed = match (name, input) {
            ("cat", Some(input)) if arguments.is_empty() => Some(input),
            _ => programs::output(name, arguments),
        };
        let known = printed.is_some();
        let quiet = matches!(
            name,
            "mkdir" | "rm" | "cp" | "mv" | "ln" | "touch" | "chmod" | "git"
        );
        match printed {
            Some(printed) => {
                world.output.extend(printed);
                world.output.push_text("\n");
            }
            None if quiet => {}
            None if asks(name, arguments) => {}
            None => {
                let words = joined(call.words.iter().map(|field| field.value.clone()));
                world.output.extend(Value::unknown(format!("$({words})")));
                world.output.push_text("\n");
            }
        }
        world.status = if known {
            Truth::YES
        } else {
            Truth::perhaps(!QUESTIONS.contains(&name))
        };
        // What only prints calls nothing.
        if !known && (self.wanted)(&call) {
            world.calls.push(call);
        }
        vec![world]
    }

    fn inner_script(&self, world: World, script: &Value, line: usize) -> Vec<World> {
        let worlds = self.script(vec![world], &script.as_script());
        worlds
            .into_iter()
            .map(|mut world| {
                // Lines within the text are no lines of the file.
                for call in &mut world.calls {
                    if call.line == 0 {
                        call.line = line;
                    }
                }
                world
            })
            .collect()
    }
}

/// A question by its exit code only: `python3 -c 'import x'`, `command -v x` to nowhere.
fn asks(name: &str, arguments: &[Value]) -> bool {
    let begins = |at: usize, text: &str| {
        arguments
            .get(at)
            .and_then(Value::known)
            .is_some_and(|t| t.trim_start().starts_with(text))
    };
    name.starts_with("python") && begins(0, "-c") && begins(1, "import ") && {
        let script = arguments[1].known().unwrap_or_default();
        !script.contains("print")
    }
}

fn shift(world: &mut World, arguments: &[Value]) {
    let by = arguments
        .first()
        .and_then(Value::known)
        .map_or(Ok(1), str::parse::<usize>);
    if let (Some(fields), Ok(by)) = (&mut world.arguments, by) {
        fields.drain(..by.min(fields.len()));
    }
}

/// Where a word ends: one behind a continued line begins, for the parser, on the line before.
fn line_of(word: &ast::Word) -> usize {
    word.loc.as_ref().map_or(0, |loc| loc.end.line)
}
