"""Makes the .pth files of this folder and the safetensors file with the same values; README.md says what they are.

    pip install torch safetensors
    python make.py
"""

from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import nn

HERE = Path(__file__).resolve().parent


class Block(nn.Module):
    """A basic block with torchvision's names."""

    def __init__(self, channels_in, channels, stride):
        super().__init__()
        self.conv1 = nn.Conv2d(channels_in, channels, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.conv2 = nn.Conv2d(channels, channels, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        if channels_in != channels:
            conv = nn.Conv2d(channels_in, channels, 1, stride, bias=False)
            self.downsample = nn.Sequential(conv, nn.BatchNorm2d(channels))


class Network(nn.Module):
    """Two stages of one block, 2 and 3 channels, 3x3 stem, 3 classes. Only its state is used."""

    def __init__(self):
        super().__init__()
        self.conv1 = nn.Conv2d(3, 2, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(2)
        self.layer1 = nn.Sequential(Block(2, 2, 1))
        self.layer2 = nn.Sequential(Block(2, 3, 2))
        self.fc = nn.Linear(3, 3)


torch.manual_seed(20)
network = Network()
state = network.state_dict()
assert hasattr(state, "_metadata")  # an OrderedDict with an attribute, as torch.save finds it in ordinary use
for name, tensor in state.items():
    if name.endswith("num_batches_tracked"):
        tensor.fill_(7)
    elif name.endswith("running_var"):
        tensor.uniform_(0.5, 1.5)
    elif "bn" in name or "downsample.1" in name:
        tensor.uniform_(-1.0, 1.0)

# The same values, without the integers, for comparison.
floats = {k: v.contiguous() for k, v in state.items() if v.is_floating_point()}
save_file(floats, HERE / "twin.safetensors")

torch.save(state, HERE / "plain.pth")
torch.save(nn.DataParallel(network).state_dict(), HERE / "module.pth")
# Views: the first tensor is transposed and does not start at the beginning of its storage.
storage = torch.zeros(3 * 3 + 5)
fc = storage[5:].view(3, 3).t()
fc.copy_(state["fc.weight"])
torch.save({**state, "fc.weight": fc}, HERE / "strided.pth")
types = {"conv": torch.float16, "bn": torch.bfloat16, "fc": torch.float64}
kind = lambda k: next((t for part, t in types.items() if part in k), torch.float32)
torch.save({k: v.to(kind(k)) if v.is_floating_point() else v for k, v in state.items()}, HERE / "types.pth")
torch.save(dict(network.named_parameters()) | dict(network.named_buffers()), HERE / "parameters.pth")
torch.save({"epoch": 3, "state_dict": state, "args": {"lr": 0.1, "name": "x"},
            "optimizer": torch.optim.SGD(network.parameters(), 0.1, momentum=0.9).state_dict()}, HERE / "nested.pth")
# PyTorch's own ImageNet example keeps the best accuracy as a tensor beside the state dict.
torch.save({"epoch": 3, "arch": "resnet18", "state_dict": nn.DataParallel(network).state_dict(),
            "best_acc1": torch.tensor([55.0])}, HERE / "imagenet.pth")

# Files to be refused.
broken = dict(state)
broken["layer1.0.bn1.bias"] = torch.tensor([0.0, float("nan")])
torch.save(broken, HERE / "nan.pth")
torch.save(state, HERE / "legacy.pth", _use_new_zipfile_serialization=False)
torch.save(network, HERE / "whole.pth")
