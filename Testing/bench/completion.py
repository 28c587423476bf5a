"""Complete four bones, beside L-BFGS and plain ICP-and-project in the same run: python Testing/bench/completion.py

The bones are shapes of the shipped models that neither way has seen, on exact depth maps with about 20,000 points each.
Plain pairs every vertex with the nearest observed point, projects onto the model, and again; it starts where ours does.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
from scipy.spatial import cKDTree

sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[1]))

from support.bones import FILM, apart, film_of, on_film

from DualFaceReconLib.bonemaps import kind_and_side
from DualFaceReconLib.meshes import mirrored
from DualFaceReconLib.shape.completion import complete_all, initial_fit, observed_target
from DualFaceReconLib.shape.fitting import DEFAULT_SETTINGS, fit
from DualFaceReconLib.shape.shapemodel import load_shape_models
from training.judging.quasi_newton import fit_by_lbfgs

MODELS = Path(__file__).parents[2] / "Resources" / "Models"
PLACES = {"hip": (-75, 180, 20), "femur": (-95, 180, -130)}
SEEN_POINTS = 20_000


def truths(models, rng):
    """Four random people's bones on the film: name -> mesh."""
    meshes = {}
    for kind, model in models.items():
        for side in ("left", "right"):
            left = on_film(model.shape(model.sample(rng, limit=2)), PLACES[kind]), model.triangles
            meshes[f"{kind}_{side}"] = left if side == "left" else mirrored(left)
    return meshes


def observed_with(mesh, count):
    """The observed surface on a film fine enough for about `count` points."""
    coarse = film_of(mesh).GetNumberOfPoints()
    finer = FILM.resized([round(n * (count / coarse) ** 0.5) for n in FILM.size_px])
    return film_of(mesh, finer, noise_mm=0.5), finer


def plain_fit(model, target, start, rounds):
    """ICP and project."""
    tree = cKDTree(target.points)
    vertices = start.vertices(model)
    for _ in range(rounds):
        vertices = model.project(target.points[tree.query(vertices)[1]])
    return vertices


def main() -> None:
    models = load_shape_models(MODELS)
    meshes = truths(models, np.random.default_rng(0))
    seen = {bone: observed_with(mesh, SEEN_POINTS) for bone, mesh in meshes.items()}
    points = ", ".join(f"{bone} {surface.GetNumberOfPoints():,}" for bone, (surface, _) in seen.items())
    geometry = FILM  # one film's frame: finer pixels of it are the same rays
    surfaces = {bone: surface for bone, (surface, _) in seen.items()}
    times = []
    for _ in range(5):
        begin = time.perf_counter()
        completions = complete_all(surfaces, models, geometry)
        times.append(time.perf_counter() - begin)
    print(f"observed points: {points}")
    errors = ", ".join(
        f"{bone} {apart(completion.vertices, completion.triangles, meshes[bone]):.2f}"
        for bone, completion in completions.items()
    )
    print(f"four bones completed in {min(times):.2f} s (best of 5), ASSD inside the film, mm: {errors}")

    print(f"\n{'error against time, one bone at a time':<42}{'s':>8}{'ASSD, mm':>10}")
    for bone in ("hip_left", "femur_left"):
        model = models[kind_and_side(bone)[0]]
        target = observed_target(surfaces[bone], geometry)
        begin = time.perf_counter()
        start = initial_fit(model, target)
        spent = time.perf_counter() - begin
        print(f"{bone + ': start':<42}{spent:8.2f}{apart(start.vertices(model), model.triangles, meshes[bone]):10.2f}")
        for steps in (1, 2, 4, 8):
            settings = replace(DEFAULT_SETTINGS, steps=steps, settled=0.0)
            begin = time.perf_counter()
            vertices = fit(model, target, start, settings).vertices(model)
            spent = time.perf_counter() - begin
            error = apart(vertices, model.triangles, meshes[bone])
            print(f"{f'{bone}: ours, {steps} steps':<42}{spent:8.2f}{error:10.2f}")
        for rounds in (1, 2, 4, 8):
            begin = time.perf_counter()
            vertices = fit_by_lbfgs(model, target, start, rounds=rounds, settled=0.0).vertices(model)
            spent = time.perf_counter() - begin
            error = apart(vertices, model.triangles, meshes[bone])
            print(f"{f'{bone}: L-BFGS, {rounds} rounds of 4':<42}{spent:8.2f}{error:10.2f}")
        for rounds in (5, 20, 60):
            begin = time.perf_counter()
            vertices = plain_fit(model, target, start, rounds)
            spent = time.perf_counter() - begin
            error = apart(vertices, model.triangles, meshes[bone])
            print(f"{f'{bone}: ICP and project, {rounds} rounds':<42}{spent:8.2f}{error:10.2f}")


if __name__ == "__main__":
    if "OPENBLAS_NUM_THREADS" in os.environ:
        main()
    else:  # threads of BLAS wait for one another while bones are fitted side by side
        subprocess.run([sys.executable, __file__], env={**os.environ, "OPENBLAS_NUM_THREADS": "1"}, check=True)
