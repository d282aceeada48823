//! The first chunk is run while its language is being found out, in the likeliest language.

use super::harness::{Server, wav};

fn placed(server: &Server) -> usize {
    server.log().lines().filter(|line| line.contains("chunk placed")).count()
}

async fn server(script: &str, slots: &str) -> Server {
    let log = ["--log", "auris=debug"];
    Server::fake(script, &[&["--device", "cpu", "--slots", slots], &log[..]].concat()).await
}

#[tokio::test]
async fn the_first_chunk_does_not_wait_for_its_language() {
    let server = server("none,speed=1", "2").await;
    let both_run = async {
        let busy = async || server.devices().await["devices"][0]["busy_slots"] == 2;
        server.until("the first chunk waits for its language", busy).await;
    };
    let form = [("response_format", "verbose_json")];
    let (answer, ()) = tokio::join!(server.transcribe(wav(1.0, 1), &form), both_run);
    assert_eq!(answer.json()["language"], "english");
    assert_eq!(placed(&server), 2, "{}", server.log());
}

#[tokio::test]
async fn a_first_chunk_in_the_wrong_language_is_run_again_and_the_next_file_in_the_right_one() {
    let server = server("none,language=hi", "2").await;
    let mut before = 0;
    for chunks in [3, 2] {
        let answer = server.transcribe(wav(3.0, 1), &[("response_format", "verbose_json")]).await;
        assert_eq!(answer.json()["language"], "hindi");
        assert_eq!(placed(&server) - before, chunks, "{}", server.log());
        before += chunks;
    }
    let given = server.transcribe(wav(3.0, 1), &[("languages[]", "en"), ("languages[]", "hi")]);
    assert_eq!(given.await.status, 200);
    assert_eq!(placed(&server) - before, 2, "the likeliest of the candidates is Hindi");
}

#[tokio::test]
async fn nothing_is_run_ahead_when_no_slot_is_idle() {
    let server = server("none,language=hi", "1").await;
    assert_eq!(server.transcribe(wav(3.0, 1), &[]).await.status, 200);
    assert_eq!(placed(&server), 2, "{}", server.log());
}
