"""The bundles of the sign-up's functions, built by `sam build` as the example's page says, in a copy of this clone."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.adapters.aws.fixtures import REGION
from tests.emulators.lambda_runtime import ROOT
from tests.emulators.ministack import ACCOUNT

BUILT_FROM = ["pyproject.toml", "README.md", "LICENSE", "core", "runtime", "adapters", "conformance", "cli", "examples"]

IMPORT = """
import sys
sys.path.insert(0, bundle := sys.argv[1])
import attrs, botocore, examples.signup.machine, functions, settled, settled_aws
for module in (attrs, botocore, examples.signup.machine, functions, settled, settled_aws):
    assert module.__file__.startswith(bundle), module.__file__
print(functions.work, functions.http)
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for name in BUILT_FROM:
        if (ROOT / name).is_file():
            shutil.copy(ROOT / name, tmp_path)
        else:
            shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__", ".aws-sam"))
    return tmp_path


def test_of_the_clone(clone: Path) -> None:
    bundles = built(clone)
    assert {each.name for each in bundles} == {"Work", "Http"}
    for bundle in bundles:
        assert "_LambdaHandler" in imported(bundle)
        assert "_HttpHandler" in imported(bundle)


def test_of_a_wheel(clone: Path) -> None:
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", f"{clone}/dist", str(clone)]
    subprocess.run(command, check=True)
    (wheel,) = (clone / "dist").glob("*.whl")
    (clone / "pyproject.toml").unlink()
    (bundle,) = built(clone, "Work", SETTLED=str(wheel))
    assert "_LambdaHandler" in imported(bundle)


def built(clone: Path, *words: str, **variables: str) -> list[Path]:
    """Run `sam build` with `words` and `variables`, and return the folders of the bundles."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    # It has an environment of its own: it needs older versions of some packages of this one. That is not on the path of
    # what it runs: its Python has no pip.
    sam = shutil.which("sam", path=os.pathsep.join([str(Path(sys.prefix, "sam", "bin")), path]))
    if sam is None:
        pytest.skip("there is no sam on this machine")
    environment = {**os.environ, "PATH": path, "SAM_CLI_TELEMETRY": "0", **variables}
    here = clone / "examples" / "aws-signup"
    ended = subprocess.run(
        [sam, "build", *words], cwd=here, env=environment, capture_output=True, text=True, check=False
    )
    assert ended.returncode == 0, ended.stderr
    return [each for each in (here / ".aws-sam" / "build").iterdir() if each.is_dir()]


def imported(bundle: Path) -> str:
    """Import the handlers of `bundle` as Lambda does, and return what they are."""
    environment = {
        "SETTLED_URL": f"aws://{REGION}/signup?account={ACCOUNT}",
        "SIGNUP_SMTP": "localhost:25",
        "AWS_ACCESS_KEY_ID": ACCOUNT,
        "AWS_SECRET_ACCESS_KEY": "test",
    }
    command = [sys.executable, "-I", "-c", IMPORT, str(bundle)]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    return ended.stdout
