"""The other side of `elucid bench --against`: the same network in PyTorch and ONNX Runtime.

A conversation over standard input and output. The first answer, one line of JSON, says which modules were found. Then
come the network's description (one line of JSON) and its weights and the image (raw little-endian f32), and then one
command a line, each answered by one line:

    ort, torch, torch-cl, lrp    milliseconds of one run
    check                        logits of each runtime, and the map
    layers-ort, layers-torch     milliseconds of every convolution by node
    resident, peak               resident memory in bytes, now and at most

Networks run as their users run them: PyTorch eagerly with BatchNorm as a layer of its own, ONNX Runtime on the exported
graph, fusing what it likes. The LRP is the procedure of the reference code of "Layer-Wise Relevance Propagation with
Conservation Property for ResNet" (ECCV 2024), written anew: it copies the network at every call, keeps the input of
every unit, goes back by the z+ rule with autograd's help, and splits relevance in proportion at every block, whose inner
activations it computes again. A split of 0/0 is halved where that code gives NaN.
"""

import sys

# The current folder is no place to import from.
sys.path[:] = [folder for folder in sys.path if folder]

import copy
import inspect
import io
import json
import logging
import os
import re
import tempfile
import time
from itertools import groupby

# Libraries that print must not disturb the conversation.
answers = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)
source = sys.stdin.buffer

EPS = 1e-5
REPEATS = 7


def answer(value):
    answers.write(json.dumps(value, allow_nan=False) + "\n")
    answers.flush()


def find(names):
    found, missing = {}, {}
    for name in names:
        try:
            found[name] = __import__(name)
        except ImportError as error:
            missing[name] = str(error)
        except Exception as error:  # A broken installation.
            missing[name] = f"{type(error).__name__}: {error}"
    return found, missing


only_memory = sys.argv[1:] == ["memory"]
modules, missing = find(["numpy", "torch"] if only_memory else ["numpy", "torch", "onnx", "onnxruntime"])
answer({"missing": missing, "versions": {n: getattr(m, "__version__", "?") for n, m in modules.items()}})
if "torch" not in modules or "numpy" not in modules:
    sys.exit(0)

logging.disable(logging.CRITICAL)
numpy, torch = modules["numpy"], modules["torch"]
from torch import nn
from torch.nn import functional as F


def floats(*shape):
    """The next numbers of the stream."""
    need = 4 * int(numpy.prod(shape))
    data = bytearray(need)
    view, done = memoryview(data), 0
    while done < need:
        count = source.readinto(view[done:])
        if not count:
            sys.exit("the network ended early")
        done += count
    return torch.from_numpy(numpy.frombuffer(data, dtype="<f4").reshape(shape))


class Subsample(nn.Module):
    """Every stride-th pixel, zero channels before and after."""

    def __init__(self, node):
        super().__init__()
        self.stride, self.pad = node["stride"], (0, 0, 0, 0, node["before"], node["after"])

    def forward(self, x):
        return F.pad(x[:, :, :: self.stride, :: self.stride], self.pad)


class Block(nn.Module):
    """`relu?(residual(x) + skip(x))`"""

    def __init__(self, residual, skip, relu):
        super().__init__()
        self.residual, self.skip = residual, skip
        self.relu = nn.ReLU(inplace=False) if relu else nn.Identity()

    def forward(self, x):
        return self.relu(self.residual(x) + self.skip(x))


def layers(node):
    """The PyTorch layers of a node; reads its weights from the stream."""
    op = node["op"]
    if op == "conv":
        conv = nn.Conv2d(node["ci"], node["co"], node["kernel"], node["stride"], node["pad"], bias=False)
        conv.weight = nn.Parameter(floats(node["co"], node["ci"], *node["kernel"]))
        made = [("conv", conv)]
        if node["scale"] or node["shift"]:
            norm = nn.BatchNorm2d(node["co"], eps=0.0)
            if node["scale"]:
                norm.weight = nn.Parameter(floats(node["co"]))
            if node["shift"]:
                norm.bias = nn.Parameter(floats(node["co"]))
            made.append(("norm", norm))
        return made + ([("relu", nn.ReLU(inplace=False))] if node["relu"] else [])
    if op == "linear":
        linear = nn.Linear(node["ci"], node["co"], bias=node["bias"])
        linear.weight = nn.Parameter(floats(node["co"], node["ci"]))
        if node["bias"]:
            linear.bias = nn.Parameter(floats(node["co"]))
        return [("linear", linear)]
    if op == "maxpool":
        return [("pool", nn.MaxPool2d(node["kernel"], node["stride"], node["pad"]))]
    if op == "avgpool":
        return [("pool", nn.AdaptiveAvgPool2d(1)), ("flat", nn.Flatten())]
    return [("subsample", Subsample(node))] if op == "subsample" else []


def chain(nodes, made, last, first):
    """The nodes from after `first` to `last` as one module."""
    path = []
    while last != first:
        path.append(last)
        last = nodes[last]["inputs"][0]
    parts = nn.Sequential()
    for index in reversed(path):
        for name, layer in made[index]:
            parts.add_module(f"n{index}_{name}", layer)
    return parts


def build(nodes):
    """A sequence of units: single layers and blocks. Names carry the number of the node: `n12_conv`."""
    made = [layers(node) for node in nodes]
    network, before = nn.Sequential(), 0
    for _, group in groupby(range(1, len(nodes)), key=lambda index: nodes[index]["segment"]):
        group = list(group)
        if nodes[group[-1]]["op"] == "add":
            residual, skip = nodes[group[-1]]["inputs"]
            block = Block(chain(nodes, made, residual, before), chain(nodes, made, skip, before), nodes[group[-1]]["relu"])
            network.add_module(f"n{group[-1]}_add", block)
        else:
            for name, layer in chain(nodes, made, group[-1], before).named_children():
                network.add_module(name, layer)
        before = group[-1]
    return network.eval()


def back(forward, a, r):
    """`a * gradient of forward at a` with `r / (forward(a) + eps)` as the gradient of the output."""
    a = a.detach().requires_grad_(True)
    with torch.enable_grad():
        z = forward(a) + EPS
        s = r / z
        (z * s.detach()).sum().backward()
    return a.detach() * a.grad


def relevance(layer, a, r):
    """Relevance of a layer's input `a` from that of its output."""
    if isinstance(layer, Block):
        return block_relevance(layer, a, r)
    if isinstance(layer, nn.Conv2d):
        weight = layer.weight.detach().clamp(min=0)
        return back(lambda x: F.conv2d(x, weight, None, layer.stride, layer.padding), a, r)
    if isinstance(layer, nn.Linear):
        weight = layer.weight.detach().clamp(min=0)
        return back(lambda x: F.linear(x, weight), a, r)
    if isinstance(layer, nn.MaxPool2d):
        return back(lambda x: F.avg_pool2d(x, layer.stride, layer.stride, ceil_mode=True), a, r)
    if isinstance(layer, nn.AdaptiveAvgPool2d):
        return back(layer, a, r)
    if isinstance(layer, nn.Flatten):
        return r.reshape(a.shape)
    if isinstance(layer, Subsample):
        x = a.detach().requires_grad_(True)
        with torch.enable_grad():
            return torch.autograd.grad(layer(x), x, r)[0]
    return r  # BatchNorm, ReLU


def run(parts, x):
    """The inputs of all parts, and the output."""
    inputs = []
    for part in parts:
        inputs.append(x)
        x = part(x)
    return inputs, x


def chain_relevance(parts, a, r):
    inputs, _ = run(parts, a)
    for layer, x in zip(reversed(list(parts)), reversed(inputs)):
        r = relevance(layer, x, r)
    return r


def block_relevance(block, a, r):
    m, s = block.residual(a).abs(), block.skip(a).abs()
    share = torch.nan_to_num(m / (m + s), nan=0.5)
    main = share * r
    return chain_relevance(block.residual, a, main) + chain_relevance(block.skip, a, r - main)


def explain(network, image):
    """The map [H, W] for the predicted class."""
    network = copy.deepcopy(network)
    with torch.no_grad():
        inputs, logits = run(network, image)
        inputs[0] = torch.ones_like(image)
        probability, index = logits.softmax(1).max(1)
        r = torch.zeros_like(logits)
        r[0, index] = probability
        for layer, a in zip(reversed(list(network)), reversed(inputs)):
            r = relevance(layer, a, r)
        return r.sum(1)[0]


def session_of(network, image, threads, profile=None):
    """ONNX Runtime on the exported network."""
    runtime, file = modules["onnxruntime"], io.BytesIO()
    choice = {"dynamo": False} if "dynamo" in inspect.signature(torch.onnx.export).parameters else {}
    with torch.no_grad():
        torch.onnx.export(network, (image,), file, opset_version=17, input_names=["image"], output_names=["logits"], **choice)
    options = runtime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Its threads must not spin into the time of the others.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    if profile:
        options.enable_profiling, options.profile_file_prefix = True, profile
    return runtime.InferenceSession(file.getvalue(), options, providers=["CPUExecutionProvider"])


def inferred(network, image):
    with torch.inference_mode():
        return network(image)


def timed(f):
    start = time.perf_counter()
    f()
    return (time.perf_counter() - start) * 1e3


def layers_torch(network, image):
    """The best time of every convolution and linear layer, by node."""
    best, started, hooks = {}, {}, []
    for path, layer in network.named_modules():
        node = re.search(r"n(\d+)_(conv|linear)$", path)
        if not node:
            continue
        node = node[1]

        def before(*_, node=node):
            started[node] = time.perf_counter()

        def after(*_, node=node):
            spent = (time.perf_counter() - started[node]) * 1e3
            best[node] = min(spent, best.get(node, spent))

        hooks += [layer.register_forward_pre_hook(before), layer.register_forward_hook(after)]
    for _ in range(REPEATS):
        inferred(network, image)
    for hook in hooks:
        hook.remove()
    return best


def node_of(name, nodes):
    """The node of a kernel in ONNX Runtime's profile. A fused one is named after the last thing fused into it."""
    found = re.search(r"n(\d+)_(conv|norm|relu|linear)", name)
    if found:
        return found[1]
    found = re.search(r"n(\d+)_add", name)
    return str(nodes[int(found[1])]["inputs"][0]) if found else None


def layers_ort(network, image, threads, nodes):
    """The same from ONNX Runtime's profile. What it fused into a convolution counts as the convolution."""
    best = {}
    with tempfile.TemporaryDirectory() as folder:
        session = session_of(network, image, threads, os.path.join(folder, "profile"))
        for _ in range(REPEATS):
            session.run(None, {"image": image.numpy()})
        with open(session.end_profiling(), encoding="utf-8") as file:
            events = json.load(file)
    for event in events:
        name = event.get("name", "")
        kind = event.get("args", {}).get("op_name", "")
        node = node_of(name, nodes)
        if name.endswith("_kernel_time") and node and ("Conv" in kind or "Gemm" in kind or "MatMul" in kind):
            spent = event["dur"] / 1e3
            best[node] = min(spent, best.get(node, spent))
    return best


def memory(key):
    """Bytes, where the system tells."""
    try:
        with open("/proc/self/status", encoding="ascii") as status:
            return next(int(line.split()[1]) * 1024 for line in status if line.startswith(key))
    except (OSError, StopIteration):
        return None


def main():
    description = json.loads(source.readline())
    threads = description["threads"]
    torch.set_num_threads(threads)
    network = build(description["nodes"])
    image = floats(1, 3, *description["image"])
    commands = {
        "lrp": lambda: timed(lambda: explain(network, image)),
        "resident": lambda: memory("VmRSS:"),
        "peak": lambda: memory("VmHWM:"),
    }
    if not only_memory:
        last = copy.deepcopy(network).to(memory_format=torch.channels_last)
        image_last = image.to(memory_format=torch.channels_last)
        logits = {"torch": lambda: inferred(network, image), "torch-cl": lambda: inferred(last, image_last)}
        commands["torch"] = lambda: timed(logits["torch"])
        commands["torch-cl"] = lambda: timed(logits["torch-cl"])
        commands["layers-torch"] = lambda: layers_torch(network, image)
        if not missing:
            session, feed = session_of(network, image, threads), {"image": image.numpy()}
            logits["ort"] = lambda: torch.from_numpy(session.run(None, feed)[0])
            commands["ort"] = lambda: timed(lambda: session.run(None, feed))
            commands["layers-ort"] = lambda: layers_ort(network, image, threads, description["nodes"])
        commands["check"] = lambda: {
            "logits": {name: f()[0].tolist() for name, f in logits.items()},
            "map": explain(network, image).flatten().tolist(),
        }
    answer("ready")
    for line in source:
        answer(commands[line.decode().strip()]())


try:
    main()
except KeyboardInterrupt:
    pass
except MemoryError:
    answer({"error": "out of memory"})
except Exception as error:
    first = (str(error).strip().splitlines() or [""])[0]
    answer({"error": f"{type(error).__name__}: {first}"})
