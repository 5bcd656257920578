//! The Merkle tree over a log of digests, as RFC 6962 defines it: roots, inclusion paths and consistency proofs.
//!
//! A tree of many leaves is never held whole: complete subtrees of [`TILE`] leaves are represented by their roots, and
//! only the tiles that a question cuts through need their leaves.

use std::collections::BTreeMap;

use runspine_types::{Digest, hash};

/// Leaves of a tile. A power of two, so that every split of a larger tree falls between tiles.
pub const TILE: u64 = 256;

/// Hash of a leaf whose data is `data`.
#[must_use]
pub fn leaf(data: &Digest) -> Digest {
    let mut bytes = [0; 33];
    bytes[1..].copy_from_slice(data.as_bytes());
    hash(&bytes)
}

/// Hash of the node over `left` and `right`.
#[must_use]
pub fn node(left: &Digest, right: &Digest) -> Digest {
    let mut bytes = [1; 65];
    bytes[1..33].copy_from_slice(left.as_bytes());
    bytes[33..].copy_from_slice(right.as_bytes());
    hash(&bytes)
}

/// Root of a tree whose leaf hashes are `hashes`.
#[must_use]
pub fn root_of(hashes: &[Digest]) -> Digest {
    match hashes {
        [] => hash(b""),
        [one] => *one,
        many => {
            let (left, right) = many.split_at(many.len().next_power_of_two() / 2);
            node(&root_of(left), &root_of(right))
        }
    }
}

/// The largest power of two below `n`, for `n` of 2 or more.
const fn split(n: u64) -> u64 {
    1 << (u64::BITS - 1 - (n - 1).leading_zeros())
}

/// A tree that grows leaf by leaf and keeps the roots of its complete subtrees only.
#[derive(Debug, Clone, Default)]
pub struct Frontier {
    subtrees: Vec<(u64, Digest)>,
}

impl Frontier {
    /// Adds the leaf whose data is `data`.
    pub fn push(&mut self, data: &Digest) {
        let (mut size, mut root) = (1, leaf(data));
        while let Some((_, left)) = self.subtrees.pop_if(|(left, _)| *left == size) {
            root = node(&left, &root);
            size *= 2;
        }
        self.subtrees.push((size, root));
    }

    /// The root.
    #[must_use]
    pub fn root(&self) -> Digest {
        let roots = self.subtrees.iter().rev().map(|(_, root)| *root);
        roots.reduce(|right, left| node(&left, &right)).unwrap_or_else(|| hash(b""))
    }
}

/// As much of a tree as was loaded. Whatever needs more answers `None`.
#[derive(Debug, Clone, Default)]
pub struct Tree {
    tiles: BTreeMap<u64, Digest>,
    leaves: BTreeMap<u64, Vec<Digest>>,
}

impl Tree {
    /// The tiles whose leaves are needed for questions about trees of these sizes and leaves at these places.
    pub fn cut(sizes: &[u64], places: &[u64]) -> impl Iterator<Item = u64> {
        let partial = sizes.iter().filter(|size| !size.is_multiple_of(TILE)).map(|size| size / TILE);
        let within = places.iter().map(|place| place / TILE);
        partial.chain(within).collect::<std::collections::BTreeSet<_>>().into_iter()
    }

    /// Adds the root of a complete tile.
    pub fn tile(&mut self, tile: u64, root: Digest) {
        self.tiles.insert(tile, root);
    }

    /// Adds the data of the leaves of a tile, from its first on. Gives the root of the tile when it is complete.
    pub fn leaves(&mut self, tile: u64, data: &[Digest]) -> Option<Digest> {
        let hashes: Vec<Digest> = data.iter().map(leaf).collect();
        let complete = hashes.len() as u64 == TILE;
        let root = complete.then(|| root_of(&hashes));
        if let Some(root) = root {
            self.tiles.insert(tile, root);
        }
        self.leaves.insert(tile, hashes);
        root
    }

    /// Lets the leaves of a complete tile go; its root stays.
    pub fn forget(&mut self, tile: u64) {
        self.leaves.remove(&tile);
    }

    /// Root of the tree of the first `size` leaves.
    #[must_use]
    pub fn root(&self, size: u64) -> Option<Digest> {
        if size == 0 { Some(hash(b"")) } else { self.range(0, size) }
    }

    /// What proves that the leaf at `place` is in the tree of the first `size` leaves.
    #[must_use]
    pub fn inclusion(&self, place: u64, size: u64) -> Option<Vec<Digest>> {
        if place >= size {
            return None;
        }
        let (mut start, mut end, mut path) = (0, size, Vec::new());
        while end - start > 1 {
            let middle = start + split(end - start);
            if place < middle {
                path.push(self.range(middle, end)?);
                end = middle;
            } else {
                path.push(self.range(start, middle)?);
                start = middle;
            }
        }
        path.reverse();
        Some(path)
    }

    /// What proves that the tree of the first `from` leaves is the beginning of the tree of the first `to`.
    #[must_use]
    pub fn consistency(&self, from: u64, to: u64) -> Option<Vec<Digest>> {
        if from > to {
            return None;
        }
        if from == 0 || from == to {
            return Some(Vec::new());
        }
        let (mut start, mut end, mut whole, mut proof) = (0, to, true, Vec::new());
        while end != from {
            let middle = start + split(end - start);
            if from <= middle {
                proof.push(self.range(middle, end)?);
                end = middle;
            } else {
                proof.push(self.range(start, middle)?);
                start = middle;
                whole = false;
            }
        }
        if !whole {
            proof.push(self.range(start, end)?);
        }
        proof.reverse();
        Some(proof)
    }

    /// Root over the leaves from `start` to before `end`.
    fn range(&self, start: u64, end: u64) -> Option<Digest> {
        let (tile, within, count) = (start / TILE, start % TILE, end - start);
        if count == TILE && within == 0 {
            return self.tiles.get(&tile).copied();
        }
        if count <= TILE {
            let (from, to) = (usize::try_from(within).ok()?, usize::try_from(within + count).ok()?);
            return self.leaves.get(&tile)?.get(from..to).map(root_of);
        }
        let middle = start + split(count);
        Some(node(&self.range(start, middle)?, &self.range(middle, end)?))
    }
}

/// Whether `path` proves that `data` is the leaf at `place` of the tree of `size` leaves with this root.
#[must_use]
pub fn verify_inclusion(place: u64, size: u64, data: &Digest, path: &[Digest], root: &Digest) -> bool {
    if place >= size {
        return false;
    }
    let (mut at, mut last, mut computed) = (place, size - 1, leaf(data));
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            computed = node(sibling, &computed);
            while at.is_multiple_of(2) && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            computed = node(&computed, sibling);
        }
        at /= 2;
        last /= 2;
    }
    last == 0 && computed == *root
}

/// Whether `proof` shows that the tree `from` (size and root) is the beginning of the tree `to`.
#[must_use]
pub fn verify_consistency(from: (u64, &Digest), to: (u64, &Digest), proof: &[Digest]) -> bool {
    if from.0 == 0 || from.0 > to.0 {
        return from.0 == 0 && proof.is_empty() && *from.1 == hash(b"");
    }
    if from.0 == to.0 {
        return proof.is_empty() && from.1 == to.1;
    }
    let (mut at, mut last) = (from.0 - 1, to.0 - 1);
    while at % 2 == 1 {
        at /= 2;
        last /= 2;
    }
    let mut rest = proof.iter();
    // A tree that is a whole subtree of the larger one proves itself.
    let Some(first) = (if at == 0 { Some(from.1) } else { rest.next() }) else { return false };
    let (mut old, mut new) = (*first, *first);
    for sibling in rest {
        if last == 0 {
            return false;
        }
        if at % 2 == 1 || at == last {
            old = node(sibling, &old);
            new = node(sibling, &new);
            while at.is_multiple_of(2) && at != 0 {
                at /= 2;
                last /= 2;
            }
        } else {
            new = node(&new, sibling);
        }
        at /= 2;
        last /= 2;
    }
    last == 0 && old == *from.1 && new == *to.1
}
