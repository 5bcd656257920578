//! Merging obligations is commutative, associative and idempotent.

use proptest::prelude::*;
use runspine_policies_domain::obligation::{Obligation, merge};

fn item() -> impl Strategy<Value = Obligation> {
    let of = |name: &'static str, args: Vec<&'static str>| {
        prop::sample::subsequence(args.clone(), 1..=args.len()).prop_map(move |a| Obligation {
            name: name.to_owned(),
            args: a.into_iter().map(str::to_owned).collect(),
        })
    };
    let one = |name: &'static str, args: Vec<&'static str>| {
        prop::sample::select(args)
            .prop_map(move |a| Obligation { name: name.to_owned(), args: vec![a.to_owned()] })
    };
    prop_oneof![
        of("redact", vec!["a", "b.c", "d"]),
        of("drop", vec!["a", "b.c"]),
        one("cap_tokens", vec!["9", "10", "100"]),
        one("cap_cost", vec!["5", "50"]),
        one("use_model", vec!["m1", "m2"]),
        one("sandbox", vec!["RESTRICTED", "STANDARD", "PERMISSIVE"]),
        of("taint", vec!["x", "y"]),
        one("retry_after", vec!["100", "2000"]),
        Just(Obligation { name: "dry_run".to_owned(), args: vec![] }),
    ]
}

type Merged = Option<Vec<Obligation>>;

fn join(a: &Merged, b: &Merged) -> Merged {
    merge(a.as_ref()?.iter().chain(b.as_ref()?)).ok()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1_000))]
    #[test]
    fn merging_is_a_semilattice(
        a in prop::collection::vec(item(), 0..4),
        b in prop::collection::vec(item(), 0..4),
        c in prop::collection::vec(item(), 0..4),
    ) {
        let (a, b, c) = (merge(&a).ok(), merge(&b).ok(), merge(&c).ok());
        prop_assert_eq!(join(&a, &b), join(&b, &a));
        prop_assert_eq!(join(&join(&a, &b), &c), join(&a, &join(&b, &c)));
        prop_assert_eq!(join(&a, &a), a);
    }
}

#[test]
fn the_strictest_wins_and_models_must_agree() {
    let o = |name: &str, arg: &str| Obligation { name: name.into(), args: vec![arg.into()] };
    let merged =
        merge(&[o("cap_tokens", "100"), o("cap_tokens", "9"), o("redact", "a"), o("drop", "a")]).unwrap();
    assert_eq!(merged, [o("cap_tokens", "9"), o("drop", "a")]);
    let merged = merge(&[o("sandbox", "PERMISSIVE"), o("sandbox", "RESTRICTED")]).unwrap();
    assert_eq!(merged, [o("sandbox", "RESTRICTED")]);
    assert_eq!(merge(&[o("use_model", "a"), o("use_model", "b")]).unwrap_err().name, "use_model");
}
