//! A line of those who wait, in order, that also knows how many stand before each.
//!
//! Chunks of a few hundred, each sorted: everything costs about the square root of what is in it, and a hundred thousand
//! take a few microseconds.

/// A sorted set with places.
#[derive(Clone, Debug)]
pub(super) struct Line<T> {
    chunks: Vec<Vec<T>>,
}

/// A chunk that grows beyond this is halved.
const CHUNK_MAX: usize = 512;

impl<T> Default for Line<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T: Ord> Line<T> {
    /// Adds one; who stands there already is not added again.
    pub(super) fn insert(&mut self, item: T) {
        if self.chunks.is_empty() {
            self.chunks.push(vec![item]);
            return;
        }
        let at = self.chunk_of(&item).min(self.chunks.len() - 1);
        let chunk = &mut self.chunks[at];
        if let Err(place) = chunk.binary_search(&item) {
            chunk.insert(place, item);
            if chunk.len() > CHUNK_MAX {
                let upper = chunk.split_off(chunk.len() / 2);
                self.chunks.insert(at + 1, upper);
            }
        }
    }

    /// Takes one out; whether it was there.
    pub(super) fn remove(&mut self, item: &T) -> bool {
        let at = self.chunk_of(item);
        let Some(chunk) = self.chunks.get_mut(at) else {
            return false;
        };
        let Ok(place) = chunk.binary_search(item) else {
            return false;
        };
        chunk.remove(place);
        if chunk.is_empty() {
            self.chunks.remove(at);
        }
        true
    }

    /// Who stands first.
    pub(super) fn first(&self) -> Option<&T> {
        self.chunks.first()?.first()
    }

    /// How many stand before `item`, whether it stands here itself or not.
    pub(super) fn before(&self, item: &T) -> usize {
        let at = self.chunk_of(item);
        let whole: usize = self.chunks[..at].iter().map(Vec::len).sum();
        let part = self
            .chunks
            .get(at)
            .map_or(0, |chunk| chunk.partition_point(|other| other < item));
        whole + part
    }

    /// How many stand first for whom `is` holds, which it does for none behind one for whom it does not.
    pub(super) fn partition_point(&self, is: impl Fn(&T) -> bool) -> usize {
        let whole = self.chunks.partition_point(|chunk| chunk.last().is_some_and(&is));
        let part = self
            .chunks
            .get(whole)
            .map_or(0, |chunk| chunk.partition_point(&is));
        self.chunks[..whole].iter().map(Vec::len).sum::<usize>() + part
    }

    /// Those who stand behind the first `count`.
    pub(super) fn from(&self, count: usize) -> impl Iterator<Item = &T> {
        let mut count = count;
        let chunks = self.chunks.iter().filter_map(move |chunk| {
            let skipped = count.min(chunk.len());
            count -= skipped;
            chunk.get(skipped..)
        });
        chunks.flatten()
    }

    /// How many stand here.
    pub(super) fn len(&self) -> usize {
        self.chunks.iter().map(Vec::len).sum()
    }

    /// The chunk in which `item` stands or would stand; one past the last if it comes after all.
    fn chunk_of(&self, item: &T) -> usize {
        self.chunks
            .partition_point(|chunk| chunk.last().is_some_and(|last| last < item))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn it_is_a_sorted_set_that_counts() {
        let mut line = Line::default();
        let mut set = BTreeSet::new();
        // A sequence that jumps about and repeats.
        let mut at: u32 = 7;
        for round in 0..20_000_u32 {
            at = at.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let item = (at >> 8) % 4_000;
            if at.is_multiple_of(3) {
                assert_eq!(line.remove(&item), set.remove(&item));
            } else {
                line.insert(item);
                set.insert(item);
            }
            if round.is_multiple_of(500) {
                assert_eq!(line.first(), set.first());
                assert_eq!(line.len(), set.len());
                let before = set.range(..item).count();
                assert_eq!(line.before(&item), before);
                assert_eq!(line.partition_point(|other| *other < item), before);
                assert!(line.from(before).eq(set.range(item..)));
            }
        }
    }
}
