"""What a film is to show: on that hangs what is refused, and what is assumed where nobody says it."""

from __future__ import annotations

from dataclasses import dataclass

from DualFaceReconLib.geometry import Provenance

# Magnification of the hip on routine films: 119.8 % (117 to 123.4) in Brew et al., J Arthroplasty 27:643 (2012),
# 121 % in Franken et al., J Bone Joint Surg Br 92:1345 (2010), 114 +- 4 % in Wangjiraphan et al., Lampang Med J
# (2019). At 1150 mm these are 190, 200 and 142 mm from the detector.
POPULATION_OBJECT_DISTANCE_MM = 180.0
POPULATION_OBJECT_DISTANCE = Provenance(
    "assumed",
    "population mean from published hip magnifications of 114 to 121 % (Brew 2012, Franken 2010, Wangjiraphan 2019)",
    spread=35.0,
)
# Height of the hips above the table: 0.45 of the body's thickness there in CT (King et al., J Bone Joint Surg Br
# 91:1217, 2009), adults being 180 to 280 mm thick at the hips.
TABLE_TO_BONES_MM = 100.0
TABLE_TO_BONES_SPREAD_MM = 20.0
# Hip films are taken at 1000 to 1200 mm; Clohisy et al., J Bone Joint Surg Am 90 Suppl 4:47 (2008), ask for 1200.
ASSUMED_SDD = Provenance("assumed", "the middle of the usual 1000 to 1200 mm for hip films", spread=60.0)
ASSUMED_SDD_MM = 1100.0
# DICOM's Body Part Examined values (and plain spellings)
# fmt: off
FAR_PARTS = frozenset({
    "BREAST", "CLAVICLE", "SCAPULA", "SHOULDER", "HUMERUS", "ARM", "ELBOW", "FOREARM", "WRIST", "HAND", "FINGER",
    "THUMB", "SKULL", "HEAD", "FACE", "JAW", "MANDIBLE", "MAXILLA", "TEETH", "NECK", "CSPINE", "KNEE", "PATELLA",
    "TIBIA", "FIBULA", "CALF", "ANKLE", "FOOT", "TOE", "CALCANEUS", "HEEL",
})
HIP_WORDS = frozenset({"HIP", "HIPS", "PELVIS", "FEMUR", "FEMURS", "FEMORAL", "ACETABULUM"})
SPINE_WORDS = frozenset({
    "SPINE", "TSPINE", "LSPINE", "TLSPINE", "LSSPINE", "WSPINE", "LUMBAR", "THORACIC", "LUMBOSACRAL", "VERTEBRA",
    "VERTEBRAE", "VERTEBRAL", "BACK",
})
# fmt: on


@dataclass(frozen=True, kw_only=True)
class FilmSubject:
    """What a film is to show, and from where."""

    name: str  # of what it shows, as in "make sure that it is a hip"
    bones: str  # that are made of it, as in "only hips can be reconstructed"
    own_words: frozenset[str]  # body parts that show it
    other_parts: frozenset[str]  # and those that cannot
    sideways: bool  # taken from the patient's side, where hips are taken from in front or behind
    around: bool  # one of several films around the patient: the angle of the tube is no fault
    sdd_mm: float  # assumed from source to detector, and why
    sdd: Provenance
    object_distance_mm: float  # assumed from detector to bones, and why
    object_distance: Provenance
    table_to_bones_mm: float  # from the table's side that is next to the patient, and where that is from
    table_to_bones: Provenance


HIPS = FilmSubject(
    name="hip",
    bones="hips",
    own_words=HIP_WORDS,
    other_parts=FAR_PARTS | {"CHEST", "THORAX", "LUNG", "RIB", "RIBS", "HEART", "STERNUM", "TSPINE"},
    sideways=False,
    around=False,
    sdd_mm=ASSUMED_SDD_MM,
    sdd=ASSUMED_SDD,
    object_distance_mm=POPULATION_OBJECT_DISTANCE_MM,
    object_distance=POPULATION_OBJECT_DISTANCE,
    table_to_bones_mm=TABLE_TO_BONES_MM,
    table_to_bones=Provenance("derived", "King 2009", TABLE_TO_BONES_SPREAD_MM),
)
# Vertebral bodies lie 60 to 110 mm before the skin of the back, and in the middle between both sides; tables and grids
# take 50 to 90 mm. These and their spreads are ours.
_OF_SPINES = {
    "name": "spine",
    "bones": "vertebrae",
    "own_words": SPINE_WORDS,
    "other_parts": FAR_PARTS,
    "around": True,
    "sdd_mm": 1150.0,
    "sdd": Provenance("assumed", "the middle of the usual 1000 to 1300 mm for spine films, our estimate", spread=75.0),
}
SPINE_FRONTAL = FilmSubject(
    **_OF_SPINES,
    sideways=False,
    object_distance_mm=160.0,
    object_distance=Provenance("assumed", "our estimate for a spine film from in front or behind", spread=35.0),
    table_to_bones_mm=85.0,
    table_to_bones=Provenance("derived", "our estimate for a patient who lies on the back", 25.0),
)
SPINE_LATERAL = FilmSubject(
    **_OF_SPINES,
    sideways=True,
    object_distance_mm=250.0,
    object_distance=Provenance("assumed", "our estimate for a spine film from the side", spread=40.0),
    table_to_bones_mm=180.0,
    table_to_bones=Provenance("derived", "our estimate for a patient who lies on the side", 30.0),
)
