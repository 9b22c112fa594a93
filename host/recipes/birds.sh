#!/bin/sh
# What AEA and LoRA are worth on twenty species of birds: trains an adapter for a ViT-Tiny with and without both, by three seeds, and
# compares its maps with Grad-CAM, raw attention, rollout and a box in the middle. Under an hour on two cores.
#
#   host/recipes/birds.sh CUB_200_2011 vit_tiny_patch16_224.safetensors OUT
#
# CUB is a folder in the official layout; the weights are timm's, for 224 pixels. A copy whose masks are a segmenter's may hold a list
# pseudo_mask_quality.txt of lines `image quality`: then only test pictures whose masks have 0.85 or more are judged by.
# Interrupted, the same command goes on.
set -eu
[ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for path in "$1" "$2"; do
    [ -e "$path" ] || { echo "birds.sh: $path doesn't exist; check the path" >&2; exit 1; }
done
data=$(realpath "$1") weights=$(realpath "$2") out=$3
mkdir -p "$out/data"
quality=$data/pseudo_mask_quality.txt
for list in images image_class_labels train_test_split bounding_boxes; do
    if [ -f "$quality" ]; then
        awk -v parts="$data/train_test_split.txt" -v quality="$quality" '
            BEGIN {
                while ((getline line < parts) > 0) { at = index(line, " "); train[substr(line, 1, at - 1)] = substr(line, at + 1) }
                while ((getline line < quality) > 0) { at = index(line, " "); good[substr(line, 1, at - 1)] = substr(line, at + 1) }
            }
            train[$1] == 1 || good[$1] >= 0.85' "$data/$list.txt" >"$out/data/$list.txt"
    else
        cp -f "$data/$list.txt" "$out/data/$list.txt"
    fi
done
cp -f "$data/classes.txt" "$out/data/"
masks=$data/segmentations
[ -d "$masks" ] || masks=$data/../segmentations
ln -sfn "$data/images" "$out/data/images"
ln -sfn "$masks" "$out/data/segmentations"
cat >"$out/run.toml" <<END
weights = "$weights"
image = 224
norm = "vit"
epochs = 12
batch = 16
lr = 5e-4
clip = 1.0
augment = false

[adapter]
depth = 4
queries = 50
grid = 14

[[data]]
dir = "data"
format = "cub"
test = "test"
classes = 20

[ablation]
seeds = [1, 2, 3]
END
elucid train ablation --config "$out/run.toml" -o "$out/runs"
elucid report "$out/runs" -o "$out/report.html"
