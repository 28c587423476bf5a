"""One process has a bundle's networks on a GPU and asks them for several films at a time; others do the rest of films.

    with shared_networks(folder, "cuda") as place:      # where the batch is run
        networks = networks_at(place)                   # in a process that does films; stands in for `load_networks`

While the networks are at some films, others wait; then they are asked for all that wait. What networks see of a film is
the same but for the last digits, in which a GPU's sums hang on how many films are asked for together.
"""

from __future__ import annotations

import multiprocessing
import os
import secrets
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from multiprocessing import connection as connections
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from DualFaceReconLib.bundle.manifest import hip_manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.inference import Networks, load_networks

MOST_REQUESTS = 8  # of films, each with its mirror image, in one pass
LOOK_S = 0.05  # how soon a process that has just come is heard
GONE = "The process that has the networks has ended: the same command goes on."


@dataclass(frozen=True)
class Place:
    """Where networks can be asked."""

    address: Any
    key: bytes = field(repr=False)
    folder: Path  # of the bundle
    device: str
    process: int  # its id


@contextmanager
def shared_networks(folder: Path, device: str) -> Iterator[Place]:
    """Networks in a process of their own; an error of loading them is raised."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    key = secrets.token_bytes(32)
    process = context.Process(target=_serve, args=(theirs, key, folder, device), daemon=True)
    process.start()
    theirs.close()
    try:
        answer = ours.recv()
    except EOFError as error:
        raise Refusal(GONE) from error
    if isinstance(answer, Exception):
        raise answer
    try:
        yield Place(answer, key, folder, device, process.pid)
    finally:
        ours.close()
        process.join(5)
        process.kill()


def networks_at(place: Place) -> Networks:
    """Networks that are asked in another process."""
    try:
        asked = Client(place.address, authkey=place.key)
    except OSError as error:
        raise Refusal(GONE) from error
    return Networks(
        manifest=hip_manifest(place.folder),
        depth=_Elsewhere("depth", asked),
        segmentation=_Elsewhere("segmentation", asked),
        device=place.device,
        elsewhere=True,
    )


class _Elsewhere(nn.Module):
    """A network of another process."""

    def __init__(self, name: str, asked: Connection) -> None:
        super().__init__()
        self._name, self._asked = name, asked

    def forward(self, films: Tensor) -> Tensor:
        """As the network itself, of films (B, 1, n, n) in this process's memory."""
        try:
            self._asked.send((self._name, films.numpy()))
            answer = self._asked.recv()
        except (EOFError, OSError):
            sys.exit(GONE)  # no film can be done here any more
        if isinstance(answer, Exception):
            raise answer
        return torch.from_numpy(answer)


def answers(networks: Networks, requests: Sequence[tuple[str, np.ndarray]]) -> list[np.ndarray]:
    """What networks say of films (B, 1, n, n); all films of a network in one pass."""
    outputs: list[np.ndarray] = [np.empty(0)] * len(requests)
    for name in {name for name, _ in requests}:
        numbers = [number for number, (asked, _) in enumerate(requests) if asked == name]
        films = torch.from_numpy(np.concatenate([requests[number][1] for number in numbers]))
        with torch.inference_mode():
            seen = getattr(networks, name)(films.to(networks.device)).float().cpu().numpy()
        ends = np.cumsum([len(requests[number][1]) for number in numbers])[:-1]
        for number, output in zip(numbers, np.split(seen, ends), strict=True):
            outputs[number] = output
    return outputs


# In the process


def _serve(parent: Connection, key: bytes, folder: Path, device: str) -> None:
    """Answers whoever comes until the parent is gone."""
    try:
        networks = load_networks(folder, device)
        listener = Listener(authkey=key)
    except Exception as error:
        parent.send(error)
        return
    parent.send(listener.address)
    coming: list[Connection] = []
    threading.Thread(target=_accept, args=(listener, coming), daemon=True).start()
    with suppress(KeyboardInterrupt):
        while True:
            waiting = connections.wait([parent, *coming], LOOK_S)
            if parent in waiting:  # it says nothing but that it is gone
                os._exit(0)
            _answer(networks, [asking for asking in waiting if asking is not parent][:MOST_REQUESTS], coming)


def _accept(listener: Listener, coming: list[Connection]) -> None:
    while True:
        with suppress(OSError, EOFError, multiprocessing.AuthenticationError):
            coming.append(listener.accept())


def _answer(networks: Networks, asking: list[Connection], coming: list[Connection]) -> None:
    """Answers those who ask; who has gone is forgotten."""
    requests = []
    for process in list(asking):
        try:
            requests.append(process.recv())
        except (EOFError, OSError):
            asking.remove(process)
            coming.remove(process)
    if not requests:
        return
    outputs = _tried(networks, requests)
    if len(requests) > 1 and any(isinstance(output, torch.OutOfMemoryError) for output in outputs):
        outputs = [output for request in requests for output in _tried(networks, [request])]
    for process, output in zip(asking, outputs, strict=True):
        with suppress(OSError):
            process.send(output)


def _tried(networks: Networks, requests: Sequence[tuple[str, np.ndarray]]) -> Sequence[Any]:
    """The answers, or the error that there is in their place."""
    try:
        return answers(networks, requests)
    except Exception as error:
        return [error] * len(requests)
