// SPDX-License-Identifier: GPL-2.0

//! The files of the bus, `/sys/bus/vmbus/`, and of its drivers, `/sys/bus/vmbus/drivers/<driver>/`.

use crate::driver::Driver;
use kernel::{
    ffi::c_char,
    prelude::*, //
};
use rlis_hv::{
    callbacks,
    power,
    sysfs::{
        addresses,
        attribute,
        group,
        groups,
        taken,
        Groups,
        Page,
        Text, //
    },
    table::Table, //
};
use rlis_proto::Guid;
use rlis_sys as bindings;

static BUS_FILES: Table<[bindings::bus_attribute; 1]> = Table::new([{
    let mut file: bindings::bus_attribute = pin_init::zeroed();
    file.attr = attribute(c"hibernation", 0o444);
    file.show = Some(hibernation);
    file
}]);

static DRIVER_FILES: Table<[bindings::driver_attribute; 2]> = Table::new({
    let mut files: [bindings::driver_attribute; 2] = pin_init::zeroed();
    files[0].attr = attribute(c"new_id", 0o200);
    files[0].store = Some(new_id);
    files[1].attr = attribute(c"remove_id", 0o200);
    files[1].store = Some(remove_id);
    files
});

/// A GUID, with or without braces.
fn guid(text: Option<Text<'_>>) -> Result<Guid> {
    text.and_then(|text| Guid::parse(text.0)).ok_or(EINVAL)
}

#[cfg(RLIS_HAVE_BUS_ATTRIBUTE_CONST)]
type AnyBus = *const bindings::bus_type;
#[cfg(not(RLIS_HAVE_BUS_ATTRIBUTE_CONST))]
type AnyBus = *mut bindings::bus_type;

callbacks! {
    /// Whether the host lets the guest hibernate.
    fn hibernation(
        _bus: AnyBus,
        page: *mut c_char => Page<'_>,
    ) -> isize {
        let mut page = page;
        let result = page.number(power::hibernation_supported());
        page.finish(result)
    }

    /// Another class that the driver shall be bound to.
    fn new_id(
        driver: *mut bindings::device_driver => &Driver,
        text: *const c_char => Option<Text<'_>>,
        count: usize,
    ) -> isize {
        taken(count, guid(text).and_then(|class| driver.add_dynid(&class)))
    }

    /// Undoes `new_id`.
    fn remove_id(
        driver: *mut bindings::device_driver => &Driver,
        text: *const c_char => Option<Text<'_>>,
        count: usize,
    ) -> isize {
        taken(count, guid(text).and_then(|class| driver.remove_dynid(&class)))
    }
}

static BUS_ADDRESSES: Table<[*mut bindings::attribute; 2]> = addresses(&BUS_FILES);
static BUS_GROUP: Table<bindings::attribute_group> =
    Table::new(group(BUS_ADDRESSES.get().cast(), None));
/// For the bus type: what files the bus has.
pub(crate) static BUS_GROUPS: Groups = groups(&BUS_GROUP);

static DRIVER_ADDRESSES: Table<[*mut bindings::attribute; 3]> = addresses(&DRIVER_FILES);
static DRIVER_GROUP: Table<bindings::attribute_group> =
    Table::new(group(DRIVER_ADDRESSES.get().cast(), None));
/// For the bus type: what files every driver has.
pub(crate) static DRIVER_GROUPS: Groups = groups(&DRIVER_GROUP);
