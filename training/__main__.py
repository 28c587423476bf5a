"""`python -m training`: builds what the engine ships."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Refusal

EXIT_FLAGGED, EXIT_REFUSED = 1, 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done, 1 when a result is flagged, 2 when the input is refused."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except Refusal as refusal:
        print(f"training: {refusal}", file=sys.stderr)
        return EXIT_REFUSED


def register_bones(options: argparse.Namespace) -> int:
    """Registers every .ply bone of a folder to a template."""
    from training.anatomy.folder import register_folder

    options.out.mkdir(parents=True, exist_ok=True)
    rows = register_folder(options.bones, options.template, options.out, options.jobs, options.seed)
    flagged = [row for row in rows if row.flags]
    for row in flagged:
        print(f"FLAGGED {row.name}: {', '.join(row.flags)}")
    mean = sum(row.assd_mm for row in rows) / len(rows)
    print(f"{len(rows)} bones, mean ASSD {mean:.2f} mm, {len(flagged)} flagged. Table: {options.out / 'table.md'}")
    return EXIT_FLAGGED if flagged else 0


def build_models(options: argparse.Namespace) -> int:
    """Builds the shape models from the sets of real bones, with a table and pictures."""
    from training.anatomy.report import build_models

    try:
        print(build_models(options.bones, options.out, options.report))
    except FileNotFoundError as error:
        raise Refusal(str(error)) from error
    return 0


def measure_patients(options: argparse.Namespace) -> int:
    """Measures many virtual patients beside published adults."""
    from DualFaceReconLib.drawing import save_bytes
    from training.plausibility import table
    from training.population import load_population

    try:
        text = table(load_population(options.bones, options.cache), options.count)
    except FileNotFoundError as error:
        raise Refusal(str(error)) from error
    options.out.parent.mkdir(parents=True, exist_ok=True)
    save_bytes(text.encode(), options.out)
    print(text)
    return 0


def simulate_cases(options: argparse.Namespace) -> int:
    """Makes films of virtual patients, or of the people that all is judged by, with their truth, as cases."""
    from training.judging import make_judging_set
    from training.population import load_population
    from training.samples import make_samples
    from training.simulate import Series, contact_sheet, simulate

    wrong: list[str] = []
    try:
        if options.samples:
            folders, wrong = make_samples(options.bones, options.cache, options.out)
        elif options.judging:
            folders, wrong = make_judging_set(
                options.judging, options.bones, options.cache, options.out, options.jobs, options.world
            )
        elif options.count is None or options.seed is None:
            raise Refusal(
                "say how many films with --count and from which seed with --seed, or which --judging set, or --samples"
            )
        else:
            population = load_population(options.bones, options.cache, options.people, options.without)
            series = Series(options.seed, options.size, options.world, options.plain)
            folders = simulate(population, options.count, series, options.out, options.jobs)
    except (FileNotFoundError, ValueError) as error:
        raise Refusal(str(error)) from error
    contact_sheet(folders[:24], options.out / "contact_sheet.png")
    contact_sheet(folders[:6], options.out / "contact_sheet_large.png", columns=3, cell_px=720, outlined=False)
    print(f"{len(folders)} cases in {options.out}")
    for sentence in wrong:
        print(f"FLAGGED {sentence}", file=sys.stderr)
    return EXIT_FLAGGED if wrong else 0


def prepare_cts(options: argparse.Namespace) -> int:
    """Makes films of CTs with labelled bones, with their truth, as cases."""
    from training.ct import prepare, prepare_all
    from training.ct_files import LABELS
    from training.simulate import contact_sheet

    numbers = {**LABELS, **dict(_label(text) for text in options.labels)}
    if options.segmentation:
        cases = [prepare(options.ct, options.segmentation, options.out, options.seed, options.size, numbers)]
        rejected = []
    else:
        cases, rejected = prepare_all(options.ct, options.out, options.seed, options.size, numbers)
    if cases:
        contact_sheet(cases[:24], options.out / "contact_sheet.png", columns=min(len(cases), 6))
    print(f"{len(cases)} cases in {options.out}, {len(rejected)} rejected")
    return EXIT_FLAGGED if rejected else 0


def _label(text: str) -> tuple[str, int]:
    """A bone and its number in an image of labels, of "hip_left=77"."""
    from DualFaceReconLib.bonemaps import BONES

    bone, _, number = text.partition("=")
    if bone not in BONES or not number.isdigit() or int(number) == 0:
        raise Refusal(f"--labels takes {' '.join(f'{one}=NUMBER' for one in BONES)}, not {text!r}")
    return bone, int(number)


def train_network(options: argparse.Namespace) -> int:
    """Trains a network by a recipe, or goes on with a run that was cut."""
    from training.recipe import read_recipe
    from training.train import train

    recipe = read_recipe(options.recipe)
    if recipe.task == "pretrain":
        raise Refusal(f"{options.recipe.name} is a recipe for `training pretrain`")
    return _learnt(options, partial(train, recipe, encoder=options.encoder, last=options.last))


def finetune_network(options: argparse.Namespace) -> int:
    """Goes on training a bundle's network on your own cases, or goes on with such a run that was cut."""
    from training.cases import cases_in
    from training.finetune import finetune
    from training.recipe import read_recipe

    recipe = read_recipe(options.recipe)
    if recipe.task not in ("depth", "segmentation"):
        raise Refusal(f"{options.recipe.name} is a recipe for something else than a depth or a segmentation network")
    folders = cases_in(options.cases)
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some of your CTs with `python -m training prepare-ct`")

    def course(_bones: Path, _cache: Path, out: Path, workers: int, device: str, minutes: float | None) -> Path | None:
        return finetune(recipe, folders, options.bundle, out, workers, device, minutes)

    return _learnt(options, course)


def pretrain_encoder(options: argparse.Namespace) -> int:
    """Pretrains a depth network's encoder on films without labels, or goes on with a run that was cut."""
    from training.pretrain import pretrain
    from training.recipe import PretrainRecipe, read_recipe

    recipe = read_recipe(options.recipe)
    if not isinstance(recipe, PretrainRecipe):
        raise Refusal(f"{options.recipe.name} is a recipe for `training train`")
    return _learnt(options, partial(pretrain, recipe, folder=options.films))


def _learnt(options: argparse.Namespace, course: Callable[..., Path | None]) -> int:
    """Runs a training on the device that is asked for, or on what there is."""
    import torch

    from training.train import joined_by_torchrun, left_torchrun

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = joined_by_torchrun(device)
        done = course(options.bones, options.cache, options.out, options.workers, device, options.minutes)
    except (FileNotFoundError, ValueError) as error:
        raise Refusal(str(error)) from error
    finally:
        left_torchrun()
    print(f"done: {done}" if done else f"time is up: the same command goes on from {options.out / 'checkpoint'}")
    return 0


def bundle_networks(options: argparse.Namespace) -> int:
    """Puts finished networks and the shape models into a bundle."""
    from training.bundling import bundle

    runs = {"depth": options.depth, "segmentation": options.segmentation}
    if options.shift is not None:
        runs["shift"] = options.shift
    try:
        errors = dict(zip(("hip", "femur"), options.surface_error, strict=True))
        made = bundle(runs, options.models, options.out, options.id, options.version, options.measured, errors)
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error
    print(f"{made.id} {made.version}: {made.size_bytes / 1e6:.1f} MB in {options.out}")
    return 0


def judge_shift(options: argparse.Namespace) -> int:
    """Judges a shift head on kept-out people, at its training's distances and at others."""
    from training.shift import judge

    try:
        text, better = judge(options.run_folder, options.bones, options.cache, options.count, options.out)
    except (OSError, ValueError) as error:
        raise Refusal(str(error)) from error
    print(text)
    return 0 if better else EXIT_FLAGGED


def evaluate_cases(options: argparse.Namespace) -> int:
    """Measures cases by the ruler: the rows that need no network, and a bundle's networks."""
    from DualFaceReconLib.bundle_manifest import load_manifest
    from training.cases import cases_in
    from training.evaluate import evaluate
    from training.tables import write_tables

    folders = cases_in(options.cases)[:: options.every]
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    title = "Rows without a network"
    if options.bundle is not None:
        manifest = load_manifest(options.bundle)
        title = f"{manifest.id} {manifest.version}"
    evaluation = evaluate(folders, options.pixels, options.jobs, options.bundle)
    print(write_tables(evaluation, options.title or title, folders, options.bundle, options.out))
    return 0


def measure_certainty(options: argparse.Namespace) -> int:
    """Holds what completed bones say of their own certainty against the truth of cases."""
    from training.cases import cases_in
    from training.certainty import certainty

    folders = cases_in(options.cases)[:: options.every]
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    lines, missing = certainty(folders, options.bundle)
    print("\n".join(lines))
    print("what surface_error_mm lacks: " + ", ".join(f"{kind} {error:.2f} mm" for kind, error in missing.items()))
    return 0


def judge_in_folds(options: argparse.Namespace) -> int:
    """Trains by two recipes on all but a fold of the people, measures on the fold, and so for every fold."""
    import torch

    from training.folds import Machine, Measuring, judge_in_folds
    from training.population import load_everybody
    from training.recipe import read_recipe

    recipes = [read_recipe(path) for path in options.recipes]
    if recipes and [recipe.task for recipe in recipes] != ["depth", "segmentation"]:
        raise Refusal("give a recipe for a depth and one for a segmentation network, in this order, or none")
    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    measuring = Measuring(options.films, options.size, tuple(options.pixels))
    machine = Machine(device, options.workers, options.jobs)
    try:
        everybody = load_everybody(options.bones, options.cache)
        text = judge_in_folds(everybody, recipes, options.folds, measuring, machine, options.out, options.minutes)
    except (FileNotFoundError, ValueError) as error:
        raise Refusal(str(error)) from error
    print(text or f"time is up: the same command goes on from {options.out}")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Builds models. Research use only.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    anatomy = commands.add_parser("anatomy", help="bones -> correspondences -> shape models").add_subparsers(
        required=True, metavar="STEP"
    )
    registering = anatomy.add_parser("register", help=register_bones.__doc__, description=register_bones.__doc__)
    registering.add_argument("bones", type=Path, help="folder of .ply bones, at any depth")
    registering.add_argument("--template", type=Path, required=True, help="closed .ply mesh of the same bone and side")
    registering.add_argument("--out", type=Path, required=True, help="folder for results; what is done stays done")
    registering.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    registering.add_argument("--seed", type=int, default=0)
    registering.set_defaults(run=register_bones)
    building = anatomy.add_parser("models", help=build_models.__doc__, description=build_models.__doc__)
    building.add_argument("--bones", type=Path, default=Path("../shared/bones"), help="the sets of bones")
    building.add_argument("--out", type=Path, default=Path("Resources/Models"), help="folder for the models")
    building.add_argument("--report", type=Path, default=Path("out/models"), help="folder for pictures and figures")
    building.set_defaults(run=build_models)
    measuring = anatomy.add_parser("patients", help=measure_patients.__doc__, description=measure_patients.__doc__)
    measuring.add_argument("--count", type=int, default=500)
    measuring.add_argument("--out", type=Path, default=Path("out/patients.md"), help="the table")
    _with_bones(measuring)
    measuring.set_defaults(run=measure_patients)
    _simulating(commands)
    _training(commands)
    _bundling(commands)
    _judging_shift(commands)
    _preparing(commands)
    _evaluating(commands)
    _folding(commands)
    return parser


def _simulating(commands: Any) -> None:
    simulating = commands.add_parser("simulate", help=simulate_cases.__doc__, description=simulate_cases.__doc__)
    simulating.add_argument(
        "--judging", choices=["reported", "choosing", "varied"], help="a frozen set instead of a seed's"
    )
    simulating.add_argument("--samples", action="store_true", help="the films in Resources/Samples, with their truth")
    simulating.add_argument("--count", type=int)
    simulating.add_argument("--seed", type=int, help="of the set; case i of a seed is always the same")
    simulating.add_argument("--out", type=Path, required=True)
    simulating.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")
    simulating.add_argument(
        "--world", choices=["seen", "unseen"], default="seen", help="training never meets the second"
    )
    simulating.add_argument("--plain", action="store_true", help="nobody ill or with metal, nobody askew")
    simulating.add_argument("--people", nargs="*", default=[], help="of these alone, as set/person")
    simulating.add_argument("--without", nargs="*", default=[], help="of everybody but these")
    _with_bones(simulating)
    simulating.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    simulating.set_defaults(run=simulate_cases)


def _training(commands: Any) -> None:
    training = commands.add_parser("train", help=train_network.__doc__, description=train_network.__doc__)
    training.add_argument(
        "--encoder",
        type=Path,
        metavar="FILE",
        help="encoder.safetensors that `pretrain` wrote; for a shift head network.safetensors of a depth network",
    )
    training.add_argument(
        "--last", type=int, metavar="EPOCH", help="end there, before the recipe does: the rate falls to 0 from here on"
    )
    _with_loop(training)
    training.set_defaults(run=train_network)
    tuning = commands.add_parser("finetune", help=finetune_network.__doc__, description=finetune_network.__doc__)
    tuning.add_argument("--cases", type=Path, required=True, help="folder of cases, at any depth")
    tuning.add_argument("--bundle", type=Path, help="folder of the bundle to start from (default: from nothing)")
    _with_loop(tuning)
    tuning.set_defaults(run=finetune_network)
    pretraining = commands.add_parser("pretrain", help=pretrain_encoder.__doc__, description=pretrain_encoder.__doc__)
    pretraining.add_argument("--films", type=Path, metavar="FOLDER", help="your own films instead of simulated ones")
    _with_loop(pretraining)
    pretraining.set_defaults(run=pretrain_encoder)


def _with_loop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("recipe", type=Path, help="a file of training/recipes")
    _with_learning(parser)


def _with_learning(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder; what is there goes on")
    parser.add_argument("--minutes", type=float, help="end at the epoch in which they are over; go on another time")
    parser.add_argument("--device", help="cuda or cpu (default: cuda where there is one)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make films")
    _with_bones(parser)


def _bundling(commands: Any) -> None:
    bundling = commands.add_parser("bundle", help=bundle_networks.__doc__, description=bundle_networks.__doc__)
    bundling.add_argument("--depth", type=Path, required=True, help="folder of a finished run")
    bundling.add_argument("--segmentation", type=Path, required=True, help="folder of a finished run")
    bundling.add_argument("--shift", type=Path, help="folder of a finished run, where `training shift` found it good")
    bundling.add_argument("--models", type=Path, default=Path("Resources/Models"), help="folder of the shape models")
    bundling.add_argument("--out", type=Path, required=True, help="the bundle's folder")
    bundling.add_argument("--id", required=True, help="lower-case letters and digits, joined by hyphens")
    bundling.add_argument("--version", required=True, help="such as 1.0.0")
    bundling.add_argument("--measured", required=True, help="how good it is known to be, and on whom")
    bundling.add_argument(
        "--surface-error",
        type=float,
        nargs=2,
        default=(0.0, 0.0),
        metavar=("HIP", "FEMUR"),
        help="mm, as `certainty` measures it with a bundle that was told none (default: none)",
    )
    bundling.set_defaults(run=bundle_networks)


def _with_bones(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bones", type=Path, default=Path("../shared/bones"), help="the sets of bones")
    parser.add_argument("--cache", type=Path, default=Path("out/people"), help="where correspondences are kept")


def _judging_shift(commands: Any) -> None:
    judging = commands.add_parser("shift", help=judge_shift.__doc__, description=judge_shift.__doc__)
    judging.add_argument("run_folder", type=Path, metavar="RUN", help="folder of a finished run")
    judging.add_argument("--count", type=int, default=200, help="patients, each on a film at both distances")
    judging.add_argument("--out", type=Path, required=True, help="folder for the table and the picture")
    _with_bones(judging)
    judging.set_defaults(run=judge_shift)


def _preparing(commands: Any) -> None:
    preparing = commands.add_parser("prepare-ct", help=prepare_cts.__doc__, description=prepare_cts.__doc__)
    preparing.add_argument("ct", type=Path, help="a CT's file or DICOM folder, or a folder with a subfolder for each")
    preparing.add_argument("segmentation", type=Path, nargs="?", help="its label map, or a folder of masks by bone")
    preparing.add_argument("--out", type=Path, required=True, help="folder of cases, and of rejected.json")
    preparing.add_argument("--labels", nargs="*", default=[], metavar="BONE=NUMBER", help="default: TotalSegmentator 2")
    preparing.add_argument("--seed", type=int, default=0, help="of the rig and the film; a CT has one of each seed")
    preparing.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")
    preparing.set_defaults(run=prepare_cts)


def _evaluating(commands: Any) -> None:
    evaluating = commands.add_parser("evaluate", help=evaluate_cases.__doc__, description=evaluate_cases.__doc__)
    evaluating.add_argument("cases", type=Path, help="folder of cases, at any depth")
    evaluating.add_argument("--out", type=Path, required=True, help="folder for tables and figures")
    evaluating.add_argument("--bundle", type=Path, help="folder of a bundle, whose networks are measured, too")
    evaluating.add_argument("--pixels", type=int, nargs="+", default=[256, 512, 1024], help="films' longer sides")
    evaluating.add_argument("--every", type=int, default=1, help="only every so many cases, for a quick look")
    evaluating.add_argument("--title", help="of the tables (default: the bundle's name)")
    evaluating.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    evaluating.set_defaults(run=evaluate_cases)
    certainty = commands.add_parser("certainty", help=measure_certainty.__doc__, description=measure_certainty.__doc__)
    certainty.add_argument("cases", type=Path, help="folder of cases, at any depth")
    certainty.add_argument("--bundle", type=Path, required=True, help="folder of a bundle")
    certainty.add_argument("--every", type=int, default=1, help="only every so many cases")
    certainty.set_defaults(run=measure_certainty)


def _folding(commands: Any) -> None:
    folding = commands.add_parser("folds", help=judge_in_folds.__doc__, description=judge_in_folds.__doc__)
    folding.add_argument(
        "recipes", type=Path, nargs="*", help="of a depth and a segmentation network; none: rows without networks"
    )
    folding.add_argument("--folds", type=int, default=4, help="the paper has four (default: 4)")
    folding.add_argument("--films", type=int, default=4, help="of each person (default: 4)")
    folding.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")
    folding.add_argument("--pixels", type=int, nargs="+", default=[256, 512, 1024], help="maps' longer sides")
    _with_learning(folding)
    folding.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that measure")
    folding.set_defaults(run=judge_in_folds)


if __name__ == "__main__":
    sys.exit(main())
