"""Bytes that one of two processes holds of a generator, by ZeRO stage, against theory.

    python benchmarks/memory.py            # the default generator, 2190 steps
    python benchmarks/memory.py --smoke    # a tiny one

Float32, N processes, P parameters: weights 4P (4P/N at stage 3), master copy 4P/N from stage 1 on, Adam's
moments 8P/N (8P without ZeRO). Counts the tensors' own bytes, so the figures do not depend on the machine.
Prints a table and one last JSON line.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path

from distgan.parallel.preparation import prepare_network

ROOT = Path(__file__).resolve().parents[1]
if __name__ == "__main__":
    sys.path.insert(0, str(ROOT))

STAGES = (0, 1, 2, 3)
PARTS = ("weights", "master", "moments")


def theory(stage: int, parameters: int, world: int) -> dict[str, float]:
    shared = world if stage else 1
    return {
        "weights": 4 * parameters / (world if stage == 3 else 1),
        "master": 4 * parameters / world if stage else 0.0,
        "moments": 8 * parameters / shared,
    }


def work(smoke: bool) -> None:
    import torch

    from distgan import config
    from distgan.models import multiscale
    from distgan.parallel.optimized_network import Adam
    from distgan.parallel.processes import Parallel

    for stage in STAGES:
        tiny = ["model.generator.width=16", "model.patch=6"]
        settings = config.load(None, [f"engine.zero={stage}", "engine.threads=1", *(tiny if smoke else [])])
        assert isinstance(settings.model, config.Multiscale)
        parallel = Parallel(settings.engine)
        network = multiscale.build(settings.model, 240 if smoke else 2190, 1, 8)["generator"]
        parameters, noise = sum(p.numel() for p in network.parameters()), int(network.noise_dim)  # type: ignore[arg-type]
        optimized = prepare_network(parallel, "generator", network, Adam(1e-4))
        optimized.minimise(optimized.network(torch.randn(1, noise), torch.zeros(1, 8)).square().mean())
        if parallel.is_main:
            print(
                json.dumps({"stage": stage, "parameters": parameters, "held": optimized.count_held_bytes()}),
                flush=True,
            )
    parallel.close()


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--smoke", action="store_true")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.work:
        work(options.smoke)
        return
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2"]
    program = [str(Path(__file__)), "--work", *(["--smoke"] if options.smoke else [])]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*launcher, *program], env=environment, capture_output=True, text=True)
    lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"stage"')]
    assert done.returncode == 0 and len(lines) == len(STAGES), done.stderr[-3000:]
    print(f"{'stage':<8}" + "".join(f"{part + ' (theory)':>28}" for part in PARTS))
    worst = 0.0
    for line in lines:
        expected = theory(line["stage"], line["parameters"], world=2)
        cells = [f"{line['held'][part]:>14,} {expected[part]:>13,.0f}" for part in PARTS]
        print(f"{line['stage']:<8}" + "".join(cells))
        worst = max(worst, *(abs(line["held"][p] - expected[p]) / max(expected[p], 1) for p in PARTS))
    facts = {"parameters": lines[0]["parameters"], "largest_difference": round(worst, 4)}
    print(json.dumps({"benchmark": "memory", "smoke": options.smoke, "processes": 2, **facts}))


if __name__ == "__main__":
    main()
