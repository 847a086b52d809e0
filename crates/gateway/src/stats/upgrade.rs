use super::Counter;

/// What became of the connections of a route that switched to another protocol.
#[derive(Debug, Default)]
pub struct UpgradeStats {
    begun: Counter,
    ended: [Counter; UpgradeEnd::ALL.len()],
    to_service: Counter,
    to_client: Counter,
}

/// How a switched connection ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum UpgradeEnd {
    /// Both sides had said all they had to say.
    Closed,
    /// The client's connection failed.
    ClientLeft,
    /// The service's connection failed.
    ServiceBrokeOff,
    /// No byte went through for `upgrade_idle_timeout`.
    Idle,
}

impl UpgradeEnd {
    /// All of them, in the order of their counters.
    pub const ALL: [Self; 4] = [Self::Closed, Self::ClientLeft, Self::ServiceBrokeOff, Self::Idle];

    /// Its name in metrics and in the access log.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::ClientLeft => "client_left",
            Self::ServiceBrokeOff => "service_broke_off",
            Self::Idle => "upgrade_idle_timeout",
        }
    }
}

/// Which way the bytes of a switched connection go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// From the client.
    ToService,
    /// From the service.
    ToClient,
}

impl Way {
    /// Both.
    pub const ALL: [Self; 2] = [Self::ToService, Self::ToClient];

    /// Its name in metrics.
    pub const fn name(self) -> &'static str {
        match self {
            Self::ToService => "service",
            Self::ToClient => "client",
        }
    }
}

impl UpgradeStats {
    /// Counts a connection that switches.
    pub fn begin(&self) {
        self.begun.increment();
    }

    /// Counts the end of one that began.
    pub fn end(&self, how: UpgradeEnd) {
        self.ended[how as usize].increment();
    }

    /// Counts bytes that went through.
    pub fn pass(&self, way: Way, bytes: usize) {
        self.of(way).add(bytes as u64);
    }

    /// Connections that are switched now.
    pub fn open(&self) -> u64 {
        let ended: u64 = self.ended.iter().map(Counter::get).sum();
        // The end of one that began meanwhile may be counted already.
        self.begun.get().saturating_sub(ended)
    }

    /// Connections by how they ended.
    pub fn ended(&self) -> impl Iterator<Item = (UpgradeEnd, u64)> {
        UpgradeEnd::ALL.into_iter().zip(self.ended.iter().map(Counter::get))
    }

    /// Connections that switched so far.
    pub fn begun(&self) -> u64 {
        self.begun.get()
    }

    /// Bytes that went one way.
    pub fn passed(&self, way: Way) -> u64 {
        self.of(way).get()
    }

    fn of(&self, way: Way) -> &Counter {
        match way {
            Way::ToService => &self.to_service,
            Way::ToClient => &self.to_client,
        }
    }
}
