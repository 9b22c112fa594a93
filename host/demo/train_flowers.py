#!/usr/bin/env python3
"""Train the demo model: a small ResNet-18 that tells five kinds of flowers apart, from scratch, on CPU.

    python train_flowers.py --data FLOWERS -o flowers_resnet18.safetensors --bf16

FLOWERS holds one folder per class (daisy, dandelion, rose, sunflower, tulip) with 128x128 JPEGs.
Needs torch, numpy, pillow and safetensors. The parameter names are torchvision's.

The held-out images are read once, after the last epoch, to report the accuracy: no epoch, no weights and no
setting are chosen by them.
"""

import argparse
import copy
import hashlib
import math
import os
import time

import numpy as np
import torch
import torch.nn as nn
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file, save_file

CLASSES = ["daisy", "dandelion", "rose", "sunflower", "tulip"]
SIZE = 128
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
HELD_OUT = 0.15


# ---------------------------------------------------------------------------------------------------- network


class BasicBlock(nn.Module):
    def __init__(self, cin, cout, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(cin, cout, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(cout)
        self.conv2 = nn.Conv2d(cout, cout, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(cout)
        self.downsample = None
        if stride != 1 or cin != cout:
            self.downsample = nn.Sequential(nn.Conv2d(cin, cout, 1, stride, bias=False), nn.BatchNorm2d(cout))

    def forward(self, x):
        y = F.relu(self.bn1(self.conv1(x)))
        y = self.bn2(self.conv2(y))
        return F.relu(y + (x if self.downsample is None else self.downsample(x)))


class ResNet(nn.Module):
    """BasicBlock ResNet, laid out and named as torchvision's resnet18, with a free width."""

    def __init__(self, width=32, blocks=(2, 2, 2, 2), classes=len(CLASSES)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 7, 2, 3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        cin = width
        for stage, n in enumerate(blocks):
            cout = width << stage
            layer = []
            for i in range(n):
                layer.append(BasicBlock(cin, cout, 2 if stage > 0 and i == 0 else 1))
                cin = cout
            setattr(self, f"layer{stage + 1}", nn.Sequential(*layer))
        self.fc = nn.Linear(cin, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.max_pool2d(F.relu(self.bn1(self.conv1(x))), 3, 2, 1)
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return self.fc(x.mean((2, 3)))


# ------------------------------------------------------------------------------------------------------- data


def is_held_out(name):
    """The split: a file is held out when the SHA-256 of its name, read as a fraction of 1, is below 0.15."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") / 2.0**64 < HELD_OUT


def list_files(root):
    """(path, class, held out) of every image. Byte-identical copies would leak over the split: of copies within one
    class the first is kept, copies that lie in different classes are all left out."""
    seen = {}
    for label, cls in enumerate(CLASSES):
        folder = os.path.join(root, cls)
        for name in sorted(os.listdir(folder)):
            if name.lower().endswith((".jpg", ".jpeg", ".png")):
                path = os.path.join(folder, name)
                with open(path, "rb") as f:
                    seen.setdefault(hashlib.sha256(f.read()).digest(), []).append((path, label, is_held_out(name)))
    kept = [group[0] for group in seen.values() if len({label for _, label, _ in group}) == 1]
    left_out = sum(len(group) for group in seen.values()) - len(kept)
    return kept, left_out


def fit(image):
    """Short side to 128 (antialiased), then the centre 128x128."""
    w, h = image.size
    s = SIZE / min(w, h)
    if s != 1:
        image = image.resize((max(SIZE, round(w * s)), max(SIZE, round(h * s))), Image.BILINEAR)
    w, h = image.size
    x, y = (w - SIZE) // 2, (h - SIZE) // 2
    return image.crop((x, y, x + SIZE, y + SIZE))


def to_tensor(image):
    return torch.from_numpy(np.asarray(image, dtype=np.uint8).copy()).permute(2, 0, 1)


def load(files, change=lambda image: image):
    x = torch.stack([to_tensor(fit(change(Image.open(path).convert("RGB")))) for path, _, _ in files])
    return x, torch.tensor([label for _, label, _ in files])


def normalise(x):
    """f32 in 0..1 -> network input."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (MEAN, STD))
    return ((x - mean) / std).contiguous(memory_format=torch.channels_last)


# ----------------------------------------------------------------------------------------------- augmentation


def uniform(n, low, high, g):
    return torch.rand(n, generator=g) * (high - low) + low


def augment(x, size, min_area, g):
    """Random resized crop, rotation and flip (one affine map per image), then colour jitter. uint8 -> f32 in 0..1."""
    n = len(x)
    x = x.float().div_(255)
    area = uniform(n, min_area, 1.0, g)
    aspect = torch.exp(uniform(n, -math.log(4 / 3), math.log(4 / 3), g) / 2)
    sx, sy = (area.sqrt() * aspect).clamp(max=1), (area.sqrt() / aspect).clamp(max=1)
    tx, ty = uniform(n, -1, 1, g) * (1 - sx), uniform(n, -1, 1, g) * (1 - sy)
    flip = torch.where(torch.rand(n, generator=g) < 0.5, -1.0, 1.0)
    angle = uniform(n, -math.pi / 9, math.pi / 9, g) * (torch.rand(n, generator=g) < 0.5)
    c, s = torch.cos(angle), torch.sin(angle)
    theta = torch.stack([flip * sx * c, -sy * s, tx, flip * sx * s, sy * c, ty], 1).view(n, 2, 3)
    grid = F.affine_grid(theta, (n, 3, size, size), align_corners=False)
    x = F.grid_sample(x, grid, mode="bilinear", padding_mode="reflection", align_corners=False)

    luma = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    bright, contrast, colour = (uniform(n, 0.65, 1.35, g).view(n, 1, 1, 1) for _ in range(3))
    colour = colour * (torch.rand(n, generator=g) >= 0.04).view(n, 1, 1, 1)  # 4 % become grey
    tint = uniform(n * 3, 0.93, 1.07, g).view(n, 3, 1, 1)
    x = x * (bright * tint)
    grey = (x * luma).sum(1, keepdim=True)
    x = grey + (x - grey) * colour
    level = grey.mean((2, 3), keepdim=True)
    return (level + (x - level) * contrast).clamp_(0, 1)


def mix(x, y, g):
    """Of the batches, 40 % are CutMix, 30 % are Mixup, the rest is left alone. Returns x and soft labels."""
    t = F.one_hot(y, len(CLASSES)).float()
    kind = torch.rand(1, generator=g).item()
    other = torch.randperm(len(x), generator=g)
    u = torch.rand(1, generator=g).item()
    if kind < 0.4:
        h, w = x.shape[2:]
        side = math.sqrt(u)  # area of the pasted box: uniform
        bh, bw = round(h * side), round(w * side)
        cy, cx = (int(torch.randint(0, m, (1,), generator=g)) for m in (h, w))
        y0, y1 = max(0, cy - bh // 2), min(h, cy + (bh + 1) // 2)
        x0, x1 = max(0, cx - bw // 2), min(w, cx + (bw + 1) // 2)
        x = x.clone()
        x[:, :, y0:y1, x0:x1] = x[other][:, :, y0:y1, x0:x1]
        lam = 1 - (y1 - y0) * (x1 - x0) / (h * w)
    elif kind < 0.7:
        lam = 1 - 0.5 * u
        x = lam * x + (1 - lam) * x[other]
    else:
        lam = 1.0
    return x, lam * t + (1 - lam) * t[other]


# --------------------------------------------------------------------------------------------------- training


def train(args, x, y):
    torch.manual_seed(args.seed)
    g = torch.Generator().manual_seed(args.seed)
    model = ResNet(args.width).to(memory_format=torch.channels_last)
    ema = copy.deepcopy(model).eval()
    decay = [p for p in model.parameters() if p.ndim > 1]
    plain = [p for p in model.parameters() if p.ndim <= 1]
    opt = torch.optim.AdamW(
        [{"params": decay, "weight_decay": args.weight_decay}, {"params": plain, "weight_decay": 0.0}], lr=args.lr
    )
    steps = len(x) // args.batch
    total, warm = args.epochs * steps, max(1, args.epochs * steps // 20)
    step, start = 0, time.time()
    for epoch in range(args.epochs):
        # the last epochs see nearly whole, unmixed images at the size of use
        final = epoch >= args.epochs - args.final_epochs
        size, min_area = (SIZE, 0.6) if final else (args.train_size, 0.3)
        model.train()
        t0, loss_sum = time.time(), 0.0
        order = torch.randperm(len(x), generator=g)
        for b in range(steps):
            cosine = 0.5 + 0.5 * math.cos(math.pi * (step - warm) / (total - warm))
            lr = args.lr * (step / warm if step < warm else cosine)
            for group in opt.param_groups:
                group["lr"] = lr
            i = order[b * args.batch : (b + 1) * args.batch]
            xb = augment(x[i], size, min_area, g)
            if final:
                tb = F.one_hot(y[i], len(CLASSES)).float()
            else:
                xb, tb = mix(xb, y[i], g)
            with torch.autocast("cpu", torch.bfloat16, enabled=args.bf16):
                logits = model(normalise(xb))
            loss = F.cross_entropy(logits.float(), tb, label_smoothing=0.1)
            opt.zero_grad()
            loss.backward()
            opt.step()
            step += 1
            keep = min(args.ema, step / (step + 10))
            with torch.no_grad():
                for e, v in zip(ema.state_dict().values(), model.state_dict().values()):
                    if e.is_floating_point():
                        e.lerp_(v, 1 - keep)
                    else:
                        e.copy_(v)
            loss_sum += loss.item()
        print(
            f"epoch {epoch + 1}/{args.epochs}  size {size}  loss {loss_sum / steps:.4f}  lr {lr:.5f}  "
            f"{time.time() - t0:.1f} s  ({(time.time() - start) / 60:.1f} min)",
            flush=True,
        )
        if args.checkpoint and (epoch + 1) % 10 == 0:
            save(args.checkpoint, ema, args, {"epoch": str(epoch + 1)})
    return ema, time.time() - start


def save(path, model, args, extra):
    state = model.state_dict().items()
    tensors = {k: v.detach().float().contiguous() for k, v in state if not k.endswith("num_batches_tracked")}
    meta = {
        "classes": ",".join(CLASSES),
        "architecture": "resnet18",
        "block": "basic",
        "blocks": "2,2,2,2",
        "width": str(args.width),
        "input_size": str(SIZE),
        "channels": "RGB",
        "mean": ",".join(map(str, MEAN)),
        "std": ",".join(map(str, STD)),
        "resize": str(SIZE),
        "bn_eps": "1e-05",
    }
    save_file(tensors, path, metadata={**meta, **extra})


# ------------------------------------------------------------------------------------------------- evaluation


@torch.no_grad()
def predict(model, x):
    model.eval()
    return torch.cat([model(normalise(b.float() / 255)).softmax(1) for b in x.split(128)])


def accuracy(p, y):
    return (p.argmax(1) == y).float().mean().item()


def report(model, held, images, y):
    p = predict(model, images)
    print(f"\nheld-out images: {len(y)}")
    print(f"held-out top-1 (whole image, {SIZE} px): {100 * accuracy(p, y):.2f} %")
    confusion = torch.zeros(len(CLASSES), len(CLASSES), dtype=torch.long)
    for t, q in zip(y.tolist(), p.argmax(1).tolist()):
        confusion[t, q] += 1
    print("\n| class | images | right | accuracy | mean confidence |\n|---|---|---|---|---|")
    for c, name in enumerate(CLASSES):
        n, right = int(confusion[c].sum()), int(confusion[c, c])
        print(f"| {name} | {n} | {right} | {100 * right / n:.1f} % | {p[y == c].max(1).values.mean():.2f} |")
    print("\n| true \\ predicted | " + " | ".join(CLASSES) + " |\n|---|" + "---|" * len(CLASSES))
    for c, name in enumerate(CLASSES):
        print(f"| {name} | " + " | ".join(str(v) for v in confusion[c].tolist()) + " |")

    half = copy.deepcopy(model)
    half.load_state_dict({k: v.half().float() if v.is_floating_point() else v for k, v in model.state_dict().items()})
    changes = {
        "enlarged to 256x256 (bicubic), then resized to 128": lambda m: m.resize((256, 256), Image.BICUBIC),
        "centre 112x112, enlarged to 128": lambda m: m.crop((8, 8, 120, 120)),
        "centre 96x96, enlarged to 128": lambda m: m.crop((16, 16, 112, 112)),
        "mirrored": lambda m: m.transpose(Image.FLIP_LEFT_RIGHT),
        "reduced to 64x64, then enlarged to 128": lambda m: m.resize((64, 64), Image.BILINEAR),
    }
    print("\n| held-out images | top-1 |\n|---|---|")
    print(f"| as they are | {100 * accuracy(p, y):.2f} % |")
    print(f"| as they are, weights rounded to f16 | {100 * accuracy(predict(half, images), y):.2f} % |")
    for name, change in changes.items():
        xs, ys = load(held, change)
        print(f"| {name} | {100 * accuracy(predict(model, xs), ys):.2f} % |")
    return accuracy(p, y)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--data", required=True, help="folder with one folder of images per class")
    a.add_argument("-o", "--out", required=True, help="safetensors file to write (f32); classes.txt goes beside it")
    a.add_argument("--checkpoint", help="safetensors file for the EMA weights, rewritten every 10 epochs")
    a.add_argument("--eval", metavar="WEIGHTS", help="train nothing: report on this file and leave")
    a.add_argument("--epochs", type=int, default=160)
    a.add_argument("--final-epochs", type=int, default=15, help="of these, at 128 px without mixing")
    a.add_argument("--train-size", type=int, default=96)
    a.add_argument("--width", type=int, default=32)
    a.add_argument("--batch", type=int, default=64)
    a.add_argument("--lr", type=float, default=2e-3)
    a.add_argument("--weight-decay", type=float, default=0.05)
    a.add_argument("--ema", type=float, default=0.995)
    a.add_argument("--seed", type=int, default=1)
    a.add_argument("--threads", type=int, default=os.cpu_count())
    a.add_argument("--bf16", action="store_true", help="bfloat16 arithmetic in training: faster where the CPU has it")
    args = a.parse_args()
    torch.set_num_threads(args.threads)

    files, left_out = list_files(args.data)
    training, held = [f for f in files if not f[2]], [f for f in files if f[2]]
    print(f"{len(training)} training images, {len(held)} held out, {left_out} copies left out", flush=True)
    if args.eval:
        model = ResNet(args.width)
        model.load_state_dict(load_file(args.eval), strict=False)
        report(model, held, *load(held))
        return
    x, y = load(training)
    model, seconds = train(args, x, y)
    print(f"\ntrained in {seconds / 60:.1f} min")
    print(f"training images, not augmented: {100 * accuracy(predict(model, x), y):.2f} %")
    top1 = report(model, held, *load(held))
    save(args.out, model, args, {"epoch": str(args.epochs), "held_out_top1": f"{top1:.4f}"})
    with open(os.path.join(os.path.dirname(os.path.abspath(args.out)), "classes.txt"), "w") as f:
        f.write("\n".join(CLASSES) + "\n")
    print(f"\nwrote {args.out}: {sum(v.numel() for v in model.parameters())} parameters")


if __name__ == "__main__":
    main()
