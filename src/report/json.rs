//! The summary as JSON: [`Summary`] as it is, absent numbers as `null`.

use serde_json::Value;

use super::figures::rounded;
use super::model::Summary;

pub(super) fn json(summary: &Summary) -> Result<String, serde_json::Error> {
    let mut value = serde_json::to_value(summary)?;
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
