//! Which waiting chunk is next. Pure: no clock, no channels, no devices.
//!
//! Requests take turns by the seconds of audio that they have been given, so a request of ten hours
//! and one of ten seconds get the same share while both wait. Short requests come first, except
//! that every fourth turn goes to a long one to keep it moving.

use std::collections::{BTreeMap, VecDeque};

pub(super) type RequestId = u64;

/// A request with at most this many seconds of audio is short.
pub(super) const SHORT_REQUEST_SECONDS: f64 = 60.0;

/// While both kinds wait, one turn in this many goes to a long request.
const LONG_TURN: u64 = 4;

/// The waiting chunks in fair order. `T` is whatever the caller needs to run one.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    requests: BTreeMap<RequestId, QueuedRequest<T>>,
    turns: u64,
    /// Where the last served request of each class stood. A request that is new, or had nothing to
    /// run, starts from here: it does not catch up on time in which it did not wait.
    clocks: Clocks,
}

#[derive(Debug, Default)]
struct Clocks {
    short: f64,
    long: f64,
}

#[derive(Debug)]
struct QueuedRequest<T> {
    /// The length of its audio as claimed on arrival, in seconds.
    claimed: f64,
    /// Seconds of audio given so far.
    given: f64,
    /// The same, on its class's clock.
    served: f64,
    /// Waiting chunks with their seconds of audio.
    waiting: VecDeque<(f64, T)>,
}

impl<T> QueuedRequest<T> {
    /// The claim is trusted until more audio than that has been given.
    fn is_short(&self) -> bool {
        self.claimed.max(self.given) <= SHORT_REQUEST_SECONDS
    }
}

impl Clocks {
    fn of(&mut self, short: bool) -> &mut f64 {
        if short { &mut self.short } else { &mut self.long }
    }
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { requests: BTreeMap::new(), turns: 0, clocks: Clocks::default() }
    }
}

impl<T> FairQueue<T> {
    /// Adds a request. `seconds` is the length of its audio as far as known.
    pub(super) fn add_request(&mut self, id: RequestId, seconds: f64) {
        let request =
            QueuedRequest { claimed: seconds, given: 0.0, served: 0.0, waiting: VecDeque::new() };
        self.requests.insert(id, request);
    }

    /// Removes a request with its waiting chunks.
    pub(super) fn remove_request(&mut self, id: RequestId) {
        self.requests.remove(&id);
    }

    /// Adds a chunk behind those of its request. Returns the chunk if the request is not in the
    /// queue.
    pub(super) fn push(&mut self, id: RequestId, seconds: f64, chunk: T) -> Result<(), T> {
        let Some(request) = self.requests.get_mut(&id) else { return Err(chunk) };
        if request.waiting.is_empty() {
            request.served = request.served.max(*self.clocks.of(request.is_short()));
        }
        request.waiting.push_back((seconds, chunk));
        Ok(())
    }

    /// Puts a chunk back in front of its request's other chunks, as if it had never been taken.
    /// Drops it if the request is no longer in the queue.
    pub(super) fn put_back(&mut self, id: RequestId, seconds: f64, chunk: T) {
        if let Some(request) = self.requests.get_mut(&id) {
            request.given -= seconds;
            request.served -= seconds;
            request.waiting.push_front((seconds, chunk));
        }
    }

    /// The next chunk of each request.
    pub(super) fn fronts(&self) -> impl Iterator<Item = &T> {
        self.requests.values().filter_map(|request| request.waiting.front()).map(|(_, chunk)| chunk)
    }

    /// Takes the next chunk for which `place` finds a place, and returns both. Offers the first
    /// chunk of each request, in fair order.
    pub(super) fn pop<P>(&mut self, mut place: impl FnMut(&T) -> Option<P>) -> Option<(T, P)> {
        let long_first = (self.turns + 1).is_multiple_of(LONG_TURN);
        let mut order: Vec<(&RequestId, &QueuedRequest<T>)> =
            self.requests.iter().filter(|(_, request)| !request.waiting.is_empty()).collect();
        order.sort_by(|(_, a), (_, b)| {
            let class = |request: &QueuedRequest<T>| request.is_short() == long_first;
            class(a).cmp(&class(b)).then(a.served.total_cmp(&b.served))
        });
        let (id, place) = order.into_iter().find_map(|(id, request)| {
            let (_, chunk) = request.waiting.front()?;
            Some((*id, place(chunk)?))
        })?;
        let request = self.requests.get_mut(&id)?;
        let (seconds, chunk) = request.waiting.pop_front()?;
        let was_short = request.is_short();
        let clock = self.clocks.of(was_short);
        *clock = clock.max(request.served);
        request.given += seconds;
        request.served += seconds;
        if was_short && !request.is_short() {
            request.served = request.served.max(self.clocks.long);
        }
        self.turns += 1;
        Some((chunk, place))
    }

    /// Removes and returns every waiting chunk for which `condemned` holds.
    pub(super) fn drain_where(&mut self, condemned: impl Fn(&T) -> bool) -> Vec<T> {
        let mut taken = Vec::new();
        for request in self.requests.values_mut() {
            for (seconds, chunk) in std::mem::take(&mut request.waiting) {
                if condemned(&chunk) {
                    taken.push(chunk);
                } else {
                    request.waiting.push_back((seconds, chunk));
                }
            }
        }
        taken
    }

    pub(super) fn len(&self) -> usize {
        self.requests.values().map(|request| request.waiting.len()).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled(requests: &[(RequestId, f64, usize)]) -> FairQueue<String> {
        let mut queue = FairQueue::default();
        for &(id, seconds, chunks) in requests {
            queue.add_request(id, seconds);
            for n in 0..chunks {
                queue.push(id, seconds / chunks as f64, format!("{id}.{n}")).unwrap();
            }
        }
        queue
    }

    fn order(queue: &mut FairQueue<String>) -> String {
        let mut order = Vec::new();
        while let Some((chunk, ())) = queue.pop(|_| Some(())) {
            order.push(chunk);
        }
        order.join(" ")
    }

    #[test]
    fn a_short_request_overtakes_a_long_one() {
        let mut queue = filled(&[(1, 300.0, 10), (2, 5.0, 1)]);
        assert!(order(&mut queue).starts_with("2.0 1.0 1.1"));
    }

    #[test]
    fn long_requests_move_while_short_ones_keep_coming() {
        let mut queue = filled(&[(1, 300.0, 2), (2, 50.0, 6)]);
        assert_eq!(order(&mut queue), "2.0 2.1 2.2 1.0 2.3 2.4 2.5 1.1");
    }

    #[test]
    fn requests_of_a_class_take_turns_by_seconds_of_audio() {
        let mut queue = filled(&[(1, 120.0, 4), (2, 120.0, 8)]);
        assert_eq!(order(&mut queue), "1.0 2.0 2.1 1.1 2.2 2.3 1.2 2.4 2.5 1.3 2.6 2.7");
    }

    #[test]
    fn a_new_request_does_not_catch_up() {
        let mut queue = filled(&[(1, 100.0, 10)]);
        for _ in 0..5 {
            queue.pop(|_| Some(()));
        }
        queue.add_request(2, 100.0);
        for n in 0..3 {
            queue.push(2, 10.0, format!("2.{n}")).unwrap();
        }
        assert_eq!(order(&mut queue), "2.0 1.5 2.1 1.6 2.2 1.7 1.8 1.9");
    }

    #[test]
    fn an_idle_request_does_not_overtake_waiting_ones() {
        let mut queue = filled(&[(1, 100.0, 0), (2, 90.0, 9)]);
        queue.push(1, 10.0, "1.0".to_owned()).unwrap();
        for _ in 0..6 {
            queue.pop(|_| Some(()));
        }
        for n in 1..5 {
            queue.push(1, 10.0, format!("1.{n}")).unwrap();
        }
        assert_eq!(order(&mut queue), "1.1 1.2 2.5 1.3 2.6 1.4 2.7 2.8");
    }

    #[test]
    fn a_file_that_claims_to_be_short_is_long_once_it_has_been_given_much() {
        let mut queue = filled(&[(1, 5.0, 0), (2, 50.0, 2)]);
        for n in 0..4 {
            queue.push(1, 30.0, format!("1.{n}")).unwrap();
        }
        assert_eq!(order(&mut queue), "1.0 2.0 2.1 1.1 1.2 1.3");
    }

    #[test]
    fn a_chunk_without_a_place_does_not_hold_up_the_others() {
        let mut queue = filled(&[(1, 5.0, 1), (2, 5.0, 1)]);
        let next = queue.pop(|chunk| (chunk == "2.0").then_some("device"));
        assert_eq!(next, Some(("2.0".to_owned(), "device")));
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_returned_chunk_comes_first_again() {
        let mut queue = filled(&[(1, 20.0, 2), (2, 20.0, 2)]);
        let (chunk, ()) = queue.pop(|_| Some(())).unwrap();
        assert_eq!(chunk, "1.0");
        queue.put_back(1, 10.0, chunk);
        assert_eq!(order(&mut queue), "1.0 2.0 1.1 2.1");
    }

    #[test]
    fn a_removed_request_takes_its_chunks_with_it() {
        let mut queue = filled(&[(1, 5.0, 3), (2, 5.0, 1)]);
        queue.remove_request(1);
        assert_eq!(order(&mut queue), "2.0");
        assert_eq!(queue.push(1, 1.0, "late".to_owned()), Err("late".to_owned()));
    }
}
