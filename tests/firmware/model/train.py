#!/usr/bin/env python3
"""Train the firmware's model: the flowers of host/demo at 32x32, on a residual network that fits a microcontroller.

    python train.py --data FLOWERS -o flowers32.safetensors --threads 1

Data, split, augmentation and report are those of host/demo/train_flowers.py (see host/demo/README.md); only the size and the
network differ. The parameter names are those of torchvision's ResNets, with a 3x3 stem and three stages of one block.
"""

import os
import sys

import torch.nn as nn
import torch.nn.functional as F

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../../host/demo"))
import train_flowers as flowers  # noqa: E402


class Small(nn.Module):
    """3x3 stem, three basic blocks of 8, 16 and 32 channels: 20,000 parameters."""

    def __init__(self, width=8, classes=len(flowers.CLASSES)):
        super().__init__()
        self.conv1 = nn.Conv2d(3, width, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.layer1 = nn.Sequential(flowers.BasicBlock(width, width, 1))
        self.layer2 = nn.Sequential(flowers.BasicBlock(width, 2 * width, 2))
        self.layer3 = nn.Sequential(flowers.BasicBlock(2 * width, 4 * width, 2))
        self.fc = nn.Linear(4 * width, classes)
        for m in self.modules():
            if isinstance(m, nn.Conv2d):
                nn.init.kaiming_normal_(m.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x):
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer3(self.layer2(self.layer1(x)))
        return self.fc(x.mean((2, 3)))


def main():
    flowers.SIZE = 32
    flowers.ResNet = Small
    flowers.mix = lambda x, y, g: (x, F.one_hot(y, len(flowers.CLASSES)).float())  # too small to need mixing
    own = {"--width": "8", "--train-size": "32", "--epochs": "120", "--lr": "5e-3"}
    for option, value in own.items():
        if option not in sys.argv:
            sys.argv += [option, value]
    flowers.main()


if __name__ == "__main__":
    main()
