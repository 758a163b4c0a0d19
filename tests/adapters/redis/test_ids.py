"""A message is recognized by its id and its body (X1, X2, X11, F7): a message that reuses an id is not lost.

The queue takes both, because its script could not fail without undoing the steps before. The record detects it.
"""

from __future__ import annotations

import pytest

from settled.durable.messages import Message, Timer
from settled.durable.ports import Write
from tests.adapters.local.fixtures import ADA, BackendEnv, message
from tests.adapters.local.test_duplicates import TestARepeat as Repeat


@pytest.fixture
def env(any_env: BackendEnv) -> BackendEnv:
    return any_env


def bodies(env: BackendEnv) -> list[str]:
    """Return the bodies of all messages, in the order of their delivery."""
    found: list[str] = []
    while deliveries := env.take(10):
        found += [each.message.body for each in deliveries]
        env.queue.ack(deliveries)
    return found


class TestARepeat:
    """The guarantees of every backend; what Redis does with another body is tested below."""

    test_while_the_first_one_waits_is_not_added = Repeat.test_while_the_first_one_waits_is_not_added
    test_while_the_first_one_is_leased_is_not_added = Repeat.test_while_the_first_one_is_leased_is_not_added
    test_after_the_first_one_was_acknowledged_is_not_added = (
        Repeat.test_after_the_first_one_was_acknowledged_is_not_added
    )
    test_for_another_key_is_another_message = Repeat.test_for_another_key_is_another_message


FIRST, SECOND = message(ADA, "a", '{"n":1}'), message(ADA, "a", '{"n":2}')


class TestASeenId:
    def test_with_another_body_is_queued(self, env: BackendEnv) -> None:
        """While the first one waits, while it is leased, and after it was acknowledged."""
        env.queue.send([FIRST, SECOND, FIRST, SECOND])
        assert bodies(env) == [FIRST.body, SECOND.body]
        third, fourth = (message(ADA, "a", f'{{"n":{n}}}') for n in (3, 4))
        env.queue.send([third])
        held = env.take()
        env.queue.send([fourth, third])
        env.queue.ack(held)
        env.queue.send([FIRST, SECOND, third, fourth])
        assert bodies(env) == [fourth.body]

    def test_with_the_same_body_is_a_repetition(self, env: BackendEnv) -> None:
        """X3: also within `finish`, and however long ago the first one was acknowledged."""
        env.queue.send([FIRST])
        assert bodies(env) == [FIRST.body]
        env.clock.now += 1_000_000
        env.backend.finish(Write(ADA, sends=(FIRST,)))
        assert bodies(env) == []

    @pytest.mark.parametrize(
        "timer_id", ["t", "signup/ada/1/1/1"], ids=["in any partition", "in the partition of its key"]
    )
    def test_is_recognized_from_a_timer_too(self, env: BackendEnv, timer_id: str) -> None:
        """In whichever partition the timer is stored."""
        env.queue.send([FIRST])
        found: list[list[str]] = []
        for sent in (FIRST, SECOND, SECOND):
            env.timers.schedule(Timer(timer_id, sent, env.clock.now))
            found.append(bodies(env))
        assert found == [[FIRST.body], [SECOND.body], []]


@pytest.mark.parametrize("id", ["", "00000000", " 3 x", "a b", "\0", "é\ud800"])
def test_an_id_may_be_any_text(env: BackendEnv, id: str) -> None:
    """The digest in front of it is never mistaken for a part of it."""
    plain, longer = Message(ADA, id, "1"), Message(ADA, Message(ADA, id, "2").digest + id, "1")
    env.queue.send([plain, longer, Message(ADA, id, "2"), plain, longer])
    assert bodies(env) == ["1", "1", "2"]
