"""The command `resdual-study`: what it can be asked, and who does it.

Run it in this order: new, plan, run, status, report. The page docs/study.md has an example.
"""

from __future__ import annotations

import argparse
import logging
import shlex
import sys
from pathlib import Path
from typing import Any, Optional, Sequence, Tuple

from ..errors import ResDualError, trace_is_wanted
from . import lock, records
from .engine.remedies import sentence
from .engine.tasks import StudyFolder
from .new import write_spec
from .planning.so_far import plan_so_far
from .planning.todo import in_turn, make_plan, records_of, wanted
from .spec.keys import Spec
from .spec.reading import located, read_spec
from .worker import Worker

PROGRAM = "resdual-study"


def parser() -> argparse.ArgumentParser:
    """All subcommands and their options."""
    main = argparse.ArgumentParser(
        prog=PROGRAM,
        description="A proof of concept that compares architectures on your own data: depth, "
        "training time, data, seeds, learning rates; with intervals, costs and a verdict.",
        epilog="Begin with: resdual-study new my.yaml --data-bin FOLDER; then plan, run, report.",
    )
    modes = main.add_subparsers(dest="mode", required=True)

    new = modes.add_parser("new", help="write a spec with a comment on every key")
    new.add_argument("spec", type=Path, metavar="SPEC", help="the YAML file to write")
    source = new.add_mutually_exclusive_group(required=True)
    source.add_argument("--data-bin", type=Path, help="a folder made by fairseq-preprocess")
    source.add_argument(
        "--text", type=Path, nargs=2, metavar="FILE", help="two files, translations line by line"
    )
    new.add_argument(
        "--languages", nargs=2, default=[], metavar="XX", help="source and target, if names of "
        "files do not tell them",
    )  # fmt: skip

    add_mode(modes, "plan", "check a spec, calibrate, list runs and estimate what they take")
    run = add_mode(modes, "run", "work on it until nothing is left; run it as often as you like")
    how = run.add_mutually_exclusive_group()
    how.add_argument("--workers", type=positive, metavar="N", help="start N workers here")
    how.add_argument(
        "--costs",
        action="store_true",
        help="measure costs now; again where other "
        "work disturbed them, a model failed or a criterion is open",
    )
    how.add_argument("--slurm", type=positive, metavar="N", help="submit N workers to Slurm")
    status = add_mode(modes, "status", "show what is done, at work and left")
    status.add_argument("--follow", action="store_true", help="go on showing until all is done")
    report = add_mode(modes, "report", "write the report from what is done so far")
    report.add_argument(
        "--out", type=Path, metavar="DIR", help="default: report/ in the study's folder"
    )
    report.add_argument("--lang", choices=("en", "ja"), default="en", help="its language (en)")
    export = add_mode(
        modes, "export", "write results for other machines, or for Optuna's dashboard"
    )
    what = export.add_mutually_exclusive_group(required=True)
    what.add_argument("--records", type=Path, metavar="DIR", help="a small file a task, for import")
    what.add_argument(
        "--csv", type=Path, metavar="DIR", help="tidy tables of runs, gains and costs"
    )
    what.add_argument("--optuna", metavar="URL", help="a database, such as sqlite:///study.db")
    taken = add_mode(modes, "import", "take up results of another machine")
    taken.add_argument(
        "records", type=Path, metavar="DIR", help="what export --records wrote there"
    )
    taken.add_argument("--costs", action="store_true", help="the costs measured there, too")
    return main


def add_mode(modes: Any, name: str, text: str) -> argparse.ArgumentParser:
    mode: argparse.ArgumentParser = modes.add_parser(name, help=text, description=text)
    mode.add_argument("spec", type=Path, metavar="SPEC", help="the study's YAML file")
    mode.add_argument(
        "--folder", type=Path, metavar="DIR", help="where it works, if not as SPEC says"
    )
    return mode


def positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not 1 or more")
    return number


def say(text: str) -> None:
    print(text, flush=True)


def main(arguments: Optional[Sequence[str]] = None) -> None:
    """Run the command."""
    options = parser().parse_args(arguments)
    for chatty in ("fairseq", "matplotlib"):  # fairseq opens the root logger to everything
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        run(options)
    except KeyboardInterrupt:
        sys.exit(f"\n{PROGRAM}: interrupted; what is done stays, the same command goes on")
    except (ResDualError, OSError) as error:
        if trace_is_wanted():
            raise
        sys.exit(f"{PROGRAM}: error: {sentence(error)}")


def run(options: argparse.Namespace) -> None:
    if options.mode == "new":
        write_spec(options.spec, options.data_bin, options.text, options.languages)
        say(f"wrote {options.spec}; read its comments, then: {PROGRAM} plan {options.spec}")
        warn_of_scores(read_spec(options.spec))
        return
    spec = read_spec(options.spec)
    if options.folder is not None:
        spec = spec.model_copy(update={"folder": options.folder.resolve()})
    study = StudyFolder(Path(str(spec.folder)))
    if options.mode in ("plan", "run"):
        from .checks import check

        try:
            check(spec)
        except ResDualError as error:
            raise ResDualError(located(options.spec, str(error))) from error
    if options.mode in ("plan", "run", "import"):
        changes = lock.remember(spec, study)
        for line in changes:
            say(line)
        if changes and options.mode != "import":
            known, used, _ = results_in_use(spec, study)
            say(f"of {known} results here, {used} belong to what this spec asks for so far")
    {
        "plan": plan, "run": work, "status": status, "report": report, "export": export,
        "import": import_records,
    }[options.mode](options, spec, study)  # fmt: skip


def warn_of_scores(spec: Spec) -> None:
    """Say what the new spec's plan would refuse for want of a package."""
    from .checks import check_scores

    try:
        check_scores(spec)
    except ResDualError as error:
        say(f"before that: {error}")


def plan(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    from .planning.printing import show_plan

    Worker(spec, study, say, kinds={"prepare", "calibrate"}).work()
    show_plan(spec, study)


def work(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    from .planning.again import inconclusive_costs
    from .starting import end_as_by_ctrl_c, start_here, start_on_slurm, watch

    if options.slurm:
        jobs = start_on_slurm(spec, study, options.slurm)
        say("submitted: " + " ".join(job.job_id for job in jobs) + "; squeue shows them")
        return
    end_as_by_ctrl_c()
    if options.costs:
        Worker(spec, study, say, kinds={"prepare", "calibrate"}).work()
        study.again = inconclusive_costs(spec, study)
        if study.again:
            say(
                f"measured again: {len(study.again)} sizes, at which it was done beside other "
                "work, a model failed or a criterion is open"
            )
        Worker(spec, study, say, kinds={"prepare", "measure"}).work()
        if left := inconclusive_costs(spec, study):
            say(
                f"at {len(left)} sizes other work, a failure or an open criterion remains; the "
                "same command measures them again"
            )
        return
    if options.workers:
        watch(start_here(spec, study, options.workers), study, say)
        check_nothing_is_left(spec, study)
    else:
        Worker(spec, study, say).work()
    check_all_is_known(spec, study)
    folder = "" if options.folder is None else f" --folder {shlex.quote(str(options.folder))}"
    report = f"{PROGRAM} report {shlex.quote(str(options.spec))}{folder}"
    say(f"all runs are done; {report} writes the report")


def check_nothing_is_left(spec: Spec, study: StudyFolder) -> None:
    """Raise ResDualError where workers were killed, and no other took over."""
    known = records_of(spec, study)
    plan = make_plan(spec, known)
    left = wanted(plan, study, known)
    if in_turn(left, plan):
        raise ResDualError(
            f"the workers ended with {len(left)} tasks left; the same command goes on"
        )


def check_all_is_known(spec: Spec, study: StudyFolder) -> None:
    """Raise ResDualError where nothing is left to do, but runs that were killed from outside."""
    known = records_of(spec, study)
    plan = make_plan(spec, known)
    lost = [one for one in plan.tasks if one in known and known[one]["outcome"] == "killed"]
    if lost:
        raise ResDualError(
            (f"the study waits for its {plan.open}: " if plan.open else "")
            + f"{len(lost)} runs were killed from outside until limits.retries "
            f"({spec.limits.retries}) was used up, such as '{plan.tasks[lost[0]].label}'; give "
            "more retries, and the same command again (a report can be made without them)"
        )


def status(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    from rich.console import Console

    from .status import show

    show(spec, study, options.follow, Console())


def report(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    from .planning.findings import collect
    from .report import write_report

    out = options.out or study.path / "report"
    for path in write_report(collect(spec, study), out, options.lang):
        say(f"wrote {path}")


def export(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    from .planning.findings import collect

    if options.records:
        say(f"wrote {records.export_records(study, options.records)} records to {options.records}")
    elif options.csv:
        from .report import write_tables

        for path in write_tables(collect(spec, study), options.csv):
            say(f"wrote {path}")
    else:
        from .optuna_export import export_to_optuna

        trials = export_to_optuna(collect(spec, study), options.optuna)
        say(f"wrote {trials} trials to {options.optuna}")


def import_records(options: argparse.Namespace, spec: Spec, study: StudyFolder) -> None:
    new = records.import_records(study, options.records, options.costs)
    say(f"took up {new} new results from {options.records}")
    try:
        known, used, waits = results_in_use(spec, study)
    except ResDualError as error:
        say(f"how many of them belong to what this spec asks for is not known yet: {error}")
        return
    more = (
        ", others may once tuning has chosen their values"
        if waits in ("calibration", "tuning") and used < known
        else ""
    )
    say(f"of {known} in all, {used} belong to what this spec asks for so far{more}")


def results_in_use(spec: Spec, study: StudyFolder) -> Tuple[int, int, str]:
    """How many results a folder holds, how many of them the plan asks for, and what it waits for.

    That is empty where the plan is known to its end.
    """
    known = records_of(spec, study)
    plan = plan_so_far(spec, known)
    return len(study.records()), sum(name in known for name in plan.tasks), plan.open


if __name__ == "__main__":
    main()
