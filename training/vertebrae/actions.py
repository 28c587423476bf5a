"""What the commands of `python -m training vertebrae` do; modules are imported where they are needed."""

from __future__ import annotations

import argparse
from dataclasses import replace
from typing import TYPE_CHECKING

from DualFaceReconLib.errors import Refusal

if TYPE_CHECKING:
    from training.vertebrae.pelvis import Pelvis


def build_anatomy(options: argparse.Namespace) -> int:
    """Registers the real vertebrae to a template a group, builds a shape model a group, and says how well they fit."""
    from training.vertebrae.anatomy import build_anatomy

    print(build_anatomy(options.vertebrae, options.cache, options.out))
    return 0


def show_virtual(options: argparse.Namespace) -> int:
    """Makes virtual vertebrae, and pictures and a table of them to look at."""
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.gallery import show
    from training.vertebrae.virtual import Stock

    stock = Stock.of(load_groups(options.vertebrae, options.cache), options.without)
    print(show(stock, options.count, options.seed, options.out))
    return 0


def show_films(options: argparse.Namespace) -> int:
    """Films virtual vertebrae from two sides, alone and in situ, and pictures the films, their cubes and the truth."""
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.film_sheet import show_films
    from training.vertebrae.films import Grid
    from training.vertebrae.virtual import Stock

    stock = replace(Stock.of(load_groups(options.vertebrae, options.cache), options.without), pelves=_pelves(options))
    grid = Grid(side=options.side, voxel_mm=options.voxel_mm)
    print(show_films(stock, options.count, options.seed, grid, options.out))
    return 0


def keep_studies(options: argparse.Namespace) -> int:
    """Makes films of virtual vertebrae once, from which many networks learn; what is there is not made again."""
    from training.raycast import compile_kernels
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.keeping import keep_studies
    from training.vertebrae.kept import KeptSeries

    compile_kernels()
    series = KeptSeries(
        side=options.side,
        voxel_mm=options.voxel_mm,
        seed=options.seed,
        count=options.count,
        watched=options.watched,
        without=tuple(options.without),
        in_situ=options.in_situ,
        abdomen=options.pelves is not None,
    )
    groups = load_groups(options.vertebrae, options.cache)
    made = keep_studies(groups, series, options.out, print, options.workers, options.minutes, _pelves(options))
    print(f"{made.count} studies to learn from are in {options.out}")
    return 0


def make_tables(options: argparse.Namespace) -> int:
    """Remakes the EAR paper's tables and its angle study: arm after arm learns, is judged, and stands on the page."""
    from training.learning.recipe import read_recipe
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.tables import make_tables

    groups = load_groups(options.vertebrae, options.cache)
    print(make_tables(read_recipe(options.recipe), groups, options.studies, options.minutes, options.out))
    return 0


def judge_vertebrae(options: argparse.Namespace) -> int:
    """Measures a network, and rows that need none, on real vertebrae of people who were kept out."""
    from training.judging.volumes import ZScale
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.films import Grid
    from training.vertebrae.judging import CONDITIONS, judge
    from training.vertebrae.rows import trained_network
    from training.vertebrae.source import people_of

    groups = load_groups(options.vertebrae, options.cache)
    trained = None if options.run_folder is None else trained_network(options.run_folder)
    if trained is None:
        if not options.people:
            raise Refusal("Say whom to judge on with --people, or name a run, which knows whom it kept out.")
        people, grid = options.people, Grid(side=options.side, voxel_mm=options.voxel_mm)
        scale = ZScale(mean_hu=options.mean_hu, deviation_hu=options.deviation_hu)
    else:
        films = trained.recipe.films
        people, grid = people_of(films), Grid(side=films.side, voxel_mm=films.voxel_mm)
        scale = ZScale(mean_hu=films.mean_hu, deviation_hu=films.deviation_hu)
    conditions = options.conditions or tuple(CONDITIONS)
    judged = None
    if options.verse:
        from training.vertebrae.verse import verse_groups

        judged = verse_groups(options.vertebrae, options.cache, groups)
    text = judge(
        groups,
        people,
        trained,
        grid,
        scale,
        options.out,
        conditions,
        judged=judged,
        apart_degrees=options.apart_degrees,
        pelves=_pelves(options),
    )
    print(text)
    return 0


def _pelves(options: argparse.Namespace) -> tuple[Pelvis, ...]:
    """Those on which films in situ are to stand."""
    from training.vertebrae.pelvis import read_pelves

    return () if options.pelves is None else read_pelves(options.pelves)


def bundle_run(options: argparse.Namespace) -> int:
    """Makes a bundle of a finished run, for `dualface vertebra`, with how good it was judged to be."""
    from training.vertebrae.bundling import bundle_vertebrae
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.films import Grid
    from training.vertebrae.judging import choosing_studies, chosen_threshold
    from training.vertebrae.rows import trained_network
    from training.vertebrae.source import people_of
    from training.vertebrae.virtual import Stock

    threshold, trained = options.threshold_hu, trained_network(options.run_folder)
    films = trained.recipe.films
    stock = Stock.of(load_groups(options.vertebrae, options.cache), people_of(films))
    if threshold is None:
        grid = Grid(side=films.side, voxel_mm=films.voxel_mm)
        threshold = chosen_threshold(trained.mirrored_too, choosing_studies(stock, grid, films.apart_degrees), grid)
    manifest = bundle_vertebrae(
        options.run_folder,
        options.judged,
        threshold,
        options.out,
        options.id,
        options.version,
        options.bits,
        {name: group.model for name, group in stock.groups.items()},
    )
    print(f"{manifest.id} {manifest.version}: {manifest.size_bytes / 1e6:.1f} MB in {options.out}")
    print(f"Surface at {threshold:g} HU. {manifest.measured}")
    return 0


def make_sample(options: argparse.Namespace) -> int:
    """Makes the pair of films that ships with its truth, and compares it with what ships."""
    from training.vertebrae.correspondence import load_groups
    from training.vertebrae.samples import make_sample

    differences = make_sample(load_groups(options.vertebrae, options.cache), options.out)
    if differences:
        raise Refusal("; ".join(differences) + ".")
    print(f"The sample is in {options.out}, as it ships.")
    return 0
