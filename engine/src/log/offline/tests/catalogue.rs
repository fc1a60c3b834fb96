//! The catalogue can be made anew.

use super::*;

#[test]
fn a_lost_catalogue_is_made_anew_from_the_segments() {
    let scratch = store_with(150, None);
    let rows = cat_rows(&scratch.options());
    let rebuild = || {
        let mut out = Vec::new();
        assert!(rebuild_catalogue(&scratch.options().volumes, &mut out).unwrap());
        String::from_utf8(out).unwrap()
    };
    assert!(rebuild().contains("is whole: 2 topics"));

    fs::remove_dir_all(scratch.0.join(CATALOGUE)).unwrap();
    let (clean, report) = verified(&scratch.options());
    assert!(!clean);
    assert_eq!(report["damaged"], 2, "{report}");
    // The segments name their topics themselves.
    assert_eq!(cat_rows(&scratch.options()), rows);
    assert!(rebuild().contains("written anew: 2 topics, 2 of them lost"));
    assert_clean(&scratch);

    let segment = scratch.0.join(CATALOGUE).join("00000000.seg");
    flip(&segment, 4096 + 40);
    assert!(!verified(&scratch.options()).0);
    assert!(rebuild().contains("written anew"));
    assert_clean(&scratch);
    assert!(scratch.0.join("catalogue.old-0").is_dir());

    // The engine takes it up.
    let (disk, store) = open_store(&scratch.0, 2);
    let recovered = block_on(recover::recover(
        &disk,
        CATALOGUE,
        catalogue_identity(store),
    ));
    let names = recovered.unwrap().names;
    assert_eq!(names.len(), 2);
    assert!(table().iter().all(|(id, name)| names[id] == **name));
}

#[test]
fn the_catalogue_of_a_running_store_is_left_alone() {
    let scratch = store_with(4, None);
    let lock = File::create(scratch.0.join(LOCK)).unwrap();
    lock.lock().unwrap();
    let error = rebuild_catalogue(&scratch.options().volumes, &mut Vec::new()).unwrap_err();
    assert!(matches!(error, Error::InUse { .. }), "{error}");
}
