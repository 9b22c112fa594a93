//! CUB, PASCAL VOC and plain folders.

use elucid_core::model::{ChannelOrder, Filter, Fit, Preprocess};

use super::*;

fn cub() -> Tree {
    let tree = Tree::new();
    tree.file(
        "CUB_200_2011/images.txt",
        "2 001.Auk/a.jpg\n7 003.Wren/b.jpg\n9 003.Wren/c.jpg\n",
    )
    .file("CUB_200_2011/image_class_labels.txt", "2 1\n7 3\n9 3\n")
    .file("CUB_200_2011/train_test_split.txt", "2 1\n7 0\n9 0\n")
    .file(
        "CUB_200_2011/bounding_boxes.txt",
        "2 1.0 2.0 3.0 4.0\n7 10.5 20.0 30.0 40.0\n9 0 0 1 1\n",
    )
    .file("CUB_200_2011/classes.txt", "1 001.Auk\n3 003.House_Wren\n")
    .picture("segmentations/003.Wren/b.png", &[[0; 3], [51; 3], [204; 3]])
    .files(&["CUB_200_2011/images/001.Auk/a.jpg"]);
    tree
}

#[test]
fn cub_follows_its_lists() {
    let tree = cub();
    let data = tree.open(Format::Cub);
    assert_eq!(
        ids(&data),
        labelled(&[("003.Wren/b.jpg", 2), ("003.Wren/c.jpg", 2)])
    );
    assert_eq!(data.class_names(), ["Auk", "class 2", "House Wren"]);
    assert!(data.remarks().is_empty());
    let sample = data.sample(0);
    let how = Preprocess {
        fit: Fit::Squash,
        resize: 1,
        crop: [1, 3],
        filter: Filter::Bilinear,
        order: ChannelOrder::Rgb,
        scale: 1.0,
        mean: [0.0; 3],
        std: [1.0; 3],
    };
    assert_eq!(
        sample.image,
        tree.path("CUB_200_2011/images/003.Wren/b.jpg")
    );
    assert_eq!(sample.boxes, [Rect::sized([10.5, 20.0, 30.0, 40.0])]);
    assert_eq!(sample.mask().unwrap().unwrap().object, [false, true, true]);
    let text = sample.input_mask((3, 3), &how).unwrap_err().to_string();
    assert!(
        text.contains("b.png: the mask has 3 x 1 pixels, but its picture 3 x 3"),
        "{text}"
    );
    assert_eq!(sample.input_mask((3, 1), &how).unwrap().unwrap().area(), 2);
    let most = Options {
        above: 127,
        ..Options::default()
    };
    let mask = tree.open_with(Format::Cub, &most).sample(0).mask().unwrap();
    assert_eq!(mask.unwrap().object, [false, false, true]);
    for (split, count) in [(Split::Train, 1), (Split::Test, 2), (Split::All, 3)] {
        let options = Options {
            split: Some(split),
            ..Options::default()
        };
        assert_eq!(tree.open_with(Format::Cub, &options).len(), count);
    }
    // What is broken or missing is the matter of one sample.
    let error = data.sample(1).mask().unwrap_err();
    assert!(error.concerns_one_sample() && error.trouble() == Trouble::Mask);
    let error = data.sample(0).photo().err().unwrap();
    assert!(error.concerns_one_sample() && error.trouble() == Trouble::Photo);
    assert!(error.to_string().contains("b.jpg"), "{error}");
}

#[test]
fn cub_faults_are_named() {
    let fault = |path: &str, content: &str| {
        let tree = cub();
        tree.file(&format!("CUB_200_2011/{path}"), content);
        tree.error(Format::Cub)
    };
    let (trouble, text) = fault("image_class_labels.txt", "2 1\n7 three\n");
    assert_eq!(trouble, Trouble::Line);
    assert!(
        text.contains("image_class_labels.txt:2: \"three\""),
        "{text}"
    );
    let (trouble, text) = fault("image_class_labels.txt", "2 1\n7 200\n9 3\n");
    assert_eq!(trouble, Trouble::Class);
    assert!(
        text.contains("images.txt:2: image 7 is of class 200"),
        "{text}"
    );
    let (_, text) = fault("train_test_split.txt", "2 1\n");
    assert!(
        text.contains("image 7 is not in train_test_split.txt"),
        "{text}"
    );
    let (_, text) = fault("bounding_boxes.txt", "2 1 2 3\n");
    assert!(text.contains("bounding_boxes.txt:1: a box needs"), "{text}");
    let (_, text) = fault("images.txt", "7 a.jpg\n9 a.jpg\n");
    assert!(text.contains("lists a.jpg twice"), "{text}");

    let tree = cub();
    fs::remove_file(tree.path("CUB_200_2011/train_test_split.txt")).unwrap();
    let (trouble, text) = tree.error(Format::Cub);
    assert_eq!(trouble, Trouble::Missing);
    assert!(text.contains("train_test_split.txt is missing"), "{text}");
}

#[test]
fn voc_reads_annotations_and_masks() {
    let tree = Tree::new();
    let object = |name: &str, side: u32| {
        format!(
            "<object><name>{name}</name><part><name>head</name></part><bndbox><xmin>1</xmin><ymin>2</ymin>\
             <xmax>{side}</xmax><ymax>{side}.0</ymax></bndbox></object>"
        )
    };
    let both = object("person", 20) + &object("bicycle", 90);
    tree.file("VOC2012/ImageSets/Segmentation/val.txt", "2007_1\n2007_2\n")
        .file(
            "VOC2012/ImageSets/Main/bird_train.txt",
            "2007_1 -1\n2007_2  1\n",
        )
        .file(
            "VOC2012/Annotations/2007_1.xml",
            format!("<annotation>{both}</annotation>"),
        )
        .picture(
            "VOC2012/SegmentationClass/2007_1.png",
            &[[0; 3], [0, 128, 0], [192, 128, 128], [224, 224, 192]],
        )
        .files(&["VOC2012/JPEGImages/2007_1.jpg"]);
    let data = tree.open(Format::Voc);
    let sample = data.sample(0);
    assert_eq!((sample.id.as_str(), sample.label), ("2007_1.jpg", Some(1)));
    assert_eq!(data.class_names()[1], "bicycle");
    assert_eq!(sample.boxes[0], Rect::sized([0.0, 1.0, 20.0, 19.0]));
    let mask = sample.mask().unwrap().unwrap();
    assert_eq!(mask.object, [false, true, true, false]);
    assert_eq!(mask.ignored, [false, false, false, true]);
    let bare = data.sample(1);
    assert_eq!((bare.label, bare.mask, bare.boxes.len()), (None, None, 0));
    let own = Options {
        own_class: true,
        ..Options::default()
    };
    let mask = tree.open_with(Format::Voc, &own).sample(0).mask().unwrap();
    assert_eq!(mask.unwrap().object, [false, true, false, false]);
    let list = Options {
        list: Some(tree.path("VOC2012/ImageSets/Main/bird_train.txt")),
        ..Options::default()
    };
    assert_eq!(
        tree.open_with(Format::Voc, &list).sample(0).id,
        "2007_2.jpg"
    );

    tree.file("VOC2012/Annotations/2007_2.xml", "<annotation>");
    let (trouble, text) = tree.error(Format::Voc);
    assert!(
        trouble == Trouble::Line && text.contains("2007_2.xml is not sound XML"),
        "{text}"
    );
    tree.file(
        "VOC2012/Annotations/2007_2.xml",
        format!("<annotation>{}</annotation>", object("yak", 5)),
    );
    let (trouble, text) = tree.error(Format::Voc);
    assert!(
        trouble == Trouble::Class && text.contains("\"yak\""),
        "{text}"
    );
}

#[test]
fn plain_folders_have_classes_tables_or_nothing() {
    let tree = Tree::new();
    tree.files(&[
        "b_c/2.png",
        "b_c/1.jpg",
        "a/3.webp",
        "a/notes.txt",
        "empty/notes.txt",
        "masks/1.png",
    ]);
    let data = tree.open(Format::Folder);
    assert_eq!(
        ids(&data),
        labelled(&[("a/3.webp", 0), ("b_c/1.jpg", 1), ("b_c/2.png", 1)])
    );
    assert_eq!(data.class_names(), ["a", "b c"]);
    assert!(data.sample(0).mask.is_none());
    assert_eq!(data.sample(1).mask.unwrap().path, tree.path("masks/1.png"));
    assert!(data.remarks()[0].contains("2 of 3 pictures have no mask"));
    tree.files(&["loose.jpg"]);
    let (trouble, text) = tree.error(Format::Folder);
    assert!(
        trouble == Trouble::Class && text.contains("such as loose.jpg"),
        "{text}"
    );
    tree.file("labels.csv", "file,label\nloose.jpg,owl\nb_c/1.jpg,auk\n");
    assert_eq!(
        ids(&tree.open(Format::Folder)),
        labelled(&[("loose.jpg", 1), ("b_c/1.jpg", 0)])
    );

    let tree = Tree::new();
    tree.files(&["img/b.jpg", "img/a.jpg"])
        .picture("gt/a.png", &[[0; 3], [1; 3]]);
    let data = tree.open(Format::Folder);
    assert_eq!(
        ids(&data),
        [("a.jpg".to_owned(), None), ("b.jpg".to_owned(), None)]
    );
    assert_eq!(
        data.sample(0).mask().unwrap().unwrap().object,
        [false, true]
    );
    assert!(data.sample(1).mask().unwrap().is_none());
    fs::rename(tree.path("gt/a.png"), tree.path("gt/x.png")).unwrap();
    let (trouble, text) = tree.error(Format::Folder);
    assert!(
        trouble == Trouble::Missing && text.contains("a.jpg needs a.png"),
        "{text}"
    );
}
