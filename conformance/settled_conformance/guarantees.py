"""`GUARANTEES`: the numbered guarantees, each with its owner and the situations that a test of it must have reached.

A guarantee whose situation never occurred is `VACUOUS`, not kept. The situations are named by `marks`, which checks and
simulations leave when they reach them.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from settled.durable import Capability

PORT, HOST = "the port", "the host"


@frozen
class Guarantee:
    """A guarantee, and its `owner`: the port, if an adapter must keep it by itself, else the host.

    `survives_processes`: not asked of backends of kind memory. `needs`: asked only of backends that declare this.
    """

    id: str
    title: str
    owner: str
    marks: tuple[str, ...] = ()
    survives_processes: bool = False
    needs: Capability | None = None

    def __str__(self) -> str:
        return f"{self.id} {self.title}"


_ALL = (
    Guarantee("F1", "messages of one sender stay in order", PORT, ("in order",)),
    Guarantee("F2", "all deliveries of a key agree on one order", PORT, ("redelivered",)),
    Guarantee("F3", "nothing skips past an unacknowledged message", PORT, ("released", "expired")),
    Guarantee("F4", "acknowledging part of a batch keeps the rest, in order", PORT, ("partly acknowledged",)),
    Guarantee("F5", "a message sent during a lease is kept", PORT, ("sent during a lease",)),
    Guarantee("F6", "a leased key never blocks another key", PORT, ("another key was delivered",)),
    Guarantee("F7", "a repeated send keeps its original position", PORT, ("sent again",)),
    Guarantee("F8", "order and the separation of keys hold at any size", PORT, ("a long queue", "unusual keys")),
    Guarantee(
        "F9",
        "positions never change and always increase",
        PORT,
        ("positions seen", "drained"),
        needs=Capability.POSITIONS,
    ),
    Guarantee(
        "F10",
        "a receive for some machines is not concerned by the messages of others",
        PORT,
        ("received for one machine", "another machine had a backlog"),
        needs=Capability.SELECTIVE_RECEIVE,
    ),
    Guarantee("R1", "a key is leased to one holder at a time", PORT, ("leased", "received concurrently")),
    Guarantee(
        "R2",
        "a lease ends on time, and not earlier",
        PORT,
        ("just before the lease ended", "just after the lease ended"),
    ),
    Guarantee("R3", "versions only increase", PORT, ("deleted", "reopened")),
    Guarantee("R4", "a stale worker cannot commit", HOST, ("stale commit",)),
    Guarantee("R5", "a stale worker cannot acknowledge or release", PORT, ("stale receipt",)),
    Guarantee(
        "R6",
        "of several competing commits one wins, and the others leave no trace",
        PORT,
        ("conflict", "committed concurrently"),
    ),
    Guarantee("R7", "reads never go back to an older version", PORT, ("read during a commit",)),
    Guarantee(
        "R8", "reads are fresh, and changing a result changes nothing stored", PORT, ("read through another handle",)
    ),
    Guarantee("R9", "a commit is all or nothing", PORT, ("commit interrupted",)),
    Guarantee("R10", "a commit whose answer was lost is applied at most once", PORT, ("commit repeated",)),
    Guarantee(
        "R11",
        "a worker frozen during an effect changes nothing when it resumes",
        HOST,
        ("frozen during an effect",),
    ),
    Guarantee(
        "R12",
        "a commit under a lost lease fails",
        PORT,
        ("commit under a lost lease", "commit under a current lease"),
        needs=Capability.FENCED_FINISH,
    ),
    Guarantee("D1", "a confirmed send is never lost", PORT, ("sender lost",)),
    Guarantee("D2", "a confirmed commit is never lost", PORT, ("committer lost",)),
    Guarantee("D3", "no crash and no error loses a message", PORT, ("receiver lost",)),
    Guarantee("D4", "the messages of a committed step are sent", HOST, ("crash", "outbox sent")),
    Guarantee("D5", "an acknowledged message has no further effect", HOST, ("acknowledged",)),
    Guarantee("D6", "payloads come back unchanged", PORT, ("unusual payloads",)),
    Guarantee("D7", "everything survives kill -9", PORT, ("killed",), survives_processes=True),
    Guarantee("D8", "headers come back unchanged", PORT, ("headers",)),
    Guarantee("X1", "a message sent twice is taken once", HOST, ("sent twice",)),
    Guarantee("X2", "the same id under another key is another message", HOST, ("one id, two keys",)),
    Guarantee(
        "X3", "a duplicate sent after the acknowledgement is not taken", HOST, ("sent after the acknowledgement",)
    ),
    Guarantee("X4", "no event is applied twice", HOST, ("redelivery", "crash")),
    Guarantee(
        "X5", "a duplicate is recognised after the queue has forgotten its id", HOST, ("forgotten by the queue",)
    ),
    Guarantee("X6", "a message that keeps failing becomes a dead letter, intact", HOST, ("dead-lettered",)),
    Guarantee("X7", "failures of one message do not count against others", HOST, ("not affected",)),
    Guarantee("X8", "messages with equal payloads stay separate", PORT, ("equal payloads",)),
    Guarantee("X9", "no message is invented, and none changes its key or id", PORT, ("similar keys",)),
    Guarantee("X10", "a redrive takes dead letters in order, none lost, none twice", HOST, ("redrive",)),
    Guarantee("X11", "an id reused with another body is never treated as a duplicate", HOST, ("one id, two bodies",)),
    Guarantee("X12", "ids chosen by clients never collide with internal ids", HOST, ("sent under an internal id",)),
    Guarantee("X13", "an event is ignored if nothing takes it, and only then", HOST, ("ignored",)),
    Guarantee("X14", "an event that is skipped is kept, and nothing else is skipped", HOST, ("skipped",)),
    Guarantee("T1", "a timer never fires early", PORT, ("just before due",)),
    Guarantee("T2", "every timer fires", PORT, ("fired",)),
    Guarantee("T3", "a cancelled timer has no effect", HOST, ("cancelled",)),
    Guarantee("T4", "a replaced timer takes effect at its new time only", HOST, ("replaced",)),
    Guarantee("T5", "workers with wrong clocks break nothing", HOST, ("clock skew",)),
    Guarantee("T6", "a timer delivered early is rescheduled, and blocks nothing", HOST, ("delivered early",)),
    Guarantee("E1", "every effect of a committed step is performed", HOST, ("performed", "crash")),
    Guarantee(
        "E2", "no effect of an uncommitted step is performed, and each effect has one key", HOST, ("performed", "crash")
    ),
    Guarantee(
        "E3", "an idempotency key is never reused, even after a deletion or an import", HOST, ("several lifetimes",)
    ),
    Guarantee("L1", "once faults stop, every instance comes to rest", HOST, ("came to rest",)),
    Guarantee("L2", "a function that ends its workers harms no other instance", HOST, ("a worker ended by its actor",)),
    Guarantee("V1", "a deploy that removes an active state loses nothing", HOST, ("unreadable",)),
    Guarantee("V2", "a host never touches a record written by a version it does not know", HOST, ("unknown version",)),
    Guarantee("V3", "the delay of an active state is always scheduled", HOST, ("changed delay",)),
    Guarantee("G1", "event 10,000 takes no more time or space than event 1,000", HOST, ("grown",)),
    Guarantee(
        "W1",
        "a watcher is told of each commit, and finds it",
        PORT,
        ("told", "told by another handle", "deleted"),
        needs=Capability.WATCH,
    ),
    Guarantee("C1", "capabilities match their declaration", PORT, ("declared",)),
)

GUARANTEES: Mapping[str, Guarantee] = {guarantee.id: guarantee for guarantee in _ALL}
"""All guarantees by id, in the order of the report."""
