// SPDX-License-Identifier: GPL-2.0

//! SCSI commands of units that no guest has.

use super::super::store::Store;
use super::*;
use proptest::prelude::*;

fn lun(kind: Kind, size: u64, block: u32) -> Lun {
    let readonly = kind == Kind::Dvd;
    Lun::new(kind, Store::memory(), size, block, readonly, [0x60; 16]).unwrap()
}

fn run(lun: &Lun, cdb: &[u8], data: &[u8]) -> Result<Vec<u8>, Sense> {
    execute(lun, cdb, data, 1 << 20, &[0, 3]).map_err(|refusal| match refusal {
        Refusal::Sense(sense) => sense,
        Refusal::Conflict => panic!("a conflict"),
    })
}

#[test]
fn of_a_missing_unit_no_page_says_anything() {
    let inquiry = |page: &[u8; 2]| {
        let mut cdb = vec![0x12];
        cdb.extend(page);
        cdb.extend([0, 64, 0]);
        inquiry_of_missing_unit(&cdb)
    };
    let standard = inquiry(&[0, 0]);
    assert_eq!((standard.len(), standard[0], standard[2]), (36, 0x7F, 5));
    for page in [0, 0x80, 0x83, 0xB0] {
        assert_eq!(inquiry(&[1, page]), [0x7F, page, 0, 0]);
    }
}

#[test]
fn write_and_read_by_every_size_of_command() {
    let disk = lun(Kind::Disk, 1 << 20, 512);
    let pairs: [(&[u8], &[u8]); 4] = [
        (&[0x0A, 0, 0, 5, 2, 0], &[0x08, 0, 0, 5, 2, 0]),
        (
            &[0x2A, 0, 0, 0, 0, 9, 0, 0, 2, 0],
            &[0x28, 0, 0, 0, 0, 9, 0, 0, 2, 0],
        ),
        (
            &[0xAA, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0],
            &[0xA8, 0, 0, 0, 0, 20, 0, 0, 0, 2, 0, 0],
        ),
        (
            &[0x8A, 8, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 2, 0, 0],
            &[0x88, 0, 0, 0, 0, 0, 0, 0, 0, 30, 0, 0, 0, 2, 0, 0],
        ),
    ];
    for (i, (write, read)) in pairs.into_iter().enumerate() {
        let data = vec![i as u8 + 1; 1024];
        run(&disk, write, &data).unwrap();
        assert_eq!(run(&disk, read, &[]).unwrap(), data);
    }
    assert_eq!(
        run(&disk, &[0x28, 0, 0, 0, 0x08, 0, 0, 0, 1, 0], &[]),
        Err(Sense::LBA_OUT_OF_RANGE)
    );
}

#[test]
fn capacity_in_both_forms() {
    let disk = lun(Kind::Disk, 3 << 40, 4096);
    let long = run(
        &disk,
        &[0x9E, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0],
        &[],
    )
    .unwrap();
    assert_eq!(
        u64::from_be_bytes(long[..8].try_into().unwrap()),
        (3 << 40) / 4096 - 1
    );
    assert_eq!(&long[8..12], 4096u32.to_be_bytes());
    assert_eq!(
        &run(&lun(Kind::Disk, 4 << 40, 512), &[0x25], &[]).unwrap()[..4],
        [0xFF; 4]
    );
}

#[test]
fn unmapped_and_same_written_blocks() {
    let disk = lun(Kind::Disk, 1 << 20, 512);
    run(
        &disk,
        &[0x93, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 8, 0, 0],
        &[7; 512],
    )
    .unwrap();
    assert_eq!(disk.read(4, 8).unwrap(), vec![7; 4096]);
    let mut list = vec![0, 22, 0, 16, 0, 0, 0, 0];
    list.extend(5u64.to_be_bytes());
    list.extend(2u32.to_be_bytes());
    list.extend([0; 4]);
    run(&disk, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list).unwrap();
    assert_eq!(
        disk.read(4, 4).unwrap(),
        [[7; 512], [0; 512], [0; 512], [7; 512]].concat()
    );
    list.truncate(12);
    assert_eq!(
        run(&disk, &[0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0], &list),
        Err(Sense::INVALID_PARAMETER)
    );
}

#[test]
fn a_unit_attention_is_told_once_and_not_by_inquiry() {
    let disk = lun(Kind::Disk, 1 << 20, 512);
    disk.attend(Sense::REPORTED_LUNS_CHANGED);
    assert!(run(&disk, &[0x12, 0, 0, 0, 36, 0], &[]).is_ok());
    assert_eq!(run(&disk, &[0; 6], &[]), Err(Sense::REPORTED_LUNS_CHANGED));
    assert!(run(&disk, &[0; 6], &[]).is_ok());
}

#[test]
fn every_listed_page_can_be_read() {
    for kind in [Kind::Disk, Kind::Dvd] {
        let unit = lun(kind, 1 << 20, 2048);
        let list = run(&unit, &[0x12, 1, 0, 0, 255, 0], &[]).unwrap();
        for page in &list[4..] {
            let data = run(&unit, &[0x12, 1, *page, 1, 0, 0], &[]).unwrap();
            assert_eq!(data[1], *page);
            assert_eq!(usize::from(data[3]) + 4, data.len());
        }
        assert_eq!(
            run(&unit, &[0x12, 1, 0xC0, 0, 255, 0], &[]),
            Err(Sense::INVALID_FIELD)
        );
    }
}

#[test]
fn answers_are_cut_to_the_allocation_length() {
    let disk = lun(Kind::Disk, 1 << 20, 512);
    assert_eq!(run(&disk, &[0x12, 0, 0, 0, 5, 0], &[]).unwrap().len(), 5);
    assert_eq!(
        run(&disk, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 0, 16, 0, 0], &[])
            .unwrap()
            .len(),
        16
    );
    assert_eq!(
        run(&disk, &[0xA0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0], &[]).unwrap()[8 + 9],
        3
    );
}

#[test]
fn a_drive_says_whether_there_is_a_disc() {
    let drive = lun(Kind::Dvd, 1 << 20, 2048);
    let ask = |cdb: &[u8]| run(&drive, cdb, &[]);
    let event = || ask(&[0x4A, 1, 0, 0, 0x10, 0, 0, 0, 8, 0]).unwrap()[4..6].to_vec();
    assert_eq!(event(), [0, 2]);
    // Locked, as it is while the guest has it open.
    ask(&[0x1E, 0, 0, 0, 1, 0]).unwrap();
    assert_eq!(ask(&[0x1B, 0, 0, 0, 2, 0]), Err(Sense::REMOVAL_PREVENTED));
    ask(&[0x1E, 0, 0, 0, 0, 0]).unwrap();
    ask(&[0x1B, 0, 0, 0, 2, 0]).unwrap();
    assert_eq!(event(), [3, 0]);
    assert_eq!(event(), [0, 0]);
    let needs_a_disc: [&[u8]; 6] = [
        &[0; 6],
        &[0x1B, 0, 0, 0, 3, 0],
        &[0x25],
        &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0],
        &[0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0],
        &[0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0],
    ];
    for cdb in needs_a_disc {
        assert_eq!(ask(cdb), Err(Sense::MEDIUM_NOT_PRESENT), "{cdb:x?}");
    }
    drive.insert(Store::memory(), 4 * 2048).unwrap();
    assert_eq!(ask(&[0x25]), Err(Sense::MEDIUM_MAY_HAVE_CHANGED));
    assert_eq!(ask(&[0x25]).unwrap()[..4], [0, 0, 0, 3]);
    assert_eq!(event(), [2, 2]);
    for cdb in needs_a_disc {
        assert!(ask(cdb).is_ok(), "{cdb:x?}");
    }
}

#[test]
fn a_reserved_disk_refuses_the_other_initiator() {
    let one = lun(Kind::Disk, 1 << 20, 512);
    let other = one.another_way();
    let out = |lun: &Lun, action: u8, type_: u8, key: u8, action_key: u8| {
        let mut list = vec![0; 24];
        (list[7], list[15]) = (key, action_key);
        let cdb = [0x5F, action, type_, 0, 0, 0, 0, 0, 24, 0];
        execute(lun, &cdb, &list, 0, &[0])
    };
    let write = |lun: &Lun| {
        let cdb = [0x2A, 0, 0, 0, 0, 0, 0, 0, 1, 0];
        execute(lun, &cdb, &[1; 512], 0, &[0])
    };
    let done = Ok(Vec::new());
    assert_eq!(out(&one, 0, 0, 0, 1), done);
    assert_eq!(out(&one, 1, 5, 1, 0), done);
    assert_eq!(
        (write(&one), write(&other)),
        (done.clone(), Err(Refusal::Conflict))
    );
    assert!(run(&other, &[0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0], &[]).is_ok());
    let keys = run(&other, &[0x5E, 0, 0, 0, 0, 0, 0, 0, 16, 0], &[]).unwrap();
    assert_eq!((keys[7], keys[15]), (8, 1));
    // Who registers may write; who is preempted may not, and is told.
    assert_eq!(out(&other, 0, 0, 0, 2), done);
    assert_eq!(write(&other), done);
    assert_eq!(out(&other, 4, 5, 2, 1), done);
    let told = Refusal::Sense(Sense::REGISTRATIONS_PREEMPTED);
    assert_eq!(write(&one), Err(told));
    assert_eq!(write(&one), Err(Refusal::Conflict));
    // A list that is shorter than the command says.
    let cdb = [0x5F, 0, 0, 0, 0, 0, 0, 0, 24, 0];
    let short = execute(&other, &cdb, &[0; 8], 0, &[0]);
    assert_eq!(short, Err(Sense::PARAMETER_LIST_LENGTH_ERROR.into()));
}

proptest! {
    #[test]
    fn any_command_is_safe(
        cdb in proptest::collection::vec(any::<u8>(), 0..17),
        data in proptest::collection::vec(any::<u8>(), 0..600),
        dvd: bool,
    ) {
        // A small unit, so that random addresses and counts hit its edges and nothing takes long.
        let unit = lun(if dvd { Kind::Dvd } else { Kind::Disk }, 64 * 2048, 2048);
        let _ = execute(&unit, &cdb, &data, 1 << 20, &[0]);
    }
}
