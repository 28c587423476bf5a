"""What the commands of `python -m training` do; modules are imported where they are needed, as some take seconds."""

from __future__ import annotations

import argparse
import json
import math
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from DualFaceReconLib.errors import Refusal

if TYPE_CHECKING:
    from DualFaceReconLib.parallel.work import Road
    from training.learning.run import Machine, Run

EXIT_FLAGGED = 1  # done, but something is not as it should be
FROM_HEADER = "header, else the population mean"  # a row of `distance`


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

    print(build_models(options.bones, options.out, options.report))
    return 0


def measure_patients(options: argparse.Namespace) -> int:
    """Measures many virtual patients beside published adults."""
    from DualFaceReconLib.disk.files import write_text
    from training.patients.plausibility import table
    from training.patients.population import load_population

    population = load_population(options.bones, options.cache)
    text = "\n".join(table(population, options.count, shapes) for shapes in ("usual", "wide"))
    options.out.parent.mkdir(parents=True, exist_ok=True)
    write_text(options.out, text)
    print(text)
    return 0


def simulate_cases(options: argparse.Namespace) -> int:
    """Makes films of virtual patients, or of the people that all is judged by, with their truth, as cases."""
    from training.judging.frozen import make_frozen_set
    from training.patients.population import load_population
    from training.samples import make_samples
    from training.simulate import Series, contact_sheet, simulate

    differences: list[str] = []
    if options.samples:
        folders, differences = make_samples(options.bones, options.cache, options.out)
    elif options.judging:
        with _cluster(options) as road:
            folders, differences = make_frozen_set(
                options.judging, options.bones, options.cache, options.out, options.jobs, options.world, road=road
            )
    elif options.count is None or options.seed is None:
        raise Refusal(
            "say how many films with --count and from which seed with --seed, or which --judging set, or --samples"
        )
    else:
        population = load_population(options.bones, options.cache, options.people, options.without)
        series = Series(
            seed=options.seed,
            size_px=options.size,
            world=options.world,
            plain=options.plain,
            posture=options.posture,
            postures=options.films_each,
            views=tuple(options.views),
            variety=options.variety,
            shapes=options.shapes,
        )
        with _cluster(options) as road:
            folders = simulate(population, options.count, series, options.out, options.jobs, road=road)
    contact_sheet(folders[:24], options.out / "contact_sheet.png")
    contact_sheet(folders[:6], options.out / "contact_sheet_large.png", columns=3, cell_px=720, outlined=False)
    print(f"{len(folders)} cases in {options.out}")
    for sentence in differences:
        print(f"FLAGGED {sentence}", file=sys.stderr)
    return EXIT_FLAGGED if differences else 0


@contextmanager
def _cluster(options: argparse.Namespace) -> Iterator[Road | None]:
    """The road of the cluster that is asked for, or None."""
    from DualFaceReconLib.parallel.roads import road_to

    if options.scheduler is None:
        yield None
        return
    with road_to(options.scheduler, options.jobs, math.inf) as road:
        yield road


def prepare_cts(options: argparse.Namespace) -> int:
    """Makes films of CTs with labelled bones, with their truth, as cases."""
    from training.ct.files import LABELS
    from training.ct.prepare import prepare, prepare_all
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
        raise Refusal(f"--labels takes {' '.join(f'{name}=NUMBER' for name in BONES)}, not {text!r}")
    return bone, int(number)


def train_network(options: argparse.Namespace) -> int:
    """Trains a network by a recipe, or networks by several on the same films, or goes on with a run that was cut."""
    from training.learning.films import virtual_patients
    from training.learning.learner import Plan
    from training.learning.recipe import OF_VERTEBRAE, read_recipe
    from training.learning.train import train_together

    recipes = [read_recipe(path) for path in options.recipes]
    for path, recipe in zip(options.recipes, recipes, strict=True):
        if recipe.task == "pretrain" or recipe.task in OF_VERTEBRAE:
            command = "vertebrae train" if recipe.task in OF_VERTEBRAE else "pretrain"
            raise Refusal(f"{path.name} is a recipe for `training {command}`.")
    tasks = [recipe.task for recipe in recipes]
    if len(set(tasks)) < len(tasks):
        raise Refusal(f"Recipes that learn together are for different tasks, not {' and '.join(tasks)}.")
    starts = options.start or [None] * len(recipes)
    if len(starts) != len(recipes):
        raise Refusal("--start takes a file for each recipe, in their order.")
    plans = [
        Plan(
            recipe=recipe,
            out=options.out / recipe.task if len(recipes) > 1 else options.out,
            encoder=options.encoder if recipe.task == "depth" or len(recipes) == 1 else None,
            bundle=options.bundle,
            weights=weights,
        )
        for recipe, weights in zip(recipes, starts, strict=True)
    ]

    def learn(run: Run) -> list[Path] | None:
        source = virtual_patients(recipes[0], options.bones, options.cache, run.say)
        return train_together(plans, source, run)

    return _learnt(options, learn)


def pack_training(options: argparse.Namespace) -> int:
    """Packs all that training needs into files for a machine without a network, where `unpack.py` unpacks them."""
    from training.learning.pack import pack
    from training.patients.population import load_everybody

    load_everybody(options.bones, options.cache)  # as they are kept from now on
    everybody = load_everybody(options.bones, options.cache)
    if options.vertebrae is None:
        files = pack(everybody, options.out, options.warp, options.part_mb)
    else:
        from training.vertebrae.correspondence import PACKED, load_groups, notices, save_groups
        from training.vertebrae.pelvis import PACKED as PELVES
        from training.vertebrae.pelvis import read_pelves, save_pelves

        groups = load_groups(options.vertebrae, options.vertebrae_cache)
        with tempfile.TemporaryDirectory() as folder:
            save_groups(groups, Path(folder) / PACKED)
            also = {f"out/vertebrae/{PACKED}": Path(folder) / PACKED}
            save_pelves(read_pelves(options.bones), Path(folder) / PELVES)
            also[f"out/bones/{PELVES}"] = Path(folder) / PELVES
            files = pack(everybody, options.out, options.warp, options.part_mb, also=also, owed=notices(groups))
    print(f"{sum(file.stat().st_size for file in files) / 1e6:.1f} MB in {len(files)} files in {options.out}")
    return 0


def finetune_network(options: argparse.Namespace) -> int:
    """Goes on training a bundle's network on your own cases, or goes on with such a run that was cut."""
    from training.cases import cases_in
    from training.learning.finetune import own_cases
    from training.learning.recipe import read_recipe
    from training.learning.train import train

    recipe = read_recipe(options.recipe)
    if recipe.task not in ("depth", "segmentation"):
        raise Refusal(f"{options.recipe.name} is a recipe for something else than a depth or a segmentation network.")
    folders = cases_in(options.cases)
    if not folders:
        raise Refusal(f"No cases in {options.cases}: make some of your CTs with `python -m training prepare-ct`.")
    return _learnt(options, lambda run: train(recipe, own_cases(recipe, folders, run.say), run, bundle=options.bundle))


def pretrain_encoder(options: argparse.Namespace) -> int:
    """Pretrains a depth network's encoder on films without labels, or goes on with a run that was cut."""
    from training.learning.films import virtual_patients
    from training.learning.pretrain import own_films, unlabelled
    from training.learning.recipe import PretrainRecipe, read_recipe
    from training.learning.train import train

    recipe = read_recipe(options.recipe)
    if not isinstance(recipe, PretrainRecipe):
        raise Refusal(f"{options.recipe.name} is a recipe for `training train`.")

    def learn(run: Run) -> Path | None:
        if options.films is not None:
            source = own_films(recipe, options.films, run.say)
        else:
            source = unlabelled(virtual_patients(recipe, options.bones, options.cache, run.say))
        return train(recipe, source, run)

    return _learnt(options, learn)


def train_on_vertebrae(options: argparse.Namespace) -> int:
    """Trains EAR or one of its rivals by a recipe on films of virtual vertebrae, or goes on with a run that was cut."""
    from training.learning.recipe import OF_VERTEBRAE, read_recipe
    from training.learning.train import train
    from training.vertebrae.source import kept_vertebrae, virtual_vertebrae

    recipe = read_recipe(options.recipe)
    if recipe.task not in OF_VERTEBRAE:
        raise Refusal(f"{options.recipe.name} is a recipe of hips: take training/recipes/ear_small.toml or another.")

    def learn(run: Run) -> Path | None:
        if options.studies is not None:
            return train(recipe, kept_vertebrae(recipe, options.studies), run)
        return train(recipe, virtual_vertebrae(recipe, options.vertebrae, options.cache, run.say), run)

    return _learnt(options, learn)


def _learnt(options: argparse.Namespace, learn: Callable[[Run], Path | list[Path] | None]) -> int:
    """Runs a training on the machine that is asked for, with the processes that torchrun started."""
    from training.learning.run import Run
    from training.learning.torchrun import joined_by_torchrun, torchrun_place

    machine = _machine(options)
    with joined_by_torchrun(machine.device):
        done = learn(Run(options.out, machine, options.minutes, options.last, parts_mb=options.parts_mb))
    files = done if isinstance(done, list) else [done] if done else []
    for file in files:
        print(f"done: {file}")
    if not files and torchrun_place()[0] == 0:
        print(f"time is up: the same command goes on from what is in {options.out}")
    return 0


def _machine(options: argparse.Namespace, jobs: int = 1) -> Machine:
    """The device that is asked for, or CUDA where there is one, and how many processes."""
    import torch

    from DualFaceReconLib.inference import usable_device
    from training.learning.run import Machine

    device = options.device or ("cuda" if torch.cuda.is_available() else "cpu")
    return Machine(usable_device(device), options.workers, jobs)


def bundle_networks(options: argparse.Namespace) -> int:
    """Puts finished networks and the shape models into a bundle."""
    from training.learning.bundling import bundle

    runs = {"depth": options.depth, "segmentation": options.segmentation}
    errors = dict(zip(("hip", "femur"), options.surface_error, strict=True))
    names = options.id, options.version, options.measured
    made = bundle(runs, options.models, options.out, *names, errors, options.bits)
    print(f"{made.id} {made.version}: {made.size_bytes / 1e6:.1f} MB in {options.out}")
    return 0


def ship_networks(options: argparse.Namespace) -> int:
    """Makes a bundle of finished networks, and every table of it; goes on where it was cut."""
    from training.judging.shipping import Shipment, ship

    text, flaws = ship(
        Shipment(
            runs=options.runs,
            films=options.films,
            out=options.out,
            models=options.models,
            id=options.id,
            version=options.version,
            bits=options.bits,
            most=options.most,
            report=options.report,
            beside=options.beside,
            jobs=options.jobs,
        )
    )
    print(text)
    for sentence in flaws:
        print(f"FLAGGED {sentence}", file=sys.stderr)
    return EXIT_FLAGGED if flaws else 0


def publish_bundle(options: argparse.Namespace) -> int:
    """Packs a bundle into the archive that `dualface models fetch` loads, and prints its entry for a registry."""
    from DualFaceReconLib.bundle.archives import pack

    entry = pack(options.bundle, options.archive, options.url)
    print(json.dumps(asdict(entry), indent=1))
    return 0


def judge_refusals(options: argparse.Namespace) -> int:
    """What of hips of every state and of other pictures is refused, and how surely."""
    from DualFaceReconLib.reconstruction import Reconstructor
    from training.judging.refusal_subjects import subjects
    from training.judging.refusals import judge
    from training.patients.kept_out import kept_out_people
    from training.patients.population import load_population

    population = load_population(options.bones, options.cache, kept_out_people("choosing"))
    pictures = list(subjects(options.films, population, options.hips, options.others))
    text, _ = judge(pictures, Reconstructor(options.bundle), options.out)
    print(text)
    return 0


def judge_letters(options: argparse.Namespace) -> int:
    """How well the letters R and L are read in simulated films, as they are and mirrored."""
    from training.judging.letters import letters_table

    print(letters_table(options.films))
    return 0


def judge_distance(options: argparse.Namespace) -> int:
    """Judges the object distance that the product takes of a header, at usual and unusual distances."""
    from training.judging.distance import from_header, judge
    from training.patients.kept_out import kept_out_people
    from training.patients.population import load_population

    population = load_population(options.bones, options.cache, kept_out_people("choosing"))
    text, useful = judge(from_header, FROM_HEADER, population, options.count, options.out)
    print(text)
    return 0 if useful else EXIT_FLAGGED


def evaluate_cases(options: argparse.Namespace) -> int:
    """Measures cases by the ruler: the rows that need no network, and a bundle's networks."""
    from DualFaceReconLib.bundle.manifest import load_manifest
    from training.cases import cases_in
    from training.judging.evaluate import evaluate
    from training.judging.tables import write_tables

    folders = cases_in(options.cases)[:: options.every]
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    title = "Rows without a network"
    if options.bundle is not None:
        manifest = load_manifest(options.bundle)
        title = f"{manifest.id} {manifest.version}"
    emd, kept = not options.without_emd, options.out / "measured"
    with _cluster(options) as road:
        evaluation = evaluate(folders, options.pixels, options.jobs, options.bundle, emd=emd, kept=kept, road=road)
    print(write_tables(evaluation, options.title or title, folders, options.bundle, options.out))
    return 0


def judge_together(options: argparse.Namespace) -> int:
    """Measures bones that are completed all at once beside each alone, by shape models without the films' people."""
    from DualFaceReconLib.pictures.drawing import save_png
    from DualFaceReconLib.shape.shapemodel import load_shape_model, load_shape_models
    from training.cases import cases_in
    from training.judging.folds import models_without
    from training.judging.map_errors import hips_alike, measure
    from training.judging.patients import judge_patients
    from training.judging.together import judge
    from training.judging.worst import worst_femora
    from training.patients.kept_out import kept_out_people
    from training.patients.population import load_everybody

    folders = cases_in(options.cases)[:: options.every]
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    models = options.out / "models"
    if not all((models / f"{kind}.ssm.npz").exists() for kind in ("hip", "femur")):
        models_without(load_everybody(options.bones, options.cache), kept_out_people("choosing"), models)
    if options.measure:
        hips = load_everybody(options.bones, options.cache).hips
        print(measure(folders, options.bundle))
        print(hips_alike(hips.without(set(kept_out_people("choosing"))), load_shape_model(models / "hip.ssm.npz")))
        return 0
    out = options.out / options.cases.name
    if options.films_each is not None:
        print(judge_patients(folders, options.films_each, options.bundle, models, out))
    else:
        print(judge(folders, options.bundle, models, out))
        picture = worst_femora(folders, options.bundle, load_shape_models(models), out)
        save_png(picture, out.with_name(f"{out.name}_worst.png"))
    return 0


def measure_certainty(options: argparse.Namespace) -> int:
    """Holds what completed bones say of their own certainty against the truth of cases."""
    from training.cases import cases_in
    from training.judging.certainty import certainty

    folders = cases_in(options.cases)[:: options.every]
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    lines, missing = certainty(folders, options.bundle)
    print("\n".join(lines))
    print("what surface_error_mm lacks: " + ", ".join(f"{kind} {error:.2f} mm" for kind, error in missing.items()))
    return 0


def judge_verdicts(options: argparse.Namespace) -> int:
    """Holds bones' verdicts against the truth of cases, on films as they are and spoilt on purpose."""
    from DualFaceReconLib.disk.files import write_text
    from training.cases import cases_in
    from training.judging.doubts import as_markdown, judge

    folders = cases_in(options.cases)
    if not folders:
        raise Refusal(f"no cases in {options.cases}: make some with `python -m training simulate`")
    if options.sheet is not None:
        from DualFaceReconLib.pictures.drawing import save_png
        from training.judging.spoilt_sheet import spoilt_sheet

        if not 0 <= options.sheet < len(folders):
            raise Refusal(f"There is no case {options.sheet} in {options.cases}: give 0 to {len(folders) - 1}.")
        options.out.mkdir(parents=True, exist_ok=True)
        save_png(spoilt_sheet(folders[options.sheet], options.sheet, options.bundle), options.out / "spoilt.png")
    text = as_markdown(judge(folders, options.bundle, options.out, options.every))
    write_text(options.out / "verdicts.md", text)
    print(text)
    return 0


def judge_in_folds(options: argparse.Namespace) -> int:
    """Trains by two recipes on all but a fold of the people, measures on the fold, and so for every fold."""
    from training.judging.folds import Measuring, judge_in_folds
    from training.learning.recipe import TimeLearning, read_recipe
    from training.learning.run import Run
    from training.patients.population import load_everybody

    recipes = [read_recipe(path) for path in options.recipes]
    if recipes and [recipe.task for recipe in recipes] != ["depth", "segmentation"]:
        raise Refusal("Give a recipe for a depth and one for a segmentation network, in this order, or none.")
    if any(isinstance(recipe.learning, TimeLearning) for recipe in recipes):
        raise Refusal("Folds take recipes by epochs: by time, one training would leave nothing for the next.")
    measuring = Measuring(options.films, options.size, tuple(options.pixels))
    run = Run(options.out, _machine(options, options.jobs), options.minutes)
    everybody = load_everybody(options.bones, options.cache)
    text = judge_in_folds(everybody, recipes, options.folds, measuring, run)
    print(text or f"time is up: the same command goes on from {options.out}")
    return 0


def compare_arms(options: argparse.Namespace) -> int:
    """Trains the arms of the paper's Table 1 on the same films, and says which of its claims hold; goes on if cut."""
    from training.judging.arms import read_arms
    from training.judging.turns import learn_by_turns
    from training.learning.films import virtual_patients
    from training.learning.run import Run

    arms, judged = read_arms(options.recipe), None
    if not options.without_judging:
        from training.cases import cases_in  # with SimpleITK and VTK, which learning does without
        from training.judging.claims import Judged, judge_claims, judged_cases

        judged = Judged(out=options.out, cases=cases_in(options.cases), bundle=options.bundle, jobs=options.jobs)
        judged_cases(judged.cases, arms.comparing.judged)  # before hours of learning
    run = Run(options.out, _machine(options, options.jobs), options.minutes)
    done = learn_by_turns(arms, lambda recipe: virtual_patients(recipe, options.bones, options.cache, print), run)
    print("everything is learnt" if done else f"time is up: the same command goes on from what is in {options.out}")
    if judged is not None:
        print(judge_claims(arms, judged, options.page, options.chart))
    return 0
