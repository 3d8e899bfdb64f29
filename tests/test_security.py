"""Nothing in the source can run code from a file, or let the text of a setting become code."""

import ast
from pathlib import Path

import pytest

import assets
import sessrec_pipeline

SOURCES = sorted(
    path for package in (sessrec_pipeline, assets) for path in Path(str(package.__file__)).parent.rglob("*.py")
)
MODULES = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal", "yaml"}
CALLS = {"eval", "exec", "compile", "torch.load", "os.system", "os.popen"}


def faults(source: str) -> list[str]:
    """Imports of modules that unpickle, calls that run text, numpy.load without its guard, a shell."""
    found = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            found += [name for name in names if name.partition(".")[0] in MODULES]
        elif isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in CALLS or name.endswith(".read_pickle") or name.endswith(".to_pickle"):
                found.append(name)
            options = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if options.get("allow_pickle") == "True" or options.get("shell") == "True":
                found.append(f"{name}({options})")
    return found


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: f"{path.parent.name}/{path.name}")
def test_no_module_can_run_code_from_a_file(path: Path) -> None:
    assert faults(path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "from joblib import load",
        "import torch\ntorch.load('x')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
        "import subprocess\nsubprocess.run('ls', shell=True)",
        "import pandas as pd\npd.read_pickle('x')",
        "eval('1')",
    ],
)
def test_the_search_finds_what_it_looks_for(source: str) -> None:
    assert len(faults(source)) == 1
