//! The event that reports the end of a job.

use serde::Serialize;
use uuid::Uuid;

use crate::store::{JobOutcome, NewDelivery};

/// In the shape of OpenAI's webhook events, whose clients can read it.
#[derive(Serialize)]
struct WebhookEvent<'a, T> {
    id: &'a str,
    object: &'static str,
    r#type: &'static str,
    /// Seconds since 1970 (UTC).
    created_at: i64,
    data: &'a T,
}

/// The event that reports `outcome`, with the job as the API shows it from now on.
pub(crate) fn event(outcome: &JobOutcome, now_ms: i64, job: &impl Serialize) -> NewDelivery {
    let id = format!("evt_{}", Uuid::now_v7().simple());
    let r#type = match outcome {
        JobOutcome::Finished => "job.finished",
        JobOutcome::Failed { .. } => "job.failed",
        JobOutcome::Cancelled => "job.cancelled",
    };
    let created_at = now_ms / 1_000;
    let event = WebhookEvent { id: &id, object: "event", r#type, created_at, data: job };
    let body = serde_json::to_string(&event).expect("strings and numbers always serialise");
    NewDelivery { event: id, body }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    #[test]
    fn an_event_names_itself_the_outcome_and_the_job() {
        fn check(outcome: &JobOutcome, r#type: &str) {
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
        check(&JobOutcome::Finished, "job.finished");
        check(&JobOutcome::Failed { error_json: "{}".to_owned() }, "job.failed");
        check(&JobOutcome::Cancelled, "job.cancelled");
    }
}
