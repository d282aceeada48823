//! The open connections, and which of them is closed when there is no room for another.
//!
//! The server waits for most connections of an attacker: they are idle, send next to nothing or take
//! nothing. When there is no room, the one that it has waited for longest is closed. If all are at
//! work, a few more are taken for health checks.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use metrics::counter;
use tokio::sync::Notify;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::activity::Activity;
use auris_core::metrics as names;

/// How many connections beyond the limits are taken for health checks.
const MOST_SPARE: usize = 32;

/// How many of them one client may have.
const MOST_SPARE_FOR_CLIENT: usize = MOST_SPARE / 2;

/// How many connections may be closing at once for new ones, which are open already.
const MOST_CLOSING: usize = 16;

/// How many connections may be open at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConnectionLimits {
    pub total: usize,
    /// From one client: an IPv4 address or an IPv6 network of 56 bits.
    pub per_client: usize,
}

#[derive(Debug, Clone)]
pub(super) struct Registry(Arc<SharedRegistry>);

#[derive(Debug)]
struct SharedRegistry {
    limits: ConnectionLimits,
    open: Mutex<OpenConnections>,
    /// A connection has ended.
    ended: Notify,
}

#[derive(Debug, Default)]
struct OpenConnections {
    next_id: u64,
    entries: HashMap<u64, OpenConnection>,
}

#[derive(Debug)]
struct OpenConnection {
    client: IpAddr,
    is_spare: bool,
    activity: Arc<Activity>,
    evicted: CancellationToken,
}

/// What becomes of a new connection.
#[derive(Debug)]
pub(super) enum Admission {
    Admitted(Place),
    /// Many others are closing: ask again when one has [ended](Registry::ended).
    Closing,
    /// Others are new and may turn out to be idle: ask again in a moment.
    Soon,
    Full,
}

/// Whether a connection could be closed for a new one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Eviction {
    Done,
    /// All that are not at work are new.
    Soon,
    Impossible,
}

/// The place of an open connection. Dropping it frees the place.
#[derive(Debug)]
pub(super) struct Place {
    registry: Registry,
    id: u64,
    /// For health checks only.
    pub(super) is_spare: bool,
    pub(super) activity: Arc<Activity>,
    /// Cancelled when the connection must be closed for another one.
    pub(super) evicted: CancellationToken,
}

impl Registry {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self(Arc::new(SharedRegistry { limits, open: Mutex::default(), ended: Notify::new() }))
    }

    pub(super) fn admit(&self, address: IpAddr) -> Admission {
        let client = network(address);
        let mut open = self.lock();
        let ConnectionLimits { total, per_client } = self.0.limits;
        let is_own = |entry: &OpenConnection| entry.client == client;
        let is_regular = |entry: &OpenConnection| !entry.is_spare && !entry.is_closing();
        let is_spare = |entry: &OpenConnection| entry.is_spare && !entry.is_closing();
        let client_is_full = open.count(|entry| is_own(entry) && is_regular(entry)) >= per_client;
        if !client_is_full && open.count(is_regular) < total {
            return Admission::Admitted(self.add(&mut open, client, false));
        }
        if open.count(OpenConnection::is_closing) >= MOST_CLOSING {
            return Admission::Closing;
        }
        let evicted = open.evict(|entry| is_regular(entry) && (!client_is_full || is_own(entry)));
        if evicted == Eviction::Done {
            return Admission::Admitted(self.add(&mut open, client, false));
        }
        let own_spare = open.count(|entry| is_own(entry) && is_spare(entry));
        let client_is_full = own_spare >= MOST_SPARE_FOR_CLIENT;
        if !client_is_full && open.count(is_spare) < MOST_SPARE {
            return Admission::Admitted(self.add(&mut open, client, true));
        }
        match open.evict(|entry| is_spare(entry) && (!client_is_full || is_own(entry))) {
            Eviction::Done => Admission::Admitted(self.add(&mut open, client, true)),
            Eviction::Soon => Admission::Soon,
            Eviction::Impossible => Admission::Full,
        }
    }

    /// Waits until a connection has ended.
    pub(super) async fn ended(&self) {
        self.0.ended.notified().await;
    }

    fn add(&self, open: &mut OpenConnections, client: IpAddr, is_spare: bool) -> Place {
        let id = open.next_id;
        open.next_id += 1;
        let activity = Arc::new(Activity::new());
        let evicted = CancellationToken::new();
        let entry = OpenConnection {
            client,
            is_spare,
            activity: Arc::clone(&activity),
            evicted: evicted.clone(),
        };
        open.entries.insert(id, entry);
        Place { registry: self.clone(), id, is_spare, activity, evicted }
    }

    fn lock(&self) -> MutexGuard<'_, OpenConnections> {
        self.0.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl OpenConnection {
    fn is_closing(&self) -> bool {
        self.evicted.is_cancelled()
    }
}

impl OpenConnections {
    fn count(&self, is_counted: impl Fn(&OpenConnection) -> bool) -> usize {
        self.entries.values().filter(|entry| is_counted(entry)).count()
    }

    /// Closes the connection that has stalled longest of those that `may_close` admits.
    fn evict(&self, may_close: impl Fn(&OpenConnection) -> bool) -> Eviction {
        let now = Instant::now();
        let candidates = || self.entries.values().filter(|entry| may_close(entry));
        let stalled = candidates().filter_map(|entry| Some((entry.activity.stalled(now)?, entry)));
        if let Some((_, entry)) = stalled.max_by_key(|(stall, _)| *stall) {
            entry.evicted.cancel();
            counter!(names::EVICTED_CONNECTIONS).increment(1);
            return Eviction::Done;
        }
        match candidates().any(|entry| entry.activity.is_fresh(now)) {
            true => Eviction::Soon,
            false => Eviction::Impossible,
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.registry.lock().entries.remove(&self.id);
        self.registry.0.ended.notify_one();
    }
}

/// The bits of an IPv6 address that do not distinguish clients: many providers give each customer a
/// network of 56 bits.
const CLIENT_BITS: u128 = (1 << (128 - 56)) - 1;

/// What counts as one client.
pub(in crate::http) fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & !CLIENT_BITS).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admitted(registry: &Registry, address: &str) -> Option<Place> {
        match registry.admit(address.parse().unwrap()) {
            Admission::Admitted(place) => Some(place),
            _ => None,
        }
    }

    /// A place whose client has been silent for longer than a moment.
    fn idle(registry: &Registry, address: &str) -> Place {
        let place = admitted(registry, address).expect("a place");
        place.activity.age();
        place
    }

    /// A place whose request is at work.
    fn busy(registry: &Registry, address: &str) -> Place {
        let place = admitted(registry, address).expect("a place");
        place.activity.begin(false);
        place
    }

    #[test]
    fn the_connection_that_idles_longest_is_closed_for_a_new_one() {
        let registry = Registry::new(ConnectionLimits { total: 3, per_client: 2 });
        let working = busy(&registry, "10.0.0.1");
        let oldest = idle(&registry, "10.0.0.2");
        let newer = idle(&registry, "10.0.0.3");
        assert!(admitted(&registry, "10.0.0.4").is_some_and(|place| !place.is_spare));
        assert!(oldest.evicted.is_cancelled());
        assert!(!newer.evicted.is_cancelled() && !working.evicted.is_cancelled());
    }

    #[test]
    fn a_client_with_too_many_connections_loses_its_own() {
        let registry = Registry::new(ConnectionLimits { total: 10, per_client: 2 });
        let other = idle(&registry, "10.0.0.1");
        let own = idle(&registry, "2001:db8::1");
        let _newer = idle(&registry, "2001:db8:0:1::2");
        assert!(admitted(&registry, "2001:db8:0:ff::3").is_some_and(|place| !place.is_spare));
        assert!(own.evicted.is_cancelled() && !other.evicted.is_cancelled());
    }

    #[test]
    fn when_all_are_at_work_a_few_more_are_taken() {
        let registry = Registry::new(ConnectionLimits { total: 2, per_client: 2 });
        let _working: Vec<Place> = (0..2).map(|_| busy(&registry, "10.0.0.1")).collect();
        let mut spare = Vec::new();
        for number in 0..=MOST_SPARE {
            let place = admitted(&registry, &format!("10.0.1.{}", number / 4));
            let Some(place) = place else { break };
            assert!(place.is_spare);
            place.activity.begin(false);
            spare.push(place);
        }
        assert_eq!(spare.len(), MOST_SPARE);
        assert!(matches!(registry.admit("10.0.2.1".parse().unwrap()), Admission::Full));
    }

    #[test]
    fn a_new_connection_has_a_moment_to_send_its_request() {
        let registry = Registry::new(ConnectionLimits { total: 1, per_client: 1 });
        let _working = busy(&registry, "10.0.0.1");
        let spare: Vec<Place> = (0..MOST_SPARE_FOR_CLIENT)
            .map(|_| admitted(&registry, "10.0.0.1").expect("a place"))
            .collect();
        let admit = || registry.admit("10.0.0.1".parse().unwrap());
        assert!(matches!(admit(), Admission::Soon), "they may be health checks");
        spare[3].activity.age();
        assert!(matches!(admit(), Admission::Admitted(_)));
        assert!(spare[3].evicted.is_cancelled());
    }

    #[test]
    fn new_connections_wait_for_many_that_close() {
        let registry = Registry::new(ConnectionLimits { total: 40, per_client: 40 });
        let silent: Vec<Place> = (0..40).map(|_| idle(&registry, "10.0.0.1")).collect();
        let newer: Vec<Place> = (0..MOST_CLOSING).map(|_| busy(&registry, "10.0.0.1")).collect();
        assert!(matches!(registry.admit("10.0.0.2".parse().unwrap()), Admission::Closing));
        drop(silent);
        assert!(admitted(&registry, "10.0.0.2").is_some());
        drop(newer);
    }

    #[test]
    fn one_client_does_not_take_all_that_is_spare() {
        let registry = Registry::new(ConnectionLimits { total: 10, per_client: 1 });
        let _working = busy(&registry, "10.0.0.1");
        let taken: Vec<Place> =
            (0..MOST_SPARE_FOR_CLIENT).map(|_| busy(&registry, "10.0.0.1")).collect();
        assert!(taken.iter().all(|place| place.is_spare));
        assert!(matches!(registry.admit("10.0.0.1".parse().unwrap()), Admission::Full));
        assert!(admitted(&registry, "10.0.0.2").is_some_and(|place| !place.is_spare));
    }
}
