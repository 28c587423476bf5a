"""The paper's claims: arms on the same films, a run that goes on, verdicts against hand-made cases, and the page."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support.bones import MODELS, made_population
from support.learning import curves_undrawn
from support.networks import EXACT, Brightness
from support.recipes import DEPTH, PRETRAIN, silent
from vtkmodules.vtkFiltersSources import vtkSphereSource

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.geometry import ProjectionGeometry
from DualFaceReconLib.meshes import arrays
from DualFaceReconLib.networks.weights import weights_of
from training.__main__ import EXIT_REFUSED, main
from training.cases import write_case
from training.judging import claims, trials, turns
from training.judging.arms import ARMS, Arms, Comparing, Trial, read_arms
from training.judging.claim_verdicts import CANNOT_BE_TOLD, FAILS, HOLDS, NOT_RUN, lines_of, together, verdict
from training.judging.claims import Judged, judge_claims, judged_cases
from training.judging.paper import ASSD, CLAIMS, KINDS, VOLUME, Compared
from training.judging.predictions import BY_PICTURE, COMPLETED, OBSERVED
from training.judging.scores import Evaluation, MapsScored, Scored
from training.judging.turns import learn_by_turns
from training.learning.films import simulated
from training.learning.finished import read_finished, write_finished
from training.learning.kept import KeptEpoch, KeptFilms
from training.learning.run import Run
from training.learning.tasks import network_of
from training.raycast import cast

pytestmark = pytest.mark.usefixtures("patients_taken_once")
RECIPE = Path(__file__).parent.parent / "training" / "recipes" / "claims.toml"
ROWS = ["single", "dual SI independent", "SI dependent", "CASI independent", "CASI dependent", "pretrained"]
TINY = Arms(
    base=replace(
        DEPTH,
        films=replace(DEPTH.films, watched=1),
        learning=replace(DEPTH.learning, epochs=3, first_cycle=1),
    ),
    masking=PRETRAIN.masking,
    comparing=Comparing(seeds=1, kept_epochs=2, finer_px=128, pretraining_epochs=1, cycles_behind=1, judged=2),
)


@pytest.fixture(scope="module")
def population():
    return made_population()


def test_every_arm_of_the_paper_is_there_by_its_name():
    arms = read_arms(RECIPE)
    assert [arm.name for arm in ARMS] == ROWS
    assert [trial.arm.name for trial in arms.trials(1)] == [*ROWS, "pretrained"]
    assert [trial.size_px for trial in arms.trials(1)] == [256] * 6 + [512]
    assert list(arms.seeds) == [1, 2]
    recipes = {trial: arms.recipe_of(trial) for seed in arms.seeds for trial in arms.trials(seed)}
    assert {trial.arm.name: (recipe.network["faces"], recipe.learning.loss) for trial, recipe in recipes.items()} == {
        "single": (1, "si_independent"),
        "dual SI independent": (2, "si_independent"),
        "SI dependent": (2, "si_dependent"),
        "CASI independent": (2, "casi_independent"),
        "CASI dependent": (2, "casi_dependent"),
        "pretrained": (2, "casi_independent"),
    }
    alike = {(recipe.films.size_px, recipe.films.mm_per_pixel, recipe.learning.epochs) for recipe in recipes.values()}
    assert alike == {(256, 1.5, 63), (512, 0.75, 63)}
    sides = {(side.arm, side.finer) for claim in CLAIMS for side in (claim.better, claim.worse)}
    assert sides == {(name, False) for name in ROWS} | {("pretrained", True)}


def test_trials_take_turns_so_that_they_can_be_compared_whenever_the_minutes_are_over():
    arms = read_arms(RECIPE)
    assert arms.ends == [1, 3, 7, 15, 31, 63]
    turns = list(arms.turns())
    assert len(turns) == len(set(turns)) == 14 * 6
    reached = dict.fromkeys({trial for trial, _ in turns}, 0)
    for trial, cycle in turns:
        assert cycle == reached[trial] + 1
        reached[trial] = cycle
        of_first = [done for trial, done in reached.items() if (trial.seed, trial.size_px) == (1, 256)]
        assert max(of_first) - min(of_first) <= 1
    assert [(trial.arm.name, cycle) for trial, cycle in turns[:7]] == [*((name, 1) for name in ROWS), ("single", 2)]
    behind = turns.index((Trial(ARMS[-1], 1, 512), 1))
    assert turns[behind - 1] == (Trial(ARMS[-1], 1, 256), 3)


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("epochs = 63", "epochs = 60", "whole cycles"),
        ("width = 48", "width = 48\nfaces = 2", r"\[network\] faces"),
        ("seeds = 2", "seeds = 0", "seeds must be"),
        ("[claims]", "[claim]", "claim, claims is amiss"),
    ],
)
def test_a_recipe_of_arms_that_is_amiss_is_refused(tmp_path, before, after, words):
    text = RECIPE.read_text(encoding="utf-8")
    assert before in text
    (tmp_path / "x.toml").write_text(text.replace(before, after), encoding="utf-8")
    with pytest.raises(Refusal, match=rf"^x\.toml.*{words}"):
        read_arms(tmp_path / "x.toml")


# Films


def test_kept_films_are_those_of_the_stream_and_come_in_one_order(population, tmp_path):
    source = simulated(DEPTH, population, lambda: population)
    films = KeptFilms(DEPTH, tmp_path, 2)
    kept = films.source(source, 1, say=silent)
    made = {int(film["film"].double().sum() * 1e4): film for film in source.epoch(0)}
    assert len(made) == 8
    orders = []
    for epoch in (0, 0, 2):
        orders.append([int((film["film"].double().sum() * 10).round()) for film in kept.epoch(epoch)])
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])
    film = next(iter(kept.epoch(0)))
    nearest = min(made.values(), key=lambda other: float((other["film"] - film["film"]).abs().mean()))
    assert torch.equal(film["mask"], nearest["mask"])
    assert float((film["depth"] - nearest["depth"]).abs().max()) < 0.011
    files = {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    again = films.source(source, 1, say=silent)
    assert files == {path: path.stat().st_mtime_ns for path in tmp_path.glob("*.safetensors")}
    assert [film.keys() for film in again.watched()] == [film.keys()] * 2
    with pytest.raises(Refusal, match="other knobs"):
        KeptFilms(replace(DEPTH, seed=4), tmp_path, 2).source(source, 1, say=silent)


def test_processes_share_an_epoch_by_whole_batches(population, tmp_path, monkeypatch):
    """Taken in turn, as `Epochs` takes them, they make the same order as one process does."""
    source = simulated(DEPTH, population, lambda: population)
    kept = KeptFilms(DEPTH, tmp_path, 1)
    kept.source(source, 1, say=silent)

    def order(process, processes):
        monkeypatch.setattr("training.learning.kept.torchrun_place", lambda: (process, processes))
        return [float(film["film"].sum()) for film in KeptEpoch(kept, 3)]

    assert [*order(0, 2), *order(1, 2)] == order(0, 1)  # two batches of four


# Verdicts


def evaluation(assd_mm, volumes=(1.0, 2.0, 3.0)):
    """Three people's films with a bone of each kind; `assd_mm` by person."""
    surfaces, maps = [], []
    for person, assd, volume in zip("abc", assd_mm, volumes, strict=True):
        for bone in BONES:
            about = {"case": person, "person": person, "bone": bone, "groups": ("all",), "pixels": 64}
            surfaces += [Scored(**about, row=row, alignment=BY_PICTURE, assd_mm=assd) for row in (OBSERVED, COMPLETED)]
            true = {"a": 10.0, "b": 20.0, "c": 30.0}[person]
            maps.append(MapsScored(**about, found=True, dice=1, envelope_cm3=volume, true_envelope_cm3=true))
    return Evaluation(surfaces=surfaces, maps=maps)


DUAL = CLAIMS[0]


@pytest.mark.parametrize(
    ("better", "expected"),
    [((3.0, 4.0, 5.0), HOLDS), ((5.1, 6.3, 7.2), FAILS), ((4.0, 6.0, 6.5), CANNOT_BE_TOLD)],
)
def test_a_verdict_is_by_the_interval_of_paired_differences(better, expected):
    worse = (5.0, 6.0, 7.0)
    lines = lines_of(DUAL, evaluation(better), evaluation(worse))
    assert [(line.figure, line.kind) for line in lines[:2]] == [(ASSD, kind) for kind in KINDS]
    line = lines[0]
    assert (line.count, line.people, line.paper) == (6, 3, (4.78, 2.11))
    assert line.difference == pytest.approx(np.mean(better) - 6)
    assert line.low <= line.difference <= line.high
    assert line.verdict == expected
    assert lines[2].verdict == NOT_RUN  # no HD95 was measured


def test_of_volumes_the_higher_correlation_is_the_better():
    (claim,) = (claim for claim in CLAIMS if VOLUME in claim.figures)
    straight, bent = evaluation((1, 1, 1)), evaluation((1, 1, 1), volumes=(1.0, 3.0, 2.0))
    (line,) = lines_of(claim, straight, bent)
    assert (line.kind, line.worse, line.better) == ("hip", pytest.approx(0.5), pytest.approx(1.0))
    assert verdict(VOLUME, 0.1, 0.2) == verdict(ASSD, -0.2, -0.1) == HOLDS
    assert verdict(VOLUME, -0.2, -0.1) == verdict(ASSD, 0.1, 0.2) == FAILS


def test_what_was_not_run_has_no_verdict_and_seeds_have_to_agree():
    assert {line.verdict for line in lines_of(DUAL, None, evaluation((1, 2, 3)))} == {NOT_RUN}
    assert together([HOLDS, NOT_RUN]) == together([HOLDS, HOLDS]) == HOLDS
    assert together([HOLDS, FAILS]) == together([HOLDS, CANNOT_BE_TOLD]) == CANNOT_BE_TOLD
    assert together([NOT_RUN, NOT_RUN]) == NOT_RUN


# Judging


class Looked(Brightness):
    """A segmentation network that remembers the size at which it saw films."""

    def forward(self, film):
        self.size_px = film.shape[-1]
        return super().forward(film)


@pytest.fixture
def shared(monkeypatch):
    """The segmentation network of a bundle that all trials share."""
    networks = replace(EXACT, segmentation=Looked())
    monkeypatch.setattr(trials, "loaded_networks", lambda bundle: networks)
    yield networks.segmentation
    trials.networks_of.cache_clear()


@pytest.mark.parametrize("faces", [1, 2])
def test_a_trial_is_judged_with_the_masks_that_all_share(faces, shared, tmp_path):
    recipe = replace(DEPTH, network={**DEPTH.network, "faces": faces})
    network = network_of(recipe)
    metadata = {"recipe": {"films": {"size_px": 64, "mm_per_pixel": 6.0}}, "settings": asdict(network.settings)}
    (tmp_path / "cycle_1").mkdir()
    write_finished(weights_of(network), metadata, tmp_path / "cycle_1" / "network.safetensors")
    cases = [bright_case(tmp_path / "case")]
    judging = trials.Judging(network=tmp_path / "cycle_1", bundle=MODELS, kept=tmp_path / "judged", completed=False)
    judged = trials.judge(judging, cases, jobs=1, say=silent)
    assert shared.size_px == 256  # though the trial has films of 64 pixels
    assert [(score.bone, score.row, score.pixels) for score in judged.surfaces] == [("hip_left", OBSERVED, 64)]
    assert judged.surfaces[0].assd_mm > 0
    (maps,) = judged.maps
    assert maps.dice > 0.8
    assert (maps.back_mae_mm is None, maps.envelope_cm3 is None) == (faces == 1, faces == 1)
    if faces == 2:
        assert maps.true_envelope_cm3 == pytest.approx(np.pi / 6 * 80**3 / 1000, rel=0.05)

    # What was measured is not measured again, unless the weights are others
    file = tmp_path / "judged" / "case.json"
    written = file.stat().st_mtime_ns
    assert trials.judge(judging, cases, jobs=1, say=silent) == judged
    assert file.stat().st_mtime_ns == written
    trials.networks_of.cache_clear()
    write_finished(
        {name: value + 0.01 for name, value in weights_of(network).items()},
        metadata,
        tmp_path / "cycle_1" / "network.safetensors",
    )
    assert trials.judge(judging, cases, jobs=1, say=silent) != judged


def bright_case(folder):
    """A ball of 80 mm for a bone, which alone is bright on its film."""
    geometry = ProjectionGeometry(1000, (1.2, 1.2), (300, 280), None, "AP", 180.0)
    source = vtkSphereSource()
    source.SetRadius(40)
    source.SetThetaResolution(40)
    source.SetPhiResolution(40)
    source.Update()
    vertices, triangles = arrays(source.GetOutput())
    meshes = {"hip_left": (vertices + np.array([-40.0, 180.0, 30.0]), triangles)}
    maps = cast(meshes, geometry).maps
    write_case(folder, maps.mask[0].astype(float), geometry, maps, meshes, {})
    return folder


def test_a_bundle_that_sees_another_part_of_films_is_refused(shared, tmp_path):
    network = network_of(DEPTH)
    metadata = {"recipe": {"films": {"size_px": 64, "mm_per_pixel": 4.0}}, "settings": asdict(network.settings)}
    write_finished(weights_of(network), metadata, tmp_path / "network.safetensors")
    with pytest.raises(Refusal, match="another part of a film"):
        trials.networks_of(tmp_path, MODELS)


# The whole way


@pytest.fixture
def two_arms(monkeypatch):
    """Faces alone and pretraining, and a claim about them; their networks are judged by a stand-in."""

    def judged(judging, cases, jobs, say):
        assert (judging.network / "network.json").exists()
        least = 4.0 if "single" in str(judging.network) else 2.0
        return evaluation((least, least + 0.1, least + 0.2))

    claim = replace(DUAL, better=Compared("pretrained"))
    monkeypatch.setattr("training.judging.arms.ARMS", (ARMS[0], ARMS[-1]))
    monkeypatch.setattr("training.judging.arms.FINER", ())
    monkeypatch.setattr(claims, "CLAIMS", (claim,))
    monkeypatch.setattr("training.judging.page.CLAIMS", (claim,))
    monkeypatch.setattr(claims, "judge", judged)


@pytest.fixture
def cases(tmp_path):
    """Frozen films that are there in name alone."""
    folders = [tmp_path / f"case_{number}" for number in range(5)]
    for folder, view in zip(folders, ("AP", "PA", "AP", "AP", "AP"), strict=True):
        folder.mkdir()
        (folder / "geometry.json").write_text(json.dumps({"view": view}))
    return folders


@pytest.mark.usefixtures("two_arms")
def test_a_run_that_was_cut_ends_as_the_run_in_one_piece_and_is_judged(population, cases, tmp_path, monkeypatch):
    out, cut, page, chart = (tmp_path / name for name in ("out", "cut", "RESULTS.md", "chart.png"))
    judged = Judged(out=out, cases=cases, bundle=MODELS, say=silent)
    assert [case.name for case in judged_cases(cases, 2)] == ["case_0", "case_3"]

    def learn(folder, **limits):
        run = Run(folder, say=silent, **limits)
        return learn_by_turns(TINY, lambda recipe: simulated(recipe, population, lambda: population), run)

    with curves_undrawn():
        assert not learn(out, minutes=0.0)
        text = judge_claims(TINY, judged, page, chart)
        assert "| single | 64 | 3 | not run |" in text
        assert "| not run | not run |" in text
        assert learn(out)

        # The same, cut after every epoch
        whole, cuts = turns.train_together, 0
        once = lambda plans, source, run: whole(plans, source, replace(run, minutes=0.0))  # noqa: E731
        monkeypatch.setattr(turns, "train_together", once)
        while not learn(cut):
            cuts += 1
    assert cuts > 1
    for trial, faces in zip(TINY.trials(3), (1, 2), strict=True):
        (one, other) = (read_finished(turns.cycle_folder(folder, trial, 2))[0] for folder in (out, cut))
        assert one["sha256"] == other["sha256"]
        assert (one["films"], one["steps"], one["settings"]["faces"]) == (3 * 8, 3 * 2, faces)
        assert one["pretraining_films"] == (8 if trial.arm.pretrained else 0)
        assert one["plane_mm"] > 5
    text = judge_claims(TINY, judged, page, chart)
    assert page.read_text(encoding="utf-8") == text
    assert "| Two faces beat one (ASSD, mm) | 4.78 → 2.11 | 5.54 → 2.28 | -2.00 [-2.00, -2.00] |" in text
    assert "| holds | holds |" in text
    assert "virtual patients" in text
    assert "(chart.png)" in text
    assert chart.stat().st_size > 1000
    with pytest.raises(Refusal, match="another recipe"):
        learn_by_turns(replace(TINY, base=replace(TINY.base, seed=4)), simulated, Run(out, say=silent))


def test_films_that_cannot_judge_are_refused_before_anything_is_learnt(tmp_path, capsys):
    arguments = ["claims", "--cases", str(tmp_path / "none"), "--out", str(tmp_path / "out"), "--device", "cpu"]
    assert main(arguments) == EXIT_REFUSED
    assert "no AP films" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
