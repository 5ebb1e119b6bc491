"""`plan show --json`: what the tables show, for scripts. Sizes in bytes, times in seconds."""

import json
from dataclasses import asdict

from entracte.calibrate.errors import class_errors
from entracte.calibrate.observed import observations
from entracte.cli.chunks import selected
from entracte.inspect.about import about
from entracte.inspect.overview import overview
from entracte.ir import Plan, Run
from entracte.run.alarm import alarm_of


def plan_json(
    plan: Plan, *, stage: str | None = None, chunk: str | None = None, run: Run | None = None
) -> str:
    """The fields of `entracte.inspect.overview.Overview`, under `about` those of
    `entracte.inspect.about.About`, under `verify` and `compared` what comparing packages with their
    source found, under `observed` the fields of the run, under `errors` predicted against observed
    by class (`entracte.calibrate.errors.ClassError`), and under `alarm` what was observed above
    proven (`entracte.run.alarm.Alarm`; null for nothing).

    `stage` and `chunk` choose rows of `chunks`; everything else is of the whole plan.
    """
    made = overview(plan)
    body = asdict(made) | {"chunks": [asdict(c) for c in selected(made.chunks, stage, chunk)]}
    body["peak"]["total_bytes"] = made.peak.total_bytes
    body["about"] = asdict(about(plan))
    body["verify"] = plan.verify
    body["compared"] = [asdict(c) for c in plan.compared]
    body["observed"] = asdict(run) if run is not None else None
    found = class_errors(observations(plan, run), plan.target) if run is not None else ()
    body["errors"] = [asdict(e) for e in found]
    alarm = alarm_of(plan, run) if run is not None else None
    body["alarm"] = asdict(alarm) if alarm is not None else None
    return json.dumps(body, indent=1)
