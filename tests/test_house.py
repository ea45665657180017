"""The house: who imports whom, what is public, and how much there is to read."""

import ast
import importlib
import sys
from graphlib import TopologicalSorter
from pathlib import Path

import pytest
from conftest import ROOT

sys.path.insert(0, str(ROOT / "benchmarks"))
from lines import counted

PACKAGE = ROOT / "s3rec_mini"
FILES = {".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
         for path in sorted(PACKAGE.rglob("*.py"))}
METHOD = ("datasets", "batches", "encoder", "objectives", "training", "evaluation")
every_file = pytest.mark.parametrize("module", FILES)


def imported(module):
    """Yield (module, name) for whatever a file takes from another file of the package."""
    package = module if FILES[module].name == "__init__.py" else module.rpartition(".")[0]
    for node in ast.walk(ast.parse(FILES[module].read_text(encoding="utf8"))):
        if isinstance(node, ast.ImportFrom) and node.level:
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            source = ".".join([*parents, *filter(None, [node.module])])
            for alias in node.names:
                inner = f"{source}.{alias.name}"
                yield (inner, None) if inner in FILES else (source, alias.name)


def test_imports_go_one_way():
    """Packages' own files only gather what lies in them, and are left out."""
    graph = {module: {source for source, _ in imported(module)}
             for module, path in FILES.items() if path.name != "__init__.py"}
    order = list(TopologicalSorter(graph).static_order())  # CycleError where there is a circle
    assert order.index("s3rec_mini.batches") < order.index("s3rec_mini.objectives")


def test_the_method_stands_on_no_upper_floor():
    upper = {"sources", "synthetic", "official", "recommend", "experiments", "results", "cli"}
    for name in METHOD:
        taken = {source.removeprefix("s3rec_mini.") for source, _ in imported(f"s3rec_mini.{name}")}
        assert not taken & {f"tools.{room}" for room in upper}, name
        assert not any(room.startswith("looking") for room in taken), name


@every_file
def test_no_file_takes_a_private_name_of_another(module):
    taken = [(source, name) for source, name in imported(module)
             if (name or "").startswith("_") and name != "__version__"]
    assert taken == []
    aliases = {name or source.rpartition(".")[2] for source, name in imported(module)}
    tree = ast.parse(FILES[module].read_text(encoding="utf8"))
    reached = [node.attr for node in ast.walk(tree)
               if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name)
               and node.value.id in aliases and node.attr.startswith("_")
               and not node.attr.startswith("__")]
    assert reached == []


@pytest.mark.parametrize("module", [m for m, p in FILES.items() if p.name != "__init__.py"
                                    and "\n__all__ =" in p.read_text(encoding="utf8")])
def test_a_module_lists_what_it_makes_public(module):
    """So that the API page shows it; a tool lists nothing, for all of it without _ is public."""
    tree = ast.parse(FILES[module].read_text(encoding="utf8"))
    made = {node.name for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))
            and not any(ast.unparse(each).startswith("app.command(")  # they have a page
                        for each in node.decorator_list)}
    listed = set(importlib.import_module(module).__all__)
    assert {name for name in made if not name.startswith("_")} <= listed
    assert not any(name.startswith("_") for name in listed)


def test_what_the_package_offers_is_there_with_the_data_first_and_the_pictures_last():
    import s3rec_mini as s3

    assert all(hasattr(s3, name) for name in s3.__all__)
    assert len(set(s3.__all__)) == len(s3.__all__)
    assert s3.__all__[0] == "SequenceDataset" and s3.__all__[-1] == "explorers"


def test_the_method_is_an_evening_of_reading():
    code, docstrings = (sum(counted(PACKAGE / f"{name}.py")[kind] for name in METHOD)
                        for kind in ("code", "docstrings"))
    assert code <= 800 and code + docstrings <= 1200


def test_lines_are_counted_by_kind(tmp_path: Path):
    path = tmp_path / "some.py"
    path.write_text('"""One\n\ntwo."""\n\nx = """not\na docstring"""  # said\n# aside\n\n'
                    'def f():\n    "three"\n    return [\n        1,\n    ]\n')
    assert counted(path) == {"code": 6, "docstrings": 4, "comments": 1, "blank": 2}
