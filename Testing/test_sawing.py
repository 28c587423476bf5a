"""Sawn bones: NumPy cuts and closes them as VTK does, vertex by vertex, so that films are the same without it."""

import numpy as np
import pytest
from support.solids import ball
from vtkmodules.util.numpy_support import numpy_to_vtk
from vtkmodules.vtkCommonCore import vtkIdList
from vtkmodules.vtkCommonDataModel import vtkPolygon
from vtkmodules.vtkFiltersCore import vtkClipPolyData, vtkTriangleFilter

from DualFaceReconLib.meshes import arrays, polydata, volume_mm3
from training.anatomy.remeshing import open_edges
from training.patients.earcutting import triangles_over
from training.patients.sawing import clipped, sawn


def by_vtk(mesh, height):
    body = polydata(*mesh)
    body.GetPointData().SetScalars(numpy_to_vtk(height, deep=True))
    clip, flat = vtkClipPolyData(), vtkTriangleFilter()
    clip.SetInputData(body)
    clip.SetValue(0.0)
    flat.SetInputConnection(clip.GetOutputPort())
    flat.Update()
    return arrays(flat.GetOutput())


def over_by_vtk(outline):
    polygon, corners = vtkPolygon(), vtkIdList()
    polygon.GetPoints().SetNumberOfPoints(len(outline))
    polygon.GetPointIds().SetNumberOfIds(len(outline))
    for number, (x, y) in enumerate(outline):
        polygon.GetPoints().SetPoint(number, x, y, 0.0)
        polygon.GetPointIds().SetId(number, number)
    polygon.EarCutTriangulation(corners)
    return np.array([corners.GetId(k) for k in range(corners.GetNumberOfIds())]).reshape(-1, 3)


def outlines(count, corners):
    """Simple polygons, smooth and ragged ones, both ways round."""
    rng = np.random.default_rng(corners)
    for number in range(count):
        turn = 2 * np.pi * (np.arange(corners) + rng.uniform(-0.45, 0.45, corners)) / corners
        radius = 20 + 6 * np.sin(2 * turn) + rng.normal(0, rng.choice([0.3, 2, 4]), corners)
        outline = np.stack([radius * np.cos(turn), 0.6 * radius * np.sin(turn)], axis=1)
        yield outline[::-1] if number % 2 else outline


def test_what_a_cut_leaves_is_what_vtk_leaves():
    rng = np.random.default_rng(0)
    vertices, triangles = ball((10, -20, 30), 20, resolution=24)
    for _ in range(20):
        bumpy = vertices + rng.normal(0, 0.3, vertices.shape)
        height = (bumpy - bumpy.mean(axis=0)) @ rng.normal(size=3) - rng.normal()
        for ours, theirs in zip(clipped((bumpy, triangles), height), by_vtk((bumpy, triangles), height), strict=True):
            assert np.array_equal(ours, theirs)


@pytest.mark.parametrize("corners", [3, 4, 5, 12, 60])
def test_ears_are_cut_off_in_vtks_order(corners):
    for outline in outlines(60, corners):
        theirs = over_by_vtk(outline)
        ours = triangles_over(outline)
        assert (ours is None) == (len(theirs) < corners - 2)
        assert ours is None or ours.tolist() == theirs.tolist()


def test_an_outline_that_crosses_itself_or_has_two_corners_in_one_place_is_none():
    square = np.array([[0, 0], [4, 0], [4, 4], [0, 4.0]])
    assert len(triangles_over(square)) == 2
    assert triangles_over(square[[0, 1, 1, 2, 3]]) is None
    star = np.array([[np.cos(turn), np.sin(turn)] for turn in 4 * np.pi / 5 * np.arange(5)])
    assert triangles_over(star) is None


def test_a_sawn_ball_is_closed_and_lacks_a_wedge():
    """Kept is what lies below one plane or beside another: all but a quarter where both go through the middle."""
    whole = ball((5, 6, 7), 20)
    middle, down, left = whole[0].mean(axis=0), np.array([0, 0, -1.0]), np.array([-1.0, 0, 0])
    vertices, triangles = sawn(whole, middle + 0.3, down, middle + 0.2, left)
    assert open_edges(triangles) == 0
    assert volume_mm3(vertices, triangles) / volume_mm3(*whole) == pytest.approx(0.75, abs=0.03)
    assert sawn(whole, middle, down, middle - 100, left) is not None
    assert sawn(whole, middle + 100, down, middle, left) is None  # nothing is cut
