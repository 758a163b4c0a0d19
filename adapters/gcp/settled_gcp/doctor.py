"""How what stands in a project differs from what the promises need.

It only reads. Each rule is a function of what Google says of one thing, and yields what is off with it. What these
credentials may not look at is said, too: nobody has seen that it is right.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from settled.errors import BackendRefusedError, UnavailableError
from settled_gcp.clients import FIRESTORE_ADMIN, PUBLISHER, SUBSCRIBER, TASKS, Service
from settled_gcp.connect import Clients
from settled_gcp.documents import EXEMPT, EXEMPT_LETTER, EXPIRES
from settled_gcp.errors import status_of, translated
from settled_gcp.firestore_timers import EXEMPT_TIMER
from settled_gcp.url import GcpUrl, TimerService, place_in
from settled_runtime.doctor import BackendProblem, Probe

DAY = 24 * 60 * 60
LONGEST_RETENTION = 31 * DAY
"""For how many seconds a subscription can keep what nobody acknowledges."""

MOST_ATTEMPTS = 100
"""The most delivery attempts that a dead-letter policy can be set to; fewer set healthy messages aside sooner."""

LONGEST_TRY = 30 * DAY
"""For how many seconds Cloud Tasks keeps a task at most."""

AGENT = "@gcp-sa-pubsub.iam.gserviceaccount.com"
"""How the name ends under which Pub/Sub itself moves dead letters."""

TIMEOUT = 10.0


def examine_gcp(url: str) -> Sequence[BackendProblem]:
    """What is off with the topic, the subscription, the queue of tasks, the database, and the leave to use them.

    Raises:
        Denied: the URL is not understood, or there are no credentials.
        Unavailable: nobody answered.
    """
    place = place_in(url)
    clients = Clients(place)
    try:
        return [danger for look in _LOOKS for danger in _looked(look, Project(place, clients))]
    finally:
        clients.close()


@frozen
class Project:
    """The project that `place` is in."""

    place: GcpUrl
    clients: Clients

    def ask(self, service: Service, call: str, **request: Any) -> Any:
        """What `service` answers."""
        return getattr(self.clients.of(service), call)(request=request, retry=None, timeout=TIMEOUT)

    def dead_letter_topic(self) -> str:
        """Where Pub/Sub sets messages aside; empty if that is nowhere, or the look at the subscription has failed."""
        try:
            with translated("looking at the subscription", repeatable=True):
                found = self.ask(SUBSCRIBER, "get_subscription", subscription=self.place.subscription_name)
        except BackendRefusedError:
            return ""
        return str(found.dead_letter_policy.dead_letter_topic)


def of_the_subscription(place: GcpUrl, found: Any) -> Iterator[BackendProblem]:
    """The subscription, of which messages are pulled or which pushes them."""
    name = place.subscription
    if found.topic != place.topic_name:
        yield BackendProblem(
            f"{name} is a subscription of {found.topic}", "what is sent does not come out of it", "Make another."
        )
    if not found.enable_message_ordering:
        harm = "an instance's messages are handed out in any order, and several at once"
        yield BackendProblem(f"{name} has no message ordering", harm, "Make another one: it cannot be switched on.")
    if found.filter:
        yield BackendProblem(f"{name} has a filter", "what it leaves out is lost", "Make another one without it.")
    if found.ack_deadline_seconds != place.lease:
        harm = "a lease ends earlier or later than is believed"
        remedy = f"Set it to {place.lease}, or say lease={found.ack_deadline_seconds} in the URL."
        yield BackendProblem(f"{name} has an ack deadline of {found.ack_deadline_seconds} s", harm, remedy)
    if _seconds(found.message_retention_duration, 7 * DAY) < LONGEST_RETENTION:
        harm = "a message that waits longer behind a parked one is lost"
        yield BackendProblem(f"{name} keeps messages for less than 31 days", harm, "Set the retention to 2678400 s.")
    if "expiration_policy" not in found or found.expiration_policy.ttl:
        harm = "it is deleted, and what is in it, when nobody has used it for a month"
        yield BackendProblem(f"{name} expires", harm, "Set its expiration policy to never.")
    yield from _of_the_dead_letters(name, found)
    yield from _of_the_push(name, found) if found.push_config.push_endpoint else _of_the_pull(name, found)


def _of_the_dead_letters(name: str, found: Any) -> Iterator[BackendProblem]:
    policy = found.dead_letter_policy
    remedy = f"Give it a dead-letter topic with {MOST_ATTEMPTS} delivery attempts."
    if not policy.dead_letter_topic:
        harm = "hand-outs are not counted, and a message that is not settled's holds up its key"
        yield BackendProblem(f"{name} has no dead-letter policy", harm, remedy)
    elif (policy.max_delivery_attempts or 5) < MOST_ATTEMPTS:
        harm = "healthy messages that wait, or stand behind a failing one, are set aside, out of order"
        yield BackendProblem(f"{name} sets aside after {policy.max_delivery_attempts or 5} attempts", harm, remedy)


def _of_the_pull(name: str, found: Any) -> Iterator[BackendProblem]:
    if not found.enable_exactly_once_delivery:
        harm = "a worker that stood still takes its message again, if more than its record's window came in between"
        yield BackendProblem(f"{name} has no exactly-once delivery", harm, "Switch it on, where messages are pulled.")


def _of_the_push(name: str, found: Any) -> Iterator[BackendProblem]:
    push = found.push_config
    if not push.push_endpoint.startswith("https://"):
        yield BackendProblem(
            f"{name} pushes to {push.push_endpoint}", "anybody on the way reads and forges", "Push to https://."
        )
    if not push.oidc_token.service_account_email:
        harm = "every request is turned away, or else anybody may make one"
        yield BackendProblem(
            f"{name} pushes without a token", harm, "Give it a service account, and the handler its e-mail."
        )
    elif not push.oidc_token.audience:
        harm = "the audience of its tokens changes with its address"
        yield BackendProblem(f"{name} pushes without an audience", harm, "Give it one, and the handler the same.")
    if "no_wrapper" in push:
        yield BackendProblem(
            f"{name} unwraps what it pushes", "no request is understood", "Switch payload unwrapping off."
        )
    if "retry_policy" not in found:
        harm = "its back-off is Pub/Sub's own, and slows down other keys as well"
        yield BackendProblem(f"{name} has no retry policy", harm, "Give it one, from 1 to 600 seconds.")


def of_the_way_out(name: str, subscriptions: Iterable[str]) -> Iterator[BackendProblem]:
    """A dead-letter topic, and whoever subscribes to it."""
    if not list(subscriptions):
        harm = "what Pub/Sub sets aside is gone at once"
        yield BackendProblem(
            f"nobody subscribes to {name}", harm, "Give it a subscription that keeps messages for 31 days."
        )


def of_the_agent(name: str, policy: Any, role: str) -> Iterator[BackendProblem]:
    """Whether Pub/Sub itself may do with `name` what moving dead letters takes."""
    members = {member for binding in policy.bindings if binding.role == role for member in binding.members}
    if not any(member.endswith(AGENT) for member in members):
        harm = "nothing is set aside, and what is not settled's holds up its key"
        yield BackendProblem(f"Pub/Sub's own service account is no {role} of {name}", harm, "Let it be.")


def of_the_tasks(place: GcpUrl, queue: Any) -> Iterator[BackendProblem]:
    """The queue in which timers wait."""
    name = f"the queue {place.tasks}"
    if queue.state.name in ("PAUSED", "DISABLED"):
        yield BackendProblem(f"{name} is {queue.state.name}", "no timer fires", "Resume it.")
    retry = queue.retry_config
    if retry.max_attempts != -1 or 0 < _seconds(retry.max_retry_duration, 0) < LONGEST_TRY:
        harm = "a timer is lost if Pub/Sub cannot be reached for that long"
        yield BackendProblem(
            f"{name} gives up after a while", harm, "Set its attempts to -1, and its retry duration to 0."
        )


def of_the_database(database: Any) -> Iterator[BackendProblem]:
    """The database of Firestore."""
    if database.type_.name != "FIRESTORE_NATIVE":
        yield BackendProblem("the database is not in native mode", "nothing can be stored in it", "Make another one.")
    if database.delete_protection_state.name != "DELETE_PROTECTION_ENABLED":
        yield BackendProblem(
            "the database can be deleted", "one command forgets every instance", "Protect it from deletion."
        )


def of_the_fields(collection: str, exempt: Sequence[str], fields: Iterable[Any]) -> Iterator[BackendProblem]:
    """What is indexed of the documents in `collection`, and need not be."""
    bare = {
        _field(each) for each in fields if not each.index_config.uses_ancestor_config and not each.index_config.indexes
    }
    if indexed := [name for name in exempt if name not in bare]:
        harm = "each commit writes index entries that nobody reads, and times on one index slow all commits down"
        yield BackendProblem(
            f"{collection} has indexes of {', '.join(indexed)}", harm, "Exempt these fields from indexing."
        )


def of_the_expiry(place: GcpUrl, fields: Iterable[Any]) -> Iterator[BackendProblem]:
    """What Firestore forgets by itself."""
    if place.keep_finished is None:
        return
    active = {_field(each) for each in fields if each.ttl_config.state.name in ("ACTIVE", "CREATING")}
    if EXPIRES not in active:
        harm = "finished instances are kept for ever"
        yield BackendProblem(f"{place.collection} has no TTL policy", harm, f"Make one for the field `{EXPIRES}`.")
    if place.keep_finished < LONGEST_RETENTION:
        harm = "a duplicate that comes later than that starts the instance again"
        yield BackendProblem(
            "finished instances are kept for less than 31 days", harm, "Raise keep_finished to 2678400."
        )


def of_the_leave(name: str, wanted: Sequence[str], granted: Iterable[str]) -> Iterator[BackendProblem]:
    """What these credentials may do with `name`."""
    if lacking := sorted(set(wanted) - set(granted)):
        yield BackendProblem(
            f"these credentials lack {', '.join(lacking)} on {name}", "a worker with them fails", "Grant it."
        )


def _field(field: Any) -> str:
    return str(field.name).rpartition("/")[2]


def _seconds(duration: Any, default: float) -> float:
    return float(duration.total_seconds()) if duration else default


# What each rule is shown


def _topic(project: Project) -> Iterator[BackendProblem]:
    project.ask(PUBLISHER, "get_topic", topic=project.place.topic_name)
    yield from ()


def _subscription(project: Project) -> Iterator[BackendProblem]:
    found = project.ask(SUBSCRIBER, "get_subscription", subscription=project.place.subscription_name)
    yield from of_the_subscription(project.place, found)


def _dead_letters(project: Project) -> Iterator[BackendProblem]:
    if topic := project.dead_letter_topic():
        yield from of_the_way_out(topic, project.ask(PUBLISHER, "list_topic_subscriptions", topic=topic))


def _agent(project: Project) -> Iterator[BackendProblem]:
    if topic := project.dead_letter_topic():
        for service, name, role in (
            (PUBLISHER, topic, "roles/pubsub.publisher"),
            (SUBSCRIBER, project.place.subscription_name, "roles/pubsub.subscriber"),
        ):
            yield from of_the_agent(name, project.ask(service, "get_iam_policy", resource=name), role)


def _tasks(project: Project) -> Iterator[BackendProblem]:
    if project.place.timers is TimerService.TASKS:
        yield from of_the_tasks(project.place, project.ask(TASKS, "get_queue", name=project.place.tasks_name))


def _database(project: Project) -> Iterator[BackendProblem]:
    yield from of_the_database(project.ask(FIRESTORE_ADMIN, "get_database", name=project.place.records.database))


def _fields(project: Project) -> Iterator[BackendProblem]:
    place, records = project.place, project.place.records
    groups: dict[str, Sequence[str]] = {records.name: EXEMPT, records.letters: EXEMPT_LETTER}
    if place.timers is TimerService.SWEEP:
        groups[records.timers] = EXEMPT_TIMER
    for name, exempt in groups.items():
        parent = f"{records.database}/collectionGroups/{name}"
        wanted = "indexConfig.usesAncestorConfig:false OR ttlConfig:*"
        fields = list(project.ask(FIRESTORE_ADMIN, "list_fields", parent=parent, filter=wanted))
        yield from of_the_fields(name, exempt, fields)
        if name == records.name:
            yield from of_the_expiry(place, fields)


def _leave(project: Project) -> Iterator[BackendProblem]:
    place = project.place
    wanted: list[tuple[Service, str, list[str]]] = [(PUBLISHER, place.topic_name, ["pubsub.topics.publish"])]
    wanted += [(SUBSCRIBER, place.subscription_name, ["pubsub.subscriptions.consume"])]
    if place.timers is TimerService.TASKS:
        wanted += [(TASKS, place.tasks_name, ["cloudtasks.tasks.create", "cloudtasks.tasks.delete"])]
    for service, name, permissions in wanted:
        answer = project.ask(service, "test_iam_permissions", resource=name, permissions=permissions)
        yield from of_the_leave(name, permissions, answer.permissions)


_LOOKS = (
    Probe("the topic", "nothing can be sent", _topic),
    Probe("the subscription", "nothing is handed out", _subscription),
    Probe("the dead-letter topic", "what Pub/Sub sets aside is gone", _dead_letters),
    Probe("the leave of Pub/Sub's own service account", "nobody knows whether anything can be set aside", _agent),
    Probe("the queue of tasks", "timers cannot be kept", _tasks),
    Probe("the database", "nothing can be stored", _database),
    Probe("the indexes", "nobody knows what each commit writes", _fields),
    Probe("the leave of these credentials", "nobody knows whether they suffice", _leave),
)


def _looked(look: Probe[Project], project: Project) -> Iterator[BackendProblem]:
    try:
        with translated(f"looking at {look.what}", repeatable=True):
            yield from look.rule(project)
    except (BackendRefusedError, UnavailableError) as error:
        status = status_of(error.__cause__) if error.__cause__ is not None else ""
        if isinstance(error, UnavailableError) and status == "UNAVAILABLE":
            raise
        if status == "NOT_FOUND":
            yield look.not_found("examples/gcp-signup for a module of all")
        else:
            yield look.unreadable(error)
