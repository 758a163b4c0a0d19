"""The guarantees are those of every backend, so the tests are those of the local backends, on real servers."""

from __future__ import annotations

from tests.adapters.local.test_commit import TestACommit, TestADelete, TestFinish, TestFinishAll, TestScan
from tests.adapters.local.test_dead_letters import (
    test_burying_a_message_leaves_the_next_one_in_the_queue,
    test_dead_letters_are_added_after_others_are_removed,
    test_dead_letters_are_kept_whole_and_in_order,
    test_each_key_has_its_own_dead_letters,
    test_removing_more_dead_letters_than_exist_removes_all,
    test_the_oldest_dead_letters_are_removed,
)
from tests.adapters.local.test_duplicates import (
    test_a_redelivered_message_keeps_its_id,
    test_equal_bodies_are_distinct_messages,
)
from tests.adapters.local.test_leases import (
    TestALease,
    TestAttempts,
    TestAZombie,
    test_an_acknowledged_message_is_not_delivered_again,
    test_an_acknowledgement_within_finish_all_makes_the_next_message_ready,
    test_extending_what_was_acknowledged_fails_and_extends_the_rest,
)
from tests.adapters.local.test_order import (
    TestOneKey,
    TestOtherKeys,
    test_long_ids_are_keys_of_their_own,
    test_odd_ids_are_keys_of_their_own,
)
from tests.adapters.local.test_payloads import (
    test_in_a_dead_letter,
    test_in_a_message,
    test_in_a_record,
    test_in_a_timer,
    test_in_random_messages,
    text,
)
from tests.adapters.local.test_timers import (
    TestAReplacedTimer,
    TestATimer,
    test_a_cancelled_timer_does_not_fire,
    test_several_timers_fire_in_due_order,
)
from tests.adapters.local.test_waiting import (
    test_each_message_goes_to_one_of_many_receivers,
    test_receive_does_not_wait_if_a_message_is_ready,
    test_receive_returns_a_timer_that_comes_due_while_it_waits,
    test_receive_waits_no_longer_than_asked,
    test_receive_wakes_when_a_message_becomes_ready,
    test_waiting_uses_little_cpu,
    threads,
)

__all__ = [
    "TestACommit",
    "TestADelete",
    "TestALease",
    "TestAReplacedTimer",
    "TestATimer",
    "TestAZombie",
    "TestAttempts",
    "TestFinish",
    "TestFinishAll",
    "TestOneKey",
    "TestOtherKeys",
    "TestScan",
    "test_a_cancelled_timer_does_not_fire",
    "test_a_redelivered_message_keeps_its_id",
    "test_an_acknowledged_message_is_not_delivered_again",
    "test_an_acknowledgement_within_finish_all_makes_the_next_message_ready",
    "test_burying_a_message_leaves_the_next_one_in_the_queue",
    "test_dead_letters_are_added_after_others_are_removed",
    "test_dead_letters_are_kept_whole_and_in_order",
    "test_each_key_has_its_own_dead_letters",
    "test_each_message_goes_to_one_of_many_receivers",
    "test_equal_bodies_are_distinct_messages",
    "test_extending_what_was_acknowledged_fails_and_extends_the_rest",
    "test_in_a_dead_letter",
    "test_in_a_message",
    "test_in_a_record",
    "test_in_a_timer",
    "test_in_random_messages",
    "test_long_ids_are_keys_of_their_own",
    "test_odd_ids_are_keys_of_their_own",
    "test_receive_does_not_wait_if_a_message_is_ready",
    "test_receive_returns_a_timer_that_comes_due_while_it_waits",
    "test_receive_waits_no_longer_than_asked",
    "test_receive_wakes_when_a_message_becomes_ready",
    "test_removing_more_dead_letters_than_exist_removes_all",
    "test_several_timers_fire_in_due_order",
    "test_the_oldest_dead_letters_are_removed",
    "test_waiting_uses_little_cpu",
    "text",
    "threads",
]
