// SPDX-License-Identifier: GPL-2.0

//! Module parameters, with the names and defaults of the C driver.

use rlis_hv::{
    module_param,
    param::Mode, //
};

module_param! {
    /// Whether memory is added when the host wants that; looked at with each request.
    pub(crate) static HOT_ADD: bool = true, "hot_add", Mode::Writable,
        "If set attempt memory hot_add";
}

module_param! {
    /// Seconds after which the host is told for the first time how this guest is off: until then its start would count. Looked at
    /// when the channel is opened.
    pub(crate) static PRESSURE_REPORT_DELAY: u32 = 45, "pressure_report_delay", Mode::Writable,
        "Delay in secs in reporting pressure";
}
