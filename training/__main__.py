"""`python -m training`: builds what the engine ships. Here are the arguments, in `actions.py` is what they do."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.parallel.work import scheduler_address
from training import actions
from training.vertebrae import actions as vertebra_actions

EXIT_REFUSED = 2


def main(arguments: Sequence[str] | None = None) -> int:
    """0 when done, 1 when a result is flagged, 2 when the input is refused."""
    options = _parser().parse_args(arguments)
    try:
        return options.run(options)
    except Refusal as refusal:
        print(f"training: {refusal}", file=sys.stderr)
        return EXIT_REFUSED


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m training", description="Builds models. Research use only.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    anatomy = commands.add_parser("anatomy", help="bones -> correspondences -> shape models").add_subparsers(
        required=True, metavar="STEP"
    )
    registering = _command(anatomy, "register", actions.register_bones)
    registering.add_argument("bones", type=Path, help="folder of .ply bones, at any depth")
    registering.add_argument("--template", type=Path, required=True, help="closed .ply mesh of the same bone and side")
    registering.add_argument("--out", type=Path, required=True, help="folder for results; what is done stays done")
    registering.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    registering.add_argument("--seed", type=int, default=0)
    building = _command(anatomy, "models", actions.build_models)
    building.add_argument("--bones", type=Path, default=Path("../shared/bones"), help="the sets of bones")
    building.add_argument("--out", type=Path, default=Path("Resources/Models"), help="folder for the models")
    building.add_argument("--report", type=Path, default=Path("out/models"), help="folder for pictures and figures")
    measuring = _command(anatomy, "patients", actions.measure_patients)
    measuring.add_argument("--count", type=int, default=500)
    measuring.add_argument("--out", type=Path, default=Path("out/patients.md"), help="the table")
    _with_bones(measuring)
    _simulating(commands)
    _training(commands)
    _packing(commands)
    _bundling(commands)
    _judging_distance(commands)
    _preparing(commands)
    _evaluating(commands)
    _folding(commands)
    _claiming(commands)
    _with_vertebrae(commands)
    return parser


def _command(commands: Any, name: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    """A command that runs a function, and is explained by its docstring."""
    command = commands.add_parser(name, help=run.__doc__, description=run.__doc__)
    command.set_defaults(run=run)
    return command


def _simulating(commands: Any) -> None:
    simulating = _command(commands, "simulate", actions.simulate_cases)
    simulating.add_argument(
        "--judging",
        choices=["reported", "supine", "choosing", "wide", "varied"],
        help="a frozen set instead of a seed's",
    )
    simulating.add_argument("--samples", action="store_true", help="the films in Resources/Samples, with their truth")
    simulating.add_argument("--count", type=int)
    simulating.add_argument("--seed", type=int, help="of the set; case i of a seed is always the same")
    simulating.add_argument("--out", type=Path, required=True)
    simulating.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")
    simulating.add_argument(
        "--world", choices=["seen", "unseen"], default="seen", help="training never meets the second"
    )
    simulating.add_argument(
        "--posture",
        choices=["usual", "wide", "oblique", "frog-leg"],
        default="usual",
        help="how patients lie; training has the wide one",
    )
    simulating.add_argument(
        "--variety", choices=["usual", "wide"], default="usual", help="what films show; training has the wide one"
    )
    simulating.add_argument(
        "--shapes",
        choices=["usual", "one-size", "wide"],
        default="usual",
        help="how unlike bones are; wide: femora as people's, by what is published",
    )
    simulating.add_argument("--plain", action="store_true", help="nobody ill or with metal, nobody askew")
    simulating.add_argument(
        "--films-each", type=int, default=1, metavar="N", help="films in a row of one person, in other postures each"
    )
    simulating.add_argument(
        "--views",
        nargs="+",
        choices=["ap", "oblique", "frog-leg"],
        default=["ap"],
        help="of a person's films in turn (default: ap, all in the posture above)",
    )
    simulating.add_argument("--people", nargs="*", default=[], help="of these alone, as set/person")
    simulating.add_argument("--without", nargs="*", default=[], help="of everybody but these")
    _with_bones(simulating)
    simulating.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    _with_scheduler(simulating)


def _with_scheduler(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--scheduler",
        type=scheduler_address,
        metavar="ADDRESS",
        help='of a Dask cluster that does the cases, tcp://HOST:PORT; "local": one of --jobs workers on this machine',
    )


def _training(commands: Any) -> None:
    training = _command(commands, "train", actions.train_network)
    training.add_argument(
        "recipes", type=Path, nargs="+", metavar="recipe", help="files of training/recipes, of the same films"
    )
    training.add_argument("--encoder", type=Path, metavar="FILE", help="encoder.safetensors that `pretrain` wrote")
    training.add_argument("--bundle", type=Path, help="folder of a bundle whose network it begins with")
    training.add_argument(
        "--start",
        type=Path,
        nargs="+",
        metavar="FILE",
        help="network.safetensors of another run or of a checkpoint, or its first part, for each recipe",
    )
    _with_loop(training)
    _with_bones(training)
    tuning = _command(commands, "finetune", actions.finetune_network)
    tuning.add_argument("--cases", type=Path, required=True, help="folder of cases, at any depth")
    tuning.add_argument("--bundle", type=Path, help="folder of the bundle to start from (default: from nothing)")
    tuning.add_argument("recipe", type=Path, help="a file of training/recipes")
    _with_loop(tuning)
    pretraining = _command(commands, "pretrain", actions.pretrain_encoder)
    pretraining.add_argument("--films", type=Path, metavar="FOLDER", help="your own films instead of simulated ones")
    pretraining.add_argument("recipe", type=Path, help="a file of training/recipes")
    _with_loop(pretraining)
    _with_bones(pretraining)


def _with_loop(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--last", type=int, metavar="EPOCH", help="end there, before the recipe does: the rate falls to 0 from here on"
    )
    parser.add_argument(
        "--parts-mb", type=float, metavar="MB", help="leave the finished weights in parts of this size as well"
    )
    _with_run(parser)


def _with_run(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--out", type=Path, required=True, help="folder; what is there goes on")
    parser.add_argument(
        "--minutes", type=float, help="a recipe by time is finished in as many; by epochs: go on another time"
    )
    parser.add_argument("--device", help="cuda or cpu (default: cuda where there is one)")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1, help="processes that make films")


def _packing(commands: Any) -> None:
    packing = _command(commands, "pack", actions.pack_training)
    packing.add_argument("--out", type=Path, required=True, help="folder of files to carry to the other machine")
    packing.add_argument("--warp", action="store_true", help="take warp-lang along, for Linux on x86-64")
    packing.add_argument("--part-mb", type=float, default=60.0, help="most MB of a file (default: 60)")
    packing.add_argument("--vertebrae", type=Path, metavar="FOLDER", help="take vertebrae along, of these sets")
    packing.add_argument(
        "--vertebrae-cache", type=Path, default=Path("out/vertebrae"), help="where their correspondences are kept"
    )
    _with_bones(packing)


def _bundling(commands: Any) -> None:
    bundling = _command(commands, "bundle", actions.bundle_networks)
    bundling.add_argument("--depth", type=Path, required=True, help="folder of a finished run")
    bundling.add_argument("--segmentation", type=Path, required=True, help="folder of a finished run")
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
        help="mm, as `certainty` measures it with a bundle that has none (default: none)",
    )
    bundling.add_argument("--bits", type=int, choices=[8, 16], default=8, help="of large tensors' weights (default: 8)")

    shipping = _command(commands, "ship", actions.ship_networks)
    shipping.add_argument("runs", type=Path, help="folder of the finished runs depth/ and segmentation/")
    shipping.add_argument("--films", type=Path, required=True, help="folder of the frozen sets, a folder each")
    shipping.add_argument("--out", type=Path, required=True, help="folder for the bundle and all tables")
    shipping.add_argument("--id", required=True, help="lower-case letters and digits, joined by hyphens")
    shipping.add_argument("--version", required=True, help="such as 1.0.0")
    shipping.add_argument("--models", type=Path, default=Path("Resources/Models"), help="folder of the shape models")
    shipping.add_argument("--bits", type=int, choices=[8, 16], default=8, help="of large tensors' weights (default: 8)")
    shipping.add_argument("--most", type=int, default=36, help="about so many films of a set (default: 36)")
    shipping.add_argument(
        "--report", action="store_true", help="measure reported, supine and unseen, too: once, at the end"
    )
    shipping.add_argument("--beside", type=Path, help="folder of another bundle's tables, a folder for each set")
    shipping.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")

    publishing = _command(commands, "publish", actions.publish_bundle)
    publishing.add_argument("bundle", type=Path, help="a bundle's folder")
    publishing.add_argument("archive", type=Path, help="the .zip file to write; the same bytes each time")
    publishing.add_argument("--url", required=True, help="where it will be fetched from")


def _with_bones(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--bones", type=Path, default=Path("../shared/bones"), help="the sets of bones")
    parser.add_argument("--cache", type=Path, default=Path("out/people"), help="where correspondences are kept")


def _judging_distance(commands: Any) -> None:
    judging = _command(commands, "distance", actions.judge_distance)
    judging.add_argument("--count", type=int, default=200, help="patients, each on a film at both distances")
    judging.add_argument("--out", type=Path, required=True, help="folder for the table and the picture")
    _with_bones(judging)


def _preparing(commands: Any) -> None:
    preparing = _command(commands, "prepare-ct", actions.prepare_cts)
    preparing.add_argument("ct", type=Path, help="a CT's file or DICOM folder, or a folder with a subfolder for each")
    preparing.add_argument("segmentation", type=Path, nargs="?", help="its label map, or a folder of masks by bone")
    preparing.add_argument("--out", type=Path, required=True, help="folder of cases, and of rejected.json")
    preparing.add_argument("--labels", nargs="*", default=[], metavar="BONE=NUMBER", help="default: TotalSegmentator 2")
    preparing.add_argument("--seed", type=int, default=0, help="of the rig and the film; a CT has one of each seed")
    preparing.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")


def _evaluating(commands: Any) -> None:
    evaluating = _command(commands, "evaluate", actions.evaluate_cases)
    evaluating.add_argument("cases", type=Path, help="folder of cases, at any depth")
    evaluating.add_argument(
        "--out", type=Path, required=True, help="folder for tables and figures; what is there goes on"
    )
    evaluating.add_argument("--bundle", type=Path, help="folder of a bundle, whose networks are measured, too")
    evaluating.add_argument("--pixels", type=int, nargs="+", default=[256, 512, 1024], help="films' longer sides")
    evaluating.add_argument("--every", type=int, default=1, help="only every so many cases, for a quick look")
    evaluating.add_argument("--without-emd", action="store_true", help="the slowest of the figures left out")
    evaluating.add_argument("--title", help="of the tables (default: the bundle's name)")
    evaluating.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes (default: all cores)")
    _with_scheduler(evaluating)
    refusals = _command(commands, "refusals", actions.judge_refusals)
    refusals.add_argument("films", type=Path, help="folder of the frozen sets varied, wide and choosing")
    refusals.add_argument("--out", type=Path, required=True, help="folder for rows, table and sheet; goes on there")
    refusals.add_argument("--bundle", type=Path, help="folder of a bundle (default: the one that ships)")
    refusals.add_argument("--hips", type=int, default=12, help="about so many pictures of a kind of hips (default: 12)")
    refusals.add_argument("--others", type=int, default=8, help="so many of a kind of others (default: 8)")
    _with_bones(refusals)
    letters = _command(commands, "letters", actions.judge_letters)
    letters.add_argument("films", type=Path, help="folder of simulated films, a folder for each set")
    certainty = _command(commands, "certainty", actions.measure_certainty)
    certainty.add_argument("cases", type=Path, help="folder of cases, at any depth")
    certainty.add_argument("--bundle", type=Path, required=True, help="folder of a bundle")
    certainty.add_argument("--every", type=int, default=1, help="only every so many cases")
    joint = _command(commands, "joint", actions.judge_together)
    joint.add_argument("cases", type=Path, help="folder of cases of a frozen set, called as the set")
    joint.add_argument("--bundle", type=Path, default=Path("Resources/Models"), help="folder of a bundle")
    joint.add_argument("--out", type=Path, required=True, help="folder for models and tables; what is there goes on")
    joint.add_argument("--every", type=int, default=1, help="only every so many cases")
    joint.add_argument(
        "--films-each",
        type=int,
        metavar="N",
        help="so many films in a row are of one person: judge them with each other",
    )
    joint.add_argument("--measure", action="store_true", help="print the variances that all this rests on instead")
    _with_bones(joint)
    verdicts = _command(commands, "verdicts", actions.judge_verdicts)
    verdicts.add_argument("cases", type=Path, help="folder of cases, at any depth")
    verdicts.add_argument("--bundle", type=Path, required=True, help="folder of a bundle")
    verdicts.add_argument("--out", type=Path, required=True, help="folder for the tables; what is there goes on")
    verdicts.add_argument("--every", type=int, default=1, help="only every so many cases")
    verdicts.add_argument("--sheet", type=int, metavar="NUMBER", help="draw this case's film in all ways, too")


def _folding(commands: Any) -> None:
    folding = _command(commands, "folds", actions.judge_in_folds)
    folding.add_argument(
        "recipes", type=Path, nargs="*", help="of a depth and a segmentation network; none: rows without networks"
    )
    folding.add_argument("--folds", type=int, default=4, help="the paper has four (default: 4)")
    folding.add_argument("--films", type=int, default=4, help="of each person (default: 4)")
    folding.add_argument("--size", type=int, default=1024, help="pixels along a film's longer side (default: 1024)")
    folding.add_argument("--pixels", type=int, nargs="+", default=[256, 512, 1024], help="maps' longer sides")
    _with_run(folding)
    _with_bones(folding)
    folding.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that measure")


def _claiming(commands: Any) -> None:
    claiming = _command(commands, "claims", actions.compare_arms)
    claiming.add_argument(
        "--recipe", type=Path, default=Path("training/recipes/claims.toml"), help="of all arms (default: the one here)"
    )
    claiming.add_argument(
        "--cases", type=Path, default=Path("out/frozen/wide"), help="folder of the frozen films that judge"
    )
    claiming.add_argument(
        "--bundle", type=Path, default=Path("Resources/Models"), help="whose segmentation network all arms share"
    )
    claiming.add_argument("--page", type=Path, default=Path("training/RESULTS.md"), help="the page to write")
    claiming.add_argument(
        "--chart", type=Path, default=Path("training/results/claims/differences.png"), help="its picture"
    )
    _with_run(claiming)
    _with_bones(claiming)
    claiming.add_argument(
        "--without-judging", action="store_true", help="learn alone, as on a machine that has no more than `pack` takes"
    )
    claiming.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes that judge")


def _with_vertebrae(commands: Any) -> None:
    steps = commands.add_parser("vertebrae", help="EAR: vertebrae from two films").add_subparsers(
        required=True, metavar="STEP"
    )
    anatomy = _command(steps, "anatomy", vertebra_actions.build_anatomy)
    anatomy.add_argument("--out", type=Path, default=Path("out/vertebrae/anatomy"), help="folder for all of it")
    _with_spines(anatomy)
    showing = _command(steps, "virtual", vertebra_actions.show_virtual)
    _showing(showing, count=48, out="out/vertebrae/virtual")
    filming = _command(steps, "films", vertebra_actions.show_films)
    _showing(filming, count=3, out="out/vertebrae/films")
    filming.add_argument("--side", type=int, default=112, help="voxels of the cube's side (default: 112)")
    filming.add_argument("--voxel-mm", type=float, default=1.0, help="of the cube (default: 1)")
    _with_pelves(filming)
    keeping = _command(steps, "studies", vertebra_actions.keep_studies)
    _showing(keeping, count=400, out="out/vertebrae/studies")
    keeping.add_argument("--watched", type=int, default=16, help="studies of --without alone (default: 16)")
    keeping.add_argument("--in-situ", type=float, default=0.5, help="share among their neighbours (default: 0.5)")
    keeping.add_argument("--workers", type=int, default=0, help="processes that make them (default: this one)")
    keeping.add_argument("--minutes", type=float, help="as many studies as come in so long (default: all)")
    keeping.add_argument("--side", type=int, default=64, help="voxels of the cube's side (default: 64)")
    keeping.add_argument("--voxel-mm", type=float, default=1.75, help="of the cube (default: 1.75)")
    _with_pelves(keeping)
    learning = _command(steps, "train", actions.train_on_vertebrae)
    learning.add_argument("recipe", type=Path, help="a file of training/recipes, as ear_small.toml")
    learning.add_argument(
        "--studies", type=Path, help="folder that `studies` filled, to learn from (default: new films)"
    )
    _with_loop(learning)
    _with_spines(learning)
    tabling = _command(steps, "tables", vertebra_actions.make_tables)
    tabling.add_argument("--minutes", type=float, required=True, help="of a core, for each arm")
    tabling.add_argument("--studies", type=Path, default=Path("out/vertebrae/studies"), help="folder of kept studies")
    tabling.add_argument("--recipe", type=Path, default=Path("training/recipes/ear_tables.toml"))
    tabling.add_argument("--out", type=Path, default=Path("out/vertebrae/tables"), help="folder; what is there goes on")
    _with_spines(tabling)
    judging = _command(steps, "evaluate", vertebra_actions.judge_vertebrae)
    judging.add_argument(
        "run_folder", type=Path, nargs="?", metavar="RUN", help="a finished run's folder (default: rows without one)"
    )
    judging.add_argument("--out", type=Path, required=True, help="folder for the table; what is there goes on")
    judging.add_argument(
        "--people", nargs="*", default=[], help="without a run: on whom, as totalseg/s0328; each is left out in turn"
    )
    judging.add_argument("--apart-degrees", type=float, default=90.0, help="between the films (default: 90)")
    judging.add_argument("--verse", action="store_true", help="on VerSe's vertebrae, by what knows not --people")
    judging.add_argument("--conditions", nargs="*", metavar="NAME", help='such as "in situ" (default: all)')
    judging.add_argument("--side", type=int, default=64, help="without a run: voxels of the cube's side (default: 64)")
    judging.add_argument("--voxel-mm", type=float, default=1.75, help="without a run: of the cube (default: 1.75)")
    judging.add_argument("--mean-hu", type=float, default=11.0, help="without a run: of z-scores (default: 11)")
    judging.add_argument("--deviation-hu", type=float, default=74.0, help="without a run: of z-scores (default: 74)")
    _with_pelves(judging)
    _with_spines(judging)
    sampling = _command(steps, "samples", vertebra_actions.make_sample)
    sampling.add_argument("--out", type=Path, default=Path("out/vertebrae/samples"), help="folder for all of it")
    _with_spines(sampling)
    bundling = _command(steps, "bundle", vertebra_actions.bundle_run)
    bundling.add_argument("run_folder", type=Path, metavar="RUN", help="a finished run's folder")
    bundling.add_argument("--judged", type=Path, required=True, help="folder of `evaluate` on this run")
    bundling.add_argument("--out", type=Path, required=True, help="folder for the bundle")
    bundling.add_argument("--id", default="vertebrae-small")
    bundling.add_argument("--version", default="0.1.0")
    bundling.add_argument("--bits", type=int, choices=(8, 16), default=8, help="of large tensors' weights (default: 8)")
    bundling.add_argument("--threshold-hu", type=float, help="of its surface (default: chosen, as by `evaluate`)")
    _with_spines(bundling)


def _showing(parser: argparse.ArgumentParser, count: int, out: str) -> None:
    parser.add_argument("--count", type=int, default=count, help=f"vertebrae (default: {count})")
    parser.add_argument("--seed", type=int, default=0, help="of the first; the others follow")
    parser.add_argument("--without", nargs="*", default=[], help="people left out, as totalseg/s0327")
    parser.add_argument("--out", type=Path, default=Path(out), help="folder for all of it")
    _with_spines(parser)


def _with_pelves(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--pelves", type=Path, metavar="BONES", help="in situ on pelves of these bones, with gas in the bowel"
    )


def _with_spines(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--vertebrae", type=Path, default=Path("../shared/vertebrae"), help="the sets of real vertebrae"
    )
    parser.add_argument("--cache", type=Path, default=Path("out/vertebrae"), help="where correspondences are kept")


if __name__ == "__main__":
    sys.exit(main())
