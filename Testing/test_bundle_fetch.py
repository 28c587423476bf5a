"""Bundles that are fetched: from a server on this machine, whole, in pieces, and in every way that goes wrong."""

import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import urllib.request
import zipfile
from dataclasses import asdict, replace
from email.message import Message
from io import BytesIO
from pathlib import Path

import pytest
from support.bundles import made_bundle, serving

from DualFaceReconLib.bundle.archives import pack
from DualFaceReconLib.bundle.fetch import SafeRedirects, fetch
from DualFaceReconLib.bundle.files import verify
from DualFaceReconLib.bundle.registry import parse_entry, published, registry
from DualFaceReconLib.bundle.store import find, installed, remove
from DualFaceReconLib.cli import main
from DualFaceReconLib.errors import Refusal
from training.__main__ import main as main_of_training

ROOT = Path(__file__).parent.parent


@pytest.fixture(autouse=True)
def models(tmp_path, monkeypatch):
    """The user's own folder of bundles; none ships. No proxy stands before this machine."""
    for variable in [name for name in os.environ if name.lower().endswith("_proxy")]:
        monkeypatch.delenv(variable)
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "my models ü"))
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED", tmp_path / "shipped")
    monkeypatch.setattr("DualFaceReconLib.bundle.store.SHIPPED_VERTEBRAE", tmp_path / "shipped vertebrae")
    monkeypatch.setattr("DualFaceReconLib.bundle.registry.REGISTRY", tmp_path / "shipped" / "registry.json")
    monkeypatch.setattr("DualFaceReconLib.bundle.fetch.CHUNK_BYTES", 512)
    return tmp_path / "my models ü"


@pytest.fixture
def archive(tmp_path):
    """A published bundle: its entry, without an address, and the archive's bytes."""
    return published_bundle(tmp_path)


def published_bundle(tmp_path, **changed):
    folder = made_bundle(tmp_path / "to publish", **changed)
    entry = pack(folder, tmp_path / "bundle.zip", "https://example.org/bundle.zip")
    return entry, (tmp_path / "bundle.zip").read_bytes()


def sealed(entry, content):
    """An entry for other content."""
    return replace(entry, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content))


def names(folder):
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def part_of(entry, models):
    return models / f".{entry.id}-{entry.version}.part"


# What goes well


def test_publishing_prints_the_entry_by_which_the_archive_is_fetched(tmp_path, capsys):
    folder = made_bundle(tmp_path / "hip")
    archive = tmp_path / "hip.zip"
    assert main_of_training(["publish", str(folder), str(archive), "--url", "https://example.org/hip.zip"]) == 0
    printed = parse_entry(json.loads(capsys.readouterr().out))
    assert printed == pack(folder, tmp_path / "again.zip", "https://example.org/hip.zip")
    assert archive.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_a_bundle_is_fetched_whole(archive, models):
    entry, content = archive
    steps = []
    with serving(content) as server:
        manifest = fetch(replace(entry, url=server.url), lambda done, total: steps.append((done, total)))
    assert names(models) == ["made-up-1.0.0"]
    assert verify(find("made-up")) == manifest
    assert steps[-1] == (len(content), len(content))
    assert [done for done, _ in steps] == sorted({done for done, _ in steps})
    assert len(steps) > 3


def test_nothing_about_the_user_is_sent(archive):
    entry, content = archive
    with serving(content) as server:
        fetch(replace(entry, url=server.url))
        (asked,) = server.asked
    host = f"127.0.0.1:{server.server_port}"
    assert asked == {
        "Host": host,
        "User-Agent": "DualFaceRecon",
        "Accept-Encoding": "identity",
        "Connection": "close",
    }


def test_what_is_here_and_sound_is_not_loaded_again(archive, models):
    entry, content = archive
    with serving(content) as server:
        entry = replace(entry, url=server.url)
        fetch(entry)
        fetch(entry)
        assert len(server.asked) == 1
        (models / "made-up-1.0.0" / "depth.safetensors").write_bytes(b"damaged")
        fetch(entry)
        assert len(server.asked) == 2
    assert verify(find("made-up"))
    assert names(models) == ["made-up-1.0.0"]


def test_a_broken_download_goes_on_where_it_stopped(archive, models):
    entry, content = archive
    with serving(content, "breaks") as server:
        entry = replace(entry, url=server.url)
        with pytest.raises(Refusal, match=rf"broke after {len(content) // 2} of {len(content)} .*same command again"):
            fetch(entry)
        assert part_of(entry, models).read_bytes() == content[: len(content) // 2]
        assert installed() == []
        server.way = "ranges"
        fetch(entry)
        assert server.asked[1]["Range"] == f"bytes={len(content) // 2}-"
    assert names(models) == ["made-up-1.0.0"]


@pytest.mark.parametrize("way", ["no ranges", "no length"])
def test_servers_that_cannot_go_on_or_tell_no_length_will_do(archive, models, way):
    entry, content = archive
    models.mkdir()
    part_of(entry, models).write_bytes(content[:700])
    with serving(content, way) as server:
        fetch(replace(entry, url=server.url))
    assert names(models) == ["made-up-1.0.0"]


def test_an_archive_that_had_come_whole_needs_no_server(archive, models):
    entry, content = archive
    models.mkdir()
    part_of(entry, models).write_bytes(content)
    fetch(entry)
    assert names(models) == ["made-up-1.0.0"]


def test_a_piece_that_is_too_long_or_wrong_is_started_anew(archive, models):
    entry, content = archive
    models.mkdir()
    with serving(content) as server:
        entry = replace(entry, url=server.url)
        part_of(entry, models).write_bytes(bytes(700))
        with pytest.raises(Refusal, match="sha256"):
            fetch(entry)
        assert names(models) == []
        part_of(entry, models).write_bytes(content + b"0")
        fetch(entry)
        assert "Range" not in server.asked[-1]


def test_a_user_who_stops_can_go_on(archive, models):
    entry, content = archive

    def stop(done, total):
        if done > total / 2:
            raise KeyboardInterrupt

    with serving(content) as server:
        entry = replace(entry, url=server.url)
        with pytest.raises(KeyboardInterrupt):
            fetch(entry, stop)
        begun = part_of(entry, models).stat().st_size
        assert len(content) / 2 < begun < len(content)
        fetch(entry)
        assert server.asked[1]["Range"] == f"bytes={begun}-"


def test_a_new_version_replaces_the_old_and_a_failure_keeps_it(tmp_path, archive, models):
    old, old_content = archive
    new, new_content = published_bundle(tmp_path, version="1.1.0", seed=1)
    with serving(old_content) as server:
        fetch(replace(old, url=server.url))
        with pytest.raises(Refusal):
            fetch(replace(new, url=server.url))  # the server still has the old one
        assert names(models) == ["made-up-1.0.0"]
        server.content = new_content
        assert fetch(replace(new, url=server.url)).version == "1.1.0"
    assert names(models) == ["made-up-1.1.0"]


def test_an_old_version_in_use_does_not_stand_in_the_way(tmp_path, archive, models, monkeypatch):
    old, old_content = archive
    new, new_content = published_bundle(tmp_path, version="1.1.0")
    with serving(old_content) as server:
        fetch(replace(old, url=server.url))
        server.content = new_content
        rename = Path.rename

        def windows(path, target):
            if path.name == "made-up-1.0.0":
                raise PermissionError(13, "The process cannot access the file")
            return rename(path, target)

        monkeypatch.setattr(Path, "rename", windows)
        fetch(replace(new, url=server.url))
    assert find("made-up") == models / "made-up-1.1.0"
    monkeypatch.setattr(Path, "rename", rename)
    assert remove("made-up") == ["made-up-1.0.0", "made-up-1.1.0"]
    assert names(models) == []


def test_what_had_come_can_be_removed(archive, models):
    entry, content = archive
    with serving(content, "breaks") as server, pytest.raises(Refusal):
        fetch(replace(entry, url=server.url))
    (models / ".made-up-0.9.0.gone").mkdir()
    (models / ".made-up-to-date-1.0.0.part").write_bytes(b"1")  # another bundle's
    assert remove("made-up") == []
    assert names(models) == [".made-up-to-date-1.0.0.part"]


def test_packing_gives_the_same_bytes_each_time(tmp_path, archive):
    entry, content = archive
    assert pack(tmp_path / "to publish", tmp_path / "bundle.zip", entry.url) == entry
    assert (tmp_path / "bundle.zip").read_bytes() == content
    (tmp_path / "to publish" / "depth.safetensors").write_bytes(b"damaged")
    with pytest.raises(Refusal, match="depth"):
        pack(tmp_path / "to publish", tmp_path / "other.zip", entry.url)
    assert not (tmp_path / "other.zip").exists()


# What goes wrong


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("missing", r"127\.0\.0\.1 does not give bundle made-up \(HTTP 404\)"),
        ("http://127.0.0.1:1/moved", "cannot be reached"),
        ("http://example.org/moved", "https alone"),
        ("file:///etc/passwd", "HTTP 302"),
        ("other piece", "another piece"),
    ],
)
def test_servers_that_do_not_serve_are_refused(archive, models, way, words):
    entry, content = archive
    models.mkdir()
    part_of(entry, models).write_bytes(content[:700])
    with serving(content, way) as server, pytest.raises(Refusal, match=words) as refused:
        fetch(replace(entry, url=server.url))
    assert "SECRET" not in str(refused.value)
    assert installed() == []
    assert names(models) in ([], [part_of(entry, models).name])


def test_a_server_that_is_gone_is_refused(archive):
    entry, content = archive
    with serving(content) as server:
        gone = replace(entry, url=server.url)
    with pytest.raises(Refusal, match=r"127\.0\.0\.1 cannot be reached for bundle made-up") as refused:
        fetch(gone)
    assert "SECRET" not in str(refused.value)


def never_more(done, total):
    assert done <= total


@pytest.mark.parametrize("way", ["ranges", "no length"])
@pytest.mark.parametrize("begun", [0, 700])
def test_other_content_is_refused_and_thrown_away(archive, models, way, begun):
    entry, content = archive
    models.mkdir()
    for other, words in (
        (content[:-1] + b"!", "sha256"),
        (content + b"more", "which has"),
        (content[:-300], "which has" if way == "ranges" else "broke after"),
        (b"<html>please log in</html>", "which has" if way == "ranges" or begun else "broke after"),
    ):
        part_of(entry, models).write_bytes(content[:begun])
        with serving(other, way) as server, pytest.raises(Refusal, match=words):
            fetch(replace(entry, url=server.url), never_more)
        assert installed() == []
        assert names(models) == ([part_of(entry, models).name] if words == "broke after" else [])


@pytest.mark.parametrize(
    "url",
    [
        *(
            "http://example.org/b.zip",
            "ftp://localhost/b.zip",
            "file:///etc/passwd",
            "data:,x",
            "/etc/passwd",
            "",
            "https://",
        ),
        *("https://user:SECRET@example.org/b.zip", "http://127.0.0.1.example.org/b.zip", "http://[::1/b.zip"),
        "http://localhost@example.org/b.zip",
    ],
)
def test_bundles_come_over_https_alone(archive, models, monkeypatch, url):
    monkeypatch.setattr(urllib.request, "build_opener", lambda *_: pytest.fail("it was opened"))
    with pytest.raises(Refusal, match="https alone") as refused:
        fetch(replace(archive[0], url=url))
    assert "SECRET" not in str(refused.value)
    assert names(models) == []


def test_https_is_not_given_up_on_the_way():
    request = urllib.request.Request("https://example.org/b.zip", headers={"Range": "bytes=7-"})
    redirects = SafeRedirects()
    for url in ("http://localhost/b.zip", "http://example.org/b.zip", "ftp://example.org/b.zip"):
        answer = BytesIO()
        with pytest.raises(Refusal, match="https alone"):
            redirects.redirect_request(request, answer, 302, "Found", Message(), url)
        assert answer.closed
    onward = redirects.redirect_request(request, BytesIO(), 302, "Found", Message(), "https://cdn.example.org/b.zip")
    assert onward.full_url == "https://cdn.example.org/b.zip"
    assert onward.get_header("Range") == "bytes=7-"


def zipped(members, compression=zipfile.ZIP_DEFLATED):
    """An archive of (name or ZipInfo, content) pairs."""
    packed = BytesIO()
    with zipfile.ZipFile(packed, "w", compression) as file:
        for name, content in members:
            file.writestr(name, content)
    return packed.getvalue()


def link(name):
    info = zipfile.ZipInfo(name)
    info.create_system, info.external_attr = 3, 0o120777 << 16
    return info


def with_field(content, after_signature, value):
    """The same archive with a field of every member changed: 2 is its flags, 4 its compression."""
    content = bytearray(content)
    for mark, at in ((b"PK\x03\x04", 4), (b"PK\x01\x02", 6)):
        place = content.find(mark)
        while place >= 0:
            content[place + at + after_signature] = value
            place = content.find(mark, place + 4)
    return bytes(content)


def lying(files, name, content):
    """An archive that holds more of a member than it tells."""
    packed = zipped({**files, name: content}.items())
    return packed.replace(struct.pack("<I", len(content)), struct.pack("<I", len(files[name])))


HOSTILE = {
    "no zip": lambda files: b"PK" + bytes(300),
    "cut zip": lambda files: zipped(files.items())[:-30],
    "no manifest": lambda files: zipped([(n, c) for n, c in files.items() if n != "manifest.json"]),
    "a file less": lambda files: zipped([(n, c) for n, c in files.items() if n != "hip.ssm.npz"]),
    "a stowaway": lambda files: zipped([*files.items(), ("run.py", b"print()")]),
    "a way out": lambda files: zipped([*files.items(), ("../../escaped.txt", b"1")]),
    "an absolute way": lambda files: zipped([*files.items(), ("/tmp/escaped.txt", b"1")]),
    "a folder": lambda files: zipped([(f"bundle/{n}", c) for n, c in files.items()]),
    "a damaged file": lambda files: zipped(
        {**files, "depth.safetensors": files["depth.safetensors"][:-1] + b"!"}.items()
    ),
    "a bomb": lambda files: zipped({**files, "depth.safetensors": bytes(50_000_000)}.items()),
    "a bomb that lies of its size": lambda files: lying(files, "depth.safetensors", bytes(50_000_000)),
    "a manifest bomb": lambda files: zipped({**files, "manifest.json": b" " * 50_000_000}.items()),
    "no manifest of ours": lambda files: zipped({**files, "manifest.json": b"{}"}.items()),
    "encrypted": lambda files: with_field(zipped(files.items()), 2, 1),
    "unknown compression": lambda files: with_field(zipped(files.items()), 4, 99),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_archives_are_refused_though_published(tmp_path, archive, models, case):
    entry, _ = archive
    files = {path.name: path.read_bytes() for path in (tmp_path / "to publish").iterdir()}
    content = HOSTILE[case](files)
    before = names(tmp_path)
    words = "holds other files" if "bomb" in case else "made-up"  # seen by what the archive tells, not by unpacking it
    with serving(content) as server, pytest.raises(Refusal, match=words):
        fetch(replace(sealed(entry, content), url=server.url))
    assert names(models) == []
    assert names(tmp_path) == sorted([*before, models.name])
    assert not Path("/tmp/escaped.txt").exists()


def test_a_member_twice_is_refused(tmp_path, archive, models):
    files = {path.name: path.read_bytes() for path in (tmp_path / "to publish").iterdir()}
    with pytest.warns(UserWarning, match="Duplicate"):
        content = zipped([*files.items(), ("manifest.json", b"{}")])
    with serving(content) as server, pytest.raises(Refusal, match="damaged or holds other files"):
        fetch(replace(sealed(archive[0], content), url=server.url))
    assert names(models) == []


def test_links_in_archives_become_plain_files(tmp_path, archive, models):
    """Nothing that an archive says of its members but their names and bytes counts."""
    files = {path.name: path.read_bytes() for path in (tmp_path / "to publish").iterdir()}
    content = zipped([(link(name) if name == "hip.ssm.npz" else name, data) for name, data in files.items()])
    with serving(content) as server:
        fetch(replace(sealed(archive[0], content), url=server.url))
    assert not (models / "made-up-1.0.0" / "hip.ssm.npz").is_symlink()


def test_another_bundle_than_announced_is_refused(archive, models):
    entry, content = archive
    with serving(content) as server:
        for wrong in ({"id": "other"}, {"version": "1.0.1"}):
            with pytest.raises(Refusal, match="holds another"):
                fetch(replace(entry, url=server.url, **wrong))
    assert names(models) == []


@pytest.mark.parametrize("fails_at", ["download", "unpacking", "renaming"])
def test_a_full_disk_leaves_the_old_bundle_and_nothing_else(tmp_path, archive, models, monkeypatch, fails_at):
    old, old_content = archive
    new, new_content = published_bundle(tmp_path, version="1.1.0")
    with serving(old_content) as server:
        fetch(replace(old, url=server.url))
        server.content = new_content

        def full(*_):
            raise OSError(28, "No space left on device")

        if fails_at == "download":
            opened = Path.open
            monkeypatch.setattr(
                Path,
                "open",
                lambda p, mode="r", *a, **k: full() if "b" in mode and "r" not in mode else opened(p, mode, *a, **k),
            )
        elif fails_at == "unpacking":
            monkeypatch.setattr(shutil, "copyfileobj", full)
        else:
            monkeypatch.setattr(Path, "rename", full)
        with pytest.raises(Refusal, match=r"made-up cannot be kept .*No space left.*make room"):
            fetch(replace(new, url=server.url))
    assert names(models) == ["made-up-1.0.0"]
    assert verify(find("made-up")).version == "1.0.0"


def test_too_little_room_is_said_before_anything_is_loaded(archive, models, monkeypatch):
    entry, content = archive
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6, len(content)))
    with serving(content) as server, pytest.raises(Refusal, match="MB free"):
        fetch(replace(entry, url=server.url))
    assert server.asked == []
    assert names(models) == []


def test_a_models_folder_that_is_none_is_refused(archive, models, monkeypatch, tmp_path):
    (tmp_path / "file").write_text("1")
    monkeypatch.setenv("DUALFACE_MODELS", str(tmp_path / "file" / "models"))
    with pytest.raises(Refusal, match="DUALFACE_MODELS"):
        fetch(archive[0])


# Registries and the command


def written(path, *entries):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps({"bundles": [asdict(entry) for entry in entries]}), encoding="utf-8")
    return path


def test_registries_are_read_and_refused(tmp_path, archive):
    entry, _ = archive
    assert registry() == ()
    path = written(tmp_path / "shipped" / "registry.json", entry)
    assert registry() == registry(path) == (entry,)
    assert published("made-up") == entry
    with pytest.raises(Refusal, match=r"No bundle 'other' can be fetched; made-up can"):
        published("other")
    with pytest.raises(Refusal, match="cannot be read"):
        registry(tmp_path / "nothing.json")
    values = asdict(entry)
    for wrong in (
        *(
            {"id": "../x"},
            {"id": 3},
            {"version": "1"},
            {"sha256": "0"},
            {"sha256": None},
            {"bytes": -1},
            {"bytes": "1"},
        ),
        *({"bytes": True}, {"bytes": 1 << 50}, {"url": None}, {"url": "https://x\x1b[31m"}, {"more": 1}),
    ):
        path.write_text(json.dumps({"bundles": [{**values, **wrong}]}))
        with pytest.raises(Refusal, match="no registry"):
            registry(path)
    for text in ("", "[]", "{}", '{"bundles": 3}', '{"bundles": [3]}', "[" * 100_000):
        path.write_text(text)
        with pytest.raises(Refusal, match="no registry"):
            registry(path)


def run(*arguments):
    command = [sys.executable, "-m", "DualFaceReconLib", "models", *map(str, arguments)]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", check=False)


def test_the_command_from_outside(archive, models, tmp_path, capsys):
    def listed_here():
        assert main(["models", "list", "--registry", str(listed)]) == 0
        return capsys.readouterr().out

    entry, content = archive
    with serving(content, "breaks") as server:
        listed = written(tmp_path / "lab ü" / "registry.json", replace(entry, url=server.url))
        done = run("fetch", "made-up", "--registry", listed)
        assert done.returncode == 2
        assert "broke after" in done.stderr
        assert "SECRET" not in done.stdout + done.stderr
        assert "can be fetched" in listed_here()
        server.way = "ranges"
        done = run("fetch", "made-up", "--registry", listed)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("made-up 1.0.0 is here and sound")
    assert "can be fetched" not in listed_here()
    assert main(["models", "verify", "made-up"]) == 0
    assert main(["models", "remove", "made-up"]) == 0
    assert names(models) == []


def test_whoever_watches_sees_how_far_it_is_and_can_stop(archive, tmp_path, models, monkeypatch, capsys):
    entry, content = archive
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True, raising=False)
    with serving(content) as server:
        listed = written(tmp_path / "registry.json", replace(entry, url=server.url))
        write = sys.stderr.write

        def interrupted(text):
            if text.startswith("\r"):
                raise KeyboardInterrupt
            return write(text)

        monkeypatch.setattr(sys.stderr, "write", interrupted)
        assert main(["models", "fetch", "made-up", "--registry", str(listed)]) == 2
        assert "goes on from here" in capsys.readouterr().err
        assert part_of(entry, models).exists()
        monkeypatch.setattr(sys.stderr, "write", write)
        assert main(["models", "fetch", "made-up", "--registry", str(listed)]) == 0
    assert f"\r{len(content) / 1e6:.1f} MB of {len(content) / 1e6:.1f} MB\n" in capsys.readouterr().err
