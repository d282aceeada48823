//! Receives webhooks, and refuses some of them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::Router;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use serde_json::Value;
use tokio::net::TcpListener;

/// One call in so many is refused, and comes again.
const REFUSED: u32 = 10;

/// The ids of the events that were received, by job.
type Events = BTreeMap<String, BTreeSet<String>>;

pub struct Receiver {
    pub url: String,
    events: Arc<Mutex<Events>>,
}

impl Receiver {
    pub async fn start(seed: u64) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/hook", listener.local_addr()?);
        let events: Arc<Mutex<Events>> = Arc::default();
        let rng = Arc::new(Mutex::new(fastrand::Rng::with_seed(seed)));
        let received = Arc::clone(&events);
        let receive = async move |headers: HeaderMap, body: String| {
            let call: Value = serde_json::from_str(&body).unwrap_or_default();
            let job = call["data"]["id"].as_str().unwrap_or_default().to_owned();
            let event = headers.get("webhook-id").and_then(|id| id.to_str().ok());
            let event = event.unwrap_or_default().to_owned();
            lock(&received).entry(job).or_default().insert(event);
            match lock(&rng).u32(..REFUSED) {
                0 => StatusCode::SERVICE_UNAVAILABLE,
                _ => StatusCode::NO_CONTENT,
            }
        };
        let app = Router::new().route("/hook", post(receive));
        tokio::spawn(axum::serve(listener, app).into_future());
        Ok(Self { url, events })
    }

    /// The ids of the events that were received for `job`.
    pub fn events(&self, job: &str) -> usize {
        lock(&self.events).get(job).map_or(0, BTreeSet::len)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
