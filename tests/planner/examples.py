"""How many made-up programs a property is tried on.

That no plan overruns its budget, whatever the times, is tried in many places. Two oracles carry it,
and keep many examples:

* `test_safety.py`: every policy's plan of each program, replayed with adversarial times by twenty
  lines that count bytes at every instant and share nothing with the checker or the clocks, and by
  the online rule's own ledger, in pages and with early ends (`-m slow`: 105,000 plans);
* `test_run_null.py` and `test_run_online.py`: the runner itself, with its threads, on a device that
  refuses an overrun, a double load and a call of what is not there. Nothing in it is simulated.

The other places look for other things first (a bound, an order, a figure that adds up) and meet
the theorem on the way: few examples find what only they can find.
"""

from hypothesis import settings

STRONG = settings(max_examples=200, deadline=None)
FEW = settings(max_examples=60, deadline=None)
