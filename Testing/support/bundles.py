"""Tiny made-up model bundles, and a server on this machine that gives them in good and in bad ways."""

import tempfile
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import torch

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import write_bundle
from DualFaceReconLib.bundle.manifest import Manifest
from DualFaceReconLib.framing import NOMINAL_OBJECT_DISTANCE_MM
from DualFaceReconLib.shape.shapemodel import ShapeModel


def manifest(**changed):
    """What a made-up bundle says of itself."""
    values = {
        "id": "made-up",
        "version": "1.0.0",
        "licence": "CC BY 4.0",
        "research_use": "For research; not for clinical use.",
        "trained_on": "nobody",
        "measured": "not at all",
        "bones": BONES,
        "faces": ("front", "back"),
        "input_px": (256, 320),
        "mm_per_pixel": 1.25,
        "nominal_object_distance_mm": NOMINAL_OBJECT_DISTANCE_MM,
        "object_distance_spread_mm": 35.0,
        "object_distance_source": "made up",
        "surface_error_mm": {"hip": 0.0, "femur": 0.0},
        "normalisation": {"low": 0.01, "high": 0.99},
        "networks": {
            "depth": {"settings": {"encoder": "made_up", "channels": [2, 3]}, "file": "depth.safetensors"},
            "segmentation": {"settings": {}, "file": "segmentation.safetensors"},
        },
        "shape_models": {"hip": "hip.ssm.npz", "femur": "femur.ssm.npz"},
    }
    return Manifest(**{**values, **changed})


def weights(seed=0):
    """State dicts whose numbers half precision holds exactly."""
    rng = np.random.default_rng(seed)

    def tensor(*shape):
        return torch.from_numpy(rng.normal(size=shape).astype(np.float16).astype(np.float32))

    return {
        "depth": {"stem.weight": tensor(3, 2), "stem.bias": tensor(3), "gain": tensor()},
        "segmentation": {"seg.weight": tensor(4, 500)},
    }


def shape_models(folder):
    """Files of shape models with a dozen vertices."""
    folder.mkdir(exist_ok=True)
    rng = np.random.default_rng(1)
    paths = {}
    for bone in ("hip", "femur"):
        modes = np.linalg.qr(rng.normal(size=(36, 2)))[0].reshape(12, 3, 2)
        triangles = rng.integers(0, 12, (20, 3))
        model = ShapeModel(
            bone=bone,
            mean=rng.normal(size=(12, 3)) * 40,
            modes=modes,
            variances=np.array([90.0, 10]),
            triangles=triangles,
            landmarks={},
            people=(),
            sources=(),
            licences=(),
        )
        paths[bone] = folder / f"{bone}.ssm.npz"
        model.save(paths[bone])
    return paths


def made_bundle(folder, seed=0, **changed):
    """Writes one; the folder."""
    with tempfile.TemporaryDirectory() as shapes:
        write_bundle(folder, manifest(**changed), weights(seed), shape_models(Path(shapes)))
    return folder


class Server(ThreadingHTTPServer):
    """Gives `content` under every address, or does what `way` says; remembers what it was asked."""

    def __init__(self, content, way):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.way = content, way
        self.asked = []  # headers of each request
        self.url = f"http://127.0.0.1:{self.server_port}/bundle.zip?key=SECRET"


@contextmanager
def serving(content, way="ranges"):
    """A server, in a thread, for as long as the block lasts."""
    with Server(content, way) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server, way = self.server, self.server.way
        server.asked.append(dict(self.headers))
        if way == "missing":
            return self._head(404)
        if "://" in way:
            return self._head(302, Location=way)
        begun, status = 0, 200
        if "Range" in self.headers and way != "no ranges":
            begun, status = int(self.headers["Range"].removeprefix("bytes=").removesuffix("-")), 206
            if begun >= len(server.content):
                return self._head(416)
        piece = server.content[begun:]
        headers = {"Content-Range": f"bytes {begun + (way == 'other piece')}-{len(server.content) - 1}/*"}
        if way != "no length":
            headers["Content-Length"] = str(len(piece))
        self._head(status, **(headers if status == 206 else {k: v for k, v in headers.items() if k != "Content-Range"}))
        self.wfile.write(piece[: len(piece) // 2] if way == "breaks" else piece)

    def _head(self, status, **headers):
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_):
        """Tests are quiet."""
