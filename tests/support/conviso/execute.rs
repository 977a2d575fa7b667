//! The GraphQL side: documents validated against the schema, measured, and executed on the model.

use std::cell::RefCell;

use apollo_compiler::executable::{ExecutableDocument, Selection, SelectionSet};
use apollo_compiler::resolvers::{Execution, FieldError, ObjectValue, ResolveInfo, ResolvedValue};
use apollo_compiler::response::{JsonMap, JsonValue};
use apollo_compiler::validation::Valid;
use apollo_compiler::{Schema, ast};
use serde_json::{Value, json};

use super::{Guesses, Model};

const DEPTH_MAX: usize = 15;
const COMPLEXITY_MAX: usize = 400;

/// The first field that a document asks for, however broken the rest is.
pub(super) fn operation(query: &str) -> String {
    let Ok(document) = ast::Document::parse(query, "query.graphql") else { return String::new() };
    let first = document.definitions.iter().find_map(|definition| match definition {
        ast::Definition::OperationDefinition(operation) => operation.selection_set.first(),
        _ => None,
    });
    match first {
        Some(ast::Selection::Field(field)) => field.name.to_string(),
        _ => String::new(),
    }
}

/// Executes a document; a request that cannot begin is answered with errors and no data.
pub(super) fn execute(
    schema: &Valid<Schema>,
    guesses: &Guesses,
    model: &mut Model,
    query: &str,
    variables: &Value,
) -> Value {
    let refused = |message: String, code: &str| json!({"errors": [{"message": message, "extensions": {"code": code}}]});
    let document = match ExecutableDocument::parse_and_validate(schema, query, "query.graphql") {
        Ok(document) => document,
        Err(bad) => {
            let first = bad.errors.iter().next().map(|error| error.unstable_to_json_compat().message);
            return refused(first.unwrap_or_default(), "undefinedField");
        }
    };
    let Ok(operation) = document.operations.get(None) else {
        return refused("an operation name is required".to_owned(), "");
    };
    let (depth, fields) = cost(&operation.selection_set);
    if depth > DEPTH_MAX {
        return refused(format!("Query has depth of {depth}, which exceeds max depth of {DEPTH_MAX}"), "");
    }
    if fields > COMPLEXITY_MAX {
        return refused(
            format!("Query has complexity of {fields}, which exceeds max complexity of {COMPLEXITY_MAX}"),
            "",
        );
    }
    if !guesses.introspection && query.contains("__type") {
        return refused("Schema introspection is disabled".to_owned(), "undefinedField");
    }
    let variables: JsonMap = serde_json::from_value(variables.clone()).unwrap_or_default();
    let root = Root { name: if operation.is_mutation() { "Mutation" } else { "Query" }, model: RefCell::new(model) };
    let execution = Execution::new(schema, &document).raw_variable_values(&variables).enable_schema_introspection(true);
    match execution.execute_sync(&root) {
        Err(error) => refused(error.message().to_string(), "variableMismatch"),
        Ok(response) => {
            let mut answer = serde_json::to_value(&response).expect("an answer is JSON");
            for error in answer.get_mut("errors").and_then(Value::as_array_mut).into_iter().flatten() {
                let text = error["message"].as_str().unwrap_or_default().to_owned();
                if let Some((code, message)) = text.split_once(CODE_ENDS) {
                    error["message"] = json!(message);
                    error["extensions"] = json!({ "code": code });
                }
            }
            if guesses.null_errors && answer.get("errors").is_none() {
                answer["errors"] = Value::Null;
            }
            answer
        }
    }
}

/// Depth and number of selected fields.
fn cost(set: &SelectionSet) -> (usize, usize) {
    let (mut deepest, mut fields) = (0, 0);
    for selection in &set.selections {
        let (depth, count) = match selection {
            Selection::Field(field) => {
                let (depth, count) = cost(&field.selection_set);
                (depth + 1, count + 1)
            }
            Selection::InlineFragment(fragment) => cost(&fragment.selection_set),
            // Spread fragments are not followed; nobody sends any.
            Selection::FragmentSpread(_) => (DEPTH_MAX + 1, 0),
        };
        deepest = deepest.max(depth);
        fields += count;
    }
    (deepest, fields)
}

/// Between code and text of an error on its way out.
pub(super) const CODE_ENDS: char = '\u{1}';

struct Root<'m> {
    name: &'static str,
    model: RefCell<&'m mut Model>,
}

impl ObjectValue for Root<'_> {
    fn type_name(&self) -> &str {
        self.name
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        let arguments = serde_json::to_value(info.arguments()).expect("arguments are JSON");
        let answer = self.model.borrow_mut().answer(info.field_name(), &arguments);
        answer.map(resolved).map_err(|message| FieldError { message })
    }
}

/// An object of the model's answers, which say their type in `__typename`.
struct Node(Value);

impl ObjectValue for Node {
    fn type_name(&self) -> &str {
        self.0["__typename"].as_str().expect("objects of answers say their type")
    }

    fn resolve_field<'a>(&'a self, info: &'a ResolveInfo<'a>) -> Result<ResolvedValue<'a>, FieldError> {
        Ok(resolved(self.0[info.field_name()].clone()))
    }
}

fn resolved<'a>(value: Value) -> ResolvedValue<'a> {
    match value {
        Value::Object(_) => ResolvedValue::object(Node(value)),
        Value::Array(items) => ResolvedValue::List(Box::new(items.into_iter().map(|item| Ok(resolved(item))))),
        leaf => ResolvedValue::leaf(serde_json::from_value::<JsonValue>(leaf).expect("a leaf is JSON")),
    }
}
