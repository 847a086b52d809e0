//! How many connections may be open.

use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::accept_failure::AcceptFailures;
use crate::config::ClientLimitsConfig;
use crate::stats::Counter;

/// The connections of all data threads, counted together.
#[derive(Debug)]
pub(super) struct Admission {
    connections_max: usize,
    per_address_max: Option<NonZeroU32>,
    open: AtomicUsize,
    /// Only kept where addresses have a limit; no larger than `connections_max`.
    addresses: Mutex<HashMap<IpAddr, u32>>,
    refused: [Counter; 2],
    /// Connections that could not be taken at all.
    pub(super) failures: AcceptFailures,
}

/// The limit that kept a connection out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Full {
    Connections,
    Address,
}

impl Full {
    pub(super) const ALL: [Self; 2] = [Self::Connections, Self::Address];

    /// The key of the limit.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections_max",
            Self::Address => "connections_per_address_max",
        }
    }
}

impl Admission {
    pub(super) fn new(limits: &ClientLimitsConfig) -> Self {
        Self {
            connections_max: limits.connections_max.get() as usize,
            per_address_max: limits.connections_per_address_max,
            open: AtomicUsize::new(0),
            addresses: Mutex::default(),
            refused: Default::default(),
            failures: AcceptFailures::default(),
        }
    }

    /// Connections that are open now.
    pub(super) fn open(&self) -> usize {
        self.open.load(Ordering::Relaxed)
    }

    /// Connections that were kept out by `limit`.
    pub(super) fn refused(&self, limit: Full) -> u64 {
        self.refused[limit as usize].get()
    }

    /// A place for a connection from `address`, until the guard is dropped.
    ///
    /// # Errors
    /// The limit that is reached; it is counted.
    pub(super) fn admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Full> {
        let admitted = self.try_admit(address);
        if let Err(limit) = admitted {
            self.refused[limit as usize].increment();
        }
        admitted
    }

    fn try_admit(self: &Arc<Self>, address: IpAddr) -> Result<Admitted, Full> {
        // Counted first and taken back by the guard, so that threads can not pass the limit together.
        let mut admitted = Admitted { admission: Arc::clone(self), address: None };
        if self.open.fetch_add(1, Ordering::Relaxed) >= self.connections_max {
            return Err(Full::Connections);
        }
        if let Some(max) = self.per_address_max {
            let mut addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
            let open = addresses.entry(address).or_insert(0);
            if *open >= max.get() {
                drop(addresses);
                return Err(Full::Address);
            }
            *open += 1;
            admitted.address = Some(address);
        }
        Ok(admitted)
    }
}

/// An open connection.
#[derive(Debug)]
pub(super) struct Admitted {
    admission: Arc<Admission>,
    /// Where addresses are counted.
    address: Option<IpAddr>,
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.admission.open.fetch_sub(1, Ordering::Relaxed);
        let Some(address) = self.address else { return };
        let mut addresses = self.admission.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = addresses.get_mut(&address) {
            *open -= 1;
            if *open == 0 {
                addresses.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all: u32, each: Option<u32>) -> Arc<Admission> {
        Arc::new(Admission::new(&ClientLimitsConfig {
            connections_max: NonZeroU32::new(all).expect("not zero"),
            connections_per_address_max: each.and_then(NonZeroU32::new),
            ..ClientLimitsConfig::default()
        }))
    }

    #[test]
    fn places_are_given_back_and_addresses_forgotten() {
        let admission = admission(3, Some(2));
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        let first = admission.admit(one).expect("a place");
        let second = admission.admit(one).expect("a place");
        assert_eq!(admission.admit(one).err(), Some(Full::Address));
        let third = admission.admit(other).expect("a place");
        assert_eq!(admission.admit(other).err(), Some(Full::Connections));
        assert_eq!(admission.open(), 3);
        drop(first);
        let fourth = admission.admit(one).expect("the place that was given back");
        assert_eq!(Full::ALL.map(|limit| admission.refused(limit)), [1, 1]);
        drop((second, third, fourth));
        assert_eq!(admission.open(), 0);
        assert!(admission.addresses.lock().expect("unpoisoned").is_empty());
    }
}
