"""Firestore on loopback, by Google's own emulator, which comes with Google's command-line tools and in no registry.

Differences from Firestore that matter here: it requires no composite indexes, has no TTL, and lets contending
transactions wait for each other far longer.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.emulators.running import NotHere, free_port, running

JAR = Path("/usr/lib/google-cloud-sdk/platform/cloud-firestore-emulator/cloud-firestore-emulator.jar")
MAIN = "com.google.cloud.datastore.emulator.firestore.CloudFirestore"
MISSING = "NOT RUN: firestore, no emulator on this machine"


@contextmanager
def firestore() -> Generator[str]:
    """Start a new emulator; yield its address HOST:PORT.

    Raises:
        NotHere: it is not on this machine, or there is no Java.
    """
    if not JAR.exists() or shutil.which("java") is None:
        raise NotHere(MISSING)
    port = free_port()
    java = ["java", "-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Duser.language=en"]
    command = [*java, "-cp", str(JAR), MAIN, "--host=127.0.0.1", f"--port={port}"]
    with running(command, port, os.environ):
        yield f"127.0.0.1:{port}"
