//! Commands, in every world that the script can be in.
//!
//! A world is forked where a condition rests on what the script does not say. The first world is always the one of a caller
//! who sets nothing; worlds that came out the same are one again.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use brush_parser::ast::{self, AndOr, Command, CompoundCommand as Compound};
use brush_parser::{Parser, ParserOptions};

use super::condition::{Finding, matches};
use super::value::Value;
use super::world::{Call, Flow, Truth, Variable, World};

/// Beyond this, further branches are not followed, and that is said.
const MOST_WORLDS: usize = 64;
/// Turns of one loop.
const MOST_TURNS: usize = 64;
/// Functions within functions, scripts within scripts.
const DEEPEST: u32 = 24;
/// Commands in all: a loop within a loop within a loop ends here.
const MOST_COMMANDS: u32 = 10_000;

/// What a script may call.
#[derive(Debug)]
pub(in crate::verl) struct Outcome {
    /// The calls of each way through the script, the way of a caller who sets nothing first. At least one.
    pub(in crate::verl) ways: Vec<Vec<Call>>,
    /// What was not followed, as `line 3: ...` where it has a line.
    pub(in crate::verl) not_followed: Vec<String>,
}

/// Follows `text`, the content of `file`. Only the calls that `wanted` wants are kept: worlds that differ in others are one.
pub(in crate::verl) fn evaluate(file: &str, text: &str, wanted: fn(&Call) -> bool) -> Outcome {
    let shell = Shell {
        file: file.to_owned(),
        functions: RefCell::default(),
        not_followed: RefCell::default(),
        depth: Cell::new(0),
        commands: Cell::new(0),
        wanted,
    };
    let worlds = shell.script(vec![World::new()], text);
    Outcome {
        ways: worlds.into_iter().map(|world| world.calls).collect(),
        not_followed: shell.not_followed.into_inner(),
    }
}

pub(super) struct Shell {
    /// As `$0`.
    pub(super) file: String,
    pub(super) functions: RefCell<BTreeMap<String, Rc<ast::FunctionBody>>>,
    not_followed: RefCell<Vec<String>>,
    depth: Cell<u32>,
    commands: Cell<u32>,
    pub(super) wanted: fn(&Call) -> bool,
}

impl Shell {
    pub(super) fn say(&self, what: impl Into<String>) {
        let what = what.into();
        let mut said = self.not_followed.borrow_mut();
        if !said.contains(&what) {
            said.push(what);
        }
    }

    /// The worlds after a script in text.
    pub(super) fn script(&self, worlds: Vec<World>, text: &str) -> Vec<World> {
        let parsed = Parser::new(text.as_bytes(), &ParserOptions::default()).parse_program();
        let program = match parsed {
            Ok(program) => program,
            Err(error) => {
                self.say(format!("not read as a script of bash: {error}"));
                return worlds;
            }
        };
        self.deeper(worlds, |worlds| {
            let mut worlds = worlds;
            for list in &program.complete_commands {
                worlds = self.list(worlds, list);
            }
            worlds
        })
    }

    /// What `inner` does, unless there is too much around it already.
    pub(super) fn deeper(
        &self,
        worlds: Vec<World>,
        inner: impl FnOnce(Vec<World>) -> Vec<World>,
    ) -> Vec<World> {
        let depth = self.depth.get();
        if depth > DEEPEST {
            self.say("functions and scripts nest too deep to follow");
            return worlds;
        }
        self.depth.set(depth + 1);
        let worlds = inner(worlds);
        self.depth.set(depth);
        worlds
    }

    pub(super) fn list(&self, worlds: Vec<World>, list: &ast::CompoundList) -> Vec<World> {
        let mut worlds = worlds;
        for item in &list.0 {
            worlds = self.each(worlds, |world| self.and_or(world, &item.0));
        }
        worlds
    }

    /// `step` in the worlds that still go on, and what came out, each once.
    pub(super) fn each(
        &self,
        worlds: Vec<World>,
        mut step: impl FnMut(World) -> Vec<World>,
    ) -> Vec<World> {
        let mut out: Vec<World> = Vec::with_capacity(worlds.len());
        for world in worlds {
            let next = if world.flow == Flow::Next {
                step(world)
            } else {
                vec![world]
            };
            for world in next {
                if !out.contains(&world) {
                    out.push(world);
                }
            }
        }
        if out.len() > MOST_WORLDS {
            self.say("more branches than can be followed: there may be further values");
            out.truncate(MOST_WORLDS);
        }
        out
    }

    fn and_or(&self, world: World, list: &ast::AndOrList) -> Vec<World> {
        let mut worlds = self.pipeline(world, &list.first);
        for next in &list.additional {
            let (on, pipeline) = match next {
                AndOr::And(pipeline) => (true, pipeline),
                AndOr::Or(pipeline) => (false, pipeline),
            };
            worlds = self.each(worlds, |world| {
                Self::either(&world, |world, holds| {
                    if holds == on {
                        self.pipeline(world, pipeline)
                    } else {
                        vec![world]
                    }
                })
            });
        }
        worlds
    }

    /// Both ends of a world's status where it can have both, first the one of a caller who sets nothing.
    pub(super) fn either(
        world: &World,
        mut then: impl FnMut(World, bool) -> Vec<World>,
    ) -> Vec<World> {
        let Truth { now, certain } = world.status;
        let ways = if certain { vec![now] } else { vec![now, !now] };
        let mut out = Vec::new();
        for holds in ways {
            let mut way = world.clone();
            if let Some((name, how)) = way.given.take()
                && how == holds
            {
                let given = Value::outside(format!("${name}")).given();
                way.assume(&name, given);
            }
            way.status = Truth::certain(holds);
            out.extend(then(way, holds));
        }
        out
    }

    fn pipeline(&self, world: World, pipeline: &ast::Pipeline) -> Vec<World> {
        let worlds = match pipeline.seq.as_slice() {
            [single] => self.command(world, single),
            several => self.piped(&world, several),
        };
        if !pipeline.bang {
            return worlds;
        }
        let not = |mut world: World| {
            world.status = world.status.not();
            world.given = world.given.map(|(name, how)| (name, !how));
            world
        };
        worlds.into_iter().map(not).collect()
    }

    /// Each command of a pipe is a subshell; what comes out of the last is known if that only passes it on.
    fn piped(&self, world: &World, commands: &[Command]) -> Vec<World> {
        let before = world.output.clone();
        let mut worlds = vec![World {
            output: Value::default(),
            ..world.clone()
        }];
        for (i, command) in commands.iter().enumerate() {
            let passes =
                i > 0 && name_of(command).is_some_and(|name| matches!(name, "tee" | "cat"));
            worlds = self.each(worlds, |inner| {
                let input = inner.output.clone();
                let mut outer = inner.clone();
                outer.output = Value::default();
                let ran = self.command(outer.clone(), command);
                ran.into_iter()
                    .map(|ran| {
                        let mut after = outer.after(ran);
                        if passes {
                            after.output = input.clone();
                        } else if i > 0 {
                            after.output = Value::unknown(format!("$({})", shown(commands)));
                        }
                        after
                    })
                    .collect()
            });
        }
        for world in &mut worlds {
            let mut output = before.clone();
            output.extend(std::mem::take(&mut world.output));
            world.output = output;
        }
        worlds
    }

    fn command(&self, world: World, command: &Command) -> Vec<World> {
        let count = self.commands.get() + 1;
        self.commands.set(count);
        if count > MOST_COMMANDS {
            self.say("more commands than can be followed");
            let mut world = world;
            world.flow = Flow::Exit;
            return vec![world];
        }
        match command {
            Command::Simple(simple) => self.simple(world, simple),
            Command::Compound(compound, _) => self.compound(world, compound),
            Command::Function(function) => {
                let body = Rc::new(function.body.clone());
                let name = function.fname.value.clone();
                self.functions.borrow_mut().insert(name, body);
                vec![world]
            }
            Command::ExtendedTest(test, _) => {
                let mut world = world;
                let finding = self.extended(&mut world, &test.expr);
                vec![found(world, finding)]
            }
        }
    }

    pub(super) fn compound(&self, world: World, compound: &Compound) -> Vec<World> {
        match compound {
            Compound::Arithmetic(arithmetic) => {
                let mut world = world;
                let value = self.arithmetic(&mut world, &arithmetic.expr.value);
                world.status = value.map_or(Truth::perhaps(false), |n| Truth::certain(n != 0));
                vec![world]
            }
            Compound::BraceGroup(group) => self.list(vec![world], &group.list),
            Compound::Subshell(subshell) => {
                let inner = self.list(vec![world.clone()], &subshell.list);
                inner.into_iter().map(|inner| world.after(inner)).collect()
            }
            Compound::IfClause(clause) => {
                let elses = clause.elses.as_deref().unwrap_or_default();
                self.if_clause(world, &clause.condition, &clause.then, elses)
            }
            Compound::CaseClause(case) => {
                let mut world = world;
                let subject = self.single(&mut world, &case.value.value);
                self.case(world, &subject, &case.cases)
            }
            Compound::ForClause(clause) => self.for_clause(world, clause),
            Compound::WhileClause(clause) => self.while_clause(world, clause, true),
            Compound::UntilClause(clause) => self.while_clause(world, clause, false),
            Compound::ArithmeticForClause(clause) => self.counted(world, clause),
            Compound::Coprocess(_) => {
                self.say("a coprocess");
                vec![world]
            }
        }
    }

    fn if_clause(
        &self,
        world: World,
        condition: &ast::CompoundList,
        then: &ast::CompoundList,
        elses: &[ast::ElseClause],
    ) -> Vec<World> {
        let worlds = self.list(vec![world], condition);
        self.each(worlds, |world| {
            Self::either(&world, |world, holds| match (holds, elses) {
                (true, _) => self.list(vec![world], then),
                (false, []) => vec![World {
                    status: Truth::YES,
                    ..world
                }],
                (false, [next, rest @ ..]) => match &next.condition {
                    Some(condition) => self.if_clause(world, condition, &next.body, rest),
                    None => self.list(vec![world], &next.body),
                },
            })
        })
    }

    fn case(&self, world: World, subject: &Value, cases: &[ast::CaseItem]) -> Vec<World> {
        let [item, rest @ ..] = cases else {
            return vec![world];
        };
        let mut world = world;
        let mut truth = Truth::NO;
        for word in &item.patterns {
            let pattern = self.pattern(&mut world, &word.value);
            let written = self.single(&mut world, &word.value);
            truth = truth.or(matches(subject, &written, pattern.as_deref()));
        }
        world.status = truth;
        Self::either(&world, |world, holds| match (holds, &item.cmd) {
            (true, Some(list)) => self.list(vec![world], list),
            (true, None) => vec![world],
            (false, _) => self.case(world, subject, rest),
        })
    }

    fn for_clause(&self, world: World, clause: &ast::ForClauseCommand) -> Vec<World> {
        let mut world = world;
        let values = match &clause.values {
            Some(words) => words
                .iter()
                .flat_map(|word| self.fields(&mut world, word))
                .collect(),
            None => world.arguments.clone().unwrap_or_default(),
        };
        if values.len() > MOST_TURNS {
            self.say(format!(
                "line {}: only the first {MOST_TURNS} turns of the loop",
                clause.loc.start.line
            ));
        }
        let mut worlds = vec![world];
        for field in values.into_iter().take(MOST_TURNS) {
            worlds = self.turn(worlds, |mut world| {
                let value = Variable::Scalar(field.value.clone());
                world.set(&clause.variable_name, value);
                self.list(vec![world], &clause.body.list)
            });
        }
        worlds.into_iter().map(out_of_loop).collect()
    }

    /// A loop whose condition rests on what is not known is not entered: that is how a loop over the caller's arguments
    /// or one that waits for something ends.
    fn while_clause(
        &self,
        world: World,
        clause: &ast::WhileOrUntilClauseCommand,
        wanted: bool,
    ) -> Vec<World> {
        let mut worlds = vec![world];
        for _ in 0..MOST_TURNS {
            let before = worlds.clone();
            worlds = self.turn(worlds, |world| {
                let checked = self.list(vec![world], &clause.0);
                self.each(checked, |world| {
                    if world.status == Truth::certain(wanted) {
                        self.list(vec![world], &clause.1.list)
                    } else {
                        vec![World {
                            flow: Flow::Break,
                            ..world
                        }]
                    }
                })
            });
            if worlds == before {
                break;
            }
        }
        worlds.into_iter().map(out_of_loop).collect()
    }

    fn counted(&self, world: World, clause: &ast::ArithmeticForClauseCommand) -> Vec<World> {
        let mut world = world;
        if let Some(first) = &clause.initializer {
            let _ = self.arithmetic(&mut world, &first.value);
        }
        let mut worlds = vec![world];
        for _ in 0..MOST_TURNS {
            worlds = self.turn(worlds, |mut world| {
                let condition = clause.condition.as_ref();
                let holds = condition.map_or(Some(1), |c| self.arithmetic(&mut world, &c.value));
                if holds.is_none_or(|n| n == 0) {
                    world.flow = Flow::Break;
                    return vec![world];
                }
                let after = self.list(vec![world], &clause.body.list);
                self.each(after, |mut world| {
                    if let Some(step) = &clause.updater {
                        let _ = self.arithmetic(&mut world, &step.value);
                    }
                    vec![world]
                })
            });
        }
        worlds.into_iter().map(out_of_loop).collect()
    }

    /// One turn of a loop, after which `continue` is over.
    fn turn(&self, worlds: Vec<World>, body: impl FnMut(World) -> Vec<World>) -> Vec<World> {
        let mut worlds = self.each(worlds, body);
        for world in &mut worlds {
            if world.flow == Flow::Continue {
                world.flow = Flow::Next;
            }
        }
        worlds
    }

    /// What `$(script)` gives: what it prints, where every way through it prints the same. Otherwise the first, and the
    /// others are left in the world for the command to be followed again.
    pub(super) fn output(&self, world: &mut World, script: &str) -> Value {
        if let Some(chosen) = world.chosen.get(script) {
            return chosen.clone();
        }
        let inner = World {
            output: Value::default(),
            calls: Vec::new(),
            ..world.clone()
        };
        let mut outputs: Vec<Value> = Vec::new();
        for ended in self.script(vec![inner], script) {
            let output = ended.output.without_end_newlines();
            if !outputs.contains(&output) {
                outputs.push(output);
            }
        }
        let first = outputs.first().cloned().unwrap_or_default();
        if outputs.len() > 1 {
            world
                .outputs
                .push((script.to_owned(), outputs.split_off(1)));
        }
        first
    }

    /// A function's body with `arguments` in place of the caller's.
    pub(super) fn function(
        &self,
        world: World,
        body: &ast::FunctionBody,
        call: &Call,
    ) -> Vec<World> {
        let outer = world.arguments.clone();
        let mut world = world;
        world.enter();
        world.arguments = Some(call.words[1..].to_vec());
        let worlds = self.deeper(vec![world], |worlds| {
            self.each(worlds, |world| self.compound(world, &body.0))
        });
        let back = |mut world: World| {
            world.leave();
            world.arguments.clone_from(&outer);
            if world.flow == Flow::Return {
                world.flow = Flow::Next;
            }
            world
        };
        worlds.into_iter().map(back).collect()
    }
}

pub(super) fn found(mut world: World, finding: Finding) -> World {
    world.status = finding.truth;
    world.given = finding.given;
    world
}

fn out_of_loop(mut world: World) -> World {
    if matches!(world.flow, Flow::Break | Flow::Continue) {
        world.flow = Flow::Next;
    }
    world
}

fn name_of(command: &Command) -> Option<&str> {
    match command {
        Command::Simple(simple) => simple.word_or_name.as_ref().map(|word| word.value.as_str()),
        _ => None,
    }
}

fn shown(commands: &[Command]) -> String {
    let names: Vec<String> = commands.iter().map(ToString::to_string).collect();
    names.join(" | ")
}
