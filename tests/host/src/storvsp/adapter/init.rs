// SPDX-License-Identifier: GPL-2.0

//! The initialisation of a storage adapter, which a guest must go through in order.

use rlis_proto::storvsc::{
    ChannelProperties, FcWwnPacket, ProtocolVersion, STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL,
};
use zerocopy::FromZeros;

use super::*;

impl Adapter {
    /// One step of the initialisation.
    pub(super) fn initialise(
        &self,
        channel: &Arc<Channel>,
        transaction: u64,
        vstor: &VstorPacket,
    ) -> Result<()> {
        let operation = vstor.op();
        let step = self.step.load(Ordering::SeqCst);
        let mut answer = VstorPacket::complete(0);
        let mut sub_channels = 0;
        let expected = match operation {
            Operation::VSTOR_OPERATION_BEGIN_INITIALIZATION => {
                self.step.store(BEGUN, Ordering::SeqCst);
                step == CLOSED
            }
            Operation::VSTOR_OPERATION_QUERY_PROTOCOL_VERSION => {
                let version = vstor.version();
                if version <= self.spec.version && ProtocolVersion::SUPPORTED.contains(&version) {
                    self.version.store(version.0, Ordering::SeqCst);
                    self.step.store(VERSIONED, Ordering::SeqCst);
                } else {
                    answer.status = STATUS_REVISION_MISMATCH;
                }
                step == BEGUN
            }
            Operation::VSTOR_OPERATION_QUERY_PROPERTIES => {
                let faults = &channel.context.faults;
                let max = faults.take(&self.spec.name, Fault::MaxTransfer, 0);
                let max = max
                    .and_then(|m| u32::try_from(m).ok())
                    .unwrap_or(self.spec.max_transfer);
                answer = answer.with(&ChannelProperties {
                    max_channel_cnt: self.spec.channels,
                    flags: if self.spec.channels > 0 {
                        STORAGE_CHANNEL_SUPPORTS_MULTI_CHANNEL
                    } else {
                        0
                    },
                    max_transfer_bytes: max,
                    ..ChannelProperties::new_zeroed()
                });
                self.step.store(DESCRIBED, Ordering::SeqCst);
                step == VERSIONED
            }
            Operation::VSTOR_OPERATION_FCHBA_DATA if self.class == Class::Fc => {
                // Company 00:15:5d, as Microsoft's adapters have it.
                let wwn = |kind| [kind, 0, 0, 0x15, 0x5D, 0, 0, self.index];
                answer = answer.with(&FcWwnPacket {
                    primary_active: 1,
                    reserved1: [0; 3],
                    primary_port_wwn: wwn(0x20),
                    primary_node_wwn: wwn(0x10),
                    secondary_port_wwn: wwn(0x21),
                    secondary_node_wwn: wwn(0x11),
                });
                step >= DESCRIBED
            }
            Operation::VSTOR_OPERATION_END_INITIALIZATION => {
                self.step.store(READY, Ordering::SeqCst);
                step == DESCRIBED
            }
            Operation::VSTOR_OPERATION_CREATE_SUB_CHANNELS => {
                sub_channels = vstor.sub_channel_count();
                if sub_channels == 0 || sub_channels > self.spec.channels {
                    answer.status = STATUS_INVALID_DEVICE_REQUEST;
                }
                step == READY
            }
            other => {
                answer.status = STATUS_INVALID_DEVICE_REQUEST;
                self.answer(channel, transaction, answer);
                bail!("{other:?} is not one that a guest sends");
            }
        };
        if let Some(status) = channel
            .context
            .faults
            .take(&self.spec.name, Fault::InitStatus, 1)
        {
            answer.status = u32::try_from(status).unwrap_or(1);
        }
        self.answer(channel, transaction, answer);
        if sub_channels > 0 && answer.status == 0 {
            let server = channel.server.upgrade().context("the bus is gone")?;
            server.offer_sub_channels(&self.spec.name, sub_channels)?;
        }
        ensure!(
            expected,
            "{operation:?} at step {step} of the initialisation"
        );
        Ok(())
    }
}
