//! Fields as a whole, read as each endpoint reads them.

use std::sync::OnceLock;

use auris::http::{openapi_json, read_fields};
use axum::http::HeaderValue;
use axum::response::Response;
use futures_util::FutureExt;
use serde_json::Value;

/// The endpoints with fields; the last two read a query.
const PATHS: [&str; 8] = [
    "/v1/audio/transcriptions",
    "/v1/audio/translations",
    "/v1/jobs",
    "/inference",
    "/asr",
    "/detect-language",
    "/v1/jobs?",
    "/v1/jobs/{id}/transcript?",
];

/// As a form is received: so many fields with so long names and values.
const MAX_FIELDS: usize = 100;
const MAX_NAME_CHARS: usize = 100;
const MAX_VALUE_BYTES: usize = 64 << 10;

/// Any fields are read, or refused with an error that names one of them. The first byte is the
/// endpoint, and each line a field: the numbers of a documented name and value, how often the value
/// is repeated, then `=` between what follows the name and what follows the value.
pub fn fields(data: &[u8]) {
    let [endpoint, lines @ ..] = data else { return };
    let path = PATHS[usize::from(*endpoint) % PATHS.len()];
    let lines = lines.split(|byte| *byte == b'\n').filter_map(pair);
    let pairs: Vec<(String, String)> = lines.take(MAX_FIELDS).collect();
    match read_fields(path, &pairs) {
        Ok(ignored) => check_ignored(&ignored),
        Err(answer) => check_refusal(*answer, &pairs),
    }
}

fn pair(line: &[u8]) -> Option<(String, String)> {
    let [name, value, repeats, rest @ ..] = line else { return None };
    let rest = String::from_utf8_lossy(rest);
    let (more_name, more_value) = rest.split_once('=').unwrap_or(("", &rest));
    let documented = documented();
    let known = |list: &'static [String], at: &u8| list.get(usize::from(*at)).map_or("", |w| w);
    let name = known(&documented.names, name).to_owned() + more_name;
    let value = known(&documented.values, value).to_owned() + more_value;
    let most = MAX_VALUE_BYTES / value.len().max(1);
    let value = value.repeat((1 << (repeats % 16)).min(most));
    Some((name.chars().take(MAX_NAME_CHARS).collect(), value))
}

/// What the OpenAPI document says that may be sent.
#[derive(Default)]
struct Documented {
    names: Vec<String>,
    values: Vec<String>,
}

fn documented() -> &'static Documented {
    static DOCUMENTED: OnceLock<Documented> = OnceLock::new();
    DOCUMENTED.get_or_init(|| {
        let document = openapi_json().expect("there is a document");
        let document: Value = serde_json::from_str(&document).expect("it is JSON");
        let mut documented = Documented::default();
        documented.collect(&document);
        for list in [&mut documented.names, &mut documented.values] {
            list.sort_unstable();
            list.dedup();
        }
        documented
    })
}

impl Documented {
    fn collect(&mut self, document: &Value) {
        let Some(members) = document.as_object() else {
            return document.as_array().into_iter().flatten().for_each(|item| self.collect(item));
        };
        if members.contains_key("in") {
            self.names.extend(members["name"].as_str().map(str::to_owned));
        }
        for (name, value) in members {
            match (name.as_str(), value) {
                (form, Value::Object(form_members)) if form.ends_with("Form") => {
                    let properties = form_members.get("properties").and_then(Value::as_object);
                    self.names.extend(properties.into_iter().flat_map(|list| list.keys().cloned()));
                }
                ("enum" | "examples", Value::Array(list)) => {
                    self.values.extend(list.iter().map(text));
                }
                ("default", value) => self.values.push(text(value)),
                _ => {}
            }
            self.collect(value);
        }
    }
}

fn text(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

fn check_ignored(ignored: &[String]) {
    assert!(ignored.len() <= 20, "{} names", ignored.len());
    for name in ignored {
        assert!(HeaderValue::from_str(name).is_ok() && name.len() <= 40, "{name:?}");
        assert!(!name.contains([',', ' ']), "{name:?} is several names in a header");
    }
}

fn check_refusal(answer: Response, pairs: &[(String, String)]) {
    assert_eq!(answer.status(), 400);
    let body = axum::body::to_bytes(answer.into_body(), 1 << 20).now_or_never();
    let body = body.expect("it is there").expect("it is short");
    let body: Value = serde_json::from_slice(&body).expect("it is JSON");
    let error = body["error"].as_object().expect("the documented shape");
    assert_eq!(error.len(), 4, "{error:?}");
    let message = error["message"].as_str().expect("a message");
    assert!((1..1000).contains(&message.len()), "{message}");
    let param = error["param"].as_str().expect("an error names its field");
    // The settings of a strategy may be members of one field in JSON.
    let is_sent = pairs.iter().any(|(name, _)| name == param);
    assert!(is_sent || param.starts_with("chunking_strategy["), "{param:?} was not sent");
}
