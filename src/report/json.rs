//! A model as JSON: as it is, absent numbers as `null`.

use serde::Serialize;
use serde_json::Value;

use super::figures::rounded;

pub(super) fn json(model: &impl Serialize) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(model)?;
    round(&mut value);
    Ok(serde_json::to_string_pretty(&value)? + "\n")
}

fn round(value: &mut Value) {
    match value {
        Value::Number(number) if number.is_f64() => {
            if let Some(shorter) = number
                .as_f64()
                .map(rounded)
                .and_then(serde_json::Number::from_f64)
            {
                *number = shorter;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(round),
        Value::Object(fields) => fields.values_mut().for_each(round),
        _ => {}
    }
}
