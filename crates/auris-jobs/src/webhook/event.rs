//! The event that reports the end of a job.

use serde::Serialize;
use serde_json::Value;
use uuid::Uuid;

use crate::store::{NewDelivery, Outcome};

/// In the shape of OpenAI's webhook events, whose clients can read it.
#[derive(Serialize)]
struct Event<'a> {
    id: &'a str,
    object: &'static str,
    r#type: &'static str,
    /// Seconds since 1970 (UTC).
    created_at: i64,
    data: &'a Value,
}

/// The event that reports `outcome`, with the job as the API shows it from now on.
pub fn event(outcome: &Outcome, now_ms: i64, job: &Value) -> NewDelivery {
    let id = format!("evt_{}", Uuid::now_v7().simple());
    let r#type = match outcome {
        Outcome::Finished => "job.finished",
        Outcome::Failed { .. } => "job.failed",
        Outcome::Cancelled => "job.cancelled",
    };
    let event = Event { id: &id, object: "event", r#type, created_at: now_ms / 1_000, data: job };
    let body = serde_json::json!(event).to_string();
    NewDelivery { event: id, body }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn an_event_names_itself_the_outcome_and_the_job() {
        fn check(outcome: &Outcome, r#type: &str) {
            let job = json!({"id": "1", "text": "ਸਤ ਸ੍ਰੀ ਅਕਾਲ"});
            let delivery = event(outcome, 1_700_000_000_999, &job);
            let expected = json!({
                "id": delivery.event,
                "object": "event",
                "type": r#type,
                "created_at": 1_700_000_000,
                "data": job,
            });
            assert_eq!(serde_json::from_str::<Value>(&delivery.body).unwrap(), expected);
        }
        check(&Outcome::Finished, "job.finished");
        check(&Outcome::Failed { error_json: "{}".to_owned() }, "job.failed");
        check(&Outcome::Cancelled, "job.cancelled");
    }
}
