"""A film's bones from the console or a script: the engine runs in its own process, as for the panel."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import slicer

from DualFaceReconLib.film.markers import Marker
from DualFaceReconLib.scene import SceneRun
from DualFaceReconLib.worker.client import Client
from DualFaceReconLib.worker.protocol import Load, Open, Reconstruct
from DualFaceReconPanel.film_source import source_of_file, source_of_node
from DualFaceReconPanel.packages import Packages
from DualFaceReconPanel.scene_results import add_result, asked_of

MARKER = tuple(field.name for field in fields(Marker))


def reconstruct(
    film: Any,
    name: str | None = None,
    *,
    bundle: str | None = None,
    device: str | None = None,
    completion: bool = True,
    whole_femurs: bool = False,
    together: bool = False,
    folder: str | Path | None = None,
    overwrite: bool = False,
    marker: Sequence[float] | None = None,
    **overrides: Any,
) -> SceneRun:
    """See `DualFaceReconLogic.reconstruct`; `folder` keeps the result's files, as `dualface reconstruct` does."""
    ball = None if marker is None else dict(zip(MARKER, map(float, marker), strict=True))
    packages = Packages()
    packages.refuse_missing()
    with tempfile.TemporaryDirectory(prefix="dualface-") as temporary, Client(packages=packages.path()) as engine:
        source = source_of_file(str(film)) if isinstance(film, str | Path) else source_of_node(film, Path(temporary))
        opened = engine.ask(Open(str(source.path), overrides=overrides, marker=ball))
        if bundle is not None or device is not None:
            engine.ask(Load(bundle, device))
        result = Path(folder) if folder is not None else Path(temporary) / "result"
        request = Reconstruct(
            opened["film"],
            completion=completion,
            whole_femurs=whole_femurs,
            together=together,
            folder=str(result),
            overwrite=overwrite,
        )
        engine.ask(request)
        run = add_result(result, asked_of(opened), name or source.title(opened), source.study)
    slicer.app.processEvents()
    return run
