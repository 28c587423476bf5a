"""How long a cancelled worker goes on: python Testing/bench/worker.py [FILM]

The bundle that ships, on a film that ships, with the threads that this machine has. A reconstruction is cancelled at
moments spread over all of it, and saving it with a scene at some more; the longest wait for the answer is what a user
may have to wait. A pass through larger networks, and larger films, have stretches of their own: name one.
"""

from __future__ import annotations

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.worker.client import Client
from DualFaceReconLib.worker.protocol import Load, Open, Reconstruct, Request, Save

FILM = Path(__file__).parents[2] / "Resources" / "Samples" / "pelvis_1.dcm"
MOMENTS = 25


def main() -> None:
    film = sys.argv[1] if len(sys.argv) > 1 else str(FILM)
    print(f"{os.cpu_count()} cores; seconds")
    with Client() as worker, tempfile.TemporaryDirectory() as folder:
        begun = time.perf_counter()
        worker.ask(Load())
        print(f"cold start, bundle loaded  {time.perf_counter() - begun:6.2f}")
        for name, request in (("reading a film", lambda _: Open(film)), ("reconstruction", _reconstruct(worker, film))):
            _measured(worker, name, request)
        result = worker.ask(Reconstruct(worker.ask(Open(film))["film"]))["folder"]
        _measured(worker, "saving", lambda number: Save(result, f"{folder}/{number}"))
        _measured(worker, "saving with a scene", lambda number: Save(result, f"{folder}/{number} scene", scene=True))


def _reconstruct(worker: Client, film: str) -> Callable[[int], Request]:
    """Every time a film that no network has seen yet."""
    return lambda number: Reconstruct(worker.ask(Open(film, overrides={"sdd_mm": 1100 + number}))["film"])


def _measured(worker: Client, name: str, request: Callable[[int], Request]) -> None:
    """Prints how long it takes, and how long after a cancel it goes on: median and longest, and what was going on."""
    worker.ask(request(0))
    whole = _whole(worker, request(1))
    waits = [_wait(worker, request(2 + k), whole * (k + 0.5) / MOMENTS) for k in range(MOMENTS)]
    waits = sorted(wait for wait in waits if wait is not None)
    longest, stage = waits[-1]
    print(
        f"{name:<22} takes {whole:5.2f}; after a cancel: median {waits[len(waits) // 2][0]:.2f}, "
        f"longest {longest:.2f} ({stage}), of {len(waits)}"
    )


def _whole(worker: Client, request: Request) -> float:
    begun = time.perf_counter()
    worker.ask(request)
    return time.perf_counter() - begun


def _wait(worker: Client, request: Request, moment: float) -> tuple[float, str] | None:
    """Seconds from the cancel to the answer, and the stage; None where it was done before."""
    stage = ["waiting"]
    cancelled_at = []

    def cancel() -> None:
        cancelled_at.append((time.perf_counter(), stage[-1]))
        worker.cancel()

    clock = threading.Timer(moment, cancel)
    clock.start()
    try:
        worker.ask(request, progress=lambda words, share: stage.append(words))
    except Cancelled:
        return time.perf_counter() - cancelled_at[0][0], cancelled_at[0][1]
    finally:
        clock.cancel()
        clock.join()
    return None


if __name__ == "__main__":
    main()
