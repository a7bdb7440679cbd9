"""The command line."""

from __future__ import annotations

import argparse
import os
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

from .running import Summary, converse, explain, run_seeds, simulated
from .scenario import COUNTS, FAULTS, Scenario


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Conversations in virtual time, held against the promise.")
    parser.add_argument("--seed", type=int, default=1, help="of the first conversation")
    parser.add_argument("--conversations", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--trace", action="store_true", help="tell the conversation, if it is one")
    parser.add_argument("--without", default="", metavar="FAULT,...", help=", ".join(FAULTS))
    for name in COUNTS:
        parser.add_argument(f"--{name}", type=int)
    return parser


def chosen(options: argparse.Namespace, seed: int | None = None) -> Scenario:
    scenario = Scenario.of(options.seed if seed is None else seed)
    given = {name: getattr(options, name) for name in COUNTS if getattr(options, name) is not None}
    return replace(scenario.without(set(options.without.split(","))), **given)


def replay(scenario: Scenario, trace: bool) -> int:
    with simulated():
        report = converse(scenario, trace)
    print(scenario)
    print("\n".join(report.trace))
    print(f"whole {report.converged:.2f} s after the last fault; {dict(report.counts)}")
    print("\n".join(f"BROKEN: {line}" for line in report.broken) or "all as promised")
    return bool(report.broken)


def main() -> int:
    options = parser().parse_args()
    if options.conversations == 1:
        return replay(chosen(options), options.trace)
    began = time.monotonic()
    seeds = range(options.seed, options.seed + options.conversations)
    size = max(1, min(250, len(seeds) // options.jobs))
    parts = [seeds[at : at + size] for at in range(0, len(seeds), size)]
    summary, scenario_of = Summary(), partial(chosen, options)
    with ProcessPoolExecutor(options.jobs) as pool:
        for part in pool.map(partial(run_seeds, of=scenario_of), parts):
            summary.merge(part)
    show(summary, time.monotonic() - began)
    for seed in summary.failed[:3]:
        print(explain(scenario_of(seed)))
    return bool(summary.failed)


def show(summary: Summary, seconds: float) -> None:
    print(f"{summary.conversations} conversations in {seconds:.1f} s, {len(summary.failed)} failed")
    print("seen: " + ", ".join(f"{count} {name}" for name, count in sorted(summary.counts.items())))
    print("suffered: " + ", ".join(f"{count} {name}" for name, count in sorted(summary.suffered.items())))
    slowest = (f"{mode} {seconds:.1f} s" for mode, seconds in sorted(summary.slowest.items()))
    print("the slowest convergence after the last fault: " + ", ".join(slowest))
