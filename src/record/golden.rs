//! Records of earlier versions stay readable: one frozen file per schema version, with every field in use.

use serde_json::Value;

use super::{CellRecord, StepStatus};

const CELL_1: &str = include_str!("golden/cell-1.json");

/// Everything in `old` is in `new` with the same value; `new` may have more.
fn assert_kept(old: &Value, new: &Value, path: &str) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in old {
                let path = format!("{path}.{key}");
                let kept = new.get(key).unwrap_or_else(|| panic!("{path} is lost"));
                assert_kept(value, kept, &path);
            }
        }
        (Value::Array(old), Value::Array(new)) => {
            assert_eq!(old.len(), new.len(), "{path}");
            for (index, (old, new)) in old.iter().zip(new).enumerate() {
                assert_kept(old, new, &format!("{path}[{index}]"));
            }
        }
        _ => assert_eq!(old, new, "{path}"),
    }
}

#[test]
fn version_1_is_read_whole_and_written_whole() {
    let golden: Value = serde_json::from_str(CELL_1).unwrap();
    let record: CellRecord = serde_json::from_str(CELL_1).unwrap();
    record.validate().unwrap();
    let step = &record.starts[0].steps[1];
    assert_eq!(step.status, StepStatus::Ok);
    assert_eq!(step.sequences.finish_ns[0], Some(500_000_000));
    assert_kept(&golden, &serde_json::to_value(&record).unwrap(), "");
}
