//! What was read lately, within a bound of bytes.
//!
//! Always:  the costs of what is kept add up to no more than the bound.
//! Full:    the oldest goes first, unless it was used since it was last looked at.

use std::collections::{BTreeMap, VecDeque};

/// Taken for each thing that is kept, beside what it says that it takes.
const OVERHEAD_BYTES: usize = 128;

pub(in super::super) struct Shelf<K, V> {
    bytes_max: usize,
    bytes: usize,
    kept: BTreeMap<K, Kept<V>>,
    /// Oldest first; each key once.
    order: VecDeque<K>,
}

struct Kept<V> {
    value: V,
    bytes: usize,
    used: bool,
}

impl<K: Ord + Clone, V: Clone> Shelf<K, V> {
    pub(in super::super) fn new(bytes_max: usize) -> Self {
        Self {
            bytes_max,
            bytes: 0,
            kept: BTreeMap::new(),
            order: VecDeque::new(),
        }
    }

    /// Keeps `value`, which takes `bytes`, in the place of one that had its key; not one that is larger than
    /// the whole bound.
    pub(in super::super) fn put(&mut self, key: K, value: V, bytes: usize) {
        let bytes = bytes + OVERHEAD_BYTES;
        if self.bytes_max < bytes {
            return;
        }
        let kept = Kept {
            value,
            bytes,
            used: false,
        };
        self.bytes += bytes;
        match self.kept.insert(key.clone(), kept) {
            Some(old) => self.bytes -= old.bytes,
            None => self.order.push_back(key),
        }
        while self.bytes_max < self.bytes {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.order.pop_front();
        let oldest = oldest.expect("what takes bytes has a place in the order");
        match self.kept.get_mut(&oldest) {
            Some(kept) if kept.used => {
                kept.used = false;
                self.order.push_back(oldest);
            }
            _ => {
                let gone = self.kept.remove(&oldest);
                self.bytes -= gone.map_or(0, |kept| kept.bytes);
            }
        }
    }

    pub(in super::super) fn get(&mut self, key: &K) -> Option<V> {
        let kept = self.kept.get_mut(key)?;
        kept.used = true;
        Some(kept.value.clone())
    }

    /// What is kept under the greatest key that is not above `key`.
    pub(in super::super) fn at_or_before(&mut self, key: &K) -> Option<(K, V)> {
        let (key, kept) = self.kept.range_mut(..=key).next_back()?;
        kept.used = true;
        Some((key.clone(), kept.value.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_kept_stays_within_the_bound_and_what_is_used_stays_longest() {
        let mut shelf = Shelf::new(10 * (OVERHEAD_BYTES + 100));
        for key in 0..1_000 {
            shelf.put(key, key, 100);
            assert!(shelf.bytes <= shelf.bytes_max);
            assert_eq!(shelf.kept.len(), shelf.order.len());
            assert_eq!(shelf.get(&0), Some(0));
        }
        assert_eq!(shelf.kept.len(), 10);
        assert_eq!(shelf.get(&999), Some(999));
        assert_eq!(shelf.get(&500), None);
    }

    #[test]
    fn the_later_of_two_with_one_key_is_kept_and_one_that_is_too_large_is_not() {
        let mut shelf = Shelf::new(1_000);
        shelf.put(1, 'a', 100);
        shelf.put(1, 'b', 700);
        shelf.put(2, 'c', 1_000);
        assert_eq!((shelf.get(&1), shelf.get(&2)), (Some('b'), None));
        assert_eq!(shelf.bytes, 700 + OVERHEAD_BYTES);
    }

    #[test]
    fn the_nearest_before_is_found() {
        let mut shelf = Shelf::new(1 << 20);
        for key in [2, 5, 9] {
            shelf.put(key, (), 1);
        }
        let nearest =
            |shelf: &mut Shelf<i32, ()>, key| shelf.at_or_before(&key).map(|(key, ())| key);
        assert_eq!(nearest(&mut shelf, 1), None);
        assert_eq!(nearest(&mut shelf, 5), Some(5));
        assert_eq!(nearest(&mut shelf, 8), Some(5));
    }
}
