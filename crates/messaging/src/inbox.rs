use crate::engine::{Engine, Pending};
use crate::{EngineError, Name};

/// What remembers which messages were handled, for consumers whose effects must happen once: [`Operation::Mark`]
/// in the commit that has the effect, and this before it is begun.
///
/// [`Operation::Mark`]: crate::commit::Operation::Mark
pub trait InboxEngine: Engine {
    /// Whether `key` was marked in `inbox` and is still remembered.
    ///
    /// # Errors
    /// When the engine is not available. An inbox that nobody has marked anything in is empty, not unknown.
    fn is_marked<'a>(&'a self, inbox: &'a Name, key: &'a str) -> Pending<'a, Result<bool, EngineError>>;
}
