"""What strategies know of who does their work, and the simplest answer: this process, task by task."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Sequence
from types import TracebackType
from typing import TypeVar

Shared = TypeVar("Shared")
Task = TypeVar("Task")
Done = TypeVar("Done")


def nothing(*place: int) -> None:
    """Takes a notice and does nothing."""


class Workers(ABC):
    """Does tasks that do not need one another.

    While it is entered, workers are at hand, also those of other objects that are entered meanwhile;
    :meth:`each` enters it where nobody has.
    """

    @property
    @abstractmethod
    def at_once(self) -> int:
        """Tasks that are done at the same time; asked while it is entered."""

    @abstractmethod
    def each(
        self,
        do: Callable[[Shared, Task], Done],
        shared: Shared,
        tasks: Sequence[Task],
        at: Callable[[int], None] = nothing,
        waiting: Callable[[], None] = nothing,
    ) -> Generator[tuple[int, Done], None, None]:
        """Does every task.

        What is done must depend on the arguments alone, and may change them: they may be copies.

        Args:
            do: does a task, a function that is found by its name.
            shared: what all tasks need, such as a block; it is sent once.
            tasks: what each of them needs beside that.
            at: called with the place of a task when it is begun here, and of one that has failed.
            waiting: called now and then while others work; what it raises ends all tasks.

        Yields:
            The place of a task and what came out of it, in the order in which they are finished.

        Raises:
            RunError: If the workers were lost, and so were those that took their place.
        """

    @abstractmethod
    def __enter__(self) -> Workers:
        """Gets the workers to hand.

        Raises:
            CCDError: If there are none.
        """

    @abstractmethod
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends workers that have been begun here."""


class Sequential(Workers):
    """This process does one task after the other, with the arguments themselves."""

    @property
    def at_once(self) -> int:
        """One task at a time."""
        return 1

    def each(
        self,
        do: Callable[[Shared, Task], Done],
        shared: Shared,
        tasks: Sequence[Task],
        at: Callable[[int], None] = nothing,
        waiting: Callable[[], None] = nothing,
    ) -> Generator[tuple[int, Done], None, None]:
        """Does every task when its result is asked for, in order."""
        for place, task in enumerate(tasks):
            at(place)
            yield place, do(shared, task)

    def __enter__(self) -> Sequential:
        """Begins nothing, as this process does the work."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Ends nothing."""
