"""Recipes: every one that ships is whole, every knob is explained, and what is wrong in one is refused by name."""

import ast
import inspect
from pathlib import Path

import pytest

from DualFaceReconLib.errors import Refusal
from training.learning import recipe as recipes
from training.learning.augment import GREY_CHANGES
from training.learning.losses import DEPTH_LOSSES
from training.learning.recipe import (
    EpochLearning,
    Learning,
    Masking,
    PretrainRecipe,
    Recipe,
    TimeLearning,
    TrainingFilms,
    VertebraFilms,
    read_recipe,
)
from training.learning.schedule import rate_after, rate_at
from training.learning.tasks import network_of
from training.patients.kept_out import kept_out_people

RECIPES = Path(__file__).parent.parent / "training" / "recipes"


@pytest.mark.parametrize(
    "path",
    sorted(p for p in RECIPES.glob("*_*.toml") if "judging" not in p.name and not p.name.startswith("ear")),
    ids=lambda p: p.stem,
)
def test_every_recipe_is_whole_and_ends_at_the_bottom_of_a_cycle(path):
    recipe = read_recipe(path)
    by_time = isinstance(recipe.learning, TimeLearning)
    end = rate_after(recipe, 1.0) if by_time else rate_at(recipe, recipe.learning.epochs - 1e-6)
    assert end == pytest.approx(0, abs=1e-9)
    assert path.read_text(encoding="utf-8").startswith("# ")
    assert recipe.films.size_px * recipe.films.mm_per_pixel == 384
    if path.stem.startswith("small"):
        network = network_of(recipe)
        megabytes = 2e-6 * sum(p.numel() for p in network.parameters())
        assert megabytes < (5 if recipe.task == "segmentation" else 7)


def test_every_knob_is_explained_below_its_field():
    bodies = {
        node.name: node.body for node in ast.parse(inspect.getsource(recipes)).body if isinstance(node, ast.ClassDef)
    }
    unexplained = []
    sections = (TrainingFilms, VertebraFilms, Learning, EpochLearning, TimeLearning, Masking)
    for kind in (Recipe, PretrainRecipe, *sections):
        for knob, below in zip(bodies[kind.__name__], [*bodies[kind.__name__][1:], None], strict=True):
            explained = isinstance(below, ast.Expr) and below.value.value.strip()
            if isinstance(knob, ast.AnnAssign) and not explained:
                unexplained.append(f"{kind.__name__}.{knob.target.id}")
    # each a class with its own words
    assert unexplained == ["Recipe.films", "Recipe.learning", "PretrainRecipe.masking"]
    assert all(kind.__doc__.startswith("[") for kind in sections)


def changed(tmp_path, before, after, name="small_depth"):
    """The recipe of a name with another line in place of one of its own."""
    text = (RECIPES / f"{name}.toml").read_text(encoding="utf-8")
    assert text.count(before) == 1
    (tmp_path / "x.toml").write_text(text.replace(before, after), encoding="utf-8")
    return tmp_path / "x.toml"


REFUSED = {
    "no task": ("task =", "tusk =", r"The recipe has no section 'tusk': did you mean 'task'\?"),
    "unknown task": ('task = "depth"', 'task = "love"', "task 'love' is unknown: it is one of depth, segmentation"),
    "misspelt task": ('task = "depth"', 'task = "dept"', r"did you mean 'depth'\?"),
    "task is no text": ('task = "depth"', "task = 3", "task 3 is unknown"),
    "tasks": ('task = "depth"', 'task = ["depth"]', r"task \['depth'\] is unknown"),
    "seed is no number": ("seed = 1", 'seed = "one"', "seed must be a whole number, not 'one'"),
    "negative seed": ("seed = 1", "seed = -1", "seed must be a whole number, 0 or more, not -1"),
    "no TOML": ("[films]", "[films", "cannot be read as a recipe"),
    "misspelt section": ("[learning]", "[learnig]", r"no section 'learnig': did you mean 'learning'\?"),
    "unknown section": ("[films]", "[cameras]\n[films]", "no section 'cameras': it is one of task, seed"),
    "masks of a depth network": ("[films]", "[masking]\nshare = 0.5\n[films]", "no section 'masking'"),
    "misspelt knob": ("clip = 1.0", "clop = 1.0", r"\[learning\] has no knob 'clop': did you mean 'clip'\?"),
    "unknown knob": ("clip = 1.0", "clip = 1.0\nmomentum = 0.9", "no knob 'momentum': it is one of loss, batch"),
    "missing knob": ("clip = 1.0", "", r"\[learning\] lacks clip"),
    "text for a number": ("batch = 8", 'batch = "many"', "batch must be a whole number, not 'many'"),
    "a part for a whole": ("batch = 8", "batch = 8.5", "batch must be a whole number"),
    "true for a number": ("batch = 8", "batch = true", "batch must be a whole number"),
    "number for true": ("bfloat16 = true", "bfloat16 = 1", "bfloat16 must be true or false, not 1"),
    "people in parts": ("pool = 32", "pool = 30", "pool must be a multiple of postures"),
    "misspelt posture": ('posture = "wide"', 'posture = "wid"', r"posture = 'wid' is unknown: did you mean 'wide'\?"),
    "misspelt variety": ('variety = "wide"', 'variety = "wid"', r"variety = 'wid' is unknown: did you mean 'wide'\?"),
    "posture is no text": ('posture = "wide"', "posture = 1", "posture must be a text, not 1"),
    "no films a batch": ("batch = 8", "batch = 0", "batch must be a whole number, 1 or more, not 0"),
    "no rate": ("learning_rate = 5e-4", "learning_rate = 0.0", "learning_rate must be a number, more than 0, not 0.0"),
    "infinite rate": ("learning_rate = 5e-4", "learning_rate = inf", "learning_rate must be"),
    "rate is none": ("learning_rate = 5e-4", "learning_rate = nan", "learning_rate must be"),
    "more than all": ("strength = 0.5", "strength = 1.5", "strength must be a number, 0 or more, 1 at most, not 1.5"),
    "changes": (
        "changes = 2",
        "changes = 9",
        f"whole number, 0 or more, {len(GREY_CHANGES)} at most",
    ),
    "misspelt loss": ("casi_independent", "casi_indpendent", r"'casi_indpendent'.*did you mean 'casi_independent'\?"),
    "another task's loss": ("casi_independent", "segmentation", "'segmentation' is none for depth: it is one of si_"),
    "loss is no text": ('loss = "casi_independent"', "loss = 1", "loss must be a text, not 1"),
    "misspelt people": ('"choosing"', '"chosing"', r"'chosing' is no set of people.*did you mean 'choosing'\?"),
    "people of no training": ('"choosing"', '"reported"', "'reported' is no set of people"),
    "misspelt set of bones": ('"choosing"', '["rhan04/s05"]', r"'rhan04/s05' is nobody.*did you mean 'rhan40'\?"),
    "person without a set": ('"choosing"', '["s05"]', "'s05' is nobody"),
    "nobody": ('"choosing"', "[]", "Nobody is kept out"),
    "people by number": ('"choosing"', "[5]", r"without must be a text or a list of texts, not \[5\]"),
    "misspelt setting": ("width = 96", "widht = 96", r"\[network\] has no setting 'widht': did you mean 'width'\?"),
    "setting of another network": ("width = 96", "features = [8, 16]", "has no setting 'features'"),
    "setting of another type": ("width = 96", 'width = "96"', r"\[network\] .*width cannot be '96'"),
    "setting out of range": ("width = 96", "width = 8", r"\[network\] .*32 or more"),
    "encoder that is none": ('"nf_regnet_b0"', '"nf_regnet_b99"', r"\[network\] .*nf_regnet_b99"),
    "other bones than there are": ("bones = 4", "bones = 3", r"\[network\] needs bones = 4"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_wrong_in_a_recipe_is_refused_by_name(tmp_path, case):
    before, after, words = REFUSED[case]
    with pytest.raises(Refusal, match=rf"^x\.toml.*{words}"):
        read_recipe(changed(tmp_path, before, after))


def test_a_section_that_is_a_value_is_refused(tmp_path):
    text = (RECIPES / "small_depth.toml").read_text(encoding="utf-8")
    head, films = text[: text.index("[network]")], text[text.index("[films]") :]
    (tmp_path / "x.toml").write_text(f"{head}network = 3\n{films}", encoding="utf-8")
    with pytest.raises(Refusal, match=r"\[network\] is no section of names and values, but 3"):
        read_recipe(tmp_path / "x.toml")


@pytest.mark.parametrize(
    ("before", "after", "words"),
    [
        ("patch_px = 16", "patch_px = 24", "divide size_px"),
        ("patch_px = 16", "patch_px = 1", "patch_px must be a whole number, 2 or more"),
        ("share = 0.6", "share = 1", "not all"),
        ("share = 0.6", "share = 0.0", "some of the 256"),
        ("share = 0.6", "share = nan", "share must be a number"),
        ("[masking]", "[mask]", "masking"),
        ("bones = 1", "bones = 4", "bones = 1"),
    ],
)
def test_a_recipe_that_hides_nothing_or_all_is_refused(tmp_path, before, after, words):
    with pytest.raises(Refusal, match=words):
        read_recipe(changed(tmp_path, before, after, "small_pretrain"))


def test_a_network_that_fits_its_settings_and_not_its_films_is_refused(tmp_path):
    with pytest.raises(Refusal, match="multiple of 16"):
        network_of(read_recipe(changed(tmp_path, "size_px = 192", "size_px = 200")))
    with pytest.raises(Refusal, match="fewer than 9 stages"):
        network_of(read_recipe(changed(tmp_path, "stages = 4", "stages = 9")))


@pytest.mark.parametrize("loss", ["si_independent", "si_dependent", "casi_independent", "casi_dependent"])
def test_every_arm_of_the_paper_is_a_recipe(tmp_path, loss):
    path = changed(tmp_path, 'loss = "casi_independent"', f'loss = "{loss}"')
    assert read_recipe(path).learning.loss == loss
    assert set(DEPTH_LOSSES) == {"si_independent", "si_dependent", "casi_independent", "casi_dependent"}


def test_people_are_kept_out_by_a_set_or_one_by_one(tmp_path):
    choosing = kept_out_people("choosing")
    assert len(choosing) == 9
    assert choosing == kept_out_people("varied")  # the same people, filmed otherwise
    path = changed(tmp_path, 'without = "choosing"', 'without = ["rhan40/s05", "llp26/s10"]')
    assert read_recipe(path).films.without == ("rhan40/s05", "llp26/s10")
    assert kept_out_people(read_recipe(path).films.without) == ("rhan40/s05", "llp26/s10")


def test_a_whole_number_is_a_number(tmp_path):
    films = read_recipe(changed(tmp_path, "mm_per_pixel = 2.0", "mm_per_pixel = 2")).films
    assert (films.mm_per_pixel, type(films.mm_per_pixel)) == (2, float)
