use super::*;

#[test]
fn a_chunk_longer_than_a_frame_arrives_whole() {
    let samples: Vec<f32> = (0..MAX_SAMPLES_PER_FRAME + 5).map(|n| n as f32).collect();
    let mut wire = Vec::new();
    for content in encode_samples(7, &samples) {
        write_frame(&mut wire, &content).unwrap();
    }
    let mut received = Vec::new();
    let mut reader = wire.as_slice();
    while let Some(frame) = read_frame::<Request>(&mut reader).unwrap() {
        match frame {
            Frame::Samples { id: 7, samples } => received.extend(samples),
            other => panic!("unexpected {other:?}"),
        }
    }
    assert_eq!(received, samples);
}

#[test]
fn control_messages_survive_the_wire() {
    let message = Request::Run {
        id: 3,
        samples: 16_000,
        work: Work::Transcribe(ChunkOptions {
            task: Task::Translate,
            prompt: Some("नमस्ते".to_owned()),
            temperature: 0.2,
            words: true,
            ..ChunkOptions::new(Language::parse("hi").unwrap())
        }),
    };
    let mut wire = Vec::new();
    write_frame(&mut wire, &encode_control(&message).unwrap()).unwrap();
    let frame = read_frame::<Request>(&mut wire.as_slice()).unwrap();
    assert_eq!(frame, Some(Frame::Control(message)));
}

#[test]
fn garbage_is_an_error_and_not_a_panic() {
    for content in [&b""[..], b"\x09x", b"\x00{", b"\x00{\"type\":\"nope\"}", b"\x01123"] {
        assert!(decode::<Request>(content).is_err(), "{content:?}");
    }
    let absurd_length = b"Hell\x00";
    assert!(read_frame::<Request>(&mut absurd_length.as_slice()).is_err());
    let cut_short = b"\x00\x00\x00\x09\x00";
    assert!(read_frame::<Request>(&mut cut_short.as_slice()).is_err());
}
