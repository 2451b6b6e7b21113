//! What a container learns of its own pod's labels and annotations (the downward API).
//!
//! The agent's pod has none of the template's, so that no Service, controller or budget selects it. A variable gets the
//! value itself. A file refers to an annotation of the agent's pod that holds the text which the kubelet would write
//! for a pod of the workload (`FormatMap` in kubernetes/pkg/fieldpath).

use super::template::PodTemplate;
use std::collections::BTreeMap;

/// The beginning of the names of these annotations.
const ANNOTATION_PREFIX: &str = "kinject/workload-";

/// A field of the pod's metadata that the agent's pod has otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum MetadataField<'a> {
    Labels,
    Annotations,
    Label(&'a str),
    Annotation(&'a str),
}

impl<'a> MetadataField<'a> {
    /// Reads a field path such as `metadata.labels` and `metadata.labels['app']`; none for any other field.
    fn parse(path: &'a str) -> Option<Self> {
        match path {
            "metadata.labels" => return Some(Self::Labels),
            "metadata.annotations" => return Some(Self::Annotations),
            _ => {}
        }
        let (map, key) = path.strip_suffix("']")?.split_once("['")?;
        match map {
            "metadata.labels" => Some(Self::Label(key)),
            "metadata.annotations" => Some(Self::Annotation(key)),
            _ => None,
        }
    }

    /// What the kubelet gives for it in a pod of that template. A key that is not there is an empty text.
    fn text(self, template: &PodTemplate) -> String {
        match self {
            Self::Labels => format_map(&template.labels),
            Self::Annotations => format_map(&template.annotations),
            Self::Label(key) => template.labels.get(key).cloned().unwrap_or_default(),
            Self::Annotation(key) => template.annotations.get(key).cloned().unwrap_or_default(),
        }
    }
}

/// The value of a variable that refers to a label or an annotation, as `value` takes it; none for any other field.
pub(super) fn variable(field_path: &str, template: &PodTemplate) -> Option<String> {
    let text = MetadataField::parse(field_path)?.text(template);
    // $(NAME) is replaced in a value, and not in one that comes from a field
    Some(text.replace('$', "$$"))
}

/// The annotations of the agent's pod to which its files refer.
#[derive(Debug, Default)]
pub(super) struct Annotations(BTreeMap<String, String>);

impl Annotations {
    /// The field path that stands for one of a label or an annotation; none for any other field.
    pub(super) fn refer(&mut self, field_path: &str, template: &PodTemplate) -> Option<String> {
        let field = MetadataField::parse(field_path)?;
        let name = match field {
            MetadataField::Labels => format!("{ANNOTATION_PREFIX}labels"),
            MetadataField::Annotations => format!("{ANNOTATION_PREFIX}annotations"),
            // a key may be longer than another key's name has room for
            MetadataField::Label(_) | MetadataField::Annotation(_) => {
                format!("{ANNOTATION_PREFIX}value-{}", self.0.len())
            }
        };
        let path = format!("metadata.annotations['{name}']");
        self.0.insert(name, field.text(template));
        Some(path)
    }

    /// All of them.
    pub(super) fn into_map(self) -> BTreeMap<String, String> {
        self.0
    }
}

/// Lines `key="value"` in the order of the keys, without a newline at the end.
fn format_map(map: &BTreeMap<String, String>) -> String {
    let lines: Vec<_> = map
        .iter()
        .map(|(key, value)| format!("{key}={}", go_quote(value)))
        .collect();
    lines.join("\n")
}

/// The text as Go's `%q` writes it.
fn go_quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\x07' => quoted.push_str("\\a"),
            '\x08' => quoted.push_str("\\b"),
            '\x0c' => quoted.push_str("\\f"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            '\x0b' => quoted.push_str("\\v"),
            c if is_printable(c) => quoted.push(c),
            c if c.is_ascii() => quoted.push_str(&format!("\\x{:02x}", u32::from(c))),
            c if u32::from(c) < 0x10000 => quoted.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => quoted.push_str(&format!("\\U{:08x}", u32::from(c))),
        }
    }
    quoted.push('"');
    quoted
}

/// Whether Go's `unicode.IsPrint` holds. Rust escapes the same characters when it shows a text for debugging, except
/// for marks, which it escapes only at the beginning of one.
fn is_printable(c: char) -> bool {
    let shown: String = ['a', c].iter().collect();
    let mut shown = shown.escape_debug();
    matches!(c, '"' | '\'' | '\\') || shown.nth(1) == Some(c)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template() -> PodTemplate {
        let map = |pairs: &[(&str, &str)]| {
            let owned = pairs
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
            owned.collect()
        };
        PodTemplate {
            labels: map(&[("tier", "backend"), ("app", "web")]),
            annotations: map(&[(
                "note",
                "line one\nline \"two\"\té\u{301}\u{200b}\u{7f} \\ $(HOME)",
            )]),
            ..PodTemplate::default()
        }
    }

    #[test]
    fn variable_of_a_label_or_annotation_is_its_value_without_expansion() {
        let template = template();
        assert_eq!(variable("metadata.labels['app']", &template).unwrap(), "web");
        let note = variable("metadata.annotations['note']", &template).unwrap();
        assert!(note.ends_with("$$(HOME)"), "{note}");
        assert_eq!(variable("metadata.labels['gone']", &template).unwrap(), "");
        for own in [
            "metadata.name",
            "metadata.namespace",
            "status.podIP",
            "spec.nodeName",
        ] {
            assert_eq!(variable(own, &template), None, "{own}");
        }
    }

    #[test]
    fn file_of_all_labels_and_annotations_refers_to_the_text_that_the_kubelet_writes() {
        let template = template();
        let mut annotations = Annotations::default();
        let path = annotations.refer("metadata.labels", &template).unwrap();
        assert_eq!(path, "metadata.annotations['kinject/workload-labels']");
        annotations.refer("metadata.annotations", &template).unwrap();
        let map = annotations.into_map();
        assert_eq!(map["kinject/workload-labels"], "app=\"web\"\ntier=\"backend\"");
        assert_eq!(
            map["kinject/workload-annotations"],
            "note=\"line one\\nline \\\"two\\\"\\té\u{301}\\u200b\\x7f \\\\ $(HOME)\""
        );
    }

    #[test]
    fn files_of_single_keys_refer_to_annotations_of_their_own() {
        let template = template();
        let mut annotations = Annotations::default();
        let paths = ["app", "tier"].map(|key| {
            annotations
                .refer(&format!("metadata.labels['{key}']"), &template)
                .unwrap()
        });
        assert_ne!(paths[0], paths[1]);
        let values: Vec<_> = annotations.into_map().into_values().collect();
        assert_eq!(values, ["web", "backend"]);
    }

    #[test]
    fn characters_beyond_the_basic_plane_are_quoted_as_go_quotes_them() {
        assert_eq!(go_quote("日本 🦀"), "\"日本 🦀\"");
        assert_eq!(go_quote("\u{e0001}\u{a0}'"), "\"\\U000e0001\\u00a0'\"");
    }
}
