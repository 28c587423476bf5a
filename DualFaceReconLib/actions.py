"""What the commands of `cli.py` do; each gives its exit code.

The engine is imported where it is used, so that --help and a wrong option answer at once.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from DualFaceReconLib.errors import Refusal, worded

if TYPE_CHECKING:
    from DualFaceReconLib.film.lengths import Length
    from DualFaceReconLib.film.radiograph import Radiograph
    from DualFaceReconLib.networks_apart import NetworksApart
    from DualFaceReconLib.outcome import Reconstruction

EXIT_REFUSED = 2
EXIT_INCOMPLETE = 3  # of a batch: some films were refused or failed
EXIT_STOPPED = 130  # as shells have it


def print_refusal(refusal: Refusal) -> None:
    """With the flags of this command."""
    from DualFaceReconLib.pictures.wording import TERMINAL

    print(f"dualface: {worded(refusal.text, TERMINAL)}", file=sys.stderr)


def inspect(options: argparse.Namespace) -> int:
    """What a film says about how it was taken."""
    from DualFaceReconLib.film.dicom_header import identity
    from DualFaceReconLib.film.dicom_pixels import read_dataset
    from DualFaceReconLib.pictures import drawing, inspection
    from DualFaceReconLib.pictures.wording import TERMINAL

    radiograph = _radiograph(options.file, options)
    patient = (
        identity(read_dataset(options.file, False))
        if options.show_identity and radiograph.file_format == "DICOM"
        else {}
    )
    if picture := options.picture:
        if picture.exists() and picture.samefile(options.file):
            raise Refusal("The picture would replace the film itself: choose another place with --picture.")
        drawing.save_png(inspection.picture(radiograph), picture)
    if options.json:
        where = {"picture": str(picture)} if picture else {}
        document = {**inspection.as_dict(radiograph), "identity": patient, **where}
        for warning in document["warnings"]:
            warning["text"] = worded(warning["text"], TERMINAL)
        print(json.dumps(document, indent=2))
        return 0
    for key, value in patient.items():
        print(f"{key}: {value}")
    print(inspection.as_text(radiograph))
    if picture:
        print(f"Picture: {picture}")
    return 0


def reconstruct(options: argparse.Namespace) -> int:
    """Bones of a radiograph: meshes, depth maps, a picture and a report, in a folder."""
    from DualFaceReconLib.later import leave_docstrings_of_scipy
    from DualFaceReconLib.networks_apart import networks_apart

    if options.scene:
        import DualFaceReconLib.scene  # noqa: F401  (refused before anything is computed where there is no Slicer)
    if options.different_ids and not options.one_patient:
        raise Refusal("--different-ids is about the films of one patient: say --one-patient, too.")
    with networks_apart(options.bundle, options.device) as networks:
        from DualFaceReconLib.film.decoding import begin_decoder  # with NumPy, after the longest has begun

        begin_decoder(options.files[0])
        leave_docstrings_of_scipy()
        return (_reconstruct_patient if options.one_patient else _reconstruct_films)(options, networks)


def _reconstruct_films(options: argparse.Namespace, networks: NetworksApart | None) -> int:
    """Each film by itself; `networks` are loaded meanwhile, or None: here."""
    from DualFaceReconLib.disk.folders import display_name, refuse_unwritable
    from DualFaceReconLib.document import DOCUMENT
    from DualFaceReconLib.results import refuse_to_lose, save

    if several := len(options.files) > 1:
        refuse_unwritable(options.out / DOCUMENT)
        if (options.out / DOCUMENT).is_file():
            raise Refusal(
                f"{display_name(options.out)} is a reconstruction itself: choose another folder for several films."
            )
    else:
        refuse_to_lose(options.out, overwrite=True)  # before anybody is asked
    overwrite = options.overwrite or (not several and agrees_to_replace(options.out, DOCUMENT))
    if not several:
        refuse_to_lose(options.out, overwrite)
    films = _films_with_targets(options, overwrite)
    if networks is not None:
        networks.begin(films[0][1])

    from DualFaceReconLib.reconstruction import Reconstructor  # seconds, after which nobody is asked or refused a name

    reconstructor = Reconstructor(options.bundle, options.device, networks)
    if networks is not None and options.completion and options.together:
        threading.Thread(target=reconstructor.prepare, daemon=True).start()  # while another process loads them
    print(f"{reconstructor}. Research use only.")
    for file, radiograph, folder in films:
        with _named(file, options):
            with shown_progress() as progress:
                reconstruction = reconstructor.run(
                    radiograph,
                    completion=options.completion,
                    whole_femurs=options.whole_femurs,
                    together=options.together,
                    progress=progress,
                )
            if networks is not None and file == films[-1][0]:
                threading.Thread(target=networks.end).start()  # it gives back its memory while the result is saved
            save(reconstruction, folder, overwrite=overwrite, scene=options.scene)
        _print_result(reconstruction, folder)
    return 0


def _reconstruct_patient(options: argparse.Namespace, networks: NetworksApart | None) -> int:
    """Several films of one patient, into one folder."""
    from DualFaceReconLib.film.patients import refuse_different_patients
    from DualFaceReconLib.patient import SURFACE, refuse_no_films_of_a_patient
    from DualFaceReconLib.patient_results import PATIENT, refuse_to_lose_patient, save_patient
    from DualFaceReconLib.pictures.wording import bone_words

    if not options.completion:
        raise Refusal("--no-completion leaves nothing that films of one patient could share: leave one of them out.")
    if options.marker is not None:
        raise Refusal("--marker says where a ball lies in one film, and there are several: give --object-distance.")
    refuse_to_lose_patient(options.out, overwrite=True)  # before anybody is asked
    overwrite = options.overwrite or agrees_to_replace(options.out, PATIENT)
    refuse_to_lose_patient(options.out, overwrite)
    radiographs = []
    for file in options.files:
        with _named(file, options):
            radiographs.append(_radiograph(file, options))
    refuse_no_films_of_a_patient(radiographs)
    unnamed = [] if options.different_ids else refuse_different_patients(options.files)

    from DualFaceReconLib.reconstruction import Reconstructor  # seconds, after which nobody is asked or refused a name

    reconstructor = Reconstructor(options.bundle, options.device, networks)
    print(f"{reconstructor}. Research use only.")
    with shown_progress() as progress:
        patient = reconstructor.run_patient(radiographs, whole_femurs=options.whole_femurs, progress=progress)
    folders = save_patient(patient, options.out, overwrite=overwrite, scene=options.scene)
    for number, (file, reconstruction, folder) in enumerate(zip(options.files, patient.films, folders, strict=True), 1):
        print(f"Film {number}: {file.name}")
        _print_result(reconstruction, folder)
        for certainty in patient.certainties:
            if certainty.film == number and certainty.what == SURFACE:
                print(
                    f"{bone_words(certainty.bone):<18}known to {certainty.all_films_mm:.1f} mm by all films, to "
                    f"{certainty.alone_mm:.1f} mm by this one alone"
                )
    for number in unnamed:
        print(f"WARNING  Film {number} names no patient: that it is of the same one is taken from you.")
    print(f"What each film added: {options.out / PATIENT}")
    return 0


def _print_result(reconstruction: Reconstruction, folder: Path) -> None:
    from DualFaceReconLib.pictures.wording import TERMINAL, bone_words

    print(reconstruction)
    for bone, verdict in reconstruction.verdicts.items():
        print(f"{bone_words(bone):<18}{verdict}")
    for warning in reconstruction.warnings:
        print(f"WARNING  {worded(warning.text, TERMINAL)}")
    print(f"Result: {folder}  (look at picture.png)")


def batch(options: argparse.Namespace) -> int:
    """Every film in a folder and the folders in it, whatever happens to one of them; the same command goes on."""
    from DualFaceReconLib.batch.run import Choices, run_batch
    from DualFaceReconLib.film.acquisition import Overrides
    from DualFaceReconLib.parallel.roads import road_to

    choices = Choices(
        bundle=options.bundle,
        device=options.device,
        completion=options.completion,
        whole_femurs=options.whole_femurs,
        together=options.together,
        keep_names=options.keep_names,
    )
    overrides = Overrides(**overrides_of(options))
    try:
        with road_to(options.scheduler, options.jobs, options.timeout) as road:
            outcome = run_batch(
                options.folder,
                options.out,
                overrides=overrides,
                table=options.table,
                choices=choices,
                dry_run=options.dry_run,
                road=road,
                retry=options.retry,
                say=_say,
            )
    except KeyboardInterrupt:
        print("dualface: Stopped; what is done is in the output, and the same command goes on.", file=sys.stderr)
        return EXIT_STOPPED
    _say(f"Nothing was written: {outcome}" if options.dry_run else f"{outcome}: see summary.csv in the output")
    return 0 if outcome.whole else EXIT_INCOMPLETE


def summary(options: argparse.Namespace) -> int:
    """One page on a batch: counts, verdicts, how measurements are spread, outliers, refused films by reason."""
    from DualFaceReconLib.batch.page import write_page

    print(f"Summary: {write_page(options.results, options.out)}")
    return 0


def models_list(options: argparse.Namespace) -> int:
    """The bundles that are here, and those that can be fetched."""
    from DualFaceReconLib.bundle.registry import registry
    from DualFaceReconLib.bundle.store import installed, models_folder
    from DualFaceReconLib.pictures.wording import TERMINAL

    here, fetchable = installed(), registry(options.registry)
    if options.json:
        bundles = [
            {
                **{"id": bundle.id, "version": bundle.version, "folder": str(bundle.folder), "ships": bundle.ships},
                "refusal": worded(bundle.refusal, TERMINAL) or None,
                "sha256": bundle.manifest and bundle.manifest.sha256,
                "manifest": bundle.manifest and dataclasses.asdict(bundle.manifest),
            }
            for bundle in here
        ]
        entries = [dataclasses.asdict(entry) for entry in fetchable]
        print(json.dumps({"folder": str(models_folder()), "installed": bundles, "fetchable": entries}, indent=2))
        return 0
    for bundle in here:
        print(f"{bundle.id} {bundle.version}  {'ships with DualFaceRecon' if bundle.ships else bundle.folder}")
        if manifest := bundle.manifest:
            print(f"  {manifest.content}; {_megabytes(manifest.size_bytes)}; {manifest.licence}")
            print(f"  {manifest.research_use}")
        else:
            print(f"  WARNING: {worded(bundle.refusal, TERMINAL)}")
    for entry in fetchable:
        if (entry.id, entry.version) not in {(bundle.id, bundle.version) for bundle in here}:
            print(f"{entry.id} {entry.version}  can be fetched, {_megabytes(entry.bytes)}")
    if not here:
        print(f"No bundle is here; your own lie in {models_folder()}.")
    return 0


def models_verify(options: argparse.Namespace) -> int:
    """Reads bundles and compares every byte with what was sealed."""
    from DualFaceReconLib.bundle.files import verify
    from DualFaceReconLib.bundle.store import find, installed

    names = [options.id] if options.id else [bundle.id for bundle in installed()]
    if not names:
        raise Refusal("No bundle is here: `dualface models list` shows what can be fetched.")
    damaged = 0
    for name in names:
        try:
            manifest = verify(find(name))
            size = f"{len(manifest.files)} files, {_megabytes(manifest.size_bytes)}"
            print(f"{manifest.id} {manifest.version} is sound: {size}")
        except Refusal as refusal:
            damaged += 1
            print_refusal(refusal)
    return EXIT_REFUSED if damaged else 0


def models_fetch(options: argparse.Namespace) -> int:
    """Fetches a bundle, goes on with one that was begun, and replaces an older version."""
    from DualFaceReconLib.bundle.fetch import fetch
    from DualFaceReconLib.bundle.registry import published
    from DualFaceReconLib.bundle.store import find

    def show(done: int, total: int) -> None:
        print(f"\r{_megabytes(done)} of {_megabytes(total)}", end="\n" if done == total else "", file=sys.stderr)

    entry = published(options.id, options.registry)
    try:
        manifest = fetch(entry, show) if sys.stderr.isatty() else fetch(entry)
    except KeyboardInterrupt as error:
        raise Refusal("Stopped: the same command goes on from here.") from error
    print(f"{manifest.id} {manifest.version} is here and sound: {find(manifest.id)}")
    return 0


def models_remove(options: argparse.Namespace) -> int:
    """Removes a fetched bundle, or what came of one so far."""
    from DualFaceReconLib.bundle.store import remove

    print(f"Removed {', '.join(remove(options.id)) or f'what had come of {options.id}'}.")
    return 0


def _radiograph(file: Path, options: argparse.Namespace) -> Radiograph:
    """A film with what the command line says of it."""
    from DualFaceReconLib.film.markers import Marker, with_marker
    from DualFaceReconLib.film.radiograph import read_radiograph

    radiograph = read_radiograph(file, **overrides_of(options))
    if getattr(options, "marker", None) is None:
        return radiograph
    row, col, diameter_px, diameter_mm = options.marker
    return with_marker(radiograph, Marker(row=row, col=col, diameter_px=diameter_px, diameter_mm=diameter_mm))


def _films_with_targets(options: argparse.Namespace, overwrite: bool) -> list[tuple[Path, Radiograph, Path]]:
    """Files with their films and the folders for them, all read and checked before the first is computed."""
    from DualFaceReconLib.results import refuse_to_lose

    films: dict[Path, tuple[Path, Radiograph, Path]] = {}
    for file in options.files:
        with _named(file, options):
            radiograph = _radiograph(file, options)
            folder = options.out / radiograph.pixel_hash if len(options.files) > 1 else options.out
            refuse_to_lose(folder, overwrite)
        if folder in films:
            raise Refusal(f"{films[folder][0]} and {file} hold the same picture: leave one of them out.")
        films[folder] = file, radiograph, folder
    return list(films.values())


@contextmanager
def _named(file: Path, options: argparse.Namespace) -> Iterator[None]:
    """Says which of several films is refused."""
    try:
        yield
    except Refusal as refusal:
        if len(options.files) == 1:
            raise
        raise Refusal(f"{file.name}: {refusal.text}", refusal.code, **refusal.values) from refusal


def overrides_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of films, by the readers' words."""
    return {
        "pixel_pitch_mm": options.pixel_pitch,
        "sdd_mm": options.sdd,
        "object_distance_mm": options.object_distance,
        "view": options.view,
        "swap_sides": options.swap_sides,
        "invert": options.invert,
        "length": None if options.length is None else _length(options.length, options.length_at),
        "field_px": None if options.field is None else tuple(options.field),
    }


def _length(numbers: Sequence[float], at: str | None) -> Length:
    from DualFaceReconLib.film.lengths import Length

    if at is None:
        raise Refusal("A length is given, but not where it lies: say --length-at detector or --length-at bones.")
    first_row, first_col, last_row, last_col, length_mm = numbers
    return Length(
        first_row=first_row, first_col=first_col, last_row=last_row, last_col=last_col, length_mm=length_mm, at=at
    )


def _say(words: str) -> None:
    """A line at once; where nobody reads any more, a long run goes on all the same."""
    try:
        print(words, flush=True)
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def agrees_to_replace(folder: Path, document: str) -> bool:
    """Asks, where somebody is there to answer and a result of that document is there."""
    if not (folder / document).is_file() or not sys.stdin.isatty():
        return False
    try:
        answer = input(f"{folder} holds a result already. Replace it? [y/N] ")
    except EOFError:  # Ctrl-D
        print()
        return False
    return answer.strip().lower() in ("y", "yes")


@contextmanager
def shown_progress() -> Iterator[Callable[[str, float], None]]:
    """A line that says how far it is and how long it will still take, where somebody watches."""
    if not sys.stderr.isatty():
        yield lambda stage, share: None
        return
    begun = time.monotonic()

    def show(stage: str, share: float) -> None:
        left = (time.monotonic() - begun) * (1 - share) / share if share > 0 else None
        words = f"{share:4.0%} {stage}" + ("" if left is None else f", about {left:.0f} s left")
        print(f"\r{words:<60}", end="", file=sys.stderr, flush=True)

    try:
        yield show
    finally:
        print(f"\r{'':<60}\r", end="", file=sys.stderr, flush=True)


def _megabytes(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
