"""standin_engine.py FOLDER BEHAVIOUR_FOLDER: speaks the worker's protocol without the engine; see `panels.py`."""

import json
import os
import queue
import sys
import threading
import time
from pathlib import Path

place, behaviour = Path(sys.argv[1]), Path(sys.argv[2])
asked: queue.SimpleQueue = queue.SimpleQueue()
stopped: set = set()


def say(id: object, event: str, **values: object) -> None:
    sys.stdout.write(json.dumps({"id": id, "event": event, **values}) + "\n")
    sys.stdout.flush()


def read() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if request["request"] == "cancel":
            stopped.add("all")
            say(request["id"], "done", cancelled=[])
        else:
            asked.put(request)
    os._exit(0)


def about() -> dict:
    return {
        "bundle": {"id": "made-up", "version": "1.0", "sha256": "ab" * 32},
        "bones": ["hip_left", "hip_right", "femur_left", "femur_right"],
        "device": "cpu",
        "device_words": "CPU: no CUDA found",
    }


def opened(request: dict, how: dict) -> dict:
    film = json.loads(json.dumps(how["film"]))
    overrides = request["overrides"]
    for name in ("object_distance_mm", "sdd_mm"):
        if overrides.get(name):
            film["geometry"][name] = overrides[name]
    if overrides.get("swap_sides"):
        film["pixel_hash"] = film["pixel_hash"][::-1]
    film["pixel_hash"] += str(len(Path(request["path"]).name)) * (Path(request["path"]).name != "film.dcm")
    preview = Path(how["result"]) / "picture.png"
    pixels = Path(how["result"]) / "pixels.npy"
    return {
        "film": str(request["id"]),
        **film,
        "preview": {"path": str(preview), "size_px": [1, 1]},
        "pixels": str(pixels),
    }


def work(request: dict) -> None:
    how, id = json.loads((behaviour / "behaviour.json").read_text()), request["id"]
    with (behaviour / "asked.jsonl").open("a") as file:
        file.write(json.dumps(request) + "\n")
    for line in how.get("print", []):
        print(line, file=sys.stderr, flush=True)
    name = request["request"]
    if name == "open":
        if "refuse" in how:
            say(id, "refused", code="refused", text=how["refuse"], values={})
            return
        say(id, "done", **opened(request, how))
    elif name in ("reconstruct", "fetch"):
        request.setdefault("others", [])
        stopped.clear()
        for step in range(5):
            say(id, "progress", stage="completion", words="Completing the bones", share=step / 5)
            end = time.monotonic() + how.get("seconds", 0) / 5
            while time.monotonic() < end and not stopped:
                time.sleep(0.01)
            if stopped:
                say(id, "cancelled")
                return
            if how.get("die") and step == 2:
                os._exit(9)
        warnings = [{"code": "tilted", "text": "The pelvis is tilted."}]
        result = {"folder": how["result"], "warnings": warnings, "timings_s": {}}
        others = {"others": [result for _ in request["others"]]} if request["others"] else {}
        say(id, "done", networks="asked", **result, **others, **about())
    elif name in how.get("refusals", {}):
        say(id, "refused", code="refused", text=how["refusals"][name], values={})
    elif name in how.get("answers", {}):
        say(id, "done", **how["answers"][name])
    elif name == "hello" and "broken" in how:
        say(id, "refused", code="package-broken", text=how["broken"], values={"package": "torch"})
    else:
        time.sleep(how.get("loading_seconds", 0) if name == "load" else 0)
        say(id, "done", **about(), versions={})


say(None, "ready", pid=os.getpid(), protocol=1, version="0", folder=str(place))
threading.Thread(target=read, daemon=True).start()
while True:
    work(asked.get())
