//! Tokens, positions, maps: what equals the CPU bit for bit.

mod token_support;

use elucid::lower::token as lower;
use elucid_core::Shape;
use elucid_core::graph::{NONE, Part, Positions};
use elucid_core::op::{map, norm, token};
use token_support::{assert_close, assert_same, context, run, values};

fn shape(tokens: u32, h: u32, w: u32, c: u32) -> Shape {
    Shape {
        tokens,
        ..Shape::new(h, w, c)
    }
}

/// Applies `f` to each image's part of the input and of the output.
fn by_image(images: usize, x: &[f32], y: &mut [f32], f: impl Fn(usize, &[f32], &mut [f32])) {
    let (from, to) = (x.len() / images, y.len() / images);
    for (i, (x, y)) in x.chunks_exact(from).zip(y.chunks_exact_mut(to)).enumerate() {
        f(i, x, y);
    }
}

#[test]
fn tokens_come_first_and_can_be_cut_out() {
    for (count, tokens, h, w, c, images) in [
        (1, 0, 1, 1, 1, 1),
        (1, 0, 3, 5, 7, 2),
        (5, 1, 4, 4, 12, 3),
        (100, 0, 14, 14, 64, 1),
    ] {
        for shift in [0, 1] {
            let what = format!("{count} {tokens} {h} {w} {c} {images} {shift}");
            let input = shape(tokens, h, w, c);
            let output = shape(tokens + count, h, w, c);
            let learned = values(1, (count * c) as usize);
            let x = values(2, images * input.elements());
            let mut want = vec![f32::NAN; images * output.elements()];
            by_image(images, &x, &mut want, |_, x, y| {
                token::prepend(x, &learned, y);
            });
            let got = run(
                &[Some(&learned), Some(&x)],
                want.len(),
                shift,
                &|to, a, y| {
                    lower::prepend(to, (a[0], learned.len()), input, images, a[1], y);
                },
            );
            assert_same(&what, &got, &want);
            for part in [Part::Tokens, Part::Grid] {
                let mut cut = vec![f32::NAN; images * part.range(output).len()];
                by_image(images, &want, &mut cut, |_, x, y| {
                    token::slice(part, output, x, y);
                });
                let got = run(&[Some(&want)], cut.len(), shift, &|to, a, y| {
                    lower::slice(to, part, output, images, a[0], y);
                });
                assert_same(&what, &got, &cut);
            }
        }
    }
}

#[test]
fn positions_are_those_of_the_cpu() {
    for (tokens, h, w, c, table, images) in [
        (0, 1, 1, 1, (1, 1), 1),
        (1, 14, 14, 8, (14, 14), 2),
        (1, 3, 14, 5, (14, 14), 1),
        (2, 24, 20, 12, (14, 14), 2),
        (3, 7, 9, 4, (1, 5), 1),
        (0, 2, 3, 6, (40, 37), 3),
    ] {
        for (larger, embedded, shift) in [(false, true, 0), (true, true, 1), (false, false, 0)] {
            let what = format!("{tokens} {h} {w} {c} {table:?} {images} {larger} {embedded}");
            let shape = shape(tokens, h, w, c);
            let p = Positions {
                c,
                count: tokens,
                rows: table.0,
                cols: table.1,
                tokens: NONE,
                grid: 0,
                larger,
            };
            let learned = values(1, (tokens * c) as usize);
            let head = (embedded && tokens > 0).then_some(&*learned);
            let grid = values(2, p.table());
            let x = values(3, images * shape.elements());
            let mut want = vec![f32::NAN; x.len()];
            by_image(images, &x, &mut want, |_, x, y| {
                token::positions(&context(&[]), &p, shape, x, (head, &grid), y);
            });
            let inputs = [head, Some(&*grid), Some(&*x)];
            let got = run(&inputs, want.len(), shift, &|to, a, y| {
                lower::positions(to, &p, shape, images, (a[0], a[1]), a[2], y);
            });
            assert_same(&what, &got, &want);
        }
    }
}

#[test]
fn maps_are_fused_and_enlarged_as_on_the_cpu() {
    for (tokens, h, w, c, from, images) in [
        (0, 1, 1, 1, (1, 1), 1),
        (5, 14, 14, 8, (14, 14), 2),
        (1, 24, 20, 7, (14, 11), 2),
        (3, 5, 9, 4, (8, 1), 3),
    ] {
        for shift in [0, 1] {
            let what = format!("{tokens} {h} {w} {c} {from:?} {images} {shift}");
            let (shape, from) = (shape(tokens, h, w, c), Shape::new(from.0, from.1, c));
            let features = values(1, images * from.elements());
            let x = values(2, images * shape.elements());
            let mut want = vec![f32::NAN; x.len()];
            by_image(images, &x, &mut want, |image, x, y| {
                let map = &features[image * from.elements()..][..from.elements()];
                token::fuse(&context(&[]), (from, shape), (map, x), y);
            });
            let got = run(&[Some(&features), Some(&x)], x.len(), shift, &|to, a, y| {
                lower::fuse(to, [from, shape], images, (a[0], a[1]), y);
            });
            assert_same(&what, &got, &want);

            let (from, image, targets) = (from.with_channels(1), Shape::new(h * 4, w * 3, 1), 2);
            let maps = values(3, images * from.elements());
            let mut want = vec![f32::NAN; images * targets * image.elements()];
            by_image(images, &maps, &mut want, |_, map, heat| {
                for heat in heat.chunks_exact_mut(image.elements()) {
                    token::enlarge(&context(&[]), (from, image), map, heat);
                }
            });
            let got = run(&[Some(&maps)], want.len(), shift, &|to, a, heat| {
                lower::resize(to, [from, image], (images, targets), a[0], heat);
            });
            assert_same(&what, &got, &want);
        }
    }
}

#[test]
fn maps_mask_as_on_the_cpu() {
    for (h, w, c, images) in [(1, 1, 1, 1), (3, 5, 7, 2), (24, 24, 12, 2), (2, 150, 4, 1)] {
        for shift in [0, 1] {
            let (what, shape) = (format!("{h} {w} {c} {images}"), Shape::new(h, w, c));
            let one = shape.with_channels(1);
            let mut reduced = values(1, images * one.elements());
            // A later image's range holds an earlier one's.
            let second = one.elements().min(reduced.len());
            reduced[second..].iter_mut().for_each(|v| *v *= 3.0);
            let mut map = vec![f32::NAN; reduced.len()];
            by_image(images, &reduced, &mut map, |_, x, y| map::minmax(x, y));
            let got = run(&[Some(&reduced)], map.len(), shift, &|to, a, y| {
                lower::minmax(to, one, images, a[0], y);
            });
            assert_same(&what, &got, &map);

            let x = values(2, images * shape.elements());
            let mut want = vec![f32::NAN; x.len()];
            map::multiply(c as usize, (&x, &map), &mut want);
            let got = run(&[Some(&x), Some(&map)], x.len(), shift, &|to, a, y| {
                lower::mulmap(to, c as usize, x.len(), (a[0], a[1]), y);
            });
            assert_same(&what, &got, &want);
        }
    }
}

#[test]
fn odd_maps_end() {
    for x in [
        vec![f32::NAN; 300],
        vec![3.5; 300],
        [f32::NAN, 1.0, f32::NAN, -2.0, 0.0].repeat(60),
        [f32::INFINITY, 1.0, -1.0].repeat(100),
    ] {
        let shape = Shape::new(1, 300, 1);
        let mut want = vec![0.0; 300];
        map::minmax(&x, &mut want);
        let got = run(&[Some(&x)], 300, 0, &|to, a, y| {
            lower::minmax(to, shape, 1, a[0], y);
        });
        assert_same("odd map", &got, &want);
    }
}

#[test]
fn factors_and_summands_are_those_of_the_cpu() {
    for (rows, c) in [(1, 1), (7, 5), (33, 64), (3, 1028)] {
        for (shift, scaled, shifted) in [(0, true, true), (1, true, true), (0, false, true)] {
            let (scale, summand) = (values(1, c), values(2, c));
            let (scale, summand) = (scaled.then_some(&*scale), shifted.then_some(&*summand));
            let x = values(3, rows * c);
            let mut want = vec![f32::NAN; x.len()];
            norm::affine(&context(&[]), c, &x, (scale, summand), &mut want);
            let inputs = [scale, summand, Some(&*x)];
            let got = run(&inputs, x.len(), shift, &|to, a, y| {
                lower::affine(to, c, x.len(), (a[0], a[1]), a[2], y);
            });
            assert_close(&format!("{rows} {c} {shift}"), &got, &want);
        }
    }
}
