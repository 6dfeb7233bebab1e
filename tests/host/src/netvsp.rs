// SPDX-License-Identifier: GPL-2.0

//! The network service: network cards with one channel or several, with or without offloads. Behind a card is a peer
//! with a few services, or a switch to which other cards are connected. What the guest may not do the host records; what
//! the card does not offer it refuses. The protocols are those of [`rlis_proto`], which the guest's driver uses, too.

pub mod coalesce;
pub mod encode;
pub mod nic;
pub mod offload;
pub mod peer;
pub mod spec;
pub mod switch;
pub mod vf;

use std::collections::BTreeMap;
use std::sync::Arc;

use anyhow::{bail, Result};

use nic::Nic;
use spec::NicSpec;
use switch::Switch;

/// The cards, by their names, and the switches that some of them hang on.
pub fn nics(specs: &[NicSpec]) -> Result<BTreeMap<String, Arc<Nic>>> {
    let mut nics = BTreeMap::new();
    let mut switches: BTreeMap<&str, Arc<Switch>> = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let switch = spec
            .switch
            .as_deref()
            .map(|name| switches.entry(name).or_default());
        let nic = Nic::new(spec.clone(), u8::try_from(index)?, switch.cloned());
        if nics.insert(spec.name.clone(), nic).is_some() {
            bail!("there are two network cards {}", spec.name);
        }
    }
    Ok(nics)
}
