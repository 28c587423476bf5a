"""Work on a Dask cluster of three workers on this machine: some are lost, and every item is done once."""

import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

import pytest
from support.batches import rows_of, save_film, stand_in_bundle
from support.bones import made_population
from support.light import LightWork
from support.works import Prepare, begun

from DualFaceReconLib.batch import run as batch_run
from DualFaceReconLib.batch.films import FilmFile
from DualFaceReconLib.batch.job import Choices, FilmJob, ToDo, sent
from DualFaceReconLib.batch.record import MAP, SUMMARY
from DualFaceReconLib.cli import main
from DualFaceReconLib.errors import Refusal
from DualFaceReconLib.film.acquisition import Overrides
from DualFaceReconLib.parallel.work import Lost
from training.judging.evaluate import evaluate
from training.simulate import Series, simulate

cluster = pytest.importorskip("DualFaceReconLib.parallel.cluster", reason="Dask is not installed", exc_type=Refusal)
SAMPLES = Path(__file__).parent.parent / "Resources" / "Samples"
pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX")


@pytest.fixture(scope="module")
def road():
    with cluster.on_cluster("local", 3, longest_s=20.0) as made:
        yield made


def test_items_that_kill_cost_themselves_alone(road, tmp_path):
    items, lost, said = ["a", "kill-once x", "kill y", *"bcdefg"], [], []
    came = dict(road(Prepare(tmp_path), items, began=said.append, lost=lost.append))
    assert said == ["ready"]
    assert [came[n][0] for n in range(len(items)) if n != 2] == [*items[:2], *items[3:]]
    assert {threads for _, threads in (came[n] for n in range(len(items)) if n != 2)} == {"1"}
    assert isinstance(came[2], Lost)
    assert came[2].kills
    assert lost == ["kill y"]
    assert begun(tmp_path) == sorted([*items, "kill-once x", "kill y"])


def test_a_second_cluster_on_this_machine_is_as_quiet_as_the_first(road, capfd):
    with cluster.on_cluster("local", 1) as other:  # a warning of its port would be an error here
        servers = [each._client.cluster.scheduler.http_server for each in (road, other)]
    assert {server.address for server in servers} == {"127.0.0.1"}
    assert len({server.port for server in servers}) == 2
    assert capfd.readouterr() == ("", "")


def test_errors_come_back(road, tmp_path):
    with pytest.raises(ValueError, match="raise it"):
        list(road(Prepare(tmp_path), ["a", "raise it"]))
    (tmp_path / "refuse").touch()
    with pytest.raises(Refusal, match="damaged"):
        list(road(Prepare(tmp_path), ["a"]))


def test_a_lost_worker_costs_no_film(road, tmp_path, monkeypatch):
    """One of three is killed amid a batch: every film is done once, none twice, and nothing is left half-written."""
    films, out = tmp_path / "films of Erika", tmp_path / "out"
    for seed in range(14):
        save_film(films / f"Erika {seed}.dcm", seed)
    monkeypatch.setattr(batch_run, "FilmWork", LightWork)
    killed = []
    killing = threading.Thread(target=_kill_one, args=(road, (tmp_path / "saved").exists, killed.append))
    killing.start()
    bundle = stand_in_bundle(tmp_path / "bundle")
    said = []
    outcome = batch_run.run_batch(films, out, choices=Choices(bundle), road=road, say=said.append)
    killing.join()
    assert killed
    assert killed[0] not in road._client.nthreads()
    assert outcome.films["done"] == 14, said
    summary = rows_of(out / SUMMARY)
    hashes = [row["pixel_hash"] for row in summary]
    assert sorted((tmp_path / "saved").read_text().split()) == sorted(hashes)
    assert 14 <= len((tmp_path / "begun").read_text().split()) <= 15
    assert sorted(path.name for path in out.iterdir()) == sorted([MAP, SUMMARY, *(row["folder"] for row in summary)])
    for row in summary:
        assert sorted(path.name for path in (out / row["folder"]).iterdir()) == ["picture.png", "reconstruction.json"]
    logs = [road._client.get_scheduler_logs(), *road._client.get_worker_logs().values()]
    assert "Erika" not in str(logs) + "".join(said)


def _kill_one(road, when, killed=lambda address: None):
    """Kills a Dask worker as soon as that is so."""
    while not when():
        time.sleep(0.02)
    address, process = next(iter(road._client.run(os.getpid).items()))
    os.kill(process, signal.SIGKILL)
    killed(address)


def test_films_are_sent_where_workers_do_not_see_them(road, tmp_path, monkeypatch):
    save_film(tmp_path / "films" / "Erika.dcm", 1)
    (tmp_path / "films" / "bad.png").write_bytes(b"no picture")
    monkeypatch.setattr(batch_run, "FilmWork", LightWork)
    monkeypatch.setattr(type(road), "sees", lambda self, path: path.name == ".lock")
    bundle = stand_in_bundle(tmp_path / "bundle")
    real, packed = batch_run.sent, []
    monkeypatch.setattr(batch_run, "sent", lambda to_do: packed.append(real(to_do)) or packed[-1])
    outcome = batch_run.run_batch(tmp_path / "films", tmp_path / "out", choices=Choices(bundle), road=road, say=str)
    assert (outcome.films["done"], outcome.films["refused"]) == (1, 1)
    assert {to_do.job.film.path.name for to_do in packed} == {"film.dcm", "film.png"}
    monkeypatch.setattr(type(road), "sees", lambda self, path: False)
    with pytest.raises(Refusal, match="Not every worker sees the output"):
        batch_run.run_batch(tmp_path / "films", tmp_path / "other", choices=Choices(bundle), road=road, say=str)


def test_a_film_that_is_sent_has_no_name(tmp_path):
    path = save_film(tmp_path / "Erika.dcm", 3)
    to_do = ToDo(FilmJob(1, FilmFile(path, Overrides(sdd_mm=1234)), "", "settings"), None)
    packed = sent(to_do)
    assert "Erika" not in str(packed.job.film)
    path.unlink()
    assert packed.film().geometry.sdd_mm == 1234
    assert sent(to_do).content is None
    assert "Erika" not in repr(to_do) + repr(packed)


def test_no_scheduler_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cluster, "PATIENCE", "300ms")
    save_film(tmp_path / "films" / "a.dcm", 1)
    command = ["batch", str(tmp_path / "films"), "-o", str(tmp_path / "out"), "--scheduler"]
    assert main([*command, "tcp://127.0.0.1:1"]) == 2
    assert "No scheduler answers at tcp://127.0.0.1:1" in capsys.readouterr().err
    with pytest.raises(SystemExit):
        main([*command, "FILMS"])
    assert "is no address of a scheduler" in capsys.readouterr().err


def test_without_dask_it_is_said_what_to_install(tmp_path, monkeypatch, capsys):
    monkeypatch.delitem(sys.modules, cluster.__name__)
    monkeypatch.setitem(sys.modules, "distributed", None)
    save_film(tmp_path / "films" / "a.dcm", 1)
    assert main(["batch", str(tmp_path / "films"), "-o", str(tmp_path / "out"), "--scheduler", "local"]) == 2
    assert "pip install dualfacerecon[cluster]" in capsys.readouterr().err


@pytest.mark.slow
def test_a_lost_worker_costs_no_film_of_the_bundle_that_ships(road, tmp_path):
    """The same bytes as on one machine, but for what clocks say."""
    for name in ("pelvis_1", "pelvis_2", "pelvis_3", "one_hip_1", "one_hip_2"):
        shutil.copy(SAMPLES / f"{name}.dcm", tmp_path)
    alone, out = tmp_path / "alone", tmp_path / "out"
    assert main(["batch", str(tmp_path), "-o", str(alone), "--jobs", "1"]) == 0
    killing = threading.Thread(target=_kill_one, args=(road, lambda: any(out.glob("0*"))))
    killing.start()
    slow = cluster.OnCluster(road._client, longest_s=600)
    outcome = batch_run.run_batch(tmp_path, out, road=slow, say=str)
    killing.join()
    assert outcome.films["done"] == 5
    files = sorted(path.relative_to(alone) for path in alone.rglob("*.*"))
    assert files == sorted(path.relative_to(out) for path in out.rglob("*.*"))
    clocked = ("reconstruction.json", "report.html", SUMMARY)
    others = [name for name in files if (alone / name).is_file() and name.name not in clocked]
    assert len(others) > 5 * 10
    assert [name for name in others if (alone / name).read_bytes() != (out / name).read_bytes()] == []


@pytest.mark.slow
def test_cases_are_made_and_measured_on_a_cluster_as_they_are_here(road, tmp_path):
    population = made_population()
    series, long = Series(seed=5, size_px=400), cluster.OnCluster(road._client, longest_s=600)
    folders = simulate(population, 3, series, tmp_path / "cluster", say=str, road=long)
    here = simulate(population, 3, series, tmp_path / "here", say=str)
    for there, folder in zip(folders, here, strict=True):
        names = sorted(path.relative_to(folder) for path in folder.rglob("*") if path.is_file())
        assert len(names) == 10
        assert [name for name in names if (there / name).read_bytes() != (folder / name).read_bytes()] == []
    assert evaluate(folders, (96,), emd=False, say=str, road=long) == evaluate(folders, (96,), emd=False, say=str)
