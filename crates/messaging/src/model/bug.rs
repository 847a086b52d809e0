/// Declares the bugs, and a list of them all.
macro_rules! bugs {
    ($($(#[$attribute:meta])* $bug:ident,)+) => {
        /// A mistake that the model makes on purpose: what the conformance suite is proven to find.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Bug {
            $($(#[$attribute])* $bug,)+
        }

        impl Bug {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$bug,)+];
        }
    };
}

bugs! {
    /// A message that somebody holds is handed out again.
    DeliverTwice,
    /// A message that is to be repeated is gone.
    LoseOnRetry,
    /// The wait before a repetition is not kept.
    RetryEarly,
    /// A restart forgets what waits to be repeated.
    LoseRetryOnRestart,
    /// A release counts as a delivery.
    CountRelease,
    /// A message is delivered once more than `max_deliveries`.
    OneDeliveryMore,
    /// A dead message has two copies.
    BuryTwice,
    /// A late settlement is taken for that of whoever has the message now.
    NoFence,
    /// The end of a lease frees nothing.
    LeaseForEver,
    /// The same settlement again is an error.
    SettleOnce,
    /// An extension does not move the end of a lease.
    ExtendNothing,
    /// What was leased for a future that was dropped stays leased.
    LeakDropped,
    /// An id is remembered for a moment too long.
    WindowTooLong,
    /// Ids are compared without their source.
    IgnoreSource,
    /// Low priorities come first.
    PrioritiesReversed,
    /// A group goes on while its first message waits to be repeated.
    GroupLeapfrog,
    /// What comes before a refused operation is done.
    HalfBatch,
    /// Operations of a commit are done one after the other, and dropping it stops it between two of them.
    TornCommit,
    /// Between the look at conditions and what is done another commit may come.
    CheckThenAct,
    /// `ttl` does nothing.
    IgnoreTtl,
    /// A delayed message is delivered at once.
    IgnoreDelay,
    /// A message that somebody holds can be cancelled.
    CancelHeld,
    /// A full queue makes room by dropping its oldest message.
    DropOldest,
    /// A waiting consumer does not hear of a message that becomes due.
    SleepThroughDue,
    /// Who advances a group is not looked at.
    AdvanceUnfenced,
    /// A new member is given partitions that another one works on.
    RebalanceSteals,
    /// Compaction removes the last record of a key.
    CompactLast,
    /// A moment is found behind the records that were stored at it.
    SkipTies,
    /// Records with one key go to any partition.
    KeyWanders,
    /// A record without data ends its key, whatever it says.
    TombstoneByMistake,
    /// A member may be missed for any time.
    SessionForEver,
    /// Positions of groups do not outlast a restart.
    ForgetPositions,
    /// A key can be marked again.
    MarkAgain,
    /// A key is never forgotten.
    MarkForEver,
    /// Who waits does not hear of what is stored.
    SleepThroughChange,
    /// A wait does not end when it is over.
    WaitForEver,
    /// The end of a lease frees nothing, and a settlement that comes after it is taken.
    TakeLateSettlement,
    /// Nothing is removed from a topic.
    KeepForEver,
    /// Messages and records may have any size.
    IgnoreSize,
    /// What a queue was not declared for is taken and done.
    AllowUndeclared,
    /// A duplicate is refused by a full queue.
    FullOfDuplicates,
    /// A restart forgets ids, marks and records.
    ForgetOnRestart,
    /// A transient queue outlasts a restart.
    OutlastRestart,
    /// A queue or topic that is declared again is empty.
    DeclareEmpties,
    /// Extensions of envelopes get lost.
    LoseExtensions,
    /// Reading begins behind the position that was asked for.
    SkipRecord,
    /// Pages may have any size.
    IgnoreBytesMax,
    /// A record that is larger than the page never comes.
    EmptyPage,
    /// The partition that a record names is not looked at.
    IgnorePartition,
    /// Partitions that a topic grew by are nobody's.
    LoseNewPartitions,
    /// All groups have one position.
    ShareGroups,
    /// A group that never advanced begins anew with each member.
    StartAgain,
    /// Lag is the difference of positions, whatever is kept between them.
    LagByPositions,
    /// It says that it syncs.
    PretendToSync,
    /// A promise that was asked for is not reported.
    DropPromise,
    /// A specification that can not work is taken.
    DeclareAnything,
    /// A queue of dead letters need not be there.
    DeadLettersNowhere,
    /// What is deleted stays.
    DeleteNothing,
    /// A name that is not there is refused without the nearest one.
    NoNearest,
    /// What is sent together is stored the other way round.
    ReverseBatch,
    /// It refuses without a word what to do instead.
    RefuseWithoutHint,
    /// What comes in a commit with a settlement that was done before is done again.
    CommitAgain,
    /// Of a commit of which only some was done before nothing is done, and nobody is told.
    SkipOthers,
    /// A lease of one queue is taken in another.
    AnyQueue,
    /// What is random in a lease is not looked at.
    GuessableLeases,
    /// A settlement is remembered for ever.
    RememberSettled,
    /// The id of a cancelled message stays in the window.
    RememberCancelled,
    /// A message that never died can be redriven.
    RedriveLiving,
    /// A dead letter is not redriven to a queue that remembers its id, and is gone.
    RedriveDeduplicates,
    /// Nobody counts how often a message was redriven.
    ForgetRedrives,
    /// What is buried tells no cause.
    BuryWithoutCause,
    /// Queues that others' dead letters go to can be deleted, be less durable and lead in a circle.
    LoseDeadLetters,
    /// Queues of dead letters that came with others stay when those are gone and they are empty.
    KeepDeadLetters,
    /// One consumer may hold all there is.
    OneTakesAll,
    /// Who joins under the name of a member shares its membership.
    ShareMembership,
    /// A member that was replaced stays as the one that replaced it.
    HeartbeatUnfenced,
    /// A restart forgets who was a member.
    ForgetMembers,
    /// A group can be told to go back.
    AdvanceBack,
    /// Members go on as before when somebody sets where their group is.
    SeekUnfenced,
    /// Groups of a topic count their generations from one, whoever had its name before.
    GenerationsAgain,
    /// A group can be told to be where nothing was appended yet.
    AdvanceBeyond,
    /// A group begins at the end of partitions that a topic grew by, if it began at the end.
    MissNewPartitions,
    /// A request that was completed is completed again, with what came with it.
    CompleteAgain,
    /// Who completes a request need not have begun it last.
    CompleteUnfenced,
    /// The completion of a request is not kept.
    CompleteNothing,
    /// Lists have any length.
    ListAll,
    /// What was said not to be offered is done.
    AllowUnoffered,
    /// Commits are said to be possible that are refused.
    PromiseCommits,
}
