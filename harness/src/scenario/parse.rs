//! From the text of a scenario file to a [`Scenario`], or to the places where it is wrong.

use std::ops::Range;
use std::time::Duration;

use generator::diag::{Diagnostic, Spans, did_you_mean, from_toml_error};
use schemars::{JsonSchema, schema_for};
use serde::Deserialize;
use serde_json::Value;
use toml::Spanned;
use toml::de::{DeTable, DeValue, ValueDeserializer};

use super::expectation::Expectation;
use super::model::{Action, After, Head, Hold, Rendered, RoleStep, Rotate, Run, Scenario, Step};
use super::shape;
use super::words;
use crate::fault::Fault;
use crate::units::Span;

/// A scenario that was read, with the places of its words for later complaints.
#[derive(Debug, Clone, PartialEq)]
pub struct Parsed {
    /// The scenario.
    pub scenario: Scenario,
    /// Where everything stands.
    pub spans: Spans,
}

/// The keys that tell what a step does; each step has exactly one.
pub const STEP_KINDS: [&str; 8] = ["fault", "heal", "expect", "run", "hold", "role", "rotate", "rendered"];

/// Keys that every step may have beside those of its kind.
const COMMON_KEYS: [&str; 5] = ["title", "within", "budget", "after", "store"];

/// Reads a scenario. All that can be told without knowing the cluster is checked; what of it plays on a cluster is chosen by
/// [`Scenario::on_cluster`].
///
/// # Errors
/// The first syntax error, or every problem of the contents.
pub fn parse(text: &str) -> Result<Parsed, Vec<Diagnostic>> {
    let root = DeTable::parse(text).map_err(|error| vec![from_toml_error(&error, text)])?;
    let reader = Reader { text };
    let span = root.span();
    let mut table = root.into_inner();
    let steps = table.remove("step");
    let head = reader.head(table, span);
    let mut problems = Vec::new();
    let steps = match steps {
        Some(steps) => reader.steps(steps, &mut problems),
        None => {
            let missing = Diagnostic::error("no-steps", "a scenario has at least one step");
            problems.push(missing.help("add `[[step]]` with `expect = \"healthy\"`"));
            Vec::new()
        }
    };
    let head = head.map_err(|problem| problems.insert(0, *problem)).ok();
    let Some(head) = head.filter(|_| problems.is_empty()) else {
        return Err(problems);
    };
    let spans = Spans::of(text);
    let mut scenario = Scenario { head, steps };
    problems.extend(shape::check(&mut scenario, &spans));
    if problems.is_empty() {
        Ok(Parsed { scenario, spans })
    } else {
        Err(problems)
    }
}

/// What all steps have.
#[derive(Deserialize)]
struct Common {
    title: Option<String>,
    within: Option<Span>,
    budget: Option<Span>,
    after: Option<After>,
    store: Option<bool>,
}

/// A part of a file, or the first problem in it.
type Found<T> = Result<T, Box<Diagnostic>>;

/// Reads the parts of one file.
struct Reader<'i> {
    text: &'i str,
}

impl<'i> Reader<'i> {
    fn head(&self, table: DeTable<'i>, span: Range<usize>) -> Found<Head> {
        let mut known = properties(&schema_of::<Head>());
        known.push("step".into());
        only_known(&table, &known)?;
        self.read(table, span)
    }

    fn steps(&self, steps: Spanned<DeValue<'i>>, problems: &mut Vec<Diagnostic>) -> Vec<Step> {
        let span = steps.span();
        let no_table = |span| {
            Diagnostic::error("wrong-type", "a step is a table")
                .at(Some(span), "")
                .help("write `[[step]]`")
        };
        let DeValue::Array(array) = steps.into_inner() else {
            problems.push(no_table(span));
            return Vec::new();
        };
        let mut read = Vec::new();
        for (position, step) in array.into_iter().enumerate() {
            let span = step.span();
            let step = match step.into_inner() {
                DeValue::Table(table) => self.step(position, table, span),
                _ => Err(Box::new(no_table(span))),
            };
            match step {
                Ok(step) => read.push(step),
                Err(problem) => problems.push(*problem),
            }
        }
        read
    }

    fn step(&self, position: usize, mut table: DeTable<'i>, span: Range<usize>) -> Found<Step> {
        let kind = kind_of(&table, span.clone())?;
        check_keys(&table, kind)?;
        let mut common = DeTable::new();
        for name in COMMON_KEYS {
            if let Some((key, value)) = table.remove_entry(name) {
                common.insert(key, value);
            }
        }
        let common: Common = self.read(common, span.clone())?;
        let at = table.get(kind).map_or(span.clone(), Spanned::span);
        let action = self.action(kind, table, span).map_err(|problem| placed(problem, at))?;
        let budget = common.budget.map(Duration::from);
        let within = common.within.map_or_else(|| words::patience(&action), Duration::from);
        let within = within.max(budget.unwrap_or_default());
        Ok(Step {
            title: common.title.unwrap_or_default(),
            action,
            within,
            budget,
            after: common.after,
            store: common.store,
            position,
        })
    }

    fn action(&self, kind: &str, mut table: DeTable<'i>, span: Range<usize>) -> Found<Action> {
        match kind {
            "fault" => {
                let name = table.remove("as").map(|name| self.string(name)).transpose()?;
                Ok(Action::Fault {
                    fault: self.read(table, span)?,
                    name,
                })
            }
            "heal" => {
                let name = table
                    .remove("heal")
                    .map(|name| self.string(name))
                    .transpose()?
                    .unwrap_or_default();
                // The fault of that name follows from the cluster that it is played on.
                Ok(Action::Heal {
                    name,
                    fault: Fault::Reboot { node: String::new() },
                })
            }
            "expect" => Ok(Action::Expect(self.expectation(table, span)?)),
            "run" => Ok(Action::Run(self.read(table, span)?)),
            "role" => Ok(Action::Role(self.read(table, span)?)),
            "rotate" => Ok(Action::Rotate(self.read(table, span)?)),
            "rendered" => Ok(Action::Rendered(self.read(table, span)?)),
            _ => Ok(Action::Hold(self.read(table, span)?)),
        }
    }

    /// Turns `expect = "kind"` with its fields into `{ kind = { fields } }`, which keeps every place for messages.
    fn expectation(&self, mut table: DeTable<'i>, span: Range<usize>) -> Found<Expectation> {
        let mut outer = DeTable::new();
        if let Some(kind) = table.remove("expect") {
            let at = kind.span();
            if let DeValue::String(kind) = kind.into_inner() {
                outer.insert(Spanned::new(at.clone(), kind), Spanned::new(at, DeValue::Table(table)));
            }
        }
        self.read(outer, span)
    }

    fn string(&self, value: Spanned<DeValue<'i>>) -> Found<String> {
        String::deserialize(ValueDeserializer::from(value))
            .map_err(|error| Box::new(from_toml_error(&error, self.text)))
    }

    fn read<T: Deserialize<'i>>(&self, table: DeTable<'i>, span: Range<usize>) -> Found<T> {
        let value = Spanned::new(span, DeValue::Table(table));
        T::deserialize(ValueDeserializer::from(value)).map_err(|error| Box::new(from_toml_error(&error, self.text)))
    }
}

/// Which of the actions a step has; it must be exactly one.
fn kind_of(table: &DeTable<'_>, span: Range<usize>) -> Found<&'static str> {
    let present = |kind: &&'static str| table.get_key_value(*kind).map(|(key, _)| (*kind, key.span()));
    let kinds: Vec<(&'static str, Range<usize>)> = STEP_KINDS.iter().filter_map(present).collect();
    match kinds.as_slice() {
        [(kind, _)] => Ok(kind),
        [] => {
            let mut known = STEP_KINDS.map(str::to_owned).to_vec();
            known.extend(COMMON_KEYS.map(str::to_owned));
            only_known(table, &known)?;
            let nothing = Diagnostic::error("missing-key", "this step does nothing").at(Some(span), "");
            Err(Box::new(
                nothing.help(format!("give it one of {}", STEP_KINDS.join(", "))),
            ))
        }
        [(first, here), (second, there), ..] => {
            let both = format!("a step has one action: `{first}` or `{second}`, not both");
            let problem = Diagnostic::error("two-actions", both).at(Some(there.clone()), "");
            let problem = problem.related(Some(here.clone()), "the other");
            Err(Box::new(problem.help("make two steps of it")))
        }
    }
}

/// Checks kind and keys of a step against the schema, so that a misspelt key is pointed at itself.
fn check_keys(table: &DeTable<'_>, kind: &str) -> Found<()> {
    let mut known: Vec<String> = COMMON_KEYS.map(str::to_owned).to_vec();
    match kind {
        "fault" | "expect" => {
            let schema = if kind == "fault" {
                schema_of::<Fault>()
            } else {
                schema_of::<Expectation>()
            };
            let Some(value) = table.get(kind) else { return Ok(()) };
            let word = value.get_ref().as_str().unwrap_or_default();
            let variants = variants(&schema, kind);
            let Some((_, keys)) = variants.iter().find(|(name, _)| name == word) else {
                let names: Vec<&str> = variants.iter().map(|(name, _)| name.as_str()).collect();
                let noun = if kind == "fault" { "fault" } else { "expectation" };
                let unknown = Diagnostic::error("unknown-value", format!("there is no {noun} `{word}`"));
                return Err(helped(unknown.at(Some(value.span()), ""), word, &names));
            };
            known.extend(keys.iter().cloned());
            known.extend((kind == "fault").then(|| "as".to_owned()));
        }
        "run" => known.extend(properties(&schema_of::<Run>())),
        "role" => known.extend(properties(&schema_of::<RoleStep>())),
        "rotate" => known.extend(properties(&schema_of::<Rotate>())),
        "rendered" => known.extend(properties(&schema_of::<Rendered>())),
        "hold" => known.extend(properties(&schema_of::<Hold>())),
        _ => known.push("heal".to_owned()),
    }
    only_known(table, &known)
}

/// Complains about the first key that is not among the known ones.
fn only_known(table: &DeTable<'_>, known: &[String]) -> Found<()> {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    match table.keys().find(|key| !known.contains(&key.get_ref().as_ref())) {
        Some(key) => {
            let unknown = Diagnostic::error("unknown-key", format!("unknown key `{}`", key.get_ref()));
            Err(helped(
                unknown.at(Some(key.span()), "not a key of this table"),
                key.get_ref(),
                &known,
            ))
        }
        None => Ok(()),
    }
}

fn helped(mut problem: Diagnostic, word: &str, known: &[&str]) -> Box<Diagnostic> {
    problem.help = did_you_mean(word, known).or_else(|| Some(format!("known here: {}", known.join(", "))));
    Box::new(problem)
}

/// Gives a place to a problem whose place the parser lost.
fn placed(mut problem: Box<Diagnostic>, at: Range<usize>) -> Box<Diagnostic> {
    if problem.span.as_ref().is_none_or(Range::is_empty) {
        problem.span = Some(at);
    }
    problem
}

fn schema_of<T: JsonSchema>() -> Value {
    schema_for!(T).to_value()
}

fn properties(schema: &Value) -> Vec<String> {
    let properties = schema.get("properties").and_then(Value::as_object);
    properties
        .map(|properties| properties.keys().cloned().collect())
        .unwrap_or_default()
}

/// Name and keys of each variant of an enum whose kind stands in the key `tag`.
fn variants(schema: &Value, tag: &str) -> Vec<(String, Vec<String>)> {
    let variants = schema
        .get("oneOf")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    variants
        .iter()
        .filter_map(|variant| {
            let name = variant.pointer(&format!("/properties/{tag}/const"))?.as_str()?;
            Some((name.to_owned(), properties(variant)))
        })
        .collect()
}
