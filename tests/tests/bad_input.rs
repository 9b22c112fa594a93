//! Bad input to the program: one line that says what, where and the mend; exit code 1, or 2 for wrong usage; and no file
//! written or changed.

#[allow(dead_code)] // Every test file uses a part of it.
mod program;

use elucid_core::model::{Blob, Header, seal};
use program::Place;

/// Runs `explain --model m.elucid` with more arguments; it must fail with code 1.
fn refuse_explain(place: &Place, arguments: &str, words: &[&str]) {
    place.refuse(1, &format!("explain --model m.elucid {arguments}"), words);
}

#[test]
fn models_that_are_none_are_refused() {
    let place = Place::new();
    let whole = place.read("m.elucid");
    place.write("cut.elucid", &whole[..whole.len() - 1]);
    place.write("stub.elucid", &whole[..40]);
    let mut flipped = whole.clone();
    flipped[whole.len() / 2] ^= 1;
    place.write("flipped.elucid", &flipped);
    place.write("empty.elucid", b"");
    place.write(
        "text.elucid",
        "not a model, but a text as long as a header of 64 bytes would be",
    );
    place.write("longer.elucid", [&whole[..], b"x"].concat());
    let mut newer = whole.clone();
    newer[8] = 99;
    seal(&mut newer);
    place.write("newer.elucid", &newer);
    place.folder("folder.elucid");
    let cases: [(&str, &[&str]); 10] = [
        ("missing.elucid", &["missing.elucid"]),
        ("cut.elucid", &["cut.elucid", "cut off", "import it again"]),
        ("stub.elucid", &["stub.elucid", "cut off"]),
        ("flipped.elucid", &["flipped.elucid", "damaged", "checksum"]),
        ("empty.elucid", &["empty.elucid", "cut off"]),
        (
            "text.elucid",
            &["text.elucid", "not an .elucid model", "elucid import"],
        ),
        ("longer.elucid", &["longer.elucid", "damaged"]),
        ("newer.elucid", &["newer.elucid", "version 99"]),
        ("folder.elucid", &["folder.elucid", "folder"]),
        ("a.png", &["a.png", "not an .elucid model"]),
    ];
    for (model, words) in cases {
        place.refuse(1, &format!("explain a.png --model {model}"), words);
        place.refuse(1, &format!("inspect {model}"), words);
        place.refuse(1, &format!("plan --model {model}"), words);
        place.refuse(1, &format!("bench --runs 1 --model {model}"), words);
    }
}

#[test]
fn weights_that_are_not_finite_are_refused() {
    let place = Place::new();
    let mut bytes = place.read("m.elucid");
    let header = Header::decode(&bytes).unwrap();
    let blob = Blob::decode(&bytes[header.tensors as usize..]).unwrap();
    bytes[blob.offset as usize..][..2].copy_from_slice(&half::f16::NAN.to_le_bytes());
    seal(&mut bytes);
    place.write("nan.elucid", &bytes);
    place.refuse(
        1,
        "explain a.png --model nan.elucid",
        &["nan.elucid", "NaN"],
    );
}

/// The checksum of a PNG chunk.
fn crc(bytes: &[u8]) -> u32 {
    let shift = |c: u32| {
        if c & 1 == 1 {
            c >> 1 ^ 0xEDB8_8320
        } else {
            c >> 1
        }
    };
    !bytes.iter().fold(!0, |crc, &b| {
        (0..8).fold(crc ^ u32::from(b), |c, _| shift(c))
    })
}

#[test]
fn pictures_that_are_none_are_refused() {
    let place = Place::new();
    place.write("text.jpg", "this is no picture");
    place.write("empty.png", b"");
    place.write("zeros.webp", [0; 500]);
    place.photo("whole.jpg", 64, 48);
    let jpeg = place.read("whole.jpg");
    place.write("cut.jpg", &jpeg[..jpeg.len() / 2]);
    place.write("head.jpg", &jpeg[..30]);
    let png = place.read("a.png");
    place.write("cut.png", &png[..png.len() / 2]);
    let mut damaged = png.clone();
    damaged[60] ^= 0xff;
    place.write("damaged.png", &damaged);
    // A header that promises 20,000 x 20,000 pixels.
    let mut huge = png.clone();
    huge[16..20].copy_from_slice(&20_000u32.to_be_bytes());
    huge[20..24].copy_from_slice(&20_000u32.to_be_bytes());
    let sum = crc(&huge[12..29]);
    huge[29..33].copy_from_slice(&sum.to_be_bytes());
    place.write("huge.png", &huge);
    place.folder("empty");
    place.folder("folder.png");
    let cases: [(&str, &[&str]); 12] = [
        ("missing.jpg", &["missing.jpg"]),
        ("text.jpg", &["text.jpg"]),
        ("empty.png", &["empty.png", "empty"]),
        ("zeros.webp", &["zeros.webp"]),
        ("cut.jpg", &["cut.jpg"]),
        ("head.jpg", &["head.jpg"]),
        ("cut.png", &["cut.png"]),
        ("damaged.png", &["damaged.png"]),
        ("huge.png", &["huge.png", "20000"]),
        ("empty", &["no picture in empty"]),
        ("folder.png", &["no picture in folder.png"]),
        ("m.elucid", &["m.elucid"]),
    ];
    for (picture, words) in cases {
        refuse_explain(&place, picture, words);
    }
}

#[test]
fn arrays_that_are_no_images_are_refused() {
    let place = Place::new();
    let odd = |at, value| move |i| if i == at { value } else { 0.5 };
    place.array("nan.npy", &[3, 8, 9], odd(100, f32::NAN));
    place.array("inf.npy", &[3, 8, 9], odd(7, f32::INFINITY));
    place.array("grey.npy", &[8, 9], |_| 0.0);
    place.array("last.npy", &[8, 9, 3], |_| 0.0);
    place.array("none.npy", &[3, 0, 9], |_| 0.0);
    place.write("text.npy", "not an array");
    let cases: [(&str, &[&str]); 6] = [
        ("nan.npy", &["nan.npy", "NaN", "channel 1, row 3, column 1"]),
        ("inf.npy", &["inf.npy", "inf"]),
        ("grey.npy", &["grey.npy", "[8, 9]"]),
        ("last.npy", &["last.npy", "moveaxis"]),
        ("none.npy", &["none.npy"]),
        ("text.npy", &["text.npy", "numpy.save"]),
    ];
    for (array, words) in cases {
        refuse_explain(&place, array, words);
    }
}

#[test]
fn classes_that_do_not_exist_are_refused() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 6] = [
        ("5", &["--target", "class 5", "0 to 4"]),
        ("4294967295", &["4294967295"]),
        ("4294967296", &["4294967296"]),
        ("orchid", &["orchid", "inspect --classes"]),
        ("dai", &["dai", "did you mean daisy"]),
        ("-1", &["-1"]),
    ];
    for (class, words) in cases {
        refuse_explain(&place, &format!("a.png --target={class}"), words);
    }
    refuse_explain(&place, "a.png --target=", &["--target"]);
    // Checked before anything is read.
    refuse_explain(&place, "missing.png --target 9", &["class 9"]);
}

#[test]
fn places_that_cannot_be_written_are_refused() {
    let place = Place::new();
    place.photo("b.png", 20, 20);
    let cases: [(&str, &[&str]); 9] = [
        (
            "a.png -o nowhere/out.png",
            &["nowhere", "does not exist", "mkdir"],
        ),
        ("a.png -o nowhere/", &["nowhere", "mkdir"]),
        ("a.png --map nowhere/out.npy", &["nowhere", "mkdir"]),
        ("a.png -o out.png --map nowhere/out.npy", &["nowhere"]),
        ("a.png -o out.jpg", &["out.jpg", ".png"]),
        ("a.png --map out.txt", &["out.txt", ".npy"]),
        ("a.png -o a.png/out.png", &["a.png"]),
        ("a.png b.png -o out.png", &["2 pictures", "out.png"]),
        ("a.png b.png --map out.npy", &["2 pictures", "out.npy"]),
    ];
    for (arguments, words) in cases {
        refuse_explain(&place, arguments, words);
    }
}

#[test]
fn wrong_usage_is_one_line_too() {
    let place = Place::new();
    let cases: [(&str, &[&str]); 17] = [
        ("explain --preset best", &["best", "exact", "paper"]),
        ("explain --split thirds", &["thirds", "projection-ratio"]),
        ("explain --init two", &["two", "probability"]),
        ("explain --memory none", &["none", "block"]),
        ("explain --method magic", &["magic", "lrp"]),
        ("explain --backend abacus", &["abacus", "cpu"]),
        ("explain --colors grey", &["grey", "inferno"]),
        ("explain --quantize 1", &["--quantize", "1"]),
        ("explain --quantize many", &["many"]),
        ("explain --threads -1", &["-1"]),
        ("explain --no-such-option", &["--no-such-option"]),
        ("explain --model", &["--model"]),
        ("bench --runs 0", &["--runs"]),
        ("bench --arch resnet19", &["resnet19", "resnet18"]),
        ("import weights.pth", &["--output"]),
        ("import", &["WEIGHTS"]),
        ("frobnicate", &["frobnicate"]),
    ];
    for (command, words) in cases {
        place.refuse(2, command, words);
    }
    place.refuse(
        1,
        "explain a.png --threads 100000",
        &["--threads", "100000"],
    );
    place.refuse(1, "plan --size 0", &["--size 0"]);
    place.refuse(1, "plan --size axb", &["--size axb"]);
    assert_eq!(place.run::<&str>(&[]).code, Some(2));
}

#[test]
fn weights_that_cannot_be_imported_are_refused() {
    let place = Place::new();
    place.golden("pth/twin.safetensors");
    place.write("two.txt", "cat\ndog\n");
    place.write("bad.toml", "crop = [1, 1]\ncolour = 3\n");
    place.write("zero.toml", "std = [0.0, 1.0, 1.0]\n");
    let cases: [(&str, &[&str]); 11] = [
        ("--arch resnet50", &["resnet50", "--arch"]),
        ("--arch vgg", &["vgg", "not known"]),
        ("--classes two.txt", &["2 names", "3 classes"]),
        ("--classes none.txt", &["none.txt"]),
        ("--preprocess best", &["best", "imagenet"]),
        ("--preprocess none.toml", &["none.toml"]),
        ("--preprocess bad.toml", &["bad.toml", "line 2", "colour"]),
        ("--preprocess zero.toml", &["zero.toml", "std"]),
        ("--bn-eps 2", &["--bn-eps 2"]),
        ("--bn-eps NaN", &["--bn-eps"]),
        ("--bn-eps=-1e-5", &["--bn-eps"]),
    ];
    for (arguments, words) in cases {
        place.refuse(
            1,
            &format!("import twin.safetensors -o out.elucid {arguments}"),
            words,
        );
    }
    place.refuse(
        1,
        "import twin.safetensors -o nowhere/m.elucid",
        &["nowhere", "mkdir"],
    );
    place.refuse(1, "import none.pth -o out.elucid", &["none.pth"]);
    place.refuse(1, "import . -o out.elucid", &["folder"]);
    place.refuse(
        1,
        "import m.elucid -o out.elucid",
        &["m.elucid", "neither a safetensors"],
    );
    place.refuse(
        2,
        "import twin.safetensors --stride-on 5x5 -o out.elucid",
        &["5x5", "3x3"],
    );
}

#[test]
fn damaged_pytorch_files_are_one_line() {
    let place = Place::new();
    place.golden("pth/plain.pth");
    let whole = place.read("plain.pth");
    let mut refused = 0;
    for at in (0..3000).step_by(61) {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x55;
        place.write("damaged.pth", &damaged);
        let import = "import damaged.pth -o out.elucid";
        let words: Vec<&str> = import.split(' ').collect();
        // The library that reads pickles may name tensors it skips before; the last line is the program's.
        let outcome = place.run(&words);
        if outcome.code == Some(0) {
            std::fs::remove_file(place.path("out.elucid")).unwrap();
            continue;
        }
        let last = outcome.stderr.lines().last().unwrap_or_default();
        assert_eq!(outcome.code, Some(1), "{}", outcome.stderr);
        assert!(
            last.starts_with("elucid: ") && last.contains("damaged.pth"),
            "{last}"
        );
        assert!(!place.path("out.elucid").exists());
        refused += 1;
    }
    assert!(refused > 10, "only {refused} refused");
}
