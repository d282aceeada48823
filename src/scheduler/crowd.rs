//! A crowd of clients that come back exactly when they are told, in virtual time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::time::{Duration, Instant};

use super::Refusal;
use super::admission::{Capacity, Ledger};
use super::caller::{Attempt, Caller};
use super::queue::JobId;

const CLIENTS: usize = 200;

/// Seconds that a crowd is watched.
const LASTING_SECONDS: f64 = 300.0;

/// What differs between crowds.
#[derive(Debug, Clone, Copy)]
struct Crowd {
    capacity: Capacity,
    /// Seconds of audio that a slot does in a second, and by how much it is misjudged.
    speed: f64,
    misjudged: f64,
    slots: usize,
    /// Whether each client has an address of its own.
    apart: bool,
    /// Whether clients count their retries.
    counting: bool,
    /// Whether all send the same file.
    alike: bool,
}

const USUAL: Crowd = Crowd {
    capacity: Capacity { total_seconds: 120.0, caller_share: 0.5 },
    speed: 20.0,
    misjudged: 1.0,
    slots: 2,
    apart: false,
    counting: true,
    alike: false,
};

#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    Arrives(usize),
    IsUploaded(usize),
    IsDone(usize),
}

/// How it went.
#[derive(Debug)]
struct Outcome {
    /// Requests that were refused before, and how many of them are refused again.
    returns: u64,
    refused_returns: u64,
    /// Done in all.
    audio_seconds: f64,
    /// How many requests of each client were done.
    served: [u64; CLIENTS],
}

struct World {
    crowd: Crowd,
    started: Instant,
    /// Microseconds since then.
    at: u64,
    random: u64,
    ledger: Ledger,
    events: BinaryHeap<Reverse<(u64, Event)>>,
    /// Clients whose requests wait for a slot.
    queue: VecDeque<usize>,
    busy: usize,
    /// Whether each client was refused.
    returning: [bool; CLIENTS],
    outcome: Outcome,
}

impl World {
    fn random(&mut self) -> f64 {
        // SplitMix64
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 11) as f64 / (1_u64 << 53) as f64
    }

    fn after(&mut self, seconds: f64, event: Event) {
        self.events.push(Reverse((self.at + (seconds * 1e6) as u64, event)));
    }

    /// Clients bring from 2 to 10 seconds.
    fn clip_seconds(&self, client: usize) -> f64 {
        if self.crowd.alike { 6.0 } else { 2.0 + client as f64 * 8.0 / CLIENTS as f64 }
    }

    fn happen(&mut self, event: Event) {
        let now = self.started + Duration::from_micros(self.at);
        let speed = self.crowd.speed * self.crowd.slots as f64 * self.crowd.misjudged;
        self.ledger.expect(speed, self.crowd.slots);
        match event {
            Event::Arrives(client) => {
                let name = if self.crowd.apart { client } else { 0 };
                let caller = Caller::from(name.to_string());
                let is_return = self.returning[client];
                let bytes = Some((self.clip_seconds(client) * 32_000.0) as u64);
                let attempt = Attempt { bytes, is_first: self.crowd.counting && !is_return };
                let answer = self.ledger.admit(client as JobId, &caller, attempt, now);
                self.outcome.returns += u64::from(is_return);
                match answer {
                    Ok(()) => {
                        let upload = 0.1 * self.random();
                        self.after(upload, Event::IsUploaded(client));
                    }
                    Err(refusal) => self.refused(client, refusal),
                }
            }
            Event::IsUploaded(client) => {
                let seconds = self.clip_seconds(client);
                match self.ledger.measure(client as JobId, seconds, now) {
                    Ok(()) => {
                        self.returning[client] = false;
                        self.queue.push_back(client);
                    }
                    Err(refusal) => self.refused(client, refusal),
                }
            }
            Event::IsDone(client) => {
                self.busy -= 1;
                self.ledger.set(client as JobId, 0.0, now);
                self.ledger.release(client as JobId, now);
                self.outcome.audio_seconds += self.clip_seconds(client);
                self.outcome.served[client] += 1;
                let pause = 0.05 * self.random();
                self.after(pause, Event::Arrives(client));
            }
        }
        while self.busy < self.crowd.slots
            && let Some(client) = self.queue.pop_front()
        {
            self.busy += 1;
            self.after(self.clip_seconds(client) / self.crowd.speed, Event::IsDone(client));
        }
    }

    fn refused(&mut self, client: usize, refusal: Refusal) {
        let (Refusal::Full { retry_after } | Refusal::Share { retry_after }) = refusal else {
            panic!("{refusal:?}");
        };
        assert!((1..=120).contains(&retry_after), "{retry_after}");
        self.outcome.refused_returns += u64::from(self.returning[client]);
        self.returning[client] = true;
        let lateness = 0.03 * self.random();
        self.after(retry_after as f64 + lateness, Event::Arrives(client));
    }
}

fn run(crowd: Crowd, seed: u64) -> Outcome {
    let mut world = World {
        crowd,
        started: Instant::now(),
        at: 0,
        random: seed,
        ledger: Ledger::new(crowd.capacity),
        events: BinaryHeap::new(),
        queue: VecDeque::new(),
        busy: 0,
        returning: [false; CLIENTS],
        outcome: Outcome {
            returns: 0,
            refused_returns: 0,
            audio_seconds: 0.0,
            served: [0; CLIENTS],
        },
    };
    for client in 0..CLIENTS {
        let at = world.random();
        world.after(at, Event::Arrives(client));
    }
    while let Some(Reverse((at, event))) = world.events.pop()
        && at < (LASTING_SECONDS * 1e6) as u64
    {
        world.at = at;
        world.happen(event);
    }
    world.outcome
}

#[track_caller]
fn check(crowd: Crowd) {
    for seed in 1..4 {
        let Outcome { returns, refused_returns, audio_seconds, served } = run(crowd, seed);
        assert!(returns > 500, "nobody is refused: {crowd:?}");
        let succeeded = 1.0 - refused_returns as f64 / returns as f64;
        assert!(succeeded >= 0.95, "{succeeded:.3} of the returns succeed: {crowd:?}");
        let used = audio_seconds / (LASTING_SECONDS * crowd.speed * crowd.slots as f64);
        assert!(used >= 0.9, "{used:.3} of the speed is used: {crowd:?}");
        let (fewest, most) = (served.iter().min().unwrap(), served.iter().max().unwrap());
        assert!(fewest * 3 >= *most, "one is served {fewest} times, one {most}: {crowd:?}");
    }
}

fn with(total_seconds: f64, caller_share: f64) -> Crowd {
    Crowd { capacity: Capacity { total_seconds, caller_share }, ..USUAL }
}

#[test]
fn who_comes_back_when_told_is_let_in() {
    for total_seconds in [60.0, 120.0, 600.0] {
        check(with(total_seconds, 0.5));
        check(Crowd { apart: true, ..with(total_seconds, 0.5) });
    }
    check(with(120.0, 1.0));
    check(Crowd { speed: 200.0, ..USUAL });
}

#[test]
fn clients_need_not_count_their_retries_nor_differ() {
    check(Crowd { counting: false, ..USUAL });
    check(Crowd { alike: true, ..USUAL });
    check(Crowd { alike: true, counting: false, ..USUAL });
}

#[test]
fn a_wrong_idea_of_the_speed_is_soon_corrected() {
    for misjudged in [0.5, 0.8, 1.25, 2.0] {
        check(Crowd { misjudged, ..USUAL });
    }
}

#[test]
fn nobody_starves_when_the_wait_is_longer_than_clients_sleep() {
    let crowd = Crowd { speed: 2.5, ..USUAL };
    let served = run(crowd, 1).served;
    assert!(served.iter().all(|times| (1..=5).contains(times)), "{served:?}");
}
