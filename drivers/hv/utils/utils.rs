// SPDX-License-Identifier: GPL-2.0

//! Integration services.

use kernel::prelude::*;

module! {
    type: Utils,
    name: "hv_utils",
    authors: ["rlis developers"],
    description: "Hyper-V integration services",
    license: "GPL",
}

struct Utils;

impl kernel::Module for Utils {
    fn init(_module: &'static ThisModule) -> Result<Self> {
        pr_info!("bus version {}\n", rlis_vmbus::proto_version()?);
        Ok(Self)
    }
}
