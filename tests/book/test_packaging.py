"""The package as somebody else gets it: what it asks for, what it holds, where it says it lives."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from importlib import util
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, run
from packaging.markers import default_environment
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from PIL import Image

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

PYTHONS = ("3.10", "3.11", "3.12", "3.13")
THIS_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))
PROJECT = PYPROJECT["project"]
ADDRESS = PROJECT["urls"]["Repository"]
SOURCES = sorted((ROOT / "s3rec_mini").rglob("*.py"))


def requirements(*lines):
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def pins(python):
    """The one version that constraints.txt gives each package on this platform and `python`."""
    environment = default_environment() | {
        "python_version": python,
        "python_full_version": f"{python}.9",
    }
    found = {}
    for line in (ROOT / "constraints.txt").read_text(encoding="utf8").splitlines():
        if not line or line.startswith("#"):
            continue
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in found, f"{name} is pinned twice for Python {python}"
            (pin,) = requirement.specifier
            assert pin.operator == "=="
            found[name] = pin.version
    return found


def clean_environment(**more):
    hidden = ("PYTHONPATH", "S3REC_DATA")
    return {name: value for name, value in os.environ.items() if name not in hidden} | more


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder into which nothing but the wheel was installed."""
    target = tmp_path_factory.mktemp("target")
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index")
    run(*pip, "--target", target, wheel)
    return target


# ---- what it asks for


def test_environment_yml_asks_for_what_pyproject_asks_for():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf8"))
    conda = [line for line in environment["dependencies"] if isinstance(line, str)]
    found = requirements(*conda)
    assert found.pop("pip")
    assert str(found.pop("python").specifier) == PROJECT["requires-python"]
    found["torch"] = found.pop("pytorch")
    wanted = requirements(*PROJECT["dependencies"])
    assert {n: str(r.specifier) for n, r in found.items()} == {
        n: str(r.specifier) for n, r in wanted.items()
    }
    (pip,) = (line["pip"] for line in environment["dependencies"] if isinstance(line, dict))
    assert pip == ["--editable .[book,test]"]


@pytest.mark.parametrize("python", PYTHONS)
def test_every_dependency_is_pinned_within_its_bounds(python):
    pinned = pins(python)
    extras = PROJECT["optional-dependencies"].values()
    for line in [*PROJECT["dependencies"], *(line for extra in extras for line in extra)]:
        requirement = Requirement(line)
        version = pinned[canonicalize_name(requirement.name)]
        assert requirement.specifier.contains(version), f"{line} against {version}"
    assert pinned["torch"] == "2.13.0"


def test_colab_keeps_its_own_libraries():
    """No dependency is capped, and only torch and pandas have a lower bound."""
    bounds = {n: str(r.specifier) for n, r in requirements(*PROJECT["dependencies"]).items()}
    assert {name: bound for name, bound in bounds.items() if bound} == {
        "torch": ">=2.4", "pandas": ">=2"}


@pytest.mark.network
@pytest.mark.parametrize("python", [p for p in PYTHONS if p != THIS_PYTHON])
def test_the_pinned_versions_exist_for_other_pythons(python, tmp_path):
    """A dry run with wheels alone; torch, gigabytes of it, is left out."""
    pinned = pins(python)
    names = [canonicalize_name(Requirement(line).name) for line in PROJECT["dependencies"]]
    wanted = [f"{name}=={pinned[name]}" for name in names if name != "torch"]
    pip = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--no-deps"]
    # pip holds what a package requires against the Python it runs on, not the one it was told of.
    pip += ["--only-binary=:all:", "--python-version", python, "--ignore-requires-python"]
    pip += ["--target", str(tmp_path)]
    try:
        done = subprocess.run([*pip, *wanted], capture_output=True, text=True, timeout=300)
    except subprocess.TimeoutExpired:
        pytest.skip("the package registry did not answer in five minutes")
    if "Failed to establish a new connection" in done.stderr or "ConnectTimeout" in done.stderr:
        pytest.skip("the package registry is out of reach")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_module_parses_as_python_3_10(path):
    ast.parse(path.read_text(encoding="utf8"), path.name, feature_version=(3, 10))


def interpreters():
    for python in PYTHONS:
        found = sorted(Path.home().glob(f".pyenv/versions/{python}.*/bin/python"))
        on_path = shutil.which(f"python{python}")
        if path := (found[-1] if found else on_path):
            yield pytest.param(path, id=python)


@pytest.mark.parametrize("interpreter", list(interpreters()))
def test_every_module_compiles_on_the_interpreters_at_hand(interpreter):
    version = subprocess.run([interpreter, "--version"], capture_output=True, text=True)
    if version.returncode:  # a pyenv shim of a version that is not switched on
        pytest.skip(version.stderr.strip().splitlines()[0])
    script = (
        "import sys\n"
        "for path in sys.argv[1:]:\n"
        "    compile(open(path, encoding='utf8').read(), path, 'exec')"
    )
    run(interpreter, "-W", "error", "-c", script, *SOURCES)


# ---- what it gives


def test_the_wheel_holds_the_package_and_its_data_and_nothing_else(wheel):
    import zipfile

    names = {n for n in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in n}
    package = (path for path in (ROOT / "s3rec_mini").rglob("*") if path.is_file())
    wanted = {path.relative_to(ROOT).as_posix() for path in package}
    not_wanted = r"__pycache__|\.ipynb_checkpoints|\.DS_Store|results/ranks/"  # ranks: a checkout's
    wanted = {n for n in wanted if not re.search(not_wanted, n)}
    assert names == wanted | {"s3rec_command.py"}
    assert "s3rec_mini/data/movielens-small.csv.gz" in names


def test_the_installed_wheel_works_from_an_empty_folder(installed, tmp_path):
    script = (
        "import s3rec_mini as s3, importlib.metadata as m\n"
        "data = s3.load_dataset('movielens-small')\n"
        "print(s3.__file__, s3.__version__, m.version('s3rec-mini'))\n"
        "print(data.num_users, data.num_items)"
    )
    environment = clean_environment(PYTHONPATH=str(installed), HOME=str(tmp_path))
    output = run(sys.executable, "-c", script, cwd=tmp_path, env=environment).split()
    assert Path(output[0]).is_relative_to(installed)
    assert output[1:] == [output[1], output[1], "671", "3496"]


def test_the_command_is_installed(installed, tmp_path):
    environment = clean_environment(PYTHONPATH=str(installed))
    command = (sys.executable, installed / "bin" / "s3rec", "--help")
    help_text = run(*command, cwd=tmp_path, env=environment)
    for name in ("data", "pretrain", "finetune", "evaluate", "recommend"):
        assert name in help_text


def test_importing_the_package_pulls_in_no_plotting_cli_or_download_library():
    unwanted = ("matplotlib", "seaborn", "typer", "pooch", "requests", "sklearn", "IPython")
    script = f"import sys, s3rec_mini; print([n for n in {unwanted} if n in sys.modules])"
    assert run(sys.executable, "-c", script, env=clean_environment()).strip() == "[]"


def test_importing_the_package_leaves_the_number_of_threads_to_the_user():
    script = ("import importlib, pkgutil, torch\ntorch.set_num_threads(3)\nimport s3rec_mini\n"
              "for module in pkgutil.walk_packages(s3rec_mini.__path__, 's3rec_mini.'):\n"
              "    importlib.import_module(module.name)\n"
              "print(torch.get_num_threads())")
    assert run(sys.executable, "-c", script, env=clean_environment()).strip() == "3"


@pytest.mark.parametrize("room, name", [
    ("inspection", "attention_maps"), ("plots", "plot_attention"),
    ("explorers", "explore_attention")])
@pytest.mark.parametrize("line", [
    "import s3rec_mini.{0} as seen", "from s3rec_mini import {0} as seen",
    "import s3rec_mini as s3; seen = s3.{0}",
    "from s3rec_mini.{0} import {1}; import sys; seen = sys.modules[{1}.__module__]"])
def test_the_short_paths_lead_to_the_rooms_of_looking(line, room, name):
    script = f"{line.format(room, name)}\nprint(seen.__name__, seen.{name}.__name__)"
    printed = run(sys.executable, "-c", script, env=clean_environment()).split()
    assert printed[0].startswith(f"s3rec_mini.looking.{room}") and printed[1] == name


# ---- what it says of itself


def notebooks():
    found = (ROOT / "book").rglob("*.ipynb")
    return sorted(path for path in found if ".ipynb_checkpoints" not in path.parts)


def test_the_repository_address_is_the_same_everywhere():
    assert re.fullmatch(r"https://[^\s/]+/\S*[^\s/]", ADDRESS) and not ADDRESS.endswith(".git")
    config = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf8"))
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert config["repository"]["url"] == ADDRESS
    assert citation["repository-code"] == ADDRESS
    cell = (ROOT / "book" / "_tools" / "first_cell.py").read_text(encoding="utf8")
    assert re.findall(r'"git\+(\S+?)"', cell) == [ADDRESS]
    placeholder = "https://" + "example.org/s3rec-mini"  # in two pieces, so that `make` leaves it
    pages = [*(ROOT / "book").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    for path in [*notebooks(), *pages]:
        text = path.read_text(encoding="utf8")
        assert placeholder not in text or placeholder == ADDRESS, path
        addresses = re.findall(r"(?:git\+|git clone )(https://[^\s\"'`\\)]+)", text)
        assert set(addresses) <= {ADDRESS}, path


def test_make_repository_changes_every_address(tmp_path):
    """On a copy: afterwards the old address occurs nowhere, and a bad one changes nothing."""
    clone = tmp_path / "clone"
    hidden = shutil.ignore_patterns(".*", "_build", "runs", "*.gz", "*.safetensors", "__pycache__")
    shutil.copytree(ROOT, clone, ignore=hidden)

    def holders(address):
        files = (path for path in clone.rglob("*") if path.is_file())
        return {p for p in files if address in p.read_text(encoding="utf8", errors="replace")}

    before = holders(ADDRESS)
    assert {"_config.yml", "pyproject.toml", "CITATION.cff"} <= {p.name for p in before}
    for bad in ("", "http://a.org/b", "https://a.org/", "https://a.org/b.git", "https://a.org/b c"):
        done = subprocess.run(["make", "repository", f"URL={bad}"], cwd=clone, capture_output=True)
        assert done.returncode == 2
        assert holders(ADDRESS) == before
    new = "https://" + "github.com/some-body/their.book"  # in two pieces, to be absent before
    run("make", "repository", f"URL={new}", cwd=clone)
    assert not holders(ADDRESS)
    assert holders(new) == before
    for path in clone.rglob("*.ipynb"):
        json.loads(path.read_text(encoding="utf8"))


def test_the_version_is_the_same_everywhere():
    import s3rec_mini

    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["version"] == s3rec_mini.__version__
    changes = (ROOT / "CHANGELOG.md").read_text(encoding="utf8")
    assert re.search(r"^## \[(.+?)\]", changes, re.MULTILINE)[1] == s3rec_mini.__version__


def test_the_citation_names_the_licence_and_the_paper():
    """That it is a valid file is what `make lint` checks, as for the workflows."""
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf8"))
    assert citation["license"] == PROJECT["license"] == "MIT"
    (paper,) = citation["references"]
    assert paper["doi"] in (ROOT / "book/reference/references.bib").read_text(encoding="utf8")


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_what_the_front_pages_point_to_is_there(name):
    text = (ROOT / name).read_text(encoding="utf8")
    linked = re.findall(r"\]\((?!https?:)([^)#]+)", text)
    named = re.findall(r"`((?:book|tests|benchmarks|s3rec_mini)/[\w./]*\w)`", text)
    assert [path for path in linked + named if not (ROOT / path).exists()] == []


def test_the_readmes_picture_is_what_the_chapter_draws():
    spec = util.spec_from_file_location("picture", ROOT / "book" / "_tools" / "picture.py")
    made_by = util.module_from_spec(spec)
    spec.loader.exec_module(made_by)
    with Image.open(made_by.PICTURE) as picture:
        assert picture.text["Source"] == made_by.fingerprint(), "run `make picture`"
    assert made_by.PICTURE.stat().st_size < 60_000
    readme = (ROOT / "README.md").read_text(encoding="utf8")
    (alt,) = re.findall(r"!\[([^]]+)\]\(book/picture\.png\)", readme)
    assert len(alt) >= 60


def test_make_help_lists_every_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    targets = re.search(r"^\.PHONY: (.+)$", makefile, re.MULTILINE)[1].split()
    listed = re.findall(r"^make ([a-z-]+) +\S", run("make", "help", cwd=ROOT), re.MULTILINE)
    assert sorted(listed) == sorted(targets)
    for name in ("README.md", "CONTRIBUTING.md", "book/index.md"):
        code = re.findall(r"(?:^|`)make ([a-z-]+)", (ROOT / name).read_text(), re.MULTILINE)
        assert set(code) <= set(targets), name


def test_the_workflows_run_what_the_makefile_offers():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    targets = re.findall(r"^([a-z-]+):", makefile, re.MULTILINE)
    paths = sorted((ROOT / ".github" / "workflows").glob("*.yml"))
    assert [path.name for path in paths] == [
        "book.yml", "fuzz.yml", "links.yml", "test.yml"]
    for path in paths:
        workflow = yaml.load(path.read_text(encoding="utf8"), yaml.BaseLoader)  # `on` stays a name
        assert {"name", "on", "jobs"} <= workflow.keys()
        steps = [step for job in workflow["jobs"].values() for step in job["steps"]]
        assert all(("uses" in step) != ("run" in step) for step in steps)
        commands = [step["run"].split() for step in steps if "run" in step]
        ours = [command for command in commands if command[0] != "sudo"]  # that is the machine's
        assert ours and all(command[0] == "make" and command[1] in targets for command in ours)
    matrix = yaml.safe_load(paths[-1].read_text(encoding="utf8"))["jobs"]["test"]["strategy"]
    assert tuple(matrix["matrix"]["python"]) == PYTHONS


def test_every_test_is_run_by_a_target_and_every_check_on_the_machines():
    makefile = (ROOT / "Makefile").read_text(encoding="utf8")
    rules = re.findall(r"^([a-z-]+):.*\n\t(?:\S+ -m pytest -q|\$\(PYTEST\)) (tests/\w+ )?"
                       r"\$\(ARGS\)$", makefile, re.MULTILINE)
    run_by = {(folder or "tests").strip(): target for target, folder in rules}
    assert set(run_by) == {
        path.parent.relative_to(ROOT).as_posix() for path in (ROOT / "tests").rglob("test_*.py")}
    assert PYPROJECT["tool"]["pytest"]["ini_options"]["testpaths"] == ["tests/test_*.py"]
    steps = (ROOT / ".ci" / "run").read_text(encoding="utf8")
    workflows = (path.read_text(encoding="utf8")
                 for path in (ROOT / ".github" / "workflows").glob("*.yml"))
    for text in (steps, "\n".join(workflows)):
        called = re.findall(r" make ([a-z-]+)$", text, re.MULTILINE)
        assert {*run_by.values(), "book", "lint"} <= set(called)
