//! Jobs of several callers, and of callers who change their minds.

use futures_util::future::join_all;

use crate::harness::{Answer, Server, form, wav};
use crate::streaming::read_stream;

use super::id;

const ONE: (&str, &str) = ("authorization", "Bearer key-of-one");
const TWO: (&str, &str) = ("authorization", "Bearer key-of-two");

/// A server on which `one` and `two` have keys, with one slot.
async fn server(script: &str, extra: &[&str]) -> Server {
    let keys = ["--api-keys", "one:key-of-one,two:key-of-two", "--slots", "1"];
    let all: Vec<&str> = keys.iter().chain(extra).copied().collect();
    let server = Server::start(&format!("fake:{script}"), &all);
    server.ready().await;
    server
}

async fn get(server: &Server, path: &str, (_, key): (&str, &str)) -> Answer {
    let request = server.client.get(server.url(path)).header("authorization", key);
    Answer::read(request.send().await.unwrap()).await
}

#[tokio::test]
async fn a_callers_jobs_do_not_wait_behind_all_of_anothers() {
    let server = server("none,speed=40", &[]).await;
    let submit = async |seed, key| {
        let form = form(wav(40.0, seed), &[]);
        id(&server.post_with("/v1/jobs", form, &[key]).await.json())
    };
    let mut first = Vec::new();
    for seed in 0..8 {
        first.push(submit(seed, ONE).await);
    }
    let other = submit(9, TWO).await;
    let ended = async |id: &str, key| {
        !get(&server, &format!("/v1/jobs/{id}"), key).await.json()["ended_at"].is_null()
    };
    server.until("the other's job does not end", async || ended(&other, TWO).await).await;
    assert!(!ended(&first[7], ONE).await, "the other's job waited for all of them");
}

#[tokio::test]
async fn the_same_key_of_two_owners_is_two_jobs() {
    let server = server("none", &[]).await;
    let send = async |owner| {
        let headers = [owner, ("idempotency-key", "a")];
        let answer = server.post_with("/v1/jobs", form(wav(1.0, 1), &[]), &headers).await;
        id(&answer.json())
    };
    assert_ne!(send(ONE).await, send(TWO).await);
    assert_eq!(send(ONE).await, send(ONE).await);
}

#[tokio::test]
async fn a_repeated_request_is_answered_also_when_there_is_no_more_room() {
    let server = Server::fake("none,speed=5", &["--max-jobs", "1", "--slots", "1"]).await;
    let send = async |key| {
        let form = form(wav(60.0, 1), &[]);
        server.post_with("/v1/jobs", form, &[("idempotency-key", key)]).await
    };
    let first = send("a").await;
    assert_eq!(first.status, 202, "{first:?}");
    let again = send("a").await;
    assert_eq!((again.status, id(&again.json())), (202, id(&first.json())));
    send("b").await.error(503, "overloaded");
}

#[tokio::test]
async fn a_job_that_ends_while_it_is_deleted_is_either_cancelled_or_forgotten() {
    let server = Server::fake("none", &["--slots", "2", "--threads", "1"]).await;
    let race = async |seed| {
        let job = id(&server.submit(wav(40.0, seed), &[]).await);
        let path = format!("/v1/jobs/{job}");
        let (_, deleted) = tokio::join!(
            async { read_stream(server.get(&format!("{path}/events")).await).await },
            server.delete(&path),
        );
        let left = Answer::read(server.get(&path).await).await;
        match deleted.status {
            200 => assert_eq!(deleted.json()["state"], "cancelled"),
            204 => {}
            _ => panic!("{deleted:?}"),
        }
        left.error(404, "job_not_found");
    };
    join_all((0..30).map(race)).await;
    server.nothing_kept().await;
}
