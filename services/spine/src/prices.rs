//! What the tokens of models cost, from a file of whoever runs the mesh: there are no prices of our own.
//!
//! ```toml
//! [[price]]
//! provider = "openai"
//! model = "m-1"
//! input = 2500000    # micro-USD for a million tokens
//! output = 10000000
//! cache_read = 1250000
//! ```

use std::{collections::BTreeSet, path::Path};

use contracts_logs::v1::{ModelPrice, PriceTable};
use runspine_boot::{BootError, ConfigProblem};
use runspine_types::hash;
use serde::Deserialize;

/// The setting that names the file.
const KEY: &str = "spine.otlp.prices";
/// The most that a million tokens can cost, in micro-USD.
const MOST: i64 = 1_000_000_000_000;
/// The most prices.
const ROWS: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default, rename = "price")]
    prices: Vec<Row>,
}

/// What a million tokens cost, in micro-USD.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Row {
    /// As spans name it: `gen_ai.provider.name`.
    provider: String,
    /// As spans name it: `gen_ai.response.model`, else `gen_ai.request.model`.
    model: String,
    input: i64,
    output: i64,
    /// Default: as input.
    cache_read: Option<i64>,
    /// Default: as input.
    cache_write: Option<i64>,
}

/// The prices in the file; none without one.
///
/// # Errors
/// When the file can't be read, with all that is wrong with it.
pub(crate) fn read(path: Option<&Path>) -> Result<PriceTable, BootError> {
    let Some(path) = path else { return Ok(PriceTable::default()) };
    let text = std::fs::read_to_string(path)
        .map_err(|e| BootError::config(KEY, "CONFIG_UNREADABLE", format!("{}: {e}", path.display())))?;
    table(&text)
}

fn table(text: &str) -> Result<PriceTable, BootError> {
    let file: File = toml::from_str(text)
        .map_err(|e| BootError::config(KEY, "CONFIG_UNREADABLE", e.message().to_owned()))?;
    let mut problems = Vec::new();
    let mut wrong = |holds: bool, what: String| {
        if !holds {
            problems.push(ConfigProblem::new(KEY, "CONFIG_OUT_OF_RANGE", what));
        }
    };
    wrong(file.prices.len() <= ROWS, format!("must be at most {ROWS} prices"));
    let mut seen = BTreeSet::new();
    for row in &file.prices {
        let name = format!("{}/{}", row.provider, row.model);
        wrong(
            !row.provider.is_empty() && !row.model.is_empty(),
            format!("{name}: must name provider and model"),
        );
        let prices = [Some(row.input), Some(row.output), row.cache_read, row.cache_write];
        let fits = prices.iter().flatten().all(|price| (0..=MOST).contains(price));
        wrong(fits, format!("{name}: must cost 0 to {MOST} micro-USD for a million tokens"));
        wrong(seen.insert(name.clone()), format!("{name}: must have one price"));
    }
    if !problems.is_empty() {
        return Err(BootError::Config(problems));
    }
    let price = |row: Row| ModelPrice {
        input_microusd: row.input,
        output_microusd: row.output,
        cache_read_microusd: row.cache_read.unwrap_or(row.input),
        cache_write_microusd: row.cache_write.unwrap_or(row.input),
        provider: row.provider,
        model: row.model,
    };
    let digest = hash(text.as_bytes());
    tracing::info!(digest = digest.to_hex(), prices = file.prices.len(), "prices of models");
    Ok(PriceTable { digest: digest.to_vec().into(), prices: file.prices.into_iter().map(price).collect() })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic, reason = "tests fail loudly")]
    use super::*;

    #[test]
    fn a_file_of_prices_is_whole_or_refused_with_everything_that_is_wrong() {
        let good = "[[price]]\nprovider = \"p\"\nmodel = \"m\"\ninput = 2\noutput = 3\ncache_write = 4\n";
        let made = table(good).unwrap();
        let price = &made.prices[0];
        assert_eq!((price.input_microusd, price.output_microusd), (2, 3));
        assert_eq!((price.cache_read_microusd, price.cache_write_microusd), (2, 4));
        assert_eq!(made.digest, hash(good.as_bytes()).to_vec());
        let bad = format!("{good}{good}[[price]]\nprovider = \"\"\nmodel = \"m\"\ninput = -1\noutput = 3\n");
        let Err(BootError::Config(problems)) = table(&bad) else { panic!("it was taken") };
        assert_eq!(problems.len(), 3, "twice the same, no provider, a negative price: {problems:?}");
        assert!(table("[[price]]\nproviders = 1").is_err());
        assert_eq!(read(None).unwrap(), PriceTable::default());
        assert!(read(Some(Path::new("/nowhere"))).is_err());
    }
}
