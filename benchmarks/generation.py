"""Series a second that a config's generator draws, in one pass and nothing else.

python benchmarks/generation.py [--config configs/demo.yaml] [--length 8760] [--batch 32] [key.sub=value ...]
"""

import argparse
from pathlib import Path
from typing import Any

import torch
from common import alone, finish, measure, show


def case(path: Path | None, overrides: list[str], length: int, batch: int, repeats: int) -> dict[str, Any]:
    from distgan import config, models

    settings = config.load(path, overrides)
    generator = models.build(settings, length, 1)["generator"].eval()
    noise = torch.randn(batch, int(generator.noise_dim))  # type: ignore[arg-type]
    condition = torch.randn(batch, models.condition_width(settings, 1))

    def draw() -> None:
        with torch.inference_mode():
            generator(noise, condition)

    found = measure(draw, repeats)
    return {**found, "series_per_cpu_s": batch / found["cpu_s"], "series_per_s": batch / found["wall_s"]}


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path)
    parser.add_argument("--length", type=int, nargs="+", default=[2190, 8760])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--smoke", action="store_true", help="tiny and quick, figures meaningless")
    parser.add_argument("overrides", nargs="*", metavar="key.sub=value")
    options = parser.parse_intermixed_args()
    if options.smoke:
        options.length, options.batch, options.repeats = [96], 4, 1
    rows, work = [], (options.config, options.overrides)
    for length in options.length:
        shape = (length, options.batch, options.repeats)
        rows.append({"length": length, **alone(case, *work, *shape, threads=options.threads)})
    show(f"Drawing {options.batch} series at a time", rows)
    rates = {str(row["length"]): row["series_per_cpu_s"] for row in rows}
    finish(options.threads, series_per_cpu_second=rows[-1]["series_per_cpu_s"], by_length=rates)


if __name__ == "__main__":
    main()
