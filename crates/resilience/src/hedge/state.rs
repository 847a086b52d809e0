/// The attempts of one call: what follows from each event. No clock, no lock, no await.
///
/// Invariants: no more than `most` attempts begin; a call fails only when none is under way and none may
/// begin any more.
#[derive(Debug, Clone, Copy)]
pub struct Attempts {
    most: u32,
    begun: u32,
    under_way: u32,
    refused: bool,
}

/// What follows when an attempt has failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Another attempt should begin, if the budget pays for it.
    Begin,
    /// Another one is under way and may succeed.
    Wait,
    /// The call has failed.
    Fail,
}

impl Attempts {
    /// None yet, and at most `most`.
    pub fn new(most: u32) -> Self {
        Self { most, begun: 0, under_way: 0, refused: false }
    }

    /// An attempt begins. Its number, the first is 1.
    pub fn begin(&mut self) -> u32 {
        self.begun += 1;
        self.under_way += 1;
        self.begun
    }

    /// How many have begun.
    pub fn begun(&self) -> u32 {
        self.begun
    }

    /// Whether a further attempt may begin.
    pub fn may_begin(&self) -> bool {
        self.begun < self.most && !self.refused
    }

    /// The budget did not pay for a further attempt. The call asks no more: its neighbours ask too.
    pub fn refuse(&mut self) -> Next {
        self.refused = true;
        self.next()
    }

    /// An attempt failed.
    pub fn fail(&mut self) -> Next {
        self.under_way -= 1;
        self.next()
    }

    /// An attempt succeeded, and the others are dropped.
    pub fn succeed(&mut self) {
        self.under_way = 0;
        self.most = self.begun;
    }

    /// Whether the call has ended.
    pub fn have_ended(&self) -> bool {
        self.next() == Next::Fail
    }

    fn next(self) -> Next {
        if self.may_begin() {
            Next::Begin
        } else if self.under_way > 0 {
            Next::Wait
        } else {
            Next::Fail
        }
    }
}
