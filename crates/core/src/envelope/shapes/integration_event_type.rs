/// The types of events that an integration with outer systems tells of, named `domain.entity.happened`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntegrationEventType {
    /// A wallet was connected.
    WalletConnected,
    /// A wallet was disconnected.
    WalletDisconnected,
    /// A balance is another than before.
    BalanceUpdated,
    /// A transaction was seen.
    TransactionDetected,
    /// A provider's rate limit was reached.
    RateLimitReached,
    /// A circuit breaker opened.
    CircuitOpened,
    /// Cached values are no longer good.
    CacheInvalidated,
}

impl IntegrationEventType {
    /// All of them.
    pub const ALL: [Self; 7] = [
        Self::WalletConnected,
        Self::WalletDisconnected,
        Self::BalanceUpdated,
        Self::TransactionDetected,
        Self::RateLimitReached,
        Self::CircuitOpened,
        Self::CacheInvalidated,
    ];

    /// The name, as `type` has it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::WalletConnected => "integration.wallet.connected",
            Self::WalletDisconnected => "integration.wallet.disconnected",
            Self::BalanceUpdated => "integration.balance.updated",
            Self::TransactionDetected => "integration.transaction.detected",
            Self::RateLimitReached => "integration.ratelimit.reached",
            Self::CircuitOpened => "integration.circuit.opened",
            Self::CacheInvalidated => "integration.cache.invalidated",
        }
    }

    /// The type of that name.
    pub fn of(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|one| one.name() == name)
    }
}
