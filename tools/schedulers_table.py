"""docs/schedulers.md: what each scheduler of diffusers is as a table, asked of itself.

python -m tools.schedulers_table > docs/schedulers.md
"""

from __future__ import annotations

import json

from entracte.graphs.checks import GraphFault
from entracte.graphs.schedules.kinds import KINDS, settings_of
from entracte.graphs.schedules.probe import Steps, steps_of

STEPS = 20
SPECIAL: dict[str, tuple[int, dict[str, object]]] = {"SCMScheduler": (2, {})}
"""Class -> steps and arguments, where the usual number is refused."""
_COMMON = ("num_train_timesteps", "beta_start", "beta_end", "trained_betas", "sigma_min",
           "sigma_max", "sigma_data", "thresholding", "dynamic_thresholding_ratio",
           "sample_max_value", "rho")  # fmt: skip
"""Settings that are numbers of a training, or of what is refused."""
HEAD = """# Schedulers

A recipe's loop runs the scheduler of its folder; `pipeline.options.scheduler=NAME` puts another
class over the same configuration, as `NAME.from_config` does:

```
compile target=iphone15pro pipeline=folder pipeline.weights=/models/sd15 \\
  pipeline.options.scheduler=DPMSolverMultistepScheduler sampler.steps=20
```

All that these schedulers do with latents is a sum: of the latents, the model's output, fresh
noise and tensors that the scheduler remembers, each times a number of that step. So a scheduler
becomes tables of numbers and one compiled step, in fp32. The numbers are asked of diffusers' own
scheduler when compiling: `step` is called with unit vectors in the place of tensors. Then the
library runs once more over random numbers; where the tables give anything else, the configuration
is refused.

* **Cutting off** (`clip_sample`, `clip_denoised`) is exact: a second sum, cut off at the limit,
  is one of the terms. `thresholding`, whose limits depend on a picture's values, is refused.
* **Noise** is drawn in every iteration from the input `seed`. `DPMSolverSDEScheduler` asks for
  increments of a Brownian path that overlap: it remembers the first part and draws the second. It
  and `CosineDPMSolverMultistepScheduler` need the package `torchsde` when compiling, as in
  diffusers.
* **All settings** of a class count, and what a pipeline gives to `set_timesteps` (`mu`,
  `sigmas`). What diffusers refuses is refused, with its own words.
* `eta` and `s_churn`, arguments of `step`, have their defaults.

Not sums of this kind, and so refused: schedulers of tokens (`AmusedScheduler`,
`VQDiffusionScheduler`, `BlockRefinementScheduler`, `EntropyBoundScheduler`,
`DiscreteDDIMScheduler`), those that read more than the latents and the output
(`RePaintScheduler`, `KarrasVeScheduler`, `RFD4ProteinaScheduler`, `PiflowScheduler`), of several
resolutions (`HeliosScheduler`, `scale_factors`), and with a corrector that measures norms
(`ScoreSdeVeScheduler`).

The table is of each class's default configuration. *Evaluations*: how often the model runs for 20
steps. *Remembered*: tensors of the latents' size that go from step to step, in fp32. *Scaled*:
the model reads latents times a number of the step. *Starts*: by what the first normal numbers are
multiplied. *Limit*: where a sum is cut off. Made by `python -m tools.schedulers_table`;
`tests/recipes/test_schedules.py` compares every class with the library, setting by setting.

| class | evaluations | remembered | noise | scaled | starts | limit | settings |
| --- | ---: | ---: | --- | --- | ---: | ---: | --- |
"""


def page() -> str:
    """The whole page."""
    return HEAD + "".join(f"{row(name)}\n" for name in sorted(KINDS))


def row(name: str) -> str:
    """A class's line. Raises `GraphFault` where a package that it needs is missing."""
    steps, given = SPECIAL.get(name, (STEPS, {}))
    made = steps_of(name, "{}", steps, json.dumps(given))
    settings = ", ".join(f"`{s}`" for s in settings_of(name) if s not in _COMMON)
    count = str(made.evaluations) + (f" ({steps} steps)" if steps != STEPS else "")
    cells = [f"`{name}`", count, str(made.remembered), *_words(made), settings]
    return f"| {' | '.join(cells)} |"


def _words(made: Steps) -> list[str]:
    flags = [made.has_noise, made.is_scaled]
    numbers = [made.start if made.start != 1 else 0, made.limit]
    return ["yes" if flag else "" for flag in flags] + [f"{n:.4g}" if n else "" for n in numbers]


def main() -> None:
    """Print the page."""
    try:
        print(page(), end="")
    except GraphFault as fault:
        raise SystemExit(str(fault)) from None


if __name__ == "__main__":
    main()
