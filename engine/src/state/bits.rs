//! Sets of group indexes as bits.

/// A set of small numbers.
#[derive(Debug, Clone, Default)]
pub(super) struct Bits {
    words: Vec<u64>,
}

impl Bits {
    /// Whether `bit` is in the set.
    #[inline]
    pub(super) fn contains(&self, bit: u32) -> bool {
        self.words.get(bit as usize / 64).is_some_and(|w| w >> (bit % 64) & 1 == 1)
    }

    /// Adds `bit`. Whether it is new.
    #[inline]
    pub(super) fn insert(&mut self, bit: u32) -> bool {
        let word = bit as usize / 64;
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        let mask = 1 << (bit % 64);
        let new = self.words[word] & mask == 0;
        self.words[word] |= mask;
        new
    }

    /// Takes `bit` out. Whether it was there.
    #[inline]
    pub(super) fn remove(&mut self, bit: u32) -> bool {
        let Some(word) = self.words.get_mut(bit as usize / 64) else { return false };
        let mask = 1 << (bit % 64);
        let there = *word & mask != 0;
        *word &= !mask;
        there
    }

    /// The members from `from` on, ascending.
    pub(super) fn iter_from(&self, from: u32) -> impl Iterator<Item = u32> + '_ {
        let first = from as usize / 64;
        self.words.iter().enumerate().skip(first).flat_map(move |(index, word)| {
            let mut rest = if index == first { word & (u64::MAX << (from % 64)) } else { *word };
            std::iter::from_fn(move || {
                let bit = rest.trailing_zeros();
                (rest != 0).then(|| {
                    rest &= rest - 1;
                    index as u32 * 64 + bit
                })
            })
        })
    }

    /// Bytes held.
    pub(super) fn size(&self) -> usize {
        self.words.len() * 8
    }
}

#[cfg(test)]
mod tests {
    use super::Bits;

    #[test]
    fn members_come_in_order() {
        let mut bits = Bits::default();
        for bit in [130, 3, 64, 63, 3] {
            bits.insert(bit);
        }
        assert!(bits.contains(64) && !bits.contains(65) && !bits.contains(1000));
        assert_eq!(bits.iter_from(0).collect::<Vec<_>>(), [3, 63, 64, 130]);
        assert_eq!(bits.iter_from(64).collect::<Vec<_>>(), [64, 130]);
        assert_eq!(bits.iter_from(1000).count(), 0);
        assert!(bits.remove(64) && !bits.remove(64) && !bits.remove(1000));
        assert_eq!(bits.iter_from(4).collect::<Vec<_>>(), [63, 130]);
    }
}
