//! Which rules of a snapshot were evaluated, in few bytes: their places in it, ascending, each as the distance from the
//! one before. A run asks about the same few slices again and again, so that the same bytes come again.

use std::collections::BTreeSet;

/// Packs places; they are in ascending order.
#[must_use]
pub fn pack(places: &[u32]) -> Vec<u8> {
    let mut out = Vec::with_capacity(places.len());
    let mut last = 0;
    for place in places {
        let mut distance = place - last;
        last = *place;
        while distance >= 0x80 {
            out.push((distance & 0x7f) as u8 | 0x80);
            distance >>= 7;
        }
        out.push(distance as u8);
    }
    out
}

/// How many different places stand in these packs.
#[must_use]
pub fn distinct<'a>(packs: impl IntoIterator<Item = &'a [u8]>) -> u32 {
    let mut all = BTreeSet::new();
    for pack in packs {
        let (mut place, mut distance, mut shift) = (0_u32, 0_u32, 0);
        for byte in pack {
            distance |= u32::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                place = place.saturating_add(distance);
                all.insert(place);
                (distance, shift) = (0, 0);
            } else {
                shift = (shift + 7) % 32;
            }
        }
    }
    u32::try_from(all.len()).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_packed_is_counted_once() {
        let packs = [pack(&[0, 1, 127, 128, 300, 20_000]), pack(&[1, 20_000, 20_001]), pack(&[])];
        assert_eq!(distinct(packs.iter().map(Vec::as_slice)), 7);
        assert_eq!(packs[0].len(), 9, "one byte for each that is near the one before");
        assert_eq!(distinct([]), 0);
    }
}
