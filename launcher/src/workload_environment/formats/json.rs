//! An object of strings, sorted by name.

use super::{NOT_UTF8, Rendered};
use crate::workload_environment::Variables;
use std::collections::BTreeMap;

pub(super) fn render(variables: &Variables, rendered: &mut Rendered) {
    let mut object = BTreeMap::new();
    for (name, value) in variables {
        match (name.to_str(), value.to_str()) {
            (Some(name), Some(value)) => {
                object.insert(name, value);
            }
            _ => rendered.left_out.push((name.clone(), NOT_UTF8)),
        }
    }
    rendered.text = text(&object);
}

/// Whether a text is what this format writes, byte by byte.
pub(super) fn is_written_here(content: &[u8]) -> bool {
    serde_json::from_slice::<BTreeMap<String, String>>(content).is_ok_and(|object| {
        let object = object.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        text(&object.collect()) == content
    })
}

fn text(object: &BTreeMap<&str, &str>) -> Vec<u8> {
    // the alternate form of a value is its indented text, which cannot fail
    format!("{:#}\n", serde_json::json!(object)).into_bytes()
}
