"""The worker fetches a bundle that does not ship, tells how far it is, and stops where nobody wants it any more."""

import os
from dataclasses import replace

import pytest
from support.bundles import made_bundle, serving

from DualFaceReconLib.bundle.archives import pack
from DualFaceReconLib.bundle.store import installed
from DualFaceReconLib.errors import Cancelled
from DualFaceReconLib.worker import engine as engine_room
from DualFaceReconLib.worker.engine import Engine, Job
from DualFaceReconLib.worker.protocol import Fetch


@pytest.fixture
def published(tmp_path, monkeypatch):
    """An entry, without an address, and its archive's bytes; the user's own folder of bundles is empty."""
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "models"))
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr("DualFaceReconLib.bundle.fetch.CHUNK_BYTES", 512)
    entry = pack(made_bundle(tmp_path / "to publish"), tmp_path / "bundle.zip", "https://example.org/bundle.zip")
    return entry, (tmp_path / "bundle.zip").read_bytes()


def test_a_bundle_is_fetched_with_progress(published, tmp_path, monkeypatch):
    entry, content = published
    shares = []
    with serving(content) as server:
        monkeypatch.setattr(engine_room, "published", lambda id: replace(entry, url=server.url))
        job = Job(lambda: False, lambda stage, words, share: shares.append((stage, words, share)))
        answer = Engine(tmp_path).fetch(Fetch(entry.id), job)
    assert answer["bundle"]["id"] == entry.id
    assert [bundle.id for bundle in installed()] == [entry.id]
    assert shares[-1] == ("fetching", "Fetching the bundle", 1.0)
    assert len(shares) > 2


def test_a_fetch_that_nobody_wants_any_more_stops_and_goes_on_later(published, tmp_path, monkeypatch):
    entry, content = published
    shares = []
    with serving(content) as server:
        monkeypatch.setattr(engine_room, "published", lambda id: replace(entry, url=server.url))
        stopping = Job(lambda: len(shares) > 1, lambda stage, words, share: shares.append(share))
        with pytest.raises(Cancelled):
            Engine(tmp_path).fetch(Fetch(entry.id), stopping)
        assert installed() == []
        Engine(tmp_path).fetch(Fetch(entry.id), Job(lambda: False, lambda *_: None))
    assert [bundle.id for bundle in installed()] == [entry.id]
