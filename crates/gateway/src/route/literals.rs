use std::collections::HashMap;

/// The places that literal segments lead to from one place in a path.
///
/// With many routes most places lead to one other: that one needs no table, and is compared instead of hashed.
#[derive(Debug, Default)]
pub(super) enum Literals {
    #[default]
    None,
    One(Box<str>, usize),
    Many(HashMap<Box<str>, usize>),
}

impl Literals {
    /// Where `segment` leads to.
    pub(super) fn get(&self, segment: &str) -> Option<usize> {
        match self {
            Self::None => None,
            Self::One(only, place) => (**only == *segment).then_some(*place),
            Self::Many(places) => places.get(segment).copied(),
        }
    }

    /// Where `segment` leads to, which is `fresh` if it led nowhere before.
    pub(super) fn get_or_insert(&mut self, segment: &str, fresh: usize) -> usize {
        if let Some(known) = self.get(segment) {
            return known;
        }
        *self = match std::mem::take(self) {
            Self::None => Self::One(segment.into(), fresh),
            Self::One(other, place) => Self::Many(HashMap::from([(other, place), (segment.into(), fresh)])),
            Self::Many(mut places) => {
                places.insert(segment.into(), fresh);
                Self::Many(places)
            }
        };
        fresh
    }
}
