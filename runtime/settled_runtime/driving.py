"""The two drivers: one runs a generator of commands in this thread, the other awaits.

An error that is settled's own is raised where the generator waits for its answer, because it may know what to do
about it; anything else ends the turn.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

from settled import SettledError
from settled.commands import Answer, Command, Course

T = TypeVar("T")


def drive(course: Course[T], perform: Callable[[Command], Answer]) -> T:
    """Run `course` to its end."""
    try:
        command = next(course)
        while True:
            try:
                answer = perform(command)
            except SettledError as error:
                command = course.throw(error)
            else:
                command = course.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result


async def drive_async(course: Course[T], perform: Callable[[Command], Awaitable[Answer]]) -> T:
    """Run `course` to its end."""
    try:
        command = next(course)
        while True:
            try:
                answer = await perform(command)
            except SettledError as error:
                command = course.throw(error)
            else:
                command = course.send(answer)
    except StopIteration as end:
        result: T = end.value
        return result
