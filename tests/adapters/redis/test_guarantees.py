"""The promises are those of every backend, so the tests are those of the local ones, on real servers."""

from __future__ import annotations

from tests.adapters.local.test_commit import TestACommit, TestADelete, TestFinish, TestFinishAll, TestScan
from tests.adapters.local.test_dead_letters import (
    test_a_buried_message_takes_no_follower_along,
    test_taking_more_than_there_are_takes_all,
    test_they_are_kept_whole_and_in_order,
    test_they_are_the_key_s_own,
    test_they_leave_from_the_head,
    test_those_that_return_go_behind_those_that_stayed,
)
from tests.adapters.local.test_duplicates import (
    test_a_message_keeps_its_id_when_it_comes_back,
    test_equal_bodies_are_distinct_messages,
)
from tests.adapters.local.test_leases import (
    TestALease,
    TestAttempts,
    TestAZombie,
    test_acknowledged_stays_gone,
    test_an_acknowledged_step_frees_the_key,
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
    test_whatever_it_is,
    text,
)
from tests.adapters.local.test_timers import (
    TestAReplacedOne,
    TestATimer,
    test_a_cancelled_one_does_not_ring,
    test_several_ring_in_the_order_in_which_they_are_due,
)
from tests.adapters.local.test_waiting import (
    test_a_timer_that_is_due_while_it_waits,
    test_each_message_goes_to_one_of_many_that_wait,
    test_nothing_is_waited_for_in_vain,
    test_waiting_costs_little,
    test_what_is_there_is_not_waited_for,
    test_whatever_makes_a_message_ready_wakes_it,
    threads,
)

__all__ = [
    "TestACommit",
    "TestADelete",
    "TestALease",
    "TestAReplacedOne",
    "TestATimer",
    "TestAZombie",
    "TestAttempts",
    "TestFinish",
    "TestFinishAll",
    "TestOneKey",
    "TestOtherKeys",
    "TestScan",
    "test_a_buried_message_takes_no_follower_along",
    "test_a_cancelled_one_does_not_ring",
    "test_a_message_keeps_its_id_when_it_comes_back",
    "test_a_timer_that_is_due_while_it_waits",
    "test_acknowledged_stays_gone",
    "test_an_acknowledged_step_frees_the_key",
    "test_each_message_goes_to_one_of_many_that_wait",
    "test_equal_bodies_are_distinct_messages",
    "test_in_a_dead_letter",
    "test_in_a_message",
    "test_in_a_record",
    "test_in_a_timer",
    "test_long_ids_are_keys_of_their_own",
    "test_nothing_is_waited_for_in_vain",
    "test_odd_ids_are_keys_of_their_own",
    "test_several_ring_in_the_order_in_which_they_are_due",
    "test_taking_more_than_there_are_takes_all",
    "test_they_are_kept_whole_and_in_order",
    "test_they_are_the_key_s_own",
    "test_they_leave_from_the_head",
    "test_those_that_return_go_behind_those_that_stayed",
    "test_waiting_costs_little",
    "test_what_is_there_is_not_waited_for",
    "test_whatever_it_is",
    "test_whatever_makes_a_message_ready_wakes_it",
    "text",
    "threads",
]
