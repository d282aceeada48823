//! Forms that are sent, and answers.

use reqwest::multipart::{Form, Part};
use serde_json::Value;

/// A form with `audio` as its file, after the fields.
pub fn form(audio: Vec<u8>, fields: &[(&str, &str)]) -> Form {
    let form = fields.iter().fold(Form::new(), |form, (name, value)| {
        form.text((*name).to_owned(), (*value).to_owned())
    });
    form.part("file", Part::bytes(audio).file_name("upload"))
}

/// An answer, read to its end.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: reqwest::header::HeaderMap,
    pub body: String,
}

impl Answer {
    pub async fn read(response: reqwest::Response) -> Self {
        let (status, headers) = (response.status().as_u16(), response.headers().clone());
        Self { status, headers, body: response.text().await.unwrap() }
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("not JSON: {self:?}"))
    }

    /// The text of a successful answer in JSON.
    #[track_caller]
    pub fn text(&self) -> String {
        assert_eq!(self.status, 200, "{self:?}");
        self.json()["text"].as_str().unwrap().to_owned()
    }

    /// Checks that this is an error in OpenAI's shape, and returns its message.
    #[track_caller]
    pub fn error(&self, status: u16, code: &str) -> String {
        assert_eq!(self.status, status, "{self:?}");
        let content_type = self.header("content-type").unwrap_or_default();
        assert!(content_type.starts_with("application/json"), "{self:?}");
        let body = self.json();
        let error = body["error"].as_object().unwrap();
        let mut keys: Vec<&str> = error.keys().map(String::as_str).collect();
        keys.sort_unstable();
        assert_eq!(keys, ["code", "message", "param", "type"], "{self:?}");
        assert_eq!(error["code"], code, "{self:?}");
        assert!(self.header("x-request-id").is_some(), "{self:?}");
        error["message"].as_str().unwrap().to_owned()
    }
}
