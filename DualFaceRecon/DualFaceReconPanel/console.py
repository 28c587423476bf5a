"""Bones of a film, or a vertebra of two, from the console: the engine runs in its own process, as for the panel."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import slicer
from slicer.i18n import tr as _

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.markers import Marker
from DualFaceReconLib.patient import FEWEST_FILMS
from DualFaceReconLib.scene import SceneRun, add_vertebra_to_scene, show_vertebra
from DualFaceReconLib.vertebra_results import load_vertebra
from DualFaceReconLib.worker.client import Client
from DualFaceReconLib.worker.protocol import Load, MakeVertebra, Open, OpenPair, Reconstruct
from DualFaceReconPanel.film_source import FilmSource, source_of_file, source_of_node
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
    together: bool = True,
    folder: str | Path | None = None,
    overwrite: bool = False,
    marker: Sequence[float] | None = None,
    **overrides: Any,
) -> SceneRun:
    """See `DualFaceReconLogic.reconstruct`; `folder` keeps the result's files, as `dualface reconstruct` does."""
    asked = {"completion": completion, "together": together}
    given = [overrides if marker is None else {**overrides, "marker": marker}]
    how = {"bundle": bundle, "device": device, "folder": folder, "overwrite": overwrite, "whole_femurs": whole_femurs}
    return _reconstructed([film], given, None if name is None else [name], asked, **how)[0]


def reconstruct_patient(
    films: Sequence[Any],
    names: Sequence[str] | None = None,
    *,
    given: Sequence[Mapping[str, Any]] | None = None,
    different_ids: bool = False,
    bundle: str | None = None,
    device: str | None = None,
    whole_femurs: bool = False,
    folder: str | Path | None = None,
    overwrite: bool = False,
) -> list[SceneRun]:
    """See `DualFaceReconLogic.reconstruct_patient`."""
    if len(films) < FEWEST_FILMS:
        raise Refusal(_("One film is no several films of a patient: name two or more."))
    given = [{} for _film in films] if given is None else given
    how = {"bundle": bundle, "device": device, "folder": folder, "overwrite": overwrite, "whole_femurs": whole_femurs}
    return _reconstructed(films, given, names, {"different_ids": different_ids}, **how)


def reconstruct_vertebra(
    ap: str | Path,
    lateral: str | Path,
    level: str,
    *,
    centre_ap: Sequence[float] | None = None,
    centre_lateral: Sequence[float] | None = None,
    corners_ap: Sequence[Sequence[float]] | None = None,
    corners_lateral: Sequence[Sequence[float]] | None = None,
    given_ap: Mapping[str, Any] | None = None,
    given_lateral: Mapping[str, Any] | None = None,
    bundle: str | None = None,
    device: str | None = None,
    folder: str | Path | None = None,
    overwrite: bool = False,
    **pair: Any,
) -> SceneRun:
    """See `DualFaceReconLogic.reconstruct_vertebra`; `pair` is what `OpenPair` has of both films."""
    packages = Packages()
    packages.refuse_missing()
    with tempfile.TemporaryDirectory(prefix="dualface-") as temporary, Client(packages=packages.path()) as engine:
        opened = engine.ask(
            OpenPair(
                str(ap),
                str(lateral),
                overrides_ap=dict(given_ap or {}),
                overrides_lateral=dict(given_lateral or {}),
                **pair,
            )
        )
        answer = engine.ask(
            MakeVertebra(
                opened["pair"],
                level,
                centre_ap,
                centre_lateral,
                corners_ap=corners_ap,
                corners_lateral=corners_lateral,
                bundle=bundle,
                device=device,
                folder=str(Path(temporary) / "result" if folder is None else folder),
                overwrite=overwrite,
            )
        )
        run = add_vertebra_to_scene(load_vertebra(Path(answer["folder"])))
        show_vertebra(run)
    slicer.app.processEvents()
    return run


def _reconstructed(
    films: Sequence[Any],
    given: Sequence[Mapping[str, Any]],
    names: Sequence[str] | None,
    asked: Mapping[str, Any],
    *,
    bundle: str | None,
    device: str | None,
    folder: str | Path | None,
    overwrite: bool,
    whole_femurs: bool,
) -> list[SceneRun]:
    """A run for each film, the first of which may have others of its patient beside it."""
    packages = Packages()
    packages.refuse_missing()
    with tempfile.TemporaryDirectory(prefix="dualface-") as temporary, Client(packages=packages.path()) as engine:
        sources = [
            source_of_file(str(film)) if isinstance(film, str | Path) else source_of_node(film, Path(temporary))
            for film in films
        ]
        opens = [_open(source, values) for source, values in zip(sources, given, strict=True)]
        opened = engine.ask(opens[0])
        if bundle is not None or device is not None:
            engine.ask(Load(bundle, device))
        result = Path(folder) if folder is not None else Path(temporary) / "result"
        answer = engine.ask(
            Reconstruct(
                opened["film"],
                others=tuple(asdict(other) for other in opens[1:]),
                whole_femurs=whole_femurs,
                folder=str(result),
                overwrite=overwrite,
                **asked,
            )
        )
        others = answer["others"] if len(opens) > 1 else []
        folders = [Path(own["folder"]) for own in (answer, *others)] if others else [result]
        films_as_opened = [opened, *others]
        titles = names or [source.title(own) for source, own in zip(sources, films_as_opened, strict=True)]
        runs = [
            add_result(own, asked_of(film), title, source.study)
            for own, film, title, source in zip(folders, films_as_opened, titles, sources, strict=True)
        ]
    slicer.app.processEvents()
    return runs


def _open(source: FilmSource, given: Mapping[str, Any]) -> Open:
    """What the engine is asked to read, with what is known better."""
    overrides = dict(given)
    marker = overrides.pop("marker", None)
    ball = None if marker is None else dict(zip(MARKER, map(float, marker), strict=True))
    return Open(str(source.path), overrides=overrides, marker=ball)
