"""Makes the cases of ``live.jsonl.gz``, asks the real XState what they come to, and keeps those that come to rest.

    python -m tests.parity.make_live tests/parity/live.jsonl.gz [more.jsonl.gz ...]

Half of them are families of machines, made by chance. The others are the machines of the corpus (and of the further
files), with actors that run: what a corpus tells a machine of its actors and timers, they do here by themselves.
"""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

from settled.data import is_array, is_object
from tests.parity.compare import Case, cases_in

HERE = Path(__file__).parent
WAITS = (3, 17, 61, 257, 1009)
FAMILIES, FROM_EACH_FILE, LONGEST = 260, 90, 12_000

Config = dict[str, Any]


def act(type: str, **params: Any) -> Config:
    return {"type": type, "params": params} if params else {"type": type}


HEARD = act("push", key="l", value={"$ev": "type"})


def function(random: Random, number: int) -> Config:
    """The script of a function: a time at which nothing else happens, and an answer; some never answer."""
    if random.random() < 0.1:
        return {}
    after = random.choice([0, 5, 40]) + number / 64 + random.randrange(1, 32) / 2048
    return {"after": after, **({"error": {"code": number}} if random.random() < 0.3 else {"output": number})}


def timed(random: Random, events: Sequence[Any]) -> list[Config]:
    steps: list[Config] = []
    for event in events:
        steps.append({"send": event})
        if random.random() < 0.4:
            steps.append({"wait": random.choice(WAITS)})
    return [*steps, {"wait": 3001}]


class Relative:
    """One machine of a family, made by chance; `kids` are the machines that it has as actors.

    Between instances delivery takes its time, and an instance takes nothing while its functions run. So that the order
    of what happens is no matter of chance, a machine with kids has no functions and sends itself nothing, and each
    has delays of its own, in multiples of `tick`.
    """

    def __init__(
        self, random: Random, name: str, tick: int, kids: Sequence[str], functions: Sequence[str] = ()
    ) -> None:
        self.random, self.name, self.tick, self.kids, self.functions = random, name, tick, kids, functions
        self.targets = ["s0", "s1", "s2"]
        self.has_end = name != "root" or random.random() < 0.3

    def config(self) -> Config:
        states: Config = {target: self.state(target) for target in self.targets}
        if self.has_end:
            states["end"] = {"type": "final", "entry": self.actions([])}
        heard = {event: {"actions": HEARD} for event in self.some(["UP", "RING", "NEWS", "*"])}
        return {
            "id": self.name,
            "context": {"n": 0, "l": []},
            "initial": "s0",
            "states": states,
            "on": heard,
            "output": {"n": {"$ctx": "n"}},
        }

    def chance(self, probability: float) -> bool:
        return self.random.random() < probability

    def some(self, choices: Sequence[Any], most: int = 2) -> list[Any]:
        return list(
            dict.fromkeys(self.random.choice(choices) for _ in range(self.random.randrange(most + 1)) if choices)
        )

    def delays(self, most: int) -> list[str]:
        return self.some([str(self.tick), str(2 * self.tick), str(10 * self.tick)], most)

    def target(self) -> str:
        return self.random.choice([*self.targets, "end"] if self.has_end else self.targets)

    def state(self, name: str) -> Config:
        invoked = [self.invocation(src) for src in (*self.some(self.kids), *self.some(self.functions))]
        ids = [each["id"] for each in invoked]
        state: Config = {"entry": self.actions(ids), "exit": self.actions(ids), "invoke": invoked}
        if self.kids and self.chance(0.2):
            id = self.random.choice(["w", f"w-{name}"])
            state["entry"].append(act("spawn", src=self.random.choice(self.kids), id=id))
            ids.append(id)
            if self.chance(0.6):
                state["exit"].append(act("stopChild", id=id))
        own, inner = ("A", "B", "C"), ("UP", "RING", "NEWS")
        state["on"] = {event: self.transition(ids, 0.6) for event in own if self.chance(0.6)}
        state["on"] |= {event: self.transition(ids, 0.4) for event in self.some(inner)}
        state["after"] = {delay: self.transition(ids, 0.8) for delay in self.delays(1)}
        if self.chance(0.1):
            guard = {"type": "ctxLt", "params": {"key": "n", "value": 3}}
            state["always"] = {"target": self.target(), "guard": guard, "actions": act("inc", key="n", by=1)}
        return state

    def invocation(self, src: str) -> Config:
        chances = {"onDone": (0.7, 0.6), "onError": (0.8, 0.6), "onSnapshot": (0.15, 0.1)}
        listened = {key: self.heard(leads) for key, (chance, leads) in chances.items() if self.chance(chance)}
        return {"src": src, "id": f"i-{src}", **listened}

    def heard(self, leads: float) -> Config:
        return {"actions": [HEARD], **({"target": self.target()} if self.chance(leads) else {})}

    def transition(self, ids: Sequence[str], leads: float) -> Config:
        target: Config = {"target": self.target()} if self.chance(leads) else {}
        ids = () if target else ids  # who is left is stopped before
        if target and self.chance(0.2):
            target["reenter"] = True
        return {**target, "actions": self.actions(ids)}

    def actions(self, ids: Sequence[str]) -> list[Config]:
        return [self.action(ids) for _ in range(self.random.choice([0, 0, 1, 1, 2]))]

    def action(self, ids: Sequence[str]) -> Config:
        random, word = self.random, {"type": self.random.choice(["A", "B", "C"]), "v": {"$ctx": "n"}}
        choices = [
            act(random.choice(["act1", "act2"]), at=self.name),
            act("inc", key="n", by=1),
            act("emit", event={"type": "out", "n": {"$ctx": "n"}}),
            act("log", value={"$ctx": "n"}),
            act("raise", event={"type": "RING"}, id=random.choice(["r", "q"]), delay=random.choice([1, 2]) * self.tick),
            act("raise", event={"type": "NEWS"}),
            act("cancel", id=random.choice(["r", "q"])),
        ]
        if not self.kids:
            choices.append(act("sendTo", to="#_internal", event={"type": "NEWS"}))
        if ids:
            choices += [act("sendTo", to=random.choice(ids), event=word)] * 4
            choices += [act("sendTo", to=random.choice(ids), event=word, delay=3 * self.tick)]
        if self.name != "root":
            choices += [act("sendParent", event={"type": "UP", "v": {"$ctx": "n"}})] * 4
        return random.choice(choices)


def family(seed: int) -> Case:
    random = Random(seed)
    functions = {f"f{number}": function(random, number) for number in range(1, 4)}
    kids, own = [["kid"], ["leaf"], ["kid", "leaf"], []][seed % 4], list(functions) if seed % 4 == 3 else []
    machines = {
        "kid": Relative(random, "kid", 11, ["leaf"] if seed % 16 == 0 else []).config(),
        "leaf": Relative(random, "leaf", 13, []).config(),
    }
    events = [{"type": random.choice(["A", "B", "C", "UP"])} for _ in range(random.randrange(3, 9))]
    return {
        "id": f"family-{seed}",
        "config": Relative(random, "root", 10, kids, own).config(),
        "machines": machines,
        "functions": functions,
        "steps": timed(random, events),
    }


CHILD: Config = {
    "id": "child",
    "initial": "idle",
    "states": {"idle": {"on": {"PING": "pinged"}, "after": {"101": "pinged"}}, "pinged": {"type": "final"}},
    "output": 1,
}


def alive(case: Case) -> Case:
    """`case` of the corpus, with actors that run."""
    random = Random(case["id"])
    machines: Config = {}
    functions: Config = {}
    for id, src in enumerate(sorted(set(_sources(case["config"]))), 1):
        if src == "childMachine" or random.random() < 0.3:
            machines[src] = {**CHILD, "id": f"child{id}"}
        else:
            functions[src] = function(random, id)
    reserved = ("xstate.done.", "xstate.error.", "xstate.snapshot.", "xstate.after.", "xstate.stop")
    events = [event for event in case["events"] if not event["type"].startswith(reserved)]
    plain = {key: case[key] for key in ("config", "input") if key in case}
    steps = timed(random, events)
    return {"id": f"live-{case['id']}", **plain, "machines": machines, "functions": functions, "steps": steps}


def _sources(value: Any) -> Iterator[str]:
    if is_object(value):
        if isinstance(value.get("src"), str):
            yield value["src"]
        for item in value.values():
            yield from _sources(item)
    elif is_array(value):
        for item in value:
            yield from _sources(item)


def from_corpus(path: Path) -> Iterator[Case]:
    """Every so many of the cases in `path` that have actors or timers, and are not too long."""
    found = [
        case
        for case in cases_in(path)
        if "invalid" not in case["expected"]
        and "from" not in case
        and any(word in json.dumps(case["config"]) for word in ('"invoke"', '"after"', '"delay"', '"spawn"', '"route"'))
        and '"missing' not in json.dumps(case["config"])
        and len(json.dumps(case["config"])) < LONGEST
    ]
    yield from map(alive, found[:: max(1, len(found) // FROM_EACH_FILE)])


def recorded(cases: Sequence[Case]) -> Iterator[Mapping[str, Any]]:
    """What the real XState makes of `cases`."""
    text = "".join(json.dumps(case) + "\n" for case in cases)
    done = subprocess.run(
        ["node", "live.mjs"], cwd=HERE, input=text, text=True, stdout=subprocess.PIPE, check=True, timeout=300
    )
    for line in done.stdout.splitlines():
        answer = json.loads(line)
        yield {key: value for key, value in answer.items() if key != "id"}


def comes_to_rest(answer: Mapping[str, Any]) -> bool:
    return "steps" in answer and not any("stuck" in step for step in answer["steps"])


def main() -> None:
    """Write the cases, with what they come to, to the file on the command line."""
    target, *others = map(Path, sys.argv[1:])
    cases = [family(seed) for seed in range(FAMILIES)]
    for path in (HERE / "fuzz.jsonl.gz", *others):
        cases += from_corpus(path)
    kept = [
        {**case, "expected": answer}
        for case, answer in zip(cases, recorded(cases), strict=True)
        if comes_to_rest(answer)
    ]
    text = "".join(json.dumps(case, separators=(",", ":")) + "\n" for case in kept)
    target.write_bytes(gzip.compress(text.encode(), mtime=0))
    print(f"{len(kept)} of {len(cases)} cases come to rest: {target.stat().st_size} bytes")


if __name__ == "__main__":
    main()
