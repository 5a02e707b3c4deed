"""Split a run into parts for jobs that do not communicate with each other."""

from __future__ import annotations

import heapq
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

# The cost of a mesh's views, as the number of bytes of a file that take as long to load.
BYTES_PER_MESH = 1 << 18


@dataclass(frozen=True)
class Shard:
    """Part `index` of `count` parts, counted from 0."""

    index: int
    count: int

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count:
            raise ValueError(f"shard {self} does not exist; expected 0/N to N-1/N")

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"

    @classmethod
    def parse(cls, text: str, environment: Mapping[str, str]) -> Shard:
        """Parse `I/N`, or `slurm` for the part that SLURM's variables name.

        Raises
        ------
        ValueError
            The text is neither, or this process is not in a SLURM job.
        """
        if text == "slurm":
            return cls.of_slurm(environment)
        index, _, count = text.partition("/")
        if not (index.isdecimal() and count.isdecimal()):
            raise ValueError(f"shard is {text!r}; expected I/N such as 0/8, or slurm")
        return cls(int(index), int(count))

    @classmethod
    def of_slurm(cls, environment: Mapping[str, str]) -> Shard:
        """Return the part of a task in a job array (sbatch --array), in a step (srun), or in both.

        Raises
        ------
        ValueError
            Neither kind of variable is set, or one is not a number.
        """

        def number(name: str, default: int | None = None) -> int:
            value = environment.get(f"SLURM_{name}", "" if default is None else str(default))
            if not value.isdecimal():
                raise ValueError(f"SLURM_{name} is {value!r}; expected a whole number")
            return int(value)

        index, count = 0, 1
        if "SLURM_ARRAY_TASK_ID" in environment:
            first, step = number("ARRAY_TASK_MIN", 0), number("ARRAY_TASK_STEP", 1)
            index = (number("ARRAY_TASK_ID") - first) // max(step, 1)
            count = number("ARRAY_TASK_COUNT")
        elif "SLURM_PROCID" not in environment:
            raise ValueError("shard slurm: neither SLURM_ARRAY_TASK_ID nor SLURM_PROCID is set")
        if "SLURM_PROCID" in environment:
            n_tasks = number("NTASKS")
            index, count = index * n_tasks + number("PROCID"), count * n_tasks
        return cls(index, count)


def members(weights: Sequence[int], shard: Shard) -> list[int]:
    """Return the indices, ascending, of the items that belong to a shard.

    Each item belongs to exactly one shard. The heaviest item is assigned first, and each goes to
    the shard with the least weight so far (Graham, "Bounds on multiprocessing timing anomalies",
    1969). Equal weights are assigned in order, so that every job finds the same shards.

    Parameters
    ----------
    weights : sequence of int
        The size of each item; not negative.
    """
    loads = [(0, index) for index in range(shard.count)]
    mine = []
    for place in sorted(range(len(weights)), key=lambda place: (-weights[place], place)):
        load, index = loads[0]
        heapq.heapreplace(loads, (load + weights[place], index))
        if index == shard.index:
            mine.append(place)
    return sorted(mine)
