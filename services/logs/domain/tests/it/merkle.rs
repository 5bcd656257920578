//! The tree against the definitions of RFC 6962, written down word by word, for every size to 300; a few larger ones
//! cross the tiles.

use runspine_logs_domain::merkle::{Frontier, TILE, Tree, leaf, node, verify_consistency, verify_inclusion};
use runspine_types::{Digest, hash};

/// Data of leaf `n`.
fn data(n: u64) -> Digest {
    hash(&n.to_be_bytes())
}

/// The largest power of two that is smaller than `n`.
fn half(n: usize) -> usize {
    let mut k = 1;
    while k * 2 < n {
        k *= 2;
    }
    k
}

/// MTH of section 2.1.
fn mth(d: &[Digest]) -> Digest {
    match d.len() {
        0 => hash(b""),
        1 => leaf(&d[0]),
        n => node(&mth(&d[..half(n)]), &mth(&d[half(n)..])),
    }
}

/// PATH of section 2.1.1.
fn path(m: usize, d: &[Digest]) -> Vec<Digest> {
    if d.len() == 1 {
        return Vec::new();
    }
    let k = half(d.len());
    let (mut found, sibling) = match m < k {
        true => (path(m, &d[..k]), mth(&d[k..])),
        false => (path(m - k, &d[k..]), mth(&d[..k])),
    };
    found.push(sibling);
    found
}

/// SUBPROOF of section 2.1.2.
fn subproof(m: usize, d: &[Digest], whole: bool) -> Vec<Digest> {
    if m == d.len() {
        return if whole { Vec::new() } else { vec![mth(d)] };
    }
    let k = half(d.len());
    let (mut found, sibling) = match m <= k {
        true => (subproof(m, &d[..k], whole), mth(&d[k..])),
        false => (subproof(m - k, &d[k..], false), mth(&d[..k])),
    };
    found.push(sibling);
    found
}

/// A tree of `size` leaves of which only what is needed is loaded.
fn tree(size: u64, sizes: &[u64], places: &[u64]) -> Tree {
    let mut tree = Tree::default();
    let leaves = |tile: u64| (tile * TILE..size.min((tile + 1) * TILE)).map(data).collect::<Vec<_>>();
    for tile in 0..size / TILE {
        tree.tile(tile, mth(&leaves(tile)));
    }
    for tile in Tree::cut(sizes, places) {
        tree.leaves(tile, &leaves(tile));
    }
    tree
}

fn check(size: u64, froms: impl Iterator<Item = u64>, places: impl Iterator<Item = u64>) {
    let all: Vec<Digest> = (0..size).map(data).collect();
    let root = mth(&all);
    for place in places {
        let tree = tree(size, &[size], &[place]);
        assert_eq!(tree.root(size), Some(root), "root of {size}");
        let found = tree.inclusion(place, size).expect("loaded");
        assert_eq!(found, path(place as usize, &all), "path of {place} in {size}");
        assert!(verify_inclusion(place, size, &data(place), &found, &root));
        assert!(!verify_inclusion(place, size, &data(place + 1), &found, &root));
        assert!(!verify_inclusion(place, size, &data(place), &found, &data(0)));
        // A verifier walks by place and size: a path for another of either is refused, but where trees are alike.
        let mut longer = found.clone();
        longer.push(root);
        assert!(!verify_inclusion(place, size, &data(place), &longer, &root));
        assert!(found.is_empty() || !verify_inclusion(place, size, &data(place), &found[1..], &root));
    }
    for from in froms {
        let tree = tree(size, &[from, size], &[]);
        let found = tree.consistency(from, size).expect("loaded");
        let old = mth(&all[..from as usize]);
        let told = if from == 0 { Vec::new() } else { subproof(from as usize, &all, true) };
        assert_eq!(found, told, "proof of {from} in {size}");
        assert_eq!(tree.root(from), Some(old));
        assert!(verify_consistency((from, &old), (size, &root), &found));
        if from > 0 && from < size {
            assert!(!verify_consistency((from, &data(7)), (size, &root), &found), "{from} in {size}");
            assert!(!verify_consistency((from, &old), (size, &data(7)), &found));
            assert!(!verify_consistency((from, &old), (size, &root), &found[1..]));
            assert!(!verify_consistency((size, &root), (from, &old), &found));
        }
    }
}

#[test]
fn proofs_agree_with_the_definitions_for_sizes_to_300() {
    for size in 1..=300 {
        // Every size, with places and older sizes all over it.
        check(size, std::iter::once(size * 7 % size.max(2)), std::iter::once(size * 5 % size));
    }
    for size in [1, 2, 3, 4, 5, 6, 7, 8, 9, 31, 32, 33] {
        check(size, 0..=size, 0..size);
    }
}

#[test]
fn a_tree_that_grows_has_every_root() {
    let (mut frontier, mut all) = (Frontier::default(), Vec::new());
    assert_eq!(frontier.root(), mth(&[]));
    for n in 0..300 {
        frontier.push(&data(n));
        all.push(data(n));
        assert_eq!(frontier.root(), mth(&all), "{n}");
    }
}

#[test]
fn proofs_cross_tiles() {
    for size in [512, 513, 1_000, 1_793] {
        let froms = [1, 255, 256, 257, 511, 512, size];
        let places = [0, 255, 256, 300, size - 1];
        check(size, froms.into_iter().filter(|from| *from <= size), places.into_iter());
    }
}

#[test]
fn what_was_not_loaded_is_not_made_up() {
    let tree = tree(600, &[600], &[]);
    assert!(tree.root(600).is_some() && tree.root(512).is_some());
    assert_eq!(tree.root(300), None, "needs the leaves of its second tile");
    assert_eq!(tree.inclusion(3, 600), None);
    assert_eq!(tree.inclusion(600, 600), None, "there is no such leaf");
}
