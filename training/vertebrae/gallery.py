"""Virtual vertebrae to look at: a sheet of their surfaces, a sheet of slices through what they are made of, a table."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from DualFaceReconLib.backprojection import Cube
from DualFaceReconLib.disk.files import write_text
from DualFaceReconLib.pictures import drawing
from training.vertebrae.anatomy import tiled, views
from training.vertebrae.density import density, draw_composition
from training.vertebrae.parts import dimensions
from training.vertebrae.sizes import measured_size, published_size
from training.vertebrae.virtual import Stock, VirtualVertebra, sample_vertebra

SLICED = 12  # vertebrae on the sheet of slices
SIDE, VOXEL_MM = 112, 1.0  # of their cubes
WINDOW_HU = (-100.0, 1000.0)
BONE_COLOUR = (235, 225, 200)


def show(stock: Stock, count: int, seed: int, out: Path) -> str:
    """Writes `surfaces.png`, `slices.png` and `sizes.md` of the vertebrae of `count` seeds; gives the table."""
    out.mkdir(parents=True, exist_ok=True)
    drawn = [sample_vertebra(stock, number) for number in range(seed, seed + count)]
    panels = []
    for vertebra in drawn:
        panel = np.hstack(views(vertebra.mesh, np.zeros(len(vertebra.mesh[0])), [BONE_COLOUR, BONE_COLOUR]))
        drawing.write(panel, _caption(vertebra), (3, 4), 12)
        panels.append(panel)
    drawing.save_png(tiled(panels), out / "surfaces.png")
    drawing.save_png(tiled([_slices(vertebra) for vertebra in drawn[:SLICED]]), out / "slices.png")
    text = sizes_table(drawn)
    write_text(out / "sizes.md", text)
    return text


def sizes_table(drawn: list[VirtualVertebra]) -> str:
    """Bodies' width, depth and height behind, mm, by level: mean and deviation of those who are well, and published."""
    lines = [
        "# Virtual vertebrae",
        "",
        "| level | vertebrae | fractured | width | depth | height behind | published |",
        "|---|---|---|---|---|---|---|",
    ]
    for level in dict.fromkeys(sorted((v.level for v in drawn), key=lambda name: (name[0] != "T", int(name[1:])))):
        of_level = [vertebra for vertebra in drawn if vertebra.level == level]
        well = [vertebra for vertebra in of_level if vertebra.metadata["fracture"] is None]
        sizes = np.array([measured_size(dimensions(v.mesh[0], v.parts)) for v in well]).reshape(-1, 3)
        columns = [f"{side.mean():.1f} ({side.std():.1f})" if len(side) else "" for side in sizes.T]
        published = " / ".join(f"{side:.1f}" for side in published_size(level))
        lines.append(
            f"| {level} | {len(of_level)} | {len(of_level) - len(well)} | {' | '.join(columns)} | {published} |"
        )
    return "\n".join(lines) + "\n"


def _caption(vertebra: VirtualVertebra) -> str:
    metadata = vertebra.metadata
    words = [f"{metadata['seed']}: {vertebra.level}"]
    if fracture := metadata["fracture"]:
        words.append(f"{fracture['grade']} {fracture['kind']}")
    if metadata["osteophytes"]:
        words.append(f"{len(metadata['osteophytes'])} osteophytes")
    return ", ".join(words)


def _slices(vertebra: VirtualVertebra) -> np.ndarray:
    """The midsagittal slice from the right, and the axial one through the middle of the body from above."""
    seed = vertebra.metadata["seed"]
    low, high = vertebra.mesh[0].min(axis=0), vertebra.mesh[0].max(axis=0)
    cube = Cube(centre=(0.0, float(low[1] + high[1]) / 2, float(low[2] + high[2]) / 2), side=SIDE, voxel_mm=VOXEL_MM)
    values = density(vertebra.mesh, vertebra.parts, draw_composition(np.random.default_rng([seed, 22])), cube, seed)
    middle = np.rint(cube.indices(np.zeros(3))).astype(int)
    pictures = [values[middle[0]].T[::-1], values[:, :, middle[2]].T[::-1]]
    panel = np.hstack([drawing.grey_picture(picture, WINDOW_HU) for picture in pictures])
    drawing.write(panel, _caption(vertebra), (2, 2), 10)
    return panel
