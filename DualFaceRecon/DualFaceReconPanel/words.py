"""What the panel calls values, bones and its own controls, in the language that Slicer has now."""

from __future__ import annotations

from slicer.i18n import tr as _


def controls() -> dict[str, str]:
    """What is to be set, as `DualFaceReconLib.errors.worded` takes it; the panel's labels are called the same."""
    return {
        "pixel_pitch_mm": _("“Pixel pitch”"),
        "sdd_mm": _("“Source to detector”"),
        "object_distance_mm": _("“Detector to bones”"),
        "view": _("“View” {}"),
        "swap_sides": _("“Swap sides”"),
        "invert": _("“Bone is dark in this film”"),
        "field_px": _("“Exposed field”"),
        "overwrite": _("“Replace”"),
        "different_ids": _("“Files name different patients”"),
        "bundles": _("“Bundle”"),
        "fetch": _("press “Fetch...”"),
    }


def values() -> dict[str, str]:
    """What is known of a film, by the engine's names."""
    return {
        "size_px": _("Size"),
        "pixel_pitch_mm": _("Pixel pitch"),
        "sdd_mm": _("Source to detector"),
        "object_distance_mm": _("Detector to bones"),
        "principal_point_px": _("Central ray"),
        "view": _("View"),
        "orientation": _("Sides"),
        "polarity": _("Bright bone"),
        "collimation_px": _("Exposed field"),
        "side_letters": _("R or L in it"),
    }


def provenance() -> dict[str, str]:
    """Where a value came from."""
    return {
        "header": _("header"),
        "derived": _("derived"),
        "user": _("user"),
        "estimated": _("estimated"),
        "assumed": _("assumed"),
    }


def bones() -> dict[str, str]:
    """As `DualFaceReconLib.pictures.wording.bone_words` has them."""
    return {
        "hip_left": _("left hemipelvis"),
        "hip_right": _("right hemipelvis"),
        "femur_left": _("left femur"),
        "femur_right": _("right femur"),
    }


def grades() -> dict[str, str]:
    """Of `DualFaceReconLib.verdicts.GRADES`."""
    return {"good": _("good"), "doubtful": _("doubtful"), "not usable": _("not usable")}


def meanings() -> dict[str, str]:
    """Of measurements, by what their names hold."""
    return {
        "observed area": _("Area of the surface that the film has shown"),
        "envelope volume": _("Between what faces the source and what faces away: larger than the bone"),
        "share seen": _("Share of the completed bone's surface that the film has shown"),
        "distance to observed": _("Mean distance of the completed bone from what was seen of it"),
        "certainty where seen": _("One standard deviation of the surface where the film has shown it"),
        "certainty where inferred": _("One standard deviation of the surface where the shape model has completed it"),
        "certainty with distance": _("Of the whole surface, with how much nearer or farther all bones may lie"),
        "volume": _("Of the completed bone"),
        "diameter": _("Of the sphere that fits the joint's surface"),
        "distance of": _("Between the left and the right landmark"),
    }
