//! ImageNet and ImageNet-S.

use super::*;

#[test]
fn imagenet_in_folders_counts_sorted_synsets() {
    let tree = Tree::new();
    tree.files(&[
        "val/n02000000/b.JPEG",
        "val/n02000000/a.JPEG",
        "val/n01000000/c.JPEG",
        "val/n01000000/.d.JPEG",
    ]);
    let data = tree.open(Format::Imagenet);
    let wanted = [
        ("n01000000/c.JPEG", 0),
        ("n02000000/a.JPEG", 1),
        ("n02000000/b.JPEG", 1),
    ];
    assert_eq!(ids(&data), labelled(&wanted));
    assert!(data.remarks()[0].contains("2 synsets instead of 1000"));

    tree.file(
        "LOC_synset_mapping.txt",
        "n00000001 x\nn01000000 tench, Tinca\nn02000000 auk\n",
    );
    let data = tree.open(Format::Imagenet);
    assert_eq!(data.sample(0).label, Some(1));
    assert_eq!(data.class_names()[1], "tench, Tinca");
    assert!(data.remarks().is_empty());
    tree.file("LOC_synset_mapping.txt", "n01000000 tench\n");
    let (trouble, text) = tree.error(Format::Imagenet);
    assert!(
        trouble == Trouble::Class && text.contains("n02000000 is not in the list"),
        "{text}"
    );
}

#[test]
fn flat_imagenet_needs_a_list() {
    let flat = || {
        let tree = Tree::new();
        tree.files(&["val/p_1.JPEG", "val/p_2.JPEG", "val/p_3.JPEG"]);
        tree
    };
    let (trouble, text) = flat().error(Format::Imagenet);
    assert!(
        trouble == Trouble::Missing && text.contains("no list of labels; put labels.csv"),
        "{text}"
    );

    // By class first, as torchvision has them.
    let wanted = labelled(&[("p_2.JPEG", 0), ("p_1.JPEG", 1), ("p_3.JPEG", 1)]);
    let synsets = "n02000000\nn01000000\nn02000000\n";
    let tree = flat();
    tree.file("imagenet_2012_validation_synset_labels.txt", synsets);
    assert_eq!(ids(&tree.open(Format::Imagenet)), wanted);
    let tree = flat();
    tree.file("val.txt", "p_1.JPEG 1\np_2.JPEG 0\np_3.JPEG 1\n");
    let data = tree.open(Format::Imagenet);
    assert_eq!((ids(&data), data.classes().len()), (wanted.clone(), 1000));
    let tree = flat();
    tree.file(
        "labels.csv",
        "file,label\np_1.JPEG,1\np_2.JPEG,0\np_3.JPEG,1\n",
    );
    assert_eq!(ids(&tree.open(Format::Imagenet)), wanted);
    let tree = flat();
    let solution = "ImageId,PredictionString\np_1,n02000000 1 2 3 4 n02000000 5 6 7 8 \np_2,n01000000 0 0 9 9\np_3,n02000000 0 0 9 9\n";
    tree.file("LOC_val_solution.csv", solution);
    let data = tree.open(Format::Imagenet);
    assert_eq!(ids(&data), wanted);
    assert_eq!(data.sample(1).boxes[1], Rect::sized([5.0, 6.0, 2.0, 2.0]));

    // The challenge's own numbers say nothing without their key.
    let tree = flat();
    tree.file("ILSVRC2012_validation_ground_truth.txt", "1\n2\n1\n");
    let (trouble, text) = tree.error(Format::Imagenet);
    assert!(
        trouble == Trouble::Class && text.contains("put map_clsloc.txt"),
        "{text}"
    );
    tree.file(
        "map_clsloc.txt",
        "n02000000 1 kit_fox\nn01000000 2 setter\n",
    );
    assert_eq!(ids(&tree.open(Format::Imagenet)), wanted);
    // Lists without names need the whole folder.
    fs::remove_file(tree.path("val/p_2.JPEG")).unwrap();
    let (_, text) = tree.error(Format::Imagenet);
    assert!(
        text.contains("3 labels without file names for 2 pictures"),
        "{text}"
    );
}

#[test]
fn imagenet_s_tells_classes_in_masks() {
    let tree = Tree::new();
    let row = [[0, 0, 0], [1, 0, 0], [2, 0, 0], [232, 3, 0]];
    tree.files(&["validation/n01000000/a.JPEG", "validation/n02000000/b.JPEG"])
        .picture("validation-segmentation/n02000000/b.png", &row);
    let data = tree.open(Format::ImagenetS);
    assert_eq!(
        ids(&data),
        labelled(&[("n01000000/a.JPEG", 0), ("n02000000/b.JPEG", 1)])
    );
    let mask = data.sample(1).mask().unwrap().unwrap();
    assert_eq!(mask.object, [false, true, true, false]);
    assert_eq!(mask.ignored, [false, false, false, true]);

    // Labels of a network for all of ImageNet don't change what masks mean.
    tree.file("all.txt", "n00000001\nn01000000\nn01500000\nn02000000\n");
    let own = Options {
        own_class: true,
        classes: Some(tree.path("all.txt")),
        ..Options::default()
    };
    let sample = tree.open_with(Format::ImagenetS, &own).sample(1);
    assert_eq!(sample.label, Some(3));
    assert_eq!(
        sample.mask().unwrap().unwrap().object,
        [false, false, true, false]
    );

    let image = tree.path("validation/n02000000/b.JPEG");
    let line = format!(
        "{},2,validation-segmentation/n02000000/b.png\n",
        image.display()
    );
    tree.file("list.txt", &line);
    let mut options = Options {
        list: Some(tree.path("list.txt")),
        ..Options::default()
    };
    let data = tree.open_with(Format::ImagenetS, &options);
    assert_eq!(ids(&data), labelled(&[("validation/n02000000/b.JPEG", 1)]));
    assert_eq!(data.classes()[1].key, "n02000000");
    assert_eq!(data.sample(0).mask().unwrap().unwrap().area(), 2);
    tree.file("zero.txt", "a.JPEG,0,a.png\n");
    options.list = Some(tree.path("zero.txt"));
    let error = Dataset::open(Format::ImagenetS, tree.0.path(), &options).unwrap_err();
    assert!(
        error.to_string().contains("zero.txt:1: class \"0\""),
        "{error}"
    );

    fs::remove_dir_all(tree.path("validation-segmentation")).unwrap();
    let (trouble, text) = tree.error(Format::ImagenetS);
    assert!(
        trouble == Trouble::Missing && text.contains("validation-segmentation is missing"),
        "{text}"
    );
}

#[test]
fn a_whole_validation_set_opens_fast_in_the_references_order() {
    // As many lines as ImageNet has, but the pictures only by name: the index must grow with them, not with their square.
    let tree = Tree::new();
    let name = |i: usize| format!("p_{i:05}.JPEG");
    let lines: String = (0..50_000)
        .map(|i| format!("{} {}\n", name(i), i / 50))
        .collect();
    tree.file("val.txt", lines).files(&["p_00000.JPEG"]);
    let begun = std::time::Instant::now();
    let data = tree.open(Format::Imagenet);
    let selection = Selection {
        order: Order::Paper { seed: 42 },
        ..Selection::default()
    };
    let chosen = data.select(&selection).unwrap();
    assert!(begun.elapsed().as_secs() < 10);
    assert_eq!((data.len(), chosen.len()), (50_000, 1000));
    assert_eq!(data.sample(chosen[0]).id, name(36_876));
    assert_eq!(data.sample(chosen[1]).id, name(12_172));
}
