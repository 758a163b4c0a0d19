"""What runs behind push in the tests: a machine whose effects leave traces in a file, and do as its events say."""

from __future__ import annotations

import os
import time
from datetime import timedelta
from pathlib import Path
from typing import Any

from settled import Args, Call, Policy, Retry, actor, assign, setup
from settled_gcp.clients import PUBLISHER, SUBSCRIBER, TASKS, client_of
from settled_gcp.push import PushHandler, push_handler
from settled_gcp.queue import PubSubQueue
from settled_gcp.tasks import CloudTasksTimers, Target
from settled_local import open_sqlite
from settled_runtime import Host, Separate

AUDIENCE = "https://signup.example/push"
PUSHER = "pusher@settled-test.iam.gserviceaccount.com"
TRACES = Path(os.environ.get("TRACES", "/dev/null"))


def work(input: dict[str, Any], call: Call) -> str:
    """Leave a trace, and then take as long as the event says; or end the process, the first time."""
    with TRACES.open("a", encoding="utf-8") as file:
        file.write(f"{call.idempotency_key} {call.attempt}\n")
    if input.get("dies") and call.attempt == 1:
        os._exit(1)
    time.sleep(input.get("seconds", 0.0))
    return str(input["number"])


def poisoned(a: Args[Any, Any]) -> bool:
    """Fail for good, or until the file that the event names is there."""
    if a.event.get("poison") or ("until" in a.event and not Path(a.event["until"]).exists()):
        raise RuntimeError("poisoned")
    return True


MACHINE = setup(
    guards={"isHealthy": poisoned},
    actions={
        "keep": assign(taken=lambda a: [*a.context["taken"], a.event["number"]]),
        "keepOutput": assign(taken=lambda a: [*a.context["taken"], a.event["output"]]),
    },
    actors={"work": actor(work, input=lambda a: a.event, retry=Retry(attempts=1))},
    delays={"soon": timedelta(seconds=1), "late": timedelta(hours=24)},
).machine(
    {
        "id": "jobs",
        "context": {"taken": []},
        "initial": "open",
        "states": {
            "open": {
                "tags": ["settled"],
                "on": {
                    "TAKE": {"guard": "isHealthy", "actions": "keep"},
                    "WORK": "working",
                    "WAIT": "waiting",
                },
            },
            "working": {
                "invoke": {
                    "src": "work",
                    "onDone": {"target": "open", "actions": "keepOutput"},
                    "onError": "open",
                }
            },
            "waiting": {"tags": ["settled"], "after": {"soon": "rung", "late": "open"}},
            "rung": {"tags": ["settled"], "on": {"TAKE": {"actions": "keep"}}},
        },
    }
)


def backend(name: str, project: str, address: str, url: str, file: str) -> Separate:
    """Records in a file of SQLite, and messages and timers at the tests' server."""
    topic = f"projects/{project}/topics/{name}"
    publisher, subscriber, tasks = (client_of(each, emulator=address) for each in (PUBLISHER, SUBSCRIBER, TASKS))
    queue = PubSubQueue(publisher, subscriber, topic, f"projects/{project}/subscriptions/{name}", 10)
    target = Target(
        f"projects/{project}/locations/europe-west1/queues/{name}",
        f"{url}/v1/{topic}:publish",
        f"timers@{project}.iam.gserviceaccount.com",
    )
    records = open_sqlite(f"sqlite:///{file}")
    timers = CloudTasksTimers(lambda: tasks, target, queue.send)
    return Separate(records.store, queue, timers, lease=10.0, closing=(records.close,))


def host() -> Host:
    """The host at the place that the environment names."""
    said = os.environ
    place = backend(said["NAME"], said["PROJECT"], said["ADDRESS"], said["URL"], said["RECORDS"])
    policy = Policy(max_attempts=int(said.get("ATTEMPTS", "3")), backoff=Retry(first=timedelta(0)))
    return Host([MACHINE], place, policy=policy)


def handler() -> PushHandler:
    """The handler over that host, which is made once there is something to do."""
    reserve, certificates = float(os.environ.get("RESERVE", "2")), f"{os.environ['URL']}/certs"
    return push_handler(host, audience=AUDIENCE, email=PUSHER, reserve=reserve, certificates=certificates)


if "RECORDS" in os.environ:
    pushed = handler()
    function, wsgi, asgi = pushed.function, pushed.wsgi, pushed.asgi
