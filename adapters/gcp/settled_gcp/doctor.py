"""Examine the resources of a Google Cloud backend for settings that endanger settled's guarantees.

The doctor only reads. Each ``check_*`` function takes Google's description of a resource and yields its problems; each
``_probe_*`` function makes the requests for it. A resource that the credentials cannot read is reported as a problem,
because its settings are unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from attrs import frozen

from settled.durable.release_delays import outage_of
from settled.errors import BackendRefusedError, UnavailableError
from settled_gcp.clients import FIRESTORE_ADMIN, PUBLISHER, SUBSCRIBER, TASKS, Service
from settled_gcp.connect import Clients
from settled_gcp.documents import EXEMPT_DEAD_LETTER_FIELDS, EXEMPT_RECORD_FIELDS, EXPIRES
from settled_gcp.errors import status_of, translated
from settled_gcp.filters import filter_of, machines_in
from settled_gcp.firestore_timers import EXEMPT_TIMER_FIELDS
from settled_gcp.names import machine_attribute
from settled_gcp.queue import MAX_RETENTION_SECONDS
from settled_gcp.url import GcpUrl, TimerService, parse_url
from settled_runtime.doctor import BackendProblem, Probe, in_words

DAY = 24 * 60 * 60

MAX_BACKOFF = 600
"""Pub/Sub's limit on a retry policy's maximum backoff, and its default, in seconds; so is a release's."""

MAX_TASK_AGE = 30 * DAY
"""Cloud Tasks' limit on the age of a task."""

TIMEOUT = 10.0
"""The timeout of a request, in seconds."""


def examine_gcp(url: str) -> Sequence[BackendProblem]:
    """Return the problems of the topic, the subscription, the task queue, the database, and the permissions of `url`.

    Raises:
        AccessDeniedError: there are no credentials.
        BackendConfigError: the URL is invalid, or a package is not installed.
        UnavailableError: Google did not answer.
    """
    parsed = parse_url(url)
    clients = Clients(parsed)
    try:
        return [problem for probe in _PROBES for problem in _run_probe(probe, Project(parsed, clients))]
    finally:
        clients.close()


@frozen
class Project:
    """Reads the resources of `url`."""

    url: GcpUrl
    clients: Clients

    def ask(self, service: Service, call: str, **request: Any) -> Any:
        """Make a request to `service`, and return its response."""
        return getattr(self.clients.of(service), call)(request=request, retry=None, timeout=TIMEOUT)


def check_subscription(url: GcpUrl, subscription: Any) -> Iterator[BackendProblem]:
    """Check the subscription, whether it is pulled or pushes."""
    name = url.subscription
    if subscription.topic != url.topic_name:
        yield BackendProblem(
            f"{name} is a subscription of {subscription.topic}",
            "messages that are sent are not delivered by it",
            "Create another one.",
        )
    if not subscription.enable_message_ordering:
        consequence = "an instance's messages are delivered in any order, and several at once"
        yield BackendProblem(
            f"{name} has no message ordering", consequence, "Create another one: it cannot be switched on."
        )
    yield from _check_filter(url, subscription.filter)
    lease = int(url.lease.total_seconds())
    if subscription.ack_deadline_seconds != lease:
        consequence = "leases end earlier or later than workers assume"
        remedy = f"Set it to {lease}, or set lease={subscription.ack_deadline_seconds} in the URL."
        yield BackendProblem(
            f"{name} has an ack deadline of {subscription.ack_deadline_seconds} s", consequence, remedy
        )
    if _seconds(subscription.message_retention_duration, 7 * DAY) < MAX_RETENTION_SECONDS:
        consequence = "a message for which no worker comes is lost sooner than it need be"
        yield BackendProblem(
            f"{name} keeps messages for less than 31 days", consequence, "Set the retention to 2678400 s."
        )
    if "expiration_policy" not in subscription or subscription.expiration_policy.ttl:
        consequence = "after a month without use it is deleted, with the messages in it"
        yield BackendProblem(f"{name} expires", consequence, "Set its expiration policy to never.")
    yield from _check_dead_letter_policy(name, subscription)
    yield from _check_push(name, subscription) if _is_push(subscription) else _check_pull(name, subscription)


def _check_filter(url: GcpUrl, text: str) -> Iterator[BackendProblem]:
    """Check that the filter selects the machines that the URL names, and no others."""
    name, wanted = url.subscription, {machine_attribute(each) for each in url.machines}
    if not text:
        if wanted:
            consequence = "workers receive messages of machines that they do not serve, and delay them"
            remedy = f"Create another one with the filter {filter_of(sorted(url.machines))}"
            yield BackendProblem(f"{name} has no filter", consequence, remedy)
        return
    selected = machines_in(text)
    if selected is None or not wanted:
        consequence = "messages that do not match are not delivered by it"
        remedy = "Name its machines in the URL, as in machines=order,invoice, or create another one without it."
        yield BackendProblem(f"{name} has the filter {text}", consequence, remedy)
        return
    remedy = "Create another one: a filter cannot be changed. Or correct machines= in the URL."
    for machine in sorted(wanted - selected):
        yield BackendProblem(f"the filter of {name} leaves out {machine}", "its messages are not delivered", remedy)
    for machine in sorted(selected - wanted):
        consequence = "workers receive its messages, do not serve them, and delay them"
        yield BackendProblem(f"the filter of {name} selects {machine}", consequence, remedy)


def check_other_subscriptions(url: GcpUrl, text: str, others: Iterable[Any]) -> Iterator[BackendProblem]:
    """Check that no other ordered subscription of the topic delivers what one with the filter `text` delivers.

    A subscription without ordering is not one of settled's: it may feed an archive, or a person.
    """
    selected = machines_in(text) if text else None
    for other in others:
        if not other.enable_message_ordering or other.name == url.subscription_name:
            continue
        also = machines_in(other.filter) if other.filter else None
        # An empty filter selects everything, and one that is not settled's may.
        if selected is not None and also is not None and not selected & also:
            continue
        problem = f"{other.name.rpartition('/')[2]} delivers messages that {url.subscription} delivers, too"
        consequence = "each message is delivered by both, and only the window of its record recognises that"
        remedy = "Give both filters, by machines that differ."
        yield BackendProblem(problem, consequence, remedy)


def _check_dead_letter_policy(name: str, subscription: Any) -> Iterator[BackendProblem]:
    policy = subscription.dead_letter_policy
    if policy.dead_letter_topic:
        attempts = policy.max_delivery_attempts or 5
        outage = (
            _outage_of_pushes(subscription, attempts) if _is_push(subscription) else outage_of(attempts, MAX_BACKOFF)
        )
        consequence = (
            f"after {attempts} attempts, in an outage of {in_words(outage)}, messages are moved to another topic, and "
            "later ones are processed without them; Pub/Sub allows a hundred attempts at most, and keeps messages for "
            f"{in_words(MAX_RETENTION_SECONDS)} without a policy"
        )
        yield BackendProblem(f"{name} has a dead-letter policy", consequence, "Remove it.")


def _outage_of_pushes(subscription: Any, attempts: int) -> float:
    """Return how many seconds `attempts` pushes take."""
    policy = subscription.retry_policy
    least, most = _seconds(policy.minimum_backoff, 10), _seconds(policy.maximum_backoff, MAX_BACKOFF)
    return sum([min(most, least * 2.0**attempt) for attempt in range(attempts - 1)])


def _is_push(subscription: Any) -> bool:
    return bool(subscription.push_config.push_endpoint)


def _check_pull(name: str, subscription: Any) -> Iterator[BackendProblem]:
    if not subscription.enable_exactly_once_delivery:
        consequence = "a suspended worker may handle its message again, if its record's window has moved past it"
        yield BackendProblem(f"{name} has no exactly-once delivery", consequence, "Switch it on.")
    if "retry_policy" in subscription:
        # It applies whenever an ack deadline has ended, and that is how messages wait.
        longest = in_words(_seconds(subscription.retry_policy.maximum_backoff, MAX_BACKOFF))
        consequence = f"each wait of a machine takes longer, by {longest} in the end; workers say themselves how long"
        yield BackendProblem(f"{name} has a retry policy", consequence, "Let it redeliver immediately.")


def _check_push(name: str, subscription: Any) -> Iterator[BackendProblem]:
    push = subscription.push_config
    if not push.push_endpoint.startswith("https://"):
        yield BackendProblem(
            f"{name} pushes to {push.push_endpoint}",
            "anyone on the network path can read and forge requests",
            "Push to https://.",
        )
    if not push.oidc_token.service_account_email:
        consequence = "the handler denies every request, or anyone may make one"
        yield BackendProblem(
            f"{name} pushes without a token", consequence, "Give it a service account, and the handler its e-mail."
        )
    elif not push.oidc_token.audience:
        consequence = "the audience of its tokens changes with its endpoint"
        yield BackendProblem(
            f"{name} pushes without an audience", consequence, "Give it one, and the handler the same."
        )
    if "no_wrapper" in push:
        yield BackendProblem(
            f"{name} unwraps what it pushes", "the handler understands no request", "Switch payload unwrapping off."
        )
    if "retry_policy" not in subscription:
        consequence = "Pub/Sub's own push backoff applies, which slows down other keys as well"
        yield BackendProblem(f"{name} has no retry policy", consequence, "Give it one, from 1 to 600 seconds.")


def check_task_queue(url: GcpUrl, queue: Any) -> Iterator[BackendProblem]:
    """Check the Cloud Tasks queue."""
    name = f"the queue {url.tasks}"
    if queue.state.name in ("PAUSED", "DISABLED"):
        yield BackendProblem(f"{name} is {queue.state.name}", "no timer fires", "Resume it.")
    retry = queue.retry_config
    if retry.max_attempts != -1 or 0 < _seconds(retry.max_retry_duration, 0) < MAX_TASK_AGE:
        consequence = "a timer is lost if Pub/Sub cannot be reached for that long"
        yield BackendProblem(
            f"{name} gives up after a while", consequence, "Set its attempts to -1, and its retry duration to 0."
        )


def check_database(database: Any) -> Iterator[BackendProblem]:
    """Check the Firestore database."""
    if database.type_.name != "FIRESTORE_NATIVE":
        yield BackendProblem("the database is not in native mode", "nothing can be stored in it", "Create another one.")
    if database.delete_protection_state.name != "DELETE_PROTECTION_ENABLED":
        yield BackendProblem(
            "the database can be deleted", "one command deletes every instance", "Protect it from deletion."
        )


def check_indexes(collection: str, exempt: Sequence[str], fields: Iterable[Any]) -> Iterator[BackendProblem]:
    """Check that no field in `exempt` is indexed; `fields` are those of `collection` with settings of their own."""
    unindexed = {
        _field(each) for each in fields if not each.index_config.uses_ancestor_config and not each.index_config.indexes
    }
    if indexed := [name for name in exempt if name not in unindexed]:
        consequence = (
            "commits write index entries that no query reads, and an index on increasing times slows them down"
        )
        yield BackendProblem(
            f"{collection} has indexes of {', '.join(indexed)}", consequence, "Exempt these fields from indexing."
        )


def check_time_to_live(url: GcpUrl, fields: Iterable[Any]) -> Iterator[BackendProblem]:
    """Check the TTL policy, if finished instances are to expire."""
    if url.keep_finished is None:
        return
    active = {_field(each) for each in fields if each.ttl_config.state.name in ("ACTIVE", "CREATING")}
    if EXPIRES not in active:
        consequence = "finished instances are never deleted"
        yield BackendProblem(
            f"{url.collection} has no TTL policy", consequence, f"Create one for the field `{EXPIRES}`."
        )
    if url.keep_finished.total_seconds() < MAX_RETENTION_SECONDS:
        consequence = "a duplicate that is delivered later starts the instance again"
        yield BackendProblem(
            "finished instances are kept for less than 31 days", consequence, "Raise keep_finished to 2678400."
        )


def check_permissions(name: str, wanted: Sequence[str], granted: Iterable[str]) -> Iterator[BackendProblem]:
    """Check that these credentials have the permissions in `wanted` on `name`."""
    if missing := sorted(set(wanted) - set(granted)):
        yield BackendProblem(
            f"these credentials lack {', '.join(missing)} on {name}", "a worker with them fails", "Grant it."
        )


def _field(field: Any) -> str:
    return str(field.name).rpartition("/")[2]


def _seconds(duration: Any, default: float) -> float:
    return float(duration.total_seconds()) if duration else default


def _probe_topic(project: Project) -> Iterator[BackendProblem]:
    project.ask(PUBLISHER, "get_topic", topic=project.url.topic_name)
    yield from ()  # its existence is all that is checked


def _probe_subscription(project: Project) -> Iterator[BackendProblem]:
    subscription = project.ask(SUBSCRIBER, "get_subscription", subscription=project.url.subscription_name)
    yield from check_subscription(project.url, subscription)
    names = project.ask(PUBLISHER, "list_topic_subscriptions", topic=project.url.topic_name)
    others = [project.ask(SUBSCRIBER, "get_subscription", subscription=name) for name in names]
    yield from check_other_subscriptions(project.url, subscription.filter, others)


def _probe_task_queue(project: Project) -> Iterator[BackendProblem]:
    if project.url.timers is TimerService.TASKS:
        yield from check_task_queue(project.url, project.ask(TASKS, "get_queue", name=project.url.tasks_name))


def _probe_database(project: Project) -> Iterator[BackendProblem]:
    yield from check_database(project.ask(FIRESTORE_ADMIN, "get_database", name=project.url.records.database))


def _probe_indexes(project: Project) -> Iterator[BackendProblem]:
    url, records = project.url, project.url.records
    groups: dict[str, Sequence[str]] = {
        records.name: EXEMPT_RECORD_FIELDS,
        records.dead_letters: EXEMPT_DEAD_LETTER_FIELDS,
    }
    if url.timers is TimerService.SWEEP:
        groups[records.timers] = EXEMPT_TIMER_FIELDS
    for name, exempt in groups.items():
        parent = f"{records.database}/collectionGroups/{name}"
        wanted = "indexConfig.usesAncestorConfig:false OR ttlConfig:*"
        fields = list(project.ask(FIRESTORE_ADMIN, "list_fields", parent=parent, filter=wanted))
        yield from check_indexes(name, exempt, fields)
        if name == records.name:
            yield from check_time_to_live(url, fields)


def _probe_permissions(project: Project) -> Iterator[BackendProblem]:
    url = project.url
    wanted: list[tuple[Service, str, list[str]]] = [(PUBLISHER, url.topic_name, ["pubsub.topics.publish"])]
    wanted += [(SUBSCRIBER, url.subscription_name, ["pubsub.subscriptions.consume"])]
    if url.timers is TimerService.TASKS:
        wanted += [(TASKS, url.tasks_name, ["cloudtasks.tasks.create", "cloudtasks.tasks.delete"])]
    for service, name, permissions in wanted:
        answer = project.ask(service, "test_iam_permissions", resource=name, permissions=permissions)
        yield from check_permissions(name, permissions, answer.permissions)


_PROBES = (
    Probe("the topic", "nothing can be sent", _probe_topic),
    Probe("the subscription", "nothing is delivered", _probe_subscription),
    Probe("the task queue", "timers cannot be kept", _probe_task_queue),
    Probe("the database", "nothing can be stored", _probe_database),
    Probe("the indexes", "their effect on commits is unknown", _probe_indexes),
    Probe("the permissions of these credentials", "they may not suffice", _probe_permissions),
)


def _run_probe(probe: Probe[Project], project: Project) -> Iterator[BackendProblem]:
    try:
        with translated(f"looking at {probe.what}", repeatable=True):
            yield from probe.rule(project)
    except (BackendRefusedError, UnavailableError) as error:
        status = status_of(error.__cause__) if error.__cause__ is not None else ""
        if isinstance(error, UnavailableError) and status == "UNAVAILABLE":
            raise
        if status == "NOT_FOUND":
            yield probe.not_found("examples/gcp-signup for a module with all of it")
        else:
            yield probe.unreadable(error)
