//! Direct paths through routers. Nightly: every row with every pair, as a table; here otherwise: three rows, of which the
//! first shows that the routers are what they should be.

use anyhow::{Context, Result};
use blackbox::natlab::{Ground, PAIRS, ROWS, Row, table};
use blackbox::{count, scenario};
use lab::{Flavour, Need};

const NEEDS: &[Need] = &[Need::Namespaces, Need::Headscale, Need::Derper, Need::Go, Need::Ours];

/// Rows whose names have one of these words in them.
fn rows(words: &str) -> Vec<Row> {
    ROWS.into_iter().filter(|(name, ..)| words.split(',').any(|word| name.contains(word))).collect()
}

#[test]
fn pairs_behind_routers() {
    scenario(NEEDS, |lab| {
        let ground = Ground::start(lab)?;
        let (go, ours) = (Flavour::Go, Flavour::Ours);
        for (name, pair) in
            [("address-filtering – hard", [go, go]), ("one LAN", [ours, go]), ("IPv6 only", [ours, ours])]
        {
            let row = rows(name).into_iter().next();
            ground.expect(row.with_context(|| format!("no row {name}"))?, pair)?;
        }
        Ok(())
    });
}

/// `SMALLTAIL_ROWS` chooses rows by words in their names and makes this run by day, too.
#[test]
fn the_whole_table() {
    let chosen = std::env::var("SMALLTAIL_ROWS").ok();
    if count(0, 1) == 0 && chosen.is_none() {
        return;
    }
    let needs = [NEEDS, &[Need::Miniupnpd]].concat();
    scenario(&needs, |lab| -> Result<()> { table(lab, &rows(&chosen.unwrap_or_default()), &PAIRS) });
}
