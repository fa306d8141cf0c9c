//! The JSON Schema of scenario files, for editors.

use schemars::{JsonSchema, SchemaGenerator, generate::SchemaSettings};
use serde_json::{Map, Value, json};

use super::expectation::Expectation;
use super::model::{After, Head, Hold, Rendered, RoleStep, Rotate, Run};
use crate::fault::Fault;

/// The schema (draft 2020-12) of a scenario file.
pub fn schema() -> Value {
    let mut generator = SchemaSettings::draft2020_12().into_generator();
    let mut root = Head::json_schema(&mut generator).to_value();
    let steps = json!({ "type": "array", "minItems": 1, "items": { "oneOf": step_forms(&mut generator) } });
    if let Some(properties) = root.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert("step".into(), steps);
    }
    if let Some(root) = root.as_object_mut() {
        root.insert("$schema".into(), json!("https://json-schema.org/draft/2020-12/schema"));
        root.insert("title".into(), json!("Scenario"));
        let definitions: Map<String, Value> = generator.take_definitions(true).into_iter().collect();
        root.insert("$defs".into(), Value::Object(definitions));
    }
    root
}

/// One form for each kind of step, each with the keys that all steps have.
fn step_forms(generator: &mut SchemaGenerator) -> Vec<Value> {
    let mut forms = variants(Fault::json_schema(generator).to_value());
    for form in &mut forms {
        add(
            form,
            "as",
            json!({ "type": "string", "description": "The name by which a later step heals it." }),
        );
    }
    forms.extend(variants(Expectation::json_schema(generator).to_value()));
    forms.push(Run::json_schema(generator).to_value());
    forms.push(Hold::json_schema(generator).to_value());
    forms.push(RoleStep::json_schema(generator).to_value());
    forms.push(Rotate::json_schema(generator).to_value());
    forms.push(Rendered::json_schema(generator).to_value());
    forms.push(json!({
        "type": "object",
        "description": "Heals a fault by its name.",
        "properties": { "heal": { "type": "string" } },
        "required": ["heal"],
        "additionalProperties": false
    }));
    let after = After::json_schema(generator).to_value();
    let duration = |what: &str| json!({ "type": "string", "description": what, "examples": ["500ms", "15s", "2m"] });
    for form in &mut forms {
        add(
            form,
            "title",
            json!({ "type": "string", "description": "The step in words." }),
        );
        add(
            form,
            "within",
            duration("Guard against hanging; stretched on slow machines."),
        );
        add(
            form,
            "budget",
            duration("A promise: broken if it takes longer. Never stretched."),
        );
        add(form, "after", after.clone());
        add(
            form,
            "store",
            json!({ "type": "boolean", "description": "Only on clusters with a mail store, or only on others; on both if left out." }),
        );
    }
    forms
}

fn variants(schema: Value) -> Vec<Value> {
    schema
        .get("oneOf")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default()
}

fn add(form: &mut Value, key: &str, schema: Value) {
    if let Some(properties) = form.get_mut("properties").and_then(Value::as_object_mut) {
        properties.insert(key.to_owned(), schema);
    }
}
