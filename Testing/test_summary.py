"""`dualface summary`: a batch on one page, which opens anywhere, and whose links lead to pictures."""

import re
import shutil
import subprocess
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import SimpleITK as sitk
from support.batches import recorded

from DualFaceReconLib.batch.distribution import BARS, Spread, axis_of, histogram
from DualFaceReconLib.batch.page import alike
from DualFaceReconLib.cli import main

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome", "headless_shell")
AMBER, BLUE = (217, 130, 0), (91, 134, 184)


class Page(HTMLParser):
    """What a page links to and loads, and what it says."""

    def __init__(self, path):
        super().__init__()
        self.links, self.loaded, self.text = [], [], []
        self.feed(path.read_text(encoding="utf-8"))
        self.said = " ".join(" ".join(self.text).split())

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "a":
            self.links.append(attributes["href"])
        self.loaded += [value for name, value in attributes.items() if name in ("src", "data", "srcset", "xlink:href")]
        assert tag not in ("script", "link", "iframe", "img")

    def handle_data(self, data):
        self.text.append(data)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """120 films, of which two have hips far too large, 7 were refused and one failed; the page lies among them."""
    out = tmp_path_factory.mktemp("by Erika") / "results"
    recorded(out, 120)
    assert main(["summary", str(out), "-o", str(out / "page")]) == 0
    return out


def test_it_counts(results):
    page = Page(results / "page" / "summary.html")
    assert "120 films, a median of 1.5 s each" in page.said
    assert re.search("112 done 7 refused 1 failed 56 done, with warnings", page.said)
    assert "left hemipelvis 112 0 0" in page.said
    assert "right femur 0 0 112" in page.said
    assert "7 refused The picture is … x … pixels, which is too small: use the original. 0110, 0111" in page.said
    assert "1 failed The process that worked on it ended twice (by SIGKILL)" in page.said


def test_what_lies_far_out_links_to_its_picture(results):
    page = Page(results / "page" / "summary.html")
    assert "2 far out: 0012-00000000000c: 612.0 0007-000000000007: 98.0" in page.said
    pictures = [results / "page" / unquote(link) for link in page.links]
    assert [picture.resolve() for picture in pictures] == [
        results / name / "picture.png" for name in ("0012-00000000000c", "0007-000000000007")
    ]
    assert all(picture.is_file() for picture in pictures)


def test_it_needs_no_network_and_names_nobody(results):
    text = (results / "page" / "summary.html").read_text(encoding="utf-8")
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "Erika" not in text
    assert Page(results / "page" / "summary.html").loaded == []


def test_verdicts_are_counted_where_there_are_any(results, tmp_path):
    recorded(tmp_path / "out", 12, hip_left_verdict="doubtful", femur_left_verdict="not usable")
    main(["summary", str(tmp_path / "out"), "-o", str(tmp_path / "page")])
    page = Page(tmp_path / "page" / "summary.html")
    assert "Verdicts bone good doubtful not usable left hemipelvis 0 12 0 right hemipelvis 0 0 0 left femur 0 0 12" in (
        page.said
    )
    assert "Verdicts" not in Page(results / "page" / "summary.html").said


def test_what_is_no_batch_is_refused(tmp_path, capsys):
    assert main(["summary", str(tmp_path), "-o", str(tmp_path / "page")]) == 2
    assert "holds no summary.csv: name the output of `dualface batch`" in capsys.readouterr().err
    assert not (tmp_path / "page").exists()


def test_names_stand_in_it_where_the_batch_kept_them(tmp_path):
    recorded(tmp_path / "out", 20, name="Erika & film {}")
    main(["summary", str(tmp_path / "out"), "-o", str(tmp_path / "a b" / "page")])
    page = Page(tmp_path / "a b" / "page" / "summary.html")
    assert "Erika & film 12: 612.0" in page.said
    assert page.links[0] == "../../out/Erika%20%26%20film%2012/picture.png"


def test_reasons_are_counted_together_whatever_their_numbers():
    assert alike("12 x 1,024.5 pixels of 0.143 mm") == alike("1 x 2 pixels of 3 mm") == "… x … pixels of … mm"


def test_a_spread_has_a_median_and_knows_what_lies_far_out():
    values = np.array([*range(90, 111), 400.0])
    spread = Spread(np.arange(1, 23), values)
    assert spread.median == 100.5
    assert spread.far_out() == [21]
    assert spread.deviation == pytest.approx(1.4826 * 5.5)
    assert axis_of([spread]) == (90, pytest.approx(100.5 + 6 * spread.deviation))
    assert Spread(np.arange(3), np.array([1.0, 2.0, 50.0])).far_out() == []
    assert Spread(np.arange(12), np.array([5.0] * 11 + [6.0])).far_out() == []


def test_a_histogram_counts_every_film():
    spread = Spread(np.arange(1, 31), np.array([10.0] * 10 + [20.0] * 19 + [1000.0]))
    drawn = histogram(spread, (0.0, 36.0), "width & height")
    counts = [int(count) for count in re.findall(r": (\d+)</title>", drawn)]
    assert counts == [10, 19, 1]
    assert f'width="{360 / BARS - 1:.1f}"' in drawn
    assert "width &amp; height, 30 films, median 20.0" in drawn


def test_a_browser_shows_it_without_the_network(results, tmp_path):
    """Bars stand in it, amber where films lie far out."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        pytest.skip("no Chromium is installed, which opens the page")
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}"]
    command += ["--host-resolver-rules=MAP * ~NOTFOUND", "--hide-scrollbars", "--window-size=1200,1800"]
    picture = tmp_path / "page.png"
    page = (results / "page" / "summary.html").as_uri()
    done = subprocess.run(
        [*command, f"--screenshot={picture}", page], capture_output=True, text=True, timeout=120, check=False
    )
    assert picture.is_file(), done.stderr
    colours = sitk.GetArrayFromImage(sitk.ReadImage(str(picture)))[..., :3]
    assert (colours == AMBER).all(axis=-1).sum() > 50
    assert (colours == BLUE).all(axis=-1).sum() > 2000
