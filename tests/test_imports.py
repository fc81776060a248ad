"""What importing costs, what it offers, and which room may import which."""

import ast
import subprocess
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import manifoldgen

PACKAGE = Path(manifoldgen.__file__).parent

# a room imports from its own line or from those above it
LINES = [
    {"_arrays", "_conditional", "_random", "_threads", "_validation", "exceptions"}
    | {"nn", "training", "covariance", "neighbors", "metrics", "datasets"},
    {"base"},
    {"constraints", "features", "outliers", "manifold"},
    {"generation", "latent"},
    {"imaging"},
    {"pipeline", "report", "persistence", "model_selection", "plotting"},
    {"cli"},
    {"__main__"},
]
LEVEL = {room: level for level, rooms in enumerate(LINES) for room in rooms}


def room_of(path):
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_by(path):
    """Yield the full name of every module that a file imports, at any depth."""
    here = ["manifoldgen", *path.relative_to(PACKAGE).with_suffix("").parts]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = here[: len(here) - node.level] if node.level else []
            base = [*base, *(node.module or "").split(".")] if node.module else base
            yield from (".".join([*base, name.name]) for name in node.names)


FILES = sorted(path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE)
FILES += [path for path in PACKAGE.glob("*.py") if path.name != "__init__.py"]


def rooms_used(path):
    for name in imported_by(path):
        parts = name.split(".")
        if parts[0] == "manifoldgen" and len(parts) > 1:
            yield manifoldgen._HOMES.get(parts[1], parts[1])


def test_every_file_is_in_a_room():
    assert {room_of(path) for path in FILES} <= set(LEVEL)


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_import_upwards_alone(path):
    mine = room_of(path)
    for other in rooms_used(path):
        if other in LEVEL:
            assert LEVEL[other] <= LEVEL[mine], f"{mine} imports {other}"


def test_no_two_rooms_import_each_other():
    uses = {room: set() for room in LEVEL}
    for path in FILES:
        uses[room_of(path)] |= {*rooms_used(path)} & set(LEVEL) - {room_of(path)}
    TopologicalSorter(uses).prepare()  # raises where there is a circle


@pytest.mark.parametrize("room", ["nn", "training"])
def test_the_torch_rooms_know_no_scikit_learn(room):
    for path in (PACKAGE / room).rglob("*.py"):
        assert not any(name.split(".")[0] == "sklearn" for name in imported_by(path))


def test_no_private_part_of_scikit_learn_is_used():
    for path in FILES:
        for name in imported_by(path):
            parts = name.split(".")
            if parts[0] == "sklearn":
                assert not any(part.startswith("_") for part in parts), (path, name)
        names = {
            n.id for n in ast.walk(ast.parse(path.read_text())) if hasattr(n, "id")
        }
        assert not names & {"_parameter_constraints", "_fit_context"}, path


def modules_after(code):
    """Return the top-level modules that a new interpreter gains by running `code`."""
    script = f"""
import sys
before = set(sys.modules)
{code}
print(*sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    return set(done.stdout.split())


def test_the_package_imports_nothing_but_the_standard_library():
    gained = modules_after("import manifoldgen")
    assert "manifoldgen" in gained
    assert gained - {"manifoldgen"} <= set(sys.stdlib_module_names)


def test_a_name_brings_what_it_needs_and_no_more():
    gained = modules_after("from manifoldgen import energy_distance")
    assert not gained & {"torch", "matplotlib", "umap"}
    gained = modules_after("import manifoldgen.nn, manifoldgen.training")
    assert "torch" in gained
    assert not gained & {"sklearn", "scipy", "matplotlib"}
    gained = modules_after(
        "from manifoldgen import AutoencoderManifold, load, LatentGAN"
    )
    assert not gained & {"matplotlib", "umap", "polars"}


def test_displays_import_matplotlib_when_they_plot():
    assert "matplotlib" not in modules_after(
        "from manifoldgen import LatentGridDisplay, SearchCurveDisplay, interpolate"
    )


@pytest.mark.parametrize("name", manifoldgen.__all__)
def test_every_public_name_is_there_and_documented(name):
    value = getattr(manifoldgen, name)
    assert name in dir(manifoldgen)
    if name != "__version__":
        assert value.__name__ == name
        assert value.__doc__
        assert value.__module__.startswith(f"manifoldgen.{manifoldgen._HOMES[name]}")


def test_public_names_are_sorted_and_once():
    names = [name for name in manifoldgen.__all__ if name != "__version__"]
    assert names == sorted(set(names))


def test_a_star_import_brings_the_public_names():
    space = {}
    exec("from manifoldgen import *", space)
    assert set(space) - {"__builtins__"} == set(manifoldgen.__all__)


def test_a_name_that_is_not_there():
    with pytest.raises(AttributeError, match="no attribute 'TSNE'"):
        _ = manifoldgen.TSNE
    assert not hasattr(manifoldgen, "_private")


def test_types_are_named_for_type_checkers():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    (block,) = (
        node
        for node in tree.body
        if isinstance(node, ast.If) and "TYPE" in ast.dump(node)
    )
    named = {name.name for node in block.body for name in node.names}
    assert named == set(manifoldgen._HOMES)
