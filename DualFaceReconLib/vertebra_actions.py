"""What `dualface vertebra` does; it gives its exit code.

The engine is imported where it is used, so that --help and a wrong option answer at once.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from DualFaceReconLib.actions import agrees_to_replace, shown_progress
from DualFaceReconLib.errors import Refusal, worded

if TYPE_CHECKING:
    from DualFaceReconLib.film.acquisition import Overrides
    from DualFaceReconLib.vertebra.targets import VertebraTarget


def vertebra(options: argparse.Namespace) -> int:
    """Vertebrae of two films, AP and lateral: volume, surface, measurements, a picture and a report, in a folder."""
    from DualFaceReconLib.bundle.store import vertebra_bundle_folder
    from DualFaceReconLib.pictures.wording import TERMINAL, measured, words
    from DualFaceReconLib.vertebra.scale import read_films_of
    from DualFaceReconLib.vertebra_results import VERTEBRA, refuse_to_lose_vertebra, save_vertebra

    if options.scene:
        import DualFaceReconLib.scene  # noqa: F401  (refused before anything is computed where there is no Slicer)
    targets = _targets(options)
    folders = [options.out / target.level if options.points else options.out for target in targets]
    for folder in folders:
        refuse_to_lose_vertebra(folder, overwrite=True)  # before anybody is asked
    overwrite = options.overwrite or (len(folders) == 1 and agrees_to_replace(folders[0], VERTEBRA))
    for folder in folders:
        refuse_to_lose_vertebra(folder, overwrite)
    vertebra_bundle_folder(options.bundle)
    films = read_films_of(
        options.ap,
        options.lateral,
        targets,
        _overrides(options),
        angle_degrees=options.angle,
        lateral_faces=options.lateral_faces,
        same_patient=options.same_patient,
    )

    from DualFaceReconLib.vertebra.reconstruction import VertebraReconstructor  # seconds

    reconstructor = VertebraReconstructor(options.bundle, options.device)
    for target in targets:  # all of them, before the first is computed
        reconstructor.check(films, target)
    print(f"{reconstructor}. Research use only.")
    print(f"How good it is known to be: {reconstructor.network.manifest.measured}")
    for target, folder in zip(targets, folders, strict=True):
        with shown_progress() as progress:
            made = reconstructor.run(films, target, progress=progress)
        save_vertebra(made, folder, overwrite=overwrite, scene=options.scene)
        print(made)
        for name, value in made.measurements.items():
            print(f"{words(name):<24}{measured(value)}")
        for warning in made.warnings:
            print(f"WARNING  {worded(warning.text, TERMINAL)}")
        print(f"Result: {folder}  (look at picture.png)")
    return 0


def _targets(options: argparse.Namespace) -> list[VertebraTarget]:
    """What is wanted, by the command line or by a file."""
    from DualFaceReconLib.vertebra.targets import VertebraTarget, read_targets

    clicked = (options.level, options.centre_ap, options.centre_lateral, options.corners)
    if options.points is not None:
        if any(value is not None for value in clicked):
            raise Refusal("A vertebra and --points are given: the file has the levels and clicks of all.")
        return read_targets(options.points)
    if options.level is None:
        raise Refusal("Nothing says which vertebra it is: give its --level, such as L3.")
    corners = None
    if options.corners is not None:
        pairs = list(zip(options.corners[::2], options.corners[1::2], strict=True))
        corners = tuple(pairs[:4]), tuple(pairs[4:])
    return [
        VertebraTarget(
            level=options.level,
            centre_ap_px=None if options.centre_ap is None else tuple(options.centre_ap),
            centre_lateral_px=None if options.centre_lateral is None else tuple(options.centre_lateral),
            corners_ap_px=None if corners is None else corners[0],
            corners_lateral_px=None if corners is None else corners[1],
        )
    ]


def _overrides(options: argparse.Namespace) -> tuple[Overrides, Overrides]:
    """What the command line says of the AP film and of the lateral."""
    from DualFaceReconLib.film.acquisition import Overrides

    pitch, sdd, distance = (
        _of_both(values, flag)
        for values, flag in (
            (options.pixel_pitch, "--pixel-pitch"),
            (options.sdd, "--sdd"),
            (options.object_distance, "--object-distance"),
        )
    )
    return tuple(
        Overrides(
            pixel_pitch_mm=pitch[number],
            sdd_mm=sdd[number],
            object_distance_mm=distance[number],
            view=options.view if number == 0 else None,
            invert=options.invert in ("both", name),
        )
        for number, name in enumerate(("ap", "lateral"))
    )


def _of_both(values: Sequence[Any] | None, flag: str) -> tuple[Any, Any]:
    if values is None:
        return None, None
    if len(values) > 2:
        raise Refusal(f"{flag} has {len(values)} values: give one for both films, or that of the AP and the lateral.")
    return values[0], values[-1]
