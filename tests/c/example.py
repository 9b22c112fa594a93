#!/usr/bin/env python3
"""The C API from Python, by ctypes alone.

    python3 example.py libelucid.so MODEL.elucid WIDTH HEIGHT FRAME.rgb

Prints the explained class and the sum of its map.
"""

import ctypes as c
import struct
import sys


class Info(c.Structure):
    _fields_ = [("memory_bytes", c.c_size_t), ("work_bytes", c.c_size_t)] + [
        (name, c.c_uint32) for name in ("width", "height", "classes", "steps", "max_frame_width")
    ] + [("reserved", c.c_uint32 * 3)]


class Frame(c.Structure):
    _fields_ = [
        ("data", c.c_char_p), ("bytes", c.c_size_t), ("stride", c.c_size_t),
        ("chroma", c.c_char_p), ("chroma_bytes", c.c_size_t), ("chroma_stride", c.c_size_t),
        ("width", c.c_uint32), ("height", c.c_uint32), ("format", c.c_uint32), ("matrix", c.c_uint32),
    ]


class Picture(c.Structure):
    _fields_ = [
        ("data", c.c_void_p), ("bytes", c.c_size_t), ("stride", c.c_size_t),
        ("width", c.c_uint32), ("height", c.c_uint32), ("format", c.c_uint32), ("reserved", c.c_uint32),
    ]


class Result(c.Structure):
    _fields_ = [("predicted", c.c_uint32), ("target", c.c_uint32)] + [
        (name, c.c_float) for name in ("predicted_probability", "probability", "logit", "relevance")
    ]


PREDICTED, HEAT_F32 = -1, 16


def main(library, model_path, width, height, frame_path):
    lib = c.CDLL(library)
    lib.elucid_strerror.restype = c.c_char_p

    def check(status):
        if status:
            raise SystemExit(lib.elucid_strerror(status).decode())

    model = open(model_path, "rb").read()
    # bytes start 32 behind an address that is a multiple of 16
    model = (c.c_char * len(model)).from_buffer_copy(model)
    info, explainer, result = Info(), c.c_void_p(), Result()
    check(lib.elucid_measure(model, c.c_size_t(len(model)), None, None, c.c_size_t(0), c.byref(info)))
    memory = c.create_string_buffer(info.memory_bytes)
    check(lib.elucid_open(model, c.c_size_t(len(model)), None, memory, c.c_size_t(len(memory)), c.byref(explainer)))
    rgb = open(frame_path, "rb").read()
    frame = Frame(data=rgb, bytes=len(rgb), width=int(width), height=int(height))
    check(lib.elucid_explain(explainer, c.byref(frame), PREDICTED, c.byref(result)))
    heat = c.create_string_buffer(4 * info.width * info.height)
    picture = Picture(c.addressof(heat), len(heat), 0, info.width, info.height, HEAT_F32, 0)
    check(lib.elucid_heat(explainer, None, c.byref(picture)))
    check(lib.elucid_close(explainer))
    values = struct.unpack(f"{info.width * info.height}f", heat.raw)
    print(f"class {result.target} sum {sum(values):.6f} relevance {result.relevance:.6f}")


if __name__ == "__main__":
    main(*sys.argv[1:])
