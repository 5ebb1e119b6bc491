"""Plans whose names try to be markup."""

import json
import re

from entracte.codec import decode, encode
from entracte.ir import Plan
from tests.planner.plans import make_plan

NAME = '[red]<b>&"c1[/x]`<script>alert(1)</script>'


def hostile_plan() -> Plan:
    """The toy plan, in which the loop's stage and the title have such names."""
    inside = json.dumps(NAME)[1:-1].replace("\\", r"\\")
    text = re.sub(r"\bc1\b", inside, json.dumps(encode(make_plan())))
    text = text.replace("A toy pipeline", "[bold red]A toy[/] " + json.dumps(NAME)[1:-1])
    return decode(Plan, json.loads(text))
