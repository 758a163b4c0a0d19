"""The guarantees: what is promised, to whom, and what must have happened before a promise counts as kept.

A promise that was never put to the test is not kept but `VACUOUS`. So each names the marks that its proofs leave
behind once the thing it is about was really tried.
"""

from __future__ import annotations

from collections.abc import Mapping

from attrs import frozen

from settled.durable import Capability

PORT, HOST = "the port", "the host"


@frozen
class Guarantee:
    """One promise, and `whose` it is.

    `lives_on`: whoever dies with its process is not held to it. `needs`: only who declares this is.
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
    Guarantee("F3", "nothing skips past an unacknowledged message", PORT, ("given back", "expired")),
    Guarantee("F4", "acknowledging a part of a batch keeps the rest, in order", PORT, ("partly acknowledged",)),
    Guarantee("F5", "a message sent during a lease is kept", PORT, ("sent during a lease",)),
    Guarantee("F6", "a key that is held never holds up another", PORT, ("another key was handed out",)),
    Guarantee("F7", "a repeated send keeps its first place", PORT, ("sent again",)),
    Guarantee("F8", "order and keys hold past every limit", PORT, ("a long line", "odd keys")),
    Guarantee(
        "F9",
        "positions stay what they are, and rise for ever",
        PORT,
        ("numbered", "drained"),
        needs=Capability.POSITIONS,
    ),
    Guarantee("R1", "a key is leased to one holder at a time", PORT, ("held", "received at once")),
    Guarantee("R2", "a lease ends when it is over, and not earlier", PORT, ("just before", "just after")),
    Guarantee("R3", "versions only rise", PORT, ("deleted", "reopened")),
    Guarantee("R4", "a worker that was left behind cannot commit", HOST, ("zombie commit",)),
    Guarantee("R5", "a worker that was left behind cannot acknowledge or release", PORT, ("stale receipt",)),
    Guarantee("R6", "of several commits one wins, and losers leave no trace", PORT, ("conflict", "committed at once")),
    Guarantee("R7", "what is read only ever grows older states into newer ones", PORT, ("read while written",)),
    Guarantee("R8", "reads are fresh, and nobody else's to change", PORT, ("read through another handle",)),
    Guarantee("R9", "a commit is all or nothing", PORT, ("commit interrupted",)),
    Guarantee("R10", "a commit whose answer was lost is applied at most once", PORT, ("commit repeated",)),
    Guarantee(
        "R11", "a worker frozen in the middle of an effect does no harm when it thaws", HOST, ("frozen in an effect",)
    ),
    Guarantee(
        "R12",
        "a commit is refused to a hand-out that has lost the key",
        PORT,
        ("commit in the name of a lost lease", "commit in the name of a lease"),
        needs=Capability.FENCED_FINISH,
    ),
    Guarantee("D1", "a send that was answered is never lost", PORT, ("sender lost",)),
    Guarantee("D2", "a commit that was answered is never lost", PORT, ("committer lost",)),
    Guarantee("D3", "no crash and no error loses anything", PORT, ("receiver lost",)),
    Guarantee("D4", "what a committed step owes is sent", HOST, ("crash", "owed")),
    Guarantee("D5", "what was acknowledged has no effect again", HOST, ("acknowledged",)),
    Guarantee("D6", "payloads come back as they were", PORT, ("odd payloads",)),
    Guarantee("D7", "everything survives kill -9", PORT, ("killed",), survives_processes=True),
    Guarantee("X1", "a message that is sent twice is taken once", HOST, ("sent twice",)),
    Guarantee("X2", "the same id for another key is another message", HOST, ("one id, two keys",)),
    Guarantee("X3", "a duplicate that comes after the end is taken no more", HOST, ("sent after the end",)),
    Guarantee("X4", "no event is applied twice", HOST, ("redelivery", "crash")),
    Guarantee("X5", "a duplicate is known after the queue has forgotten it", HOST, ("the queue had forgotten",)),
    Guarantee("X6", "what fails for good is set aside whole", HOST, ("set aside",)),
    Guarantee("X7", "healthy messages are not charged for others' failures", HOST, ("spared",)),
    Guarantee("X8", "equal payloads stay different messages", PORT, ("equal payloads",)),
    Guarantee("X9", "no message is invented, and none changes its key or id", PORT, ("keys side by side",)),
    Guarantee("X10", "a redrive takes dead letters in order, none lost, none twice", HOST, ("redrive",)),
    Guarantee(
        "X11", "an id that is used for another body is never taken for a repetition", HOST, ("one id, two bodies",)
    ),
    Guarantee("X12", "the ids of outsiders never meet those of machines", HOST, ("posted under a machine's id",)),
    Guarantee("T1", "a timer is never early", PORT, ("just before due",)),
    Guarantee("T2", "a timer fires", PORT, ("fired",)),
    Guarantee("T3", "a cancelled timer has no effect", HOST, ("cancelled",)),
    Guarantee("T4", "a replaced timer has its effect at its new time only", HOST, ("replaced",)),
    Guarantee("T5", "workers whose clocks disagree break nothing", HOST, ("skew",)),
    Guarantee("T6", "a timer that comes early is put off, and holds up nothing", HOST, ("early",)),
    Guarantee("E1", "every effect of a committed step is performed", HOST, ("performed", "crash")),
    Guarantee(
        "E2", "no effect of an uncommitted step is performed, and each has one key", HOST, ("performed", "crash")
    ),
    Guarantee("E3", "a key names one effect, whatever was deleted or adopted between", HOST, ("several lives",)),
    Guarantee("L1", "once faults stop, everything comes to rest", HOST, ("came to rest",)),
    Guarantee("V1", "a deploy that removed an active state loses nothing", HOST, ("unreadable",)),
    Guarantee("V2", "a host leaves alone what a version has written that it does not know", HOST, ("unknown version",)),
    Guarantee("V3", "the delay of an active state is always running", HOST, ("changed delay",)),
    Guarantee("G1", "event 10,000 costs and weighs what event 1,000 did", HOST, ("grown",)),
    Guarantee("C1", "capabilities are what they are declared to be", PORT, ("declared",)),
)

GUARANTEES: Mapping[str, Guarantee] = {guarantee.id: guarantee for guarantee in _ALL}
"""All guarantees by their numbers, in the order in which they are reported."""
