"""`distgan plan`: memory, time and cost of a run, from counts and the rates of the devices."""

from pathlib import Path

from distgan.arguments import PlanRequest
from distgan.command_line import Result
from distgan.parallel.processes import Parallel
from distgan.pipeline import prepare
from distgan.planning import devices, report
from distgan.planning.private import format_privacy, make_privacy_tree, plan_privacy
from distgan.planning.stage_table import format_all_stages, make_stages_tree, plan_all_stages
from distgan.planning.stages import trace_networks
from distgan.planning.tree import make_plan_tree
from distgan.run import Run


def run(request: PlanRequest) -> Result:
    """Compute the plan.

    Raises:
        UserError: the devices are unknown, the batch does not divide among them, or `prepare` would refuse
            the data.
    """
    settings = request.settings
    number, device = devices.parse_device(request.devices, lambda: Parallel(settings.engine))
    if request.length is not None:
        series = report.Series(request.length, request.channels or 1, request.series or 0)
    else:
        found = prepare.find_shape(settings, Run(Path(settings.run_dir)))
        series = report.Series(found.length, found.channels, found.train)
    plan = report.make_plan(settings, series, number, devices.with_efficiency(device, request.efficiency))
    passes = trace_networks(settings, series)
    needs = plan_all_stages(plan, passes)
    text = f"{report.format_plan(plan, request.price)}\n\n{format_all_stages(plan, needs, passes)}"
    tree = make_plan_tree(plan, request.price) | {"stages": make_stages_tree(needs)}
    spending = plan_privacy(settings)
    if spending is not None:
        text, tree = f"{text}\n\n{format_privacy(spending)}", tree | {"privacy": make_privacy_tree(spending)}
    return Result(text, tree)
