"""Checks of C1: `Store.scan` lists everything page by page, in order if that is declared, while others come and go."""

from __future__ import annotations

from attrs import evolve

from settled import Key
from settled.durable import Capability, Index, Stored
from settled_conformance.checks import checks
from settled_conformance.fixture import BackendFixture, dead_letter, key, stored, tombstone

STATUSES = ("active", "done", "error")


def _with(status: str, version: int = 1) -> Stored:
    return evolve(stored(version), index=Index(status, (), 12.5))


def _pages(
    fixture: BackendFixture,
    machine: str | None = None,
    status: str | None = None,
    limit: int = 3,
    after: Key | None = None,
) -> list[Key]:
    """Return the keys of all pages, read until a page is empty."""
    found = list[Key]()
    while page := [each for each, _ in fixture.backend.store.scan(machine, after, limit, status)]:
        fixture.require(len(page) <= limit, f"a page of {len(page)} where {limit} were asked for")
        found, after = [*found, *page], page[-1]
    return found


@checks("C1", needs=Capability.SCAN)
def filters_and_limits_can_be_combined(fixture: BackendFixture) -> None:
    targets = dict[Key, str]()
    for name in ("m", "m1", "M", "m%", "m_", "n"):
        for number in range(fixture.many(11, 5)):
            target = Key(name, f"i{number}")
            targets[target] = STATUSES[number % 3] if name != "n" else "done"
            fixture.backend.store.commit(target, _with(targets[target]), 0)
    for machine in (None, "m", "m1", "M", "m%", "m_", "n", "o", "i"):
        for status in (None, *STATUSES, "Done", "act"):
            expected = sorted(
                target for target, its in targets.items() if machine in (None, target.machine) and status in (None, its)
            )
            for limit in (2, 100) if fixture.harness.is_quick else (3,):
                what = f"listed of the machine {machine} with the status {status} in pages of {limit}"
                fixture.require_equal(_pages(fixture, machine, status, limit), expected, what)
    expected = sorted(target for target in targets if target.machine == "m")
    for behind in (Key("m", "i10"), Key("m", "i1/"), Key("m", "i1z")):
        rest = [target for target in expected if target > behind]
        fixture.require_equal(_pages(fixture, "m", after=behind), rest, f"listed of the machine m behind {behind}")
    fixture.require_equal(
        _pages(fixture, "m", after=Key("l", "z")), expected, "listed of the machine m behind another machine"
    )
    fixture.require_equal(
        _pages(fixture, "m", "active", 1), [p for p in expected if targets[p] == "active"], "listed one by one"
    )
    fixture.require_equal(
        _pages(fixture, "m", after=Key("n", "a")), [], "listed of the machine m behind another machine"
    )


@checks("C1", needs=Capability.SCAN)
def changes_between_pages_move_no_other_instance(fixture: BackendFixture) -> None:
    store, targets = fixture.backend.store, [key(f"{number:02}") for number in range(0, 40, 2)]
    for target in targets:
        store.commit(target, _with("active"), 0)
    found, after = list[Key](), None
    while page := [each for each, _ in fixture.open_handle().store.scan("m", after, 4, "active")]:
        found, after = [*found, *page], page[-1]
        first = page[0]
        store.delete(first, tombstone(2), 1)
        if len(page) > 2:
            store.delete(after, tombstone(2), 1)
            store.commit(page[1], _with("done", 2), 1)
        store.commit(Key("m", f"{first.instance}!"), _with("active"), 0)  # sorts before the start of the next page
    fixture.require_equal(found, targets, "listed in pages while others came and went")


@checks("C1", needs=Capability.SCAN)
def changes_after_the_current_page_are_seen(fixture: BackendFixture) -> None:
    store = fixture.backend.store
    for number in range(12):
        store.commit(key(f"{number:02}"), _with("active"), 0)
    (last, _) = store.scan("m", None, 4)[-1]
    store.delete(key("05"), tombstone(2), 1)
    store.commit(key("04!"), _with("active"), 0)
    store.commit(key("06"), _with("done", 2), 1)
    store.delete(key("07"), tombstone(2), 1)
    store.commit(key("07"), _with("active", 3), 2)
    expected = [key(name) for name in ("04", "04!", "07", "08", "09", "10", "11")]
    fixture.require_equal(_pages(fixture, "m", "active", after=last), expected, "listed behind a page")
    fixture.require_equal(_pages(fixture, None, "done"), [key("06")], "listed with a status that was changed")
    listed = {each: found.version for each, found in fixture.open_handle().store.scan("m", None, 100)}
    fixture.require_equal((listed[key("06")], listed[key("07")]), (2, 3), "the versions that are listed")


@checks("C1", needs=Capability.SCAN)
def long_lists_and_long_gaps_are_listed(fixture: BackendFixture) -> None:
    store, count = fixture.backend.store, fixture.many(260, 24)
    targets = [key(f"{number:04}") for number in range(count)]
    for target in targets:
        store.commit(target, _with("active"), 0)
    fixture.require_equal([each for each, _ in store.scan("m", None, count)], targets, "listed at once")
    fixture.require_equal(len(store.scan("m")), min(count, 100), "the number of keys listed with the default limit")
    for target in targets[2:-1]:
        store.delete(target, tombstone(2), 1)
    rest = [*targets[:2], targets[-1]]
    fixture.require_equal(_pages(fixture, "m", limit=2), rest, "listed beside many that were deleted")
    fixture.require_equal(_pages(fixture, None, "active", limit=1), rest, "listed beside many that were deleted")


@checks("C1", needs=Capability.SCAN)
def keys_are_listed_in_code_point_order(fixture: BackendFixture) -> None:
    names = ("A", "B", "Z", "a", "a ", "a!", "a/", "a0", "a10", "a2", "aa", "b", "z", "é", "\uff5e", "🙂", "𝄞")
    targets = [Key(machine, name) for machine in ("m", "m!", "m/", "n") for name in names]
    for target in reversed(targets):
        fixture.backend.store.commit(target, _with("active"), 0)
    fixture.require_equal(_pages(fixture, limit=5), sorted(targets), "listed")


@checks("C1", needs=Capability.UNORDERED_SCAN)
def each_instance_is_listed_once_in_any_order(fixture: BackendFixture) -> None:
    store, targets = fixture.backend.store, dict[Key, str]()
    for number in range(fixture.many(40, 12)):
        for instance in (f"i{number}", f"i{number}" + "x" * 2000, f"i{number}\x7f\udc00"):
            target = Key("m/%" if number % 2 else "m", instance)
            targets[target] = STATUSES[number % 3]
            store.commit(target, _with(targets[target]), 0)
    for target in list(targets)[::5]:
        store.delete(target, tombstone(2), 1)
        del targets[target]
    for machine in (None, "m", "m/%", "n"):
        for status in (None, *STATUSES, "deleted "):
            expected = sorted(t for t, its in targets.items() if machine in (None, t.machine) and status in (None, its))
            for limit in (1, 7, 1000):
                found = sorted(_pages(fixture, machine, status, limit))
                what = f"listed of the machine {machine} with the status {status} in pages of {limit}"
                fixture.require_equal(found, expected, what)


@checks("C1", needs=Capability.UNORDERED_SCAN)
def an_unordered_page_starts_behind_a_key_that_is_gone(fixture: BackendFixture) -> None:
    store, targets = fixture.backend.store, [key(f"{number}") for number in range(fixture.many(30, 12))]
    for target in targets:
        store.commit(target, _with("active"), 0)
        store.commit(target, _with("active", 2), 1, [dead_letter("1", target)])
    found, after = list[Key](), None
    while page := [each for each, _ in fixture.open_handle().store.scan("m", after, 4)]:
        found, after = [*found, *page], page[-1]
        store.delete(after, tombstone(3), 2)
    fixture.require_equal(sorted(found), sorted(targets), "listed in pages while the last of each was deleted")
    left = [each for number, each in enumerate(found, 1) if number % 4 and number < len(found)]
    fixture.require_equal(_pages(fixture, "m"), left, "listed again, which are those that are left, in the same order")
