"""`wake_overdue` on AWS: the table alone was restored, or a schedule was given up, and its timer fires all the same."""

from __future__ import annotations

from settled import Key, setup
from settled_runtime import Client, Host, wake_overdue
from tests.adapters.aws.harness import AwsHarness

HOUR = 3600.0
ADA = Key("patient", "ada")


def test_the_timer_of_a_lost_schedule_fires(harness: AwsHarness) -> None:
    patient = setup().machine(
        {
            "id": "patient",
            "initial": "waiting",
            "states": {"waiting": {"tags": ["settled"], "after": {"3600000": "tired"}}, "tired": {"type": "final"}},
        }
    )
    aws = harness.fresh()
    client = Client(patient, aws)
    client.start("ada")
    with Host([patient], aws) as host:
        host.handle(aws.queue.receive(10))
        (schedule,) = harness.cloud.scheduler.list_schedules(GroupName=harness.url.schedules)["Schedules"]
        harness.cloud.scheduler.delete_schedule(Name=schedule["Name"], GroupName=harness.url.schedules)
        harness.advance(3 * HOUR)
        assert aws.queue.receive(10) == []
        (overdue,) = wake_overdue(aws).overdue
        assert (overdue.message.key, overdue.what) == (ADA, "the timer xstate.after.3600000.patient.waiting")
        host.handle(aws.queue.receive(10))
    snapshot = client.get("ada")
    assert snapshot is not None
    assert snapshot.value == "tired"
    assert wake_overdue(aws).overdue == []
