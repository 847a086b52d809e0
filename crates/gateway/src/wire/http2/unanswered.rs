/// The streams of a client whose answers have not begun: of these alone can h2 make an answer itself, which it
/// does with nothing but a status, as the last block of trailers may look too.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    streams: Vec<u32>,
    newest: u32,
}

impl Unanswered {
    /// Headers came. Those of a stream that is not new are its trailers. Beyond `most`, which only those reach
    /// that open more streams than they may, streams are not followed.
    pub(super) fn came(&mut self, stream: u32, most: usize) {
        if stream > self.newest {
            self.newest = stream;
            if self.streams.len() < most {
                self.streams.push(stream);
            }
        }
    }

    /// Its answer begins, or it ends; whether it was waited for.
    pub(super) fn take(&mut self, stream: u32) -> bool {
        let at = self.streams.iter().position(|known| *known == stream);
        at.map(|at| self.streams.swap_remove(at)).is_some()
    }
}
