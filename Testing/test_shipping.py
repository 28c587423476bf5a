"""From finished networks to a bundle and its tables: what the manifest and the page say, and what is done again."""

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from support.bones import MODELS
from support.networks import EXACT, GEOMETRIES, Ramp, radiograph_of

from DualFaceReconLib.bonemaps import BONES
from DualFaceReconLib.bundle.files import verify
from DualFaceReconLib.bundle.manifest import load_manifest
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.networks.depth import DepthNetwork, DepthSettings
from DualFaceReconLib.networks.segmentation import SegmentationNetwork, SegmentationSettings
from DualFaceReconLib.networks.weights import weights_of
from training.judging import shipping
from training.judging.paired import paired_tables
from training.judging.predictions import BY_PICTURE, COMPLETED
from training.judging.scores import Evaluation, MapsScored, Scored
from training.judging.shipping import Shipment, rounding, ship
from training.judging.summary import in_words, summary_table
from training.learning.finished import write_finished

PEOPLE = "abc"


def evaluation(depth_mm=4.0, dice=0.98, flexion_deg=3.0):
    """Three people's films; what is given differs a little from person to person."""
    about = [
        {"case": f"case_{person}", "person": person, "bone": bone, "groups": ("all",), "pixels": 256}
        for person in PEOPLE
        for bone in BONES
    ]
    extra = {person: 0.1 * number for number, person in enumerate(PEOPLE)}
    maps = [
        MapsScored(
            **bone,
            found=True,
            dice=dice,
            front_mae_mm=depth_mm + extra[bone["person"]],
            back_mae_mm=depth_mm + extra[bone["person"]] + 1,
            mirror_depth_mm=0.5,
            mirror_dice=0.99,
        )
        for bone in about
    ]
    surfaces = [
        Scored(**bone, row=COMPLETED, alignment=BY_PICTURE, assd_mm=2.0, true_flexion_deg=turned, **off)
        for bone in about
        for turned, off in [
            (10 * extra[bone["person"]], {"flexion_error_deg": flexion_deg, "rotation_error_deg": 2.0})
            if bone["bone"].startswith("femur")
            else (None, {})
        ]
    ]
    return Evaluation(surfaces=surfaces, maps=maps)


@pytest.fixture
def runs(tmp_path):
    """Finished networks in parts, one tensor of each large enough for 8 bits."""
    networks = {
        "depth": (DepthNetwork, DepthSettings(encoder="nf_regnet_b0", stages=2, width=96)),
        "segmentation": (SegmentationNetwork, SegmentationSettings(features=(64, 128))),
    }
    for task, (network, settings) in networks.items():
        recipe = {"task": task, "films": {"size_px": 64, "mm_per_pixel": 6.0}}
        metadata = {"recipe": recipe, "settings": asdict(settings), "films": 10}
        folder = tmp_path / "runs" / task
        folder.mkdir(parents=True)
        weights = weights_of(network(settings))
        write_finished(weights, metadata, folder / "network.safetensors", parts_mb=0.5)
        (folder / "network.safetensors").unlink()
    return tmp_path / "runs"


@pytest.fixture
def shipment(runs, tmp_path, monkeypatch):
    """One whose films are there in name alone; gives what was measured, by set or step."""
    done = []

    def measured(folders, resolutions, jobs, bundle, say, emd, kept):
        done.append(kept.parent.name)
        return evaluation()

    def certain(folders, bundle, say):
        done.append(f"certainty of {load_manifest(bundle).surface_error_mm['hip']:g}")
        return ["a line"], {"hip": 2.31, "femur": 4.0}

    for name in shipping.CHOOSING:
        for number in range(4):
            (tmp_path / "films" / name / f"case_{number}").mkdir(parents=True)
    monkeypatch.setattr(shipping, "cases_in", lambda folder: sorted(folder.iterdir()) if folder.exists() else [])
    monkeypatch.setattr(shipping, "read_radiograph", lambda path: radiograph_of(GEOMETRIES[1]))
    monkeypatch.setattr(shipping, "evaluate", measured)
    monkeypatch.setattr(shipping, "certainty", certain)
    monkeypatch.setattr(shipping, "femora_lean_mm", lambda folders, bundle: len(folders) + 0.56)
    monkeypatch.setattr(shipping, "write_tables", lambda *_: None)
    whole = Shipment(
        runs=runs,
        films=tmp_path / "films",
        out=tmp_path / "out",
        models=MODELS,
        id="made-up",
        version="1.2.3",
        bits=8,
        most=2,
        report=False,
        beside=None,
        jobs=1,
    )
    return SimpleNamespace(whole=whole, done=done)


def test_finished_networks_become_a_bundle_with_what_was_measured(shipment):
    text, _ = ship(shipment.whole, say=lambda _: None)
    assert shipment.done == ["certainty of 0", "wide", "choosing", "varied"]
    made = verify(shipment.whole.out / "bundle")
    assert (made.id, made.version, made.format) == ("made-up", "1.2.3", 2)
    assert made.surface_error_mm == {"hip": 2.4, "femur": 4.0}
    assert made.femora_lean_mm == 4.6  # of two films of either set
    assert "mean depth error 4.6 mm (hip) and 4.6 mm (femur)" in made.measured
    assert "real person" in made.measured
    assert (shipment.whole.out / "tables.md").read_text(encoding="utf-8") == text
    apart = json.loads((shipment.whole.out / "rounding.json").read_text(encoding="utf-8"))
    assert (0 < apart["depth_mm"] < 0.5, apart["films"]) == (True, 2)

    # The certainty of the same weights is not measured again, that of others is
    ship(shipment.whole, say=lambda _: None)
    assert shipment.done.count("certainty of 0") == 1
    ship(replace(shipment.whole, bits=16), say=lambda _: None)
    assert shipment.done.count("certainty of 0") == 2
    assert verify(shipment.whole.out / "bundle").format == 1


def test_sets_that_are_reported_are_read_only_when_asked(shipment):
    with pytest.raises(Refusal, match=r"no films in .*reported"):
        ship(replace(shipment.whole, report=True), say=lambda _: None)
    assert shipment.done == []


def test_rounding_is_the_mean_difference_of_depths_and_the_overlap_of_masks(monkeypatch):
    monkeypatch.setattr(shipping, "read_radiograph", lambda path: radiograph_of(GEOMETRIES[1]))

    class Coarse(Ramp):
        def forward(self, film):
            return super().forward(film) + torch.tensor([0.5, -1.5])[:, None, None]

    apart = rounding(replace(EXACT, depth=Coarse()), EXACT, [Path("one"), Path("two")])
    assert apart == {"depth_mm": pytest.approx(1.0, abs=1e-4), "dice": 1.0}


def test_two_bundles_are_compared_on_the_same_bones():
    one, other = evaluation(depth_mm=3.5, flexion_deg=-1.0), evaluation(dice=0.97)
    other.maps.pop()  # a bone that only one of them has
    lines = paired_tables({"wide": one}, {"wide": other}).splitlines()
    rows = {tuple(cells[:3]): cells[3:] for cells in ([c.strip() for c in line.split("|")[1:-1]] for line in lines[2:])}
    assert rows["wide", "hip", "depth, mm"] == ["6", "4.60", "4.10", "-0.50 [-0.50, -0.50]", "better"]
    assert rows["wide", "femur", "depth, mm"][0] == "5"
    assert rows["wide", "hip", "Dice"][-1] == "better"
    assert rows["wide", "femur", "flexion, degrees"][3:] == ["-2.0 [-2.0, -2.0]", "better"]
    assert rows["wide", "hip", "mirrored, mm"][-1] == "cannot be told"
    assert ("wide", "hip", "flexion, degrees") not in rows


def test_a_page_s_table_has_a_line_for_every_set_and_kind_of_bone():
    missed = evaluation()
    missed.surfaces[0] = replace(missed.surfaces[0], assd_mm=None)
    head, rule, *rows = summary_table({"wide": evaluation(), "choosing": missed}).splitlines()
    assert {line.count("|") for line in (head, rule, *rows)} == {head.count("|")}
    assert [row.split(" | ")[:4] for row in rows[:3]] == [
        ["| wide", "3", "hip", "0"],
        ["| wide", "3", "femur", "0"],
        ["| choosing", "3", "hip", "1"],
    ]
    assert "| 4.60 [4.50, 4.70] | 0.50 | 2.00 [2.00, 2.00] |" in rows[0]
    assert "| 3.0 | 1.00 | 2.0 |" in rows[1]
    assert "Dice 0.980" in in_words({"wide": evaluation()})
