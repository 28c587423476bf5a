"""What the fixtures' test compares: the numbers of a reconstruction, a case and a scene, as plain values for JSON.

Nothing of ours is imported: `Testing/fixtures/expected.json` was written by these functions on older code.
"""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
from vtkmodules.util.numpy_support import vtk_to_numpy


def of_reconstruction(reconstruction: Any) -> dict[str, Any]:
    """All that a reconstruction's folder tells."""
    maps = reconstruction.maps
    return {
        "radiograph": of_radiograph(reconstruction.radiograph),
        "bundle": [reconstruction.bundle.id, reconstruction.bundle.version, reconstruction.bundle.sha256],
        "device": reconstruction.device,
        "timings_s": dict(reconstruction.timings_s),
        "warnings": [[warning.code, warning.text] for warning in reconstruction.warnings],
        "maps": of_maps(maps),
        "bones": {
            name: {
                "observed": of_mesh(bone.observed),
                "completed": bone.completed and of_mesh(bone.completed),
                "landmarks": {landmark: list(point) for landmark, point in bone.landmarks.items()},
                "measurements": _measurements(bone.measurements),
            }
            for name, bone in reconstruction.bones.items()
        },
        "measurements": _measurements(reconstruction.measurements),
    }


def of_radiograph(radiograph: Any) -> dict[str, Any]:
    """Grey values by their hash, and how it was taken."""
    window, collimation = radiograph.display_window, radiograph.collimation_px
    return {
        "pixel_hash": radiograph.pixel_hash,
        "file_format": radiograph.file_format,
        "geometry": _plain(radiograph.geometry.to_dict()),
        "orientation": [_plain(radiograph.orientation.value), str(radiograph.orientation.provenance)],
        "polarity": [_plain(radiograph.polarity.value), str(radiograph.polarity.provenance)],
        "collimation_px": collimation and _plain(collimation.value),
        "display_window": _plain(window),
        "warnings": [[warning.code, warning.text] for warning in radiograph.warnings],
    }


def of_maps(maps: Any) -> dict[str, Any]:
    """How many pixels every bone has, and its mean depths in mm."""
    masks = dict(zip(maps.bones, maps.mask, strict=True))
    depths = {"front": maps.front, "back": maps.back}
    return {
        "sizes": list(maps.mask.shape),
        "pixels": {bone: int(mask.sum()) for bone, mask in masks.items()},
        "mean_mm": {
            face: {bone: _mean(depth[i][mask]) for i, (bone, mask) in enumerate(masks.items())}
            for face, depth in depths.items()
        },
    }


def of_mesh(mesh: Any) -> dict[str, Any]:
    """Counts, bounds in mm and the mean of every array."""
    return {
        "points": mesh.GetNumberOfPoints(),
        "triangles": mesh.GetNumberOfPolys(),
        "bounds_mm": list(mesh.GetBounds()),
        "arrays": {**_arrays(mesh.GetPointData()), **_arrays(mesh.GetCellData())},
    }


def of_case(case: Any, radiograph: Any) -> dict[str, Any]:
    """Geometry, truth, and the film read from its file."""
    return {
        "geometry": _without_provenance(case.geometry),
        "bones": {
            bone: {
                "points": len(vertices),
                "triangles": len(triangles),
                "mean_mm": vertices.mean(axis=0).tolist(),
                "spread_mm": vertices.std(axis=0).tolist(),
                "corners": int(triangles.sum()),
            }
            for bone, (vertices, triangles) in case.meshes.items()
        },
        "maps": of_maps(case.maps),
        "radiograph": {  # without sentences, which come from today's code and not from the file
            "pixel_hash": radiograph.pixel_hash,
            "file_format": radiograph.file_format,
            "geometry": _without_provenance(radiograph.geometry),
            "orientation": radiograph.orientation.value,
            "polarity": radiograph.polarity.value,
            "collimation_px": radiograph.collimation_px and _plain(radiograph.collimation_px.value),
            "display_window": _plain(radiograph.display_window),
        },
    }


def of_scene(run: Any) -> dict[str, Any]:
    """A run's folder and its nodes by role and bone."""
    return {
        "id": run.id,
        "name": run.name,
        "nodes": {" ".join(key).strip(): _of_node(node) for key, node in sorted(run.nodes.items())},
    }


def _of_node(node: Any) -> dict[str, Any]:
    known: dict[str, Any] = {"class": node.GetClassName(), "name": node.GetName()}
    if node.IsA("vtkMRMLModelNode"):
        known["mesh"] = of_mesh(node.GetPolyData())
        known["colour"] = list(node.GetDisplayNode().GetColor())
        known["coloured_by"] = [
            node.GetDisplayNode().GetActiveScalarName(),
            node.GetDisplayNode().GetScalarVisibility(),
        ]
    elif node.IsA("vtkMRMLScalarVolumeNode"):
        image = node.GetImageData()
        grey = vtk_to_numpy(image.GetPointData().GetScalars())
        known |= {"sizes": list(image.GetDimensions()), "sha256": hashlib.sha256(grey.tobytes()).hexdigest()}
        known |= {"spacing_mm": list(node.GetSpacing()), "origin_mm": list(node.GetOrigin())}
    elif node.IsA("vtkMRMLSegmentationNode"):
        segmentation = node.GetSegmentation()
        known["segments"] = [segmentation.GetNthSegmentID(i) for i in range(segmentation.GetNumberOfSegments())]
    elif node.IsA("vtkMRMLMarkupsNode"):
        places = range(node.GetNumberOfControlPoints())
        known["points"] = {node.GetNthControlPointLabel(i): list(node.GetNthControlPointPosition(i)) for i in places}
        known["measured"] = node.GetAttribute("DualFaceRecon.measured")
    elif node.IsA("vtkMRMLTableNode"):
        table = node.GetTable()
        columns = range(table.GetNumberOfColumns())
        known["rows"] = [
            [table.GetValue(row, column).ToString() for column in columns] for row in range(table.GetNumberOfRows())
        ]
    elif node.IsA("vtkMRMLCameraNode"):
        known["position_mm"] = list(node.GetPosition())
    return known


def _without_provenance(geometry: Any) -> dict[str, Any]:
    return {name: value for name, value in _plain(geometry.to_dict()).items() if name != "provenance"}


def _arrays(data: Any) -> dict[str, list[Any]]:
    named = {data.GetArrayName(i): vtk_to_numpy(data.GetArray(i)) for i in range(data.GetNumberOfArrays())}
    return {name: [str(values.dtype), _mean(values)] for name, values in named.items()}


def _measurements(measurements: Any) -> dict[str, list[Any]]:
    return {name: [measured.value, measured.unit, measured.std] for name, measured in measurements.items()}


def _mean(values: np.ndarray) -> float | None:
    """None of no value, or of one that is not a number."""
    mean = float(np.mean(values, dtype=np.float64)) if values.size else np.nan
    return mean if np.isfinite(mean) else None


def _plain(value: Any) -> Any:
    """As it comes back from JSON."""
    if isinstance(value, dict):
        return {key: _plain(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(inner) for inner in value]
    return value.item() if isinstance(value, np.generic) else value
