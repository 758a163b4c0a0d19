"""A Lambda execution environment: AWS's own runtime client in a process, and the Runtime API for it.

The process runs awslambdaric, which runs Python in Lambda. The Runtime API is served here, on loopback: the process
requests the next invocation and posts the handler's response. As in Lambda, a handler that exceeds its timeout is
killed with its process, and the next invocation starts a new one.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from attrs import frozen

ROOT = Path(__file__).parents[2]


@frozen
class Invocation:
    """The result of an invocation: the handler's response in `payload`, or Lambda's name for the error."""

    payload: Any
    error: str | None = None


class Environment:
    """An environment for `handler`, such as ``folder/module.function``, with `timeout` in seconds."""

    def __init__(self, handler: str, environment: Mapping[str, str], timeout: float) -> None:
        self._handler, self._environment, self._timeout = handler, environment, timeout
        self._next: queue.SimpleQueue[tuple[str, bytes, int]] = queue.SimpleQueue()
        self._ended: queue.SimpleQueue[tuple[str, str, bytes]] = queue.SimpleQueue()
        self._asked = threading.Event()
        self._server = _Server(("127.0.0.1", 0), _api(self._next, self._ended, self._asked))
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self._process: subprocess.Popen[bytes] | None = None
        self.starts = 0

    def invoke(self, event: Any) -> Invocation:
        """Invoke the handler with `event`, and wait for its end."""
        process = self._running()
        id, end = str(uuid.uuid4()), time.time() + self._timeout
        self._next.put((id, json.dumps(event).encode(), int(end * 1000)))
        while True:
            try:
                ended_id, kind, payload = self._ended.get(timeout=0.05)
            except queue.Empty:
                if process.poll() is not None:
                    return self._lost("Runtime.ExitError")
                if time.time() > end:
                    self.kill()
                    return self._lost("Sandbox.Timedout")
                continue
            if ended_id == id:
                answer = json.loads(payload or b"null")
                return Invocation(answer, None if kind == "response" else str(answer.get("errorType")))

    def start(self) -> float:
        """Start the process, if it does not run. Return the seconds until it requested an invocation."""
        started = time.monotonic()
        self._running()
        self._asked.wait(30)
        return time.monotonic() - started

    def kill(self) -> None:
        """Kill the process, whatever it is doing."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def close(self) -> None:
        self.kill()
        self._server.shutdown()
        self._server.server_close()

    def _running(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            self._asked.clear()
            self.starts += 1
            self._process = subprocess.Popen(
                [sys.executable, "-m", "awslambdaric", self._handler],
                cwd=ROOT,
                env={**os.environ, **self._lambda_environment(), **self._environment},
                stdout=subprocess.DEVNULL,
            )
        return self._process

    def _lost(self, error: str) -> Invocation:
        while not self._next.empty():
            self._next.get()
        return Invocation(None, error)

    def _lambda_environment(self) -> dict[str, str]:
        return {
            "AWS_LAMBDA_RUNTIME_API": f"127.0.0.1:{self._server.server_port}",
            "AWS_LAMBDA_FUNCTION_NAME": "settled",
            "AWS_LAMBDA_FUNCTION_VERSION": "$LATEST",
            "AWS_LAMBDA_FUNCTION_MEMORY_SIZE": "512",
            "AWS_LAMBDA_LOG_GROUP_NAME": "/aws/lambda/settled",
            "AWS_LAMBDA_LOG_STREAM_NAME": "tests",
            "LAMBDA_TASK_ROOT": str(ROOT),
            "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")])),
        }


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore the broken connections of killed processes."""


def _api(
    invocations: queue.SimpleQueue[tuple[str, bytes, int]],
    ended: queue.SimpleQueue[tuple[str, str, bytes]],
    asked: threading.Event,
) -> type[BaseHTTPRequestHandler]:
    """Return the Runtime API over these queues; `asked` is set once the process has requested an invocation."""

    class Api(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            asked.set()
            id, event, deadline = invocations.get()
            headers = {
                "Lambda-Runtime-Aws-Request-Id": id,
                "Lambda-Runtime-Deadline-Ms": str(deadline),
                "Lambda-Runtime-Invoked-Function-Arn": "arn:aws:lambda:eu-central-1:000000000000:function:settled",
                "Content-Type": "application/json",
            }
            self._reply(200, event, headers)

        def do_POST(self) -> None:
            *_, id, kind = self.path.split("/")
            ended.put((id, kind, self._body()))
            self._reply(202, b'{"status":"OK"}', {})

        def _body(self) -> bytes:
            if "chunked" not in (self.headers.get("Transfer-Encoding") or ""):
                return self.rfile.read(int(self.headers.get("Content-Length") or 0))
            body = b""
            while length := int(self.rfile.readline().strip() or b"0", 16):
                body += self.rfile.read(length)
                self.rfile.readline()
            self.rfile.readline()
            return body

        def _reply(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
            try:
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(body))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)
            except ConnectionError:
                return  # the process was killed while it waited

        def log_message(self, format: str, *args: Any) -> None:
            return

    return Api
