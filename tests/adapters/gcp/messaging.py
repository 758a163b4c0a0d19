"""Topics, subscriptions and task queues for tests, in the tests' own server, by the real clients."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from attrs import field, frozen

from settled_gcp.clients import PUBLISHER, SUBSCRIBER, TASKS, client_of
from settled_gcp.cloud_tasks_timers import CloudTasksTimers, TaskTarget
from settled_gcp.queue import PubSubQueue
from tests.adapters.gcp.fixtures import LEASE, PROJECT
from tests.emulators.pubsub import GoogleServer
from tests.support.builders import fresh_name

ACCOUNT = f"timers@{PROJECT}.iam.gserviceaccount.com"


@frozen
class Messaging:
    """The server, its clients, and resources with a unique name."""

    server: GoogleServer
    publisher: Any
    subscriber: Any
    tasks: Any
    name: str = field(factory=lambda: fresh_name("m"))

    @classmethod
    def at(cls, server: GoogleServer) -> Messaging:
        clients = (client_of(service, emulator=server.address) for service in (PUBLISHER, SUBSCRIBER, TASKS))
        return cls(server, *clients)

    @property
    def topic(self) -> str:
        return f"projects/{PROJECT}/topics/{self.name}"

    @property
    def subscription(self) -> str:
        return f"projects/{PROJECT}/subscriptions/{self.name}"

    @property
    def task_queue(self) -> str:
        return f"projects/{PROJECT}/locations/europe-west1/queues/{self.name}"

    def create(self, **options: Any) -> None:
        """Create a topic, a task queue, and a subscription with these additional `options`."""
        self.create_topic()
        self.create_task_queue()
        self.subscribe(**options)

    def create_topic(self) -> None:
        self.publisher.create_topic(request={"name": self.topic})

    def create_task_queue(self) -> None:
        location = self.task_queue.rpartition("/queues/")[0]
        self.tasks.create_queue(request={"parent": location, "queue": {"name": self.task_queue}})

    def subscribe(self, name: str = "", topic: str = "", **options: Any) -> str:
        """Create a subscription. Return its full name."""
        full = f"{self.subscription}{name}"
        request = {
            "name": full,
            "topic": topic or self.topic,
            "ack_deadline_seconds": LEASE,
            "enable_message_ordering": True,
            **options,
        }
        self.subscriber.create_subscription(request=request)
        return full

    def unsubscribe(self) -> None:
        self.subscriber.delete_subscription(request={"subscription": self.subscription})

    def dead_letters(self) -> str:
        """Create a dead-letter topic with a subscription, both with the suffix ``-dead``. Return the topic's name."""
        topic = f"{self.topic}-dead"
        self.publisher.create_topic(request={"name": topic})
        self.subscribe("-dead", topic)
        return topic

    def dead_letters_received(self) -> list[tuple[str, bytes]]:
        """Receive what is in the dead-letter topic: the ordering key and the data of each message."""
        request = {"subscription": f"{self.subscription}-dead", "max_messages": 10}
        received = self.subscriber.pull(request=request, retry=None, timeout=5.0).received_messages
        return [(each.message.ordering_key, each.message.data) for each in received]

    def queue(self, **options: Any) -> PubSubQueue:
        settings: dict[str, Any] = {
            "lease": timedelta(seconds=LEASE),
            "min_wait": timedelta(seconds=0.2),
            "clock": self.server.now,
            **options,
        }
        return PubSubQueue(self.publisher, self.subscriber, self.topic, self.subscription, **settings)

    def timers(self, queue: PubSubQueue) -> CloudTasksTimers:
        target = TaskTarget(self.task_queue, self.server.publish_url(self.topic), ACCOUNT)
        return CloudTasksTimers(lambda: self.tasks, target, queue.send, self.server.now)

    def close(self) -> None:
        for client in (self.publisher, self.subscriber, self.tasks):
            client.transport.close()
