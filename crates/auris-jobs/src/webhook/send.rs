//! One attempt to send an event, and what the response means.

use std::time::{Duration, SystemTime};

use reqwest::header::{CONTENT_TYPE, RETRY_AFTER};
use reqwest::redirect::Policy;
use reqwest::{Client, Response, StatusCode};

use super::resolve::Resolver;
use super::sign::Signer;
use super::{WebhookSettings, address};
use crate::store::{Delivery, unix_ms};

/// Sends events, signed.
#[derive(Debug)]
pub(super) struct Sender {
    client: Client,
    signer: Signer,
    allow_private: bool,
}

/// An attempt that has ended.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct DeliveryAttempt {
    pub(super) outcome: DeliveryOutcome,
    pub(super) status: Option<u16>,
    /// Why the event was not delivered, for the job's owner.
    pub(super) error: Option<String>,
    /// What happened, for the log: without the address.
    pub(super) detail: Option<String>,
}

/// The one error of everything that ends without a response. Whether a name of the server's own
/// network exists, and what is there, is no business of the job's owner.
const UNREACHED: &str = "the receiver could not be reached";

/// What the result means for further attempts.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum DeliveryOutcome {
    /// The receiver has the event.
    Delivered,
    /// It may work later, and not before this time.
    Retry { after: Duration },
    /// It will not work.
    Refused,
}

impl Sender {
    /// # Errors
    /// The system's certificates cannot be read.
    pub(super) fn new(settings: &WebhookSettings, timeout: Duration) -> reqwest::Result<Self> {
        let allow_private = settings.allow_private;
        let signer = Signer::new(settings.secrets.clone());
        let client = auris_models::http_client_builder(timeout)
            .timeout(timeout)
            // A redirect could lead to an address that must not be called.
            .redirect(Policy::none())
            .dns_resolver(Resolver { allow_private })
            // A proxy would resolve names itself.
            .no_proxy()
            // Each event resolves the name again.
            .pool_max_idle_per_host(0)
            .build()?;
        Ok(Self { client, signer, allow_private })
    }

    /// Sends `delivery` once. Only the head of the response is read.
    pub(super) async fn send(&self, delivery: &Delivery) -> DeliveryAttempt {
        // Names are checked by the resolver, but a numeric address is never resolved.
        let url = match address::parse(&delivery.url, self.allow_private) {
            Ok((url, _)) => url,
            Err(error) => {
                return DeliveryAttempt::unreached(DeliveryOutcome::Refused, error.to_string());
            }
        };
        let timestamp = unix_ms() / 1_000;
        let signature = self.signer.sign(&delivery.event, timestamp, &delivery.body);
        let request = self
            .client
            .post(url)
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &delivery.event)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", signature)
            .body(delivery.body.clone());
        match request.send().await {
            Ok(response) => DeliveryAttempt::answered(&response),
            Err(error) => DeliveryAttempt::unreached(
                DeliveryOutcome::Retry { after: Duration::ZERO },
                auris_models::causes(error),
            ),
        }
    }
}

impl DeliveryAttempt {
    fn unreached(outcome: DeliveryOutcome, detail: String) -> Self {
        Self { outcome, status: None, error: Some(UNREACHED.to_owned()), detail: Some(detail) }
    }

    fn answered(response: &Response) -> Self {
        let status = response.status();
        let outcome = match status {
            _ if status.is_success() => DeliveryOutcome::Delivered,
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_EARLY | StatusCode::TOO_MANY_REQUESTS => {
                DeliveryOutcome::Retry { after: retry_after(response) }
            }
            _ if status.is_server_error() => {
                DeliveryOutcome::Retry { after: retry_after(response) }
            }
            _ => DeliveryOutcome::Refused,
        };
        let error = (outcome != DeliveryOutcome::Delivered).then(|| {
            let hint =
                if status.is_redirection() { ", and redirects are not followed" } else { "" };
            format!("the receiver answered {status}{hint}")
        });
        Self { outcome, status: Some(status.as_u16()), error, detail: None }
    }
}

/// The pause that the receiver asks for: seconds or a date (RFC 9110, 10.2.3).
fn retry_after(response: &Response) -> Duration {
    let text = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
    let seconds = |text: &str| text.parse().ok().map(Duration::from_secs);
    let date = |text: &str| {
        let date = httpdate::parse_http_date(text).ok()?;
        date.duration_since(SystemTime::now()).ok()
    };
    text.and_then(|text| seconds(text).or_else(|| date(text))).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::net::TcpListener;

    use super::*;

    #[tokio::test]
    async fn a_name_that_now_resolves_to_this_machine_is_not_called() {
        let settings = WebhookSettings { secrets: Vec::new(), allow_private: false };
        let sender = Sender::new(&settings, Duration::from_secs(30)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        // The client alone: the check of the address knows this name, and no other is certain to
        // stand for this machine.
        let url = format!("http://localhost:{}/", listener.local_addr().unwrap().port());
        let error = sender.client.post(url).send().await.expect_err("refused");
        let error = auris_models::causes(error);
        assert!(error.contains("resolves to no address that may be called"), "{error}");
        let accepted = listener.accept().expect_err("nobody has connected");
        assert_eq!(accepted.kind(), ErrorKind::WouldBlock);
    }
}
