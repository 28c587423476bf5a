"""What the commands of `python -m training vertebrae` do; modules are imported where they are needed."""

from __future__ import annotations

import argparse


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

    stock = Stock.of(load_groups(options.vertebrae, options.cache), options.without)
    grid = Grid(side=options.side, voxel_mm=options.voxel_mm)
    print(show_films(stock, options.count, options.seed, grid, options.out))
    return 0
